"""What several test files use."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What makes a run of any script short: those of these settings that it has. Claims may then fail,
# and the exit status be 1.
FAST = {
    "N_EMBD": 4, "N_HEAD": 2, "PRETRAIN_STEPS": 5, "HELD_OUT_NAMES": 10, "ADAPT_STEPS": 5,
    "PAIRS": 20, "HELD_OUT": 8, "SAMPLES": 5, "STEPS": 3, "REWARD_STEPS": 5,
    "CRITIC_ROLLOUTS": 20, "CRITIC_HELD_OUT": 4, "CRITIC_STEPS": 5, "ROUNDS": 2, "ROLLOUTS": 4,
    "EPOCHS": 2, "MINIBATCH": 3, "CODES": 2, "LETTERS": 2, "EXPERTS": 4, "EXPERT_WIDTH": 3,
}  # fmt: skip
# Further scripts' own, by script.
FAST_OF: dict[str, dict[str, object]] = {
    "microrlaif": {"MEASURED": 6, "TEACH_STEPS": 5},
    "microreinforce": {"CLOUD": 3, "GROUP": 2, "PROMPTS": 2, "UPDATES": 4},
    "microdistill": {
        "STUDENT_EMBD": 2, "FEW": 6, "FEWER": 3, "SAME_STEPS": 4, "LOOK_EVERY": 2,
    },
    "microschedule": {"STEPS": 20, "LOOKS": 2},
    "microdropout": {"LOOK_EVERY": 2, "VALIDATION_NAMES": 10, "TEST_NAMES": 20, "HIDDEN": 8,
                     "MASKS": 3, "DRAWS": 50},
    "microbatchnorm": {"LAYERS": 3, "WIDTH": 4, "BATCH": 6, "PROBE": 10},
    "microgrpo": {
        "GROUP": 2, "PROMPTS": 3, "EPOCHS": 2, "CRITIC_EPOCHS": 1, "LOOKS": 4,
    },
    "microspo": {"GROUP": 3, "ROUNDS": 8, "PLAIN_ROUNDS": 4, "DPO_PAIRS": 4, "DPO_STEPS": 8,
                 "STAGES": 4, "LOOK_NAMES": 3},
}  # fmt: skip


def slope(f, x, h=1e-5):
    """The central difference of a function of one float."""
    return (f(x + h) - f(x - h)) / (2 * h)


def edited(script, folder, fast=True, **settings):
    """A copy of a script with some of its settings' lines edited."""
    text = script.read_text("utf-8")
    short = {**FAST, **FAST_OF.get(script.stem, {})} if fast else {}
    for setting, value in {**short, **settings}.items():
        text, count = re.subn(rf"^{setting} = .*$", f"{setting} = {value}", text, flags=re.M)
        assert count == 1 or (setting in FAST and setting not in settings), setting
    path = Path(folder) / script.name
    path.write_text(text, "utf-8")
    return path


def start(path, *arguments, flags=("-I",), **environment):
    """Run a script alone, in its own folder, and wait; bytes of both streams."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", *flags, path.name, *arguments],
        cwd=path.parent,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        timeout=300,
    )
