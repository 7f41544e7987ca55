"""Write distill.json: soft targets, KL with a temperature, and their gradients, by PyTorch.

    pip install torch==2.13.0
    python tests/golden/generate_distill.py

Like generate.py, in float64. The loss of distillation as PyTorch's users write it is
F.kl_div(log_softmax(z / T), softmax(v / T)) * T^2, for the student's logits z and the teacher's v.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent


def numbers(rng, count, scale=1.0):
    return [rng.gauss(0.0, scale) for _ in range(count)]


def tensor(x, grad=False):
    import torch

    return torch.tensor(x, dtype=torch.float64, requires_grad=grad)


def distill():
    """For several temperatures and sizes of the logits: KL, cross-entropy, gradients, entropy."""
    import torch
    from torch.nn import functional as F

    rng, cases = random.Random(17), []
    for t in (0.5, 1.0, 2.0, 8.0):
        for scale in (0.1, 1.0, 5.0, 300.0):
            z, v = numbers(rng, 7, scale=scale), numbers(rng, 7, scale=min(scale, 5.0))
            q = F.softmax(tensor(v) / t, 0)
            logits, other = tensor(z, True), tensor(z, True)
            kl = F.kl_div(F.log_softmax(logits / t, 0), q, reduction="sum") * t**2
            kl.backward()
            soft = F.cross_entropy(other[None] / t, q[None]) * t**2
            soft.backward()
            cases.append({
                "t": t,
                "z": z,
                "v": v,
                "q": q.tolist(),
                "kl": kl.item(),
                "grads": logits.grad.tolist(),
                "cross entropy": soft.item(),
                "cross entropy's grads": other.grad.tolist(),
                "entropy": torch.distributions.Categorical(probs=q).entropy().item(),
            })  # fmt: skip
    smooth = []
    for share in (0.1, 0.5):
        z = numbers(rng, 7)
        logits = tensor(z, True)
        loss = F.cross_entropy(logits[None], torch.tensor([3]), label_smoothing=share)
        loss.backward()
        row = {"share": share, "z": z, "right": 3, "loss": loss.item()}
        smooth.append({**row, "grads": logits.grad.tolist()})
    return {"soft": cases, "smoothed": smooth}


if __name__ == "__main__":
    path = HERE / "distill.json"
    path.write_text(json.dumps(distill(), separators=(",", ":")) + "\n", "utf-8")
    print(f"{path.name}: {path.stat().st_size} bytes")
