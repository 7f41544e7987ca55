"""microspo: what if preferences go in circles?

Three readers rank the endings of names; each is consistent, and yet their majority prefers a to the
rest, the rest to e, and e to a (Condorcet 1785). No score says that, so a reward model, or DPO,
which has one inside, must get it wrong. Self-play preference optimization (SPO, Swamy et al. 2024,
arXiv:2401.04056) needs no score: it writes several answers to a prompt, has them compared with each
other, and takes as each one's reward its win rate against the others. What nothing beats is then a
mixture of answers, the minimax winner, and the policy plays against itself to find it.

What runs: a tiny GPT learns given names: the reference. Self-play starts from it, with a pull back
to it (Munos et al. 2023, arXiv:2312.00886) and without; DPO learns from as many answers of the
reference, compared by the same majority. Then the plain case: self-play with an annotator whose
preferences do come from a score.

What to look for: the triangle of the three classes. DPO runs past the middle into a corner, where
nearly every name ends in a, and any name in e would win. Self-play sets out the same way, but meets
names in e, turns, and stays near the middle. Without the pull it overshoots, and circles along the
edges on most seeds.

Use it when answers can be compared while learning, by people or by a model, and opinions differ
(microrlaif.py, beside this file, asks what comparisons by a model are worth). When one score
explains the comparisons, it does what the other algorithms do, and asks more comparisons: k answers
take k (k - 1) / 2. (Another method is called SPO, too: single-stream policy optimization, Xu and
Ding 2025, arXiv:2509.13232, is GRPO with one answer per prompt and a running baseline.)

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
from itertools import combinations, compress
from operator import mul
from typing import Any, NamedTuple, NoReturn, Union

# 1. THESIS: the docstring above.  2. SETTINGS ====================================================

N_EMBD = 8  # width d
N_HEAD = 2  # attention heads, of 4 dimensions each
N_LAYER = 1  # blocks
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # of the initial weights
BATCH = 2  # names per step of pretraining, comparisons per step of DPO
PRETRAIN_STEPS = 400  # the loss has flattened by then
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak
HELD_OUT_NAMES = 56  # a tenth of them: their first letters are the prompts of the last test

TASTE = 12.0  # of the annotator with a score: log-odds of preferring a name, per unit of gold

GROUP = 8  # answers to a round's prompt, each compared with each: 28 comparisons
ROUNDS = 48  # of self-play, one update each
LR = 0.02  # Adam's, falling along a straight line to zero
BETA = 0.2  # strength of the pull to the reference; a win rate of 1 pulls with 1/2
PLAIN_ROUNDS = 32  # of self-play with the annotator who has a score

DPO_PAIRS = 192  # comparisons: as many answers as self-play writes
DPO_STEPS = 120  # updates: all comparisons once, and some again
DPO_BETA = 0.05  # a weak pull: DPO is to do what the comparisons say
DPO_LR = 0.012  # Adam's learning rate at its peak

STAGES = 8  # points on each path
LOOK_NAMES = 60  # names that DPO writes at each of them
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


# 6. THE ALGORITHM: SELF-PLAY PREFERENCE OPTIMIZATION ==============================================

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


# --- preferences that go in circles ---------------------------------------------------------------

# Names fall into three classes by their last letter: a, e, and all others. Three readers:
#
#     the first prefers   a to other, other to e, and a to e
#     the second          other to e, e to a, and other to a
#     the third           e to a, a to other, and e to other
#
# Two of the three prefer a to other, two prefer other to e, and two e to a. What the majority
# prefers is our oracle. A score would have to be r(a) > r(other) > r(e) > r(a).

CLASSES = ["a", "other", "e"]  # each is preferred to the next one, and the last to the first

Oracle = Callable[[str, str], float]  # from two names to P(the first is preferred)


def kind(name: str) -> int:
    """The name's place in CLASSES."""
    return {"a": 0, "e": 2}.get(name[-1:], 1)


def ahead(first: int, second: int) -> float:
    """1 if the first class is preferred to the second, 0 if not, 1/2 if they are the same."""
    return (0.5, 1.0, 0.0)[(second - first) % 3]


def majority(first: str, second: str) -> float:
    """The oracle whose preferences go in a circle."""
    return ahead(kind(first), kind(second))


def annotator(first: str, second: str) -> float:
    """The plain oracle, with a score: sigmoid(TASTE (gold(first) - gold(second)))."""
    return softmax([TASTE * gold(first), TASTE * gold(second)])[0]


# What is a good policy, if every class is beaten by another? Let p_j be the share of class j in
# what a policy writes, its mixture. Class i then wins against the policy at the rate
#
#     w_i = sum_j p_j P(i is preferred to j)
#
# and the policy's exploitability is max_i w_i: how often the best pure reply wins. As sum_i p_i w_i
# is the policy against itself, 1/2, some w_i is at least 1/2; so exploitability is at least 1/2.
# The policy that reaches it, which nothing beats, is the minimax winner. Here it writes a third of
# each class. A policy that writes one class only is beaten always: 1.


def shares(names: Sequence[str]) -> list[float]:
    """The mixture: the share of each class among names."""
    kinds = [kind(name) for name in names]
    return [kinds.count(i) / len(kinds) for i in range(len(CLASSES))]


def replies(mixture: Sequence[float]) -> list[float]:
    """w_i: how often each class wins against a mixture."""
    return [sum(p * ahead(i, j) for j, p in enumerate(mixture)) for i in range(len(CLASSES))]


def exploitability(mixture: Sequence[float]) -> float:
    return max(replies(mixture))


# --- self-play ------------------------------------------------------------------------------------

# Ask the oracle about every two of a group's k answers. Each one's reward is its win rate,
#
#     r_i = sum_(j != i) P(y_i is preferred to y_j) / (k - 1)
#
# against the policy as it is now, and so it moves as the policy does: when a wins, the policy
# writes more of it, and the more it writes, the more e wins. Nothing else is new: the update is
# REINFORCE (microreinforce.py). The baseline comes for free: every comparison shares out one win,
# so that a group's mean win rate is 1/2, whatever was written.


def win_rates(names: Sequence[str], oracle: Oracle) -> list[float]:
    """How often each is preferred to the others; every two are compared once."""
    wins = [0.0] * len(names)
    for i, j in combinations(range(len(names)), 2):
        chance = oracle(names[i], names[j])
        wins[i] += chance
        wins[j] += 1.0 - chance
    return [w / (len(names) - 1) for w in wins]


class Answer(NamedTuple):
    name: str  # prompt and answer, in letters
    prompt: list[int]  # tokens
    tokens: list[int]  # what was written after it
    expected: list[float]  # log pi_ref(a_t | s_t) of each of these
    advantage: float  # win rate - 1/2


def write_group(policy: Model, world: World, oracle: Oracle, rng: random.Random) -> list[Answer]:
    """GROUP answers of a policy of floats to one prompt, compared with each other."""
    prompt = draw_prompt(world.names, rng)
    start = encode(prompt, world.alphabet)[:-1]
    texts = [sample(policy, start, rng) for _ in range(GROUP)]
    names = [prompt + decode(text, world.alphabet) for text in texts]
    return [
        Answer(
            name=name,
            prompt=start,
            tokens=text,
            expected=token_log_probs(world.reference, start, text),
            advantage=win_rate - 0.5,
        )
        for name, text, win_rate in zip(names, texts, win_rates(names, oracle))
    ]


# The pull to the reference. Play that only chases what wins circles about the middle, and noise and
# steps that are not small carry it outwards. So each token pays for its drift, with p = pi(a_t|s_t)
# and q = pi_ref(a_t|s_t) (Schulman's third estimator, k3, as in GRPO, arXiv:2402.03300):
#
#     k3 = q/p - log(q/p) - 1,    d k3 / d log p = 1 - q/p
#
# It is never negative, and its mean over the policy's own tokens is KL(pi || pi_ref). The mean of
# its gradient is something else: sum_a (p - q) grad log p = - sum_a q grad log p, that of
# KL(pi_ref || pi). That pull is strongest on what the reference writes and the policy has given up,
# and so keeps every class alive. Its price: the reference is skewed, and play settles between it
# and the middle. An exploitability of exactly 1/2 is not reached.


def k3(log_p: Value, log_q: float) -> Value:
    return (log_q - log_p).exp() + (log_p - log_q) - 1.0


def self_play_loss(policy: Model, answer: Answer, beta: float) -> Value:
    """-(win rate - 1/2) log pi(y|x) + beta sum_t k3_t, of one answer y to its prompt x."""
    log_probs = token_log_probs(policy, answer.prompt, answer.tokens)
    drift = total([k3(p, q) for p, q in zip(log_probs, answer.expected)])
    return total(log_probs) * -answer.advantage + drift * beta


# Play comes near the winner on the average, not at its end: the paper's proof speaks of the mixture
# of all rounds' policies. One policy has to stand for them: the mean of the weights of the second
# half of the rounds. And Adam runs without momentum (b1 = 0): a step along the gradients of some
# rounds ago answers a policy that is no longer played, which widens the circle.


def average(models: Sequence[Model]) -> Model:
    """The mean of every weight of several models of floats."""
    return {
        name: [list(map(mean, zip(*rows))) for rows in zip(*(model[name] for model in models))]
        for name in models[0]
    }


class Play(NamedTuple):
    policy: Model  # floats: the mean of the second half of the rounds
    rounds: list[list[str]]  # the names written in each


def self_play(world: World, label: str, oracle: Oracle, beta: float, rounds: int) -> Play:
    rng, started = random.Random(world.seed), time.perf_counter()
    policy, played, written = unfreeze(world.reference), [], []
    optimizer = Adam(weights_of(policy))
    optimizer.b1 = 0.0
    for done in range(rounds):
        group, loss = write_group(freeze(policy), world, oracle, rng), 0.0
        for answer in group:
            share = self_play_loss(policy, answer, beta) / GROUP
            share.backward()
            loss += share.data
        optimizer.step(LR * (1.0 - done / rounds))
        played.append(freeze(policy))
        written.append([answer.name for answer in group])
        progress(label, done + 1, rounds, loss, time.perf_counter() - started)
    return Play(policy=average(played[rounds // 2 :]), rounds=written)


# --- the control: DPO -----------------------------------------------------------------------------

# DPO (microdpo.py derives it) fits the comparisons with a score, beta log(pi / pi_ref), and the
# policy is at once the best one for that score. Of a circle it learns what fits best: the class
# that won most often against what the reference writes gets the highest score. With few e to beat
# it, that is a. On the way there DPO passes the middle at some distance, and a larger beta would
# end the way sooner. But nothing in its loss says where to stop: that would take new comparisons,
# of what the policy writes by now, which is self-play's idea.


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


def compare(world: World, oracle: Oracle, rng: random.Random) -> Pair:
    """Two answers of the reference to one prompt, of which the oracle prefers one."""
    for _ in range(1000):
        prompt = draw_prompt(world.names, rng)
        start = encode(prompt, world.alphabet)[:-1]
        texts = [sample(world.reference, start, rng) for _ in range(2)]
        chance = oracle(*(prompt + decode(text, world.alphabet) for text in texts))
        if chance != 0.5:
            break
    else:
        fail("of 1,000 pairs of answers none was of two classes: give more varied names")
    chosen, rejected = texts if rng.random() < chance else texts[::-1]
    return Pair(
        prompt=start,
        chosen=chosen,
        rejected=rejected,
        ref_chosen=sum(token_log_probs(world.reference, start, chosen)),
        ref_rejected=sum(token_log_probs(world.reference, start, rejected)),
    )


def pair_loss(policy: Model, pair: Pair) -> Value:
    chosen, rejected = (
        total(token_log_probs(policy, pair.prompt, answer))
        for answer in (pair.chosen, pair.rejected)
    )
    return dpo_loss(chosen - pair.ref_chosen, rejected - pair.ref_rejected, DPO_BETA)


def dpo(world: World, oracle: Oracle, look: Callable[[Model], None]) -> Model:
    """Train a copy of the reference; look(policy of floats) is called STAGES times on the way."""
    rng, deck = random.Random(world.seed), list[Pair]()
    pairs = [compare(world, oracle, rng) for _ in range(DPO_PAIRS)]
    policy = unfreeze(world.reference)

    def learn() -> float:
        loss = 0.0
        for _ in range(BATCH):
            deck[:] = deck or rng.sample(pairs, len(pairs))
            share = pair_loss(policy, deck.pop()) / BATCH
            share.backward()
            loss += share.data
        return loss

    def look_at_stages(step: int) -> None:
        if step in {DPO_STEPS * stage // STAGES for stage in range(1, STAGES + 1)}:
            look(freeze(policy))

    train("DPO", learn, Adam(weights_of(policy)), DPO_STEPS, DPO_LR, look_at_stages)
    return freeze(policy)


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


# --- paths ----------------------------------------------------------------------------------------

Path = list[list[float]]  # mixtures, one for each stage


def stages(rounds: list[list[str]]) -> Path:
    """The mixtures of what was written, round by round, in STAGES parts of equal length."""
    cuts = [len(rounds) * i // STAGES for i in range(STAGES + 1)]
    return [
        shares([name for names in rounds[a:b] for name in names]) for a, b in zip(cuts, cuts[1:])
    ]


def write_name(policy: Model, world: World, rng: random.Random) -> str:
    prompt = rng.choice(world.prompts)
    start = encode(prompt, world.alphabet)[:-1]
    return prompt + decode(sample(policy, start, rng), world.alphabet)


def dpo_path(world: World, oracle: Oracle) -> tuple[Model, Path]:
    """DPO's policy, and the mixture it writes at each stage."""
    rng, path = random.Random(world.seed), []

    def look(policy: Model) -> None:
        path.append(shares([write_name(policy, world, rng) for _ in range(LOOK_NAMES)]))

    return dpo(world, oracle, look), path


def show_paths(paths: dict[str, Path]) -> None:
    print("\nshares of a, other and e on the way")
    print("  stage " + "".join(f"{label:>22}" for label in paths))
    for i, row in enumerate(zip(*paths.values()), 1):
        print(f"  {i:5} " + "".join(f"{a:10.2f}{other:6.2f}{e:6.2f}" for a, other, e in row))
    written = ROUNDS * GROUP // STAGES
    print(f"""  self-play: of the {written} names that it wrote and compared in the stage
  DPO: of {LOOK_NAMES} names written at the end of the stage, to look at it""")


def corner(mixture: Sequence[float]) -> tuple[float, float]:
    """A mixture's place in the triangle: other at the left, a at the right, e at the top."""
    a, _, e = mixture
    return a + e / 2, e


def show_triangle(title: str, points: Sequence[tuple[str, Sequence[float]]]) -> None:
    print(f"\n{title}")
    edge = [(i / 24, 1.0 - i / 24, 0.0) for i in range(24)]
    edges = [(".", mixture[k:] + mixture[:k]) for mixture in edge for k in range(3)]
    plot(
        [(mark, *corner(mixture)) for mark, mixture in [*edges, ("+", [1 / 3] * 3), *points]],
        x_label="all other  <-->  all in a",
        y_label="share of names in e",
    )


def show_triangles(paths: dict[str, Path], mixtures: dict[str, list[float]]) -> None:
    marks, start = "123456789", ("R", mixtures["reference"])
    play, circling = (zip(marks, paths[label]) for label in ("self-play", "without the pull"))
    fitted, end = zip("ABCDEFGHI", paths["DPO"]), ("*", mixtures["self-play"])
    show_triangle("self-play 1 2 3 .., its policy *; DPO A B C ..", [start, *fitted, *play, end])
    show_triangle("self-play without the pull, 1 2 3 ..", [start, *circling])
    print("  R is the reference, + a third of each class, which nothing beats.")


def show_mixtures(verdicts: dict[str, Verdict], mixtures: dict[str, list[float]]) -> None:
    print(f"\n{SAMPLES} fresh answers of each policy")
    print(f"  {'':22}    a  other    e  best reply  exploitability     KL")
    for label, (a, other, e) in mixtures.items():
        wins = replies([a, other, e])
        print(f"  {label:22} {a:4.2f} {other:6.2f} {e:4.2f}", end="")
        print(f"{CLASSES[wins.index(max(wins))]:>12}{max(wins):16.3f}{verdicts[label].kl:7.2f}")
    print("""  best reply  the class that wins most often against this mixture
  exploitability  how often it wins; 0.5 is the least possible
  KL       drift from the reference, in nats per answer""")


def show_gold(rounds: list[list[str]]) -> None:
    golds = [mean(list(map(gold, names))) for names in rounds]
    print(f"\nthe plain case: gold score of the {GROUP} names of each round")
    print(f"  {sparkline(golds)} {mean(golds[:10]):.2f} to {mean(golds[-10:]):.2f}")


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    check_classes(read_names(names, BLOCK_SIZE - 1))
    world = make_world(seed, names)
    print(f"microspo, seed {seed}: a reference that has learnt {len(world.names)} names")
    print("preferred: names in a to other names, other names to those in e, e to a")

    # Preferences in a circle: self-play, with its pull and without, and DPO. (Of play without the
    # pull nothing is claimed: in so few rounds it is still near the middle on one seed in eight.)
    with_pull = self_play(world, "self-play", majority, BETA, ROUNDS)
    without = self_play(world, "without the pull", majority, 0.0, ROUNDS)
    fitted, fitted_path = dpo_path(world, majority)
    paths = {"self-play": stages(with_pull.rounds), "without the pull": stages(without.rounds)}
    paths["DPO"] = fitted_path
    show_paths(paths)
    policies = {
        "reference": world.reference,
        "DPO": fitted,
        "without the pull": without.policy,
        "self-play": with_pull.policy,
    }
    verdicts = {label: judge(policy, world) for label, policy in policies.items()}
    mixtures = {label: shares(verdict.names) for label, verdict in verdicts.items()}
    show_triangles(paths, mixtures)
    show_mixtures(verdicts, mixtures)

    # The plain case: preferences that come from a score.
    plain = self_play(world, "plain", annotator, BETA, PLAIN_ROUNDS)
    show_gold(plain.rounds)
    before, after = verdicts["reference"], judge(plain.policy, world)
    show_verdicts({"reference": before, "self-play": after})

    reference, fit, _, play = map(exploitability, mixtures.values())
    claims = [
        ("exploitability, self-play", play, "<=", 0.7),
        ("exploitability, reference minus self-play", reference - play, ">=", 0.02),
        ("exploitability, DPO minus self-play", fit - play, ">=", 0.2),
        ("plain case: gold, self-play minus reference", after.gold - before.gold, ">=", 0.05),
    ]
    return check_claims(claims)


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "What if preferences go in circles?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, BATCH=BATCH, PRETRAIN_STEPS=PRETRAIN_STEPS, HELD_OUT_NAMES=HELD_OUT_NAMES)
    at_least(2, GROUP=GROUP, SAMPLES=SAMPLES, STAGES=STAGES)
    if STAGES > 9:
        fail(f"STAGES = {STAGES}: give up to 9; the picture has no more marks")
    at_least(1, DPO_PAIRS=DPO_PAIRS, LOOK_NAMES=LOOK_NAMES)
    at_least(0.0, PRETRAIN_LR=PRETRAIN_LR, LR=LR, BETA=BETA, TASTE=TASTE, DPO_LR=DPO_LR)
    at_least(0.0, DPO_BETA=DPO_BETA)
    at_least(STAGES, ROUNDS=ROUNDS, DPO_STEPS=DPO_STEPS)
    at_least(2, PLAIN_ROUNDS=PLAIN_ROUNDS)


def check_classes(names: Sequence[str]) -> None:
    """What no name does, the reference does not write, and play cannot find."""
    for i, label in enumerate(CLASSES):
        if all(kind(name) != i for name in names):
            ending = "a letter other than a and e" if label == "other" else label
            fail(f"no name ends in {ending}: give names of all three classes")


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
