"""Write dropout.json: what PyTorch computes for microdropout's network, mask and optimizer.

    python tests/golden/generate_dropout.py

In float64, on the CPU. The tests read the file only.
"""

import json
import random
from pathlib import Path

import torch
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent


def numbers(rng, *shape, scale=1.0):
    """A nested list of normal numbers."""
    if not shape:
        return rng.gauss(0.0, scale)
    return [numbers(rng, *shape[1:], scale=scale) for _ in range(shape[0])]


def tensor(x, grad=False):
    return torch.tensor(x, dtype=torch.float64, requires_grad=grad)


def dropout(rng):
    """F.dropout's output and gradient. Where x is not 0, its mask is y != 0."""
    cases = []
    for p in (0.3, 0.5, 0.8):
        x, g = numbers(rng, 20), numbers(rng, 20)
        inputs = tensor(x, True)
        y = F.dropout(inputs, p)
        (y * tensor(g)).sum().backward()
        kept = (y != 0).tolist()
        case = {"p": p, "x": x, "g": g, "kept": kept, "y": y.tolist()}
        cases.append({**case, "grad": inputs.grad.tolist()})
    return cases


def mlp(rng):
    """Logits, loss and all gradients, with all units on and with F.dropout before the last layer.

    weights: wte (5, 2), w1 (7, 6), w2 (5, 7); a context of three tokens.
    """
    cases = []
    for p in (0.0, 0.5):
        shapes = {"wte": (5, 2), "w1": (7, 6), "w2": (5, 7)}
        weights = {name: numbers(rng, *shape) for name, shape in shapes.items()}
        w = {name: tensor(matrix, True) for name, matrix in weights.items()}
        context, target = [0, 3, 1], 4
        h = torch.relu(F.linear(F.embedding(torch.tensor(context), w["wte"]).flatten(), w["w1"]))
        switches = F.dropout(torch.ones_like(h), p)  # 0 or 1 / (1 - p)
        logits = F.linear(h * switches, w["w2"])
        loss = F.cross_entropy(logits[None], torch.tensor([target]))
        loss.backward()
        cases.append(
            {
                "weights": weights,
                "context": context,
                "target": target,
                "mask": switches.tolist(),
                "logits": logits.tolist(),
                "loss": loss.item(),
                "grads": {name: m.grad.tolist() for name, m in w.items()},
            }
        )
    return cases


def adamw(rng):
    """The weights after every step of torch.optim.AdamW, its gradients given."""
    lr, decay, start = 0.05, 0.7, numbers(rng, 6)
    w = tensor(start, True)
    optimizer = torch.optim.AdamW([w], lr=lr, betas=(0.9, 0.99), eps=1e-8, weight_decay=decay)
    grads, path = [], []
    for step in range(8):
        g = [0.0, *numbers(rng, 5)] if step % 2 else numbers(rng, 6)
        w.grad = tensor(g)
        optimizer.step()
        grads.append(g)
        path.append(w.tolist())
    return {"lr": lr, "decay": decay, "start": start, "grads": grads, "path": path}


if __name__ == "__main__":
    torch.manual_seed(1)
    rng = random.Random(1)
    cases = {"dropout": dropout(rng), "mlp": mlp(rng), "adamw": adamw(rng)}
    path = HERE / "dropout.json"
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n", "utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes")
