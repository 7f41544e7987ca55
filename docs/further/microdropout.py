"""microdropout: what keeps a network from learning its few examples by heart?

Whoever sees the same examples again and again remembers them, and a network is no better. Three
remedies, each a few lines: dropout switches hidden units off at random while the network learns
(Hinton et al. 2012, arXiv:1207.0580; Srivastava et al. 2014); weight decay pulls every weight
towards zero at every step, done right for Adam by AdamW (Loshchilov and Hutter 2019,
arXiv:1711.05101); early stopping watches names that the network does not learn from, and keeps the
copy that did best on them (Prechelt 1998).

What runs: a small network reads three letters of a name and guesses the next one (an MLP, after
Bengio et al. 2003). It has 1,848 weights and 50 names, and meets every letter of them some dozen
times: without a remedy, with dropout at two strengths, with weight decay; always from the same
start, with the same letters in the same order. Each is looked at on the way, so that stopping early
can be judged as well, by itself and on top of the others.

What to look for: the loss on other names turns up while the loss on the 50 names goes on falling.
Each remedy prevents that, but not equally well: dropout at its usual strength puts it off, decay
needs no stopping at all. Dropout alone does not beat stopping early, which costs nothing. And a
table that counts pairs of letters is about as good as the best: 50 names hold little more.

Use them where a network is large for its data and passes over them often, as in fine-tuning.
Large language models meet most of their text once, cannot learn it by heart, and are mostly
pretrained without dropout; weight decay stays.

Read from top to bottom. If you know another script: sections 3 and 5 are the same text, and 4 is up
to "the MLP"; go there, and on to section 6. The appendix holds names and manners, and needs no
reading.
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
N_EMBD = 8  # numbers that stand for a letter
HIDDEN = 32  # hidden units
INIT_STD = 0.08  # of the initial weights

LEARN_NAMES = 50  # few enough to be learnt by heart
VALIDATION_NAMES = 80  # they say when to stop
TEST_NAMES = 180  # everything is compared on them
STEPS = 600  # the same for every row
BATCH = 8  # letters in a step, each with those before it
LR = 0.01  # Adam's learning rate, the same in every step
LOOK_EVERY = 40  # steps from one look at the validation names to the next
PATIENCE = 4  # looks without a new best, after which early stopping ends

DROPOUT = 0.5  # share of the hidden units that are switched off: the paper's
MORE_DROPOUT = 0.8  # a share at which learning by heart nearly stops
DECAY = 1.0  # AdamW's lambda, the best of 0.3 to 2; every step takes LR * DECAY of each weight
MASKS = 30  # subnetworks whose chances are averaged
DRAWS = 2000  # masks, to see that dropout keeps the mean


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


# --- the MLP --------------------------------------------------------------------------------------

# A table of embeddings, a hidden layer, an output layer, no biases:
#
#     x = the embeddings of the last CONTEXT tokens, one after the other
#     h = relu(W1 x)            the hidden units
#     logits = W2 h             of the next token

Example = tuple[tuple[int, ...], int]  # (CONTEXT tokens, the token that follows)


def examples_of(names: Sequence[str], alphabet: list[str]) -> list[Example]:
    """Every letter of the names, and their ends, with the tokens before it."""
    examples = []
    for name in names:
        tokens = [EDGE] * (CONTEXT - 1) + encode(name, alphabet)
        for i in range(CONTEXT, len(tokens)):
            examples.append((tuple(tokens[i - CONTEXT : i]), tokens[i]))
    return examples


def new_mlp(vocabulary: int, rng: random.Random) -> Model:
    """A new network, in floats."""
    return {
        "wte": new_matrix(vocabulary, N_EMBD, rng),
        "w1": new_matrix(HIDDEN, CONTEXT * N_EMBD, rng),
        "w2": new_matrix(vocabulary, HIDDEN, rng),
    }


def hidden_units(model: Model, context: Sequence[int]) -> list[Any]:
    """h, shape (HIDDEN,)."""
    x = [number for token in context for number in model["wte"][token]]
    return [relu(h) for h in linear(model["w1"], x)]


def mlp(model: Model, context: Sequence[int], mask: Sequence[float] | None = None) -> list[Any]:
    """The logits of the next token, shape (vocabulary,); with a mask for the hidden units while the
    network learns with dropout (section 6a)."""
    h = hidden_units(model, context)
    return linear(model["w2"], dropout(h, mask) if mask else h)


def mean_loss(model: Model, examples: Sequence[Example]) -> float:
    """Mean cross-entropy per letter, in nats, no unit switched off. Give it a frozen model. (A
    context that occurs more than once, as the start of every name, is read once only.)"""
    answers = {context: mlp(model, context) for context, _ in examples}
    return mean([cross_entropy(answers[context], target) for context, target in examples])


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


# 6. THE ALGORITHM: THREE REMEDIES =================================================================

# 6a. DROPOUT. While the network learns, each hidden unit is switched off with probability p, anew
# for every example, and the units left on are scaled up:
#
#     m_i = 0 with probability p, else 1 / (1 - p)               the mask
#     y_i = m_i h_i           dL/dh_i = m_i dL/dy_i              forward, backward
#
# So E[m_i] = p 0 + (1 - p) / (1 - p) = 1, and E[y_i] = h_i: the next layer gets on average what it
# would get without dropout. That is why nothing at all has to be done when the network is used:
# all units are on, and none is scaled. ("Inverted" dropout; the paper scaled when using.)
#
# Why does it help? No unit can count on another one being there, so each has to be of use by
# itself. Or: every mask is another network, one of 2^HIDDEN that share their weights. Each step
# trains a few, and the network with all units on speaks for all of them: its logits are exactly the
# mean of theirs, as E[W2 y] = W2 h. (With more than one layer that is only nearly so.)


def new_mask(size: int, p: float, rng: random.Random) -> list[float]:
    """A 0 with probability p, else 1 / (1 - p), for each of so many units; 0 <= p < 1."""
    return [0.0 if rng.random() < p else 1.0 / (1.0 - p) for _ in range(size)]


def dropout(h: Vector, mask: Sequence[float]) -> list[Any]:
    """y_i = m_i h_i. What is switched off is a 0.0, a constant, as in relu(): linear() leaves it
    out, so dropped units cost nothing, and no gradient gets back through them."""
    return [h_i * m_i if m_i else 0.0 for h_i, m_i in zip(h, mask)]


def next_letter(
    model: Model, examples: Sequence[Example], p: float, seed: int
) -> Callable[[], float]:
    """One step's learning: adds up the gradients of BATCH random examples, returns their mean loss.

    The masks have a random generator of their own, so that every p sees the same examples. If a
    mask leaves no unit on, the logits are constants, all 0: a loss of ln V, and nothing to learn.
    """
    draw, switch = random.Random(seed), random.Random(seed + 1)

    def learn() -> float:
        losses: list[float] = []
        for context, target in draw.choices(examples, k=BATCH):
            mask = new_mask(HIDDEN, p, switch) if p else None
            loss = cross_entropy(mlp(model, context, mask), target)
            if learns([loss]):
                (loss / BATCH).backward()
            losses += floats([loss])
        return mean(losses)

    return learn


# 6b. WEIGHT DECAY. A network that knows its examples by heart is sure of them, and sure logits take
# large weights. So keep them small (Krogh and Hertz 1992). With plain gradient descent there are
# two ways to write it, and they are the same: add (lambda / 2) sum w^2 over all weights w to the
# loss, whose gradient is lambda w; or take lr lambda w from every weight in every step.
#
# With Adam they are not. Adam divides a gradient by its usual size, sqrt(v): lambda w in the
# gradient is divided, too, and a weight with large gradients, just the one that learns by heart,
# would be pulled back the least. AdamW keeps the decay out of Adam's moments:
#
#     w = w - lr lambda w           every weight shrinks by the same share
#     w = w - Adam's step           as in section 5, from the gradient of the cross-entropy alone
#
# A weight that gets no gradient halves in ln 2 / (lr lambda) steps, here in 69. What the examples
# do not ask for again and again is forgotten.


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2). With a decay of
    0 it is Adam. (Biases and gains are usually spared; this network has none.)"""

    def __init__(self, values: Sequence[Value], decay: float):
        super().__init__(values)
        self.decay = decay

    def step(self, lr: float) -> None:
        for w in self.values:
            w.data *= 1.0 - lr * self.decay
        super().step(lr)


# 6c. EARLY STOPPING. Look at the loss on validation names every so often; keep a copy of the
# network whenever it is the lowest so far; stop after PATIENCE looks that were not. Since the
# validation names chose the copy, its loss on them flatters it: other names have to grade it.
#
# Here training goes on to the end all the same, so that what would have come can be seen; the rule
# is applied to the record. The rate is constant, unlike in section 5's train(), whose rate falls
# towards zero at a last step known beforehand: who stops early does not know the last step, and a
# falling rate holds a network back by itself (docs/further/microdropout.md has the numbers).


class Row(NamedTuple):
    """A way to train."""

    label: str
    p: float  # dropout
    decay: float  # AdamW's lambda


class Look(NamedTuple):
    """The network after some steps."""

    step: int
    model: Model  # a frozen copy; in earnest, only the best is kept
    batch: float  # mean loss of the batches since the last look, dropout on
    validation: float  # loss on the validation names


def fit(
    row: Row, learnt: Sequence[Example], validation: Sequence[Example], vocabulary: int, seed: int
) -> list[Look]:
    """Train to the end, with looks on the way."""
    model = unfreeze(new_mlp(vocabulary, random.Random(seed)))
    learn = next_letter(model, learnt, row.p, seed)
    optimizer = AdamW(weights_of(model), row.decay)
    looks: list[Look] = []
    losses: list[float] = []
    start = time.perf_counter()
    for step in range(1, STEPS + 1):
        losses.append(learn())
        optimizer.step(LR)
        progress(row.label, step, STEPS, losses[-1], time.perf_counter() - start)
        if step % LOOK_EVERY == 0 or step == STEPS:
            copy = freeze(model)
            loss = mean_loss(copy, validation)
            looks.append(Look(step=step, model=copy, batch=mean(losses), validation=loss))
            losses = []
    return looks


def stopping(losses: Sequence[float], patience: int) -> tuple[int, int]:
    """Given the validation loss of every look: (the look whose copy is kept, the last look)."""
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        if i - best == patience:
            return best, i
    return best, len(losses) - 1


# 7. EXPERIMENT ====================================================================================


class Task(NamedTuple):
    """Letters with those before them, of three sets of names, and a test name to look at."""

    alphabet: list[str]
    learnt: list[Example]
    validation: list[Example]
    test: list[Example]
    shown: str


class Result(NamedTuple):
    """What became of a row. Losses in nats per letter, dropout off."""

    row: Row
    looks: list[Look]
    train: float  # on the names learnt from, at the end
    end: float  # on the test names, at the end
    stopped: float  # on the test names, of the copy that early stopping keeps
    kept: int  # the step of that copy
    last: int  # the step at which early stopping ends
    norm: float  # of all weights, at the end


class Modes(NamedTuple):
    """The test loss of one network that learnt with dropout, used in four ways."""

    off: float  # all units on, which is right
    on: float  # dropout left on, mean over MASKS masks
    averaged: float  # of the mean chances under MASKS masks
    unscaled: float  # all units on, as if the 1 / (1 - p) had been forgotten in training


def make_task(names: list[str], rng: random.Random) -> Task:
    rest, test = split(names, rng, TEST_NAMES)
    rest, validation = split(rest, rng, VALIDATION_NAMES)
    learnt, alphabet = rest[:LEARN_NAMES], alphabet_of(names)
    print(f"{len(learnt)} names to learn, {len(validation)} to stop by, {len(test)} to test")
    return Task(
        alphabet=alphabet,
        learnt=examples_of(learnt, alphabet),
        validation=examples_of(validation, alphabet),
        test=examples_of(test, alphabet),
        shown=max(test[:20], key=len),
    )


def norm_of(model: Model) -> float:
    """The square root of the sum of all squared weights."""
    return math.sqrt(sum(w * w for w in weights_of(model)))


def measure(row: Row, task: Task, seed: int) -> Result:
    """Train a row and grade it. All rows start alike and see the same letters in the same order."""
    looks = fit(row, task.learnt, task.validation, len(task.alphabet), seed)
    best, last = stopping([look.validation for look in looks], PATIENCE)
    final = looks[-1].model
    return Result(
        row=row,
        looks=looks,
        train=mean_loss(final, task.learnt),
        end=mean_loss(final, task.test),
        stopped=mean_loss(looks[best].model, task.test),
        kept=looks[best].step,
        last=looks[last].step,
        norm=norm_of(final),
    )


# The control that is no network: count which letter follows which. Where a pair is rare, the
# letters' own shares u fill in, as if the previous letter had been seen weight times more:
#
#     P(next | previous) = (count(previous, next) + weight u(next)) / (count(previous) + weight)


def pair_table(examples: Sequence[Example], vocabulary: int, weight: float) -> list[list[float]]:
    """P(next | previous), a row for each previous token."""
    counts = [[0] * vocabulary for _ in range(vocabulary)]
    for context, target in examples:
        counts[context[-1]][target] += 1
    singles = [1 + sum(column) for column in zip(*counts)]  # 1 more of each, so that none is 0
    u = [n / sum(singles) for n in singles]
    return [[(n + weight * u_i) / (sum(row) + weight) for n, u_i in zip(row, u)] for row in counts]


def table_loss(table: list[list[float]], examples: Sequence[Example]) -> float:
    return -mean([math.log(table[context[-1]][target]) for context, target in examples])


def count_pairs(task: Task) -> float:
    """The table's loss on the test names, its weight chosen on the validation names."""
    tables = [pair_table(task.learnt, len(task.alphabet), weight) for weight in (3, 10, 30)]
    return table_loss(min(tables, key=lambda t: table_loss(t, task.validation)), task.test)


def use(model: Model, examples: Sequence[Example], p: float, rng: random.Random) -> Modes:
    """Use a network of floats, which learnt with dropout at p, in four ways."""
    answers: dict[tuple[int, ...], list[list[float]]] = {}  # logits under each mask, last all on
    rows = []
    for context, target in examples:
        if context not in answers:
            masks = [new_mask(HIDDEN, p, rng) for _ in range(MASKS)]
            answers[context] = [mlp(model, context, mask) for mask in [*masks, None]]
        *losses, off = (cross_entropy(logits, target) for logits in answers[context])
        low = min(losses)  # taken out, so that no chance e^-loss is too small for a float
        averaged = low - math.log(mean([math.exp(low - loss) for loss in losses]))
        unscaled = cross_entropy([z / (1.0 - p) for z in answers[context][-1]], target)
        rows.append((off, mean(losses), averaged, unscaled))
    off, on, averaged, unscaled = (mean(column) for column in zip(*rows))
    return Modes(off=off, on=on, averaged=averaged, unscaled=unscaled)


def surprises(h: Sequence[float], p: float, draws: int, rng: random.Random) -> list[float]:
    """By how many standard errors the mean of y_i over many masks is off h_i, where h_i is not 0.

    The variance of y_i = m_i h_i is h_i^2 p / (1 - p).
    """
    sums = [0.0] * len(h)
    for _ in range(draws):
        sums = add(sums, dropout(h, new_mask(len(h), p, rng)))
    error = math.sqrt(p / (1.0 - p) / draws)  # of the mean, in units of h_i
    return [(s / draws - h_i) / (h_i * error) for s, h_i in zip(sums, h) if h_i]


def show_curves(results: Sequence[Result]) -> None:
    print("\nlosses while learning, in nats per letter")
    points = [("t", look.step, look.batch) for look in results[0].looks]
    for mark, r in zip("PDMW", results):
        points += [(mark, look.step, look.validation) for look in r.looks]
    plot(points, x_label="step", y_label="loss")
    print("""  t  plain, on the letters it learns from
  P  plain, D dropout, M more dropout, W weight decay, on the validation names""")
    titles = "".join(f"{r.row.label:>13}" for r in results)
    print(f"\n   step    learnt{titles}")
    looks = list(zip(*(r.looks for r in results)))
    for together in looks[:: -max(1, len(looks) // 15)][::-1]:
        print(f"  {together[0].step:5}{together[0].batch:10.3f}", end="")
        print("".join(f"{look.validation:13.3f}" for look in together))


def show_results(results: Sequence[Result], table: float) -> None:
    print(f"\n{'':22}train    end  stopped  turn-up   kept  steps   norm")
    for r in results:
        print(f"  {r.row.label:18}{r.train:7.3f}{r.end:7.3f}{r.stopped:9.3f}", end="")
        print(f"{r.end - r.stopped:9.3f}{r.kept:7}{r.last:7}{r.norm:7.1f}")
    print(f"  {'table of pairs':25}{table:7.3f}")
    print(f"""  train    loss at step {STEPS} on the names that were learnt, dropout off
  end      at step {STEPS} on the test names
  stopped  on the test names, of the copy that early stopping keeps
  turn-up  end minus stopped: what stopping early saves
  kept     the step of that copy; steps: where early stopping would have ended
  norm     of all weights at step {STEPS}: the root of their squares' sum""")


def show_masks(model: Model, task: Task, rng: random.Random) -> None:
    """The hidden units after the first letters of a name, all on and under three masks."""
    first = examples_of([task.shown], task.alphabet)[: CONTEXT + 1]
    context, _ = first[-1]
    h = hidden_units(model, context)
    read = decode(context, task.alphabet)
    print(f"\none network, or many: the {HIDDEN} hidden units after '{read}', and its guesses")
    for i in range(4):
        mask = new_mask(HIDDEN, DROPOUT, rng) if i else None
        heights = zip(sparkline(h, HIDDEN), h, mask or h)
        units = "".join("x" if mask and not m_i else u if h_i else " " for u, h_i, m_i in heights)
        chances = sorted(zip(softmax(mlp(model, context, mask)), task.alphabet), reverse=True)
        guess = "  ".join(f"{letter or 'end':>3} {chance:4.0%}" for chance, letter in chances[:3])
        print(f"  {f'mask {i}' if mask else 'all on':7}{units[:44]}  {guess}")
    worst = max(map(abs, surprises(h, DROPOUT, DRAWS, rng)), default=0.0)
    print(f"""  x is switched off by the mask, blank by ReLU. The mean of a unit over {DRAWS}
  masks is what it is without a mask: the farthest is {worst:.1f} standard errors off.""")


def show_modes(modes: Modes) -> None:
    print("\nthe network that learnt with dropout, used in four ways: test loss")
    for label, loss in (
        ("all units on, as it should be", modes.off),
        ("dropout left on", modes.on),
        (f"mean chances of {MASKS} masks", modes.averaged),
        ("the 1 / (1 - p) forgotten", modes.unscaled),
    ):
        print(f"  {label:32}{loss:6.3f}")


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    rng = random.Random(seed)
    print(f"microdropout, seed {seed}: ", end="")
    task = make_task(read_names(names, 50), rng)  # of up to 50 letters

    results = [
        measure(row, task, seed)
        for row in (
            Row(label="plain", p=0.0, decay=0.0),
            Row(label=f"dropout {DROPOUT:g}", p=DROPOUT, decay=0.0),
            Row(label=f"dropout {MORE_DROPOUT:g}", p=MORE_DROPOUT, decay=0.0),
            Row(label=f"decay {DECAY:g}", p=0.0, decay=DECAY),
        )
    ]
    table = count_pairs(task)
    show_curves(results)
    show_results(results, table)

    plain, dropped, _, decayed = results
    network = dropped.looks[-1].model
    show_masks(network, task, rng)
    modes = use(network, task.test, DROPOUT, rng)
    show_modes(modes)
    return check_claims(
        [
            ("plain's end minus plain, stopped early", plain.end - plain.stopped, ">=", 0.45),
            ("plain's end minus the table of pairs", plain.end - table, ">=", 0.45),
            ("dropout's end minus plain's end", dropped.end - plain.end, "<=", -0.3),
            ("dropout's end minus plain, stopped early", dropped.end - plain.stopped, ">=", 0.0),
            ("decay's end minus plain's end", decayed.end - plain.end, "<=", -0.5),
            ("decay's end minus decay, stopped early", decayed.end - decayed.stopped, "<=", 0.15),
            ("dropout left on minus all units on", modes.on - modes.off, ">=", 0.1),
            ("mean of masks minus all units on", modes.averaged - modes.off, "<=", -0.05),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "What keeps a network from learning its examples by heart?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    at_least(1, CONTEXT=CONTEXT, N_EMBD=N_EMBD, HIDDEN=HIDDEN, MASKS=MASKS, DRAWS=DRAWS)
    at_least(1, LEARN_NAMES=LEARN_NAMES, VALIDATION_NAMES=VALIDATION_NAMES, TEST_NAMES=TEST_NAMES)
    at_least(1, STEPS=STEPS, BATCH=BATCH, LOOK_EVERY=LOOK_EVERY, PATIENCE=PATIENCE)
    shares = {"DROPOUT": DROPOUT, "MORE_DROPOUT": MORE_DROPOUT}
    at_least(0.0, INIT_STD=INIT_STD, LR=LR, DECAY=DECAY, **shares)
    for name, share in shares.items():
        if not 0.0 < share < 1.0:
            fail(f"{name} = {share}: give a share above 0 and below 1")
    if LR * DECAY > 1.0:
        fail(f"DECAY = {DECAY}: a step would take LR * DECAY = {LR * DECAY:g} of each weight")


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
