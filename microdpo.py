"""microdpo: how do preferences align a language model without a reward model?

Direct preference optimization (DPO; Rafailov et al. 2023, arXiv:2305.18290) trains a language
model, the policy pi, on comparisons: a prompt x, a chosen completion y_w (it won), a rejected y_l
(it lost). pi_ref is the policy at the start, frozen. No reward model, no sampling in training:
    loss = -log sigmoid(beta (log(pi(y_w|x) / pi_ref(y_w|x)) - log(pi(y_l|x) / pi_ref(y_l|x)))).
How far the policy moves is the KL divergence from the reference, in nats: the mean, over its own
completions y, of log(pi(y|x) / pi_ref(y|x)). The larger beta is, the more it keeps pi near pi_ref.

What runs: a tiny GPT learns names. An annotator compares its completions by their gold score, with
noise. DPO learns the comparisons at three betas, and, as a control, supervised fine-tuning (SFT)
learns the chosen completions.

What to look for: at beta 1 DPO gains more gold than SFT, at more KL, and even chosen completions
become less likely. A smaller beta moves further, for less gold per nat, and at last gold falls:
over-optimization (Rafailov et al. 2024, arXiv:2406.02900). Nobody has gold in practice: watch KL,
entropy, length and endings, and read samples. The accuracy on held-out comparisons hardly warns.

Use it when comparisons are what there is. If new completions can be scored, use PPO. In practice
pi_ref is the SFT model; here SFT is a rival, to show what the rejected completions add. Usual for
real models: beta 0.1 and a learning rate of 1e-6 (TRL's defaults), a higher one with LoRA.

    python microdpo.py [--seed N] [--names FILE] [--pairs FILE]    22 seconds, standard library only
"""
import argparse
import gc
import json
import math
import random
import signal
import sys
from math import fsum
from operator import mul
from statistics import fmean
from typing import NamedTuple

N_EMBD, N_HEAD, N_LAYER, BLOCK_SIZE, INIT_STD = 8, 2, 1, 16, 0.08
PRETRAIN_STEPS, PRETRAIN_LR = 600, 0.01  # one name per step; the loss is flat by then
TASTE = 12.0  # the annotator's log-odds of preferring a completion, per unit of gold
COMPARISONS, HELD_OUT = 700, 100  # comparisons made, and how many of them only evaluate
SAMPLES = 250  # fresh completions of each policy to evaluate it
STEPS, BATCH = 150, 4  # comparisons per step; each is used once
LR = 0.008  # Adam's, for SFT and DPO: chosen by gold, which nobody has in practice
BETAS = [1.0, 0.5, 0.01]  # near the reference, further, and too far on purpose
assert len(BETAS) == 3, "the claims compare three betas"
assert COMPARISONS >= 4 * HELD_OUT, "most of the comparisons must remain for training"


# --- Autograd -------------------------------------------------------------------------------------
#
# A Value is a number whose gradient autograd computes: a weight that learns by it, or anything
# computed from one. Everything else is a float. The functions below run on both; what runs on
# floats builds no graph, so weights given as floats are frozen. A vector is a list, all of Values
# or all of floats. (The class Value is whole in every script, whether all of it is used or not.)


class Value:
    """A number, what it was computed from, and its derivatives by that."""

    __slots__ = ("data", "grad", "children", "local_grads")

    def __init__(self, data, children=(), local_grads=()):
        self.data = data
        self.grad = 0.0  # d(loss)/d(self), filled in by backward()
        self.children = children  # the Values that it was computed from
        self.local_grads = local_grads  # d(self)/d(child), one for each of them

    def __add__(self, other):
        if isinstance(other, Value):
            return Value(self.data + other.data, (self, other), (1.0, 1.0))
        return Value(self.data + other, (self,), (1.0,))

    def __mul__(self, other):
        if isinstance(other, Value):
            return Value(self.data * other.data, (self, other), (other.data, self.data))
        return Value(self.data * other, (self,), (other,))

    def __pow__(self, k): return Value(self.data**k, (self,), (k * self.data ** (k - 1),))
    def exp(self): return Value(math.exp(self.data), (self,), (math.exp(self.data),))
    def log(self): return Value(math.log(self.data), (self,), (1.0 / self.data,))
    def relu(self): return Value(max(self.data, 0.0), (self,), (float(self.data > 0.0),))

    __radd__, __rmul__ = __add__, __mul__
    def __neg__(self): return self * -1.0
    def __sub__(self, other): return self + -other
    def __rsub__(self, other): return -self + other
    def __truediv__(self, other): return self * other**-1.0

    def backward(self):
        """Add d(self)/d(x) to x.grad for every Value x below: each node's turn comes before that of
        its children, when its own gradient is complete."""
        order = []
        topological_sort(self, set(), order)
        self.grad = 1.0
        for node in reversed(order):
            node.chain_rule()

    def chain_rule(self):
        """d(loss)/d(child) += d(self)/d(child) * d(loss)/d(self)."""
        for child, local_grad in zip(self.children, self.local_grads):
            child.grad += local_grad * self.grad


def topological_sort(node, seen, order):
    """Append the nodes below to order, children first; weights, which have none, are left out."""
    seen.add(node)
    for child in node.children:
        if child.children and child not in seen:
            topological_sort(child, seen, order)
    order.append(node)


# A dot product written with * and + would be a node for every product and every sum. We know its
# derivatives, d(a . b)/d(a_i) = b_i and the reverse, so one node does it, which is faster.


def detach(xs):
    """The plain numbers of a vector."""
    return [x.data for x in xs] if isinstance(xs[0], Value) else xs


def node(data, *inputs):
    """One node for a function of vectors: inputs are pairs (vector, d(data)/d(vector)). A vector of
    floats is a constant and gets no edge; if all are, the result is a float."""
    children, local_grads = [], []
    for xs, grads in inputs:
        if isinstance(xs[0], Value):
            children += xs
            local_grads += grads
    return Value(data, children, local_grads) if children else data


def dot(a, b):
    a_data, b_data = detach(a), detach(b)
    return node(fsum(map(mul, a_data, b_data)), (a, b_data), (b, a_data))


def total(xs):
    return node(fsum(detach(xs)), (xs, [1.0] * len(xs)))


def matvec(w, x):
    """W x, shapes (n, m) and (m,) to (n,)."""
    if isinstance(x[0], Value) or isinstance(w[0][0], Value):
        return [dot(row, x) for row in w]
    return [fsum(map(mul, row, x)) for row in w]  # dot() of floats, without its overhead


def softmax(logits):
    """p_i = e^z_i / sum_j e^z_j, with the Jacobian dp_i/dz_j = p_i ([i = j] - p_j)."""
    data = detach(logits)
    largest = max(data)  # subtracted from every logit, it changes no p and prevents overflow
    exps = [math.exp(z - largest) for z in data]
    norm = fsum(exps)
    probs = [e / norm for e in exps]
    if not isinstance(logits[0], Value):
        return probs
    rows = [[p * ((i == j) - q) for j, q in enumerate(probs)] for i, p in enumerate(probs)]
    return [Value(p, logits, row) for p, row in zip(probs, rows)]


def cross_entropy(logits, target):
    """-log softmax(logits)[target], in nats; the gradient is softmax(logits) - one_hot(target)."""
    probs = softmax(detach(logits))
    grads = [p - (i == target) for i, p in enumerate(probs)]
    return node(-math.log(probs[target]), (logits, grads))


# --- Models ---------------------------------------------------------------------------------------
#
# A model is a dict of named matrices. A matrix is a list of rows, all of Values or all of floats.


def random_matrix(rows, columns, rng, std=INIT_STD):
    return [[rng.gauss(0.0, std) for _ in range(columns)] for _ in range(rows)]


def unfreeze(model):
    """A copy in Values: it learns."""
    return {name: [[Value(x) for x in row] for row in w] for name, w in model.items()}


def freeze(model):
    """A copy in floats: it does not."""
    return {name: [list(detach(row)) for row in w] for name, w in model.items()}


def parameters(model):
    return [x for w in model.values() for row in w for x in row]


def add(a, b):
    return [x + y for x, y in zip(a, b)]


def relu(x):
    return x.relu() if isinstance(x, Value) else max(x, 0.0)


def rmsnorm(x):
    """x / sqrt(mean(x^2) + 1e-5)."""
    scale = (dot(x, x) * (1.0 / len(x)) + 1e-5) ** -0.5
    return [v * scale for v in x]


# --- Linear layer ---------------------------------------------------------------------------------


def linear(model, name, x):
    """W x for a matrix of the GPT. Methods that change the layers change this function."""
    return matvec(model[name], x)


# --- GPT ------------------------------------------------------------------------------------------
#
# A GPT-2 in miniature: RMSNorm for LayerNorm, ReLU for GELU, no biases. "0.wq" is the query matrix
# of layer 0. Tokens are letters; "." stands before a name and after it.

ALPHABET = ".abcdefghijklmnopqrstuvwxyz"
END = ALPHABET.index(".")


def encode(text):
    return [ALPHABET.index(letter) for letter in text]


def decode(tokens):
    return "".join(ALPHABET[token] for token in tokens)


def init_gpt(rng):
    d, vocab_size = N_EMBD, len(ALPHABET)
    shapes = {"wte": (vocab_size, d), "wpe": (BLOCK_SIZE, d), "lm_head": (vocab_size, d)}
    for i in range(N_LAYER):
        shapes |= {f"{i}.{name}": (d, d) for name in ("wq", "wk", "wv", "wo")}
        shapes |= {f"{i}.w1": (4 * d, d), f"{i}.w2": (d, 4 * d)}
    return {name: random_matrix(*shape, rng) for name, shape in shapes.items()}


def gpt(model, token, cache):
    """Read one token and return the logits of the next, shape (vocab_size,). cache holds, for each
    layer, the keys and the values of the tokens read so far."""
    d_head, position = N_EMBD // N_HEAD, len(cache[0][0])
    x = rmsnorm(add(model["wte"][token], model["wpe"][position]))
    for i, (keys, values) in enumerate(cache):
        h = rmsnorm(x)
        query = linear(model, f"{i}.wq", h)
        keys.append(linear(model, f"{i}.wk", h))
        values.append(linear(model, f"{i}.wv", h))
        heads = []
        for start in range(0, N_EMBD, d_head):
            head = slice(start, start + d_head)
            scores = matvec([k[head] for k in keys], [q * d_head**-0.5 for q in query[head]])
            weights = softmax(scores)
            heads += [dot(weights, column) for column in zip(*(v[head] for v in values))]
        x = add(x, linear(model, f"{i}.wo", heads))
        hidden = [relu(h) for h in linear(model, f"{i}.w1", rmsnorm(x))]
        x = add(x, linear(model, f"{i}.w2", hidden))
    return linear(model, "lm_head", x)


def token_losses(model, tokens):
    """-log p(token | those before) for every token but the first, in nats."""
    cache = [([], []) for _ in range(N_LAYER)]
    return [cross_entropy(gpt(model, a, cache), b) for a, b in zip(tokens, tokens[1:])]


def sample(model, prompt, rng):
    """Sample tokens after a prompt, up to END or to a full context."""
    tokens, cache = list(prompt), [([], []) for _ in range(N_LAYER)]
    for token in prompt[:-1]:
        gpt(model, token, cache)
    while len(tokens) <= BLOCK_SIZE:
        probs = softmax(gpt(model, tokens[-1], cache))
        tokens += rng.choices(range(len(probs)), probs)
        if tokens[-1] == END:
            break
    return tokens[len(prompt) :]


# --- Training -------------------------------------------------------------------------------------


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1). b2 is 0.99 instead of 0.999, for short runs."""

    def __init__(self, parameters, b1=0.9, b2=0.99):
        self.parameters, self.b1, self.b2, self.t = parameters, b1, b2, 0
        self.m = self.v = [0.0] * len(parameters)

    def step(self, lr):
        """Move every parameter against its gradient, and set the gradient back to 0."""
        for p, change in zip(self.parameters, self.changes([p.grad for p in self.parameters], lr)):
            p.data -= change
            p.grad = 0.0

    def changes(self, grads, lr):
        """What to subtract: lr m_hat / (sqrt(v_hat) + 1e-8), from running means of g and g^2."""
        self.t += 1
        self.m = [self.b1 * m + (1.0 - self.b1) * g for m, g in zip(self.m, grads)]
        self.v = [self.b2 * v + (1.0 - self.b2) * g * g for v, g in zip(self.v, grads)]
        c1, c2 = 1.0 - self.b1**self.t, 1.0 - self.b2**self.t  # m_hat = m / c1: m starts at 0
        return [lr * (m / c1) / (math.sqrt(v / c2) + 1e-8) for m, v in zip(self.m, self.v)]


def schedule(step, steps):
    """The share of the peak learning rate: up for a tenth of the steps, then straight down to 0."""
    return min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps), 1.0)


# --- Policy ---------------------------------------------------------------------------------------
#
# The task: complete a name from its first letters. The policy pi is a language model: its state s_t
# is the text so far, its action a_t the next token, a rollout a sampled completion y. The reference
# pi_ref is the policy at the start: in practice from supervised fine-tuning (SFT), here pretrained.


def pretrain(names, rng):
    """The reference, in floats."""
    model = unfreeze(init_gpt(rng))
    optimizer = Adam(parameters(model))
    for step in range(PRETRAIN_STEPS):
        losses = token_losses(model, encode("." + rng.choice(names) + "."))
        loss = total(losses) * (1.0 / len(losses))
        loss.backward()
        optimizer.step(PRETRAIN_LR * schedule(step, PRETRAIN_STEPS))
        progress("pretraining", step, PRETRAIN_STEPS, loss.data)
    return freeze(model)


def sample_prompt(names, rng):
    """"." and the first letter of a name, or its first two, as tokens."""
    return encode("." + rng.choice(names)[: rng.choice((1, 2))])


def token_log_probs(model, prompt, completion):
    """log pi(a_t | s_t) for every token of a completion. END is one: where to stop is an action."""
    return [-loss for loss in token_losses(model, prompt + completion)[len(prompt) - 1 :]]


# --- Evaluation -----------------------------------------------------------------------------------
#
# What people want of a name is its gold score (Gao et al. 2022, arXiv:2210.10760): vowels and
# consonants in turn, few hard letters, no repeats, an end.

VOWELS, HARD = "aeiouy", "bcdgkpqtx"


def repeats(text):
    """The share of pairs of neighboring characters that came before: 3 of 7 in ".nanana."."""
    pairs = list(zip(text, text[1:]))
    return 1.0 - len(set(pairs)) / len(pairs)


def gold(text):
    """The gold score, at most 1, of a text such as ".anna." or, unfinished, ".annannannannann"."""
    name, unfinished = text.strip("."), not text.endswith(".")
    vowel = [letter in VOWELS for letter in name]
    turns = sum(a != b for a, b in zip(vowel, vowel[1:])) / max(1, len(name) - 1)
    hard = sum(letter in HARD for letter in name) / len(name)
    return turns - hard - repeats(text) - unfinished


class Rollout(NamedTuple):
    prompt: list  # tokens
    completion: list  # tokens
    log_probs: list  # log pi(a_t | s_t) of its tokens, by the policy that sampled it
    ref_log_probs: list  # log pi_ref(a_t | s_t)
    text: str  # prompt and completion


def sample_rollout(policy, reference, prompt, rng):
    """Complete a prompt with a policy in floats."""
    y = sample(policy, prompt, rng)
    log_probs, ref_log_probs = (token_log_probs(m, prompt, y) for m in (policy, reference))
    return Rollout(prompt, y, log_probs, ref_log_probs, decode(prompt + y))


def measure(rollouts):
    """Means over rollouts. KL and k3 estimate the KL divergence from the reference, in nats, by
    sums over tokens: of x = log pi(a_t | s_t) - log pi_ref(a_t | s_t), and of e^-x - 1 + x, which
    is never negative, and less noisy near the reference (Schulman 2020)."""
    ratios = [[p - q for p, q in zip(r.log_probs, r.ref_log_probs)] for r in rollouts]
    return {
        "gold": fmean(gold(r.text) for r in rollouts),
        "KL": fmean(fsum(xs) for xs in ratios),
        "k3": fmean(fsum(math.exp(-x) - 1.0 + x for x in xs) for xs in ratios),
        "entropy": -fmean(p for r in rollouts for p in r.log_probs),  # estimated, nats per token
        "repeats": fmean(repeats(r.text) for r in rollouts),
        "length": fmean(len(r.completion) for r in rollouts),
        "no end": fmean(r.completion[-1] != END for r in rollouts),
    }


# --- Preference loss ------------------------------------------------------------------------------


def sigmoid(x):
    return math.exp(min(x, 0.0)) / (1.0 + math.exp(-abs(x)))  # no overflow, whatever x


def preference_loss(margin):
    """-log sigmoid(margin) = log(1 + e^-margin), the negative log-likelihood of a choice whose
    margin is a Value. The derivative is -sigmoid(-margin)."""
    m = margin.data
    loss = max(-m, 0.0) + math.log1p(math.exp(-abs(m)))  # no overflow, whatever m
    return Value(loss, (margin,), (-sigmoid(-m),))


# --- Annotator ------------------------------------------------------------------------------------
#
# A simulated annotator prefers the completion of higher gold, with noise, by the Bradley-Terry
# model: P(a is preferred to b) = sigmoid(margin), margin = TASTE (gold(a) - gold(b)). Training
# sees the choices only; the gold score, which nobody has in practice, evaluates. A trap: what is
# compared hardly repeats itself and always has an end, so the choices say next to nothing on both.


def compare(model, names, rng):
    """Sample two different, finished completions of a prompt; the annotator chooses one. Returns
    (prompt, chosen, rejected, p): p is the probability to choose the same when asked again."""
    while True:
        prompt = sample_prompt(names, rng)
        a, b = sample(model, prompt, rng), sample(model, prompt, rng)
        if a != b and a[-1] == b[-1] == END:
            break
    p = sigmoid(TASTE * (gold(decode(prompt + a)) - gold(decode(prompt + b))))
    return (prompt, a, b, p) if rng.random() < p else (prompt, b, a, 1.0 - p)


def accuracy(margins, comparisons):
    """How often the annotator, asked again, would agree with the sign of a margin: a score of the
    chosen completion minus that of the rejected one. No sign does better than that of p - 1/2."""
    pairs = zip(margins, comparisons)
    return fmean(p if m > 0.0 else 1.0 - p if m < 0.0 else 0.5 for m, (*_, p) in pairs)


# === Direct preference optimization ===============================================================
#
# E is the mean over the policy's completions, y ~ pi(y|x). KL(pi || q) = E[log(pi(y|x) / q(y|x))].
#
# 1. The aim is a policy of high reward r that stays near the reference:
#        maximize  E[r(x, y)] - beta KL(pi || pi_ref).
# 2. Claim: the best policy is the reference, reweighted by the reward:
#        pi*(y|x) = pi_ref(y|x) exp(r(x, y) / beta) / Z(x),
#    where Z(x), a sum over all y, makes the probabilities sum to 1.
#    Proof: take logs, r(x, y) = beta log(pi*(y|x) / pi_ref(y|x)) + beta log Z(x), and put this r
#    into 1; pi_ref cancels: E[r] - beta KL(pi || pi_ref) = beta log Z(x) - beta KL(pi || pi*).
#    Z(x) does not depend on pi, and a KL divergence is smallest, 0, where pi = pi*.
# 3. Nobody can compute Z(x), and r is unknown. So ask, the other way round, for which reward a
#    given policy is the best. By the proof it is the policy's implicit reward,
#        r(x, y) = beta log(pi(y|x) / pi_ref(y|x)), up to a term of x alone.
# 4. By the Bradley-Terry model y_w is preferred to y_l with probability sigmoid(margin), where
#        margin = r(x, y_w) - r(x, y_l).
#    The term of x alone cancels, and Z(x) with it. Now maximize the likelihood of the choices: the
#    negative log-likelihood -log sigmoid(margin) is the DPO loss.


# --- DPO loss -------------------------------------------------------------------------------------
#
# The log-ratio of a completion y of a prompt x is log pi(y|x) - log pi_ref(y|x). beta times it is
# the policy's implicit reward. The DPO loss (Rafailov et al. 2023, arXiv:2305.18290) is the loss of
# a preference whose margin is a difference of implicit rewards: y_w is chosen, y_l rejected. Its
# gradient is -beta sigmoid(-margin) (grad log pi(y_w|x) - grad log pi(y_l|x)).


def log_prob(model, prompt, completion):
    """log pi(y|x): the sum over the tokens of y, END included. It is not divided by the length."""
    return total(token_log_probs(model, prompt, completion))


def dpo_loss(logratio_w, logratio_l, beta):
    """-log sigmoid(margin), margin = beta (logratio_w - logratio_l)."""
    return preference_loss((logratio_w - logratio_l) * beta)


# === Training on comparisons ======================================================================
#
# The loss starts at ln 2, where pi = pi_ref and every margin is 0. It falls as the gap grows, where
# gap = logratio_w - logratio_l. Both log-ratios may fall, in favor of completions that nobody
# compared: likelihood displacement.
#
# Why does a smaller beta move further, although beta is a factor of the gradient? Adam divides by
# the gradient's running size, so a constant factor cancels; under SGD it would not. What beta then
# decides is when a pair's weight, sigmoid(-beta gap), fades from 1/2 to 0: at a gap of a few times
# 1 / beta. From there on other pairs count more, the annotator's mistakes among them.


def with_reference(reference, comparisons):
    """Comparisons as (x, y_w, y_l, log pi_ref(y_w|x), log pi_ref(y_l|x), p), computed once."""
    return [
        (x, y_w, y_l, log_prob(reference, x, y_w), log_prob(reference, x, y_l), p)
        for x, y_w, y_l, p in comparisons
    ]


def log_ratios(policy, comparisons):
    """(logratio_w, logratio_l) of each comparison."""
    return [
        (log_prob(policy, x, y_w) - ref_w, log_prob(policy, x, y_l) - ref_l)
        for x, y_w, y_l, ref_w, ref_l, _ in comparisons
    ]


def train_dpo(reference, train, beta):
    policy = unfreeze(reference)
    optimizer = Adam(parameters(policy))
    for step in range(STEPS):
        batch = [train[i % len(train)] for i in range(step * BATCH, (step + 1) * BATCH)]
        losses = [
            dpo_loss(logratio_w, logratio_l, beta)
            for logratio_w, logratio_l in log_ratios(policy, batch)
        ]
        loss = total(losses) * (1.0 / BATCH)
        loss.backward()
        optimizer.step(LR * schedule(step, STEPS))
        progress(f"DPO, beta {beta}", step, STEPS, loss.data)
    return freeze(policy)


def train_sft(reference, train):
    """The control: imitate the chosen completions, whatever was rejected."""
    policy = unfreeze(reference)
    optimizer = Adam(parameters(policy))
    for step in range(STEPS):
        batch = [train[i % len(train)] for i in range(step * BATCH, (step + 1) * BATCH)]
        losses = [-log_prob(policy, x, y_w) for x, y_w, *_ in batch]
        loss = total(losses) * (1.0 / BATCH)
        loss.backward()
        optimizer.step(LR * schedule(step, STEPS))
        progress("SFT", step, STEPS, loss.data)
    return freeze(policy)


# === Experiment ===================================================================================
#
# SFT aims at the distribution of the chosen completions, and so no higher than at their gold. This
# is best-of-2 by a noisy judge, at most ln 2 - 1/2 = 0.19 nats from the reference (Beirami et al.
# 2024, arXiv:2401.01879; only about that here: ties and unfinished completions are left out).
#
# The learning rate is the same for all. A lower one also holds a small beta back, but at a larger
# KL divergence than a large beta needs for names as good: divide LR by 4 to see it.


def measure_comparisons(policy, reference, beta, train, held_out):
    """Means over training comparisons; accuracy and the prompts' log-ratio over those held out."""
    ratios = log_ratios(policy, train)
    gaps = [logratio_w - logratio_l for logratio_w, logratio_l in ratios]
    held_out_gaps = [a - b for a, b in log_ratios(policy, held_out)]
    prompts = [(x[:1], x[1:]) for x, *_ in held_out]
    row = {
        "logratio_w": fmean(a for a, _ in ratios),
        "logratio_l": fmean(b for _, b in ratios),
        "gap": fmean(gaps),
        "accuracy": accuracy(held_out_gaps, held_out),
        "prompt": fmean(log_prob(policy, *x) - log_prob(reference, *x) for x in prompts),
    }
    if beta is not None:
        row["weight"] = fmean(sigmoid(-beta * gap) for gap in gaps)
        row["loss"] = fmean(preference_loss(Value(beta * gap)).data for gap in gaps)
    return row


def print_table(columns, results):
    print_row("", {key: key for key in columns})
    for label, row in results.items():
        print_row(label, {key: row[key] for key in columns if key in row})


def experiment(seed, names, pairs):
    rng = random.Random(seed)
    reference = pretrain(names, rng)
    if pairs:
        comparisons = rng.sample(pairs, len(pairs))
    else:
        comparisons = [compare(reference, names, rng) for _ in range(COMPARISONS)]
    n = min(HELD_OUT, len(comparisons) // 4)
    comparisons = with_reference(reference, comparisons)
    held_out, train = comparisons[:n], comparisons[n:]
    print(f"microdpo, seed {seed}: {len(train)} comparisons for training, {n} held out")
    for x, y_w, y_l, *_ in train[:3]:
        print(f"  {decode(x + y_w):>17} preferred to {decode(x + y_l)}")

    betas = {f"beta {beta}": beta for beta in BETAS}
    policies = {"reference": reference, "SFT": train_sft(reference, train)}
    for label, beta in betas.items():
        policies[label] = train_dpo(reference, train, beta)

    prompts = [rng.choice(held_out)[0] for _ in range(SAMPLES)]
    results, samples = {}, {}
    for label, policy in policies.items():
        row = measure_comparisons(policy, reference, betas.get(label), train[:n], held_out)
        policy_rng = random.Random(seed)
        rollouts = [sample_rollout(policy, reference, x, policy_rng) for x in prompts]
        results[label] = row | measure(rollouts)
        samples[label] = [rollout.text for rollout in rollouts[:3]]
    print(f"\n{n} training comparisons (accuracy, log-ratio of the prompt: held out)")
    columns = ["logratio_w", "logratio_l", "gap", "accuracy", "prompt", "weight", "loss"]
    print_table(columns, results)
    print("\nfresh completions (gold: the built-in annotator's score)")
    print_table(["gold", "KL", "k3", "entropy", "repeats", "length", "no end"], results)
    for label, texts in samples.items():
        print(f"{label:12}", *texts)
    if pairs:
        return 0

    ceiling = accuracy([p - 0.5 for *_, p in held_out], held_out)
    aim = fmean(gold(decode(x + y_w)) for x, y_w, *_ in train)
    print(f"\nThe noise allows an accuracy of {ceiling:.3f}. Gold of the chosen: {aim:.3f}")
    near, further, far = betas
    start, sft, first, second, last = results.values()
    assert first["KL"] != 0.0 != last["KL"], "training has not moved the policy"
    per_nat = [(row["gold"] - start["gold"]) / row["KL"] for row in (first, last)]
    return check_claims([
        (f"{further}: accuracy over the noise ceiling", second["accuracy"] / ceiling, ">=", 0.8),
        ("SFT: gold minus that of the chosen", sft["gold"] - aim, "<=", 0.05),
        (f"{near}: gold minus SFT's", first["gold"] - sft["gold"], ">=", 0.0),
        (f"{near}: gold gained per nat, above {far}'s", per_nat[0] - per_nat[1], ">=", 0.02),
        (f"{near}: KL over that of {far}", first["KL"] / last["KL"], "<=", 0.25),
        (f"{far}: weight over that of {near}", last["weight"] / first["weight"], ">=", 1.3),
        (f"{far}: logratio_w, training comparisons", last["logratio_w"], "<=", -5.0),
    ])


# --- Names ----------------------------------------------------------------------------------------

NAMES = """
aaron abel adam adriana aida aisha alden alessandra alexandra alicia alisa alma amara amelia amos
andre andy angelica anna annette anton ariel arlo arturo audrey aurelia avery basil belinda benedict
bernice bethany bill boris bradley brent brooke bruno caleb candace carl carmen carter cassandra
cecilia chad charlotte chloe claire clarence clement colette conrad corey crystal cyrus dalia daniel
danielle darcy daryl dawn declan dennis diana dinah donald doreen duncan edith edna eileen eliana
elijah elizabeth elmer elsie emerson emmanuel erica esme etta eva fabian felix fernando floyd frank
frederick gabriela gemma george gianna giselle glen graham guillermo guy harold harry heather helen
herman homer hugh ignacio imogen iris isabella isla jack jaime james jana jasmine javier jeffrey
jeremy jerry jill jocelyn johanna jonas josefina joshua joyce jules juliana june karina kate katrina
kelvin kenneth kim kristina laila lara laurence layla leila leonard leonora leticia lila liliana
linda lois lorenzo louis lucian lucy luther madison maggie manuel marco marcus mariam mario marisol
marlene martina mason maureen megan melinda mercedes michelle mila milton miranda molly monique
myrtle naomi nathan nicholas nigel noelle octavia olga omar otis pablo paola paula pedro peter
pierre quentin ralph raquel ravi regina reuben richard roberta rodney roland ronald rose ross ruben
russell ryan salvador samuel sarah savannah selena sergio sharon sherman sidney silvia sonia sophie
stella stuart susanna sylvester tara taylor tessa theresa tiffany todd trevor tristan una vanessa
veronica victoria vivian walter wendy willa willow xavier yvonne zara
""".split()


def read_names(path):
    """The names in a UTF-8 file, one a line."""
    number, names = 0, []
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                names.append(line.strip().lower())
                if set(names[-1]) - set(ALPHABET[1:]) or not 0 < len(names[-1]) < BLOCK_SIZE:
                    raise ValueError(f"{names[-1]!r}: write 1 to {BLOCK_SIZE - 1} letters a to z")
        if number < 100:
            raise ValueError("give 100 names or more")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}, line {number}: {error}") from None
    return names


# === Pairs from a file ============================================================================


def read_pairs(path):
    """The comparisons in a UTF-8 file of JSON lines with the keys that TRL reads."""
    number, pairs = 0, []
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                pair = json.loads(line) if line.startswith("{") else {}
                x, y_w, y_l = (pair.get(key) for key in ("prompt", "chosen", "rejected"))
                if not (isinstance(x, str) and isinstance(y_w, str) and isinstance(y_l, str)):
                    raise ValueError('write {"prompt": "jo", "chosen": "na", "rejected": "h"}')
                if set(x + y_w + y_l) - set(ALPHABET[1:]) or not x:
                    raise ValueError("write letters a to z, at least one of them in the prompt")
                if y_w == y_l or len(x) + max(len(y_w), len(y_l)) >= BLOCK_SIZE:
                    raise ValueError(f"write two answers, {BLOCK_SIZE - 1} letters with the prompt")
                pairs.append((encode("." + x), encode(y_w + "."), encode(y_l + "."), 1.0))
        if number < 20:
            raise ValueError("give 20 comparisons or more")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}, line {number}: {error}") from None
    return pairs


# --- Command line ---------------------------------------------------------------------------------


def progress(label, step, steps, loss):
    """A moving line on stderr; stdout depends on the seed alone."""
    if (step + 1) % max(1, steps // 10) == 0 or step + 1 == steps:
        end = "\n" if step + 1 == steps else ""
        line = f"\r{label:15} step {step + 1:4}/{steps}, loss {loss:6.3f}"
        print(line, end=end, file=sys.stderr, flush=True)


def print_row(label, row):
    """A line of a table: each value of a dict in a column at least as wide as its key."""
    cells = [f"{x:.{2 * (abs(x) < 100)}f}" if isinstance(x, float) else x for x in row.values()]
    columns = [f"{cell:>{max(len(key), 5) + 1}}" for key, cell in zip(row, cells)]
    print(f"{label:12}" + "".join(columns))


def check_claims(claims):
    """Print each claim: (what, measured, ">=" or "<=", bound). Return 1 if one fails, else 0."""
    print("\nclaims")
    failed = 0
    for what, measured, relation, bound in claims:
        holds = measured >= bound if relation == ">=" else measured <= bound
        failed |= not holds
        print(f"  {'ok  ' if holds else 'FAIL'} {what:54} {measured:8.3f} {relation} {bound}")
    return int(failed)


def run(experiment, **files):
    """Run an experiment as the command line says, and exit with its status. files: for each option
    its type=, the function that reads its file, the default without one, and a help text."""
    for name in ("SIGINT", "SIGPIPE"):  # Ctrl-C and | head end the program without a traceback
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    sys.stdout.reconfigure(line_buffering=True)  # results appear as they come, in a pipe too
    gc.disable()  # graphs hold no cycles: looking for them takes time for nothing
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="default: 42")
    for option, arguments in files.items():
        parser.add_argument(f"--{option}", metavar="FILE", **arguments)
    sys.exit(experiment(**vars(parser.parse_args())))


if __name__ == "__main__":
    run(experiment, names=dict(type=read_names, default=NAMES, help="names, one a line, UTF-8"),
        pairs=dict(type=read_pairs, default=None, help="JSON lines: prompt, chosen, rejected"))
