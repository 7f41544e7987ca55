"""Write schedule.json: the paths of torch.optim.lr_scheduler, the mean of swa_utils.

    pip install --group golden        (the pinned version of torch stands in pyproject.toml)
    python tests/golden/generate_schedule.py

The rates are those that each scheduler gives to the steps 0, 1, 2 ... of a run, at a base rate of
1. The average is what AveragedModel holds after every update_parameters().
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPS, RISE, FALL = 60, 6, 12  # of a run, of its warmup, of the decay at the end of WSD


def rates(new_scheduler):
    """The rate of every step: the scheduler moves on after each."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=1.0)
    scheduler, found = new_scheduler(optimizer, torch.optim.lr_scheduler), []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def paths():
    def down(optimizer, s, steps):
        return s.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)

    def warm(optimizer, s, then):
        rise = s.LinearLR(optimizer, start_factor=1 / RISE, end_factor=1.0, total_iters=RISE - 1)
        return s.SequentialLR(optimizer, [rise, then], milestones=[RISE])

    return {
        "constant": rates(lambda o, s: s.ConstantLR(o, factor=1.0)),
        "step": rates(lambda o, s: s.MultiStepLR(o, [STEPS // 2, 3 * STEPS // 4], gamma=0.3)),
        "linear": rates(lambda o, s: down(o, s, STEPS)),
        "cosine": rates(lambda o, s: s.CosineAnnealingLR(o, T_max=STEPS)),
        "WSD": rates(
            lambda o, s: s.SequentialLR(
                o, [s.ConstantLR(o, factor=1.0), down(o, s, FALL)], milestones=[STEPS - FALL]
            )
        ),
        "warmup, linear": rates(lambda o, s: warm(o, s, down(o, s, STEPS - RISE))),
        "warmup, cosine": rates(
            lambda o, s: warm(o, s, s.CosineAnnealingLR(o, T_max=STEPS - RISE))
        ),
    }


def average():
    """A weight vector on its way, and the averaged model after every step."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    rng = random.Random(1)
    model = torch.nn.Linear(4, 1, bias=False, dtype=torch.float64)
    averaged, weights, means = AveragedModel(model), [], []
    for _ in range(7):
        weights.append([rng.gauss(0.0, 1.0) for _ in range(4)])
        model.weight.data = torch.tensor([weights[-1]], dtype=torch.float64)
        averaged.update_parameters(model)
        means.append(averaged.module.weight.data[0].tolist())
    return {"weights": weights, "means": means}


if __name__ == "__main__":
    found = {"steps": STEPS, "paths": paths(), "average": average()}
    (HERE / "schedule.json").write_text(json.dumps(found) + "\n", "utf-8")
