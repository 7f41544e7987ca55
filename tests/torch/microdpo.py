"""microdpo.py in PyTorch: DPO and SFT on the comparisons of a tiny GPT's completions.

    python tests/torch/microdpo.py check [SEED]     pretraining, and every policy's training on the
                                                    script's own comparisons
    python tests/torch/microdpo.py rates 0-15       gold and KL divergence by learning rate
"""

import random
from statistics import fmean

import gpt
import task
import torch
from torch.nn import functional as F

script = gpt.load("microdpo")
RATES = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032]


def train(reference, chosen, rejected, beta, lr):
    """DPO, or SFT on the chosen completions if beta is None. chosen and rejected: (tokens, mask) of
    shape (models, comparisons, ...); lr: a rate for each model."""
    policy = gpt.learnable(reference)
    optimizer = gpt.Adam(policy.values())
    for step in range(script.STEPS):
        batch = slice(step * script.BATCH, (step + 1) * script.BATCH)
        y_w, y_l = ([x[:, batch] for x in side] for side in (chosen, rejected))
        if beta is None:
            losses = -task.sequence_log_probs(script, policy, *y_w)
        else:
            logratio_w, logratio_l = (log_ratio(policy, reference, *y) for y in (y_w, y_l))
            losses = -F.logsigmoid(beta * (logratio_w - logratio_l))
        losses.mean(1).sum().backward()  # a mean over the batch; the sum keeps models apart
        optimizer.step(lr * script.schedule(step, script.STEPS))
    return gpt.detach(policy)


def log_ratio(policy, reference, tokens, mask):
    """log pi(y|x) - log pi_ref(y|x), shape (models, completions)."""
    with torch.no_grad():
        ref = task.sequence_log_probs(script, reference, tokens, mask)
    return task.sequence_log_probs(script, policy, tokens, mask) - ref


# --- Commands -------------------------------------------------------------------------------------


def check(seed):
    """The script's reference and comparisons; both train on them. No sampling in PyTorch."""
    rng = random.Random(seed)
    reference = script.pretrain(script.NAMES, rng)
    comparisons = [script.compare(reference, script.NAMES, rng) for _ in range(script.COMPARISONS)]
    comparisons = script.with_reference(reference, comparisons[script.HELD_OUT :])
    names = [f".{name}." for name in script.NAMES]
    losses = [x for name in names for x in script.token_losses(reference, script.encode(name))]
    ours, _ = task.pretrain(script, [seed])
    loss = gpt.mean_loss(ours, *gpt.encode(script, [names]), script.N_HEAD)
    rows = [("loss after pretraining", fmean(losses), loss.item())]

    prompts, ys_w, ys_l, *_ = zip(*comparisons)
    chosen, rejected = (task.pad(script, [prompts], [ys]) for ys in (ys_w, ys_l))
    start, lr = gpt.stack([reference]), torch.tensor([script.LR])
    for beta in (None, *script.BETAS):
        label = "SFT" if beta is None else f"beta {beta}"
        if beta is None:
            policy = script.train_sft(reference, comparisons)
        else:
            policy = script.train_dpo(reference, comparisons, beta)
        ratios = [fmean(column) for column in zip(*script.log_ratios(policy, comparisons))]
        ours = train(start, chosen, rejected, beta, lr)
        for what, theirs, side in zip(("logratio_w", "logratio_l"), ratios, (chosen, rejected)):
            rows.append((f"{label}, {what}", theirs, log_ratio(ours, start, *side).mean().item()))
    return gpt.compare(rows, 1e-9)


def rates(seeds):
    generator = torch.Generator().manual_seed(seeds[0])
    reference, rngs = task.pretrain(script, seeds)
    n = script.COMPARISONS - script.HELD_OUT
    sides = task.compare(script, reference, rngs, n, generator)
    prompts = task.sample_prompts(script, rngs, script.SAMPLES)
    gold, kl = task.measure(script, reference, reference, prompts, generator)
    print(f"Means over seeds {seeds[0]} to {seeds[-1]}. The reference's gold: {gold.mean():.3f}")
    k, lr = len(RATES), torch.tensor(RATES).repeat(len(seeds))
    start, prompts = gpt.repeat(reference, k), [x for x in prompts for _ in RATES]
    chosen, rejected = ([x.repeat_interleave(k, 0) for x in side] for side in sides)
    golds, kls = {}, {}
    for beta in (None, *script.BETAS):
        label = "SFT" if beta is None else f"beta {beta}"
        policy = train(start, chosen, rejected, beta, lr)
        gold, kl = task.measure(script, policy, start, prompts, generator)
        golds[label], kls[label] = (x.view(-1, k).mean(0).tolist() for x in (gold, kl))
    gpt.print_rates("gold, by learning rate", RATES, golds, max)
    gpt.print_rates("KL, nats", RATES, kls)


if __name__ == "__main__":
    gpt.run(check, rates)
