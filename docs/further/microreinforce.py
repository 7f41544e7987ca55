"""microreinforce: how does a policy learn from a score alone, and what is a baseline for?

A language model, the policy, writes an answer; somebody or something scores it. No gradient comes
with the score, for the answer is drawn, letter by letter. REINFORCE (Williams 1992) turns scores
into gradients all the same: make each answer likelier, in proportion to its score. That is right in
the mean and useless in the single case, because nearly every score is positive. A baseline, the
score to be expected, is subtracted first; leave-one-out (RLOO, Kool et al. 2019; Ahmadian et al.
2024, arXiv:2402.14740) takes the mean of the other answers to the same prompt.

What runs: a tiny GPT learns given names: the reference. At that fixed point the gradients of single
answers are compared, under several baselines: where they point in the mean, and how far they
scatter. Then policies learn, with RLOO and without a baseline, and without one when every score is
one point higher.

What to look for: the two clouds of gradients have the same centre, and one is several times as
wide. And what a score's zero does: raised by one point, the same scores teach a policy without a
baseline far less, though no answer has become better than another. RLOO cannot notice. (Where the
zero happens to lie well, as it does for these scores, the policy without a baseline learns too, at
its own best rate; how far RLOO is ahead then differs from seed to seed, and is not claimed.)

Use it when an answer can be scored as soon as it is written and each answer is learnt from once: it
is the least that works. When answers are dear, learn from each several times (microppo.py, and
microgrpo.py beside this file).

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
BATCH = 2  # names per step of pretraining
PRETRAIN_STEPS = 400  # the loss has flattened by then
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak
HELD_OUT_NAMES = 56  # a tenth of them: their first letters are the prompts of the last test

GROUP = 4  # answers to the same prompt
CLOUD = 64  # groups whose gradients are compared, at the reference
PROMPTS = 4  # groups per update when a policy learns
UPDATES = 40  # each from answers just written, and never used again
LR = 0.012  # Adam's, constant: the best of 0.006, 0.012 and 0.02 for the policy without a baseline
SHIFT = 1.0  # added to every score, in the run that shows what a score's zero matters
SHIFT_LR = 0.006  # that run's rate: the best of 0.003, 0.006 and 0.012 for it
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


# 6. THE ALGORITHM: REINFORCE, AND BASELINES =======================================================

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


# --- the policy's log-probabilities (shared) ------------------------------------------------------

def token_log_probs(model: Model, prompt: Sequence[int], answer: Sequence[int]) -> list[Any]:
    """log pi(a_t | s_t) of each token of the answer, Values or floats."""
    return [-loss for loss in token_losses(model, [*prompt, *answer])[len(prompt) - 1 :]]


# --- REINFORCE ------------------------------------------------------------------------------------

# The policy pi writes an answer y, letters a_0 .. a_(n-1) and the EDGE at the end, to a prompt x.
# s_t is what stands there before a_t, so that log pi(y|x) = sum_t log pi(a_t | s_t). The reward r
# is the gold score of the whole name: a program gives it, nobody has to learn it. We want more of
#
#     J = E[r(y)] = sum_y pi(y|x) r(y)
#
# and pi(y|x) is what can be changed. As d pi = pi d log pi,
#
#     grad J = sum_y pi(y|x) r(y) grad log pi(y|x) = E[r(y) grad log pi(y|x)]
#
# So draw answers, and step along the mean of r(y) grad log pi(y|x). The reward needs no gradient.
#
# What a baseline is for. Probabilities sum to 1, whatever the weights, so that
#
#     E[grad log pi(y|x)] = sum_y pi(y|x) grad log pi(y|x) = grad sum_y pi(y|x) = grad 1 = 0
#
# and E[(r - b) grad log pi] is the same for every number b that does not depend on the answer y. In
# the mean. But one answer's gradient is r - b times a vector, grad log pi, that is long and points
# elsewhere for every answer; with b near the usual r the factor is small, and the sum of a few
# answers is no longer mostly noise. In words: without a baseline every answer is praised, good ones
# a little more; with one, the better half is praised and the worse half blamed.


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """RLOO's baseline for each of k answers to one prompt: the mean reward of the others.

    b_i = sum_(j != i) r_j / (k - 1). Their own reward must stay out: b may not depend on the answer
    that it judges. (With it in, r_i - mean(r) = (k-1)/k (r_i - b_i): the same directions, shorter.)
    """
    return [(sum(rewards) - r) / (len(rewards) - 1) for r in rewards]


def no_baseline(rewards: Sequence[float]) -> list[float]:
    return [0.0] * len(rewards)


Baseline = Callable[[Sequence[float]], list[float]]  # from a group's rewards to a b for each


class Answer(NamedTuple):
    prompt: list[int]  # tokens
    tokens: list[int]  # what was written after it
    reward: float


def write_group(
    policy: Model, names: list[str], alphabet: list[str], rng: random.Random
) -> list[Answer]:
    """GROUP answers of a policy of floats to one prompt, and their rewards."""
    prompt = draw_prompt(names, rng)
    start = encode(prompt, alphabet)[:-1]
    group = []
    for _ in range(GROUP):
        tokens = sample(policy, start, rng)
        name = prompt + decode(tokens, alphabet)
        group.append(Answer(prompt=start, tokens=tokens, reward=gold(name)))
    return group


def reinforce_loss(policy: Model, answer: Answer, baseline: float) -> Value:
    """-(r - b) log pi(y|x), whose gradient is that of REINFORCE, to be descended."""
    log_prob = total(token_log_probs(policy, answer.prompt, answer.tokens))
    return log_prob * (baseline - answer.reward)


def reinforce(
    world: World, label: str, baseline: Baseline, lr: float, shift: float = 0.0
) -> Learnt:
    """Train a copy of the reference for UPDATES updates; shift is added to every reward."""
    rng, started, curve = random.Random(world.seed), time.perf_counter(), []
    policy = unfreeze(world.reference)
    optimizer = Adam(weights_of(policy))
    for update in range(1, UPDATES + 1):
        writer = freeze(policy)
        groups = [write_group(writer, world.names, world.alphabet, rng) for _ in range(PROMPTS)]
        for group in groups:
            rewards = [answer.reward + shift for answer in group]
            for answer, r, b in zip(group, rewards, baseline(rewards)):
                share = reinforce_loss(policy, answer._replace(reward=r), b) / (PROMPTS * GROUP)
                share.backward()
        optimizer.step(lr)
        curve.append(mean([answer.reward for group in groups for answer in group]))
        progress(label, update, UPDATES, -curve[-1], time.perf_counter() - started)
    return Learnt(policy=freeze(policy), curve=curve)


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


# --- baselines, measured --------------------------------------------------------------------------

class Learnt(NamedTuple):
    policy: Model  # floats
    curve: list[float]  # mean gold score of the answers of each update


class Cloud(NamedTuple):
    """The gradients of single answers at the reference, under one baseline."""

    gradients: list[list[float]]  # (r - b) grad log pi of each answer
    scatter: float  # the trace of their covariance: the mean squared distance from their mean
    pull: float  # how far the baseline moves their mean; 1 is what chance would do


def score_gradients(reference: Model, answers: list[Answer]) -> list[list[float]]:
    """grad log pi(y|x) of each answer, a flat list with an entry for each weight."""
    policy = unfreeze(reference)
    weights, rows = weights_of(policy), []
    for answer in answers:
        total(token_log_probs(policy, answer.prompt, answer.tokens)).backward()
        rows.append([w.grad for w in weights])
        for w in weights:
            w.grad = 0.0
    return rows


def scaled(rows: list[list[float]], factors: Sequence[float]) -> list[list[float]]:
    return [[f * x for x in row] for f, row in zip(factors, rows)]


def centre(rows: list[list[float]]) -> list[float]:
    return [mean(column) for column in zip(*rows)]


def scatter(rows: list[list[float]]) -> float:
    """The trace of the covariance of vectors: their mean squared distance from their mean."""
    return sum(variance(column) for column in zip(*rows)) * len(rows) / (len(rows) - 1)


def pull(rows: list[list[float]]) -> float:
    """|mean|^2 over what it would be by chance, scatter / n, if the true mean were zero. Rows are
    averaged by group first: answers of a group share what their baselines are made of."""
    groups = [centre(rows[i : i + GROUP]) for i in range(0, len(rows), GROUP)]
    middle = centre(groups)
    return dot(middle, middle) / ((scatter(groups) / len(groups)) or 1.0)


def measure_baselines(world: World) -> dict[str, Cloud]:
    """The clouds of CLOUD groups of answers that the reference writes, by baseline."""
    rng = random.Random(world.seed)
    groups = [write_group(world.reference, world.names, world.alphabet, rng) for _ in range(CLOUD)]
    answers = [answer for group in groups for answer in group]
    rewards = [answer.reward for answer in answers]
    baselines = {
        "none": no_baseline(rewards),
        "mean of all others": leave_one_out(rewards),
        "RLOO, of its group": [b for g in groups for b in leave_one_out([a.reward for a in g])],
        "twice the mean": [2.0 * b for b in leave_one_out(rewards)],
    }
    scores = score_gradients(world.reference, answers)
    clouds = {}
    for label, bs in baselines.items():
        gradients = scaled(scores, [r - b for r, b in zip(rewards, bs)])
        clouds[label] = Cloud(
            gradients=gradients, scatter=scatter(gradients), pull=pull(scaled(scores, bs))
        )
    return clouds


def sum_over_tokens(world: World) -> float:
    """The largest entry of sum_v pi(v|s) grad log pi(v|s), over all next tokens v, after EDGE."""
    policy = unfreeze(world.reference)
    logits = gpt(policy, EDGE, new_cache())
    for token, chance in enumerate(softmax(floats(logits))):
        (cross_entropy(logits, token) * -chance).backward()
    return max(abs(w.grad) for w in weights_of(policy))


def unit(x: list[float]) -> list[float]:
    length = math.sqrt(dot(x, x))
    return [v / length for v in x]


def widest(rows: list[list[float]], across: list[float]) -> list[float]:
    """The unit vector along which rows scatter most, among those at right angles to another: ten
    rounds of power iteration."""
    direction = unit(rows[0])
    for _ in range(10):
        sums = [dot(row, direction) for row in rows]
        direction = [dot(sums, column) for column in zip(*rows)]
        along = dot(direction, across)
        direction = unit([d - along * a for d, a in zip(direction, across)])
    return direction


def show_clouds(clouds: dict[str, Cloud]) -> None:
    plain, rloo = clouds["none"], clouds["RLOO, of its group"]
    print(f"\ngradients of {len(plain.gradients)} single answers of the reference")
    print("  baseline             scatter  share  pull")
    for label, cloud in clouds.items():
        share = cloud.scatter / plain.scatter
        print(f"  {label:19} {cloud.scatter:8.2f} {share:6.2f} {cloud.pull:5.2f}")
    print("""  scatter  mean squared distance of one answer's gradient from their mean, and
           its share of what it is without a baseline
  pull     how far the baseline moves that mean, squared, over what chance would""")
    towards = unit(centre(rloo.gradients))
    sideways = widest(plain.gradients, towards)
    print("\nthe same, along two directions: o without a baseline, + with RLOO's")
    plot(
        [
            (mark, dot(row, sideways), dot(row, towards))
            for mark, cloud in (("o", plain), ("+", rloo))
            for row in cloud.gradients
        ],
        x_label="where plain gradients scatter most",
        y_label="the mean gradient's direction",
    )


def late_gold(curve: Sequence[float]) -> float:
    """Mean gold of the answers written in the second half of learning."""
    return mean(curve[len(curve) // 2 :])


def show_learning(learnt: dict[str, Learnt]) -> None:
    print(f"\ngold by update: {UPDATES} updates, each from {PROMPTS * GROUP} answers just written;")
    print("late: the mean over the second half")
    for label, result in learnt.items():
        print(f"  {label:22} {sparkline(result.curve, 40)} late {late_gold(result.curve):.3f}")


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    world = make_world(seed, names)
    print(f"microreinforce, seed {seed}: a reference that has learnt {len(world.names)} names")

    # One answer's gradient, at the reference: its mean, and its scatter, under each baseline.
    clouds = measure_baselines(world)
    show_clouds(clouds)

    # Learning from the same number of answers, with and without.
    learnt = {
        "no baseline": reinforce(world, "no baseline", no_baseline, LR),
        f"no baseline, r + {SHIFT:g}": reinforce(world, "raised", no_baseline, SHIFT_LR, SHIFT),
        "RLOO": reinforce(world, "RLOO", leave_one_out, LR),
    }
    show_learning(learnt)
    verdicts = {"reference": judge(world.reference, world)}
    verdicts |= {label: judge(result.policy, world) for label, result in learnt.items()}
    show_verdicts(verdicts)

    share = {label: cloud.scatter / clouds["none"].scatter for label, cloud in clouds.items()}
    worse = clouds["twice the mean"].scatter / clouds["mean of all others"].scatter
    pulls = max(clouds[label].pull for label in ("mean of all others", "RLOO, of its group"))
    _, raised, rloo = (late_gold(result.curve) for result in learnt.values())
    claims = [
        ("sum over tokens of p grad log p, largest entry", sum_over_tokens(world), "<=", 1e-12),
        ("scatter, mean of all others, share of plain's", share["mean of all others"], "<=", 0.4),
        ("scatter, RLOO, share of plain's", share["RLOO, of its group"], "<=", 0.5),
        ("scatter, twice the mean over the mean", worse, ">=", 2.5),
        ("pull of the first two baselines, at most", pulls, "<=", 2.0),
        ("late gold, RLOO minus no baseline, r raised", rloo - raised, ">=", 0.02),
    ]
    return check_claims(claims)


def main(argv: Sequence[str] | None = None) -> int:
    title = "How does a policy learn from a score alone, and what is a baseline for?"
    return run(experiment, title, argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, BATCH=BATCH, PRETRAIN_STEPS=PRETRAIN_STEPS, HELD_OUT_NAMES=HELD_OUT_NAMES)
    at_least(2, GROUP=GROUP, CLOUD=CLOUD, SAMPLES=SAMPLES)
    at_least(1, PROMPTS=PROMPTS, UPDATES=UPDATES)
    at_least(0.0, PRETRAIN_LR=PRETRAIN_LR, LR=LR, SHIFT=SHIFT, SHIFT_LR=SHIFT_LR)


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
