"""microrlaif: can a model's judgement replace a person's?

Comparisons by people are dear. Reinforcement learning from AI feedback (RLAIF, Lee et al. 2023,
arXiv:2309.00267) has a language model make them. It judges by a constitution (Bai et al. 2022,
arXiv:2212.08073): a few principles, and those a person did write. What follows is as before: here
DPO (microdpo.py) learns from the labels, whoever made them.

What runs: a tiny GPT learns given names: the reference. A copy of it, the labeller, goes on with
exemplary names only; too small to read principles, it has a constitution by examples. Asked to
compare two answers, it prefers the one it finds likelier. The labeller is measured: how often it
agrees with the gold score, and on which comparisons it does not. Then policies learn by DPO from
the same comparisons, labelled by a person, by the labeller in two of three ways, and by the
reference, which has no constitution.

What to look for: the labels of the model make names as good as the person's do. But its errors are
no noise, they have a direction. A likelihood prefers what is short, and what is familiar (Wataoka
et al. 2024, arXiv:2410.21819, found the second in large judges), and the policy learns that too.
And good names prove little: the labels of the reference, which only say that it likes what it
likes, raise the gold score about as much. What the constitution added shows where the better answer
is the unfamiliar one.

What this toy cannot show: that judging is easier than doing. The labeller writes better names than
the policies that learn from it, and knows what is good from names that a person has picked.

Use it when a model judges well and people's time is short. First measure it against some labels of
people, as here. Not when nobody has: more labels make noise smaller, but no bias.

Read from top to bottom. If you know another script: sections 3 to 5 are the same text; go from
section 2 to section 6. The appendix holds names and manners, and needs no reading.
"""

from __future__ import annotations

import argparse
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
INIT_STD = 0.08  # of the initial weights
BATCH = 2  # names per step in pretraining, comparisons per step afterwards
PRETRAIN_STEPS = 400  # the loss has flattened by then
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak, as every rate below
HELD_OUT_NAMES = 56  # a tenth of them: their first letters are the prompts of the last test

EXEMPLARY = 0.125  # the share of the names, those of the highest gold, that are the constitution
TEACH_STEPS = 100  # on them alone: the labeller sees each about three times
TEACH_LR = 0.01

TASTE = 12.0  # how sure the person is: log-odds of preferring the better name, per unit of gold
PAIRS = 200  # comparisons to learn from
MEASURED = 300  # further ones, to measure the labellers by

STEPS = 100  # updates of DPO: every comparison once
BETA = 0.3  # strength of the pull to the reference, as in microdpo.py
DPO_LR = 0.006
SAMPLES = 150  # fresh names from each policy when it is judged


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


# 6. THE ALGORITHM: LABELS FROM A MODEL, THEN DPO ==================================================

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


# --- the labeller ---------------------------------------------------------------------------------

# A large labeller reads the principles, the prompt and both answers, and is asked which answer is
# better, 1 or 2. Its preference is the probability of the token 1 against that of the token 2. Ours
# reads nothing but names. So its principles come as examples, and it is asked how likely it finds
# each answer: the likelier one is preferred.
#
# q is the labeller, p the reference, which has not seen the constitution. An answer y to a prompt x
# has n tokens a_t, EDGE among them, and s_t is what stands before a_t. How likely q finds y is
#
#     log q(y|x) = sum_t log q(a_t | s_t)
#
# "AI, total"      scores y by this sum. Every token makes it smaller, by some two nats, good or
#                  bad: it prefers what is short.
# "AI, per token"  scores y by the mean, 1/n of the sum. Length is nearly gone. But most of what q
#                  knows, it knows from p: what is usual. At the same merit the usual name wins.
# "AI, ratio"      scores y by 1/n (log q(y|x) - log p(y|x)): only what the constitution changed.
#                  By microdpo.py's step 3, q is the best policy for a reward in proportion to
#                  log q - log p. So the ratio is the reward inside the labeller.


def exemplary(names: list[str]) -> list[str]:
    """The constitution: the best names. This is where a person's taste gets in."""
    return sorted(names, key=gold, reverse=True)[: max(1, round(EXEMPLARY * len(names)))]


def teach(
    reference: Model, examples: list[str], alphabet: list[str], rng: random.Random
) -> Model:
    """The labeller: a copy of the reference that has gone on learning, from the examples only."""
    labeller = unfreeze(reference)
    learn = next_letter(labeller, examples, alphabet, rng)
    train("labeller", learn, Adam(weights_of(labeller)), TEACH_STEPS, TEACH_LR)
    return freeze(labeller)


class Reading(NamedTuple):
    """An answer, as the labeller and the reference read it."""

    prompt: str
    answer: str
    q: list[float]  # log q(a_t | s_t) of each of its tokens
    p: list[float]  # log p(a_t | s_t)


def read_both(
    text: dict[str, str], labeller: Model, reference: Model, alphabet: list[str]
) -> tuple[Reading, Reading]:
    """The two answers of a comparison, in an order that does not tell which one was chosen."""
    x, readings = encode(text["prompt"], alphabet)[:-1], []
    for answer in sorted((text["chosen"], text["rejected"])):
        y = encode(answer, alphabet)[1:]
        q, p = (token_log_probs(model, x, y) for model in (labeller, reference))
        readings.append(Reading(prompt=text["prompt"], answer=answer, q=q, p=p))
    return readings[0], readings[1]


Score = Callable[[Reading], float]  # of two answers, the one of the higher score is preferred
SCORES: dict[str, Score] = {
    "AI, total": lambda y: sum(y.q),
    "AI, per token": lambda y: mean(y.q),
    "AI, ratio": lambda y: mean(y.q) - mean(y.p),
    "no constitution": lambda y: mean(y.p),  # the control: the reference judges its own answers
}


def label(pair: tuple[Reading, Reading], score: Score) -> dict[str, str]:
    """The comparison as the labeller makes it."""
    rejected, chosen = sorted(pair, key=score)
    return {"prompt": chosen.prompt, "chosen": chosen.answer, "rejected": rejected.answer}


# --- DPO ------------------------------------------------------------------------------------------

# From here on it does not matter who made the labels. This is microdpo.py's text, and the loss is
# derived there: the margin is beta times the difference between the two answers' log-ratios
# log pi(y|x) - log p(y|x), and the loss is -log sigmoid(margin). pi is the policy, which learns.


# --- an answer's log-probability (shared) ---------------------------------------------------------


def log_prob(model: Model, prompt: Sequence[int], answer: Sequence[int]) -> Any:
    """log pi(y|x) = sum_t log pi(y_t | x, y_1 .. y_(t-1)) of an answer y to the prompt x, in nats.

    The prompt starts with EDGE, and its own tokens are left out of the sum. The answer ends with
    EDGE (if the context did not end first), which is in the sum: where to stop is part of it.
    """
    cache = new_cache()
    for token in prompt[:-1]:
        gpt(model, token, cache)
    log_probs = []
    for read, written in zip([prompt[-1], *answer], answer):
        log_probs.append(-cross_entropy(gpt(model, read, cache), written))
    return total(log_probs)


# --- the DPO loss (shared) ------------------------------------------------------------------------


def dpo_loss(ratio_w: Any, ratio_l: Any, beta: float) -> Any:
    """-log sigmoid(beta (ratio_w - ratio_l)) for one comparison (Rafailov et al. 2023, equation 7).

    ratio_w, ratio_l: log pi(y|x) - log pi_ref(y|x) of the chosen answer and of the rejected one, in
    nats, Values or floats. With m for the margin, the loss is log(1 + e^-m) and its derivative
    -1 / (1 + e^m); written with e^-|m|, which neither overflows nor drowns in the 1.
    """
    margin = beta * (ratio_w - ratio_l)
    m = margin.data if isinstance(margin, Value) else margin
    small = math.exp(-abs(m))
    loss = max(-m, 0.0) + math.log1p(small)
    if not isinstance(margin, Value):
        return loss
    return Value(loss, (margin,), (-(small if m > 0.0 else 1.0) / (1.0 + small),))


# --- comparisons ----------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A comparison in tokens, with the reference's log-probabilities, computed once."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    ref_chosen: float  # log pi_ref(chosen | prompt)
    ref_rejected: float


def prepare(text: dict[str, str], reference: Model, alphabet: list[str]) -> Pair:
    """Encode a comparison."""
    prompt = encode(text["prompt"], alphabet)[:-1]
    chosen, rejected = (encode(text[key], alphabet)[1:] for key in ("chosen", "rejected"))
    return Pair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        ref_chosen=log_prob(reference, prompt, chosen),
        ref_rejected=log_prob(reference, prompt, rejected),
    )


def log_ratios(model: Model, pair: Pair) -> tuple[Any, Any]:
    """log pi(y|x) - log pi_ref(y|x) of the chosen answer, and of the rejected one."""
    chosen = log_prob(model, pair.prompt, pair.chosen) - pair.ref_chosen
    return chosen, log_prob(model, pair.prompt, pair.rejected) - pair.ref_rejected


def preferences(
    policy: Model, pairs: list[Pair], beta: float, rng: random.Random
) -> Callable[[], float]:
    """A learn() for train(): the mean DPO loss of BATCH comparisons, drawn without replacement
    until all have been seen."""
    deck: list[Pair] = []

    def learn() -> float:
        loss = 0.0
        for _ in range(BATCH):
            deck[:] = deck or rng.sample(pairs, len(pairs))
            share = dpo_loss(*log_ratios(policy, deck.pop()), beta) / BATCH
            share.backward()
            loss += share.data
        return loss

    return learn


# 7. EXPERIMENT ====================================================================================

# --- a reference, and how policies are judged (shared) --------------------------------------------

class World(NamedTuple):
    """Where every policy starts, and what it is judged on."""

    seed: int
    alphabet: list[str]
    names: list[str]  # whose first letters are the prompts
    reference: Model  # floats
    prompts: list[str]  # first letters of held-out names, for judging


class Verdict(NamedTuple):
    """What fresh answers show of a policy."""

    gold: float
    gold_se: float  # the standard error of its mean
    kl: float  # the drift, estimated from these answers: nats per answer
    variety: float  # see variety()
    length: float  # mean number of letters
    unfinished: float  # share of answers that filled the context without an end
    names: list[str]


def make_world(seed: int, names: str | None) -> World:
    """Pretrain the reference; names is the user's file."""
    rng = random.Random(seed)
    learnt, held_out = split(read_names(names, BLOCK_SIZE - 1), rng, HELD_OUT_NAMES)
    alphabet = alphabet_of(learnt + held_out)
    check_letters(alphabet)
    reference = pretrain(learnt, alphabet, rng)
    prompts = [draw_prompt(held_out, rng) for _ in range(SAMPLES)]
    return World(seed=seed, alphabet=alphabet, names=learnt, reference=reference, prompts=prompts)


def variety(names: Sequence[str]) -> float:
    """e to the entropy of the names' letter triples: how many, if all were equally frequent."""
    triples = [name[i : i + 3] for name in names for i in range(len(name) - 2)]
    shares = [triples.count(triple) / len(triples) for triple in set(triples)]
    return math.exp(-sum(p * math.log(p) for p in shares))


def judge(policy: Model, world: World) -> Verdict:
    """Complete every prompt once with a policy of floats."""
    rng, names, kls, ends = random.Random(world.seed), [], [], []
    for prompt in world.prompts:
        start = encode(prompt, world.alphabet)[:-1]
        tokens = sample(policy, start, rng)
        names.append(prompt + decode(tokens, world.alphabet))
        log_probs, expected = (
            sum(token_log_probs(model, start, tokens)) for model in (policy, world.reference)
        )
        kls.append(log_probs - expected)
        ends.append(tokens[-1])
    golds = [gold(name) for name in names]
    return Verdict(
        gold=mean(golds),
        gold_se=standard_error(golds),
        kl=mean(kls),
        variety=variety(names),
        length=mean([len(name) for name in names]),
        unfinished=mean([end != EDGE for end in ends]),
        names=names,
    )


def show_verdicts(verdicts: dict[str, Verdict]) -> None:
    print(f"\n{SAMPLES} fresh answers of each policy")
    print(f"  {'':22}  gold +- s.e.     KL  variety  length  unfinished")
    for label, v in verdicts.items():
        print(f"  {label:22} {v.gold:5.3f} +- {v.gold_se:.3f} {v.kl:6.2f}{v.variety:9.0f}", end="")
        print(f"{v.length:8.1f}{v.unfinished:12.1%}")
    print("""  KL       drift from the reference, in nats per answer
  variety  e to the entropy of letter triples: how many, in effect
  unfinished  answers that filled the context without coming to an end""")
    print("\nanswers to the same prompts")
    for label, v in verdicts.items():
        print(f"  {label:22} {words(v.names, 53)}")


# --- labellers, measured --------------------------------------------------------------------------

class Habits(NamedTuple):
    """How somebody compares answers, as shares of comparisons."""

    agreement: float  # with the gold score, where that is not the same for both
    shorter: float  # the shorter answer is preferred, of two that differ in length
    familiar: float  # agreement where the better answer has the higher log p per token
    unfamiliar: float  # agreement where it has the lower one


Prefers = Callable[[Reading, Reading], float]  # P(the first is preferred)


def person(a: Reading, b: Reading) -> float:
    return first_wins(a.prompt + a.answer, b.prompt + b.answer)


def by(score: Score) -> Prefers:
    return lambda a, b: float(score(a) > score(b))


def gold_of(y: Reading) -> float:
    return gold(y.prompt + y.answer)


def habits(pairs: list[tuple[Reading, Reading]], prefers: Prefers) -> Habits:
    shorter: list[float] = []
    familiar: list[float] = []
    unfamiliar: list[float] = []
    for a, b in pairs:
        if len(a.q) != len(b.q):
            short, long = sorted((a, b), key=lambda y: len(y.q))
            shorter.append(prefers(short, long))
        if gold_of(a) != gold_of(b):
            worse, better = sorted((a, b), key=gold_of)
            known = mean(better.p) > mean(worse.p)
            (familiar if known else unfamiliar).append(prefers(better, worse))
    return Habits(
        agreement=share(familiar + unfamiliar),
        shorter=share(shorter),
        familiar=share(familiar),
        unfamiliar=share(unfamiliar),
    )


def share(chances: list[float]) -> float:
    """The mean; where nothing was asked, a coin's."""
    return mean(chances) if chances else 0.5


def gap(habit: Habits) -> float:
    """The bias towards what is familiar."""
    return habit.familiar - habit.unfamiliar


def errors(pairs: list[tuple[Reading, Reading]], score: Score) -> list[list[Reading]]:
    """The comparisons, worse answer first, in which the worse one gets the higher score."""
    ordered = [sorted(pair, key=gold_of) for pair in pairs]
    return [[a, b] for a, b in ordered if gold_of(a) < gold_of(b) and score(a) > score(b)]


def show_errors(wrong: list[list[Reading]]) -> None:
    print("\nsome of the labeller's errors, when it judges per token")
    columns = f"{'gold':>5} {'log q':>6} {'log p':>6}"
    print(f"  {'rejected':>15} {columns}  {'preferred':>15} {columns}")
    for worse, better in wrong[:6]:
        for y in (better, worse):
            print(f"  {y.prompt + y.answer:>15} {gold_of(y):5.2f}", end="")
            print(f" {mean(y.q):6.2f} {mean(y.p):6.2f}", end="")
        print()
    print("  log q, log p  per token, by the labeller and by the reference")


def show_habits(measured: dict[str, Habits], count: int) -> None:
    print(f"\nhow each compares {count} pairs of the reference's answers, as shares")
    print(f"  {'':16} agreement  shorter  familiar  unfamiliar")
    for label, h in measured.items():
        print(f"  {label:16} {h.agreement:9.3f} {h.shorter:8.3f}", end="")
        print(f" {h.familiar:9.3f} {h.unfamiliar:11.3f}")
    print("""  agreement   with the gold score
  shorter     the shorter answer is preferred, of two that differ in length
  familiar    agreement where the better answer is also the likelier under the
              reference, per token; unfamiliar: where it is not""")
    print("\nagreement where the better answer is familiar (f), and where it is not (u)")
    for label, h in measured.items():
        print(f"  {label:16} f {bar(h.familiar, 40)}\n  {'':16} u {bar(h.unfamiliar, 40)}")


# --- policies, trained ----------------------------------------------------------------------------

def align(world: World, label: str, texts: list[dict[str, str]]) -> Model:
    """Train a copy of the reference by DPO on labelled comparisons."""
    policy = unfreeze(world.reference)
    pairs = [prepare(text, world.reference, world.alphabet) for text in texts]
    learn = preferences(policy, pairs, BETA, random.Random(world.seed))
    train(label, learn, Adam(weights_of(policy)), STEPS, DPO_LR)
    return freeze(policy)


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    world = make_world(seed, names)
    examples = exemplary(world.names)
    print(f"microrlaif, seed {seed}: a reference that has learnt {len(world.names)} names")
    print(f"the constitution: the {len(examples)} best of them, gold from {gold(examples[-1]):.2f}")
    print(f"  {words(examples, 76)}")

    # The labeller; and answers to compare, which the person has compared first.
    rng = random.Random(seed)
    labeller = teach(world.reference, examples, world.alphabet, rng)
    texts = [
        compare(world.reference, world.names, world.alphabet, rng) for _ in range(PAIRS + MEASURED)
    ]
    pairs = [read_both(text, labeller, world.reference, world.alphabet) for text in texts]
    texts, pairs, held_out = texts[:PAIRS], pairs[:PAIRS], pairs[PAIRS:]
    measured = {"person": habits(held_out, person)}
    measured |= {name: habits(held_out, by(score)) for name, score in SCORES.items()}
    show_errors(errors(held_out, SCORES["AI, per token"]))
    show_habits(measured, len(held_out))

    # The same comparisons, labelled by each; one policy learns from each.
    labels = {"person": texts}
    for name in ("AI, total", "AI, per token", "no constitution"):  # "AI, ratio": in the chapter
        labels[name] = [label(pair, SCORES[name]) for pair in pairs]
    policies = {"reference": world.reference, "the labeller itself": labeller}
    policies |= {name: align(world, name, texts) for name, texts in labels.items()}
    verdicts = {name: judge(policy, world) for name, policy in policies.items()}
    show_verdicts(verdicts)
    return check_claims(claims_of(measured, verdicts))


def claims_of(measured: dict[str, Habits], verdicts: dict[str, Verdict]) -> list[Claim]:
    human, total, token, ratio, none = measured.values()
    golds = {name: verdict.gold for name, verdict in verdicts.items()}
    control = golds["no constitution"] - golds["reference"]
    letters = verdicts["AI, total"].length / verdicts["reference"].length
    return [
        ("agreement, person minus AI per token", human.agreement - token.agreement, ">=", 0.01),
        ("agreement, AI minus no constitution", token.agreement - none.agreement, ">=", 0.01),
        ("shorter preferred, total minus per token", total.shorter - token.shorter, ">=", 0.12),
        ("bias to the familiar, AI minus person", gap(token) - gap(human), ">=", 0.25),
        ("unfamiliar, ratio minus per token", ratio.unfamiliar - token.unfamiliar, ">=", 0.08),
        ("gold, AI per token minus person", golds["AI, per token"] - golds["person"], ">=", -0.1),
        ("gold, no constitution minus reference", control, ">=", 0.03),
        ("letters, AI total over reference", letters, "<=", 0.88),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "Can a model's judgement replace a person's?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, BATCH=BATCH, PRETRAIN_STEPS=PRETRAIN_STEPS, HELD_OUT_NAMES=HELD_OUT_NAMES)
    at_least(1, TEACH_STEPS=TEACH_STEPS, PAIRS=PAIRS, MEASURED=MEASURED, STEPS=STEPS)
    at_least(2, SAMPLES=SAMPLES)
    at_least(0.0, PRETRAIN_LR=PRETRAIN_LR, TEACH_LR=TEACH_LR, DPO_LR=DPO_LR, TASTE=TASTE)
    at_least(1e-6, BETA=BETA)
    at_least(0.0, EXEMPLARY=EXEMPLARY)
    if EXEMPLARY > 1.0:
        fail(f"EXEMPLARY = {EXEMPLARY}: a share of the names is at most 1")


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


# --- bars (shared) --------------------------------------------------------------------------------

def bar(share: float, width: int = 30) -> str:
    """A horizontal bar, full at share = 1."""
    return blocks("█", "#") * round(width * min(max(share, 0.0), 1.0))


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
