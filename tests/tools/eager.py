"""The engine beside PyTorch in eager mode: the same training step, the same sampling.

    pip install --group golden
    python tests/tools/eager.py

The training step is forward, backward and Adam for one name of eight letters; PyTorch reads the
name in parallel, as its users would write it. Sampling is letter by letter with a cache of keys and
values, ten letters. PyTorch has one thread and float32; a first step in float64 checks that both
compute the same gradients. Each figure is the median of rounds in which both are timed; run it on a
quiet machine. Prints Markdown.
"""

import gc
import random
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.golden.generate import torch_gpt
from tests.tools.benchmark import TOKENS, engine, load

LETTERS = 10
WIDTHS = (8, 16, 32, 64, 128)


def torch_weights(w, dtype, grad):
    return {k: torch.tensor(v, dtype=dtype, requires_grad=grad) for k, v in w.items()}


def torch_loss(w, tokens, heads):
    logits = torch_gpt(w, tokens[:-1], heads, 1)
    return F.cross_entropy(logits, torch.tensor(tokens[1:]))


def norm(x):
    return F.rms_norm(x, x.shape, eps=1e-5)


def torch_next(w, token, cache, heads):
    """Logits of the next letter; keys and values are appended to the cache, shape (t, heads, d)."""
    d = w["wpe"].shape[1]
    x = norm(w["wte"][token] + w["wpe"][len(cache)])
    h = norm(x)
    cache.append([(w[f"0.{name}"] @ h).view(heads, -1) for name in ("wk", "wv")])
    query = (w["0.wq"] @ h).view(heads, 1, -1)
    keys, values = (torch.stack(rows, 1) for rows in zip(*cache))
    mixed = F.scaled_dot_product_attention(query, keys, values)
    x = x + w["0.wo"] @ mixed.reshape(d)
    x = x + w["0.w2"] @ F.relu(w["0.w1"] @ norm(x))
    return w["lm_head"] @ x


def check(m, w):
    """Both compute the same gradients, and the same logits letter by letter."""
    model, other = m.unfreeze(w), torch_weights(w, torch.float64, True)
    loss = m.total(m.token_losses(model, TOKENS)) / (len(TOKENS) - 1)
    loss.backward()
    torch_loss(other, TOKENS, m.N_HEAD).backward()
    ours, theirs = m.new_cache(), []
    for token in TOKENS[:-1]:
        a, b = m.gpt(w, token, ours), torch_next(other, token, theirs, m.N_HEAD)
        assert torch.allclose(torch.tensor(a, dtype=b.dtype), b, atol=1e-12)
    for name, matrix in model.items():
        grads = torch.tensor([[p.grad for p in row] for row in matrix], dtype=torch.float64)
        assert torch.allclose(grads, other[name].grad, atol=1e-12), name


def trainers(m, w, d):
    """One training step of each."""
    forward, backward, adam, free = engine(m, d)
    theirs = torch_weights(w, torch.float32, True)
    optimizer = torch.optim.Adam(theirs.values(), lr=1e-9)

    def ours():
        forward()
        backward()
        adam()
        free()

    def eager():
        optimizer.zero_grad()
        torch_loss(theirs, TOKENS, m.N_HEAD).backward()
        optimizer.step()

    return ours, eager


def samplers(m, w):
    """LETTERS letters drawn by each; every one reads the same tokens, whatever was drawn."""
    theirs, rng = torch_weights(w, torch.float32, False), random.Random(1)

    def ours():
        cache = m.new_cache()
        for token in range(LETTERS):
            chances = m.softmax(m.gpt(w, token, cache))
            rng.choices(range(len(chances)), chances)

    def eager():
        cache = []
        with torch.no_grad():
            for token in range(LETTERS):
                logits = torch_next(theirs, token, cache, m.N_HEAD)
                int(torch.multinomial(F.softmax(logits, 0), 1))

    return ours, eager


def medians(ours, eager, rounds):
    """Milliseconds of each, and the median of their ratio, over rounds that time both."""
    table = []
    for _ in range(rounds):
        row = []
        for f in (ours, eager):
            f()
            start = time.perf_counter()
            f()
            row.append(1000 * (time.perf_counter() - start))
        table.append(row)
    a, b = (statistics.median(column) for column in zip(*table))
    return a, b, statistics.median(x / y for x, y in table)


def main():
    torch.set_num_threads(1)
    gc.disable()  # as the scripts do
    m = load("fused")
    print(f"CPython {sys.version.split()[0]}, PyTorch {torch.__version__}, one thread, ms\n")
    print("| d | step | eager | step/eager | sampling | eager | sampling/eager |")
    print("|" + " --- |" * 7)
    for d in WIDTHS:
        m.N_EMBD, m.N_LAYER = d, 1
        w = m.init_model(27, random.Random(1))
        check(m, w)
        step = medians(*trainers(m, w, d), 25 if d < 64 else 9)
        drawing = medians(*samplers(m, w), 25)
        print(
            f"| {d} "
            + "".join(f"| {a:.2f} | {b:.2f} | {r:.2f} " for a, b, r in (step, drawing))
            + "|"
        )


if __name__ == "__main__":
    main()
