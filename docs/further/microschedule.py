"""microschedule: what does the learning rate's path buy?

The learning rate is how far a step goes, and its path is how it changes over a run: constant,
falling in steps, along a line or along a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983), or
constant for most of the run and falling at its end (warmup-stable-decay, WSD, Hu et al. 2024,
arXiv:2404.06395). The rival of every decay is to keep the rate and to average the weights that a
run passes through (Polyak and Juditsky 1992; stochastic weight averaging, SWA, Izmailov et al.
2018, arXiv:1803.05407). Warmup, a rise before all that, is a question of its own. Section 6 derives
from a model of one parameter what decay and averaging should do.

What runs: a tiny GPT learns names, one a step, from the same weights and with the same names in the
same order along every path. The constant rate is the control: at the high peak that all paths share
and, as is only fair, at a low peak, which suits it better. Linear decay runs at both peaks, too.

What to look for: that the loss falls when the rate falls, and hardly before. That averaging the
weights of the constant run earns about as much as a decay, although the run itself gets no better.
That with a decay or an average the peak hardly matters, and without them it does.

Use a decay when you know the number of steps; which one matters little. Use WSD, or averaging, when
you do not: both can finish a run at a constant rate whenever you like. Use warmup all the same: it
costs nothing, and only this model is too small to need it (the output says where it is needed).

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

STEPS = 500  # of every run; one name a step, so that a gradient is noisy
HIGH = 0.04  # peak rate of every path (Adam); at 0.05 some constant runs diverge
LOW = 0.01  # peak at which constant and linear run again: the constant rate's best, or as good
HELD_OUT_NAMES = 140  # a quarter of all, for measuring

DROPS = [0.5, 0.75]  # after these shares of the steps, step decay multiplies the rate
GAMMA = 0.3  # by this
DECAY = 0.2  # the share of the steps in which WSD decays, at the end
WARMUP = 0.1  # the share of the steps in which warmup rises
AVERAGED = 0.5  # the share of the steps, the last ones, whose weights are averaged
LAST = 0.2  # a constant run jumps: its loss is measured over this share of the steps, the last
LOOKS = 5  # and is the mean of so many looks


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


# 6. THE ALGORITHM: THE LEARNING RATE'S PATH =======================================================

# A path tells the rate at a step, counted from 0, as a share of its peak. Why should it fall? Take
# the least model there is: one parameter w, whose loss is the bowl h w^2 / 2, of curvature h. One
# name's gradient is h w + e, right on average, with a noise e of variance s^2. A step is
#
#     w <- w - lr (h w + e)
#
# 1. Far out, noise hardly matters: a step multiplies w by 1 - lr h. A high rate is fast.
#
# 2. Close in, noise is all there is. w never settles: its variance V is the same before and after a
#    step once V = (1 - lr h)^2 V + lr^2 s^2. Solved for V, that makes a mean loss of
#        h V / 2 = lr s^2 / (4 - 2 lr h)
#    A low rate is good: to first order, the floor that a run hovers at is lr s^2 / 4.
#
#    So a rate should be high first and low later. That is all that the paths below have in common,
#    and nothing in it tells a line from a cosine.
#
# 3. Or average. Add up n steps: w_n - w_0 = -lr (h sum w + sum e). Solved for the mean of w:
#        mean w = -(mean e) / h - (w_n - w_0) / (lr h n)
#    The first term, of variance s^2 / (h^2 n), knows no rate; the second vanishes faster, above all
#    at a high rate. So the average settles, although the run itself goes on hovering.
#
# (Adam divides lr by the gradient's size, which changes the scale of this and not the argument. A
# network is no bowl, which is why it has to be tried.)

Path = Callable[[int, int], float]  # (step, steps) to a share of the peak


def constant(step: int, steps: int) -> float:
    return 1.0


def step_decay(step: int, steps: int) -> float:
    """gamma^k after k drops."""
    return GAMMA ** sum(step >= drop * steps for drop in DROPS)


def linear_decay(step: int, steps: int) -> float:
    """1 - t / T."""
    return 1.0 - step / steps


def cosine_decay(step: int, steps: int) -> float:
    """(1 + cos(pi t / T)) / 2: the paper's equation 5, down to 0, without its restarts."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def stable_decay(step: int, steps: int) -> float:
    """WSD after its warmup: 1, then a line to 0 over the last DECAY of the steps."""
    return min(1.0, (steps - step) / (DECAY * steps))


def warmed(path: Path) -> Path:
    """Rise along a line in the first WARMUP of the steps, then take the path in the others."""

    def rise_first(step: int, steps: int) -> float:
        rise = round(WARMUP * steps)
        return (step + 1) / rise if step < rise else path(step - rise, steps - rise)

    return rise_first


PATHS: dict[str, Path] = {
    "constant": constant,
    "step": step_decay,
    "linear": linear_decay,
    "cosine": cosine_decay,
    "WSD": stable_decay,
    "warmup, linear": warmed(linear_decay),  # what train() of section 5 does
}


class Run(NamedTuple):
    """Training so far. A deep copy, in which model and optimizer share new Values as they shared
    the old ones, can be taken further along another path."""

    model: Model  # of Values
    optimizer: Adam
    losses: list[float]  # of every step that was made


def new_run(start: Model) -> Run:
    model = unfreeze(start)
    return Run(model=model, optimizer=Adam(weights_of(model)), losses=[])


def update(run: Run, tokens: Sequence[int], rate: float) -> None:
    """One step of training on one name: the mean cross-entropy of its tokens."""
    loss = total(token_losses(run.model, tokens)) / (len(tokens) - 1)
    loss.backward()
    run.optimizer.step(rate)
    run.losses.append(loss.data)


def follow(
    run: Run, path: Path, peak: float, order: list[list[int]], label: str, look: Any = None
) -> Run:
    """Take a run from where it is to its end. order holds every step's name, in tokens. look(steps
    made), if given, is called before every step and at the end."""
    first, steps, begin = len(run.losses), len(order), time.perf_counter()
    for step in range(first, steps):
        if look:
            look(step)
        update(run, order[step], peak * path(step, steps))
        seconds = time.perf_counter() - begin
        progress(label, step + 1 - first, steps - first, run.losses[-1], seconds)
    if look:
        look(steps)
    return run


def leaves_at(path: Path, steps: int) -> int:
    """The first step at which a path is not at its peak. Up to there it is the constant run, which
    need not be made again: this is how WSD can finish one long run at several times."""
    return next((step for step in range(steps) if path(step, steps) != 1.0), steps)


def fold_in(average: Model, model: Model, n: int) -> None:
    """average <- average + (w - average) / n, for the weights w of a model, which may still learn.
    Called for n = 1, 2, 3 ... it makes the plain mean of all w, and holds no more than that."""
    for name, matrix in model.items():
        for means, row in zip(average[name], matrix):
            means[:] = [old + (w - old) / n for old, w in zip(means, floats(row))]


# 7. EXPERIMENT ====================================================================================


class Task(NamedTuple):
    """What all runs have in common."""

    start: Model  # floats
    order: list[list[int]]  # the name of every step, in tokens
    held_out: list[list[int]]


class Result(NamedTuple):
    """What became of a run."""

    losses: list[float]  # of every step's name, before the step
    held_out: list[float]  # mean loss per held-out token: at the end, or LOOKS of them near it


def make_task(seed: int, names: str | None) -> Task:
    rng = random.Random(seed)
    learnt, held_out = split(read_names(names, BLOCK_SIZE - 1), rng, HELD_OUT_NAMES)
    alphabet = alphabet_of(learnt + held_out)
    print(f"microschedule, seed {seed}: {len(learnt)} names to learn, {len(held_out)} held out")
    return Task(
        start=init_model(len(alphabet), rng),
        order=[encode(rng.choice(learnt), alphabet) for _ in range(STEPS)],
        held_out=[encode(name, alphabet) for name in held_out],
    )


def held_out_loss(model: Model, task: Task) -> float:
    """Mean cross-entropy per held-out token, in nats."""
    frozen = freeze(model)
    return mean([x for tokens in task.held_out for x in token_losses(frozen, tokens)])


def look_steps(steps: int) -> set[int]:
    """The numbers of steps made at which the constant run is looked at, the end among them."""
    apart = max(1, round(LAST * steps / LOOKS))
    return {steps - apart * i for i in range(LOOKS)}


def compare(task: Task, peak: float, labels: Sequence[str]) -> dict[str, Result]:
    """The constant run at a peak, its averaged weights, and the labelled paths that branch off."""
    trunk = new_run(task.start)  # the constant run
    leaves = {label: leaves_at(PATHS[label], STEPS) for label in labels}
    branches: dict[int, Run] = {}  # copies of it, by the step at which a path leaves it
    averaged, begin = freeze(task.start), STEPS - max(1, round(AVERAGED * STEPS))
    looks: list[float] = []

    def look(step: int) -> None:
        if step in leaves.values():
            branches[step] = copy.deepcopy(trunk)
        if step > begin:
            fold_in(averaged, trunk.model, step - begin)
        if step in look_steps(STEPS):
            looks.append(held_out_loss(trunk.model, task))

    follow(trunk, constant, peak, task.order, f"constant, {peak}", look)
    results = {
        "constant": Result(losses=trunk.losses, held_out=looks),
        "averaged": Result(losses=trunk.losses, held_out=[held_out_loss(averaged, task)]),
    }
    for label in labels:
        run = copy.deepcopy(branches[leaves[label]])
        follow(run, PATHS[label], peak, task.order, f"{label}, {peak}")
        results[label] = Result(losses=run.losses, held_out=[held_out_loss(run.model, task)])
    return results


def gap(a: Result, b: Result) -> float:
    """Held-out loss of a minus that of b."""
    return mean(a.held_out) - mean(b.held_out)


def parts(xs: Sequence[float], count: int) -> list[float]:
    """Means of count stretches of equal length, one after the other; of fewer if xs is short."""
    count = min(count, len(xs))
    cuts = [len(xs) * i // count for i in range(count + 1)]
    return [mean(xs[a:b]) for a, b in zip(cuts, cuts[1:])]


def strip(shares: Sequence[float]) -> str:
    """Each share of 1 as a mark of that height; empty at 0."""
    marks = blocks(" ▁▂▃▄▅▆▇█", " _.:-=+*#")
    return "".join(marks[round(8 * min(max(share, 0.0), 1.0))] for share in shares)


def moved(before: Model, after: Model) -> float:
    """|after - before| / |before|, all weights as one long vector."""
    pairs = list(zip(floats(weights_of(before)), floats(weights_of(after))))
    return math.sqrt(sum((b - a) ** 2 for a, b in pairs) / sum(a * a for a, _ in pairs))


def first_update(task: Task, path: Path) -> float:
    """How far the first step at the high peak moves the weights, as a share of their size."""
    run = new_run(task.start)
    update(run, task.order[0], HIGH * path(0, STEPS))
    return moved(task.start, run.model)


def show_paths(results: dict[str, Result]) -> None:
    """Every path, and how far below the constant run's its loss lies on the way."""
    below = {
        label: parts([c - x for c, x in zip(results["constant"].losses, results[label].losses)], 20)
        for label in PATHS
    }
    most = max(max(xs) for xs in below.values()) or 1.0
    print(f"\n{'':17}{'the path, to its peak of ' + str(HIGH):37}loss below constant's")
    for label, path in PATHS.items():
        course = strip(parts([path(step, STEPS) for step in range(STEPS)], 30))
        print(f"  {label:14} |{course}|    |{strip([x / most for x in below[label]])}|")
    print(f"""  From the first step to the last. Right: training loss, on the same names;
  blank where it is not below, a full mark is {most:.2f} nats.""")


def show_tenths(results: dict[str, Result]) -> None:
    tenths = {label: parts(results[label].losses, 10) for label in PATHS}
    print(f"\n{'':8}constant   minus the constant run's, on the same names")
    print("   steps    loss", end="")
    print("".join(f"{label:>{max(8, len(label) + 2)}}" for label in list(PATHS)[1:]))
    for i, base in enumerate(tenths["constant"]):
        print(f"  {STEPS * (i + 1) // 10:6}{base:8.3f}", end="")
        for label in list(PATHS)[1:]:
            print(f"{tenths[label][i] - base:{max(8, len(label) + 2)}.3f}", end="")
        print()


def show_losses(high: dict[str, Result], low: dict[str, Result]) -> None:
    print("\nheld-out loss, nats per token")
    print(f"{'':17}peak {HIGH}  - constant   peak {LOW}  - constant")
    for label, r in high.items():
        print(f"  {label:15}{mean(r.held_out):9.3f}{gap(r, high['constant']):12.3f}", end="")
        if label in low:
            change = gap(low[label], low["constant"])
            print(f"{mean(low[label].held_out):12.3f}{change:12.3f}", end="")
        print()
    looks = " ".join(f"{x:.2f}" for x in high["constant"].held_out)
    print(f"  constant  the mean of {LOOKS} looks in its last {LAST:.0%}; ", end="")
    print(f"at the peak of {HIGH} these are\n{'':12}{looks}")
    print("  averaged  one model, the mean of the constant run's weights over its last", end="")
    print(f""" {AVERAGED:.0%}
  Of step, linear and cosine none is better: their means over seeds differ by
  less than 0.01, and those of single runs by more.""")


def show_warmup(task: Task, high: dict[str, Result]) -> None:
    cold, warm = (first_update(task, PATHS[label]) for label in ("linear", "warmup, linear"))
    change = gap(high["warmup, linear"], high["linear"])
    than = "lower" if change < 0.0 else "higher"
    print(f"""
warmup: the first update is {cold:.1%} of the weights' size, and with warmup {warm:.1%}
  Adam's first update is the rate times the gradient's sign: every weight that
  has a gradient moves by the whole rate. This model survives that: with warmup
  its final loss is {abs(change):.3f} {than}; the mean over seeds differs by under 0.01.
  Warmup is known to matter where such a step cannot be undone: norms after the
  residual sum (post-norm), moments without bias correction, large models.""")


def forgiveness(high: dict[str, Result], low: dict[str, Result]) -> float:
    """What the high peak costs the constant rate, minus what it costs linear decay."""
    return gap(high["constant"], low["constant"]) - gap(high["linear"], low["linear"])


def best(label: str, *peaks: dict[str, Result]) -> Result:
    """The result at the peak that suits this path best."""
    return min((results[label] for results in peaks), key=lambda r: mean(r.held_out))


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    task = make_task(seed, names)
    high = compare(task, HIGH, [label for label in PATHS if label != "constant"])
    low = compare(task, LOW, ["linear"])
    show_paths(high)
    show_tenths(high)
    show_losses(high, low)
    show_warmup(task, high)
    # Every path against the constant rate at the same peak; then each at the peak that suits it.
    control, rival = high["constant"], best("constant", high, low)
    best_linear, best_average = best("linear", high, low), best("averaged", high, low)
    return check_claims(
        [
            ("step decay minus constant", gap(high["step"], control), "<=", -0.02),
            ("linear decay minus constant", gap(high["linear"], control), "<=", -0.02),
            ("cosine decay minus constant", gap(high["cosine"], control), "<=", -0.02),
            ("WSD minus constant", gap(high["WSD"], control), "<=", -0.01),
            ("averaged minus constant", gap(high["averaged"], control), "<=", -0.03),
            ("at best peaks, linear minus constant", gap(best_linear, rival), "<=", 0.0),
            ("at best peaks, averaged minus constant", gap(best_average, rival), "<=", 0.0),
            ("price of the high peak, constant minus linear", forgiveness(high, low), ">=", 0.01),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "What does the learning rate's path buy?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1e-6, INIT_STD=INIT_STD)
    at_least(10, STEPS=STEPS)
    at_least(1, HELD_OUT_NAMES=HELD_OUT_NAMES, LOOKS=LOOKS)
    at_least(0.0, HIGH=HIGH, LOW=LOW, GAMMA=GAMMA, WARMUP=WARMUP)
    at_least(0.01, DECAY=DECAY, AVERAGED=AVERAGED, LAST=LAST)
    for drop in DROPS:
        at_least(0.0, drop=drop)
    shares = {"DECAY": DECAY, "WARMUP": WARMUP, "AVERAGED": AVERAGED, "LAST": LAST}
    for name, share in shares.items():
        if share > 1.0:
            fail(f"{name} = {share}: a share of the steps is at most 1")
    if LOW >= HIGH:
        fail(f"LOW = {LOW} is not below HIGH = {HIGH}")


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
