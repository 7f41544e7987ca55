"""What a script prints, as means over seeds, with a setting edited or not.

    python tests/tools/means.py microlora 0-15
    python tests/tools/means.py micromoe 0-7 ROUTER_INIT 0.05 3
    python tests/tools/means.py microschedule 0-15 LR 0.01 0.02 0.04 --lines "cosine|linear"

The grids of learning rates that the settings speak of can be looked at in this way. Each number of
a line is the mean over the seeds; words that differ, such as samples, are left out. Two runs at a
time. Settings are chosen on seeds from 0 to 200 only.
"""

import argparse
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.helpers import edited, start
from tests.tools.claims import seeds_in
from tests.tools.sections import scripts

NUMBER = re.compile(r"-?\d+(\.\d+)?%?")


def mean_lines(outputs: list[str]) -> list[str]:
    """The lines of the first output, each number the mean over all, each word that differs "…"."""
    found = []
    for lines in zip(*(output.splitlines() for output in outputs)):
        words = [line.split() for line in lines]
        if len({(*line[:1], len(line)) for line in words}) > 1:
            continue
        cells = []
        for column in zip(*words):
            if all(map(NUMBER.fullmatch, column)):
                decimals = len(column[0].partition(".")[2].rstrip("%"))
                mean = fmean(float(x.rstrip("%")) for x in column)
                cells.append(f"{mean:.{decimals}f}" + "%" * column[0].endswith("%"))
            else:
                cells.append(column[0] if len(set(column)) == 1 else "…")
        rest = iter(cells)
        found.append(re.sub(r"\S+", lambda x, rest=rest: next(rest).rjust(len(x[0])), lines[0]))
    return found


def means(script: str, seeds: list[int], **settings: float) -> list[str]:
    """The mean lines of a script over seeds."""
    path = next(path for path in scripts() if path.stem == script)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        copy = edited(path, folder, fast=False, **settings)
        runs = pool.map(lambda seed: start(copy, "--seed", seed), seeds)
        return mean_lines([run.stdout.decode() for run in runs])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("script")
    parser.add_argument("seeds", help="such as 0-15")
    parser.add_argument("setting", nargs="?")
    parser.add_argument("values", nargs="*", type=float)
    parser.add_argument("--lines", default="", metavar="PATTERN", help="only lines that match")
    options = parser.parse_args()
    for value in options.values or [None]:
        settings = {} if value is None else {options.setting: value}
        print(*(f"{name} = {x}" for name, x in settings.items()))
        for line in means(options.script, seeds_in([options.seeds]), **settings):
            if re.search(options.lines, line):
                print(line, flush=True)


if __name__ == "__main__":
    main()
