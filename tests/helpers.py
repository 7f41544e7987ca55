"""What several test files use."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What makes a run of any script short: those of these settings that it has. Claims may then fail,
# and the exit status be 1.
FAST: dict[str, object] = {
    "PRETRAIN_STEPS": 60, "COMPARISONS": 40, "HELD_OUT": 8, "STEPS": 20, "RM_STEPS": 5,
    "CRITIC_STEPS": 5, "SAMPLES": 6, "ROUNDS": 3, "ROLLOUTS": 4, "MINIBATCH": 2,
}  # fmt: skip
# A script's own.
FAST_OF: dict[str, dict[str, object]] = {
    "microdropout": {"STEPS": 50},  # its checkpoints are 50 steps apart
    "microlora": {"STEPS": 5, "KOREAN_TEST": 5, "ENGLISH_TEST": 5},
    "microdistill": {"STEPS": 5},
    "microbatchnorm": {"STEPS": 10},
    "microschedule": {"STEPS": 10},
}


def slope(f, x, h=1e-5):
    """The central difference of a function of one float."""
    return (f(x + h) - f(x - h)) / (2 * h)


def edited(script, folder, fast=True, **settings):
    """A copy of a script with some of its settings' lines edited."""
    text = script.read_text("utf-8")
    short = {**FAST, **FAST_OF.get(script.stem, {})} if fast else {}
    for setting, value in {**short, **settings}.items():
        # a line may set several: A, B = 1, 2
        line = re.search(rf"^(?=.*\b{setting}\b)([A-Z_, ]+) = (.*?)(  #.*)?$", text, re.M)
        if line is None:
            assert setting in FAST and setting not in settings, f"{script.name}: no {setting}"
            continue
        names = line[1].split(", ")
        values = [line[2]] if len(names) == 1 else line[2].split(", ")
        assert len(names) == len(values), line[0]
        values[names.index(setting)] = repr(value)
        text = text.replace(line[0], f"{line[1]} = {', '.join(values)}{line[3] or ''}")
    path = Path(folder) / script.name
    path.write_text(text, "utf-8")
    return path


def start(path, *arguments, **environment):
    """Run a script alone, in its own folder, and wait; bytes of both streams."""
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", "-X", "utf8", path.name, *map(str, arguments)],
        cwd=path.parent,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        timeout=300,
    )
