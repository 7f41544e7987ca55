"""The reward model and the critic of microppo.py in PyTorch: a score, summed over pairs of
neighboring tokens. Both learn by plain SGD, one comparison or one state per step, in the script's
order."""

import gpt
import torch
from torch.nn import functional as F

script = gpt.load("microppo")


def prefix_scores(net, tokens):
    """The scores of tokens[:2], tokens[:3], ..., shape (models, n, length - 1)."""
    x = F.one_hot(tokens, len(script.ALPHABET)).double()
    left, right, out = (net[name][:, None] for name in ("left", "right", "out"))
    hidden = torch.tanh(x[:, :, :-1] @ left + x[:, :, 1:] @ right)
    return (hidden.cumsum(2) @ out[..., :-1].mT).squeeze(-1) + out[..., -1]


def scores(net, tokens, mask):
    """Of whole texts, shape (models, n): the score of the prefix that the last token ends."""
    last = (mask * torch.arange(mask.shape[-1])).amax(-1, keepdim=True)
    return prefix_scores(net, tokens).gather(-1, last).squeeze(-1)


def values(critic, tokens):
    """V(s_t), where s_t is the text before token t + 1: shape (models, n, length - 1)."""
    return F.pad(prefix_scores(critic, tokens)[..., :-1], (1, 0))


def descend(net, losses, lr):
    """A step of SGD; losses has one number for each model."""
    gradients = torch.autograd.grad(losses.sum(), list(net.values()))
    with torch.no_grad():
        for x, gradient in zip(net.values(), gradients):
            x -= lr * gradient


def train_reward_model(chosen, rejected, rngs):
    """Initial weights and the order of the comparisons come from the script's generators."""
    n, h, std = len(script.ALPHABET), script.HIDDEN, script.NET_STD
    shapes = {"left": (n, h), "right": (n, h), "out": (1, h + 1)}
    starts = [{k: script.random_matrix(*x, rng, std) for k, x in shapes.items()} for rng in rngs]
    net, models = gpt.learnable(gpt.stack(starts)), torch.arange(len(rngs))
    for step in range(script.RM_STEPS):
        pick = models, torch.tensor([rng.choice(range(chosen[0].shape[1])) for rng in rngs])
        won, lost = (scores(net, *(x[pick][:, None] for x in side)) for side in (chosen, rejected))
        losses = -F.logsigmoid(won - lost)
        descend(net, losses, script.RM_LR * script.schedule(step, script.RM_STEPS))
    return gpt.detach(net)


def fit(critic, tokens, mask, loss, lr):
    """SGD on the states of one completion of each model, one after the other, as in the script.
    loss(value, t) is that of the state before token t + 1."""
    for t in mask.any(0).nonzero().flatten().tolist():
        value = prefix_scores(critic, tokens[:, None, : t + 1])[:, 0, -1]
        descend(critic, loss(value, t) * mask[:, t], lr)


def train_critic(net, rewards, tokens, mask, rngs):
    critic, models = gpt.learnable(net), torch.arange(len(rngs))
    for step in range(script.CRITIC_STEPS):
        pick = models, torch.tensor([rng.choice(range(tokens.shape[1])) for rng in rngs])
        lr, target = script.CRITIC_LR * script.schedule(step, script.CRITIC_STEPS), rewards[pick]
        fit(critic, tokens[pick], mask[pick], lambda value, t: (value - target) ** 2 / 2, lr)
    return gpt.detach(critic)
