"""Run times: each script's default run, and a training step by width and length.

    python tests/tools/times.py "NAME OF THE MACHINE"     writes its part of docs/results/times.md

One thing at a time, so let nothing else run. Where PyTorch is installed, the same step in eager
PyTorch (float32, one thread, the model of tests/golden/pytorch.py) stands beside ours.
"""

import gc
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.sections import ROOT, scripts

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(ROOT))
import microdpo as m

PAGE = ROOT / "docs" / "results" / "times.md"
WIDTHS, LENGTHS = (8, 16, 32, 64), (4, 8, 16, 32)


def script_times() -> list[str]:
    """A row of user seconds for each script."""
    rows = []
    for path in scripts():
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([sys.executable, path.name], cwd=path.parent, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        rows.append(f"| {path.stem} | {after - before:.0f} |")
        print(rows[-1], flush=True)
    return rows


def milliseconds(step, repeat=7) -> float:
    """The median time of a step, after a first one that does not count."""
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def ours(tokens: list[int]):
    model = m.unfreeze(m.init_gpt(random.Random(1)))
    optimizer = m.Adam(m.parameters(model))

    def step():
        losses = m.token_losses(model, tokens)
        (m.total(losses) * (1.0 / len(losses))).backward()
        optimizer.step(0.001)

    return step


def eager(tokens: list[int]):
    """The same in PyTorch, or None."""
    try:
        import torch

        from tests.golden import pytorch
    except ImportError:
        return None
    torch.set_num_threads(1)
    start = m.init_gpt(random.Random(1))
    model = {name: torch.tensor(w, requires_grad=True) for name, w in start.items()}
    optimizer = torch.optim.Adam(model.values(), lr=0.001, betas=(0.9, 0.99))
    x = torch.tensor([tokens])

    def step():
        optimizer.zero_grad()
        (-pytorch.token_log_probs(pytorch.gpt(model, x, m.N_HEAD), x).mean()).backward()
        optimizer.step()

    return step


def growth() -> list[str]:
    """A row for each width and length: milliseconds of ours and of eager PyTorch."""
    rows = []
    for width, length in [(d, 8) for d in WIDTHS] + [(8, n) for n in LENGTHS if n != 8]:
        m.N_EMBD, m.BLOCK_SIZE = width, length + 1
        tokens = [random.Random(i).randrange(27) for i in range(length + 1)]
        cells = [f"{milliseconds(s):.1f}" if s else "" for s in (ours(tokens), eager(tokens))]
        rows.append(f"| {width} | {length} | {cells[0]} | {cells[1]} |")
        print(rows[-1], flush=True)
    return rows


def main(machine: str) -> None:
    heading = f"## {machine}, CPython {platform.python_version()}"
    rows = script_times()
    four = sum(float(row.split("|")[2]) for row in rows[:4])
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # Linux: kilobytes
    gc.disable()
    part = [heading, "", "| script | seconds |", "| --- | --- |", *rows, ""]
    part += [f"The four at the top take {four:.0f} s. Peak memory: at most {memory:.0f} MB.", ""]
    part += [
        "| width | tokens | ms, this project | ms, PyTorch eager |",
        "| --- | --- | --- | --- |",
    ]
    text = "\n".join([*part, *growth()]) + "\n\n"
    page = PAGE.read_text("utf-8")
    page = re.sub(rf"^{re.escape(heading)}\n(?:.*\n)*?(?=## )", "", page, flags=re.M)
    PAGE.write_text(page.replace("## Beside the peer", text + "## Beside the peer"), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
