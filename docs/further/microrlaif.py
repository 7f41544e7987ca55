"""microrlaif: can a model's judgement replace a person's?

Comparisons by people are costly. In reinforcement learning from AI feedback (RLAIF; Lee et al.
2023, arXiv:2309.00267) a language model q, the labeller, makes them. It judges by a constitution
(Bai et al. 2022, arXiv:2212.08073), a few principles that people wrote. Ours is too small to read.
So it is the reference p, trained further on the best names only: a constitution by examples. Of two
completions y of a prompt x it prefers the one with the higher score, where y has n tokens:
    total: log q(y|x)     per token: log q(y|x) / n     ratio: (log q(y|x) - log p(y|x)) / n

What runs: the labeller's preferences are measured beside those of an annotator with a gold score.
Policies learn by direct preference optimization (DPO) from the same comparisons, labelled by the
annotator, by the labeller, or, as a control, by the reference, which has no constitution.

What to look for: labels by the mean per token are worth about as much gold as the annotator's. But
the errors have a direction, and policies inherit it: the total prefers what is short, the mean per
token what the reference finds likely. And gold proves little about the judge, for the control's
labels raise it, too. What the constitution adds shows where the better completion is unlikely.

What this cannot show: that judging is easier than doing. The labeller is a policy, too, and writes
better names than its pupils do on average. A model that reads principles is no such policy.

When to use it: a model judges well, and people's time is short. First measure it on comparisons by
people. When not: there are none. More labels make noise smaller, but not a bias.

    python microrlaif.py [--seed N] [--names FILE]        16 seconds, standard library only
"""
import argparse
import gc
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
COMPARISONS, HELD_OUT = 600, 300  # comparisons made, and how many of them measure the labels
EXAMPLES = 30  # the constitution: names of the highest gold, an eighth of all
TEACH_STEPS, TEACH_LR = 200, 0.01  # of the labeller, one name per step
LR = 0.002  # DPO's, one comparison per step
BETA = 0.3  # DPO's: the smaller, the further a policy moves from the reference
SAMPLES = 300  # fresh completions of each policy
assert HELD_OUT < COMPARISONS, "the comparisons that are not held out train the policies"


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


# === AI feedback ==================================================================================
#
# A large labeller reads the principles, the prompt and both completions, and says which is better.
# Ours is asked how likely it finds each. Every token makes log q(y|x) smaller, good or bad: so the
# total prefers what is short. The mean per token hardly does. But most of what q knows, it knows
# from p: at equal merit the usual name wins. The ratio leaves p out. In DPO's terms q is the best
# policy for the reward beta (log q - log p), which is what the constitution has put into q.


def train_labeller(reference, examples, rng):
    labeller = unfreeze(reference)
    optimizer = Adam(parameters(labeller))
    for step in range(TEACH_STEPS):
        losses = token_losses(labeller, encode("." + rng.choice(examples) + "."))
        loss = total(losses) * (1.0 / len(losses))
        loss.backward()
        optimizer.step(TEACH_LR * schedule(step, TEACH_STEPS))
        progress("labeller", step, TEACH_STEPS, loss.data)
    return freeze(labeller)


SCORES = {  # of a completion; q and p: log-probabilities of its tokens, by labeller and reference
    "total": lambda q, p: fsum(q),
    "per token": lambda q, p: fmean(q),
    "ratio": lambda q, p: fmean(q) - fmean(p),
    "reference": lambda q, p: fmean(p),  # the control judges by its own likelihood
}


def label(comparison, margin):
    """The comparison as a labeller makes it; margin: its score of chosen minus rejected."""
    x, y_w, y_l, p = comparison
    return comparison if margin > 0.0 else (x, y_l, y_w, 1.0 - p)


def train_dpo(name, reference, comparisons):
    policy = unfreeze(reference)
    optimizer = Adam(parameters(policy))
    steps = len(comparisons)
    for step in range(steps):
        x, y_w, y_l, _ = comparisons[step]
        logratio_w = log_prob(policy, x, y_w) - log_prob(reference, x, y_w)
        logratio_l = log_prob(policy, x, y_l) - log_prob(reference, x, y_l)
        loss = dpo_loss(logratio_w, logratio_l, BETA)
        loss.backward()
        optimizer.step(LR * schedule(step, steps))
        progress(name, step, steps, loss.data)
    return freeze(policy)


# === Experiment ===================================================================================


def measure_labels(margins, ref_margins, comparisons):
    """How a labeller prefers: shares, from its margins and those of the reference."""
    rows = list(zip(margins, ref_margins, comparisons))
    unlikely = [(m, row) for m, ref, row in rows if (ref > 0.0) != (row[-1] > 0.5)]
    longer = [(m, len(y_l) - len(y_w)) for m, _, (_, y_w, y_l, _) in rows]
    return {
        "agrees": accuracy(margins, comparisons),
        "unlikely": accuracy(*zip(*unlikely)),
        "shorter": fmean((m > 0.0) == (n > 0) for m, n in longer if n != 0),
        "likelier": fmean((m > 0.0) == (ref > 0.0) for m, ref, _ in rows),
    }


def experiment(seed, names):
    rng = random.Random(seed)
    reference = pretrain(names, rng)
    comparisons = [compare(reference, names, rng) for _ in range(COMPARISONS)]
    examples = sorted(names, key=lambda name: gold(f".{name}."))[-EXAMPLES:]
    print(f"microrlaif, seed {seed}. The constitution: {EXAMPLES} names, such as", *examples[::-8])
    labeller = train_labeller(reference, examples, rng)
    margins = {"annotator": [1.0] * COMPARISONS} | {name: [] for name in SCORES}
    for x, y_w, y_l, _ in comparisons:
        chosen, rejected = (
            [token_log_probs(m, x, y) for m in (labeller, reference)] for y in (y_w, y_l)
        )
        for name, f in SCORES.items():
            margins[name].append(f(*chosen) - f(*rejected))

    print(f"""
How each prefers on {HELD_OUT} comparisons. agrees: with the annotator, asked again;
unlikely: the same where the better completion is the less likely, per token,
to the reference; shorter, likelier: how often it prefers that one.""")
    judges = {}
    print_row("", {key: key for key in ("agrees", "unlikely", "shorter", "likelier")})
    for name, ms in margins.items():
        held_out = ms[:HELD_OUT], margins["reference"][:HELD_OUT], comparisons[:HELD_OUT]
        judges[name] = measure_labels(*held_out)
        print_row(name, judges[name])

    policies = {"reference": reference, "labeller": labeller}
    for name in ("annotator", "total", "per token", "reference"):
        labels = [label(c, m) for c, m in zip(comparisons, margins[name])]
        policies[f"by {name}"] = train_dpo(name, reference, labels[HELD_OUT:])
    print("\nFresh completions. by ...: a policy that learned from that one's labels.")
    prompts, results = [sample_prompt(names, rng) for _ in range(SAMPLES)], {}
    for name, policy in policies.items():
        rollouts = [sample_rollout(policy, reference, prompt, rng) for prompt in prompts]
        results[name] = measure(rollouts)
        if name == "reference":
            print_row("", {key: key for key in results[name]})
        print_row(name, results[name])
        print("  ", *(r.text for r in rollouts[:6]))
    _, _, token, ratio, control = judges.values()
    start, own, by_annotator, by_total, by_token, by_control = results.values()
    sharper = by_annotator["entropy"] - by_token["entropy"]
    worth = by_token["gold"] - by_annotator["gold"]
    pupils = fmean([by_total["gold"], by_token["gold"]])
    return check_claims([
        ("per token: agrees above the reference's", token["agrees"] - control["agrees"], ">=", 0.0),
        ("ratio: unlikely above per token's", ratio["unlikely"] - token["unlikely"], ">=", 0.01),
        ("by total: length over reference's", by_total["length"] / start["length"], "<=", 0.85),
        ("by per token: entropy below by annotator's", sharper, ">=", 0.0),
        ("by per token: gold minus by annotator's", worth, ">=", -0.05),
        ("by reference: gold above reference's", by_control["gold"] - start["gold"], ">=", 0.08),
        ("labeller: gold above its pupils' mean", own["gold"] - pupils, ">=", 0.0),
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
    run(experiment, names=dict(type=read_names, default=NAMES, help="names, one a line, UTF-8"))
