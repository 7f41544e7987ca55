"""How fast the engine is, beside two yardsticks, in one process.

    python tests/tools/benchmark.py             training steps, growth, memory: half a minute
    python tests/tools/benchmark.py scripts     before that, the time and the peak memory of each script

One step is forward and backward for one name of eight letters, and Adam. The yardsticks:
- plain: the same Value class and model, with a node for every multiplication and every addition;
- floor: backpropagation written by hand on lists of floats, without any autograd: what this
  interpreter needs for the arithmetic itself. Its gradients are checked against the engine's.
The engine skips what relu() switched off, here half of the hidden units; the yardsticks do not.
Medians of several repetitions; run it on a quiet machine. Prints Markdown.
"""

import gc
import importlib.util
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from operator import mul
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.blocks import ROOT
from tests.tools.blocks import scripts as collection

TOKENS = [0, 5, 13, 13, 1, 12, 9, 20, 8, 0]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "microlora.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def plain_engine():
    """The shared text with its fused operations taken apart into operators."""
    m = load("plain")

    def total(xs):
        result = xs[0]
        for x in xs[1:]:
            result = result + x
        return result

    def dot(a, b):
        return total([x * y for x, y in zip(a, b)])

    def softmax(logits, t=1.0):
        top = max(z.data for z in logits)
        exps = [((z - top) / t).exp() for z in logits]
        norm = total(exps)
        return [e / norm for e in exps]

    def attend(scores, values, t):
        chances = softmax(scores, t)
        return [dot(chances, column) for column in zip(*values)]

    def cross_entropy(logits, target):
        return softmax(logits)[target].log() * -1.0

    def rmsnorm(x):
        scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
        return [v * scale for v in x]

    def linear(weights, x):
        return [dot(row, x) for row in weights]

    for fused in (total, dot, softmax, attend, cross_entropy, rmsnorm, linear):
        setattr(m, fused.__name__, fused)
    return m


def matvec(rows, x):
    return [sum(map(mul, row, x)) for row in rows]


def rms(x):
    scale = (sum(map(mul, x, x)) / len(x) + 1e-5) ** -0.5
    return scale, [v * scale for v in x]


def rms_backward(g, y, scale):
    """y = x s, s = (mean x^2 + eps)^-1/2: dx = s (g - y (g.y) / n)."""
    k = sum(map(mul, g, y)) / len(y)
    return [scale * (a - b * k) for a, b in zip(g, y)]


def outer(grad_rows, g, x):
    for row, slope in zip(grad_rows, g):
        if slope:
            row[:] = [old + slope * v for old, v in zip(row, x)]


def floor_step(w, grads, tokens, heads):
    """Loss and gradients of a one-layer model, by hand; the derivatives of section 5's gpt()."""
    d = len(w["wpe"][0])
    size = d // heads
    parts = [slice(i, i + size) for i in range(0, d, size)]
    columns = {
        k: list(zip(*w[k])) for k in ("0.wq", "0.wk", "0.wv", "0.wo", "0.w1", "0.w2", "lm_head")
    }
    n = len(tokens) - 1
    keys, values, notes, loss = [], [], [], 0.0
    for t, token in enumerate(tokens[:-1]):
        s0, x0 = rms([a + b for a, b in zip(w["wte"][token], w["wpe"][t])])
        s1, h = rms(x0)
        q = [v * size**-0.5 for v in matvec(w["0.wq"], h)]
        keys.append(matvec(w["0.wk"], h))
        values.append(matvec(w["0.wv"], h))
        mixed, attention = [], []
        for part in parts:
            scores = [sum(map(mul, q[part], k[part])) for k in keys]
            top = max(scores)
            exps = [math.exp(s - top) for s in scores]
            norm = sum(exps)
            p = [e / norm for e in exps]
            attention.append(p)
            mixed += [sum(map(mul, p, column)) for column in zip(*(v[part] for v in values))]
        x1 = [a + b for a, b in zip(x0, matvec(w["0.wo"], mixed))]
        s2, h2 = rms(x1)
        r = [max(v, 0.0) for v in matvec(w["0.w1"], h2)]
        x2 = [a + b for a, b in zip(x1, matvec(w["0.w2"], r))]
        z = matvec(w["lm_head"], x2)
        top = max(z)
        exps = [math.exp(v - top) for v in z]
        norm = sum(exps)
        target = tokens[t + 1]
        loss += (math.log(norm) + top - z[target]) / n
        dz = [e / norm / n for e in exps]
        dz[target] -= 1 / n
        notes.append((s0, x0, s1, h, q, attention, mixed, s2, h2, r, x2, dz))
    dkeys = [[0.0] * d for _ in range(n)]
    dvalues = [[0.0] * d for _ in range(n)]
    for t in reversed(range(n)):
        s0, x0, s1, h, q, attention, mixed, s2, h2, r, x2, dz = notes[t]
        outer(grads["lm_head"], dz, x2)
        dx = matvec(columns["lm_head"], dz)
        outer(grads["0.w2"], dx, r)
        dr = [g if v > 0 else 0.0 for g, v in zip(matvec(columns["0.w2"], dx), r)]
        outer(grads["0.w1"], dr, h2)
        dh2 = rms_backward(matvec(columns["0.w1"], dr), h2, s2)
        dx = [a + b for a, b in zip(dx, dh2)]
        outer(grads["0.wo"], dx, mixed)
        dmixed = matvec(columns["0.wo"], dx)
        dq = []
        for part, p in zip(parts, attention):
            g = dmixed[part]
            dp = [sum(map(mul, g, v[part])) for v in values[: t + 1]]
            for i, weight in enumerate(p):
                dvalues[i][part] = [a + weight * b for a, b in zip(dvalues[i][part], g)]
            mean = sum(map(mul, p, dp))
            ds = [a * (b - mean) for a, b in zip(p, dp)]
            dq += [sum(map(mul, ds, c)) for c in zip(*(k[part] for k in keys[: t + 1]))]
            for i, slope in enumerate(ds):
                dkeys[i][part] = [a + slope * b for a, b in zip(dkeys[i][part], q[part])]
        dq = [v * size**-0.5 for v in dq]
        dh = [0.0] * d
        for name, g in (("0.wq", dq), ("0.wk", dkeys[t]), ("0.wv", dvalues[t])):
            outer(grads[name], g, h)
            dh = [a + b for a, b in zip(dh, matvec(columns[name], g))]
        dx = [a + b for a, b in zip(dx, rms_backward(dh, h, s1))]
        de = rms_backward(dx, x0, s0)
        for row in (grads["wte"][tokens[t]], grads["wpe"][t]):
            row[:] = [a + b for a, b in zip(row, de)]
    return loss


def mean_step_loss(m, model, tokens):
    return m.total(m.token_losses(model, tokens)) / (len(tokens) - 1)


def engine(m, d, layers=1, tokens=TOKENS):
    """Functions that run forward, backward and Adam once, and one that frees the graph."""
    m.N_EMBD, m.N_LAYER, m.INIT_STD = d, layers, 0.08
    model = m.unfreeze(m.init_model(27, random.Random(1)))
    adam, kept = m.Adam(m.weights_of(model)), {}

    def forward():
        m.N_EMBD, m.N_LAYER = d, layers
        kept["loss"] = mean_step_loss(m, model, tokens)

    return forward, lambda: kept["loss"].backward(), lambda: adam.step(1e-9), kept.clear


def floor(m, d):
    """A function that runs forward and backward of the floor; its gradients are checked first."""
    m.N_EMBD, m.N_LAYER = d, 1
    w = m.init_model(27, random.Random(1))
    grads = {k: [[0.0] * len(row) for row in v] for k, v in w.items()}
    loss = floor_step(w, grads, TOKENS, m.N_HEAD)
    model = m.unfreeze(w)
    check = mean_step_loss(m, model, TOKENS)
    check.backward()
    assert abs(check.data - loss) < 1e-12
    for name, matrix in model.items():
        for row, grad_row in zip(matrix, grads[name]):
            assert all(abs(p.grad - g) < 1e-9 for p, g in zip(row, grad_row)), name
    return lambda: floor_step(w, grads, TOKENS, m.N_HEAD)


def medians_ms(groups, rounds):
    """Run all groups of functions in turn, each group once to warm up and once timed, rounds times.
    Returns the median times in ms and the rounds: what is compared is timed side by side."""
    table = []
    for _ in range(rounds):
        row = []
        for group in groups:
            for f in group:
                f()
            for f in group:
                start = time.perf_counter()
                f()
                row.append(1000 * (time.perf_counter() - start))
        table.append(row)
    return [statistics.median(column) for column in zip(*table)], table


def steps():
    fused, plain = load("fused"), plain_engine()
    print(f"{platform.python_implementation()} {platform.python_version()}, ms, medians\n")
    print(
        "| d | parameters | forward | backward | Adam | step | plain | floor | plain/step | step/floor |"
    )
    print("|" + " --- |" * 10)
    for d in (8, 16, 32):
        groups = [engine(fused, d), engine(plain, d), [floor(fused, d)]]
        (forward, backward, adam, free, *_, by_hand), rounds = medians_ms(groups, 15)
        whole = [(sum(r[:2]) + r[3], sum(r[4:6]) + r[7], r[8]) for r in rounds]
        step, slow, _ = (statistics.median(column) for column in zip(*whole))
        slower = statistics.median(b / a for a, b, _ in whole)
        above = statistics.median(a / c for a, _, c in whole)
        size = len(fused.weights_of(fused.init_model(27, random.Random(1))))
        print(
            f"| {d} | {size} | {forward:.2f} | {backward + free:.2f} | {adam:.2f}"
            f" | {step:.2f} | {slow:.1f} | {by_hand:.2f}"
            f" | {slower:.1f} | {above:.2f} |"
        )
    print(
        "\nstep, plain and floor are forward and backward, without Adam; backward includes freeing"
    )
    print("the graph. The ratios are medians over 15 rounds, each of which times all three.\n")
    print("| grows with | setting | step, ms | graph, KB a token |")
    print("| --- " * 4 + "|")
    for label, d, layers, length in (
        ("width", 8, 1, 8), ("width", 16, 1, 8), ("width", 32, 1, 8),
        ("depth", 16, 1, 8), ("depth", 16, 2, 8), ("depth", 16, 3, 8),
        ("length", 16, 1, 4), ("length", 16, 1, 8), ("length", 16, 1, 15),
    ):  # fmt: skip
        tokens = [0, *(1 + i % 26 for i in range(length)), 0]
        (forward, backward, _, free), _ = medians_ms([engine(fused, d, layers, tokens)], 11)
        model = fused.unfreeze(fused.init_model(27, random.Random(1)))
        gc.collect()
        tracemalloc.start()
        loss = mean_step_loss(fused, model, tokens)
        memory = tracemalloc.get_traced_memory()[0] / 1024 / (length + 1)
        tracemalloc.stop()
        del loss
        value = {
            "width": f"d = {d}",
            "depth": f"{layers} layer{'s' * (layers > 1)}",
            "length": f"{length} letters",
        }
        print(f"| {label} | {value[label]} | {forward + backward + free:.2f} | {memory:.0f} |")


def scripts():
    print("| script | seconds | peak memory, MB | exit status |")
    print("| --- " * 4 + "|")
    overall = 0.0
    for path in collection():
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-I", path.name],
            cwd=path.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        overall += seconds
        memory = usage.ru_maxrss / 1024
        print(f"| {path.stem} | {seconds:.0f} | {memory:.0f} | {process.returncode} |", flush=True)
    print(f"| together | {overall:.0f} | | |\n", flush=True)


if __name__ == "__main__":
    if "scripts" in sys.argv[1:]:  # first: a child's peak memory is at least its parent's
        scripts()
    gc.disable()  # as the scripts do
    steps()
