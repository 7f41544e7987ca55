"""Write batchnorm.json: what torch.nn.BatchNorm1d computes, in float64.

    python tests/golden/generate_batchnorm.py

Forward, backward, running statistics over several batches, and evaluation with them; and a small
deep network made of Linear, BatchNorm1d and ReLU, with the gradient of every weight.
"""

import json
import random
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent


def numbers(rng, *shape, scale=1.0, middle=0.0):
    """A nested list of normal numbers."""
    if not shape:
        return rng.gauss(middle, scale)
    return [numbers(rng, *shape[1:], scale=scale, middle=middle) for _ in range(shape[0])]


def tensor(x, grad=False):
    return torch.tensor(x, dtype=torch.float64, requires_grad=grad)


def layers():
    """One layer: batches of several sizes and scales, one after the other."""
    cases = []
    for seed, (n, units, scale) in enumerate(((2, 3, 1.0), (5, 4, 3.0), (32, 3, 1e-3))):
        rng = random.Random(seed)
        layer = nn.BatchNorm1d(units, dtype=torch.float64)
        gain, shift = numbers(rng, units, middle=1.0), numbers(rng, units)
        layer.weight.data, layer.bias.data = tensor(gain), tensor(shift)
        steps = []
        for _ in range(3):
            rows, weights = numbers(rng, n, units, scale=scale, middle=0.5), numbers(rng, n, units)
            x = tensor(rows, True)
            layer.zero_grad()
            y = layer(x)
            (y * tensor(weights)).sum().backward()
            steps.append(
                {
                    "rows": rows,
                    "weights": weights,
                    "y": y.tolist(),
                    "dx": x.grad.tolist(),
                    "dgain": layer.weight.grad.tolist(),
                    "dshift": layer.bias.grad.tolist(),
                    "running mean": layer.running_mean.tolist(),
                    "running variance": layer.running_var.tolist(),
                }
            )
        layer.eval()
        with torch.no_grad():
            rest = layer(tensor(steps[0]["rows"])).tolist()
        cases.append({"gain": gain, "shift": shift, "steps": steps, "evaluation": rest})
    return cases


def network():
    """Three letters in, logits out: the loss, the gradients, and the logits in use."""
    rng = random.Random(7)
    vocabulary, width, depth, d = 5, 4, 3, 2
    contexts = [[rng.randrange(vocabulary) for _ in range(3)] for _ in range(6)]
    targets = [rng.randrange(vocabulary) for _ in contexts]
    weights = {"wte": numbers(rng, vocabulary, d)}
    for i in range(depth):
        weights[f"{i}.w"] = numbers(rng, width, width if i else 3 * d, scale=0.5)
        weights[f"{i}.gain"] = numbers(rng, 1, width, scale=0.3, middle=1.0)
        weights[f"{i}.bias"] = numbers(rng, 1, width, scale=0.3)
    weights["head"] = numbers(rng, vocabulary, width)
    weights["head.bias"] = numbers(rng, 1, vocabulary)
    cases = []
    for normed in (True, False):
        params = {k: tensor(v, True) for k, v in weights.items()}
        norms = [nn.BatchNorm1d(width, affine=False, dtype=torch.float64) for _ in range(depth)]

        def forward(params=params, norms=norms, normed=normed):
            h = params["wte"][torch.tensor(contexts)].flatten(1)
            for i in range(depth):
                h = F.linear(h, params[f"{i}.w"])
                h = norms[i](h) * params[f"{i}.gain"] if normed else h
                h = torch.relu(h + params[f"{i}.bias"])
            return F.linear(h, params["head"]) + params["head.bias"]

        loss = F.cross_entropy(forward(), torch.tensor(targets))
        loss.backward()
        for norm in norms:
            norm.eval()
        grads = {k: p.grad.tolist() for k, p in params.items() if p.grad is not None}
        with torch.no_grad():
            rest = forward().tolist()
        cases.append({"normed": normed, "loss": loss.item(), "grads": grads, "in use": rest})
    sizes = {"LAYERS": depth, "WIDTH": width, "N_EMBD": d}
    task = {"sizes": sizes, "contexts": contexts, "targets": targets, "weights": weights}
    return {**task, "cases": cases}


if __name__ == "__main__":
    golden = {"layers": layers(), "network": network()}
    path = HERE / "batchnorm.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n", "utf-8")
    print(path.name)
