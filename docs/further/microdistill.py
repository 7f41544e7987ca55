"""microdistill: what does a small model learn from a large one's doubts?

A label says which letter came next, and nothing about all the others. A trained model, the teacher,
says how likely each of them was. Distillation (Hinton et al. 2015, arXiv:1503.02531) trains a small
model, the student, on those probabilities, the soft targets, in place of the labels: it minimizes
the KL divergence from teacher to student, letter by letter, both softened by a temperature T.

What runs: a GPT of width 12 learns given names. Students of width 8 then learn from 30 of these
names, from hard labels or from the teacher's probabilities. The yardstick is the student with hard
labels, stopped where it was best on held-out names: an oracle, since nobody knows that step. The
other rows ask what makes the soft targets good. Softness (label smoothing; the teacher's own
probabilities, dealt to the wrong letters)? A second model's opinion (a teacher that saw only the
same 30 names)? The teacher's names rather than its doubts (Kim and Rush 2016, arXiv:1606.07947)?

What to look for: with hard labels the student turns for the worse, with soft targets it does not.
Ten names with a teacher beat thirty without. The same softness at the wrong letters is worse than
none: what helps is what the teacher knows of the letters that did not come. That knowledge is of
the names it has read, not of its size: the last row, a student with hard labels on all of them,
does about as well as the teacher. Whether width can be saved, a toy this small cannot show.

Use it when a model that is good but too costly exists, and its probabilities can be had. When only
its texts can be had, train on those: cheaper, and weaker for equally many steps. When labels are
plenty and the student has the time to learn from them all, little is left to gain.

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

N_EMBD = 12  # width d of the teacher
STUDENT_EMBD = 8  # width d of the students: half the teacher's parameters
N_HEAD = 2  # attention heads, in both
N_LAYER = 1  # blocks, in both
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # of the initial weights; GPT-2's 0.02 would start a model this narrow too quiet
BATCH = 1  # names per step

PRETRAIN_STEPS = 400  # of the teacher; 500 are hardly better
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak, as every rate below
HELD_OUT_NAMES = 100  # names that nothing is trained on

FEW = 30  # names that the students learn from: few enough for hard labels to overfit
FEWER = 10  # of these, for the student that gets by with less
STEPS = 240  # updates of every student: eight passes over the few names
HARD_LR = 0.01  # of the students that overfit: the best of 0.003 to 0.02 for them
SOFT_LR = 0.02  # of those that do not: within 0.01 nats from 0.01 to 0.03
TEMPERATURE = 2.0  # T of the soft targets; Hinton et al. tried 1 to 20. 1 does as well here
SMOOTHING = 0.1  # share of each label that is spread evenly; 0.3 does the same, 0.5 is worse
SAME_STEPS = 120  # updates of the teacher that sees the few names only; its best step counts
LOOK_EVERY = 30  # steps between two looks at the held-out names: the oracle's choice


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


# 6. THE ALGORITHM: DISTILLATION ===================================================================

# After the letters m a r, what comes next? The hard label of the name martin says t, and no more.
# The teacher has read maria, mark, marcus and mary: its soft target gives i, k, c and y their
# shares, too, and x next to none. That is a statement about every letter of the alphabet, and one
# name brings such a statement for each of its positions.
#
# Let q be the target, a distribution over the letters, z the student's logits, T the temperature
# (1 for now), and p = softmax(z / T) the student's answer, which is to come close to q:
#
#     KL(q || p) = sum_i q_i log(q_i / p_i)  >= 0, and 0 only for p = q
#
# q does not depend on the student. So this is the cross-entropy -sum_i q_i log p_i, less a
# constant, the entropy of q: how unsure q itself is. With log p_i = z_i / T - log sum_j e^(z_j / T)
# and sum_i q_i = 1, the derivative is
#
#     d KL / d z_j = (p_j - q_j) / T
#
# For a hard label q is 1 at one letter, its entropy is 0, and at T = 1 both lines are those of
# cross_entropy(). So hard and soft students share one loss, and differ in their targets only.
#
# The temperature T makes q = softmax(v / T) from the teacher's logits v: a higher T lifts the small
# probabilities, where much of what the teacher knows is written. The student is softened by the
# same T while it learns, and used at T = 1. For a large T and logits of mean 0, over n tokens,
#
#     p_j - q_j  is about  (z_j - v_j) / (n T)
#
# and the gradient, which divides by T once more, about (z_j - v_j) / (n T^2). Hinton et al.
# therefore multiply the loss by T^2. That keeps its size beside a second loss on hard labels, and
# the learning rate's meaning in SGD. Adam divides every gradient by its own size, so here, with one
# loss, the factor hardly shows.


def distill_loss(logits: Vector, q: Sequence[float], t: float = 1.0) -> Any:
    """T^2 KL(q || softmax(z / T)) for the student's logits z, in nats.

    q: the target, floats that sum to 1, already at temperature t. The derivative with respect to
    z_j is T (p_j - q_j). One node for all of it, like cross_entropy().
    """
    data = floats(logits)
    p = softmax(data, t)
    top = max(data)
    norm = math.log(sum(math.exp((z - top) / t) for z in data)) + top / t
    kl = sum(q_i * (math.log(q_i) - z / t + norm) for q_i, z in zip(q, data) if q_i > 0.0)
    if not learns(logits):
        return t * t * kl
    return Value(t * t * kl, logits, [t * (p_j - q_j) for p_j, q_j in zip(p, q)])


def entropy(q: Sequence[float]) -> float:
    """-sum_i q_i log q_i, in nats: 0 for a hard label, log n for n letters that are all alike."""
    return -sum(q_i * math.log(q_i) for q_i in q if q_i > 0.0)


class Lesson(NamedTuple):
    """A name, and for each token but the first what the student should have said."""

    tokens: list[int]
    targets: list[list[float]]  # distributions over the letters
    t: float  # the temperature of the targets, and of the student while it learns them


def logits_of(model: Model, tokens: Sequence[int]) -> list[list[Any]]:
    """The logits of each token but the first, given those before it."""
    cache = new_cache()
    return [gpt(model, token, cache) for token in tokens[:-1]]


def hard_lesson(tokens: list[int], letters: int) -> Lesson:
    """The label as a distribution: all of it at the letter that came."""
    rows = [[float(i == right) for i in range(letters)] for right in tokens[1:]]
    return Lesson(tokens=tokens, targets=rows, t=1.0)


def soft_lesson(teacher: Model, tokens: list[int], t: float) -> Lesson:
    """The teacher's probabilities. It reads the name; what came next, the label, is not used."""
    return Lesson(tokens=tokens, targets=[softmax(v, t) for v in logits_of(teacher, tokens)], t=t)


# Two kinds of softness without the teacher's knowledge, as controls. Label smoothing (Szegedy et
# al. 2016, arXiv:1512.00567) gives every letter the same small share. The other one (Furlanello et
# al. 2018, arXiv:1805.04770) keeps the teacher's numbers, but deals those of the other letters out
# at random: the same entropy, and the same probability for the letter that came.


def smoothed(lesson: Lesson, share: float) -> Lesson:
    """(1 - share) q + share / n, for n letters."""
    rows = [[(1 - share) * q_i + share / len(q) for q_i in q] for q in lesson.targets]
    return lesson._replace(targets=rows)


def permuted(lesson: Lesson, rng: random.Random) -> Lesson:
    """The letter that came keeps its probability; the others exchange theirs."""
    rows = []
    for q, right in zip(lesson.targets, lesson.tokens[1:]):
        others = q[:right] + q[right + 1 :]
        rng.shuffle(others)
        rows.append(others[:right] + [q[right]] + others[right:])
    return lesson._replace(targets=rows)


# Where only the teacher's texts can be had, the student learns from names that the teacher wrote,
# with hard labels (sequence-level distillation, Kim and Rush 2016). In the mean over many such
# names the gradient is that of the soft targets; over few it is far noisier, as one letter drawn
# from q says less than q. (On-policy distillation, Agarwal et al. 2023, arXiv:2306.13649, lets the
# student write, and the teacher grade what it wrote, often by the reverse KL(p || q), which forbids
# rather than suggests. It matters where the student's own texts lead it astray. With names this
# short it made no difference in trials, and is left out.)


def written_lesson(teacher: Model, letters: int, rng: random.Random) -> Lesson:
    """A fresh name from the teacher, with hard labels."""
    return hard_lesson([EDGE, *sample(teacher, [EDGE], rng)], letters)


def student_model(letters: int, rng: random.Random) -> Model:
    """init_model() at the students' width, in floats. gpt() takes its width from the matrices."""
    d = STUDENT_EMBD
    model = {"wte": new_matrix(letters, d, rng), "wpe": new_matrix(BLOCK_SIZE, d, rng)}
    for layer in range(N_LAYER):
        for name in ("wq", "wk", "wv", "wo"):
            model[f"{layer}.{name}"] = new_matrix(d, d, rng)
        model[f"{layer}.w1"] = new_matrix(4 * d, d, rng)
        model[f"{layer}.w2"] = new_matrix(d, 4 * d, rng)
    model["lm_head"] = new_matrix(letters, d, rng)
    return model


def lesson_loss(model: Model, lesson: Lesson) -> Any:
    """The mean over the letters of a name."""
    logits = logits_of(model, lesson.tokens)
    losses = [distill_loss(z, q, lesson.t) for z, q in zip(logits, lesson.targets)]
    return total(losses) / len(losses)


def study(student: Model, lessons: Sequence[Lesson], rng: random.Random) -> Callable[[], float]:
    """A learn() for train(): the mean loss of BATCH lessons, drawn without replacement until all
    have been seen."""
    deck: list[Lesson] = []

    def learn() -> float:
        loss = 0.0
        for _ in range(BATCH):
            deck[:] = deck or rng.sample(lessons, len(lessons))
            share = lesson_loss(student, deck.pop()) / BATCH
            share.backward()
            loss += share.data
        return loss

    return learn


# 7. EXPERIMENT ====================================================================================


class Task(NamedTuple):
    """What every student learns from and is measured on."""

    seed: int
    alphabet: list[str]
    teacher: Model  # floats
    taught: list[list[int]]  # the teacher's names, in tokens; the students' few come first
    held_out: list[list[int]]
    doubts: list[list[list[float]]]  # the teacher's probabilities for the letters of held_out


class Row(NamedTuple):
    """A model to train."""

    label: str
    lessons: Sequence[Lesson]
    lr: float
    steps: int
    watch: bool  # examine it on the way, and keep it as it was when best: the oracle


class Exam(NamedTuple):
    """Means over the letters of the held-out names, after some steps of training."""

    step: int
    loss: float  # -log p(the letter that came), in nats
    kl: float  # KL(teacher || model), in nats: how well it imitates


class Result(NamedTuple):
    """What became of a row."""

    row: Row
    exams: list[Exam]  # the last one at the end
    model: Model  # frozen, as it was at its best exam

    @property
    def end(self) -> Exam:
        return self.exams[-1]

    @property
    def best(self) -> Exam:
        return min(self.exams, key=lambda exam: exam.loss)


def make_task(seed: int, names: str | None) -> Task:
    """Train the teacher; names is the user's file."""
    rng = random.Random(seed)
    taught, held_out = split(read_names(names, BLOCK_SIZE - 1), rng, HELD_OUT_NAMES)
    alphabet = alphabet_of(taught + held_out)
    print(f"microdistill, seed {seed}: {len(taught)} names to learn, {len(held_out)} held out")
    teacher = pretrain(taught, alphabet, rng)
    unseen = [encode(name, alphabet) for name in held_out]
    return Task(
        seed=seed,
        alphabet=alphabet,
        teacher=teacher,
        taught=[encode(name, alphabet) for name in taught],
        held_out=unseen,
        doubts=[[softmax(v) for v in logits_of(teacher, tokens)] for tokens in unseen],
    )


def examine(model: Model, task: Task, step: int) -> Exam:
    """Ask a model of floats for the held-out names."""
    losses, kls = [], []
    for tokens, doubts in zip(task.held_out, task.doubts):
        for z, q, right in zip(logits_of(model, tokens), doubts, tokens[1:]):
            losses.append(cross_entropy(z, right))
            kls.append(distill_loss(z, q))
    return Exam(step=step, loss=mean(losses), kl=mean(kls))


def fit(task: Task, row: Row, start: Model) -> Result:
    """Train a copy of start. All rows draw their lessons in the same way."""
    model, exams, best = unfreeze(start), [], start

    def look(step: int) -> None:
        nonlocal best
        if step == row.steps or (row.watch and step and step % LOOK_EVERY == 0):
            frozen = freeze(model)
            exams.append(examine(frozen, task, step))
            if exams[-1].loss == min(exam.loss for exam in exams):
                best = frozen

    learn = study(model, row.lessons, random.Random(task.seed))
    train(row.label, learn, Adam(weights_of(model)), row.steps, row.lr, look)
    return Result(row=row, exams=exams, model=best)


def student_row(label: str, lessons: Sequence[Lesson], lr: float, watch: bool = False) -> Row:
    return Row(label=label, lessons=lessons, lr=lr, steps=STEPS, watch=watch)


def make_rows(task: Task, hard: list[Lesson], same: Model, rng: random.Random) -> list[Row]:
    """The students. What can overfit is watched, so that the best step of a control counts."""
    letters, few = len(task.alphabet), [lesson.tokens for lesson in hard]
    even = [smoothed(lesson, SMOOTHING) for lesson in hard]
    soft = [soft_lesson(task.teacher, tokens, TEMPERATURE) for tokens in few]
    wrong = [permuted(lesson, rng) for lesson in soft]
    second = [soft_lesson(same, tokens, TEMPERATURE) for tokens in few]
    written = [written_lesson(task.teacher, letters, rng) for _ in range(STEPS * BATCH)]
    everything = [hard_lesson(tokens, letters) for tokens in task.taught]
    return [
        student_row("hard labels", hard, HARD_LR, watch=True),
        student_row("hard, smoothed", even, HARD_LR, watch=True),
        student_row("soft targets", soft, SOFT_LR, watch=True),
        student_row("soft, fewer names", soft[:FEWER], SOFT_LR),
        student_row("soft, permuted", wrong, HARD_LR, watch=True),
        student_row("soft, 2nd teacher", second, HARD_LR, watch=True),
        student_row("teacher's names", written, SOFT_LR),
        student_row("hard, all names", everything, SOFT_LR),
    ]


def show_doubts(task: Task, soft: Lesson, wrong: Lesson) -> int:
    """One position of one name, after its first two letters; returns that position."""
    at = min(2, len(soft.targets) - 1)
    right = soft.tokens[at + 1]
    plain = soft_lesson(task.teacher, soft.tokens, 1.0).targets[at]
    hard = hard_lesson(soft.tokens, len(plain)).targets[at]
    columns = [hard, plain, soft.targets[at], wrong.targets[at]]
    titles = ["hard label", "teacher", f"at T = {TEMPERATURE:g}", "permuted"]
    print(f"\nwhat comes after {decode(soft.tokens[: at + 1], task.alphabet)!r}", end="")
    print(f" in {decode(soft.tokens, task.alphabet)!r}? The teacher's ten likeliest letters")
    print(f"  {'':6}" + "".join(f"{title:18}" for title in titles).rstrip())
    for i in sorted(range(len(plain)), key=lambda i: -plain[i])[:10]:
        cells = "".join(f"{q[i]:.2f} {bar(3 * q[i], 12):13}" for q in columns)
        print(f"  {task.alphabet[i] or 'end':3}{'<' if i == right else ' '}  {cells}".rstrip())
    print("  < the letter that came; a bar is full from a third on")
    return at


def show_temperature(v: Sequence[float], z: Sequence[float]) -> None:
    """What T does to the teacher's logits v and to the gradient of a student's logits z."""
    print("\nwhat the temperature does there, to a student that has learnt nothing yet")
    print("  T   entropy of q   gradient of KL   times T^2")
    for t in (1, 2, 4, 8):
        q, logits = softmax(v, t), [Value(x) for x in z]
        distill_loss(logits, q, t).backward()
        size = sum(abs(x.grad) for x in logits)
        print(f"  {t} {entropy(q):14.2f} {size / t**2:16.4f} {size:11.4f}")
    print("  The gradient: sum of |d KL / d z_j| over the letters. T^2 keeps its size.")


def show_courses(hard: Result, soft: Result) -> None:
    print("\nloss on held-out names while learning: h hard labels, s soft targets")
    results = (("h", hard), ("s", soft))
    points = [(mark, exam.step, exam.loss) for mark, r in results for exam in r.exams]
    plot(points, x_label="steps", y_label="nats per letter")


def show_results(results: Sequence[Result], task: Task, teacher: Exam, oracle: float) -> None:
    print(f"\n{'':20}names  entropy     KL        end             best   step")
    print(f"  {'the teacher':33}{0:7.3f}{teacher.loss:8.3f} {teacher.loss - oracle:+.3f}")
    for r in results:
        targets = [q for lesson in r.row.lessons for q in lesson.targets]
        softness = mean([entropy(q) for q in targets])
        print(f"  {r.row.label:18}{len(r.row.lessons):5}{softness:9.2f}{r.end.kl:8.3f}", end="")
        print(f"{r.end.loss:8.3f} {r.end.loss - oracle:+.3f}", end="")
        if r.row.watch:
            print(f"{r.best.loss:9.3f} {r.best.loss - oracle:+.3f}{r.best.step:6}", end="")
        print()
    print("""  names    different lessons    entropy  of their targets, in nats
  KL       from the teacher to the student at its end, in nats per letter
  end      loss on held-out names in nats, and that minus the yardstick
  best     the same at the best step on the way, for those that were watched;
           the yardstick is the best step of the student with hard labels
  permuted         the teacher's numbers, dealt to the wrong letters
  2nd teacher      one that has seen the students' names only
  teacher's names  written by the teacher, each used once, with hard labels
  all names        those that the teacher has learnt from, with hard labels""")


def show_writing(models: dict[str, Model], task: Task) -> None:
    print("\nfresh names of each, the students as they were at their best")
    for label, model in models.items():
        rng = random.Random(task.seed)
        names = [decode(sample(model, [EDGE], rng), task.alphabet) for _ in range(12)]
        print(f"  {label:16} {words(names, 60)}")


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    task = make_task(seed, names)
    teacher, letters, rng = examine(task.teacher, task, 0), len(task.alphabet), random.Random(seed)
    print(f"the teacher, {len(weights_of(task.teacher)):,} parameters: loss {teacher.loss:.3f}")

    # One start for all students, and a second teacher, which sees no names but theirs.
    start, wide = student_model(letters, rng), init_model(letters, rng)
    hard = [hard_lesson(tokens, letters) for tokens in task.taught[:FEW]]
    print(f"the students, {len(weights_of(start)):,} parameters, get {len(hard)} of its names")
    row = Row(label="second teacher", lessons=hard, lr=HARD_LR, steps=SAME_STEPS, watch=True)
    same = fit(task, row, wide)
    print(f"the teacher of these names only: loss {same.best.loss:.3f} at its best step")

    rows = make_rows(task, hard, same.model, rng)
    lessons = {row.label: row.lessons for row in rows}
    first = lessons["soft targets"][0]
    at = show_doubts(task, first, lessons["soft, permuted"][0])
    show_temperature(*(logits_of(model, first.tokens)[at] for model in (task.teacher, start)))

    results = {row.label: fit(task, row, start) for row in rows}
    oracle, soft = results["hard labels"].best.loss, results["soft targets"].end.loss
    show_courses(results["hard labels"], results["soft targets"])
    show_results(list(results.values()), task, teacher, oracle)
    shown = ("hard labels", "soft targets", "soft, permuted")
    show_writing({"teacher": task.teacher, **{x: results[x].model for x in shown}}, task)

    fewer, written = results["soft, fewer names"].end.loss, results["teacher's names"].end.loss
    controls = ("hard, smoothed", "soft, permuted", "soft, 2nd teacher")
    even, wrong, second = (results[label].best.loss for label in controls)
    return check_claims(
        [
            ("soft targets minus the yardstick", soft - oracle, "<=", -0.1),
            ("soft targets, fewer names, minus the yardstick", fewer - oracle, "<=", -0.05),
            ("soft targets minus smoothed labels", soft - even, "<=", -0.1),
            ("permuted minus the yardstick", wrong - oracle, ">=", 0.05),
            ("soft targets minus the second teacher's", soft - second, "<=", -0.05),
            ("the teacher's names minus soft targets", written - soft, ">=", 0.03),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "What does a small model learn from a large one's doubts?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, STUDENT_EMBD=STUDENT_EMBD, BATCH=BATCH, HELD_OUT_NAMES=HELD_OUT_NAMES)
    at_least(1, PRETRAIN_STEPS=PRETRAIN_STEPS, STEPS=STEPS, SAME_STEPS=SAME_STEPS)
    at_least(1, FEW=FEW, FEWER=FEWER, LOOK_EVERY=LOOK_EVERY)
    at_least(0.0, PRETRAIN_LR=PRETRAIN_LR, HARD_LR=HARD_LR, SOFT_LR=SOFT_LR, SMOOTHING=SMOOTHING)
    at_least(0.01, TEMPERATURE=TEMPERATURE)
    if STUDENT_EMBD % N_HEAD:
        fail(f"STUDENT_EMBD = {STUDENT_EMBD} is no multiple of N_HEAD = {N_HEAD}")
    if FEWER > FEW:
        fail(f"FEWER = {FEWER} is more than FEW = {FEW}; they are the first of these names")
    if SMOOTHING > 1:
        fail(f"SMOOTHING = {SMOOTHING}: give a share from 0 to 1")


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
