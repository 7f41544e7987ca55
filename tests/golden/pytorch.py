"""Each method as one would write it in PyTorch, on batches: docs/implementation.md shows this code
beside the scripts'. The generators in this folder check that it agrees with PEFT, TRL and
transformers, and the tests that the scripts agree with both."""

import torch
from torch import nn
from torch.nn import functional as F


def gpt(w, tokens, n_head):
    """The logits after every token, shapes (batch, n) to (batch, n, vocabulary). w: a dict of
    matrices. All positions at once, behind a causal mask, where the scripts keep a cache."""

    def norm(x):
        return F.rms_norm(x, x.shape[-1:], eps=1e-5)

    x = norm(w["wte"][tokens] + w["wpe"][: tokens.shape[-1]])
    for i in range(sum(name.endswith(".wq") for name in w)):
        h = norm(x)
        q, k, v = (
            (h @ w[f"{i}.{name}"].T).unflatten(-1, (n_head, -1)).transpose(-3, -2)
            for name in ("wq", "wk", "wv")
        )
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + heads.transpose(-3, -2).flatten(-2) @ w[f"{i}.wo"].T
        x = x + F.relu(norm(x) @ w[f"{i}.w1"].T) @ w[f"{i}.w2"].T
    return x @ w["lm_head"].T


# --- microlora ------------------------------------------------------------------------------------


class LoRALinear(nn.Module):
    """W x + (alpha / r) B A x. W is frozen; A and B learn."""

    def __init__(self, weight, r, alpha):
        super().__init__()
        n, m = weight.shape
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.A = nn.Parameter(torch.randn(r, m) * m**-0.5)
        self.B = nn.Parameter(torch.zeros(n, r))  # so that training starts at W
        self.scale = alpha / r

    def forward(self, x):
        return F.linear(x, self.weight) + self.scale * F.linear(F.linear(x, self.A), self.B)

    def merge(self):
        """One matrix in place of three: no cost when the model is used."""
        return self.weight + self.scale * self.B @ self.A


# --- microdpo -------------------------------------------------------------------------------------


def token_log_probs(logits, tokens):
    """log p of every token but the first, (batch, n - 1): the logits at t are for token t + 1."""
    log_probs = F.log_softmax(logits[:, :-1], dim=-1)
    return log_probs.gather(-1, tokens[:, 1:, None]).squeeze(-1)


def sequence_log_probs(logits, tokens, mask):
    """log pi(y|x), shape (batch,). mask, shape (batch, n), is 1 at the tokens of y, the end token
    included, and 0 at prompt and padding."""
    return (token_log_probs(logits, tokens) * mask[:, 1:]).sum(-1)


def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    """From the sequence log-probabilities under policy and reference, each of shape (batch,)."""
    margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return -F.logsigmoid(margin).mean()


# --- microppo -------------------------------------------------------------------------------------


def reward_loss(chosen_scores, rejected_scores):
    """The negative log-likelihood of the choices in the Bradley-Terry model."""
    return -F.logsigmoid(chosen_scores - rejected_scores).mean()


def gae(rewards, values, gamma, lam):
    """Advantages, shape (batch, n). Rewards and values after the end of a completion are 0."""
    advantages, advantage, next_value = [], 0.0, 0.0
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * lam * advantage
        next_value = values[:, t]
        advantages.append(advantage)
    return torch.stack(advantages[::-1], dim=1)


def masked_mean(x, mask):
    return (x * mask).sum() / mask.sum()


def clipped_surrogate(log_probs, old_log_probs, advantages, clip):
    """-min(rho A, clip(rho) A) of every token. Only log_probs carry a gradient."""
    ratio = torch.exp(log_probs - old_log_probs)
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def value_loss(values, old_values, targets, clip):
    """Half the squared error of every state's value, the worse of clipped and not."""
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - targets) ** 2, (clipped - targets) ** 2)


# --- microreinforce and microgrpo -----------------------------------------------------------------


def leave_one_out(rewards):
    """RLOO's advantages: each reward minus the mean of the others of its prompt, (prompts, k)."""
    k = rewards.shape[1]
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (k - 1)


def reinforce_loss(log_probs, advantages, mask):
    """-A log pi(y|x), averaged over the completions. log_probs and mask: (batch, n)."""
    return -(advantages * (log_probs * mask).sum(1)).mean()


def group_advantages(rewards, eps=1e-8):
    """GRPO's advantages: rewards standardized within each prompt's group, (prompts, k)."""
    mean, std = rewards.mean(1, keepdim=True), rewards.std(1, correction=0, keepdim=True)
    return (rewards - mean) / (std + eps)


def grpo_loss(log_probs, old_log_probs, ref_log_probs, advantages, mask, clip, kl_coef):
    """Clipped surrogate and KL penalty, averaged over the tokens of each completion, then over the
    completions. An advantage, shape (batch,), holds for every token."""
    surrogate = clipped_surrogate(log_probs, old_log_probs, advantages[:, None], clip)
    log_ratio = ref_log_probs - log_probs
    k3 = torch.exp(log_ratio) - log_ratio - 1.0  # estimates KL(pi || pi_ref), never negative
    return (((surrogate + kl_coef * k3) * mask).sum(1) / mask.sum(1)).mean()


# --- micromoe -------------------------------------------------------------------------------------


class MoE(nn.Module):
    """A router sends each token to k of the experts."""

    def __init__(self, d, width, n_experts, k):
        super().__init__()
        self.k = k
        self.router = nn.Linear(d, n_experts)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(d, width, bias=False), nn.ReLU(), nn.Linear(width, d, bias=False)
            )
            for _ in range(n_experts)
        )

    def forward(self, x):
        """Shape (n, d) to (n, d); and the router's logits and choices."""
        logits = self.router(x)
        top, chosen = logits.topk(self.k)
        gates = top.softmax(-1)
        y = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            token, place = torch.where(chosen == i)
            if len(token):  # an idle expert gets no gradient, and the optimizer leaves it alone
                y = y.index_add(0, token, gates[token, place, None] * expert(x[token]))
        return y, logits, chosen


def balance_loss(logits, chosen):
    """E sum_i f_i P_i (Switch Transformer): f_i an expert's share of the choices, P_i its mean
    probability. f has no gradient."""
    n_experts = logits.shape[1]
    f = F.one_hot(chosen, n_experts).to(logits.dtype).mean((0, 1))
    return n_experts * (f * logits.softmax(-1).mean(0)).sum()


# --- microdistill, microbatchnorm and microdropout ------------------------------------------------


def distill_loss(student_logits, teacher_logits, t):
    """T^2 KL(q || p), q the teacher's and p the student's at temperature T: a mean over tokens."""
    log_p, log_q = (F.log_softmax(z / t, dim=-1) for z in (student_logits, teacher_logits))
    return t**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def batch_norm(x, gain, bias, eps=1e-5):
    """Over a batch, in training: shapes (batch, units), (units,) and (units,)."""
    mean, variance = x.mean(0), x.var(0, correction=0)
    return gain * (x - mean) / torch.sqrt(variance + eps) + bias


def dropout(x, p):
    """Inverted dropout, in training: what is kept is scaled up, so that the mean stays."""
    kept = torch.rand_like(x) >= p
    return x * kept / (1.0 - p)
