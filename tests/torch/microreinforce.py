"""microreinforce.py and microgrpo.py in PyTorch: policies learn from the gold score of completions.

    python tests/torch/microreinforce.py check [SEED]   three rounds of every run, on the rollouts
                                                        of the scripts' own sampling
    python tests/torch/microreinforce.py rates 0-15     gold and KL divergence by learning rate
"""

import math
import random
from statistics import fmean

import gpt
import task
import torch
from gpt import pytorch

script, grpo_script = (gpt.load(f"docs/further/micro{name}") for name in ("reinforce", "grpo"))
RATES = [0.0015, 0.003, 0.006, 0.012, 0.024, 0.048]


def draw(script, policy, rngs, generator=None):
    """A round's completions: PROMPTS prompts for each model, GROUP completions of each. Without a
    torch generator the script samples, for one model."""
    prompts = task.sample_prompts(script, rngs, script.PROMPTS)
    prompts = [[x for x in xs for _ in range(script.GROUP)] for xs in prompts]
    if generator:
        return task.sample(script, policy, prompts, generator)
    [model] = gpt.unstack(policy)
    return task.pad(script, prompts, [[script.sample(model, x, rngs[0]) for x in prompts[0]]])


def group_rewards(script, tokens, mask, reward):
    """Shape (models, PROMPTS, GROUP)."""
    return task.rewards(script, tokens, mask, reward).unflatten(1, (-1, script.GROUP))


def reinforce(reference, reward, advantages_of, lr, rngs, generator=None):
    policy = gpt.learnable(reference)
    optimizer = gpt.Adam(policy.values())
    for _ in range(script.ROUNDS):
        # 1. Sample groups of completions; their rewards give the advantages.
        tokens, mask = draw(script, gpt.detach(policy), rngs, generator)
        rewards = group_rewards(script, tokens, mask, reward)
        advantages = torch.vmap(advantages_of)(rewards).flatten(1)
        # 2. Learn from them, once.
        log_probs = gpt.log_probs(policy, tokens, script.N_HEAD)
        torch.vmap(pytorch.reinforce_loss)(log_probs, advantages, mask).sum().backward()
        optimizer.step(lr)
    return gpt.detach(policy)


def grpo(reference, reward, advantages_of, epochs, lr, rngs, generator=None):
    """The same, but several epochs from each batch, with ratio and clip."""
    script, policy = grpo_script, gpt.learnable(reference)
    optimizer = gpt.Adam(policy.values())
    for _ in range(script.ROUNDS):
        tokens, mask = draw(script, gpt.detach(policy), rngs, generator)
        rewards = group_rewards(script, tokens, mask, reward)
        advantages = torch.vmap(advantages_of)(rewards).flatten(1)
        old = gpt.log_probs(gpt.detach(policy), tokens, script.N_HEAD)
        for _ in range(epochs):
            new = gpt.log_probs(policy, tokens, script.N_HEAD)
            losses = torch.vmap(pytorch.grpo_loss, (0, 0, 0, 0, 0, None, None))(
                new, old, old, advantages, mask, script.CLIP, 0.0  # no KL penalty, as in the script
            )
            losses.sum().backward()
            optimizer.step(lr)
    return gpt.detach(policy)


# --- Runs of the scripts: function, its arguments, learning rate ----------------------------------


def plus_one(text):
    return script.gold(text) + 1.0


def yes_or_no(text):
    return float(script.gold(text) >= grpo_script.GOOD)


def same(rewards):
    return rewards


def without_std(rewards):
    return rewards - rewards.mean(1, keepdim=True)


RUNS = {
    "RLOO": (reinforce, (script.gold, pytorch.leave_one_out), 0.012),
    "no baseline": (reinforce, (script.gold, same), 0.012),
    "no baseline, gold + 1": (reinforce, (plus_one, same), 0.006),
    "GRPO": (grpo, (script.gold, pytorch.group_advantages, grpo_script.EPOCHS), 0.006),
    "GRPO, one epoch": (grpo, (script.gold, pytorch.group_advantages, 1), 0.012),
    "GRPO, without std": (grpo, (script.gold, without_std, grpo_script.EPOCHS), 0.006),
    "GRPO, yes or no": (grpo, (yes_or_no, pytorch.group_advantages, grpo_script.EPOCHS), 0.006),
}
SCRIPTS_ADVANTAGES = {
    pytorch.leave_one_out: script.leave_one_out,
    pytorch.group_advantages: grpo_script.group_advantages,
    same: same,
    without_std: lambda rewards: [r - fmean(rewards) for r in rewards],
}


# --- Commands -------------------------------------------------------------------------------------


def check(seed):
    """Mean log pi(y|x) of all names, after the prompt of their first letter."""
    script.ROUNDS = grpo_script.ROUNDS = 3
    reference = script.pretrain(script.NAMES, random.Random(seed))
    start, rows = gpt.stack([reference]), []
    xs = [script.encode("." + name[0]) for name in script.NAMES]
    ys = [script.encode(name[1:] + ".") for name in script.NAMES]
    y = task.pad(script, [xs], [ys])
    for label, (function, (reward, advantages_of, *epochs), lr) in RUNS.items():
        scripts = script.reinforce if function is reinforce else grpo_script.grpo
        arguments = SCRIPTS_ADVANTAGES[advantages_of], *epochs, lr, script.NAMES, seed
        theirs = scripts(reference, reward, *arguments)
        arguments = advantages_of, *epochs, torch.tensor([lr]), [random.Random(seed)]
        ours = function(start, reward, *arguments)
        log_probs = [math.fsum(script.token_log_probs(theirs, *pair)) for pair in zip(xs, ys)]
        ours = task.sequence_log_probs(script, ours, *y).mean().item()
        rows.append((label, fmean(log_probs), ours))
    return gpt.compare(rows, 1e-9)


def rates(seeds):
    generator = torch.Generator().manual_seed(seeds[0])
    reference, rngs = task.pretrain(script, seeds)
    prompts = task.sample_prompts(script, rngs, script.SAMPLES * script.GROUP)
    gold, _ = task.measure(script, reference, reference, prompts, generator)
    print(f"Means over seeds {seeds[0]} to {seeds[-1]}. The reference's gold: {gold.mean():.3f}")
    k, lr = len(RATES), torch.tensor(RATES).repeat(len(seeds))
    start, prompts = gpt.repeat(reference, k), [x for x in prompts for _ in RATES]
    golds, kls = {}, {}
    for label, (function, arguments, _) in RUNS.items():
        rngs = [random.Random(seed) for seed in seeds for _ in RATES]
        policy = function(start, *arguments, lr, rngs, generator)
        means = task.measure(script, policy, start, prompts, generator)
        golds[label], kls[label] = (x.view(-1, k).mean(0).tolist() for x in means)
    gpt.print_rates("gold, by learning rate", RATES, golds, max)
    gpt.print_rates("KL, nats", RATES, kls)


if __name__ == "__main__":
    gpt.run(check, rates)
