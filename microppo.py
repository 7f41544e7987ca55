"""microppo: how does the whole RLHF loop work, and how does it go wrong?

Reinforcement learning from human feedback (RLHF; Ziegler et al. 2019, arXiv:1909.08593; Ouyang et
al. 2022, arXiv:2203.02155) trains a reward model on comparisons, and then a policy on the reward
model by proximal policy optimization (PPO, Schulman et al. 2017, arXiv:1707.06347). A critic
predicts the reward while a text is being written; a KL penalty keeps the policy near its start.

The words: the language model is the policy pi, what is written so far the state s_t, the next token
the action a_t, a written answer a rollout. pi_ref, the reference, is the policy as it was before.
The KL is the mean of log pi(answer) - log pi_ref(answer) over the policy's own answers, in nats:
how far it has drifted. The gold score is what people want; nothing that learns sees it. The proxy
is the reward model's score, which stands for it.

What runs: a tiny GPT learns given names. A simulated annotator with a taste of its own compares
pairs of its completions. A reward model learns the comparisons, a critic learns to foresee the
reward, and PPO trains the policy twice: with the KL penalty, and without.

What to look for: Goodhart's law. Without the penalty gold rises with the proxy for some rounds,
goes over the top, and falls far below where it began, while the proxy keeps rising: the policy has
found what the reward model cannot see. With the penalty it stays up.

Use it when new answers are to be judged while learning: by a reward model, a program, a person. Use
DPO (microdpo.py) when comparisons are all there is: it is simpler and steadier.

Two kinds of numbers learn here. The policy is made of Values, the autograd scalars of section 3.
The reward model and the critic are small enough to derive their gradients by hand: plain lists of
floats, and much faster.

Read from top to bottom. If you know another script: sections 3 to 5 are the same text; go from
section 2 to section 6. The appendix holds names and manners, and needs no reading.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import os
import random
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from itertools import compress
from operator import mul
from typing import Any, NamedTuple, NoReturn, Union

# 1. THESIS: the docstring above.  2. SETTINGS ====================================================

N_EMBD = 8  # width d
N_HEAD = 2  # attention heads, of 4 dimensions each
N_LAYER = 1  # blocks
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # of the initial weights; GPT-2's 0.02 would start a model this narrow too quiet
BATCH = 2  # names per step of pretraining

PRETRAIN_STEPS = 400  # the loss has flattened by then
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak, as REWARD_LR and CRITIC_LR below
HELD_OUT_NAMES = 56  # a tenth of them: their first letters are the prompts of the last test

PAIRS = 1250  # comparisons that the annotator makes
HELD_OUT = 200  # of them, for measuring
TASTE = 12.0  # how sure the annotator is: log-odds of preferring the better name, per unit of gold

HIDDEN = 8  # width of the reward model, and of the critic
NET_STD = 0.3  # of their initial weights: the arguments of tanh are then mostly within -1 .. 1
REWARD_STEPS = 800  # updates of the reward model
REWARD_BATCH = 8  # comparisons per update
REWARD_LR = 0.05
CRITIC_ROLLOUTS = 400  # answers of the reference that the critic learns from before the loop
CRITIC_HELD_OUT = 64  # of them, for measuring
CRITIC_STEPS = 300  # updates of the critic before the loop
CRITIC_LR = 0.02  # the constant rate in the loop, too

ROUNDS = 20  # of PPO: first write answers, then learn from them
ROLLOUTS = 16  # answers per round
EPOCHS = 3  # times that each answer is learnt from
MINIBATCH = 8  # answers per update
POLICY_LR = 0.006  # constant in the loop
KL_COEF = 0.2  # reward lost per nat of KL; rewards are in standard deviations of the proxy
CLIP = 0.2  # how far a probability ratio may move from 1 before its gradient is cut
VALUE_CLIP = 0.2  # how far the critic's value may move in a round before its gradient is cut
GAMMA = 0.99  # discount per token
LAMBDA = 0.95  # of gae(): 0 asks the critic after every token, 1 waits for the whole answer

SAMPLES = 300  # fresh names from each policy when it is judged


# 3. AUTOGRAD (shared) =============================================================================

# A Value is a number that remembers which numbers it was computed from (children) and how fast it
# changes with each of them (local_grads). backward(), called on a loss, walks from it down to the
# parameters and applies the chain rule at every node: child.grad += d(node)/d(child) * node.grad.
#
# The rule of the house: a number that learns through autograd is a Value; a number that does not is
# a float. The same functions run on both, and what runs on floats builds no graph.

Number = Union["Value", float]
Vector = Sequence[Any]  # all of them Values, or all floats (relu() alone mixes in a 0.0)
Matrix = Sequence[Vector]  # a list of rows
Model = dict[str, Any]  # of named matrices


class Value:
    """A scalar in the graph. The whole contract stands in docs/autograd-interface.md."""

    __slots__ = ("data", "grad", "children", "local_grads")

    def __init__(self, data: float, children: Any = (), local_grads: Any = ()):
        self.data = data
        self.grad = 0.0  # d(loss)/d(self), which backward() fills
        self.children = children
        self.local_grads = local_grads  # d(self)/d(child), in the order of children

    # Each operation states its value, its children and its local derivatives. A plain number on the
    # other side is a constant, and no child. (No script uses all of these.)

    def __add__(self, other: Number) -> Value:
        if isinstance(other, Value):
            return Value(self.data + other.data, (self, other), (1.0, 1.0))
        return Value(self.data + other, (self,), (1.0,))

    def __mul__(self, other: Number) -> Value:
        if isinstance(other, Value):
            return Value(self.data * other.data, (self, other), (other.data, self.data))
        return Value(self.data * other, (self,), (other,))

    def __pow__(self, k: float) -> Value:  # k is a plain number
        return Value(self.data**k, (self,), (k * self.data ** (k - 1) if k else 0.0,))

    def exp(self) -> Value:
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def log(self) -> Value:  # below 1e-12, value and slope are those at 1e-12
        safe = max(self.data, 1e-12)
        return Value(math.log(safe), (self,), (1.0 / safe,))

    def tanh(self) -> Value:
        return Value(math.tanh(self.data), (self,), (1.0 - math.tanh(self.data) ** 2,))

    def relu(self) -> Value:
        return Value(max(self.data, 0.0), (self,), (1.0 if self.data > 0.0 else 0.0,))

    __radd__, __rmul__ = __add__, __mul__
    def __neg__(self) -> Value: return self * -1.0
    def __sub__(self, other: Number) -> Value: return self + -other
    def __rsub__(self, other: float) -> Value: return -self + other
    def __truediv__(self, other: Number) -> Value: return self * other**-1.0
    def __rtruediv__(self, other: float) -> Value: return self**-1.0 * other
    def __repr__(self) -> str: return f"Value(data={self.data}, grad={self.grad})"

    def graph(self) -> list[Value]:
        """This node and those below it that have children, each after its children.

        A depth-first walk with a stack of its own, so no graph is too deep for Python's recursion
        limit. The stack is the way down: nodes, each with the children it has yet to visit.
        """
        order: list[Value] = []
        seen, way = {self}, [(self, iter(self.children))]
        while way:
            node, children = way[-1]
            for child in children:
                if child.children and child not in seen:
                    seen.add(child)
                    way.append((child, iter(child.children)))
                    break
            else:  # every child has been visited
                order.append(node)
                way.pop()
        return order

    def backward(self) -> None:
        """Add d(self)/d(parameter) to the grad of every parameter below. Parameters, which have no
        children, keep their grad from one call to the next; every other node starts at zero."""
        order = self.graph()
        for node in order:
            node.grad = 0.0
        self.grad = 1.0
        for node in reversed(order):
            node.push()

    def push(self) -> None:
        """The chain rule at one node. A gradient of zero has nothing to pass on."""
        if grad := self.grad:
            for child, local in zip(self.children, self.local_grads):
                child.grad += local * grad


# Fused operations. A dot product of length n, written with * and +, is 2n - 1 nodes. On paper its
# derivatives are plain: d(a.b)/da = b and d(a.b)/db = a. So one node does it, still from scalars to
# a scalar. It is the chain rule done once by hand, and makes a step some ten times faster.


def learns(xs: Vector) -> bool:
    """Are these Values, whose gradients are wanted? The first entry tells for all."""
    return isinstance(xs[0], Value)


def floats(xs: Vector) -> Sequence[float]:
    """The plain numbers of a vector."""
    return [x.data for x in xs] if learns(xs) else xs


def dot(a: Vector, b: Vector) -> Any:
    """sum_i a_i b_i of two equally long vectors. Only what learns becomes a child."""
    if len(a) != len(b):
        raise ValueError(f"dot of vectors of length {len(a)} and {len(b)}")
    a_data, b_data = floats(a), floats(b)
    result = sum(map(mul, a_data, b_data))
    if learns(a) and learns(b):
        return Value(result, [*a, *b], [*b_data, *a_data])
    if learns(a):
        return Value(result, a, b_data)
    return Value(result, b, a_data) if learns(b) else result


def total(xs: Vector) -> Any:
    """sum_i x_i."""
    return Value(sum(floats(xs)), xs, [1.0] * len(xs)) if learns(xs) else sum(xs)


def softmax(logits: Vector, t: float = 1.0) -> list[Any]:
    """p_i = e^(z_i / t) / sum_j e^(z_j / t) for logits z, at temperature t.

    Subtracting the largest z from every z changes no p, and no exponential can overflow. The
    derivative of p_i with respect to z_j is p_i ((1 if i = j else 0) - p_j) / t.
    """
    data = floats(logits)
    top = max(data)
    exps = [math.exp((z - top) / t) for z in data]
    norm = sum(exps)
    chances = [e / norm for e in exps]
    if not learns(logits):
        return chances
    slopes = [[-p * q / t for q in chances] for p in chances]
    for i, p in enumerate(chances):
        slopes[i][i] += p / t
    return [Value(p, logits, row) for p, row in zip(chances, slopes)]


def attend(scores: Vector, values: Matrix, t: float) -> list[Any]:
    """sum_i p_i v_i, where p = softmax(scores, t): the mean of the vectors v_i, weighted by p.

    For each entry of the mean, the derivative with respect to that entry of v_i is p_i, and with
    respect to score i it is p_i (v_i - mean) / t: a higher score pulls the mean towards its v_i.
    """
    chances = softmax(floats(scores), t)
    means: list[Any] = []
    for column in zip(*values):  # the same entry of every v_i
        data = floats(column)
        mean = sum(map(mul, chances, data))
        children: list[Value] = []
        slopes: list[float] = []
        if learns(scores):
            children += scores
            slopes += [p * (v - mean) / t for p, v in zip(chances, data)]
        if learns(column):
            children += column
            slopes += chances
        means.append(Value(mean, children, slopes) if children else mean)
    return means


def cross_entropy(logits: Vector, target: int) -> Any:
    """-log softmax(z)[target] = log(sum_j e^z_j) - z_target for logits z, in nats.

    Its derivative with respect to z_j is softmax(z)_j, minus 1 at the target.
    """
    data = floats(logits)
    top = max(data)
    loss = math.log(sum(math.exp(z - top) for z in data)) + top - data[target]
    if not learns(logits):
        return loss
    slopes = softmax(data)
    slopes[target] -= 1.0
    return Value(loss, logits, slopes)


def relu(x: Any) -> Any:
    """max(x, 0): x itself where it is positive, else 0.0, a constant even where x is a Value: from
    what is switched off no path leads back."""
    return 0.0 if (x.data if isinstance(x, Value) else x) <= 0.0 else x


# 4. MODEL (shared) ================================================================================

# The model reads and writes names, one letter at a time. Token 0, EDGE, stands before the first
# letter and after the last one; token t is the letter alphabet[t].

EDGE = 0


def alphabet_of(names: Sequence[str]) -> list[str]:
    return ["", *sorted(set("".join(names)))]


def encode(text: str, alphabet: list[str]) -> list[int]:
    return [EDGE, *(alphabet.index(letter) for letter in text), EDGE]


def decode(tokens: Sequence[int], alphabet: list[str]) -> str:
    return "".join(alphabet[token] for token in tokens)


# A model is a dict of named matrices, lists of rows, of floats or of Values.


def new_matrix(rows: int, columns: int, rng: random.Random) -> list[list[float]]:
    """Random floats, drawn from N(0, INIT_STD^2)."""
    return [[rng.gauss(0.0, INIT_STD) for _ in range(columns)] for _ in range(rows)]


def unfreeze(model: Model) -> Model:
    """The same weights as Values: a copy that learns."""
    return {k: [[Value(x) for x in floats(row)] for row in m] for k, m in model.items()}


def freeze(model: Model) -> Model:
    """The same weights as floats: a copy that does not learn and runs fast."""
    return {k: [list(floats(row)) for row in m] for k, m in model.items()}


def weights_of(model: Model) -> list[Any]:
    """All numbers of a model in one flat list."""
    return [x for matrix in model.values() for row in matrix for x in row]


def linear(weights: Matrix, x: Vector) -> list[Any]:
    """W x, shapes (n, m) and (m,) to (n,): the dot product of every row with x.

    Made fast in two ways, each worth a tenth of microlora's time: the numbers of x are taken once,
    not for every row; and what relu() switched off, a 0.0 even among Values, is left out with its
    column of W: it adds nothing to W x, and neither it nor the column gets a gradient.
    """
    if len(weights[0]) != len(x):
        raise ValueError(f"a matrix of {len(weights[0])} columns times {len(x)} numbers")
    if 0.0 in x:
        on = [v != 0.0 for v in x]  # a Value equals nothing but itself
        x, weights = list(compress(x, on)), [list(compress(row, on)) for row in weights]
        if not x:
            return [0.0] * len(weights)
    x_data = floats(x)
    if not learns(weights[0]):
        products = [sum(map(mul, row, x_data)) for row in weights]
        return [Value(y, x, row) for y, row in zip(products, weights)] if learns(x) else products
    rows = [floats(row) for row in weights]
    products = [sum(map(mul, row, x_data)) for row in rows]
    if not learns(x):
        return [Value(y, w, x_data) for y, w in zip(products, weights)]
    return [Value(y, [*w, *x], [*x_data, *row]) for y, w, row in zip(products, weights, rows)]


def add(a: Vector, b: Vector) -> list[Any]:
    return [x + y for x, y in zip(a, b)]


def rmsnorm(x: Vector) -> list[Any]:
    """x / sqrt(mean(x^2) + 1e-5)."""
    data = floats(x)
    scale = (dot(data, data) / len(x) + 1e-5) ** -0.5
    if not learns(x):
        return [v * scale for v in x]
    # the chain rule for scale, once: d(scale)/d(x_i) = -scale^3 x_i / n
    node = Value(scale, x, [-(scale**3) * v / len(x) for v in data])
    return [v * node for v in x]


# --- the GPT (shared) -----------------------------------------------------------------------------

# A GPT-2 in miniature: token and position embeddings, then blocks of attention and MLP, each added
# onto a residual stream. RMSNorm replaces LayerNorm, ReLU replaces GELU; no biases, a norm after
# the embeddings and none before lm_head. "0.wq" is the matrix wq of layer 0, and project() below is
# W x for a name.


def init_model(vocabulary: int, rng: random.Random) -> Model:
    """A new model, in floats."""
    d = N_EMBD
    model = {"wte": new_matrix(vocabulary, d, rng), "wpe": new_matrix(BLOCK_SIZE, d, rng)}
    for layer in range(N_LAYER):
        for name in ("wq", "wk", "wv", "wo"):
            model[f"{layer}.{name}"] = new_matrix(d, d, rng)
        model[f"{layer}.w1"] = new_matrix(4 * d, d, rng)
        model[f"{layer}.w2"] = new_matrix(d, 4 * d, rng)
    model["lm_head"] = new_matrix(vocabulary, d, rng)
    return model


def mlp(model: Model, layer: int, x: Vector) -> list[Any]:
    """W2 relu(W1 x): widen to 4d, switch off what is negative, narrow to d."""
    hidden = [relu(h) for h in project(model, f"{layer}.w1", x)]
    return project(model, f"{layer}.w2", hidden)


Cache = list[tuple[list[Any], list[Any]]]  # for each layer: keys, values of the tokens read


def new_cache() -> Cache:
    return [([], []) for _ in range(N_LAYER)]


def gpt(model: Model, token: int, cache: Cache, mlp: Callable[..., list[Any]] = mlp) -> list[Any]:
    """Read one token and return the logits of the next, shape (vocabulary,).

    The position is the length of the cache, to which this token's keys and values are appended.
    That makes attention causal: no later key exists yet. (micromoe.py passes another mlp.)
    """
    position = len(cache[0][0])
    x = rmsnorm(add(model["wte"][token], model["wpe"][position]))
    d_head = len(x) // N_HEAD
    for layer, (keys, values) in enumerate(cache):
        h = rmsnorm(x)
        query = project(model, f"{layer}.wq", h)
        keys.append(project(model, f"{layer}.wk", h))
        values.append(project(model, f"{layer}.wv", h))
        heads: list[Any] = []
        for start in range(0, len(x), d_head):
            part = slice(start, start + d_head)
            # softmax(q k^T / sqrt(d_head)) v (Vaswani et al. 2017, equation 1)
            scores = linear([key[part] for key in keys], query[part])  # K q
            heads += attend(scores, [v[part] for v in values], d_head**0.5)
        x = add(x, project(model, f"{layer}.wo", heads))
        x = add(x, mlp(model, layer, rmsnorm(x)))
    return project(model, "lm_head", x)


def token_losses(model: Model, tokens: Sequence[int]) -> list[Any]:
    """-log p(next token | tokens so far), in nats, for each token but the first."""
    cache = new_cache()
    logits = [gpt(model, token, cache) for token in tokens[:-1]]
    return list(map(cross_entropy, logits, tokens[1:]))


# --- projection (shared) --------------------------------------------------------------------------

def project(model: Model, name: str, x: Vector) -> list[Any]:
    """W x, for the named matrix W."""
    return linear(model[name], x)


# 5. TRAINING (shared) =============================================================================

class Adam:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1).

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
    p = p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    g is the gradient, p the weight, t the step; b2 is 0.99, not the paper's 0.999, for short runs.
    It updates Values, whose gradients backward() fills, and arrays, which are pairs of float lists
    (weights, gradients) whose gradients are filled by hand. step() sets all gradients back to zero.
    """

    def __init__(self, values: Sequence[Value] = (), arrays: Sequence[Any] = ()):
        self.values, self.arrays = values, arrays
        self.b1, self.b2, self.eps, self.t = 0.9, 0.99, 1e-8, 0
        sizes = [len(values), *(len(weights) for weights, _ in arrays)]
        self.moments = [([0.0] * n, [0.0] * n) for n in sizes]

    def step(self, lr: float) -> None:
        self.t += 1
        b1, b2, eps, sqrt = self.b1, self.b2, self.eps, math.sqrt
        c1, c2 = 1 - b1, 1 - b2
        rate, scale = lr / (1 - b1**self.t), 1 / (1 - b2**self.t)
        (m, v), *moments = self.moments
        for i, p in enumerate(self.values):
            g = p.grad
            m[i] = first = b1 * m[i] + c1 * g
            v[i] = second = b2 * v[i] + c2 * g * g
            p.data -= rate * first / (sqrt(scale * second) + eps)
            p.grad = 0.0
        for (weights, grads), (m, v) in zip(self.arrays, moments):  # the same with floats
            for i, g in enumerate(grads):
                m[i] = first = b1 * m[i] + c1 * g
                v[i] = second = b2 * v[i] + c2 * g * g
                weights[i] -= rate * first / (sqrt(scale * second) + eps)
                grads[i] = 0.0


def train(
    label: str, learn: Callable[[], float], optimizer: Adam, steps: int, lr: float, look: Any = None
) -> list[float]:
    """Minimize: learn() adds up the gradients of one batch and returns its loss.

    The learning rate rises to lr in the first tenth of the steps, then falls along a straight line
    towards zero. look(steps done), if given, is called before every step and at the end, to measure
    on the way. Returns the loss of every step.
    """
    losses = []
    start = time.perf_counter()
    for step in range(steps):
        if look:
            look(step)
        losses.append(learn())
        rise, fall = (step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps)
        optimizer.step(lr * min(rise, fall, 1.0))
        progress(label, step + 1, steps, losses[-1], time.perf_counter() - start)
    if look:
        look(steps)
    return losses


# --- names, learnt and written (shared) -----------------------------------------------------------

def next_letter(
    model: Model, names: list[str], alphabet: list[str], rng: random.Random
) -> Callable[[], float]:
    """A learn() for train(): the mean cross-entropy per token of BATCH random names.

    Each name's graph is walked back, and dropped, before the next one's is built.
    """

    def learn() -> float:
        batch = [encode(rng.choice(names), alphabet) for _ in range(BATCH)]
        size = sum(len(tokens) - 1 for tokens in batch)
        loss = 0.0
        for tokens in batch:
            share = total(token_losses(model, tokens)) / size
            share.backward()
            loss += share.data
        return loss

    return learn


def mean_loss(model: Model, names: Sequence[str], alphabet: list[str]) -> float:
    """Mean cross-entropy per token over names, in nats. Give it a frozen model."""
    losses = [x for name in names for x in token_losses(model, encode(name, alphabet))]
    return sum(losses) / len(losses)


def pretrain(names: list[str], alphabet: list[str], rng: random.Random) -> Model:
    """A new model that has learnt names, frozen."""
    model = unfreeze(init_model(len(alphabet), rng))
    learn = next_letter(model, names, alphabet, rng)
    train("pretrain", learn, Adam(weights_of(model)), PRETRAIN_STEPS, PRETRAIN_LR)
    return freeze(model)


def sample(model: Model, prompt: Sequence[int], rng: random.Random, t: float = 1.0) -> list[int]:
    """Tokens drawn after a prompt at temperature t, up to EDGE or a full context."""
    cache = new_cache()
    for token in prompt[:-1]:
        gpt(model, token, cache)
    tokens = [prompt[-1]]
    for _ in range(BLOCK_SIZE - len(prompt) + 1):
        chances = softmax(gpt(model, tokens[-1], cache), t)
        tokens += rng.choices(range(len(chances)), chances)
        if tokens[-1] == EDGE:
            break
    return tokens[1:]


# 6. THE ALGORITHM: REINFORCEMENT LEARNING FROM HUMAN FEEDBACK =====================================

# --- the gold score (shared) ----------------------------------------------------------------------

# The model completes a name from its first letters. How good a name is, the gold score says: names
# that flow, vowels and consonants in turn and few hard letters, and that do not repeat themselves.

VOWELS, HARD = "aeiouyáàâäãåéèêëíìîïóòôöõøúùûü", "bcdgkpqtx"


def flow(name: str) -> float:
    """The share of neighbours of which just one is a vowel, minus the share of hard letters."""
    vowel = [letter in VOWELS for letter in name]
    turns = sum(a != b for a, b in zip(vowel, vowel[1:])) / max(1, len(name) - 1)
    return turns - sum(letter in HARD for letter in name) / max(1, len(name))


def repeats(name: str) -> float:
    """The share of pairs of neighbours that stood in the name before: 3 of 5 in nanana."""
    pairs = list(zip(name, name[1:]))
    return 1.0 - len(set(pairs)) / len(pairs) if pairs else 0.0


def gold(name: str) -> float:
    """The gold score, at most 1. What the model writes hardly repeats, so that comparisons of its
    names teach flow, and next to nothing about repeats."""
    return flow(name) - repeats(name)


def draw_prompt(names: list[str], rng: random.Random) -> str:
    """The first letter of some name, or the first two."""
    return rng.choice(names)[: rng.choice((1, 2))]


# --- the annotator (shared) -----------------------------------------------------------------------

# An annotator compares two completions of a prompt; its taste is the gold score. The algorithm sees
# the comparisons only. The gold score drives the annotator and, at the end, grades the trained
# models, the policies.


def first_wins(first: str, second: str) -> float:
    """P(first is preferred) = sigmoid(TASTE (gold(first) - gold(second))): Bradley and Terry.

    sigmoid(a - b) = 1 / (1 + e^(b - a)) = e^a / (e^a + e^b) is a softmax of two numbers.
    """
    return softmax([TASTE * gold(first), TASTE * gold(second)])[0]


def compare(
    model: Model, names: list[str], alphabet: list[str], rng: random.Random
) -> dict[str, str]:
    """The annotator's choice between two different, finished completions of one prompt."""
    for _ in range(1000):
        prompt = draw_prompt(names, rng)
        start = encode(prompt, alphabet)[:-1]  # without the EDGE at its end: the name goes on
        first, second = sample(model, start, rng), sample(model, start, rng)
        if first != second and first[-1] == second[-1] == EDGE:
            break
    else:
        fail("of 1,000 prompts none got two different, finished answers: give more varied names")
    a, b = decode(first, alphabet), decode(second, alphabet)
    if rng.random() > first_wins(prompt + a, prompt + b):
        a, b = b, a
    return {"prompt": prompt, "chosen": a, "rejected": b}


def chance_of(text: dict[str, str]) -> float:
    """P(the annotator, asked again, makes the same choice)."""
    return first_wins(text["prompt"] + text["chosen"], text["prompt"] + text["rejected"])


# --- the policy's log-probabilities (shared) ------------------------------------------------------

def token_log_probs(model: Model, prompt: Sequence[int], answer: Sequence[int]) -> list[Any]:
    """log pi(a_t | s_t) of each token of the answer, Values or floats."""
    return [-loss for loss in token_losses(model, [*prompt, *answer])[len(prompt) - 1 :]]


# --- RLHF -----------------------------------------------------------------------------------------

# A round of the loop, and the function for each part:
#
#     write     the policy answers prompts                                      roll_out()
#     reward    the proxy, less a penalty for leaving the reference             rewards_of()
#     credit    how much better each token did than the critic expected         gae()
#     learn     make good tokens likelier and bad ones less likely,             surrogate_loss()
#               and the critic's expectations better; EPOCHS times              value_loss()
#
# 6a. THE REWARD MODEL: from comparisons to a score, in floats
#
# It reads a text x_0 .. x_n, both edges included (an unfinished answer has one), as its n pairs of
# neighbours:
#
#     h_i = tanh(left[x_i] + right[x_(i+1)] + bias)         HIDDEN numbers for each pair
#     r   = out . mean_i h_i                                the score
#
# and is trained by the Bradley-Terry loss -log sigmoid(r_w - r_l) on a chosen text w and a rejected
# text l. (A model of neighbours cannot tell a pair's first coming from its fifth. It is blind to
# repeats, as every reward model is blind to something.) Weights that learn by hand are kept beside
# their gradients:


class Array(NamedTuple):
    w: list[float]  # weights
    g: list[float]  # their gradients


Net = dict[str, list[Array]]  # name to rows; net[name][row] is an Array


def new_net(rows: dict[str, int], rng: random.Random) -> Net:
    """For each name that many arrays, of HIDDEN random weights and zero gradients each."""

    def array() -> Array:
        return Array(w=[rng.gauss(0.0, NET_STD) for _ in range(HIDDEN)], g=[0.0] * HIDDEN)

    return {name: [array() for _ in range(n)] for name, n in rows.items()}


def arrays_of(net: Net) -> list[Array]:
    return [array for arrays in net.values() for array in arrays]


def new_reward_model(vocabulary: int, rng: random.Random) -> Net:
    return new_net({"left": vocabulary, "right": vocabulary, "bias": 1, "out": 1}, rng)


def features(net: Net, tokens: Sequence[int]) -> list[list[float]]:
    """h_i for each pair of neighbours, shape (len(tokens) - 1, HIDDEN)."""
    left, right, bias = net["left"], net["right"], net["bias"][0]
    return [
        [math.tanh(x + y + z) for x, y, z in zip(left[a].w, right[b].w, bias.w)]
        for a, b in zip(tokens, tokens[1:])
    ]


def mean_of(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows)]


def reward(net: Net, tokens: Sequence[int]) -> float:
    """The score r of a text."""
    return dot(net["out"][0].w, mean_of(features(net, tokens)))


def reward_backward(net: Net, tokens: Sequence[int], slope: float) -> None:
    """Add slope dr/dw to the gradient of every weight w. By the chain rule, with u_i for the
    argument of tanh:

    dr/d out_j = mean_i h_ij         dr/d u_ij = out_j (1 - h_ij^2) / n

    u_i is a plain sum, so its gradient goes unchanged to left[x_i], right[x_(i+1)] and bias.
    """
    rows = features(net, tokens)
    out, bias = net["out"][0], net["bias"][0]
    for j, mean in enumerate(mean_of(rows)):
        out.g[j] += slope * mean
    for a, b, h in zip(tokens, tokens[1:], rows):
        left, right = net["left"][a], net["right"][b]
        for j in range(HIDDEN):
            u = slope * out.w[j] * (1.0 - h[j] * h[j]) / len(rows)
            left.g[j] += u
            right.g[j] += u
            bias.g[j] += u


def comparisons(
    net: Net, pairs: list[tuple[list[int], list[int]]], rng: random.Random
) -> Callable[[], float]:
    """A learn() for train(): the mean of -log sigmoid(r_w - r_l) over REWARD_BATCH random
    comparisons (Ouyang et al. 2022, equation 1), each in tokens: (chosen text, rejected text).

    As sigmoid(a - b) = e^a / (e^a + e^b), it is the cross-entropy of the logits (r_w, r_l). Its
    derivative is sigmoid(r_w - r_l) - 1 for r_w, and the opposite for r_l.
    """

    def learn() -> float:
        loss = 0.0
        for chosen, rejected in rng.choices(pairs, k=REWARD_BATCH):
            scores = [reward(net, chosen), reward(net, rejected)]
            loss += cross_entropy(scores, 0) / REWARD_BATCH
            slope = (softmax(scores)[0] - 1.0) / REWARD_BATCH
            reward_backward(net, chosen, slope)
            reward_backward(net, rejected, -slope)
        return loss

    return learn


class Proxy(NamedTuple):
    """The reward model and its scale."""

    net: Net
    mean: float  # of its scores over answers of the reference
    std: float


def proxy_score(proxy: Proxy, tokens: Sequence[int]) -> float:
    """The reward model's score in standard deviations: 0 for the reference's average answer."""
    return (reward(proxy.net, tokens) - proxy.mean) / proxy.std


# 6b. THE CRITIC: what reward is to be expected of an unfinished text?
#
# From here on t counts the tokens of an answer, a_0 .. a_(n-1), its EDGE included. s_t is the text
# before a_t: the prompt and a_0 .. a_(t-1). A token is good if what came of it is better than
# V(s_t), the critic's forecast before it: a V that saw a_t would take the token's merit into the
# forecast, and leave nothing to praise. Its input is m, the reward model's mean
# feature over s_t (in Ouyang et al. it starts as a copy of the reward model); the last token of s_t
# chooses a row of last, and the length of s_t one of size:
#
#     z = tanh(mix m + last[last token] + size[length])              V = out . z + shift


class State(NamedTuple):
    """All that the critic may see of s_t."""

    mean: list[float]  # m; zeros while there is no pair yet
    last: int
    length: int


def new_critic(vocabulary: int, rng: random.Random) -> Net:
    rows = {"mix": HIDDEN, "last": vocabulary, "size": BLOCK_SIZE + 1, "out": 1}
    return {**new_net(rows, rng), "shift": [Array(w=[0.0], g=[0.0])]}


def states_of(reward_model: Net, prompt: Sequence[int], answer: Sequence[int]) -> list[State]:
    """s_0 .. s_(n-1), one before each token of the answer."""
    tokens = [*prompt, *answer]
    rows = features(reward_model, tokens)
    states = []
    for length in range(len(prompt), len(tokens)):
        mean = mean_of(rows[: length - 1]) or [0.0] * HIDDEN
        states.append(State(mean=mean, last=tokens[length - 1], length=length))
    return states


def critic_features(net: Net, state: State) -> list[float]:
    """z, shape (HIDDEN,)."""
    mixed = [dot(row.w, state.mean) for row in net["mix"]]
    last, size = net["last"][state.last].w, net["size"][state.length].w
    return [math.tanh(x + y + z) for x, y, z in zip(mixed, last, size)]


def value_of(net: Net, state: State) -> float:
    """V(s_t)."""
    return dot(net["out"][0].w, critic_features(net, state)) + net["shift"][0].w[0]


def critic_backward(net: Net, state: State, slope: float) -> None:
    """Add slope dV/dw to the gradient of every weight w. With u for the argument of tanh:

    dV/d out_j = z_j       dV/d shift = 1       dV/d u_j = out_j (1 - z_j^2)

    dV/d u_j goes unchanged to the rows of last and size, and times m_i to mix_ji.
    """
    out, last, size = net["out"][0], net["last"][state.last], net["size"][state.length]
    net["shift"][0].g[0] += slope
    for j, z in enumerate(critic_features(net, state)):
        out.g[j] += slope * z
        u = slope * out.w[j] * (1.0 - z * z)
        last.g[j] += u
        size.g[j] += u
        mix = net["mix"][j]
        for i, m in enumerate(state.mean):
            mix.g[i] += u * m


Example = tuple[State, float]  # s_t, and what came of it


def forecasts(
    net: Net, answers: list[list[Example]], rng: random.Random
) -> Callable[[], float]:
    """A learn() for train(): half the mean squared error of V on the states of MINIBATCH random
    answers. The critic learns before the loop, from answers of the reference: an untrained one
    would mislead the first rounds."""

    def learn() -> float:
        batch = [example for answer in rng.choices(answers, k=MINIBATCH) for example in answer]
        errors = [value_of(net, state) - target for state, target in batch]
        for (state, _), error in zip(batch, errors):
            critic_backward(net, state, error / len(batch))
        return sum(error * error for error in errors) / (2 * len(batch))

    return learn


# 6c. ROLLOUTS: the policy writes, and everything about it is noted, in floats.


class Rollout(NamedTuple):
    """One answer. The lists have an entry for each of its tokens."""

    prompt: list[int]
    answer: list[int]  # a_0 .. a_(n-1)
    log_probs: list[float]  # log pi(a_t | s_t), for the policy that wrote it
    kls: list[float]  # log pi(a_t | s_t) - log pi_ref(a_t | s_t); their sum estimates the KL
    score: float  # the proxy's
    states: list[State]  # s_t, as the critic sees it


def roll_out(
    policy: Model, reference: Model, proxy: Proxy, prompt: list[int], rng: random.Random
) -> Rollout:
    """One answer of a policy of floats, drawn at temperature 1, so that log_probs belong to the
    very distribution that it was drawn from."""
    answer = sample(policy, prompt, rng)
    log_probs = token_log_probs(policy, prompt, answer)
    expected = token_log_probs(reference, prompt, answer)
    return Rollout(
        prompt=prompt,
        answer=answer,
        log_probs=log_probs,
        kls=[p - q for p, q in zip(log_probs, expected)],
        score=proxy_score(proxy, [*prompt, *answer]),
        states=states_of(proxy.net, prompt, answer),
    )


def rewards_of(rollout: Rollout, kl_coef: float) -> list[float]:
    """r_t = -kl_coef (log pi - log pi_ref) for every token, and for the last one the score on top
    (Ziegler et al. 2019; Ouyang et al. 2022, equation 2). No bonus or malus is added: an answer
    that has filled the context without an end is scored as it stands."""
    rewards = [-kl_coef * kl for kl in rollout.kls]
    rewards[-1] += rollout.score
    return rewards


# --- advantages (shared) --------------------------------------------------------------------------


def gae(rewards: Sequence[float], values: Sequence[float], gamma: float, lam: float) -> list[float]:
    """The advantage of each token: how much better things went after it than the critic expected
    (generalized advantage estimation, Schulman et al. 2016, arXiv:1506.02438, equation 16).

    A_t = sum_k (gamma lam)^k delta_(t+k),  delta_t = r_t + gamma V(s_(t+1)) - V(s_t),  V = 0 after
    the end; computed from the last token backwards. delta_t is how far a_t beat the forecast, and
    A_t + V(s_t) is what the critic should have said.
    """
    advantages, running, following = [], 0.0, 0.0
    for reward_t, value in zip(reversed(rewards), reversed(values)):
        running = reward_t + gamma * following - value + gamma * lam * running
        following = value
        advantages.append(running)
    return advantages[::-1]


def normalize(batch: list[list[float]]) -> list[list[float]]:
    """All numbers of a batch, moved to mean 0 and scaled to standard deviation 1."""
    every = [x for xs in batch for x in xs]
    mean = sum(every) / len(every)
    std = math.sqrt(sum((x - mean) ** 2 for x in every) / len(every)) + 1e-8
    return [[(x - mean) / std for x in xs] for xs in batch]


# --- the update -----------------------------------------------------------------------------------

# 6d. PPO: learn from answers that an older policy wrote
#
# After the first update the policy is no longer pi_old, which wrote the answers. The ratio
# rho_t = pi(a_t | s_t) / pi_old(a_t | s_t) corrects for that, as long as it is near 1, and the clip
# takes the gain out of moving it further (Schulman et al. 2017, equation 7):
#
#     maximize  mean_t min(rho_t A_t, clip(rho_t, 1 - c, 1 + c) A_t)
#
# Where rho = 1, its gradient is A_t times that of log pi(a_t | s_t), the policy gradient: tokens
# that did better than expected become likelier. c is CLIP. A > 0 pushes rho up, but not beyond
# 1 + c, and A < 0 pushes it down, but not below 1 - c; a rho that has gone the wrong way keeps its
# gradient. In a round's first minibatch pi is pi_old, and every ratio 1 (if not, a log-probability
# is wrong). The clip has work to do from the second update on; with one update per round this would
# be plain policy gradient.
#
# What each part buys, at this size and over five seeds (docs/results/ppo-parts.md): with one epoch
# in place of three, no clip, or no critic, gold is lower by 0.015 to 0.02, beyond doubt only for
# the epochs; without the value clip, or the normalization, it is the same.
#
# Left out, against common practice: an entropy bonus (with the penalty none is needed, and the run
# without it is meant to go wrong); gradient clipping, and early stopping at a target KL to pi_old
# (the clip fraction in the tables shows that no round moves the policy far); and a forecast of what
# an unfinished answer would have come to (it is scored as it stands).


# --- the clipped surrogate (shared) ---------------------------------------------------------------


def surrogate_loss(log_prob: Value, old_log_prob: float, advantage: float) -> Value:
    """-min(rho A, clip(rho, 1 - c, 1 + c) A) for one token."""
    ratio = (log_prob - old_log_prob).exp()
    clipped = min(max(ratio.data, 1.0 - CLIP), 1.0 + CLIP)
    if ratio.data * advantage <= clipped * advantage:
        return ratio * -advantage
    return Value(-clipped * advantage)  # a constant: no gradient beyond the clip


# --- the update, continued ------------------------------------------------------------------------


def value_loss(value: float, old_value: float, target: float) -> tuple[float, float]:
    """The critic's clipped loss, and its derivative with respect to value.

    max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2) / 2, where R is the target, V_old the
    value at rollout time and c VALUE_CLIP (Huang et al. 2024, arXiv:2403.17031): there is nothing
    to gain by moving towards R by more than c in one round, which is to keep a few noisy answers
    from throwing the critic about.
    """
    clipped = min(max(value, old_value - VALUE_CLIP), old_value + VALUE_CLIP)
    plain_loss, clipped_loss = (value - target) ** 2 / 2, (clipped - target) ** 2 / 2
    if plain_loss >= clipped_loss:
        return plain_loss, value - target
    return clipped_loss, 0.0  # beyond the clip, its loss does not depend on value


class Lesson(NamedTuple):
    """A rollout and what is to be learnt from it, with an entry for each token."""

    rollout: Rollout
    values: list[float]  # V(s_t) when it was written
    advantages: list[float]  # normalized over the round
    targets: list[float]  # what V(s_t) should have been


def lessons_from(rollouts: list[Rollout], critic: Net, kl_coef: float) -> list[Lesson]:
    values = [[value_of(critic, state) for state in r.states] for r in rollouts]
    rewards = [rewards_of(r, kl_coef) for r in rollouts]
    raw = [gae(rs, vs, GAMMA, LAMBDA) for rs, vs in zip(rewards, values)]
    targets = [[a + v for a, v in zip(*rows)] for rows in zip(raw, values)]
    advantages = normalize(raw)  # a step's size should not depend on the reward's scale
    return [
        Lesson(rollout=r, values=v, advantages=a, targets=t)
        for r, v, a, t in zip(rollouts, values, advantages, targets)
    ]


class Update(NamedTuple):
    """What one minibatch showed."""

    policy_loss: float  # means per token
    value_loss: float
    ratios: list[float]


def learn_from(policy: Model, critic: Net, lessons: list[Lesson]) -> Update:
    """Add up the gradients of one minibatch, of the policy and of the critic."""
    size = sum(len(lesson.rollout.answer) for lesson in lessons)
    policy_loss = critic_loss = 0.0
    ratios = []
    for rollout, values, advantages, targets in lessons:
        log_probs = token_log_probs(policy, rollout.prompt, rollout.answer)
        loss = total(list(map(surrogate_loss, log_probs, rollout.log_probs, advantages))) / size
        loss.backward()
        policy_loss += loss.data
        ratios += [math.exp(p.data - old) for p, old in zip(log_probs, rollout.log_probs)]
        for state, old_value, target in zip(rollout.states, values, targets):
            part, slope = value_loss(value_of(critic, state), old_value, target)
            critic_backward(critic, state, slope / size)
            critic_loss += part / size
    return Update(policy_loss=policy_loss, value_loss=critic_loss, ratios=ratios)


class World(NamedTuple):
    """What is ready when the loop begins."""

    seed: int
    alphabet: list[str]
    names: list[str]  # whose first letters are the prompts
    reference: Model
    proxy: Proxy
    critic: Net  # trained on the reference's answers


def ppo(world: World, kl_coef: float) -> tuple[Model, list[Round]]:
    """Train a copy of the reference, and a copy of the critic with it, for ROUNDS rounds.

    Returns the policy, frozen, and a report of every round.
    """
    rng, started, rounds = random.Random(world.seed), time.perf_counter(), []
    policy, critic = unfreeze(world.reference), copy.deepcopy(world.critic)
    policy_adam, critic_adam = Adam(weights_of(policy)), Adam(arrays=arrays_of(critic))
    for number in range(1, ROUNDS + 1):
        # Write. For the whole round, pi_old is the policy that wrote the answers.
        pi_old = freeze(policy)
        prompts = [draw_prompt(world.names, rng) for _ in range(ROLLOUTS)]
        starts = [encode(prompt, world.alphabet)[:-1] for prompt in prompts]
        rollouts = [roll_out(pi_old, world.reference, world.proxy, x, rng) for x in starts]
        lessons = lessons_from(rollouts, critic, kl_coef)

        # Learn, from every answer EPOCHS times.
        updates = []
        for _ in range(EPOCHS):
            order = rng.sample(lessons, ROLLOUTS)
            for first in range(0, ROLLOUTS, MINIBATCH):
                updates.append(learn_from(policy, critic, order[first : first + MINIBATCH]))
                policy_adam.step(POLICY_LR)
                critic_adam.step(CRITIC_LR)

        rounds.append(report(lessons, updates, world.alphabet))
        seconds = time.perf_counter() - started
        progress(f"PPO, KL x {kl_coef}", number, ROUNDS, rounds[-1].policy_loss, seconds)
    return freeze(policy), rounds


# 7. EXPERIMENT ====================================================================================


class Round(NamedTuple):
    """What a round of PPO showed."""

    proxy: float  # mean scores of its answers
    gold: float
    kl: float
    entropy: float  # of the choices, nats per token: the mean of -log pi
    clipped: float  # share of the ratios beyond the clip, after the round's first update
    low: float  # the smallest ratio
    high: float
    first: float  # the largest |ratio - 1| in the first minibatch
    explained: float  # the critic's explained variance
    policy_loss: float
    value_loss: float
    golds: list[float]  # of every answer


class Verdict(NamedTuple):
    """What fresh answers show of a policy."""

    proxy: float
    gold: float
    gold_se: float  # the standard error of its mean
    kl: float
    repeats: float  # mean of repeats()
    length: float  # mean number of letters
    unfinished: float  # share of answers that filled the context without an end
    names: list[str]


def explained_variance(values: Sequence[float], targets: Sequence[float]) -> float:
    """1 - Var(target - value) / Var(target): 1 for a perfect critic, 0 for a constant."""
    return 1.0 - variance([t - v for t, v in zip(targets, values)]) / (variance(targets) or 1.0)


def gold_of(rollout: Rollout, alphabet: list[str]) -> float:
    return gold(decode([*rollout.prompt, *rollout.answer], alphabet))


def report(lessons: list[Lesson], updates: list[Update], alphabet: list[str]) -> Round:
    rollouts = [lesson.rollout for lesson in lessons]
    later = [ratio for update in updates[1:] for ratio in update.ratios] or [1.0]
    golds = [gold_of(r, alphabet) for r in rollouts]
    return Round(
        proxy=mean([r.score for r in rollouts]),
        gold=mean(golds),
        kl=mean([sum(r.kls) for r in rollouts]),
        entropy=-mean([p for r in rollouts for p in r.log_probs]),
        clipped=mean([abs(ratio - 1.0) > CLIP for ratio in later]),
        low=min(later),
        high=max(later),
        first=max(abs(ratio - 1.0) for ratio in updates[0].ratios),
        explained=explained_variance(
            [v for lesson in lessons for v in lesson.values],
            [t for lesson in lessons for t in lesson.targets],
        ),
        policy_loss=mean([update.policy_loss for update in updates]),
        value_loss=mean([update.value_loss for update in updates]),
        golds=golds,
    )


def train_reward_model(
    reference: Model, names: list[str], alphabet: list[str], rng: random.Random
) -> tuple[Net, float, float]:
    """(the reward model, its held-out accuracy, that of one who knows the gold score exactly).

    The annotator is noisy: accuracies are averaged over what it might have said.
    """
    texts = [compare(reference, names, alphabet, rng) for _ in range(PAIRS)]
    tokens = [
        [encode(text["prompt"] + text[key], alphabet) for key in ("chosen", "rejected")]
        for text in texts
    ]
    examples = [(*pair, chance_of(text)) for pair, text in zip(tokens, texts)]
    learnt, held_out = split(examples, rng, HELD_OUT)
    net = new_reward_model(len(alphabet), rng)
    learn = comparisons(net, [(chosen, other) for chosen, other, _ in learnt], rng)
    losses = train("reward model", learn, Adam(arrays=arrays_of(net)), REWARD_STEPS, REWARD_LR)
    agrees = [reward(net, chosen) > reward(net, other) for chosen, other, _ in held_out]
    accuracy = mean([c if agree else 1.0 - c for agree, (_, _, c) in zip(agrees, held_out)])
    limit = mean([max(c, 1.0 - c) for _, _, c in held_out])
    print(f"\nreward model, {REWARD_STEPS} steps on {len(learnt)} comparisons: loss")
    print(f"  {sparkline(losses)}")
    print(f"  accuracy {accuracy:.1%} on {len(held_out)} held out; who knows the gold score would")
    print(f"  get {limit:.1%}, because the annotator is noisy")
    return net, accuracy, limit


def prepare_critic(
    reference: Model, net: Net, names: list[str], alphabet: list[str], rng: random.Random
) -> tuple[Proxy, Net, float]:
    """(the proxy, a critic of the reference, its explained variance on held-out answers)."""
    prompts = [encode(draw_prompt(names, rng), alphabet)[:-1] for _ in range(CRITIC_ROLLOUTS)]
    answers = [(prompt, sample(reference, prompt, rng)) for prompt in prompts]
    scores = [reward(net, [*prompt, *answer]) for prompt, answer in answers]
    proxy = Proxy(net=net, mean=mean(scores), std=math.sqrt(variance(scores)) or 1.0)

    examples: list[list[Example]] = []  # what comes of a token: the score at the end, discounted
    for (prompt, answer), score in zip(answers, scores):
        left = range(len(answer) - 1, -1, -1)  # tokens that follow
        target = (score - proxy.mean) / proxy.std
        states = states_of(net, prompt, answer)
        examples.append([(s, GAMMA**n * target) for s, n in zip(states, left)])
    learnt, held_out = split(examples, rng, CRITIC_HELD_OUT)
    critic = new_critic(len(alphabet), rng)
    learn = forecasts(critic, learnt, rng)
    losses = train("critic", learn, Adam(arrays=arrays_of(critic)), CRITIC_STEPS, CRITIC_LR)
    unseen = [example for answer in held_out for example in answer]
    explained = explained_variance([value_of(critic, s) for s, _ in unseen], [x for _, x in unseen])
    print(f"\ncritic, {CRITIC_STEPS} steps on {len(learnt)} answers of the reference: loss")
    print(f"  {sparkline(losses)}")
    print(f"  explained variance {explained:.2f} on {len(held_out)} held out")
    return proxy, critic, explained


def judge(policy: Model, world: World, prompts: list[str]) -> Verdict:
    """Complete every prompt once with a policy of floats."""
    rng = random.Random(world.seed)
    starts = [encode(prompt, world.alphabet)[:-1] for prompt in prompts]
    answers = [roll_out(policy, world.reference, world.proxy, x, rng) for x in starts]
    golds = [gold_of(r, world.alphabet) for r in answers]
    names = [decode([*r.prompt, *r.answer], world.alphabet) for r in answers]
    return Verdict(
        proxy=mean([r.score for r in answers]),
        gold=mean(golds),
        gold_se=standard_error(golds),
        kl=mean([sum(r.kls) for r in answers]),
        repeats=mean([repeats(name) for name in names]),
        length=mean([len(name) for name in names]),
        unfinished=mean([r.answer[-1] != EDGE for r in answers]),
        names=names,
    )


def show_rounds(label: str, rounds: list[Round]) -> None:
    print(f"\nPPO {label} penalty: {ROUNDS} rounds of {ROLLOUTS} answers, {EPOCHS} epochs")
    print("  round  proxy   gold     KL  entr.   clip    low   high  expl. policy  value")
    for i, r in enumerate(rounds):
        if i % max(1, ROUNDS // 7) == 0 or i == ROUNDS - 1:
            print(f"  {i + 1:5}{r.proxy:7.2f}{r.gold:7.2f}{r.kl:7.2f}{r.entropy:7.2f}", end="")
            print(f"{r.clipped:7.2f}{r.low:7.2f}{r.high:7.2f}{r.explained:7.2f}", end="")
            print(f"{r.policy_loss:7.2f}{r.value_loss:7.2f}")


def show_columns() -> None:
    print("""
  proxy      the reward model's score, 0 for the reference's average answer
  KL, entr.  drift, nats per answer; entropy of the choices, nats per token:
             means of log pi - log pi_ref, and of -log pi, over the answers
  clip       share of the ratios beyond the clip, after the round's first update
  low, high  the smallest and the largest of these ratios
  expl.      the critic's explained variance of its targets, which lean on it
             (LAMBDA < 1); policy, value: the two losses""")


def show_goodhart(reined: list[Round], free: list[Round]) -> None:
    """Gold and proxy by round, of the run with the penalty (k) and of that without (n)."""
    for name in ("gold", "proxy"):
        points = [("k", i, getattr(r, name)) for i, r in enumerate(reined, 1)]
        points += [("n", i, getattr(r, name)) for i, r in enumerate(free, 1)]
        print(f"\n{name} by round: k with the KL penalty, n without")
        plot(points, x_label="round", y_label=name)


def show_verdicts(verdicts: dict[str, Verdict]) -> None:
    print(f"\n{SAMPLES} fresh answers of each policy")
    print("               proxy    gold +- s.e.     KL   repeats  length  unfinished")
    for label, v in verdicts.items():
        print(f"  {label:11} {v.proxy:6.2f}  {v.gold:6.3f} +- {v.gold_se:.3f} {v.kl:6.2f}", end="")
        print(f"{v.repeats:10.1%}{v.length:8.1f}{v.unfinished:12.1%}")
    print("""  KL          drift from the reference, in nats per answer
  repeats     pairs of letters that the name had before: what the reward model
              is blind to
  unfinished  answers that filled the context without coming to an end""")
    print("\nanswers to the same prompts")
    for label, v in verdicts.items():
        print(f"  {label:11} {words(v.names, 64)}")


def best_stretch(rounds: list[Round]) -> tuple[float, float]:
    """(mean gold, its standard error) of the three rounds in a row with the highest. Being chosen
    as the highest, it is a little too high; the fall to be shown is much larger."""
    stretches = [rounds[i : i + 3] for i in range(max(1, len(rounds) - 2))]
    golds = [[g for r in stretch for g in r.golds] for stretch in stretches]
    best = max(golds, key=mean)
    return mean(best), standard_error(best)


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    rng = random.Random(seed)
    learnt, held_out = split(read_names(names, BLOCK_SIZE - 1), rng, HELD_OUT_NAMES)
    alphabet = alphabet_of(learnt + held_out)
    check_letters(alphabet)
    print(f"microppo, seed {seed}: {len(learnt)} names to learn, {len(held_out)} held out")

    # Pretrain the reference; then the reward model; then the critic.
    reference = pretrain(learnt, alphabet, rng)
    loss = mean_loss(reference, held_out, alphabet)
    print(f"the reference, after {PRETRAIN_STEPS} steps: loss {loss:.2f} nats per token")
    net, accuracy, limit = train_reward_model(reference, learnt, alphabet, rng)
    proxy, critic, foreseen = prepare_critic(reference, net, learnt, alphabet, rng)

    # PPO, with the penalty and, as the control, without, from the same start and seed.
    world = World(
        seed=seed,
        alphabet=alphabet,
        names=learnt,
        reference=reference,
        proxy=proxy,
        critic=critic,
    )
    reined_policy, reined_rounds = ppo(world, KL_COEF)
    free_policy, free_rounds = ppo(world, 0.0)
    show_rounds("with the KL", reined_rounds)
    show_rounds("without the KL", free_rounds)
    show_columns()
    show_goodhart(reined_rounds, free_rounds)

    # Judge the policies by fresh answers. (The prompts are first letters of held-out names; most of
    # them begin other names, too.)
    prompts = [draw_prompt(held_out, rng) for _ in range(SAMPLES)]
    start = judge(reference, world, prompts)
    reined, free = (judge(policy, world, prompts) for policy in (reined_policy, free_policy))
    show_verdicts({"reference": start, "with KL": reined, "without KL": free})
    gold_start, gold_reined, gold_free = ((v.gold, v.gold_se) for v in (start, reined, free))
    gold_best = best_stretch(free_rounds)
    first = max(r.first for r in reined_rounds + free_rounds)
    clipped = mean([r.clipped for r in reined_rounds])
    claims = [
        ("reward model's accuracy, share of noise's limit", accuracy / limit, ">=", 0.85),
        ("critic's explained variance before the loop", foreseen, ">=", 0.1),
        ("first minibatches, largest |ratio - 1|", first, "<=", 1e-9),
        ("ratios beyond the clip, mean of rounds with KL", clipped, ">=", 0.02),
        ("gold with KL above the reference's, s.e.", lead(gold_reined, gold_start), ">=", 4.0),
        ("gold without KL below with KL, s.e.", lead(gold_reined, gold_free), ">=", 4.0),
        ("gold without KL below the reference's, s.e.", lead(gold_start, gold_free), ">=", 3.0),
        ("gold without KL below its best rounds', s.e.", lead(gold_best, gold_free), ">=", 3.0),
        ("proxy without KL above with KL by", free.proxy - reined.proxy, ">=", 0.05),
    ]
    return check_claims(claims)


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "How does the whole RLHF loop work, and how does it go wrong?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, BATCH=BATCH, PRETRAIN_STEPS=PRETRAIN_STEPS, HELD_OUT_NAMES=HELD_OUT_NAMES)
    at_least(20, PAIRS=PAIRS, CRITIC_ROLLOUTS=CRITIC_ROLLOUTS)
    at_least(1, HELD_OUT=HELD_OUT, HIDDEN=HIDDEN, REWARD_STEPS=REWARD_STEPS)
    at_least(1, REWARD_BATCH=REWARD_BATCH, CRITIC_HELD_OUT=CRITIC_HELD_OUT)
    at_least(1, CRITIC_STEPS=CRITIC_STEPS, ROUNDS=ROUNDS, EPOCHS=EPOCHS, MINIBATCH=MINIBATCH)
    at_least(2, ROLLOUTS=ROLLOUTS, SAMPLES=SAMPLES)
    at_least(0.0, PRETRAIN_LR=PRETRAIN_LR, TASTE=TASTE, NET_STD=NET_STD, REWARD_LR=REWARD_LR)
    at_least(0.0, CRITIC_LR=CRITIC_LR, POLICY_LR=POLICY_LR, KL_COEF=KL_COEF, CLIP=CLIP)
    at_least(0.0, VALUE_CLIP=VALUE_CLIP, GAMMA=GAMMA, LAMBDA=LAMBDA)
    if GAMMA > 1.0 or LAMBDA > 1.0:
        fail("GAMMA and LAMBDA are shares: give numbers from 0 to 1")


# --- letters that can be judged (shared) ----------------------------------------------------------

def check_letters(alphabet: list[str]) -> None:
    """The annotator has to know some vowels and some consonants among the letters."""
    if not 0 < sum(letter in VOWELS for letter in alphabet[1:]) < len(alphabet) - 1:
        fail("flow() needs vowels it knows, a e i o u y or accented ones, and other letters too")


# --- averages (shared) ----------------------------------------------------------------------------

def mean(xs: Sequence[float]) -> float:
    return sum(xs) / len(xs)


def variance(xs: Sequence[float]) -> float:
    middle = mean(xs)
    return mean([(x - middle) ** 2 for x in xs])


def standard_error(xs: Sequence[float]) -> float:
    """Of the mean of xs."""
    return math.sqrt(variance(xs) / (len(xs) - 1))


def lead(a: tuple[float, float], b: tuple[float, float]) -> float:
    """By how many standard errors the mean of a exceeds that of b, as if all were independent."""
    return (a[0] - b[0]) / (math.hypot(a[1], b[1]) or 1e-9)


# --- the names (shared) ---------------------------------------------------------------------------

NAMES = """
aaron abby abel ada adam adela adrian adriana agatha aida aileen aisha alana alberto alden
alejandro alessandra alexa alexandra alexis alfred alicia alina alisa allison alma alonzo amanda
amara amber amelia amir amos amy anders andre andrea andy angela angelica angelo anita anna anne
annette anthony anton antonia april ariel arjun arlo arthur arturo ashley aubrey audrey august
aurelia ava avery axel barry basil beatrice belinda ben benedict bennett bernard bernice beth
bethany beverly bill blair blanca boris brad bradley brendan brent brian brittany brooke bruce
bruno byron caleb calvin camille candace cara carl carlos carmen carolina carrie carter caspar
cassandra catherine cecilia cedric celia chad charles charlotte chester chloe chris christopher
claire clara clarence clayton clement clifford cody colette colin conrad cora corey cornelius craig
crystal cynthia cyrus dakota dalia damian dan daniel daniela danielle daphne darcy daria darren
daryl david dawn debra declan delia denise dennis derek diana diego dinah dmitri dominic donald
dora doreen dorothy duncan dustin earl edith edmund edna edwin eileen elaine eli eliana elias
elijah eliza elizabeth ella ellis elmer eloise elsie emanuel emerson emilia emma emmanuel eric
erica erin esme esteban esther etta eugene eva ezra fabian faith felipe felix fernanda fernando
florence floyd frances francisco frank franklin frederick gabriel gabriela gareth gavin gemma
genevieve george gerald gianna gideon gina giselle gladys glen grace graham grant greta guillermo
gustavo guy hannah harold harper harrison harry harvey heather heidi helen henrietta herbert herman
holly homer howard hugh hugo ibrahim ignacio imani imogen irene iris irma isabel isabella isaiah
isla ivy jack jackson jade jaime jake james jan jana janet jared jasmine jasper javier jean jeffrey
jenna jenny jeremy jerome jerry jesus jill jimmy joaquin jocelyn joel johanna jonah jonas jonathan
jose josefina joseph joshua joy joyce juanita judy jules julian juliana juliet june justin kara
karina karl kate katie katrina kayla kelsey kelvin kendra kenneth kieran kim kimberly kristen
kristina kurt laila lance lara larry lauren laurence lawrence layla leah leila lena leon leonard
leonardo leonora lester leticia levi lidia lila lilian liliana lincoln linda lionel logan lois lola
lorenzo lorraine louis louise lucia lucian lucinda lucy luke luther lydia mabel madison magdalena
maggie malik manuel mara marcia marco marcos marcus maria mariam marian marina mario marion marisol
mark marlene marshall martin martina mary mason matilda maureen maurice maxine megan melanie
melinda melvin mercedes meredith michael michelle miguel mila milo milton mina mira miranda miriam
molly monica monique moses myra myrtle nadine naomi natalie nathan nathaniel nelson nicholas nicole
nigel noel noelle nolan norman octavia odette olga olivia omar opal oscar otis otto pablo pamela
paola patricia paul paula pearl pedro percy peter petra phoebe pierre priscilla quentin rafael
ralph ramon raphael raquel raul ravi reed regina reginald rene reuben rhoda richard robert roberta
robin roderick rodney roger roland romeo ronald rosa rosalind rose rosemary ross roy ruben ruby
rupert russell ruth ryan sally salvador sam samson samuel sandra sarah saul savannah scott
sebastian selena serena sergio shane sharon shaun shelby sherman shirley sidney silas silvia simon
solomon sonia sophia sophie stanley stella stephanie stewart stuart summer susanna sybil sylvester
tabitha tania tara tatiana taylor teresa tessa thea theodora theresa thomas tiffany tobias todd
tomas travis trevor trina tristan ulysses una ursula valerie vanessa vera veronica victor victoria
viola virginia vivian wallace walter warren wendy wesley wilbur willa william willow winston xavier
yara yvette yvonne zachary zara
""".split()


# --- reading files (shared) -----------------------------------------------------------------------

def fail(message: str) -> NoReturn:
    """End the program with one clear line and exit status 2."""
    note("error: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in message))
    raise SystemExit(2)


def at_least(least: float, **settings: float) -> None:
    """Every one of these settings is a finite number, a whole one if least is, and no smaller."""
    kind, wanted = (int, "whole ") if isinstance(least, int) else ((int, float), "")
    for name, value in settings.items():
        ok = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
        if not ok or value < least:
            fail(f"{name} = {value!r}: give a {wanted}number from {least} on")


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 text file; exit status 2 if it is not one."""
    try:
        with open(path, "rb") as file:
            raw = file.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    except (OSError, ValueError) as error:
        fail(f"{path}: {getattr(error, 'strerror', error)}; give the path of a text file")
    lines = []
    for number, line in enumerate(raw, 1):
        try:
            lines.append(line.decode("utf-8").strip())
        except UnicodeDecodeError:
            fail(f"{path}, line {number}: not UTF-8; save the file as UTF-8 text")
    return lines


def read_names(path: str | None, longest: int) -> list[str]:
    """The embedded names, or those of a file: lower case, each once, of up to longest letters."""
    where, found = path or "the embedded names", list(NAMES)
    if path is not None:
        found = []
        for number, line in enumerate(read_lines(path), 1):
            for letter in line:
                if not letter.isprintable():
                    called = unicodedata.name(letter, "a control character")
                    fail(f"{path}, line {number}: holds {called} (U+{ord(letter):04X}); remove it")
            if line:
                found.append(line.lower())
    names = [name for name in dict.fromkeys(found) if len(name) <= longest]
    if not names:
        fail(f"{where}: no usable lines; write one name of 1 to {longest} letters per line")
    if len(names) < 20:
        fail(f"{where}: {len(names)} different names are too few to split; give 20 or more")
    skipped = len(set(found)) - len(names)
    if skipped:
        note(f"{where}: {skipped} names of more than {longest} letters skipped")
    return names


def split(items: Sequence[Any], rng: random.Random, held_out: int) -> tuple[list, list]:
    """(items to learn from, items held out), shuffled; no more than a third is held out."""
    shuffled = rng.sample(items, len(items))
    held_out = max(1, min(held_out, len(items) // 3))
    return shuffled[held_out:], shuffled[:held_out]


# --- the model's settings (shared) ----------------------------------------------------------------

def check_model_settings() -> None:
    at_least(1, N_EMBD=N_EMBD, N_HEAD=N_HEAD, N_LAYER=N_LAYER)
    at_least(2, BLOCK_SIZE=BLOCK_SIZE)
    at_least(0.0, INIT_STD=INIT_STD)
    if N_EMBD % N_HEAD:
        fail(f"N_EMBD = {N_EMBD} is no multiple of N_HEAD = {N_HEAD}; every head gets a share")


# --- progress (shared) ----------------------------------------------------------------------------

def note(line: str, end: str = "\n") -> None:
    """To stderr. A stderr that is closed or full is no reason to stop."""
    if sys.stderr is None:
        return
    try:
        print(line, end=end, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        to_nowhere(sys.stderr)


def to_nowhere(stream: Any) -> None:
    """What is still to be written there is dropped, without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def progress(label: str, step: int, steps: int, loss: float, seconds: float) -> None:
    """A moving line on a terminal, else a line every tenth of the way."""
    done = "#" * (20 * step // steps)
    line = f"{label:20} {step:4}/{steps} loss {loss:6.3f} "
    if step == steps:
        line += f"done in {seconds:.1f} s, {1000 * seconds / steps:.1f} ms per step"
    else:
        line += f"{seconds / step * (steps - step):4.0f} s left [{done:20}]"
    if sys.stderr is not None and sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        note(f"\r{line[:width]:{min(width, 79)}}", end="\n" if step == steps else "")
    elif 10 * step // steps > 10 * (step - 1) // steps:
        note(line)


# --- marks (shared) -------------------------------------------------------------------------------

def blocks(marks: str, ascii_marks: str) -> str:
    """marks, if the output's encoding has them, else ascii_marks."""
    try:
        marks.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return ascii_marks
    return marks


# --- sparklines (shared) --------------------------------------------------------------------------

def sparkline(values: Sequence[float], width: int = 50) -> str:
    """A curve in one line of text: high marks for high values."""
    width = min(width, len(values))
    cuts = [len(values) * i // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in zip(cuts, cuts[1:])]
    low, high = min(means), max(means)
    marks = blocks("▁▂▃▄▅▆▇█", "_.:-=+*#")
    shares = [(m - low) / ((high - low) or 1.0) for m in means]
    return "".join(marks[min(7, int(8 * share))] for share in shares)


# --- plots (shared) -------------------------------------------------------------------------------

def plot(points: Sequence[tuple[str, float, float]], x_label: str, y_label: str) -> None:
    """Points (mark, x, y) in text; where two fall on one place, the later one is seen."""
    _, xs, ys = zip(*points)
    left, low = min(xs), min(ys)
    across, up = (max(xs) - left) or 1.0, (max(ys) - low) or 1.0
    grid = [[" "] * 61 for _ in range(13)]
    for mark, x, y in points:
        grid[12 - round(12 * (y - low) / up)][round(60 * (x - left) / across)] = mark
    print(f"  {y_label}")
    for i, line in enumerate(grid):
        tick = f"{low + up * (12 - i) / 12:8.2f}" if i % 4 == 0 else " " * 8
        print(f"{tick} |{''.join(line)}".rstrip())
    print(f"{'':9}+{'-' * 61}\n{'':6}{left:<8.2f}{x_label:^48}{left + across:8.2f}")


# --- words (shared) -------------------------------------------------------------------------------

def words(texts: Sequence[str], room: int) -> str:
    """As many of the texts as fit in the room, none cut in two."""
    line = ""
    for text in texts:
        if len(line) + len(text) + 1 > room:
            break
        line += f" {text}"
    return line[1:]


# --- claims (shared) ------------------------------------------------------------------------------

Claim = tuple[str, float, str, float]  # (what, measured, ">=" or "<=", bound)


def check_claims(claims: Sequence[Claim]) -> int:
    """Print what was measured and its bound, line by line; 0 if all claims hold, else 1."""
    print("\nclaims, measured in this run")
    failed = 0
    for text, measured, relation, bound in claims:
        holds = measured >= bound if relation == ">=" else measured <= bound
        failed += not holds
        mark = "ok  " if holds else "FAIL"
        print(f"  {mark} {text:48} {measured:9.4g} {relation} {bound:g}")
    return 1 if failed else 0


# --- the command line (shared) --------------------------------------------------------------------

def run(experiment: Callable[..., int], title: str, argv: Any = None, **flags: str) -> int:
    """Read the command line, run the experiment, end politely whatever happens."""
    parser = argparse.ArgumentParser(description=title, allow_abbrev=False)
    parser.error = fail  # type: ignore[method-assign]
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="default 42")
    flags = {"names": "your own names, one a line, in UTF-8", **flags}
    for flag, meaning in flags.items():
        parser.add_argument(f"--{flag}", metavar="FILE", help=meaning)
    args = parser.parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):  # a letter that cannot be shown is a ?
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    # A graph holds no cycles, so reference counts free it at once, and Python's cycle collector
    # looks through it in vain. Without it micromoe takes a sixth less time.
    gc.disable()
    try:
        return experiment(**vars(args))
    except KeyboardInterrupt:
        note("\ninterrupted")
        return 130
    except BrokenPipeError:  # the reader has left: | head
        to_nowhere(sys.stdout)
        return 141
    except OSError as error:  # the output cannot be written: a full disk
        to_nowhere(sys.stdout)
        fail(f"stdout: {error.strerror}")
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
