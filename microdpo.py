"""microdpo: how do preferences align a language model with no reward model?

Direct preference optimization (DPO, Rafailov et al. 2023, arXiv:2305.18290) learns from
comparisons: a prompt, an answer that was chosen, one that was rejected. It raises the probability
of the chosen answer relative to the rejected one, each measured against a frozen copy of the model,
the reference. That is one supervised loss: no reward model is trained, and nothing is sampled while
learning. Section 6 derives why this maximizes a reward all the same.

What runs: a tiny GPT learns given names, and completes them from their first letters. A simulated
annotator with a taste of its own compares pairs of completions. DPO fits the comparisons at four
values of beta, the strength of the pull to the reference. The control is fine-tuning on the chosen
answers alone, with as many updates, at three learning rates.

What to look for: how little the chosen answers teach without the rejected ones. How each smaller
beta drifts further, and that beyond some point drift makes the names worse: the comparisons no
longer speak of such answers (Gao et al. 2022, arXiv:2210.10760, for reward models; Rafailov et al.
2024, arXiv:2406.02900, for DPO). That chosen answers may become less likely, too.

Use it when comparisons are at hand and a steady, cheap fit to them is enough. Use PPO (microppo.py)
when new answers should be judged while learning.

Read from top to bottom. If you know another script: sections 3 to 5 are the same text; go from
section 2 to section 6. The appendix holds names and manners, and needs no reading.
"""

from __future__ import annotations

import argparse
import gc
import json
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
BATCH = 2  # names per step in pretraining, comparisons per step afterwards

PRETRAIN_STEPS = 400  # the loss has flattened by then
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak, as every rate below
HELD_OUT_NAMES = 56  # a tenth of them: their first letters are the prompts of the last test

PAIRS = 600  # comparisons that the annotator makes
HELD_OUT = 200  # of them, for measuring
TASTE = 12.0  # how sure the annotator is: log-odds of preferring the better name, per unit of gold

STEPS = 400  # updates of DPO, and of the control: every comparison twice
BETAS = [1.0, 0.3, 0.1, 0.01]  # strength of the pull to the reference, strong to weak
BETA = 0.3  # the one that is shown in detail, in the middle
DPO_LR = 0.008  # like the next line, tried on other seeds (docs/implementation.md)
CHOSEN_LRS = [0.003, 0.006, 0.012]  # of the control; the best of them counts

SAMPLES = 250  # fresh names from each model when it is judged


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


# 6. THE ALGORITHM: DIRECT PREFERENCE OPTIMIZATION =================================================

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


# --- DPO ------------------------------------------------------------------------------------------

# From preferences to a loss, in four steps (paper, section 4).
#
# x is a prompt and y an answer to it; y_w was chosen (it won), y_l rejected (it lost). pi is the
# policy, the model that learns, and pi_ref the reference. E is the mean over prompts and over
# answers of the policy. KL(pi || pi_ref) = E[log pi(y|x) - log pi_ref(y|x)] is how far the policy
# has drifted, in nats.
#
# 1. Alignment asks for answers of high reward r that stay near the reference:
#        maximize  E[r(x, y)] - beta KL(pi || pi_ref)
#    A small beta lets the policy go far for a little reward.
#
# 2. The best policy is the reference, reweighted by the reward:
#        pi*(y|x) = pi_ref(y|x) exp(r(x, y) / beta) / Z(x)
#    where Z(x), the sum of the numerator over every possible answer, makes it sum to 1; nobody can
#    compute it. Why is it the best? Take the logarithm of this line and solve it for r:
#        r(x, y) = beta log(pi*(y|x) / pi_ref(y|x)) + beta log Z(x)
#    and put that into 1, with log(pi / pi_ref) for the KL:
#        E[beta log(pi* / pi_ref) + beta log Z - beta log(pi / pi_ref)]
#            = E[beta log Z(x)] - beta KL(pi || pi*)
#    The first term does not depend on pi; the KL is 0 for pi = pi*, and greater for all others.
#
# 3. So rewards and policies come in pairs, and the line for r can be read the other way: any
#    policy pi is the best one for the reward beta log(pi(y|x) / pi_ref(y|x)), plus what depends on
#    x alone. To learn a policy is to learn a reward.
#
# 4. The annotator prefers y_w to y_l with probability sigmoid(r(x, y_w) - r(x, y_l)) (Bradley and
#    Terry; here r is TASTE times gold). Put the line for r in: beta log Z(x) is the same for both
#    answers and cancels. What is left can be computed, and its negative log-likelihood is the DPO
#    loss:
#        -log sigmoid(beta [(log pi(y_w|x) - log pi_ref(y_w|x))
#                         - (log pi(y_l|x) - log pi_ref(y_l|x))])
#
# beta times the bracket is the margin: by how much the reward inside the policy prefers the chosen
# answer. While pi = pi_ref it is 0, and the loss is ln 2 = 0.693. What does a step of learning do?
# The gradient of the loss is
#        -beta sigmoid(-margin) (grad log pi(y_w|x) - grad log pi(y_l|x))
# so the chosen answer becomes likelier than the rejected one, most of all where the margin has the
# wrong sign; a comparison with a wide margin is learnt, and hardly counts any more. Only the
# difference is pushed: both answers may become less likely.


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
    chance: float  # P(the annotator prefers chosen), for measuring


def prepare(
    text: dict[str, str], reference: Model, alphabet: list[str], chance: float = 1.0
) -> Pair:
    """Encode a comparison; chance is 1 for those of a file, whose annotator is unknown."""
    prompt = encode(text["prompt"], alphabet)[:-1]
    chosen, rejected = (encode(text[key], alphabet)[1:] for key in ("chosen", "rejected"))
    return Pair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        ref_chosen=log_prob(reference, prompt, chosen),
        ref_rejected=log_prob(reference, prompt, rejected),
        chance=chance,
    )


def log_ratios(model: Model, pair: Pair) -> tuple[Any, Any]:
    """log pi(y|x) - log pi_ref(y|x) of the chosen answer, and of the rejected one."""
    chosen = log_prob(model, pair.prompt, pair.chosen) - pair.ref_chosen
    return chosen, log_prob(model, pair.prompt, pair.rejected) - pair.ref_rejected


def preferences(
    policy: Model, pairs: list[Pair], beta: float | None, rng: random.Random
) -> Callable[[], float]:
    """A learn() for train(): the mean DPO loss of BATCH comparisons, drawn without replacement
    until all have been seen.

    With None for beta it is the control's, -log pi(chosen|x), as if nothing had been rejected.
    """
    deck: list[Pair] = []

    def loss_of(pair: Pair) -> Value:
        if beta is None:
            return -log_prob(policy, pair.prompt, pair.chosen)
        return dpo_loss(*log_ratios(policy, pair), beta)

    def learn() -> float:
        loss = 0.0
        for _ in range(BATCH):
            deck[:] = deck or rng.sample(pairs, len(pairs))
            share = loss_of(deck.pop()) / BATCH
            share.backward()
            loss += share.data
        return loss

    return learn


# 7. EXPERIMENT ====================================================================================


class Task(NamedTuple):
    """What every policy starts from, learns from and is measured on."""

    seed: int
    alphabet: list[str]
    reference: Model  # floats
    pairs: list[Pair]
    held_out: list[Pair]
    prompts: list[str]  # first letters of held-out names
    has_gold: bool  # not for comparisons from a file


class Look(NamedTuple):
    """Means over the held-out comparisons, after some steps."""

    step: int
    loss: float
    margin: float
    accuracy: float  # P(the annotator, asked again, agrees with the margin); a tie is half right
    chosen: float  # log pi(chosen | prompt)
    rejected: float


class Verdict(NamedTuple):
    """What fresh answers show of a policy."""

    gold: float
    gold_se: float  # the standard error of its mean
    kl: float  # the drift, estimated from these answers: nats per answer
    repeats: float  # mean of repeats()
    length: float  # mean number of letters
    unfinished: float  # share of answers that filled the context without an end
    names: list[str]


def make_task(seed: int, names: str | None, pairs: str | None) -> Task:
    """Pretrain the reference and collect comparisons; names and pairs are the user's files."""
    rng = random.Random(seed)
    learnt, held_out = split(read_names(names, BLOCK_SIZE - 1), rng, HELD_OUT_NAMES)
    alphabet = alphabet_of(learnt + held_out)
    texts = read_pairs(pairs, alphabet) if pairs is not None else []
    if not texts:
        check_letters(alphabet)
    print(f"microdpo, seed {seed}: {len(learnt)} names to learn, {len(held_out)} held out")
    reference = pretrain(learnt, alphabet, rng)
    loss = mean_loss(reference, held_out, alphabet)
    print(f"the reference, after {PRETRAIN_STEPS} steps: loss {loss:.2f} nats per token")
    texts = texts or [compare(reference, learnt, alphabet, rng) for _ in range(PAIRS)]
    parts = []
    for part in split(texts, rng, HELD_OUT):
        chances = [chance_of(text) if pairs is None else 1.0 for text in part]
        parts.append([prepare(t, reference, alphabet, c) for t, c in zip(part, chances)])
    return Task(
        seed=seed,
        alphabet=alphabet,
        reference=reference,
        pairs=parts[0],
        held_out=parts[1],
        prompts=[draw_prompt(held_out, rng) for _ in range(SAMPLES)],
        has_gold=pairs is None,
    )


def show_pairs(task: Task) -> None:
    print(f"\n{len(task.pairs)} comparisons to learn, {len(task.held_out)} held out. Some of them:")
    for pair in task.pairs[:6]:
        texts = (pair.prompt + answer for answer in (pair.chosen, pair.rejected))
        better, worse = (decode(text, task.alphabet) for text in texts)
        score = f"gold {gold(better):5.2f} over {gold(worse):5.2f}" if task.has_gold else ""
        print(f"  {better:>15} preferred to {worse:15} {score}".rstrip())


def noise_limit(task: Task) -> float:
    """The accuracy of one who knows the gold score exactly: the annotator is noisy."""
    chances = [pair.chance for pair in task.held_out]
    return sum(max(c, 1.0 - c) for c in chances) / len(chances)


def look_at(policy: Model, task: Task, beta: float, step: int) -> Look:
    frozen, rows = freeze(policy), []
    for pair in task.held_out:
        ratio_w, ratio_l = log_ratios(frozen, pair)
        margin, chance = beta * (ratio_w - ratio_l), pair.chance
        right = 0.5 if margin == 0.0 else chance if margin > 0.0 else 1.0 - chance
        loss = dpo_loss(ratio_w, ratio_l, beta)
        rows.append((loss, margin, right, ratio_w + pair.ref_chosen, ratio_l + pair.ref_rejected))
    loss, margin, accuracy, chosen, rejected = (sum(column) / len(rows) for column in zip(*rows))
    return Look(
        step=step, loss=loss, margin=margin, accuracy=accuracy, chosen=chosen, rejected=rejected
    )


def align(task: Task, label: str, beta: float | None, lr: float, look: Any = None) -> Model:
    """Train a copy of the reference; every policy sees the same comparisons in the same order.
    look(policy, step) is called on the way."""
    policy = unfreeze(task.reference)
    learn = preferences(policy, task.pairs, beta, random.Random(task.seed))
    hook = (lambda step: look(policy, step)) if look else None
    train(label, learn, Adam(weights_of(policy)), STEPS, lr, hook)
    return freeze(policy)


def judge(policy: Model, task: Task) -> Verdict:
    """Complete every prompt once with a policy of floats."""
    rng, names, golds, kls, ends = random.Random(task.seed), [], [], [], []
    for prompt in task.prompts:
        x = encode(prompt, task.alphabet)[:-1]
        y = sample(policy, x, rng)
        names.append(prompt + decode(y, task.alphabet))
        golds.append(gold(names[-1]))
        kls.append(log_prob(policy, x, y) - log_prob(task.reference, x, y))
        ends.append(y[-1])
    n = len(names)
    mean = sum(golds) / n
    return Verdict(
        gold=mean,
        gold_se=math.sqrt(sum((g - mean) ** 2 for g in golds) / (n - 1) / n),
        kl=sum(kls) / n,
        repeats=sum(map(repeats, names)) / n,
        length=sum(map(len, names)) / n,
        unfinished=sum(end != EDGE for end in ends) / n,
        names=names,
    )


def lead(a: Verdict, b: Verdict) -> float:
    """By how many standard errors a's gold score exceeds b's, as if samples were independent. (The
    best of several on the same samples has some luck in it; its lead is to be read with that.)"""
    return (a.gold - b.gold) / (math.hypot(a.gold_se, b.gold_se) or 1e-9)


def show_history(history: list[Look]) -> None:
    print(f"\nDPO at beta {BETA}, on the held-out comparisons")
    print("   step    loss  margin  accuracy  log pi(chosen)  log pi(rejected)")
    for x in history:
        print(f"  {x.step:5} {x.loss:7.3f} {x.margin:7.2f} {x.accuracy:9.3f}", end="")
        print(f" {x.chosen:15.2f} {x.rejected:17.2f}")
    print("""  The loss sees only the difference of the last two columns, so both may fall:
  the two answers share letters, and what makes the rejected one less likely
  tends to do the same to the chosen one, in favour of other answers.""")


def show_verdicts(verdicts: dict[str, Verdict], has_gold: bool) -> None:
    print(f"\n{SAMPLES} fresh answers of each policy")
    title = "  gold +- s.e.  " if has_gold else ""
    print(f"  {'':18}{title}     KL   repeats  length  unfinished")
    for label, v in verdicts.items():
        score = f"{v.gold:6.3f} +- {v.gold_se:.3f}" if has_gold else ""
        print(f"  {label:18}{score}{v.kl:8.2f}{v.repeats:10.1%}", end="")
        print(f"{v.length:8.1f}{v.unfinished:12.1%}")
    print("""  KL          drift from the reference, in nats per answer
  repeats     pairs of letters that the name had before; the comparisons hardly
              speak of them, and a policy that drifts far is full of them
  unfinished  answers that filled the context without coming to an end""")
    if has_gold:
        print("\nwhat each drift buys: the paper's figure 2 (left)")
        marks = dict(zip(verdicts, "R" + "xyz"[: len(CHOSEN_LRS)] + "abcdefghijklmnop"))
        points = [(marks[label], v.kl, v.gold) for label, v in verdicts.items()]
        plot(points, x_label="KL", y_label="gold score")
        print("  R the reference, x y z chosen only, a b c ... DPO, from the largest beta down")
    print("\nanswers to the same prompts")
    for label, v in verdicts.items():
        print(f"  {label:18} {words(v.names, 57)}")


def experiment(seed: int, names: str | None, pairs: str | None) -> int:
    check_settings()
    task = make_task(seed, names, pairs)
    show_pairs(task)
    limit = noise_limit(task)
    if task.has_gold:
        print(f"  Who knows the gold score would agree with {limit:.1%} of those held out.")

    # The control, and DPO at every beta.
    history: list[Look] = []

    def look(policy: Model, step: int) -> None:
        if step % max(1, STEPS // 5) == 0 or step == STEPS:
            history.append(look_at(policy, task, BETA, step))

    policies = {"reference": task.reference}
    for lr in CHOSEN_LRS:
        policies[f"chosen only {lr}"] = align(task, f"chosen only {lr}", None, lr)
    for beta in sorted(BETAS, reverse=True):
        label = f"beta {beta}"
        policies[label] = align(task, label, beta, DPO_LR, look if beta == BETA else None)
    show_history(history)

    # Judge every policy by fresh answers to the same prompts.
    verdicts = {label: judge(policy, task) for label, policy in policies.items()}
    show_verdicts(verdicts, task.has_gold)
    dpo = [verdicts[f"beta {beta}"] for beta in BETAS]
    drifted = verdicts[f"beta {min(BETAS)}"]
    control = max((verdicts[f"chosen only {lr}"] for lr in CHOSEN_LRS), key=lambda v: v.gold)
    best = max(dpo, key=lambda v: v.gold)
    loss, accuracy = history[-1].loss, history[-1].accuracy
    claims: list[Claim] = [("held-out loss; ln 2 = 0.693 before", loss, "<=", 0.62)]
    if task.has_gold:
        start = verdicts["reference"]
        claims += [
            ("held-out accuracy, share of the noise's limit", accuracy / limit, ">=", 0.75),
            ("best beta's gold above the reference's, s.e.", lead(best, start), ">=", 4.0),
            ("best beta's gold above chosen-only's, s.e.", lead(best, control), ">=", 2.0),
            ("smallest beta's gold below the best's by", best.gold - drifted.gold, ">=", 0.03),
            ("smallest beta's KL, times the best's", drifted.kl / best.kl, ">=", 1.5),
        ]
    return check_claims(claims)


def main(argv: Sequence[str] | None = None) -> int:
    pairs = "your own comparisons: JSON lines with prompt, chosen and rejected"
    return run(experiment, "How do preferences align a language model?", argv, pairs=pairs)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, BATCH=BATCH, PRETRAIN_STEPS=PRETRAIN_STEPS, HELD_OUT_NAMES=HELD_OUT_NAMES)
    at_least(20, PAIRS=PAIRS)
    at_least(1, HELD_OUT=HELD_OUT, STEPS=STEPS)
    at_least(2, SAMPLES=SAMPLES)
    at_least(0.0, PRETRAIN_LR=PRETRAIN_LR, TASTE=TASTE, DPO_LR=DPO_LR)
    for beta in BETAS:
        at_least(1e-6, beta=beta)
    for lr in CHOSEN_LRS:
        at_least(0.0, lr=lr)
    if BETA not in BETAS:
        fail(f"BETA = {BETA} is not among BETAS = {BETAS}: add it there")
    if not 1 <= len({*CHOSEN_LRS}) == len(CHOSEN_LRS) <= 3:
        fail("CHOSEN_LRS: give one to three different rates; the picture has no more marks")
    if not len({*BETAS}) == len(BETAS) <= 16:
        fail("BETAS: give up to 16 different values; the picture has no more marks")


def read_pairs(path: str, alphabet: list[str]) -> list[dict[str, str]]:
    """Comparisons from JSON lines with the keys prompt, chosen and rejected, as TRL takes them."""
    keys, pairs = ("prompt", "chosen", "rejected"), []
    for number, line in enumerate(read_lines(path), 1):
        if not line:
            continue
        where = f"{path}, line {number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            fail(f"{where}: not JSON; write one object per line")
        if not isinstance(found, dict) or not all(isinstance(found.get(k), str) for k in keys):
            fail(f"{where}: give the keys prompt, chosen and rejected, each with a string")
        pair = {key: found[key].lower() for key in keys}
        unknown = sorted(set("".join(pair.values())) - set(alphabet))
        if unknown:
            fail(f"{where}: {unknown[0]!r} is in none of the names; give --names that use it")
        if pair["chosen"] == pair["rejected"]:
            fail(f"{where}: chosen equals rejected; give two different answers")
        if max(len(pair["prompt"] + pair[key]) for key in keys[1:]) >= BLOCK_SIZE:
            fail(f"{where}: longer than the context; {BLOCK_SIZE - 1} letters is the most")
        pairs.append(pair)
    if len(pairs) < 20:
        fail(f"{path}: {len(pairs)} pairs are too few to hold some out; give 20 or more")
    return pairs


# --- letters that can be judged (shared) ----------------------------------------------------------

def check_letters(alphabet: list[str]) -> None:
    """The annotator has to know some vowels and some consonants among the letters."""
    if not 0 < sum(letter in VOWELS for letter in alphabet[1:]) < len(alphabet) - 1:
        fail("flow() needs vowels it knows, a e i o u y or accented ones, and other letters too")


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
