"""The preference task in PyTorch, as DPO, PPO, REINFORCE and GRPO share it: a GPT completes names
from their first letters; gold() is the script's. What is sampled here has its own random numbers,
so that single completions differ from the script's, and means over seeds do not."""

import random

import torch
from gpt import Adam, detach, encode, learnable, log_probs, logits, mean_loss, stack


def pretrain(script, seeds):
    """The reference of every seed, and the random generators as the script's pretrain() leaves
    them: initial weights and names are drawn in the same order."""
    rngs = [random.Random(seed) for seed in seeds]
    w = learnable(stack([script.init_gpt(rng) for rng in rngs]))
    steps, optimizer = script.PRETRAIN_STEPS, Adam(w.values())
    for step in range(steps):
        texts = [["." + rng.choice(script.NAMES) + "."] for rng in rngs]
        mean_loss(w, *encode(script, texts), script.N_HEAD).sum().backward()
        lr = script.PRETRAIN_LR * script.schedule(step, steps)
        optimizer.step(torch.full((len(rngs),), lr))
    return detach(w), rngs


def sample_prompts(script, rngs, n):
    """n prompts for every generator, lists of tokens."""
    return [[script.sample_prompt(script.NAMES, rng) for _ in range(n)] for rng in rngs]


def pad(script, prompts, completions):
    """Lists of tokens [model][i] to tokens (models, n, BLOCK_SIZE + 1) and a mask (models, n,
    BLOCK_SIZE) of the completions' tokens, as predictions: the first token is none."""
    size = script.BLOCK_SIZE + 1
    tokens, mask = [], []
    for xs, ys in zip(prompts, completions):
        tokens.append([(x + y + [script.END] * size)[:size] for x, y in zip(xs, ys)])
        mask.append([[len(x) <= t < len(x + y) for t in range(1, size)] for x, y in zip(xs, ys)])
    return torch.tensor(tokens), torch.tensor(mask)


@torch.no_grad()
def sample(script, w, prompts, generator):
    """Complete prompts[model][i] up to END or to a full context; tokens and mask as in pad()."""
    tokens, mask = pad(script, prompts, [[[]] * len(xs) for xs in prompts])
    lengths = torch.tensor([[len(x) for x in xs] for xs in prompts])
    open_ = torch.ones_like(lengths, dtype=torch.bool)
    for t in range(1, script.BLOCK_SIZE + 1):
        probs = logits(w, tokens[..., :t], script.N_HEAD)[:, :, -1].softmax(-1).flatten(0, 1)
        new = torch.multinomial(probs, 1, generator=generator).view(lengths.shape)
        sampling = (t >= lengths) & open_
        tokens[..., t] = torch.where(sampling, new, tokens[..., t])
        mask[..., t - 1] = sampling
        open_ = open_ & ~(sampling & (new == script.END))
    return tokens, mask


def texts(script, tokens, mask):
    """Prompt and completion, [model][i]."""
    ends = (mask * torch.arange(1, mask.shape[-1] + 1)).amax(-1) + 1
    rows = zip(tokens.tolist(), ends.tolist())
    return [[script.decode(x[:end]) for x, end in zip(xs, row)] for xs, row in rows]


def rewards(script, tokens, mask, reward=None):
    """gold() of every completion, or another reward of a text; shape (models, n)."""
    reward = reward or script.gold
    return torch.tensor([[reward(text) for text in row] for row in texts(script, tokens, mask)])


def sequence_log_probs(script, w, tokens, mask):
    """log pi(y|x), shape (models, n)."""
    return (log_probs(w, tokens, script.N_HEAD) * mask).sum(-1)


@torch.no_grad()
def measure(script, w, reference, prompts, generator):
    """Mean gold and KL divergence from the reference, each of shape (models,), on fresh samples."""
    tokens, mask = sample(script, w, prompts, generator)
    ratio = sequence_log_probs(script, w, tokens, mask)
    ratio = ratio - sequence_log_probs(script, reference, tokens, mask)
    return rewards(script, tokens, mask).mean(1), ratio.mean(1)


def compare(script, reference, rngs, n, generator):
    """n comparisons of each reference's completions, as the annotator makes them: chosen and
    rejected, each (tokens, mask)."""
    prompts = sample_prompts(script, rngs, 2 * n)
    a, b = (sample(script, reference, prompts, generator) for _ in range(2))
    ended = [(mask & (x[..., 1:] == script.END)).any(-1) for x, mask in (a, b)]
    usable = ended[0] & ended[1] & (a[0] != b[0]).any(-1)
    if not (usable.sum(1) >= n).all():
        raise ValueError("too few comparisons of different, finished completions")
    first = usable.double().sort(dim=1, descending=True, stable=True).indices[:, :n]
    pick = torch.arange(len(rngs))[:, None], first
    (a, a_mask), (b, b_mask) = ((x[pick], mask[pick]) for x, mask in (a, b))
    margin = script.TASTE * (rewards(script, a, a_mask) - rewards(script, b, b_mask))
    wins = (torch.rand(margin.shape, generator=generator) < margin.sigmoid())[..., None]
    chosen = torch.where(wins, a, b), torch.where(wins, a_mask, b_mask)
    return chosen, (torch.where(wins, b, a), torch.where(wins, b_mask, a_mask))
