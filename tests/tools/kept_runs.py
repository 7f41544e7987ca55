"""What the scripts print at their default seed is kept in docs/runs.

    python tests/tools/kept_runs.py check    run all, compare with what is kept; CI does this
    python tests/tools/kept_runs.py write    run all, keep what they print

With names of scripts behind it, only those. With --limit SECONDS behind that, no run is started
after so many seconds, and what was left out is named: for a machine that is slow today.

Two runs at a time; some minutes. Every run has to keep its claims. Where interpreter and platform
are those that the runs were kept on (docs/runs/README.md), stdout is compared to the byte;
elsewhere rounding differs, and the exit status has to do.
"""

import math
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.blocks import ROOT, scripts

RUNS = ROOT / "docs" / "runs"
PYTHON = f"{platform.python_implementation()} {platform.python_version()}"
HERE = f"{PYTHON}, {platform.system()} {platform.machine()}"
NOTE = "What each script prints, written by `python tests/tools/kept_runs.py write` on"


def run_before(end: float, path: Path) -> tuple[int, str, float] | None:
    """(exit status, stdout, seconds) of a run, or None if it is too late to start it."""
    start = time.perf_counter()
    if start > end:
        return None
    command = [sys.executable, "-I", path.name]
    done = subprocess.run(
        command,
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env={"PYTHONUTF8": "1"},
        check=False,
    )
    return done.returncode, done.stdout, time.perf_counter() - start


def main(mode: str, names: list[str], limit: float = math.inf) -> int:
    end = time.perf_counter() + limit
    chosen = [path for path in scripts() if not names or path.stem in names]
    failed = 0
    kept_on = (RUNS / "README.md").read_text("utf-8") if (RUNS / "README.md").exists() else ""
    same_machine = HERE in kept_on
    with ThreadPoolExecutor(2) as pool:
        for path, done in zip(chosen, pool.map(lambda path: run_before(end, path), chosen)):
            if done is None:
                print(f"{path.name}: not run, the time is over", flush=True)
                continue
            status, output, seconds = done
            words = f"{path.name}: {seconds:.0f} s, exit status {status}"
            kept = RUNS / f"{path.stem}.txt"
            if mode == "write":
                kept.write_text(output, "utf-8")
            elif same_machine:
                same = kept.read_text("utf-8") == output
                failed += not same
                words += f", stdout {'as kept' if same else 'DIFFERS from ' + str(kept)}"
            failed += status != 0
            print(words, flush=True)
    if mode == "write":
        (RUNS / "README.md").write_text(f"{NOTE}\n\n    {HERE}\n", "utf-8")
    elif not same_machine:
        print(f"kept on another machine than {HERE}: stdout not compared")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] not in (["check"], ["write"]):
        sys.exit(__doc__)
    arguments = sys.argv[2:]
    limit = math.inf
    if arguments[-2:-1] == ["--limit"]:
        limit = float(arguments[-1])
        del arguments[-2:]
    sys.exit(main(sys.argv[1], arguments, limit))
