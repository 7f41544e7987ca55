"""micromoe: how does sparse routing add capacity without adding compute?

A mixture of experts (MoE; Shazeer et al. 2017, arXiv:1701.06538; Switch Transformer, Fedus et al.
2021, arXiv:2101.03961; Mixtral, Jiang et al. 2024, arXiv:2401.04088) replaces a transformer's MLP
by many of them, the experts, and a router that sends each token to a few. The model
holds the parameters of all experts; a token costs only the few it is sent to.

What runs: a tiny GPT learns a code book by heart: secret codes, each a substitution of letters. It
reads a tag, which names the code, and a letter, and answers with what stands for it in that code.
Every fact is taught, and every fact is asked: this is memory, and nothing is held out. The MLP is
the only difference between four models: a mixture of experts with a balance loss, one without, a
dense MLP of the mixture's work, and a dense MLP of its size.

What to look for: how many more facts the mixture knows, after as many steps, than the dense MLP
that does the same work; that it keeps up with the dense MLP of its size, which does seven times the
work; that without the balance loss some expert gets next to nothing to do, and how much the mixture
knows is then a matter of luck: it may be less than the dense MLP of equal work knows.

Use it when memory is cheaper than compute, and there is much to know. Use a dense model when it
must be small, or when a simple training run is worth more than cheap capacity.

Two kinds of numbers learn here. The experts, the bulk of a real mixture, are plain lists of floats
with gradients derived by hand. All else, the router above all, is made of Values, the autograd
scalars of section 3. Section 6 builds the bridge between the two.

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
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from operator import mul
from typing import Any, NamedTuple, NoReturn, Union

# 1. THESIS: the docstring above.  2. SETTINGS ====================================================

N_EMBD = 8  # width d
N_HEAD = 2  # attention heads, of 4 dimensions each
N_LAYER = 1  # blocks
BLOCK_SIZE = 2  # context in tokens: a tag and a letter
INIT_STD = 0.3  # of all initial weights except the experts' and the router's

CODES = 14  # secret codes, each a permutation of the alphabet: 14 x 26 facts to know
LETTERS = 5  # letters of each code that are asked for in a step
STEPS = 200  # the same for every model

EXPERTS = 16  # in every layer
TOP_K = 2  # experts for each token
EXPERT_WIDTH = 32  # hidden units of an expert; with few, the router would be much of the work
ROUTER_STD = 0.6  # of its initial weights: louder, so that experts begin to differ at once
BALANCE = 0.4  # weight of the balance loss; Switch has 0.01, and many more than 200 steps
LR = 0.06  # the mixtures' peak learning rate (Adam); as the next two, from a grid (docs/results)
DENSE_LR = 0.06  # of the dense MLP of equal work
BIG_LR = 0.05  # of the dense MLP of equal size


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


# 6. THE ALGORITHM: A MIXTURE OF EXPERTS ===========================================================
#
# For a token's vector x (Shazeer et al. 2017; Mixtral, section 2.1):
#
#     p = softmax(W_router x)                       the router's chances, one for each expert
#     w_i = p_i / (sum of p over those chosen)      for the TOP_K experts of the highest p
#     y = sum_i w_i expert_i(x)                     over those chosen
#
# The choice itself has no derivative. The router learns through the weights w_i: an expert that
# helps more than its fellow gets a larger share. (With TOP_K = 1, w would be 1 and teach nothing;
# Switch uses w = p.) The experts that were not chosen are neither computed nor trained on this
# token: that is what "sparse" means. Nor does the router learn about them: only the balance loss,
# below, brings back an expert that is never chosen.


def top_k(chances: Vector) -> tuple[list[int], list[Any]]:
    """(indices of the TOP_K highest chances, highest first; their renormalized weights)."""
    numbers = floats(chances)
    chosen = sorted(range(len(numbers)), key=lambda i: -numbers[i])[:TOP_K]
    norm = total([chances[i] for i in chosen])
    return chosen, [chances[i] / norm for i in chosen]


# 6a. THE EXPERTS, in floats. An expert is an MLP, and a sum over its hidden units: unit j reads x
# with u_j, a row of W1, and writes v_j, a column of W2. With g = dL/dy the chain rule gives:
#
#     forward     a_j = u_j . x        h_j = relu(a_j)        y = sum_j h_j v_j
#     backward    da_j = v_j . g       where h_j > 0, else 0            (da_j is dL/da_j)
#                 dL/dv_j = h_j g      dL/du_j = da_j x       dL/dx = sum_j da_j u_j
#
# What is switched off, h_j = 0, drops out of every sum, and is left out.


class Expert(NamedTuple):
    """Weights of the hidden units, each width x d, and a gradient for each of them."""

    u: list[list[float]]
    v: list[list[float]]
    u_grad: list[list[float]]
    v_grad: list[list[float]]


def new_expert(width: int, rng: random.Random) -> Expert:
    """u is drawn from N(0, 1/d), v from N(0, 1/width): whatever the width, a_j and y are then about
    as large as x."""
    sizes = (N_EMBD**-0.5, width**-0.5)
    u, v = ([[rng.gauss(0.0, s) for _ in range(N_EMBD)] for _ in range(width)] for s in sizes)
    u_grad, v_grad = ([[0.0] * N_EMBD for _ in range(width)] for _ in range(2))
    return Expert(u=u, v=v, u_grad=u_grad, v_grad=v_grad)


def weighted_sum(weights: Sequence[float], rows: Sequence[Sequence[float]]) -> list[float]:
    """sum_j weight_j row_j, of N_EMBD numbers, even if there is no row."""
    return [sum(map(mul, weights, column)) for column in zip(*rows)] or [0.0] * N_EMBD


def expert_forward(expert: Expert, x: Sequence[float]) -> tuple[list[float], list[float]]:
    """(h, y) for an input x."""
    h = [relu(a) for a in linear(expert.u, x)]
    return h, weighted_sum(list(filter(None, h)), list(compress(expert.v, h)))


def expert_backward(
    expert: Expert, x: Sequence[float], h: Sequence[float], g: Sequence[float]
) -> list[float]:
    """Add dL/du and dL/dv to the expert's gradients, and return dL/dx."""
    slopes, rows = [], []
    for h_j, u, v, u_grad, v_grad in zip(h, *expert):
        if h_j:
            da = sum(map(mul, v, g))
            v_grad[:] = [old + h_j * g_i for old, g_i in zip(v_grad, g)]
            u_grad[:] = [old + da * x_i for old, x_i in zip(u_grad, x)]
            slopes.append(da)
            rows.append(u)
    return weighted_sum(slopes, rows)


# 6b. THE BRIDGE between floats and Values: how a gradient written by hand takes part in autograd,
# as in torch.autograd.Function. Each call of an expert is a node between its input and its outputs
# (gradients flow along the arrows):
#
#     x_1 .. x_d  <--  Bridge  <--  y_1 .. y_d  <--  the rest of the graph
#
# expert_backward() needs all dL/dy_i at once, but a node holds one gradient only. So each y_i
# leaves its own in a slot of the Bridge's inbox. backward() visits a node after all that was
# computed from it, the Bridge after every y_i: then push() turns the inbox into dL/dx, added to
# what x gets from the router and from the other experts. The gradients are exact, those that the
# expert would have if it were made of Values.


class Bridge(Value):
    """An expert at work on one token. Its push() is the expert's backward pass."""

    __slots__ = ("expert", "hidden", "inbox")

    def __init__(self, expert: Expert, x: Sequence[Value], hidden: list[float]):
        super().__init__(0.0, x)
        self.expert, self.hidden = expert, hidden
        self.inbox = [Value(0.0) for _ in x]  # one slot for each y_i

    def push(self) -> None:
        g = [slot.grad for slot in self.inbox]
        x_grads = expert_backward(self.expert, floats(self.children), self.hidden, g)
        for x, x_grad in zip(self.children, x_grads):
            x.grad += x_grad
        for slot in self.inbox:
            slot.grad = 0.0


def ask(expert: Expert, x: Vector) -> list[Any]:
    """expert(x): Values for Values, through a bridge, and floats for floats."""
    hidden, y = expert_forward(expert, floats(x))
    if not learns(x):
        return y
    bridge = Bridge(expert, x, hidden)
    # y_i has two children: the bridge (derivative 0, to set the order) and its slot (derivative 1)
    return [Value(y_i, (bridge, slot), (0.0, 1.0)) for y_i, slot in zip(y, bridge.inbox)]


# 6c. THE BALANCE LOSS (Switch Transformer, equation 4). A router that happens to favour an expert
# trains it more, and so favours it more: the rich get richer. Over the tokens of a batch, let f_i
# be the share of all choices that fell on expert i, P_i its mean chance, and E = EXPERTS:
#
#     B = E sum_i f_i P_i         training minimizes the cross-entropy + BALANCE B
#
# B is 1 if all f_i are equal, and E / TOP_K if TOP_K experts have all choices and all chances. f_i
# is a count, without a derivative; dB/dP_i is E f_i: the more often chosen, the harder pushed down.
# An expert that is never chosen is not pushed, and what the others lose the softmax gives to it.


class Route(NamedTuple):
    """What the router made of one token."""

    chances: Vector
    chosen: list[int]  # experts, the likeliest first


def choice_shares(routes: Sequence[Route]) -> list[float]:
    """f_i: the share of each expert in all choices; sums to 1."""
    counts = Counter(i for route in routes for i in route.chosen)
    return [counts[i] / counts.total() for i in range(len(routes[0].chances))]


def balance_loss(routes: Sequence[Route]) -> Any:
    """E sum_i f_i P_i, a Value if the chances are."""
    columns = zip(*(route.chances for route in routes))
    mean_chances = [total(column) / len(routes) for column in columns]
    return dot(choice_shares(routes), mean_chances) * len(mean_chances)


class Mixture:
    """The experts of a model, layer by layer; and, kept beside them, what its router chose."""

    def __init__(self, experts: list[list[Expert]]):
        self.experts = experts
        self.routes: list[list[Route]] = [[] for _ in experts]  # by layer, in order of the tokens

    def mlp(self, model: Model, layer: int, x: Vector) -> list[Any]:
        """What gpt() runs in the place of section 4's mlp(). One expert alone is a dense MLP: there
        is nothing to choose, and no router."""
        experts = self.experts[layer]
        if len(experts) == 1:
            return ask(experts[0], x)
        chances = softmax(linear(model[f"{layer}.router"], x))
        chosen, weights = top_k(chances)
        self.routes[layer].append(Route(chances=chances, chosen=chosen))
        outputs = [ask(experts[i], x) for i in chosen]  # expert_i(x)
        return [dot(weights, column) for column in zip(*outputs)]


def new_model(
    vocabulary: int, count: int, width: int, rng: random.Random
) -> tuple[Model, list[list[Expert]]]:
    """(a GPT of Values without its MLP, its experts by layer): count of them, of that width."""
    model, experts = init_model(vocabulary, rng), []
    for layer in range(N_LAYER):
        del model[f"{layer}.w1"], model[f"{layer}.w2"]  # this MLP makes way for the experts
        if count > 1:
            rows = ([rng.gauss(0.0, ROUTER_STD) for _ in range(N_EMBD)] for _ in range(count))
            model[f"{layer}.router"] = list(rows)
        experts.append([new_expert(width, rng) for _ in range(count)])
    return unfreeze(model), experts


def arrays_of(experts: list[list[Expert]]) -> list[tuple[list[float], list[float]]]:
    """All rows of the experts, each with its gradient, as Adam takes them."""
    every = [expert for layer in experts for expert in layer]
    return [pair for e in every for pair in zip(e.u + e.v, e.u_grad + e.v_grad)]


# 7. EXPERIMENT ====================================================================================
#
# The task: a tag, A, B, C, ..., names one of the codes; what stands for a letter in it? Attention
# brings the tag to the letter. What the letter is in that code, one of hundreds of facts, is for
# the MLP to know: here the number of its parameters matters.


class Task(NamedTuple):
    """The code book."""

    alphabet: list[str]  # letters, then tags
    codes: dict[str, dict[str, str]]  # tag to letter to code letter


class Row(NamedTuple):
    """A model to train."""

    label: str
    experts: int  # 1 is a dense MLP
    width: int  # hidden units of each
    balance: float  # weight of the balance loss
    lr: float


class Survey(NamedTuple):
    """What a model makes of all facts."""

    losses: list[float]  # nats
    known: int  # facts whose likeliest answer is right
    shares: list[list[float]]  # by layer: f_i, if there is a router
    balance: float  # the balance loss, mean over the layers
    choices: list[tuple[int, str, str, int]]  # (layer, tag, letter, expert)


class Result(NamedTuple):
    """What became of a row."""

    row: Row
    model: Model  # frozen
    experts: list[list[Expert]]
    parameters: int
    active: int  # those that a token uses
    work: int  # multiply-adds of the MLPs for a token, router included
    surveys: list[Survey]  # the last at the end; with a router, ten more on the way


def new_task(letters: list[str], rng: random.Random) -> Task:
    free = (chr(code) for code in range(ord("A"), sys.maxunicode))  # names are in lower case
    tags = [tag for tag, _ in zip((c for c in free if c not in letters), range(CODES))]
    codes = {tag: dict(zip(letters, rng.sample(letters, len(letters)))) for tag in tags}
    return Task(alphabet=["", *letters, *tags], codes=codes)


def code_logits(
    model: Model, mixture: Mixture, task: Task, tag: str, letters: Sequence[str]
) -> list[list[Any]]:
    """For each letter, the logits of what stands for it in the tag's code. The tag is read once;
    every letter goes on from there, with a cache of its own. (The tag is routed, too. Nothing reads
    what the last layer's experts make of it, but it counts in the balance.)"""
    tag_token, *tokens = encode(tag + "".join(letters), task.alphabet)[1:-1]  # without EDGE
    cache = new_cache()
    gpt(model, tag_token, cache, mixture.mlp)
    copies = ([(keys[:], values[:]) for keys, values in cache] for _ in tokens)
    return [gpt(model, token, own, mixture.mlp) for token, own in zip(tokens, copies)]


def code_losses(
    model: Model, mixture: Mixture, task: Task, tag: str, letters: Sequence[str]
) -> list[Any]:
    """For each letter, -log p(what stands for it), in nats."""
    targets = [task.alphabet.index(task.codes[tag][letter]) for letter in letters]
    return list(map(cross_entropy, code_logits(model, mixture, task, tag, letters), targets))


def questions(
    model: Model, experts: list[list[Expert]], task: Task, weight: float, rng: random.Random
) -> Callable[[], float]:
    """A learn() for train(): the mean loss of LETTERS letters in every code, dealt from a shuffled
    deck of them, and the balance loss, if it has a weight. All of it is one graph: the balance loss
    belongs to the whole batch."""
    decks: dict[str, list[str]] = {tag: [] for tag in task.codes}

    def learn() -> float:
        mixture = Mixture(experts)
        losses = []
        for tag, deck in decks.items():
            if len(deck) < LETTERS:
                deck += rng.sample(sorted(task.codes[tag]), len(task.codes[tag]))
            asked, decks[tag] = deck[:LETTERS], deck[LETTERS:]
            losses += code_losses(model, mixture, task, tag, asked)
        loss = total(losses) / len(losses)
        goal = loss
        if weight:
            balances = [balance_loss(routes) for routes in mixture.routes]
            goal = loss + total(balances) * (weight / len(balances))
        goal.backward()
        return loss.data

    return learn


def survey(model: Model, experts: list[list[Expert]], task: Task) -> Survey:
    """Ask a model of floats for every fact."""
    mixture, losses, known, choices = Mixture(experts), [], 0, []
    for tag, code in task.codes.items():
        targets = [task.alphabet.index(answer) for answer in code.values()]
        for target, logits in zip(targets, code_logits(model, mixture, task, tag, list(code))):
            losses.append(cross_entropy(logits, target))
            known += logits.index(max(logits)) == target
        for layer, routes in enumerate(mixture.routes):
            of_letters = routes[-len(code) :]
            choices += [
                (layer, tag, letter, i) for letter, r in zip(code, of_letters) for i in r.chosen
            ]
    routed = [routes for routes in mixture.routes if routes]
    return Survey(
        losses=losses,
        known=known,
        shares=[choice_shares(routes) for routes in routed],
        balance=sum(map(balance_loss, routed)) / (len(routed) or 1),
        choices=choices,
    )


def fit(task: Task, row: Row, seed: int) -> Result:
    """Train one model. All see the same questions in the same order."""
    rng = random.Random(seed)
    model, experts = new_model(len(task.alphabet), row.experts, row.width, rng)
    values, arrays = weights_of(model), arrays_of(experts)
    surveys = []

    def look(step: int) -> None:
        if step == STEPS or (row.experts > 1 and step % max(1, STEPS // 9) == 0):
            surveys.append(survey(freeze(model), experts, task))

    learn = questions(model, experts, task, row.balance, random.Random(seed))
    train(row.label, learn, Adam(values, arrays), STEPS, row.lr, look)
    in_experts = sum(len(weights) for weights, _ in arrays)
    met = in_experts * min(TOP_K, row.experts) // row.experts  # weights that one token meets
    router = N_LAYER * N_EMBD * row.experts if row.experts > 1 else 0
    return Result(
        row=row,
        model=freeze(model),
        experts=experts,
        parameters=len(values) + in_experts,
        active=len(values) + met,
        work=router + met,
        surveys=surveys,
    )


def mean_of(xs: Sequence[float]) -> float:
    return sum(xs) / len(xs)


def least_used(result: Result) -> float:
    """The share of the least used expert of any layer, a fair share being 1."""
    return min(min(shares) for shares in result.surveys[-1].shares) * EXPERTS


def show_results(results: Sequence[Result], facts: int) -> None:
    print(f"\n{'':20}params active   work   loss  known  least..most used dead")
    for r in results:
        end = r.surveys[-1]
        print(f"  {r.row.label:17}{r.parameters:7}{r.active:7}{r.work:7}", end="")
        print(f"{mean_of(end.losses):7.3f}{end.known:7}", end="")
        if end.shares:
            used = [share for shares in end.shares for share in shares]
            dead = sum(share < 0.1 / EXPERTS for share in used)
            print(f"{min(used):9.1%} .. {max(used):5.1%}{dead:5}", end="")
        print()
    print(f"""  active  parameters that a token uses
  work    multiply-adds of the MLP for a token, router included
  loss    over all facts, in nats
  known   of the {facts} facts, those whose likeliest answer is right
  used    shares of the choices; a fair share is {1 / EXPERTS:.2%}, dead is below its tenth""")


def shade(shares: Sequence[float]) -> str:
    """A strip of a heat map: darkest from 1 on."""
    marks = blocks(" ░▒▓█", " .:*#")
    return "".join(marks[min(4, int(4 * share))] for share in shares)


def show_work(balanced: Result, free: Result) -> None:
    for layer in range(N_LAYER):
        print(f"\nwho works in layer {layer}: shares of the choices, from the untrained router at")
        print("the left to the end, dark from twice the fair share")
        print("  expert   with the balance loss               without")
        for i in range(EXPERTS):
            print(f"  {i + 1:6}   ", end="")
            for r in (balanced, free):  # strips darkest at 2 fair shares, bars full at 3
                course = [s.shares[layer][i] for s in r.surveys]
                strip = shade([share * EXPERTS / 2 for share in course])
                print(f"{strip} {course[-1]:5.1%} {bar(course[-1] * EXPERTS / 3, 13):13}  ", end="")
            print()


def show_specialties(balanced: Result) -> None:
    """Which letters, of which codes, go to which expert."""
    for layer in range(N_LAYER):
        print(f"\nwho does what in layer {layer}: each expert's most frequent inputs")
        for i in range(EXPERTS):
            mine = [c for c in balanced.surveys[-1].choices if c[0] == layer and c[3] == i]
            print(f"  expert {i + 1:2}", end="")
            for title, part in (("letters", 2), ("codes", 1)):
                counts = Counter(choice[part] for choice in mine)
                top = " ".join(f"{x} {c / counts.total():.0%}" for x, c in counts.most_common(4))
                print(f"   {title} {top:24}", end="")
            print()


def show_writing(results: Sequence[Result], task: Task, names: list[str]) -> None:
    """Names that no model has seen, letter by letter in code."""
    print("\nnames in code, wrong letters in brackets")
    for tag, name in zip(task.codes, names):
        true = "".join(task.codes[tag][letter] for letter in name)
        print(f"  {name} in code {tag} is {true}")
        for r in results:
            said = ""
            logits = code_logits(r.model, Mixture(r.experts), task, tag, name)
            for letter, z in zip(name, logits):
                answer = task.alphabet[z.index(max(z))]
                said += answer if answer == task.codes[tag][letter] else f"({answer})"
            print(f"    {r.row.label:18} {said}")


def information(choices: Sequence[tuple[int, str, str, int]], part: int) -> float:
    """What the chosen expert tells of part 1, the code, or 2, the letter, in nats: the mutual
    information sum p(a, b) log(p(a, b) / (p(a) p(b)))."""
    inputs = Counter(choice[part] for choice in choices)
    experts = Counter((layer, expert) for layer, _, _, expert in choices)
    both = Counter((choice[part], choice[0], choice[3]) for choice in choices)
    return sum(
        c / len(choices) * math.log(c * len(choices) / (inputs[x] * experts[layer, expert]))
        for (x, layer, expert), c in both.items()
    )


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    rng = random.Random(seed)
    known_names = read_names(names, 50)  # of up to 50 letters, to be written in code
    _, *letters = alphabet_of(known_names)
    check_questions(letters)
    task = new_task(letters, rng)
    facts = CODES * len(letters)
    print(f"micromoe, seed {seed}: {CODES} codes of {len(letters)} letters, {facts} facts to know")

    # The width of a dense MLP of equal work: 2 d width = d EXPERTS + TOP_K 2 d EXPERT_WIDTH
    even, size = (EXPERTS + 2 * TOP_K * EXPERT_WIDTH) // 2, EXPERTS * EXPERT_WIDTH
    rows = [
        Row(label="MoE, balanced", experts=EXPERTS, width=EXPERT_WIDTH, balance=BALANCE, lr=LR),
        Row(label="MoE, unbalanced", experts=EXPERTS, width=EXPERT_WIDTH, balance=0.0, lr=LR),
        Row(label="dense, equal work", experts=1, width=even, balance=0.0, lr=DENSE_LR),
        Row(label="dense, equal size", experts=1, width=size, balance=0.0, lr=BIG_LR),
    ]
    results = [fit(task, row, seed) for row in rows]
    moe, free, lean, big = results
    show_results(results, facts)
    loss, loss_free, loss_lean, loss_big = (mean_of(r.surveys[-1].losses) for r in results)
    change = loss - loss_free
    print(f"  The balance loss {'cost' if change > 0 else 'gained'} {abs(change):.3f} nats here.")
    show_work(moe, free)
    show_specialties(moe)
    show_writing([moe, lean], task, rng.sample(known_names, 3))

    print("\nwhat the chosen experts tell of their input, in nats (and before the training);")
    print(f"a choice among {EXPERTS} experts can tell {math.log(EXPERTS):.2f} at most")
    told = {}
    for label, part in (("code", 1), ("letter", 2)):
        first, last = (information(moe.surveys[i].choices, part) for i in (0, -1))
        told[label] = last - first
        print(f"  of the {label:7} {last:.2f} ({first:.2f})")
    more = moe.surveys[-1].known - lean.surveys[-1].known
    return check_claims(
        [
            ("loss, share of that of dense, equal work", loss / loss_lean, "<=", 0.75),
            ("facts known above dense, equal work", more, ">=", 20),
            ("loss, share of that of dense, equal size", loss / loss_big, "<=", 2.0),
            ("unbalanced: least used expert, fair shares", least_used(free), "<=", 0.1),
            ("balanced: least used expert, fair shares", least_used(moe), ">=", 0.25),
            ("told of the code, above the untrained router's", told["code"], ">=", 0.01),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "How does sparse routing add capacity without adding compute?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, CODES=CODES, LETTERS=LETTERS, STEPS=STEPS, EXPERT_WIDTH=EXPERT_WIDTH)
    at_least(2, EXPERTS=EXPERTS)
    at_least(1, TOP_K=TOP_K)
    at_least(0.0, BALANCE=BALANCE, ROUTER_STD=ROUTER_STD, LR=LR, DENSE_LR=DENSE_LR, BIG_LR=BIG_LR)
    if EXPERTS < TOP_K:
        fail(f"TOP_K = {TOP_K} is more than EXPERTS = {EXPERTS}")
    if CODES > 1000:
        fail(f"CODES = {CODES}: 1,000 is the most, each needs a tag of its own")


def check_questions(letters: list[str]) -> None:
    if len(letters) < LETTERS:
        fail(f"LETTERS = {LETTERS}: the names have only {len(letters)} letters to ask for")


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
