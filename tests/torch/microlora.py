"""microlora.py in PyTorch: low-rank adaptation of a tiny GPT, all seeds and rates at once.

    python tests/torch/microlora.py check [SEED]     against the script's default run, every row
    python tests/torch/microlora.py rates 0-15       loss and share of the gain by learning rate
"""

import random

import gpt
import torch

script = gpt.load("microlora")
RATES = [0.0025 * 2**i for i in range(8)]


# --- From the script: data, initial weights and random choices ------------------------------------


def setup(seed):
    """Initial weights; the names of every step, of pretraining and adaptation; those held out."""
    rng = random.Random(seed)
    english, korean = (rng.sample(x, len(x)) for x in (script.NAMES, script.KOREAN))
    start = script.init_gpt(rng)
    english, english_test = english[script.ENGLISH_TEST :], english[: script.ENGLISH_TEST]
    korean, korean_test = korean[script.KOREAN_TEST :], korean[: script.KOREAN_TEST]
    pretraining = [rng.choice(english) for _ in range(script.PRETRAIN_STEPS)]
    rng = random.Random(seed)
    adaptation = [rng.choice(korean) for _ in range(script.STEPS)]
    return start, pretraining, adaptation, korean_test, english_test


def all_rows(base, seeds):
    """For each row: label, its matrices for every seed, masks of what learns in them, its rate."""
    for rows in zip(*map(script.all_rows, gpt.unstack(base), seeds)):
        label, *_, lr = rows[0]
        models, learning = [row[1] for row in rows], [set(row[2]) for row in rows]
        masks = [
            {name: [[x in ids for x in row] for row in w] for name, w in model.items()}
            for model, ids in zip(models, learning)
        ]
        yield label, gpt.stack([script.freeze(model) for model in models]), gpt.stack(masks), lr


# --- LoRA -----------------------------------------------------------------------------------------


def merge(w):
    """W + (alpha / r) B A for every W that has an adapter. The gradients of A and B flow through
    the sum; that of W is not asked for. (Large models compute W x and B (A x) apart: the sum would
    be as large as W.)"""
    merged = dict(w)
    for name in w:
        if name.endswith(".A"):
            a, b, target = w[name], w[name[:-1] + "B"], name[:-2]
            merged[target] = w[target] + script.ALPHA / a.shape[-2] * b @ a
    return merged


def evaluate(w, names):
    """The mean loss per token, shape (models,)."""
    texts = [[f".{name}." for name in batch] for batch in names]
    return gpt.mean_loss(merge(w), *gpt.encode(script, texts), script.N_HEAD)


def train(base, values, masks, lr, names):
    """Adam moves values, matrices that are laid over the base, where their masks are True. names
    has a list for every model, one name per step; lr a rate for every model."""
    values = gpt.learnable(values)
    optimizer = gpt.Adam(values.values())
    for step, batch in enumerate(zip(*names)):
        loss = evaluate({**base, **values}, [[name] for name in batch])
        loss.sum().backward()
        for name, x in values.items():
            x.grad *= masks[name]
        optimizer.step(lr * script.schedule(step, len(names[0])))
    return {**base, **gpt.detach(values)}


def pretrain(start, names):
    everything = {name: torch.ones_like(x) for name, x in start.items()}
    lr = torch.full((len(names),), script.PRETRAIN_LR)
    return train({}, start, everything, lr, names)


# --- Commands -------------------------------------------------------------------------------------


def check(seed):
    """The script's whole run, whose table is taken in full precision, and ours."""
    table = dict(gpt.printed_rows(script, seed, script.NAMES))
    start, pretraining, adaptation, korean, english = setup(seed)
    base = pretrain(gpt.stack([start]), [pretraining])
    rows = []
    for label, values, masks, lr in all_rows(base, [seed]):
        w = train(base, values, masks, torch.tensor([lr]), [adaptation])
        for column, names in (("Korean", korean), ("English", english)):
            rows.append((f"{label}, {column}", table[label][column], evaluate(w, [names]).item()))
    return gpt.compare(rows, 1e-9)


def rates(seeds):
    starts, pretraining, adaptation, korean, _ = zip(*map(setup, seeds))
    base = pretrain(gpt.stack(starts), pretraining)
    n, shape = len(RATES), (len(seeds), len(RATES))
    adaptation, korean_n = ([x for x in xs for _ in RATES] for xs in (adaptation, korean))
    before = evaluate(base, korean)
    losses, shares, full, kept = {}, {}, None, {}
    for label, values, masks, lr in all_rows(base, seeds):
        if "slow" in label:
            continue
        lrs = torch.tensor(RATES).repeat(len(seeds))
        w = train(gpt.repeat(base, n), gpt.repeat(values, n), gpt.repeat(masks, n), lrs, adaptation)
        loss = evaluate(w, korean_n).view(shape)
        full = loss[:, RATES.index(script.FULL_LR)] if full is None else full
        share = (before[:, None] - loss) / (before - full)[:, None]
        losses[label], shares[label] = loss.mean(0).tolist(), share.mean(0).tolist()
        kept[label] = losses[label][RATES.index(lr)] - min(losses[label])
    print(f"Means over seeds {seeds[0]} to {seeds[-1]}. The base: {before.mean():.3f}")
    gpt.print_rates("held-out loss on Korean", RATES, losses, min)
    gpt.print_rates("of full's gain", RATES, shares, max)
    print("\nWhat the settings' rate costs over the best of the grid, nats:")
    print(", ".join(f"{label} {cost:.3f}" for label, cost in kept.items()))


if __name__ == "__main__":
    gpt.run(check, rates)
