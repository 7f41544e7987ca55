"""microppo.py in PyTorch: PPO on a reward model's score, and on gold. The reward model and the
critic are in reward.py.

    python tests/torch/microppo.py check [SEED]     pretraining, reward model and critic, shortened,
                                                    and two rounds of PPO on the script's rollouts
    python tests/torch/microppo.py rates 0-15       gold and KL by learning rate and KL_COEF
"""

import math
import random
from statistics import fmean

import gpt
import task
import torch
from reward import fit, scores, script, train_critic, train_reward_model, values

RATES = [0.0015, 0.003, 0.006, 0.012, 0.024]
KL_COEFS = [0.0, 0.6, 1.2, 2.4]


# --- PPO ------------------------------------------------------------------------------------------

mean_over_tokens = torch.vmap(gpt.pytorch.masked_mean)  # one for each model


def ppo(reference, critic, reward, kl_coef, lr, rngs, draw):
    """reward(tokens, mask): (models, n). draw(policy, rngs): the completions of a round."""
    policy, critic = gpt.learnable(reference), gpt.learnable(critic)
    optimizer, models = gpt.Adam(policy.values()), torch.arange(len(rngs))
    for _ in range(script.ROUNDS):
        # 1. Completions; their rewards and values give the advantages.
        tokens, mask = draw(gpt.detach(policy), rngs)
        with torch.no_grad():
            old, ref = (gpt.log_probs(w, tokens, script.N_HEAD) for w in (policy, reference))
            last = (mask * torch.arange(mask.shape[-1])).amax(-1, keepdim=True)
            rewards = -kl_coef * (old - ref) * mask
            rewards = rewards.scatter_add(-1, last, reward(tokens, mask)[..., None])
            old_values = values(critic, tokens) * mask
            flat = (x.flatten(0, 1) for x in (rewards, old_values))
            advantages = gpt.pytorch.gae(*flat, script.GAMMA, script.LAMBDA).view(mask.shape)
            targets = old_values + advantages
            centered = advantages - mean_over_tokens(advantages, mask)[:, None, None]
            std = mean_over_tokens(centered**2, mask).sqrt()[:, None, None]
            normalized = centered / (std + 1e-8)
        # 2. Learn from them, EPOCHS times, in minibatches.
        orders = [list(range(script.ROLLOUTS)) for _ in rngs]
        for _ in range(script.EPOCHS):
            for rng, order in zip(rngs, orders):
                rng.shuffle(order)
            for minibatch in torch.tensor(orders).split(script.MINIBATCH, 1):
                pick = models[:, None], minibatch
                new = gpt.log_probs(policy, tokens[pick], script.N_HEAD)
                losses = gpt.pytorch.clipped_surrogate(
                    new, old[pick], normalized[pick], script.CLIP
                )
                mean_over_tokens(losses, mask[pick]).sum().backward()
                for i in minibatch.T:
                    old_value, target = old_values[models, i], targets[models, i]

                    def loss(value, t):
                        return gpt.pytorch.value_loss(
                            value, old_value[:, t], target[:, t], script.VALUE_CLIP
                        )

                    fit(critic, tokens[models, i], mask[models, i], loss, script.CRITIC_LR)
                optimizer.step(lr)
    return gpt.detach(policy)


# --- Commands -------------------------------------------------------------------------------------


def check(seed):
    """1,000 steps of the reward model, 100 of the critic, 2 rounds, on 100 comparisons."""
    script.RM_STEPS, script.CRITIC_STEPS, script.ROUNDS = 1000, 100, 2
    rng, lr = random.Random(seed), torch.tensor([script.POLICY_LR])
    reference = script.pretrain(script.NAMES, rng)
    xs, ys, rejected, _ = zip(*(script.compare(reference, script.NAMES, rng) for _ in range(100)))
    start, [our_rng] = task.pretrain(script, [seed])
    our_rng.setstate(rng.getstate())  # the script's, after the comparisons
    net = script.train_reward_model(list(zip(xs, ys, rejected, xs)), rng)
    chosen, rejected = (task.pad(script, [xs], [side]) for side in (ys, rejected))
    our_net = train_reward_model(chosen, rejected, [our_rng])

    def reward(text):
        return script.score(net, script.encode(text))

    def draw(policy, rngs):
        [model], prompts = gpt.unstack(policy), task.sample_prompts(script, rngs, script.ROLLOUTS)
        return task.pad(script, prompts, [[script.sample(model, x, rngs[0]) for x in prompts[0]]])

    rollouts = [script.Rollout(x, y, [], [], script.decode(x + y)) for x, y in zip(xs, ys)]
    critic = script.train_critic(net, reward, rollouts, random.Random(seed))
    our_critic = train_critic(our_net, scores(our_net, *chosen), *chosen, [random.Random(seed)])
    policy = script.ppo(reference, reward, script.KL_COEF, critic, script.NAMES, seed)
    our_policy = ppo(start, our_critic, lambda tokens, mask: scores(our_net, tokens, mask),
                     script.KL_COEF, lr, [random.Random(seed)], draw)

    pairs, last = list(zip(xs, ys)), [script.states(rollout)[-1] for rollout in rollouts]
    rows = [("reward model, mean score", fmean(script.score(net, x + y) for x, y in pairs),
             scores(our_net, *chosen).mean().item()),
            ("critic, mean value at the end", fmean(script.score(critic, s) for s in last),
             fmean(values(our_critic, torch.tensor([[s + [0]]]))[..., -1].item() for s in last))]
    for label, model, ours in (("before", reference, start), ("after", policy, our_policy)):
        log_prob = fmean(math.fsum(script.token_log_probs(model, x, y)) for x, y in pairs)
        ours = task.sequence_log_probs(script, ours, *chosen).mean().item()
        rows.append((f"mean log pi(y|x) {label} PPO", log_prob, ours))
    return gpt.compare(rows, 1e-9)


def rates(seeds):
    generator = torch.Generator().manual_seed(seeds[0])
    reference, rngs = task.pretrain(script, seeds)
    n, k = script.COMPARISONS - script.HELD_OUT, len(RATES)
    net = train_reward_model(*task.compare(script, reference, rngs, n, generator), rngs)
    prompts = task.sample_prompts(script, rngs, script.SAMPLES)
    rollouts = task.sample(script, reference, prompts, generator)
    gold, score = task.rewards(script, *rollouts), scores(net, *rollouts)
    print(f"Means over seeds {seeds[0]} to {seeds[-1]}. The reference's gold: {gold.mean():.3f}")
    print(f"Standard deviation of its completions' scores: {score.std(1).mean():.2f}")
    start, nets = gpt.repeat(reference, k), gpt.repeat(net, k)
    prompts = [x for x in prompts for _ in RATES]

    def draw(policy, rngs):
        prompts = task.sample_prompts(script, rngs, script.ROLLOUTS)
        return task.sample(script, policy, prompts, generator)

    def on_gold(tokens, mask):
        return script.TASTE * task.rewards(script, tokens, mask)

    def on_score(tokens, mask):
        return scores(nets, tokens, mask)

    first = {on_score: score, on_gold: script.TASTE * gold}  # rewards of the reference's
    critics = {f: train_critic(net, x, *rollouts, list(map(random.Random, seeds)))
               for f, x in first.items()}
    runs = {f"score, KL_COEF {kl_coef}": (on_score, kl_coef) for kl_coef in KL_COEFS}
    golds, kls, lr = {}, {}, torch.tensor(RATES).repeat(len(seeds))
    for label, (reward, kl_coef) in (runs | {"on gold": (on_gold, 0.0)}).items():
        rngs = [random.Random(seed) for seed in seeds for _ in RATES]
        policy = ppo(start, gpt.repeat(critics[reward], k), reward, kl_coef, lr, rngs, draw)
        means = task.measure(script, policy, start, prompts, generator)
        golds[label], kls[label] = (x.view(-1, k).mean(0).tolist() for x in means)
    gpt.print_rates("gold, by learning rate", RATES, golds, max)
    gpt.print_rates("KL, nats", RATES, kls)


if __name__ == "__main__":
    gpt.run(check, rates)
