"""What the scripts print at the default seed is kept in docs/runs.

    python tests/tools/kept_runs.py check [SCRIPT ...]    run, and compare with what is kept
    python tests/tools/kept_runs.py write [SCRIPT ...]    run, and keep what is printed

Two runs at a time; a few minutes for all. A run has to keep all its claims, and its stdout has to
be the same to the byte. (Sums are exact, so every CPython from 3.10 on prints the same; another
processor or C library may round exp() otherwise. docs/runs/README.md says where they were kept;
elsewhere only the claims are checked.)
"""

import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.sections import ROOT, scripts

RUNS = ROOT / "docs" / "runs"
HERE = f"{platform.python_implementation()}, {platform.system()} {platform.machine()}"
NOTE = "What each script prints, written by `python tests/tools/kept_runs.py write` on"


def run(path: Path) -> tuple[int, str, float]:
    """(exit status, stdout, seconds)."""
    start = time.perf_counter()
    command = [sys.executable, "-I", "-X", "utf8", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, encoding="utf-8")
    return done.returncode, done.stdout, time.perf_counter() - start


def main(mode: str, names: list[str]) -> int:
    chosen = [path for path in scripts() if not names or path.stem in names]
    readme = RUNS / "README.md"
    compare = mode == "check" and HERE in readme.read_text("utf-8")
    failed = 0
    with ThreadPoolExecutor(2) as pool:
        for path, (status, output, seconds) in zip(chosen, pool.map(run, chosen)):
            kept = RUNS / f"{path.stem}.txt"
            if mode == "write":
                kept.write_text(output, "utf-8")
            same = not compare or kept.read_text("utf-8") == output
            failed += status != 0 or not same
            words = f"{path.name}: {seconds:.0f} s, exit status {status}"
            print(words + ("" if same else f", stdout differs from {kept}"), flush=True)
    if mode == "write":
        readme.write_text(f"{NOTE}\n\n    {HERE}\n", "utf-8")
    elif not compare:
        print(f"kept on another platform than {HERE}: only the claims were checked")
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    if sys.argv[1:2] not in (["check"], ["write"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
