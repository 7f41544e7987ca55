"""What TRL's trainers compute, and pytorch.py's functions the same; and whole training runs.

    python -m tests.golden.generate_trl

A trainer's loss is called alone, on log-probabilities made here: a namespace stands for the
trainer and holds the settings that the loss reads. The pinned TRL has no PPO trainer any more. Its
GRPOTrainer with loss_type "bnpo" and beta = 0 has PPO's clipped surrogate. GAE is compared with
the sum that it is short for.
"""

import random
from collections import defaultdict
from types import SimpleNamespace

import torch
from torch.nn.utils.rnn import pad_sequence
from trl import DPOTrainer, GRPOTrainer, RewardTrainer, RLOOTrainer
from trl.experimental.gkd import GKDTrainer

from tests.golden import gpt_weights, numbers, pytorch, write

torch.set_default_dtype(torch.float64)
same = torch.testing.assert_close


def keep(x, *_, **__):
    return x


def stand_in(**settings):
    accelerator = SimpleNamespace(device="cpu", gather=keep, gather_for_metrics=keep, reduce=keep)
    metrics = defaultdict(lambda: defaultdict(list))
    shared = {"model": SimpleNamespace(training=False), "aux_loss_enabled": False}
    return SimpleNamespace(accelerator=accelerator, _metrics=metrics, **shared, **settings)


def padded(rows, value=0.0):
    return pad_sequence([torch.as_tensor(row) for row in rows], True, value)


# --- Preferences ----------------------------------------------------------------------------------


def trl_dpo_loss(log_probs, ref_log_probs, tokens, mask, beta):
    """The loss and what is logged, from log-probabilities of every token but the first; the rows
    are the chosen completions, then the rejected ones."""

    def model(labels, **_):
        kept = log_probs * (labels[:, 1:] != -100)
        zeros = torch.zeros_like(kept)
        return SimpleNamespace(
            log_probs=kept, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), logits=zeros
        )

    trainer = stand_in(
        ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=beta,
        loss_types=["sigmoid"], loss_weights=[1.0], use_weighting=False, _total_train_tokens=0,
    )  # fmt: skip
    ref_chosen, ref_rejected = (ref_log_probs * mask[:, 1:]).sum(1).chunk(2)
    inputs = {
        "input_ids": tokens, "attention_mask": torch.ones_like(tokens), "completion_mask": mask,
        "ref_chosen_logps": ref_chosen, "ref_rejected_logps": ref_rejected,
    }  # fmt: skip
    loss = DPOTrainer._compute_loss(trainer, model, inputs, False)
    return loss, {key: values[0] for key, values in trainer._metrics["eval"].items()}


def dpo():
    """A pair of completions under two small GPTs."""
    rng, d, n_head, beta = random.Random(5), 4, 2, 0.3
    w, ref = (gpt_weights(rng, 6, d, 1, 8) for _ in range(2))
    prompt, chosen, rejected = [0, 2], [3, 1, 0], [4, 4, 5, 0]
    params = {name: torch.tensor(x, requires_grad=True) for name, x in w.items()}
    frozen = {name: torch.tensor(x) for name, x in ref.items()}
    tokens = padded([prompt + chosen, prompt + rejected], 0)
    mask = padded([[0] * len(prompt) + [1] * len(y) for y in (chosen, rejected)], 0)
    logits, ref_logits = (pytorch.gpt(p, tokens, n_head) for p in (params, frozen))
    theirs, logged = trl_dpo_loss(
        pytorch.token_log_probs(logits, tokens), pytorch.token_log_probs(ref_logits, tokens),
        tokens, mask, beta,
    )  # fmt: skip
    log_probs, ref_log_probs = (
        pytorch.sequence_log_probs(z, tokens, mask) for z in (logits, ref_logits)
    )
    loss = pytorch.dpo_loss(*log_probs[:, None], *ref_log_probs[:, None], beta)
    same(loss, theirs)
    same(log_probs.tolist(), [logged["logps/chosen"], logged["logps/rejected"]])
    theirs.backward()
    write("dpo", {
        "sizes": [d, n_head, 1], "weights": w, "reference": ref, "prompt": prompt,
        "chosen": chosen, "rejected": rejected, "beta": beta, "loss": theirs.item(),
        "log probs": log_probs.tolist(), "ref log probs": ref_log_probs.tolist(),
        "rewards": [logged["rewards/chosen"], logged["rewards/rejected"]],
        "grads": {name: p.grad.tolist() for name, p in params.items()},
    })  # fmt: skip


def reward():
    """The loss of a reward model and its gradient by the scores."""
    scores = torch.tensor(numbers(random.Random(6), 6, scale=2.0), requires_grad=True)
    trainer = stand_in(args=SimpleNamespace(center_rewards_coefficient=None), _total_train_tokens=0)
    loss = RewardTrainer.compute_loss(
        trainer, lambda **_: SimpleNamespace(logits=scores[:, None]), {}
    )
    same(pytorch.reward_loss(*scores.chunk(2)), loss)
    loss.backward()
    chosen, rejected = scores.tolist()[:3], scores.tolist()[3:]
    case = {"chosen": chosen, "rejected": rejected, "loss": loss.item()}
    write("reward", case | {"grad": scores.grad.tolist()})


# --- Policy gradients -----------------------------------------------------------------------------


def trl_policy_loss(trainer_class, log_probs, advantages, mask, clip, **more):
    """The loss of a GRPOTrainer or RLOOTrainer on log-probabilities of shape (batch, n)."""
    settings = {
        "args": SimpleNamespace(delta=None, use_bias_correction_kl=False), "beta": 0.0,
        "epsilon_low": clip, "epsilon_high": clip, "importance_sampling_level": "token",
        "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "use_vllm": False,
        "_entropy_bonus_enabled": False,
    }  # fmt: skip
    settings |= {key: value for key, value in more.items() if not key.endswith("logps")}
    settings["_get_per_token_logps_and_entropies"] = lambda *_, **__: (
        log_probs, torch.zeros_like(log_probs), None
    )  # fmt: skip
    trainer, n = stand_in(**settings), len(log_probs)
    trainer._metrics = {"eval": defaultdict(list)}
    inputs = {key: value for key, value in more.items() if key.endswith("logps")} | {
        "prompt_ids": torch.zeros(n, 1), "prompt_mask": torch.ones(n, 1),
        "completion_ids": torch.zeros_like(log_probs), "completion_mask": mask,
        "advantages": advantages,
    }  # fmt: skip
    return trainer_class._compute_loss(trainer, trainer.model, inputs)


def ppo():
    """GAE, clipped surrogate and value loss on made-up numbers."""
    rng, clip = random.Random(6), 0.2
    rewards, values, gamma, lam = numbers(rng, 6), numbers(rng, 6), 0.99, 0.95
    advantages = pytorch.gae(torch.tensor([rewards]), torch.tensor([values]), gamma, lam)[0]
    deltas = [r + gamma * v - u for r, u, v in zip(rewards, values, [*values[1:], 0.0])]
    sums = [
        sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, 6)) for t in range(6)
    ]  # fmt: skip
    same(advantages, torch.tensor(sums))
    case = {"gae": {
        "rewards": rewards, "values": values, "gamma": gamma, "lambda": lam,
        "advantages": advantages.tolist(),
    }}  # fmt: skip

    old, moves, signs = (torch.tensor([numbers(rng, 12, scale=s)]) for s in (1.0, 0.3, 1.0))
    new = (old + moves).requires_grad_()
    ones = torch.ones_like(old)
    losses = pytorch.clipped_surrogate(new, old, signs, clip)
    theirs = trl_policy_loss(
        GRPOTrainer, new, signs, ones, clip, loss_type="bnpo", old_per_token_logps=old
    )
    same(pytorch.masked_mean(losses, ones), theirs)
    (grad,) = torch.autograd.grad(theirs * 12, new)
    assert 2 < (grad == 0).sum() < 10  # the clip acts on some
    case["surrogate"] = {
        "clip": clip, "old": old[0].tolist(), "new": new[0].tolist(),
        "advantages": signs[0].tolist(), "losses": losses[0].tolist(), "grad": grad[0].tolist(),
    }  # fmt: skip

    clip = 0.5
    old, moves, targets = (torch.tensor(numbers(rng, 16)) for _ in range(3))
    new = (old + moves).requires_grad_()
    losses = pytorch.value_loss(new, old, targets, clip)
    (grad,) = torch.autograd.grad(losses.sum(), new)
    assert 2 < (grad == 0).sum() < 14
    case["value"] = {
        "clip": clip, "old": old.tolist(), "new": new.tolist(), "targets": targets.tolist(),
        "losses": losses.tolist(), "grad": grad.tolist(),
    }  # fmt: skip
    write("ppo", case)


def group():
    """Advantages of RLOO and GRPO for two prompts with four completions each; the estimate k3."""
    rng = random.Random(14)
    rewards, old, ref = (torch.tensor(numbers(rng, 2, 4)) for _ in range(3))
    new, zeros = old.clone().requires_grad_(), torch.zeros(2)
    ours = pytorch.grpo_loss(new, old, ref, zeros, torch.ones_like(old), 0.2, 1.0) * 8
    theirs = 8 * trl_policy_loss(
        GRPOTrainer, new, zeros, torch.ones_like(old), 0.2, loss_type="grpo", beta=1.0,
        old_per_token_logps=old, ref_per_token_logps=ref,
    )  # fmt: skip
    same(ours, theirs)
    theirs.backward()
    write("group", {
        "rewards": rewards.tolist(),
        "leave_one_out": pytorch.leave_one_out(rewards).tolist(),
        "group_advantages": pytorch.group_advantages(rewards).tolist(),
        "log probs": old.tolist(), "ref log probs": ref.tolist(), "k3": theirs.item(),
        "k3 grad": new.grad.tolist(),
    })  # fmt: skip


def distill():
    """pytorch.py's distillation loss is that of TRL's GKDTrainer with beta = 0, T^2 times."""
    rng, t = random.Random(16), 2.0
    student, teacher = torch.tensor(numbers(rng, 3, 5)), torch.tensor(numbers(rng, 3, 5))
    theirs = GKDTrainer.generalized_jsd_loss(student, teacher, beta=0.0, temperature=t)
    same(pytorch.distill_loss(student, teacher, t), t**2 * theirs)


# --- Whole runs -----------------------------------------------------------------------------------
#
# What is "sampled" is given, so that a run needs no random numbers but those that shuffle.


def make_rounds(rng, rounds, rollouts):
    """Prompts, completions and rewards for every round; a prompt has four completions in a row."""

    def letters(most):
        return [rng.randint(1, 5) for _ in range(rng.randint(1, most))]

    prompts = [[[0, *letters(2)] for _ in range(rollouts // 4)] for _ in range(rounds)]
    return [{
        "prompts": [x for x in xs for _ in range(4)],
        "completions": [[*letters(4), 0] for _ in range(rollouts)],
        "rewards": numbers(rng, rollouts, scale=2.0),
    } for xs in prompts]  # fmt: skip


class Rollouts:
    """A round, padded. mask, old and ref have a column for every token but the first."""

    def __init__(self, data, policy, reference):
        self.texts = [x + y for x, y in zip(data["prompts"], data["completions"])]
        self.starts = [len(x) - 1 for x in data["prompts"]]
        self.tokens, self.rewards = padded(self.texts, 0), torch.tensor(data["rewards"])
        places = zip(self.starts, self.texts)
        self.mask = padded([[0.0] * s + [1.0] * (len(text) - 1 - s) for s, text in places])
        self.old, self.ref = (self.log_probs(model).detach() for model in (policy, reference))

    def log_probs(self, model):
        return pytorch.token_log_probs(pytorch.gpt(model, self.tokens, 2), self.tokens)


class Critic:
    """The script's: tanh over pairs of tokens, and SGD at every state."""

    def __init__(self, rng):
        shapes = {"left": (6, 3), "right": (6, 3), "out": (1, 4)}
        self.start = {name: numbers(rng, *shape, scale=0.5) for name, shape in shapes.items()}
        self.net = {name: torch.tensor(x, requires_grad=True) for name, x in self.start.items()}

    def value(self, state):
        hidden = torch.tanh(self.net["left"][state[:-1]] + self.net["right"][state[1:]]).sum(0)
        return self.net["out"][0] @ torch.cat([hidden, torch.ones(1)])

    def step(self, state, old_value, target, s):
        loss = pytorch.value_loss(self.value(state), old_value, target, s["VALUE_CLIP"])
        for p, g in zip(self.net.values(), torch.autograd.grad(loss, list(self.net.values()))):
            p.data -= s["CRITIC_LR"] * g


def ppo_advantages(rollouts, critic, s):
    """Values, advantages, and advantages standardized over the round."""
    rewards = -s["KL_COEF"] * (rollouts.old - rollouts.ref) * rollouts.mask
    values = torch.zeros_like(rewards)
    for i, (text, start) in enumerate(zip(rollouts.texts, rollouts.starts)):
        rewards[i, len(text) - 2] += rollouts.rewards[i]
        for t in range(start, len(text) - 1):
            values[i, t] = critic.value(text[: t + 1]).detach()
    advantages = pytorch.gae(rewards, values, s["GAMMA"], s["LAMBDA"])
    mean = pytorch.masked_mean(advantages, rollouts.mask)
    std = pytorch.masked_mean((advantages - mean) ** 2, rollouts.mask).sqrt()
    return values, advantages, (advantages - mean) / (std + 1e-8)


def policy_loss(method, new, old, ref, advantages, mask, s):
    """Of a minibatch, by pytorch.py and by TRL."""
    if method == "reinforce":
        ours = pytorch.reinforce_loss(new, advantages, mask)
        old_logps = (new.detach() * mask).sum(1)  # a single update: every ratio is 1
        theirs = trl_policy_loss(RLOOTrainer, new, advantages, mask, 0.2, old_logps=old_logps)
        same(*(torch.autograd.grad(x, new, retain_graph=True) for x in (ours, theirs)))
        return ours
    if method == "grpo":
        ours = pytorch.grpo_loss(new, old, ref, advantages, mask, s["CLIP"], s["KL_COEF"])
        more = {"loss_type": "grpo", "beta": s["KL_COEF"], "ref_per_token_logps": ref}
    else:
        ours = pytorch.masked_mean(
            pytorch.clipped_surrogate(new, old, advantages, s["CLIP"]), mask
        )  # fmt: skip
        more = {"loss_type": "bnpo"}
    same(ours, trl_policy_loss(
        GRPOTrainer, new, advantages, mask, s["CLIP"], old_per_token_logps=old, **more
    ))  # fmt: skip
    return ours


def run(method, seed, **s):
    """Rounds of a method on samples that are given; the weights at the end."""
    s = {"N_EMBD": 4, "N_HEAD": 2, "N_LAYER": 1, "BLOCK_SIZE": 8, "CLIP": 0.2} | s
    rng, shuffler, lr = random.Random(seed), random.Random(seed + 1), s["POLICY_LR"]
    w, rounds = gpt_weights(rng, 6, 4, 1, 8), make_rounds(rng, s["ROUNDS"], s["ROLLOUTS"])
    critic = Critic(rng)
    policy = {name: torch.tensor(x, requires_grad=True) for name, x in w.items()}
    reference = {name: torch.tensor(x) for name, x in w.items()}
    optimizer = torch.optim.Adam(policy.values(), lr=lr, betas=(0.9, 0.99))
    for data in rounds:
        rollouts, order = Rollouts(data, policy, reference), list(range(s["ROLLOUTS"]))
        groups = rollouts.rewards.view(-1, 4)
        if method == "ppo":
            values, raw, advantages = ppo_advantages(rollouts, critic, s)
        elif method == "grpo":
            advantages = pytorch.group_advantages(groups).flatten()
        else:
            advantages = pytorch.leave_one_out(groups).flatten()
        for _ in range(s["EPOCHS"]):
            shuffler.shuffle(order)
            for first in range(0, s["ROLLOUTS"], s["MINIBATCH"]):
                rows = order[first : first + s["MINIBATCH"]]
                new = rollouts.log_probs(policy)[rows]
                fixed = (rollouts.old, rollouts.ref, advantages, rollouts.mask)
                loss = policy_loss(method, new, *(x[rows] for x in fixed), s)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                for i in rows if method == "ppo" else []:
                    for t in range(rollouts.starts[i], len(rollouts.texts[i]) - 1):
                        state, target = rollouts.texts[i][: t + 1], values[i, t] + raw[i, t]
                        critic.step(state, values[i, t], target, s)
    case = {"settings": s, "seed": seed + 1, "reference": w, "rounds": rounds}
    case["end"] = {name: p.tolist() for name, p in policy.items()}
    if method == "ppo":
        case["critic"] = critic.start
        case["end critic"] = {name: p.tolist() for name, p in critic.net.items()}
    write(f"run_{method}", case)


if __name__ == "__main__":
    for generate in (dpo, reward, ppo, group, distill):
        generate()
    run(
        "ppo", 33, ROUNDS=6, ROLLOUTS=4, EPOCHS=2, MINIBATCH=2, POLICY_LR=0.02, CRITIC_LR=0.01,
        KL_COEF=0.7, VALUE_CLIP=0.1, GAMMA=0.98, LAMBDA=0.9,
    )  # fmt: skip
    run("grpo", 42, ROUNDS=4, ROLLOUTS=8, EPOCHS=3, MINIBATCH=8, POLICY_LR=0.02, KL_COEF=0.0)
    run("reinforce", 45, ROUNDS=4, ROLLOUTS=8, EPOCHS=1, MINIBATCH=8, POLICY_LR=0.02)
