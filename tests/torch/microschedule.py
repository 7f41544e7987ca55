"""microschedule.py in PyTorch: a tiny GPT learns names under six schedules, and its weights' mean.

    python tests/torch/microschedule.py check [SEED]    against the script, every row of its table
    python tests/torch/microschedule.py rates 0-15      loss by peak learning rate
"""

import random

import gpt
import torch

script = gpt.load("docs/further/microschedule")
RATES = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]
N = script.N_HEAD


def setup(seed):
    """Initial weights and the name of every step, as in the script."""
    rng = random.Random(seed)
    return script.init_gpt(rng), [rng.choice(script.NAMES) for _ in range(script.STEPS)]


def train(start, share, lr, orders):
    """orders: for every model the name of every step. Return the snapshots of the second half."""
    w, steps, snapshots = gpt.learnable(start), script.STEPS, []
    optimizer = gpt.Adam(w.values())
    for step, names in enumerate(zip(*orders)):
        texts = [[f".{name}."] for name in names]
        gpt.mean_loss(w, *gpt.encode(script, texts), N).sum().backward()
        optimizer.step(lr * share(step, steps))
        if step >= steps // 2 and (steps - step - 1) % script.EVERY == 0:
            snapshots.append({name: x.detach().clone() for name, x in w.items()})
    return snapshots


def measure(label, snapshots):
    """The loss on all names at the end, and of the averaged weights, each of shape (models,)."""
    models = len(snapshots[0]["wte"])
    names = gpt.encode(script, [[f".{name}." for name in script.NAMES]])
    names = [x.expand(models, -1, -1) for x in names]
    last = script.STEPS // 5 // script.EVERY if label == "constant" else 1  # it still jumps
    final = torch.stack([gpt.mean_loss(w, *names, N) for w in snapshots[-last:]]).mean(0)
    mean = {name: torch.stack([w[name] for w in snapshots]).mean(0) for name in snapshots[0]}
    return final, gpt.mean_loss(mean, *names, N)


# --- Commands -------------------------------------------------------------------------------------


def check(seed):
    start, order = setup(seed)
    rows, w = [], gpt.stack([start])
    for peak, labels in ((script.HIGH, script.SCHEDULES), (script.LOW, ("constant", "linear"))):
        for label in labels:
            share = script.SCHEDULES[label]
            run = script.train(label, start, share, peak, order)
            theirs = script.measure(label, run, script.NAMES)
            ours = measure(label, train(w, share, torch.tensor([peak]), [order]))
            for what, x in zip(("final", "averaged"), ours):
                rows.append((f"{label}, {peak}, {what}", theirs[what], x.item()))
    return gpt.compare(rows, 1e-9)


def rates(seeds):
    starts, orders = zip(*map(setup, seeds))
    start, orders = gpt.repeat(gpt.stack(starts), len(RATES)), [x for x in orders for _ in RATES]
    lr, rows = torch.tensor(RATES).repeat(len(seeds)), {}
    for label, share in script.SCHEDULES.items():
        final, averaged = (
            x.view(-1, len(RATES)).mean(0).tolist()
            for x in measure(label, train(start, share, lr, orders))
        )
        rows[label], rows[f"{label}, averaged"] = final, averaged
    print(f"Means over seeds {seeds[0]} to {seeds[-1]}")
    gpt.print_rates("loss on all names, by peak", RATES, rows, min)


if __name__ == "__main__":
    gpt.run(check, rates)
