"""microbatchnorm: how does a deep network become trainable?

Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167) is a layer that has no task of its
own. In training it gives every unit of a deep network, over the examples of the batch, a mean of 0
and a variance of 1, and then a gain and a shift, which are learnt. This couples the examples: what
the network says of one depends on its company. In use, running averages of the means and variances
stand in for those of a batch.

What runs: a narrow ReLU network, six layers deep, reads three letters of a name and says which
letter comes next. It learns by plain gradient descent, with and without batch normalization. Two
controls could explain what the layer does. Kaiming initialization (He et al. 2015,
arXiv:1502.01852) keeps the signal's size through a deep network by well-chosen first weights alone.
Noisy batch normalization (Santurkar et al. 2018, arXiv:1805.11604) tests the paper's own reason,
that the layer steadies the inputs of those above it ("reducing internal covariate shift"): it moves
every unit's mean and variance at random in every step.

What to look for: that in the plain network the signal fades on its way up, and all it learns is how
frequent the letters are. That with batch normalization the same first weights learn, at a rate at
which Kaiming's break down without it. At a rate of their own, Kaiming's come close. And that with
noisy batch normalization the inputs are the least steady of all, and the network learns: the layer
works, but not for the reason that the paper gave.

Use it in deep networks with large batches, as in vision. Use a norm of each example by itself
(RMSNorm, as in the GPTs of the other scripts) for text, for small batches, or wherever an answer
must not depend on its company.

Read from top to bottom. If you know another script: what is marked "(shared)" in sections 3 to 5 is
the same text. The appendix holds names and manners, and needs no reading.
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

CONTEXT = 3  # letters that the network reads
N_EMBD = 8  # numbers for each of them
LAYERS = 6  # deep enough for the signal to fade
WIDTH = 12  # units of a layer
INIT_STD = 0.08  # of the initial weights, as in the other scripts; Kaiming's is 0.41 here
HELD_OUT_NAMES = 140  # a quarter of them, to score on

BATCH = 32  # examples per step; with 16, mean and variance are so noisy that it learns less
STEPS = 160  # the same for every network
LR = 3.0  # peak rate of gradient descent; the plain network stalls at 0.5, 1 and 2 as well
KAIMING_LR = 0.5  # the best of a grid for the plain network with Kaiming initialization

EPS = 1e-5  # added to the variance, as in PyTorch
MOMENTUM = 0.1  # weight of the newest batch in the running statistics, as in PyTorch
NOISE = 0.4  # noisy batch norm: a unit's outputs times 1 +- 0.4 and plus 0 +- 0.4
PROBE = 64  # examples on which activations are looked at


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


# --- the deep network -----------------------------------------------------------------------------

# Three tokens in a row, each as its embedding, go up a stack of equal layers, and the logits of the
# token that follows come out (the model of Bengio et al. 2003, made deep and narrow):
#
#     h_0 = the embeddings, one after the other
#     h_l = relu(z_l)     z_l = W_l h_(l-1) + b_l        for each layer l; or
#                         z_l = norm(W_l h_(l-1))        with batch normalization, section 6
#     logits = W h_last + b
#
# A whole batch goes up layer by layer, because batch normalization needs it all at once.

Rows = list[list[Any]]  # one vector for each example


class Example(NamedTuple):
    """What is read, and what is to be said."""

    context: list[int]  # CONTEXT tokens
    target: int  # the token that follows


def examples_of(names: Sequence[str], alphabet: list[str]) -> list[Example]:
    """Every letter of every name, and its end, after the CONTEXT tokens before it."""
    found = []
    for name in names:
        tokens = [EDGE] * (CONTEXT - 1) + encode(name, alphabet)
        for end in range(CONTEXT, len(tokens)):
            found.append(Example(context=tokens[end - CONTEXT : end], target=tokens[end]))
    return found


def new_network(vocabulary: int, kaiming: bool, rng: random.Random) -> Model:
    """A new network, in floats. Embeddings are drawn from N(0, 1), weights from N(0, INIT_STD^2),
    with kaiming from N(0, 2 / inputs): relu halves the mean square, and the 2 makes up for it."""
    model = {"wte": [[rng.gauss(0.0, 1.0) for _ in range(N_EMBD)] for _ in range(vocabulary)]}
    for layer in range(LAYERS):
        inputs = WIDTH if layer else CONTEXT * N_EMBD
        std = math.sqrt(2.0 / inputs) if kaiming else INIT_STD
        model[f"{layer}.w"] = [[rng.gauss(0.0, std) for _ in range(inputs)] for _ in range(WIDTH)]
        model[f"{layer}.gain"] = [[1.0] * WIDTH]  # of batch normalization; else unused
        model[f"{layer}.bias"] = [[0.0] * WIDTH]  # its shift, or the bias of a plain layer
    model["head"] = new_matrix(vocabulary, WIDTH, rng)
    model["head.bias"] = [[0.0] * vocabulary]
    return model


def forward(
    model: Model, contexts: Sequence[Sequence[int]], norm: Any = None, seen: Any = None
) -> Rows:
    """The logits for every example of a batch. norm is a BatchNorm, or None for a plain network;
    seen, a list, is given z_1, z_2, ... on the way."""
    batch = [[x for token in context for x in model["wte"][token]] for context in contexts]
    for layer in range(LAYERS):
        rows = [linear(model[f"{layer}.w"], h) for h in batch]
        if norm:
            rows = norm(model, layer, rows)
        else:
            rows = [add(row, model[f"{layer}.bias"][0]) for row in rows]
        if seen is not None:
            seen.append(rows)
        batch = [[relu(z) for z in row] for row in rows]
    return [add(linear(model["head"], h), model["head.bias"][0]) for h in batch]


def losses_of(
    model: Model, examples: Sequence[Example], norm: Any = None, seen: Any = None
) -> list[Any]:
    """-log p(target | context) for every example of a batch, in nats."""
    logits = forward(model, [e.context for e in examples], norm, seen)
    return list(map(cross_entropy, logits, [e.target for e in examples]))


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


# --- gradient descent -----------------------------------------------------------------------------

# Adam divides every gradient by its own usual size, and so makes up for much of what a badly scaled
# network lacks. To see what the network itself needs, this script goes without it.


class SGD(Adam):
    """w = w - lr dL/dw, and nothing else. train() takes it in Adam's place."""

    def step(self, lr: float) -> None:
        for p in self.values:
            p.data -= lr * p.grad
            p.grad = 0.0


# 6. THE ALGORITHM: BATCH NORMALIZATION ============================================================
#
# One unit, one batch: x_1 .. x_n is what the unit has computed for the n examples (algorithm 1 of
# the paper; all means are over the batch):
#
#     m = mean(x)       v = mean((x - m)^2)       s = 1 / sqrt(v + EPS)
#     u_i = (x_i - m) s                           normalized: mean 0, variance 1
#     y_i = gain u_i + shift
#
# 6a. BACKWARD, on paper. Write g_i for dL/dy_i. Each x_j enters y in three places: in y_j itself,
# in m and in s.
#
#     dy_i/dx_i = gain s     dy_i/dm = -gain s     dy_i/ds = gain (x_i - m)     m and s held fixed
#     dy_i/dgain = u_i       dy_i/dshift = 1
#     dm/dx_j = 1/n
#     ds/dx_j = -s^3/2 dv/dx_j = -s^3 (x_j - m) / n     (dv/dx_j = 2 (x_j - m) / n; what x_j does to
#                                                       v by way of m sums to zero)
#
# batch_norm() is these lines: a node for m, a node for s, and one for each y_i. backward() adds up
# the three ways from L to x_j, and the sum is the formula that stands in every library:
#
#     dL/dx_j = gain s (g_j - mean(g) - u_j mean(g u))
#
# The gradient has lost its mean and its share along u: neither a shift nor a stretch of all x
# changes y. So neither does the length of w, the unit's weights: with 4 w, y stays, and the
# gradient with respect to w is a quarter (section 7 tries it). And as nothing changes along w, the
# gradient stands at a right angle to w, and every step makes w longer: too large a step makes the
# next ones small. That is why batch normalization bears rates at which others run away.


def moments(xs: Sequence[float]) -> tuple[float, float]:
    """(mean, variance); the variance is that of these numbers, divided by n."""
    mean = sum(xs) / len(xs)
    return mean, sum((x - mean) * (x - mean) for x in xs) / len(xs)


def batch_norm(column: Vector, gain: Any, shift: Any) -> list[Any]:
    """y_1 .. y_n for a column x_1 .. x_n: gain (x - mean) / sqrt(variance + EPS) + shift."""
    if not isinstance(gain, Value):
        return apply_norm(column, gain, shift, *moments(column))
    # linear() hands on a plain 0.0 for an example whose units below are all off
    column = [x if isinstance(x, Value) else Value(x) for x in column]
    n, data = len(column), floats(column)
    m, v = moments(data)
    s = (v + EPS) ** -0.5
    mean = Value(m, column, [1.0 / n] * n)
    scale = Value(s, column, [-(s**3) * (x - m) / n for x in data])
    k = gain.data
    ys = []
    for x, d in zip(column, (x - m for x in data)):
        slopes = (k * s, -k * s, k * d, d * s, 1.0)
        ys.append(Value(k * d * s + shift.data, (x, mean, scale, gain, shift), slopes))
    return ys


def apply_norm(xs: Vector, gain: Any, shift: Any, mean: float, variance: float) -> list[float]:
    """The same in floats, with a mean and a variance from anywhere."""
    s = (variance + EPS) ** -0.5
    return [gain * (x - mean) * s + shift for x in xs]


# 6b. THE LAYER. While it learns, it normalizes with the batch's own mean and variance. In use, a
# single example has no variance, and an answer should not depend on its company. So training leaves
# behind running statistics for every unit (the variance as an unbiased estimate, divided by n - 1):
#
#     running = (1 - MOMENTUM) running + MOMENTUM (the batch's)


class BatchNorm:
    """Batch normalization in all layers of a network. Gains and shifts are weights of the model;
    the running statistics are kept here, and used once training is set to False."""

    def __init__(self) -> None:
        self.training = True
        self.running = [[(0.0, 1.0)] * WIDTH for _ in range(LAYERS)]  # (mean, variance)

    def affine(self, model: Model, layer: int) -> tuple[Vector, Vector]:
        """(gains, shifts) of a layer."""
        return model[f"{layer}.gain"][0], model[f"{layer}.bias"][0]

    def __call__(self, model: Model, layer: int, rows: Rows) -> Rows:
        """The normalized batch. Running statistics move only while the weights learn."""
        gains, shifts = self.affine(model, layer)
        columns = []
        for j, (column, gain, shift) in enumerate(zip(zip(*rows), gains, shifts)):
            if self.training:
                columns.append(batch_norm(column, gain, shift))
                if learns(gains):
                    self.update(layer, j, column)
            else:
                columns.append(apply_norm(column, gain, shift, *self.running[layer][j]))
        return [list(row) for row in zip(*columns)]

    def update(self, layer: int, j: int, column: Vector) -> None:
        """Move the running statistics of a unit towards those of a batch."""
        n = len(column)
        mean, variance = moments([x.data if isinstance(x, Value) else x for x in column])
        new, old = (mean, variance * n / max(1, n - 1)), self.running[layer][j]
        moved = [(1.0 - MOMENTUM) * a + MOMENTUM * b for a, b in zip(old, new)]
        self.running[layer][j] = (moved[0], moved[1])


# 6c. THE PAPER'S REASON, put to the test. The paper holds that a layer learns badly because its
# inputs shift while the layers below learn, and that normalizing steadies them. Santurkar et al.
# (2018, section 2.1) unsettle them on purpose: after normalizing, every unit is multiplied by a and
# moved by b, which are drawn anew in every step. If steady inputs were the point, this would not
# learn. (Their noise also differs from example to example; here a unit has one a and b in a step.)
#
#     a (gain u + shift) + b = (a gain) u + (a shift + b)      so it is a noisy gain and shift
#
# They go on to explain the layer by a smoother loss. In a network as small as this one, with ReLU,
# that did not show, and nothing is claimed about it.


class NoisyBatchNorm(BatchNorm):
    """Batch normalization with noise while it trains, and none in use."""

    def __init__(self, rng: random.Random):
        super().__init__()
        self.rng = rng
        self.redraw()

    def redraw(self) -> None:
        def draw(middle: float) -> list[list[float]]:
            low, high = middle - NOISE, middle + NOISE
            return [[self.rng.uniform(low, high) for _ in range(WIDTH)] for _ in range(LAYERS)]

        self.a, self.b = draw(1.0), draw(0.0)

    def affine(self, model: Model, layer: int) -> tuple[Vector, Vector]:
        gains, shifts = super().affine(model, layer)
        if not self.training:
            return gains, shifts
        a, b = self.a[layer], self.b[layer]
        noisy = [s * a_j + b_j for s, a_j, b_j in zip(shifts, a, b)]
        return [g * a_j for g, a_j in zip(gains, a)], noisy


# 7. EXPERIMENT ====================================================================================
#
# The task: names, letter by letter, from the three letters before. A network that learns nothing
# from them can still learn how frequent each letter is: the mark to beat.


TOO_HIGH = 100.0  # nats; a network with such a loss has diverged


class Task(NamedTuple):
    """What is learnt, and what is asked."""

    vocabulary: int
    learnt: list[Example]  # both in random order
    held_out: list[Example]
    frequencies: float  # loss of the letter frequencies on them, in nats


class Row(NamedTuple):
    """A network to train."""

    label: str
    kaiming: bool
    norm: str  # "", "batch" or "noisy"
    lr: float


class Result(NamedTuple):
    """What became of a row."""

    row: Row
    model: Model  # frozen
    norm: BatchNorm | None  # in evaluation mode
    losses: list[float]  # of every training step, until the end or until it diverged
    loss: float  # on the held-out examples
    drift: float  # of a unit's input, in standard deviations a step; the median over ten looks


def new_task(names: Sequence[str], rng: random.Random) -> Task:
    known, held_out = split(names, rng, HELD_OUT_NAMES)
    alphabet = alphabet_of(names)
    parts = (examples_of(part, alphabet) for part in (known, held_out))
    learnt, asked = (rng.sample(part, len(part)) for part in parts)
    counts = [1] * len(alphabet)
    for example in learnt:
        counts[example.target] += 1
    surprise = [-math.log(count / sum(counts)) for count in counts]
    return Task(
        vocabulary=len(alphabet),
        learnt=learnt,
        held_out=asked,
        frequencies=mean_of([surprise[example.target] for example in asked]),
    )


def mean_of(xs: Sequence[float]) -> float:
    return sum(xs) / len(xs)


def median(xs: Sequence[float]) -> float:
    """The upper one of the two in the middle, if there are two."""
    return sorted(xs)[len(xs) // 2]


def new_norm(kind: str, rng: random.Random) -> BatchNorm | None:
    if kind == "noisy":
        return NoisyBatchNorm(rng)
    return BatchNorm() if kind else None


def fit(task: Task, row: Row, seed: int) -> Result:
    """Train one network. All see the same batches in the same order."""
    rng, noise = random.Random(seed), random.Random(seed)
    model = unfreeze(new_network(task.vocabulary, row.kaiming, rng))
    norm = new_norm(row.norm, noise)
    losses: list[float] = []
    drifts: list[float] = []
    before: list[Rows] = []

    def learn() -> float:
        if isinstance(norm, NoisyBatchNorm):
            norm.redraw()
        loss = total(losses_of(model, rng.choices(task.learnt, k=BATCH), norm)) / BATCH
        if not loss.data < TOO_HIGH:  # or not a number
            raise FloatingPointError
        losses.append(loss.data)
        loss.backward()
        return loss.data

    def look(step: int) -> None:
        """Every tenth of the way, how far one step moves the input of the middle layer's relu."""
        phase = step % max(2, STEPS // 10)
        if phase > 1:
            return
        seen: list[Rows] = []
        forward(freeze(model), [e.context for e in task.learnt[:PROBE]], norm, seen)
        if phase == 1:
            drifts.append(drift(before[-1], seen[LAYERS // 2]))
        before.append(seen[LAYERS // 2])

    try:
        train(row.label, learn, SGD(weights_of(model)), STEPS, row.lr, look)
    except FloatingPointError:
        note(f"{row.label:20} diverged at step {len(losses)}")
    if norm:
        norm.training = False
    frozen = freeze(model)
    loss = mean_of(losses_of(frozen, task.held_out, norm))
    return Result(
        row=row,
        model=frozen,
        norm=norm,
        losses=losses,
        loss=loss if loss < TOO_HIGH else math.inf,
        drift=median(drifts or [0.0]),
    )


# 7a. THE START: what a batch looks like on its way up, before any training. Where the signal fades,
# the output hardly depends on the letters, and the gradient is small everywhere. Kaiming's weights
# are the same numbers, only larger: they keep the signal's size, with examples just as alike. With
# batch normalization they differ more, in most networks though not in all.


class Level(NamedTuple):
    """A batch in one layer."""

    size: float  # root of the mean square of the activations
    alike: float
    gradient: float  # length of dL/dW


def alike(vectors: Sequence[Sequence[float]]) -> float:
    """|mean vector|^2 / mean of |vector|^2: 1 if all are the same, 0 if they cancel out."""
    n = len(vectors)
    centre = [sum(column) / n for column in zip(*vectors)]
    length = sum(dot(x, x) for x in vectors) / n
    return dot(centre, centre) / length if length else 1.0


def length_of(matrix: Matrix) -> float:
    return math.sqrt(sum(w.grad * w.grad for row in matrix for w in row))


def levels(model: Model, examples: Sequence[Example], norm: BatchNorm | None) -> list[Level]:
    """Layer by layer, for a model of Values."""
    seen: list[Rows] = []
    losses = losses_of(model, examples, norm, seen)
    (total(losses) / len(losses)).backward()
    found = []
    for layer, rows in enumerate(seen):
        active = [[relu(z) for z in floats(row)] for row in rows]
        square = mean_of([dot(h, h) for h in active]) / WIDTH
        gradient = length_of(model[f"{layer}.w"])
        found.append(Level(size=math.sqrt(square), alike=alike(active), gradient=gradient))
    return found


def show_start(task: Task, rows: Sequence[Row], seed: int) -> list[float]:
    """Returns, for every row, the size of the last layer's activations over that of the first's."""
    examples = task.learnt[:PROBE]
    columns = []
    for row in rows:
        model = new_network(task.vocabulary, row.kaiming, random.Random(seed))
        columns.append(levels(unfreeze(model), examples, new_norm(row.norm, random.Random(seed))))
    print(f"\n{len(examples)} examples on their way up, before any training")
    print(("       " + "".join(f"  {row.label:23}" for row in rows)).rstrip())
    print("  layer" + "     size alike gradient" * len(rows))
    for layer, level in enumerate(zip(*columns), 1):
        print(f"  {layer:5}", end="")
        print("".join(f"{x.size:9.0e}{x.alike:6.2f}{x.gradient:9.0e}" for x in level))
    print("""  size      root mean square of the activations
  alike     1 if all examples look the same, 0 if they cancel out
  gradient  length of the loss's gradient with respect to the layer's weights""")
    return [column[-1].size / (column[0].size or 1.0) for column in columns]


# 7b. THE WAY, and the end.


def drift(before: Rows, after: Rows) -> float:
    """By how many of its standard deviations a unit's mean has moved: the median over the units."""
    moves = []
    for old, new in zip(zip(*before), zip(*after)):
        mean, variance = moments(old)
        moves.append(abs(moments(new)[0] - mean) / math.sqrt(variance) if variance else 0.0)
    return median(moves)


def tenths(losses: Sequence[float]) -> list[float]:
    """The means of ten equal parts of training; of those that a network lived to see."""
    cuts = [STEPS * i // 10 for i in range(11)]
    parts = (losses[a:b] for a, b in zip(cuts, cuts[1:]))
    return [mean_of(part) for part in parts if part]


def show_results(results: Sequence[Result], task: Task) -> None:
    print("\ntraining loss in nats, means of tenths of the way")
    for r in results:
        print(f"  {r.row.label:22}" + "".join(f"{min(x, 9.99):5.2f}" for x in tenths(r.losses)))
    print(f"\n{'':24} rate   loss  drift  below letter frequencies")
    for r in results:
        print(f"  {r.row.label:22}{r.row.lr:5}", end="")
        if r.loss == math.inf:
            print(f"  diverged at step {len(r.losses)}")
            continue
        gain = task.frequencies - r.loss
        print(f"{r.loss:7.3f}{r.drift:7.3f}{gain:7.3f} {bar(gain / 0.3, 25)}".rstrip())
    print("""  loss   on held-out examples, with running statistics
  drift  of a middle unit's mean before relu, in its standard deviations a step""")


# 7c. WHAT THE LAYER DOES to weights, and to a batch.


def scaling(result: Result, task: Task, factor: float) -> tuple[float, float]:
    """(largest change of a logit, length of the gradient times what it was), if the weights of the
    middle layer are multiplied by factor; a batch, normalized with its own statistics."""
    batch, name = task.learnt[:BATCH], f"{LAYERS // 2}.w"
    logits, lengths = [], []
    for times in (1.0, factor):
        model = unfreeze(result.model)
        for row in model[name]:
            for w in row:
                w.data *= times
        norm = BatchNorm() if result.norm else None
        total(losses_of(model, batch, norm)).backward()
        lengths.append(length_of(model[name]))
        logits.append(forward(freeze(model), [e.context for e in batch], norm))
    gaps = [abs(a - b) for before, after in zip(*logits) for a, b in zip(before, after)]
    return max(gaps), lengths[1] / (lengths[0] or 1.0)


def show_scaling(normed: Result, careful: Result, task: Task) -> float:
    """Returns the largest change of a logit with batch normalization."""
    print(f"\nweights of layer {LAYERS // 2 + 1} times 4, after training")
    gaps = []
    for result in (normed, careful):
        gap, times = scaling(result, task, 4.0)
        print(f"  {result.row.label:15} largest change of a logit {gap:8.1e}, ", end="")
        print(f"gradient times {times:.4f}")
        gaps.append(gap)
    return gaps[0]


def batch_loss(result: Result, examples: Sequence[Example], size: int) -> float:
    """Mean loss if batches of this size are normalized with their own statistics."""
    found: list[float] = []
    for start in range(0, len(examples), size):
        found += losses_of(result.model, examples[start : start + size], BatchNorm())
    return mean_of(found)


def show_batches(result: Result, task: Task) -> float:
    """Returns what batches of one lose against running statistics."""
    print("\nheld-out loss of batch norm, with running statistics or with those of a batch")
    print(f"  running        {result.loss:6.3f}")
    loss = result.loss
    for size in (32, 8, 4, 2, 1):
        loss = batch_loss(result, task.held_out, size)
        print(f"  batches of {size:2}  {loss:6.3f} {bar((loss - result.loss) / 0.5, 40)}".rstrip())
    print("  In a batch of one every unit is its own mean: the answer is always the same.")
    return loss - result.loss


def at_worst(result: Result, task: Task) -> float:
    """Its loss; if it broke down, that of the letter frequencies, to the control's advantage."""
    return min(result.loss, task.frequencies)


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    task = new_task(read_names(names, 50), random.Random(seed))
    print(f"microbatchnorm, seed {seed}: {len(task.learnt)} examples to learn, ", end="")
    print(f"{len(task.held_out)} held out")
    print(f"letter frequencies alone: loss {task.frequencies:.3f} nats on those held out")

    rows = [
        Row(label="plain", kaiming=False, norm="", lr=LR),
        Row(label="plain, Kaiming", kaiming=True, norm="", lr=KAIMING_LR),
        Row(label="plain, Kaiming, fast", kaiming=True, norm="", lr=LR),
        Row(label="batch norm", kaiming=False, norm="batch", lr=LR),
        Row(label="noisy batch norm", kaiming=False, norm="noisy", lr=LR),
    ]
    left_plain, _, left_normed = show_start(task, [rows[0], rows[1], rows[3]], seed)
    results = [fit(task, row, seed) for row in rows]
    show_results(results, task)
    plain, careful, fast, normed, noisy = results
    gap = show_scaling(normed, careful, task)
    alone = show_batches(normed, task)
    learnt = task.frequencies - plain.loss
    return check_claims(
        [
            ("plain: last layer's size over the first's", left_plain, "<=", 0.05),
            ("batch norm: the same, before training", left_normed, ">=", 0.5),
            ("plain: loss below the letter frequencies'", learnt, "<=", 0.03),
            ("batch norm: loss below plain's", plain.loss - normed.loss, ">=", 0.04),
            ("below Kaiming's at the same rate", at_worst(fast, task) - normed.loss, ">=", 0.0),
            ("noisy batch norm: loss below plain's", plain.loss - noisy.loss, ">=", 0.03),
            ("noisy batch norm: drift above Kaiming's", noisy.drift - careful.drift, ">=", 0.02),
            ("weights times 4: largest change of a logit", gap, "<=", 1e-3),
            ("batches of one: loss above running statistics'", alone, ">=", 0.02),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "How does a deep network become trainable?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    at_least(1, CONTEXT=CONTEXT, N_EMBD=N_EMBD, LAYERS=LAYERS, WIDTH=WIDTH, STEPS=STEPS)
    at_least(1, HELD_OUT_NAMES=HELD_OUT_NAMES)
    at_least(2, BATCH=BATCH, PROBE=PROBE)
    at_least(0.0, INIT_STD=INIT_STD, LR=LR, KAIMING_LR=KAIMING_LR, NOISE=NOISE, MOMENTUM=MOMENTUM)
    at_least(1e-12, EPS=EPS)
    if MOMENTUM > 1.0:
        fail(f"MOMENTUM = {MOMENTUM}: give a share from 0 to 1")


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
