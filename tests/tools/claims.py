"""Check the scripts' claims on many seeds; never part of the tests.

    python tests/tools/claims.py run FOLDER microppo 301 302    keep in FOLDER what each run prints
    python tests/tools/claims.py write FOLDER                   docs/results/*.md from what is there

Two runs at a time, each about a minute. Choose settings on seeds up to 200, and check claims on
seeds from 301 on, which nobody has looked at.
"""

import math
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.blocks import ROOT, scripts

CLAIM = re.compile(r"^  (ok  |FAIL) (.+?) +(\S+) (<=|>=) (\S+)$", re.M)
RESULTS = ROOT / "docs" / "results"


def run(folder: Path, script: str, seed: str) -> None:
    command = [sys.executable, f"{script}.py", "--seed", seed]
    path = next(p for p in scripts() if p.stem == script)
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    (folder / f"{script}_{seed}.txt").write_text(done.stdout, "utf-8")
    print(f"{script} {seed}: exit status {done.returncode}", flush=True)


def page(script: str, runs: dict[int, str]) -> str:
    """Claim by claim: mean, spread and worst over the seeds, and the room to the bound."""
    table: dict[tuple[str, str, float], list[float]] = {}
    failures, kept = [], 0
    for seed, output in sorted(runs.items()):
        found = CLAIM.findall(output)
        assert found, f"{script} {seed} printed no claims"
        kept += all(mark == "ok  " for mark, *_ in found)
        for mark, text, measured, relation, bound in found:
            text = re.sub(r"\d+\.\d+%", "the headline's share", text.strip())
            table.setdefault((text, relation, float(bound)), []).append(float(measured))
            if mark == "FAIL":
                failures.append(f"- seed {seed}: {text}: {measured} {relation} {bound}")
    lines = [
        f"# {script}.py: its claims over seeds",
        "",
        f"Made by `python tests/tools/claims.py write` from runs with the seeds {seeds_of(runs)},",
        "which were looked at once, after the last change of a setting. *Room* is the distance",
        "from the mean to the bound, in spreads (standard deviations over seeds).",
        "",
        "| claim | bound | mean | spread | worst | room |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (text, relation, bound), xs in table.items():
        mean = sum(xs) / len(xs)
        spread = math.sqrt(sum((x - mean) ** 2 for x in xs) / max(1, len(xs) - 1))
        worst = min(xs) if relation == ">=" else max(xs)
        equal = min(xs) == max(xs)  # of which rounding may make a spread
        shown = "all equal" if equal else f"{abs(mean - bound) / spread:.1f}"
        spread = 0.0 if equal else spread
        lines.append(
            f"| {text.replace('|', chr(92) + '|')} | {relation} {bound:g} | {mean:.4g} "
            f"| {spread:.2g} | {worst:.4g} | {shown} |"
        )
    lines += ["", f"Runs that kept all their claims: {kept} of {len(runs)}.", *failures]
    return "\n".join(lines) + "\n"


def seeds_of(runs: dict[int, str]) -> str:
    return ", ".join(map(str, sorted(runs)))


def write(folder: Path) -> None:
    RESULTS.mkdir(exist_ok=True)
    for path in scripts():
        found = {
            int(file.stem.split("_")[1]): file.read_text("utf-8")
            for file in folder.glob(f"{path.stem}_*.txt")
        }
        if found:
            (RESULTS / f"{path.stem}.md").write_text(page(path.stem, found), "utf-8")
            print(f"wrote docs/results/{path.stem}.md from {len(found)} runs")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"] and len(sys.argv) > 4:
        folder, script = Path(sys.argv[2]), sys.argv[3].removesuffix(".py")
        folder.mkdir(exist_ok=True)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda seed: run(folder, script, seed), sys.argv[4:]))
    elif sys.argv[1:2] == ["write"] and len(sys.argv) == 3:
        write(Path(sys.argv[2]))
    else:
        sys.exit(__doc__)
