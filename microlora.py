"""microlora: how can about 1 % of the parameters adapt a language model?

Low-rank adaptation (LoRA, Hu et al. 2021, arXiv:2106.09685) freezes a pretrained n x m weight W and
learns a small change beside it, W' = W + (alpha/r) B A, where A is r x m, B is n x r, and the rank
r is tiny. A and B are the adapter. Afterwards (alpha/r) B A is added into W, and the adapted model
costs what the base costs; or it is kept apart, and many adapters share one base.

What runs: a tiny GPT learns English given names: the base. Adapters of several places and ranks
then teach it Korean ones. The control is full fine-tuning, at its best learning rate and at a
gentle one. At the end two small adapters, one Korean and one Japanese, share the one base.

What to look for: 1 % of the parameters, in the right two places, recovers about half of what full
fine-tuning gains. And LoRA is said to forget less: here it does only because it learns less. Where
both have learnt the same, gentle full fine-tuning has forgotten less than the adapters. (On larger
models: Biderman et al. 2024, "LoRA learns less and forgets less", arXiv:2405.09673.)

Use it when memory is short, or when many variants share a base that must stay as it is. Fine-tune
fully when there is one task, and room for three more floats per parameter.

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

N_EMBD = 28  # width d: the smallest at which the adapter HEADLINE is less than 1 % of the model
N_HEAD = 4  # attention heads, of 7 dimensions each
N_LAYER = 1  # blocks
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # of the initial weights; GPT-2's 0.02 would start a model this narrow too quiet
BATCH = 1  # names per step
HELD_OUT = 40  # names of each language that nothing is trained on

PRETRAIN_STEPS = 400  # the base loss has flattened by then
PRETRAIN_LR = 0.015  # Adam's learning rate at its peak, as every rate below
ADAPT_STEPS = 200  # the same for every row
FULL_LR = 0.01  # the best of those tried for full fine-tuning (docs/results/rates.md)
GENTLE_LR = 0.002  # its gentle rate: less gain, much less forgetting
LOOK_EVERY = 40  # steps between two looks at what full fine-tuning has learnt and forgotten
ALPHA = 8.0  # adapter outputs are multiplied by ALPHA / rank; the default of PEFT, HF's library


class Row(NamedTuple):
    """An adapter to train, on matrices of every layer: attention's projections wq wk wv wo, the
    MLP's w1 w2; and lm_head, which makes the logits of the next letter."""

    places: str
    rank: int
    lr: float


# Why wo and lm_head? lm_head makes the logits, and wo writes what attention has found into the
# stream that lm_head reads: a change there reaches the output without passing through much else.
# (So does w2, but it is four times as wide, and an adapter for it as much larger.)
HEADLINE = Row(places="wo lm_head", rank=1, lr=0.02)
OTHERS = [
    Row(places="wq wv", rank=1, lr=0.015),  # the paper's places, at HEADLINE's size
    Row(places="wq wk wv wo", rank=4, lr=0.012),
    Row(places="wq wk wv wo w1 w2 lm_head", rank=2, lr=0.01),
]


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


# 6. THE ALGORITHM: LOW-RANK ADAPTATION ============================================================
#
# Fine-tuning moves a weight matrix from W to W + dW, and dW has as many numbers as W. LoRA writes
# the change as a product instead (paper, equation 3):
#
#     W' x = W x + (alpha/r) B (A x)          W: n x m,   B: n x r,   A: r x m
#
# With r = 1 and n = m = 28 these are 56 numbers instead of 784. The price: all changes of the
# output lie in r directions, the columns of B. Three details carry the method.
#
# - A is random and B is zero, so B A = 0 and training starts at the base model. Were both zero,
#   they would stay so: with g = dL/d(W' x), the gradient of A is (alpha/r) B^T g x^T, and that of B
#   is (alpha/r) g (A x)^T.
# - W is made of floats here, not of Values. Nothing is computed or stored for its gradient: with W
#   of floats and x of Values, linear() has the x for children only. Above an adapter the gradient
#   still passes through W to x; below the lowest one x is floats too: there is no graph at all.
# - B A is a sum of r terms. alpha/r is meant to keep the sum's size when r changes, so that the
#   learning rate need not change much. (The rates were tuned row by row all the same.)


def project(model: Model, name: str, x: Vector) -> list[Any]:
    """W x, plus (alpha/r) B A x where the model has an adapter for W: matrices name.A, name.B.

    This is LoRA's whole forward pass. gpt() calls it for each of its matrices.
    """
    y = linear(model[name], x)
    if f"{name}.A" not in model:
        return y
    a, b = model[f"{name}.A"], model[f"{name}.B"]
    scale = ALPHA / len(a)  # the rank r is the number of A's rows
    hidden = [scale * h for h in linear(a, x)]  # scaled here: these are r numbers, y has n
    return add(y, linear(b, hidden))


def matrices(places: str) -> list[str]:
    """The names of the model's matrices at these places, in every layer."""
    wanted = places.split()
    inner = [f"{i}.{place}" for i in range(N_LAYER) for place in wanted if place != "lm_head"]
    return inner + ["lm_head"] * ("lm_head" in wanted)


def new_adapter(base: Model, names: Sequence[str], rank: int, rng: random.Random) -> Model:
    """A and B, as Values, for each named matrix (n x m) of the base.

    A is rank x m and random, B is n x rank and zero (paper, section 4.1). The variance 1/m is our
    choice: the entries of A x are then about as large as those of x. Attach the adapter with
    {**base, **adapter}, which copies no number and leaves the base as it was.
    """
    adapter: Model = {}
    for name in names:
        n, m = len(base[name]), len(base[name][0])
        a = [[rng.gauss(0.0, m**-0.5) for _ in range(m)] for _ in range(rank)]
        b = [[0.0] * rank for _ in range(n)]
        adapter |= unfreeze({f"{name}.A": a, f"{name}.B": b})
    return adapter


def merge(base: Model, adapter: Model) -> Model:
    """The base with W + (alpha/r) B A in place of W, in floats: the base's shapes and cost."""
    merged, small = freeze(base), freeze(adapter)
    for name in [key.removesuffix(".A") for key in adapter if key.endswith(".A")]:
        a, b = small[f"{name}.A"], small[f"{name}.B"]
        scale = ALPHA / len(a)
        columns = list(zip(*a))
        merged[name] = [
            [w + scale * dot(b_row, column) for w, column in zip(w_row, columns)]
            for w_row, b_row in zip(base[name], b)
        ]
    return merged


# 7. EXPERIMENT ====================================================================================
#
# The target: given names of Korea, romanized. Other letter pairs (eo, ae, hy), two syllables each,
# other endings: a shift that is seen at once. (The lists stand at the end of the file.)


class Names(NamedTuple):
    """Names of one language."""

    learnt: list[str]
    held_out: list[str]


class Task(NamedTuple):
    """What every row starts from."""

    seed: int
    alphabet: list[str]
    english: Names
    korean: Names
    base: Model  # floats


class Losses(NamedTuple):
    """Per token on held-out names, in nats."""

    target: float  # on the language that is learnt
    base: float  # on English: what rises here is forgetting


class Outcome(NamedTuple):
    """What became of one row, or of full fine-tuning."""

    label: str
    rank: int  # 0 for full fine-tuning
    model: Model  # with the adapter attached, if there is one
    adapter: Model
    trained: int  # parameters that learnt
    edges: int  # chain-rule steps in the graph of one name
    path: list[Losses]  # full fine-tuning's on the way; the last one is the end


def measure(task: Task, model: Model, target: Names) -> Losses:
    frozen = freeze(model)
    return Losses(
        target=mean_loss(frozen, target.held_out, task.alphabet),
        base=mean_loss(frozen, task.english.held_out, task.alphabet),
    )


def backward_edges(model: Model, tokens: Sequence[int]) -> int:
    """The edges from node to child in the graph of one text: each is a step of the chain rule."""
    return sum(len(node.children) for node in total(token_losses(model, tokens)).graph())


def fine_tune(task: Task, target: Names, lr: float, row: Row | None = None) -> Outcome:
    """Learn the target's names: an adapter, or, with no row, the whole model, whose losses are
    measured on the way. Every row sees the same names in the same order."""
    rng = random.Random(task.seed)
    adapter = new_adapter(task.base, matrices(row.places), row.rank, rng) if row else {}
    model = {**task.base, **adapter} if row else unfreeze(task.base)
    values = weights_of(adapter if row else model)
    label = row.places if row else f"full, rate {lr}"
    edges = backward_edges(model, encode(target.held_out[0], task.alphabet))
    path = []

    def look(step: int) -> None:
        if step == ADAPT_STEPS or (step % LOOK_EVERY == 0 and not row):
            path.append(measure(task, model, target))

    learn = next_letter(model, target.learnt, task.alphabet, random.Random(task.seed))
    train(label, learn, Adam(values), ADAPT_STEPS, lr, look)
    return Outcome(
        label=label,
        rank=row.rank if row else 0,
        model=model,
        adapter=adapter,
        trained=len(values),
        edges=edges,
        path=path,
    )


def gain(outcome: Outcome, full: Outcome) -> float:
    """The share of full fine-tuning's improvement on the target."""
    start, end = full.path[0].target, full.path[-1].target
    return (start - outcome.path[-1].target) / (start - end)


def base_loss_at(path: Sequence[Losses], loss: float) -> float:
    """The base loss where a path first comes down to a loss on the target, on straight lines
    between its points; at its end, if it never does."""
    for before, after in zip(path, path[1:]):
        if after.target <= loss:
            share = (before.target - loss) / (before.target - after.target)
            return before.base + share * (after.base - before.base)
    return path[-1].base


def forgets_more(adapter: Outcome, gentle: Outcome) -> float:
    """The adapter's English loss above that of gentle full fine-tuning, at the point where that had
    learnt as much Korean, in nats."""
    losses = adapter.path[-1]
    return losses.base - base_loss_at(gentle.path, losses.target)


def show_table(outcomes: Sequence[Outcome], full: Outcome, letters: int) -> None:
    size = full.trained
    print("\nwhat each row learned, and what it forgot")
    print("adapted                  rank trained   share   held  edges target  base   gain")
    start = full.path[0]
    print(f"{'nothing: the base':60}{start.target:6.3f} {start.base:5.3f} {0:6.1%}")
    for o in outcomes:
        print(f"{o.label:25}{o.rank or '-':>4} {o.trained:7} {o.trained / size:7.2%}", end="")
        print(f" {3 * o.trained:6} {o.edges:6} {o.path[-1].target:6.3f}", end="")
        print(f" {o.path[-1].base:5.3f} {gain(o, full):6.1%}")
    print(f"""  trained  parameters that learn, and their share of the model's {size}
  held     floats kept for them: a gradient each, and Adam's two moments
  edges    chain-rule steps in the graph of one name: backward work
  target   loss per token on held-out Korean names, nats
  base     the same on held-out English ones: what rises here is forgetting;
           guessing among {letters} letters and the end costs {math.log(letters + 1):.2f}
  gain     share of full fine-tuning's improvement on the target""")


def show_forgetting(full: Outcome, gentle: Outcome, adapters: Sequence[Outcome]) -> None:
    """Full fine-tuning's two paths as curves, the adapters as points."""
    print("\nlearning (to the left) and forgetting (up): losses in nats")
    points = [("f", x.target, x.base) for x in full.path]
    points += [("g", x.target, x.base) for x in gentle.path]
    points += [("B", full.path[0].target, full.path[0].base)]
    points += [(str(i), *o.path[-1]) for i, o in enumerate(adapters, 1)]
    plot(points, x_label="loss on Korean", y_label="loss on English")
    print("  B the base; f and g full fine-tuning on its way, Korean/English:")
    for mark, lr, outcome in (("f", FULL_LR, full), ("g", GENTLE_LR, gentle)):
        pairs = [f"{x.target:.2f}/{x.base:.2f}" for x in outcome.path]
        print(f"  {mark} at {lr}: {words(pairs, 62)}")
    print("  English lost more than by g where that had learnt as much Korean, nats:")
    furthest = min(x.target for x in gentle.path)
    for i, o in enumerate(adapters, 1):
        remark = " (g did not get that far: its end)" if o.path[-1].target < furthest else ""
        print(f"  {i} {o.label:26} rank {o.rank:2} {forgets_more(o, gentle):+7.2f}{remark}")


def show_samples(task: Task, outcomes: Sequence[Outcome]) -> None:
    print("\nnames that each row writes")
    models = [("nothing: the base", task.base), *((o.label, freeze(o.model)) for o in outcomes)]
    for label, model in models:
        draw = random.Random(task.seed)
        names = [decode(sample(model, [EDGE], draw), task.alphabet) for _ in range(9)]
        print(f"  {label:26}{words(names, 50)}")


def directions(matrix: Matrix) -> int:
    """How many of its singular values, largest first, hold 90 % of the sum of their squares.

    One-sided Jacobi: rotate pairs of rows until every two are orthogonal. A rotation changes no
    singular value, and those of a matrix with orthogonal rows are the rows' lengths.
    """
    rows = [list(row) for row in matrix]
    for _ in range(12):  # rounds over all pairs; 8 reach rounding error, even for a larger matrix
        for i in range(len(rows)):
            for j in range(i):
                p, q = rows[i], rows[j]
                angle = 0.5 * math.atan2(2 * dot(p, q), dot(p, p) - dot(q, q))
                c, s = math.cos(angle), math.sin(angle)
                rows[i] = [c * x + s * y for x, y in zip(p, q)]
                rows[j] = [c * y - s * x for x, y in zip(p, q)]
    squares = sorted((dot(row, row) for row in rows), reverse=True)
    return next(n for n in range(len(rows) + 1) if sum(squares[:n]) >= 0.9 * sum(squares))


def show_rank(task: Task, full: Outcome, rng: random.Random) -> float:
    """How low-rank is full fine-tuning's own change? The control is a matrix of random numbers.
    Returns the directions it needs, as a share of the control's."""
    new, old = freeze(full.model)["0.wv"], task.base["0.wv"]
    change = directions([[x - y for x, y in zip(*rows)] for rows in zip(new, old)])
    noise = directions([[rng.gauss(0.0, 1.0) for _ in row] for row in old])
    print(f"\nfull fine-tuning changed 0.wv, {N_EMBD} x {N_EMBD}: 90 % of its squared singular")
    print(f"values lie in {change} directions, those of a random matrix in {noise}. An adapter of")
    print("rank r offers r; what it gives up for that is in the column gain.")
    return change / noise


def serve(task: Task, adapters: dict[str, Model], targets: dict[str, Names]) -> float:
    """One base, two adapters, asked in turn. Returns the smallest advantage of a language's own
    adapter over the other one, in nats per token."""
    print("\none base, two adapters, served in turn: loss on held-out names of")
    print(f"  {'':26}{''.join(f'{name:>10}' for name in targets)}")
    losses = {}
    merged = {f"{label}, merged": merge(task.base, adapter) for label, adapter in adapters.items()}
    attached = {label: {**task.base, **freeze(adapter)} for label, adapter in adapters.items()}
    for label, model in {"no adapter": task.base, **attached, **merged}.items():
        draw = random.Random(task.seed)
        names = [decode(sample(model, [EDGE], draw), task.alphabet) for _ in range(5)]
        print(f"  {label:26}", end="")
        for name, target in targets.items():
            losses[label, name] = mean_loss(model, target.held_out, task.alphabet)
            print(f"{losses[label, name]:10.3f}", end="")
        print(f"  {words(names, 20)}")
    return min(losses[b, a] - losses[a, a] for a in adapters for b in adapters if a != b)


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    rng = random.Random(seed)
    targets = fitting(KOREAN), fitting(JAPANESE)
    sources = (read_names(names, BLOCK_SIZE - 1), *targets)
    english, korean, japanese = (Names(*split(source, rng, HELD_OUT)) for source in sources)
    print(f"microlora, seed {seed}: {len(english.learnt)} English names to learn,")
    print(f"then {len(korean.learnt)} Korean and {len(japanese.learnt)} Japanese ones; ", end="")
    print(f"{len(english.held_out)}, {len(korean.held_out)}, {len(japanese.held_out)} held out")
    alphabet = alphabet_of([name for part in (*english, *korean, *japanese) for name in part])

    # One base, frozen. All that follows starts from it.
    base = pretrain(english.learnt, alphabet, rng)
    task = Task(seed=seed, alphabet=alphabet, english=english, korean=korean, base=base)

    # The controls, then the adapters, all with the same names in the same order.
    full, gentle = (fine_tune(task, korean, lr) for lr in (FULL_LR, GENTLE_LR))
    headline, *others = (fine_tune(task, korean, row.lr, row) for row in (HEADLINE, *OTHERS))
    adapters = [headline, *others]
    second = fine_tune(task, japanese, HEADLINE.lr, HEADLINE)

    show_table([full, gentle, *adapters], full, len(alphabet) - 1)
    show_forgetting(full, gentle, adapters)
    show_samples(task, [full, *adapters])
    structure = show_rank(task, full, rng)
    apart = serve(
        task,
        {"Korean": headline.adapter, "Japanese": second.adapter},
        {"English": english, "Korean": korean, "Japanese": japanese},
    )

    largest = max(adapters, key=lambda outcome: outcome.trained)
    start, end = full.path[0].target, full.path[-1].target
    share = headline.trained / full.trained
    claims = [
        ("full fine-tuning's gain on Korean, nats", start - end, ">=", 0.8),
        (f"gain with {share:.2%} of the parameters", gain(headline, full), ">=", 0.35),
        ("floats held for training it, share of full's", share, "<=", 0.01),
        ("English it lost beyond gentle full, nats", forgets_more(headline, gentle), ">=", 0.05),
        ("gain of the largest adapter", gain(largest, full), ">=", 0.6),
        ("directions of full's change, share of noise's", structure, "<=", 0.8),
        ("own adapter better than the other by, nats", apart, ">=", 0.3),
    ]
    return check_claims(claims)


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "How can about 1 % of the parameters adapt a language model?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

KOREAN = """
areum arin baekhyun bitna boram boyoung byulyi chaeryeong chaeun chaeyoung changkyun chanyeol
chorong daeun dasom dayeon dayoung dohee dohyun dongmin dongwook doyun eunbi eunha eunji eunjung
eunkyung eunseo eunsook eunyoung gaeul gahee garam gayoon gunwoo gyeonghwan gyeongmin gyuri haerin
hajun haneul haram hayoon hayoung heeyeon hongjoong hoseok hyein hyejin hyeri hyesook hyewon hyolyn
hyomin hyunah hyungwon hyunjun hyunkyung hyunseo hyunyoung inho insu iseul jaeho jaemin jaewon
jaeyong jeongmin jeongyeon jiho jihu jihun jihwan jihyo jimin jinhee jinri jinwoo jinyoung jisuk
jisung jiwon jiwoo jiyeon jiyoung jiyu jiyun jongho jongin jooheon joohyun jooyeon junghee junghwa
jungsook jungwoo junho junhyuk junki junseo junwoo juwon kihoon kihyun kyuhyun kyunghee kyungmi
kyungsoo mijoo minah mingi minhee minho minjae minjoo minjun minseo minseok minyoung miyeon
moonbyul myunghee myungsoo naeun namjoon narae nari nayeon nayoung sangmin sangwoo sehun seoah
seohyun seojun seokjin seonghwa seongjin seonhee seoyun seulgi seungho seungjun seungmin seungyeon
seyoung sieun sihoo sinbi siyeon siyun sohee sohyun sojin soojin sookhee sooyeon sooyoung sowon
soyou soyoung soyul sua sujeong sungjae sungmin sungyeon sunhee sunja sunyoung suyeon suyoung
taehyun taehyung taeyang taeyeon taeyoon wheein wonbin wonyoung woohyun woojin wooyoung yein yejun
yena yeonhee yeonwoo yeosang yerin yeseo yongjun yongsun yoona yoonhee yoonseo younghee youngho
youngja youngmin youngsook yubin yuchan yujin yujun yuna yunho yunwoo yura yusung
""".split()

JAPANESE = """
aiko akane akari akihiko akiko akira ami arata asahi asuka atsuko ayaka ayako ayame ayumi chiaki
chie chihiro chika chiyo daichi daisuke eiji emi fumiko fumio goro haruka haruki haruko haruto
hayate hayato hideki hideo hikaru hina hinata hiroki hiroko hiromi hiroshi hisako hitomi hotaru
ichiro isamu itsuki jiro junko kaede kaito kana kaori katsumi kazuki kazuko kazuo keiko keita
kenichi kenji kenta kiyoshi koharu kohei kosuke kumiko kyoko maiko makoto mami mana manabu mao
mariko masaki masao masaru mayumi megumi michiko midori mika miki minako minoru misaki mitsuki miyu
mizuki momoko nana naoki naoko natsuki natsumi noboru nobuko noriko osamu reiko ren rie rika riku
rina risa ryo ryoko ryota sachiko sadao sakura saori satomi satoru satoshi sayuri seiji setsuko
shigeru shinji shinobu shiori shizuka shota shun sora sota sumiko susumu suzume tadashi takako
takashi takeshi takumi tamiko taro tatsuya tetsuya tomoko tomoya toru toshio tsubasa tsukasa
tsuyoshi umeko wakana yasuko yasuo yoko yoshiko yoshio yuka yuki yukiko yuko yumi yuriko yusuke yuta
yuto yuya
""".split()


def fitting(names: list[str]) -> list[str]:
    """Those of the target's names that fit the context."""
    found = [name for name in names if len(name) < BLOCK_SIZE]
    if len(found) < 20:
        fail(f"BLOCK_SIZE = {BLOCK_SIZE}: too few of the target's names fit; give a larger one")
    return found


def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, BATCH=BATCH, HELD_OUT=HELD_OUT, PRETRAIN_STEPS=PRETRAIN_STEPS)
    at_least(1, ADAPT_STEPS=ADAPT_STEPS, LOOK_EVERY=LOOK_EVERY)
    at_least(0.0, PRETRAIN_LR=PRETRAIN_LR, FULL_LR=FULL_LR, GENTLE_LR=GENTLE_LR, ALPHA=ALPHA)
    for row in (HEADLINE, *OTHERS):
        at_least(1, rank=row.rank)
        at_least(0.0, lr=row.lr)
        known = ("wq", "wk", "wv", "wo", "w1", "w2", "lm_head")
        for place in row.places.split() or [""]:
            if place not in known:
                fail(f"places={row.places!r}: {place!r} is none of {' '.join(known)}")


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
