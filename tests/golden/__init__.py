"""Golden files: JSON that the generators in this folder write and the tests read.

    pip install --group golden                  (the versions stand in pyproject.toml)
    python -m tests.golden.generate_torch       and so on: one generator a library

Inputs are rounded to three decimals, results are float64 to the last digit.
"""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent


def read(name):
    return json.loads((HERE / f"{name}.json").read_text("utf-8"))


def write(name, case):
    path = HERE / f"{name}.json"
    path.write_text(json.dumps(case, separators=(",", ":")) + "\n", "utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes")


def numbers(rng, *shape, scale=1.0):
    """A nested list of normal numbers."""
    if not shape:
        return round(rng.gauss(0.0, scale), 3)
    return [numbers(rng, *shape[1:], scale=scale) for _ in range(shape[0])]


def gpt_weights(rng, vocab_size, d, n_layer, block_size):
    shapes = {"wte": (vocab_size, d), "wpe": (block_size, d), "lm_head": (vocab_size, d)}
    for i in range(n_layer):
        shapes |= {f"{i}.{name}": (d, d) for name in ("wq", "wk", "wv", "wo")}
        shapes |= {f"{i}.w1": (4 * d, d), f"{i}.w2": (d, 4 * d)}
    return {name: numbers(rng, *shape, scale=0.4) for name, shape in shapes.items()}
