"""The scripts, and the text that they share.

    python tests/tools/blocks.py                      say which shared blocks differ
    python tests/tools/blocks.py copy microlora.py    copy its blocks to the others
    python tests/tools/blocks.py new microthing       start docs/further/microthing.py

A shared block starts at a line like "# 3. AUTOGRAD (shared) ====" or "# --- plots (shared) ----"
and ends where the next section or block starts. A script has a block to the letter, or does not
have it. What else deals with "every script", tests, tools, checks of the documentation, asks
scripts().
"""

import difflib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"^# (?:\d+\. |--- |APPENDIX).* [=-]{3,}$", re.M)
SHARED = re.compile(r"^# (?:\d+\. |--- )(.*) \(shared\) [=-]+$")
END = re.compile(r'^if __name__ == "__main__":$', re.M)


def scripts() -> list[Path]:
    """Every script of the collection, those at the top level first."""
    return sorted(ROOT.glob("micro*.py")) + sorted((ROOT / "docs" / "further").glob("micro*.py"))


def pieces(text: str) -> list[tuple[str | None, str]]:
    """(name of a shared block or None, text) runs; together they are the whole text."""
    starts = [m.start() for m in MARK.finditer(text)] + [m.start() for m in END.finditer(text)]
    cuts = [0, *sorted(starts), len(text)]
    runs = []
    for a, b in zip(cuts, cuts[1:]):
        found = SHARED.match(text[a:b].split("\n", 1)[0])
        runs.append((found[1] if found else None, text[a:b]))
    return runs


def shared(text: str) -> dict[str, str]:
    """Block name to text, without the blank lines at its end."""
    return {name: run.rstrip("\n") + "\n" for name, run in pieces(text) if name}


def library() -> dict[str, tuple[str, str]]:
    """Every block of the collection: its text, and the first script that has it."""
    found: dict[str, tuple[str, str]] = {}
    for path in scripts():
        for name, text in shared(path.read_text("utf-8")).items():
            found.setdefault(name, (text, path.name))
    return found


def differences() -> list[str]:
    """One diff for every shared block that is not that of the first script that has it."""
    known, found = library(), []
    for path in scripts():
        for name, text in shared(path.read_text("utf-8")).items():
            wanted, source = known[name]
            if text != wanted:
                a, b = (part.splitlines(keepends=True) for part in (wanted, text))
                diff = difflib.unified_diff(a, b, f"{source}: {name}", f"{path.name}: {name}")
                found.append("".join(diff))
    return found


def transplant(blocks: dict[str, str], text: str) -> str:
    """A script's text with these blocks in the places of its own of the same names."""
    result = ""
    for name, run in pieces(text):
        blank = run[len(run.rstrip("\n")) + 1 :]
        result += blocks[name] + blank if name in blocks else run
    return result


def copy_from(source: Path) -> None:
    blocks = shared(source.read_text("utf-8"))
    for path in scripts():
        text = path.read_text("utf-8")
        new = transplant(blocks, text)
        if new != text:
            path.write_text(new, "utf-8")
            print(f"copied shared blocks of {source.name} to {path.name}")


HEAD = '''"""{name}: the question it answers?

The method in a paragraph, with its papers. What runs. What to look for. When to use it, and when
not.

Read from top to bottom. If you know another script: sections 3 to 5 are the same text; go from
section 2 to section 6. The appendix holds names and manners, and needs no reading.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from itertools import compress
from operator import mul
from typing import Any, NoReturn, Union

# 1. THESIS: the docstring above.  2. SETTINGS ====================================================

N_EMBD = 8  # width d
N_HEAD = 2  # attention heads, of 4 dimensions each
N_LAYER = 1  # blocks
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # of the initial weights
BATCH = 2  # names per step
PRETRAIN_STEPS = 400
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak
HELD_OUT_NAMES = 56  # names that nothing is trained on
'''
TAIL = '''\
# 6. THE ALGORITHM: ITS NAME =======================================================================


# 7. EXPERIMENT ====================================================================================


def experiment(seed: int, names: str | None) -> int:
    check_model_settings()
    rng = random.Random(seed)
    learnt, held_out = split(read_names(names, BLOCK_SIZE - 1), rng, HELD_OUT_NAMES)
    alphabet = alphabet_of(learnt + held_out)
    print(f"{name}, seed {{seed}}: {{len(learnt)}} names to learn, {{len(held_out)}} held out")
    model = pretrain(learnt, alphabet, rng)
    loss = mean_loss(model, held_out, alphabet)
    return check_claims([("loss on held-out names, nats per letter", loss, "<=", 3.0)])


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "The question it answers?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================


'''
BEFORE = (
    "AUTOGRAD",
    "MODEL",
    "the GPT",
    "projection",
    "TRAINING",
    "names, learnt and written",
)
AFTER = (
    "averages",
    "the names",
    "reading files",
    "the model's settings",
    "progress",
    "claims",
    "the command line",
)


def template(name: str) -> str:
    """A script that runs: the shared blocks, and a place for what it is for."""
    known = library()
    text = HEAD.format(name=name) + "\n\n"
    text += "".join(known[block][0] + "\n\n" for block in BEFORE)
    text += TAIL.format(name=name)
    text += "".join(known[block][0] + "\n\n" for block in AFTER)
    return text + 'if __name__ == "__main__":\n    sys.exit(main())\n'


def start_script(name: str) -> None:
    path = ROOT / "docs" / "further" / f"{name.removesuffix('.py')}.py"
    if not path.name.startswith("micro") or path.exists():
        sys.exit(f"{path}: exists already, or does not start with micro")
    path.parent.mkdir(exist_ok=True)
    path.write_text(template(path.stem), "utf-8")
    print(f"started {path.relative_to(ROOT)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["copy"] and len(sys.argv) == 3:
        name = Path(sys.argv[2]).name
        copy_from(next(path for path in scripts() if path.name == name))
    elif sys.argv[1:2] == ["new"] and len(sys.argv) == 3:
        start_script(sys.argv[2])
    elif len(sys.argv) > 1:
        sys.exit(__doc__)
    remaining = differences()
    print("\n".join(remaining) or "the shared blocks are the same text")
    sys.exit(1 if remaining else 0)
