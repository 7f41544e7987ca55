"""microgrpo: can a group of answers stand in for the critic?

PPO (microppo.py) asks of every token: did it do better than expected? What to expect, a critic has
to learn: in production a second model of the policy's size. Group relative policy optimization
(GRPO, Shao et al. 2024, arXiv:2402.03300) has no critic. The policy writes several answers to the
same prompt, and an answer is good if it is better than the others of its group. The rest is PPO:
the probability ratio, its clip, the tie to the reference.

What runs: a tiny GPT learns given names: the reference. A program scores what it writes, so that
the reward is exact and nothing has to learn it (a verifiable reward, as for sums or code that is
run). GRPO trains the policy, and PPO with a critic the same policy with as many answers. Then
GRPO's two divisions are looked at, that by the group's spread and that by the answer's length,
which Dr. GRPO (Liu et al. 2025, arXiv:2503.20783) leaves out.

What to look for: GRPO gains nearly what PPO does. What it costs: groups whose answers all score
the same teach nothing, and become more as the policy becomes better; a group whose answers hardly
differ counts as much as one that has found something; and where the answers of a batch are all
praised or all blamed, a mean over each answer's tokens makes answers shorter or longer.

Use it when answers are cheap, a prompt can be answered many times, and a program checks them. Use
PPO when a critic can foresee much before the end; microreinforce.py, beside this file, when each
answer is learnt from once.

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
PROMPTS = 4  # groups per round
ROUNDS = 12  # first write answers, then learn from them
EPOCHS = 3  # times that each answer is learnt from
MINIBATCH = 8  # answers per update
LR = 0.006  # Adam's, constant: as in microppo.py
BETA = 0.04  # weight of the KL estimate in the loss: that of Shao et al.
CLIP = 0.2  # how far a probability ratio may move from 1 before its gradient is cut

CRITIC_ROLLOUTS = 400  # answers of the reference that PPO's critic learns from before the loop
CRITIC_EPOCHS = 3  # times that it learns from each answer, there and in every round
CRITIC_LR = 0.02  # Adam's, constant
GAMMA = 1.0  # discount per token: a reward at the end counts in full
LAMBDA = 0.95  # of gae(): 0 asks the critic after every token, 1 waits for the whole answer

GOOD = 0.5  # the gold score from which a judge of yes or no would say yes
LOOKS = 64  # groups of a policy that are looked at
STEP = 4.0  # of plain gradient descent, to see what the divisor does to lengths

SAMPLES = 200  # fresh names from each policy when it is judged


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


# 6. THE ALGORITHM: GROUP RELATIVE POLICY OPTIMIZATION =============================================

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


# --- GRPO -----------------------------------------------------------------------------------------

# The policy pi writes an answer, tokens a_0 .. a_(n-1) with the EDGE at its end; s_t is what stands
# there before a_t. The reward r is the gold score of the whole name. A round of the loop:
#
#     write     the policy answers each prompt GROUP times          write()
#     credit    how much better each answer did than its group      group_advantages()
#     learn     make better answers likelier and worse ones less    learn_from()
#               likely, and stay near the reference; EPOCHS times
#
# 6a. ANSWERS IN GROUPS: the policy writes, and everything about it is noted, in floats


class Rollout(NamedTuple):
    """One answer. The lists have an entry for each of its tokens."""

    prompt: list[int]
    answer: list[int]  # a_0 .. a_(n-1)
    log_probs: list[float]  # log pi(a_t | s_t), for the policy that wrote it
    ref_log_probs: list[float]  # log pi_ref(a_t | s_t)
    reward: float


Group = list[Rollout]  # answers to one prompt


def write(policy: Model, world: World, count: int, size: int, rng: random.Random) -> list[Group]:
    """The answers of a policy of floats to some prompts: count groups of size answers, drawn at
    temperature 1, so that log_probs belong to the very distribution they were drawn from.

    (World, in section 7, holds the reference, the alphabet and the names that prompts are from.)
    """
    groups = []
    for _ in range(count):
        prompt = draw_prompt(world.names, rng)
        start, group = encode(prompt, world.alphabet)[:-1], []
        for _ in range(size):
            answer = sample(policy, start, rng)
            rollout = Rollout(
                prompt=start,
                answer=answer,
                log_probs=token_log_probs(policy, start, answer),
                ref_log_probs=token_log_probs(world.reference, start, answer),
                reward=gold(prompt + decode(answer, world.alphabet)),
            )
            group.append(rollout)
        groups.append(group)
    return groups


# 6b. CREDIT: how good was an answer, compared with what was to be expected?
#
# The mean reward of the group is an estimate of what the policy gets for this prompt. An answer
# above it is praised, one below it blamed, and all its tokens alike: what a critic would know about
# the single token, a group does not (Shao et al. 2024, section 4.1.2):
#
#     A_i = (r_i - mean(r)) / std(r)        for each of the GROUP answers to one prompt
#
# std divides by GROUP, not by GROUP - 1. The division by std makes every group weigh the same: the
# sum of A_i^2 is GROUP, whether its rewards lie far apart or differ in the second decimal. Only
# where all rewards are equal it is 0: the group is silent. Dr. GRPO leaves the division out.


def group_advantages(rewards: Sequence[float]) -> list[float]:
    """(r_i - mean) / std of a group's rewards; 1e-4 keeps a silent group at 0."""
    middle, std = mean(rewards), math.sqrt(variance(rewards))
    return [(r - middle) / (std + 1e-4) for r in rewards]


def undivided(rewards: Sequence[float]) -> list[float]:
    """r_i - mean: Dr. GRPO's."""
    middle = mean(rewards)
    return [r - middle for r in rewards]


class Lesson(NamedTuple):
    """A rollout and what is to be learnt from it."""

    rollout: Rollout
    advantages: list[float]  # an entry for each token


Credit = Callable[[list[Group]], list[Lesson]]  # from a round's answers to what they teach


def by_group(advantages: Callable[[Sequence[float]], list[float]]) -> Credit:
    """Every token of an answer gets the advantage that the answer has in its group."""

    def credit(groups: list[Group]) -> list[Lesson]:
        lessons = []
        for group in groups:
            for rollout, a in zip(group, advantages([r.reward for r in group])):
                lessons.append(Lesson(rollout=rollout, advantages=[a] * len(rollout.answer)))
        return lessons

    return credit


# 6c. LEARNING: from answers that an older policy wrote
#
# After the first update the policy is no longer pi_old, which wrote the answers. As in PPO the
# ratio rho_t = pi(a_t | s_t) / pi_old(a_t | s_t) corrects for that, and the clip takes the gain out
# of moving it further than c = CLIP from 1 (microppo.py, section 6d). In a round's first minibatch
# pi is pi_old, and every ratio 1.


# --- the clipped surrogate (shared) ---------------------------------------------------------------


def surrogate_loss(log_prob: Value, old_log_prob: float, advantage: float) -> Value:
    """-min(rho A, clip(rho, 1 - c, 1 + c) A) for one token."""
    ratio = (log_prob - old_log_prob).exp()
    clipped = min(max(ratio.data, 1.0 - CLIP), 1.0 + CLIP)
    if ratio.data * advantage <= clipped * advantage:
        return ratio * -advantage
    return Value(-clipped * advantage)  # a constant: no gradient beyond the clip


# --- the drift, and the loss ----------------------------------------------------------------------

# PPO takes the drift from the reference out of the reward. GRPO's reward is compared within a
# group, so the drift goes into the loss. With u = log pi_ref(a_t | s_t) - log pi(a_t | s_t), the
# mean of -u over the policy's own tokens is the KL. So is that of e^u - u - 1 (the mean of e^u is
# sum_a pi (pi_ref / pi) = 1), which is never negative and scatters less.


def drift(log_prob: Value, ref_log_prob: float) -> Value:
    """e^u - u - 1 for one token: the estimate of the KL called k3 (Shao et al., equation 4)."""
    u = ref_log_prob - log_prob
    return u.exp() - u - 1.0


# What to divide an answer's sum of token losses by? GRPO: by its own length n. Without clip and
# drift the gradient is then, where rho = 1,
#
#     (A / n) sum_t grad log pi(a_t | s_t) = (A / n) grad log pi(answer)
#
# that of plain policy gradient with the advantage A / n: of two answers equally good the shorter
# one is praised more, of two equally bad the longer one blamed less. Dr. GRPO divides by a
# constant, and the advantage is A.


class Update(NamedTuple):
    """What one minibatch showed."""

    loss: float
    ratios: list[float]


def learn_from(policy: Model, lessons: list[Lesson], divisor: float | None = None) -> Update:
    """Add up the gradients of one minibatch: the mean over its answers of the sum of token losses,
    divided by the answer's own length, or by a constant divisor."""
    batch_loss, ratios = 0.0, []
    for rollout, advantages in lessons:
        log_probs = token_log_probs(policy, rollout.prompt, rollout.answer)
        losses = map(surrogate_loss, log_probs, rollout.log_probs, advantages)
        drifts = map(drift, log_probs, rollout.ref_log_probs)
        size = len(lessons) * (divisor or len(rollout.answer))
        loss = total([loss + BETA * d for loss, d in zip(losses, drifts)]) / size
        loss.backward()
        batch_loss += loss.data
        ratios += [math.exp(p.data - old) for p, old in zip(log_probs, rollout.log_probs)]
    return Update(loss=batch_loss, ratios=ratios)


def grpo(world: World, label: str, credit: Credit, size: int) -> Learnt:
    """Train a copy of the reference for ROUNDS rounds. Returns it, frozen, and a report of every
    round. PPO is the same loop with another credit, and groups of size 1."""
    rng, started, reports = random.Random(world.seed), time.perf_counter(), []
    policy = unfreeze(world.reference)
    optimizer = Adam(weights_of(policy))
    for number in range(1, ROUNDS + 1):
        # Write. For the whole round, pi_old is the policy that wrote the answers.
        pi_old = freeze(policy)
        groups = write(pi_old, world, PROMPTS * GROUP // size, size, rng)
        lessons = credit(groups)

        # Learn, from every answer EPOCHS times.
        updates = []
        for _ in range(EPOCHS):
            order = rng.sample(lessons, len(lessons))
            for first in range(0, len(lessons), MINIBATCH):
                updates.append(learn_from(policy, order[first : first + MINIBATCH]))
                optimizer.step(LR)

        reports.append(report(groups, updates))
        progress(label, number, ROUNDS, reports[-1].loss, time.perf_counter() - started)
    return Learnt(policy=freeze(policy), rounds=reports)


# 6d. THE CONTROL: PPO's critic
#
# V(s_t) is what the critic expects the answer to get, when s_t is what it sees of it. A linear one
# is enough here, for what the text so far scores foretells much of what it will score:
#
#     V(s_t) = w . features(s_t),    features: gold(s_t), its last token, its length
#
# so that dV/dw are the features themselves, and no chain rule is needed. The drift stays in the
# loss, as GRPO's, so that one thing differs; microppo.py has it in the reward.


def features(seen: Sequence[int], alphabet: list[str]) -> dict[int, float]:
    """The features of s_t that are not 0, by their index among the weights."""
    score = gold(decode(seen, alphabet))
    return {0: score, 1 + seen[-1]: 1.0, len(alphabet) + len(seen): 1.0}


def new_critic(alphabet: list[str]) -> list[float]:
    """Zeros, for the score, every last token and every length."""
    return [0.0] * (1 + len(alphabet) + BLOCK_SIZE)


def value_of(critic: Sequence[float], state: dict[int, float]) -> float:
    """V(s_t)."""
    return sum(critic[i] * x for i, x in state.items())


# --- advantages (shared) --------------------------------------------------------------------------


def gae(rewards: Sequence[float], values: Sequence[float], gamma: float, lam: float) -> list[float]:
    """The advantage of each token: how much better things went after it than the critic expected
    (generalized advantage estimation, Schulman et al. 2016, arXiv:1506.02438, equation 16).

    A_t = sum_k (gamma lam)^k delta_(t+k),  delta_t = r_t + gamma V(s_(t+1)) - V(s_t),  V = 0 after
    the end; computed from the last token backwards. delta_t is how far a_t beat the forecast, and
    A_t + V(s_t) is what the critic should have said.
    """
    advantages, running, following = [], 0.0, 0.0
    for reward_t, value in zip(reversed(rewards), reversed(values)):
        running = reward_t + gamma * following - value + gamma * lam * running
        following = value
        advantages.append(running)
    return advantages[::-1]


def normalize(batch: list[list[float]]) -> list[list[float]]:
    """All numbers of a batch, moved to mean 0 and scaled to standard deviation 1."""
    every = [x for xs in batch for x in xs]
    mean = sum(every) / len(every)
    std = math.sqrt(sum((x - mean) ** 2 for x in every) / len(every)) + 1e-8
    return [[(x - mean) / std for x in xs] for xs in batch]


# --- PPO's credit ---------------------------------------------------------------------------------


def by_critic(world: World) -> Credit:
    """PPO's credit: advantages by gae() from a critic, which then learns from the same answers.

    The critic is trained on answers of the reference beforehand: an untrained one would mislead the
    first rounds.
    """
    rng, critic = random.Random(world.seed), new_critic(world.alphabet)
    slopes = [0.0] * len(critic)
    optimizer = Adam(arrays=[(critic, slopes)])

    def states_of(rollout: Rollout) -> list[dict[int, float]]:
        tokens = [*rollout.prompt, *rollout.answer]
        ends = range(len(rollout.prompt), len(tokens))
        return [features(tokens[:n], world.alphabet) for n in ends]

    def credit(groups: list[Group]) -> list[Lesson]:
        rollouts = [rollout for group in groups for rollout in group]
        states = [states_of(rollout) for rollout in rollouts]
        values = [[value_of(critic, state) for state in row] for row in states]
        rewards = [[0.0] * (len(r.answer) - 1) + [r.reward] for r in rollouts]
        raw = [gae(rs, vs, GAMMA, LAMBDA) for rs, vs in zip(rewards, values)]
        targets = [[a + v for a, v in zip(*rows)] for rows in zip(raw, values)]
        examples = list(zip(states, targets))
        for _ in range(CRITIC_EPOCHS):
            order = rng.sample(examples, len(examples))
            for first in range(0, len(order), MINIBATCH):
                batch = [e for row in order[first : first + MINIBATCH] for e in zip(*row)]
                for state, target in batch:
                    error = value_of(critic, state) - target  # the slope of error^2 / 2
                    for i, x in state.items():
                        slopes[i] += error * x / len(batch)
                optimizer.step(CRITIC_LR)
        return [Lesson(rollout=r, advantages=a) for r, a in zip(rollouts, normalize(raw))]

    credit(write(world.reference, world, CRITIC_ROLLOUTS, 1, rng))
    return credit


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


# --- rounds, groups, spreads and lengths, measured ------------------------------------------------

class Round(NamedTuple):
    """What a round showed."""

    gold: float  # mean score of its answers
    kl: float  # mean of log pi(answer) - log pi_ref(answer)
    spread: float  # mean standard deviation of the rewards within a group
    length: float  # mean number of tokens of an answer
    clipped: float  # share of the ratios beyond the clip, after the round's first update
    low: float  # the smallest ratio
    high: float
    first: float  # the largest |ratio - 1| in the first minibatch
    loss: float


class Learnt(NamedTuple):
    policy: Model  # floats
    rounds: list[Round]


def report(groups: list[Group], updates: list[Update]) -> Round:
    rollouts = [rollout for group in groups for rollout in group]
    later = [ratio for update in updates[1:] for ratio in update.ratios] or [1.0]
    return Round(
        gold=mean([r.reward for r in rollouts]),
        kl=mean([sum(r.log_probs) - sum(r.ref_log_probs) for r in rollouts]),
        spread=mean([math.sqrt(variance([r.reward for r in group])) for group in groups]),
        length=mean([len(r.answer) for r in rollouts]),
        clipped=mean([abs(ratio - 1.0) > CLIP for ratio in later]),
        low=min(later),
        high=max(later),
        first=max(abs(ratio - 1.0) for ratio in updates[0].ratios),
        loss=mean([update.loss for update in updates]),
    )


def rewards_of(groups: list[Group]) -> list[list[float]]:
    return [[rollout.reward for rollout in group] for group in groups]


def count_good(groups: list[list[float]]) -> list[float]:
    """The share of groups with 0, 1, .. GROUP answers that a judge of yes or no would accept."""
    counts = [sum(reward >= GOOD for reward in group) for group in groups]
    return [counts.count(n) / len(counts) for n in range(GROUP + 1)]


def silent(shares: list[float]) -> float:
    """The share of groups that agree, all no or all yes: every advantage is 0."""
    return shares[0] + shares[-1]


def quarters(
    groups: list[list[float]], advantages: Callable[[Sequence[float]], list[float]]
) -> list[float]:
    """Groups sorted by the spread of their rewards, in four: each quarter's share of the sum of
    A^2, the size of what they teach."""
    squares = [sum(a * a for a in advantages(group)) for group in sorted(groups, key=variance)]
    cuts = [len(squares) * i // 4 for i in range(5)]
    return [sum(squares[a:b]) / (sum(squares) or 1.0) for a, b in zip(cuts, cuts[1:])]


def praise(world: World, groups: list[Group]) -> dict[str, list[float]]:
    """What a plain step of gradient descent adds to each weight of the reference if all answers are
    praised alike, A = 1: dividing by their own lengths, and by a constant. (As log pi = log pi_ref,
    the drift has no gradient yet.)"""
    policy = unfreeze(world.reference)
    weights = weights_of(policy)
    lessons = by_group(lambda rewards: [1.0] * len(rewards))(groups)
    typical = mean([len(lesson.advantages) for lesson in lessons])
    own, constant = [0.0] * len(weights), [0.0] * len(weights)
    for lesson in lessons:
        learn_from(policy, [lesson], divisor=1.0)
        for i, w in enumerate(weights):
            own[i] -= w.grad / (len(lesson.advantages) * len(lessons))
            constant[i] -= w.grad / (typical * len(lessons))
            w.grad = 0.0
    return {"its own length": own, "a constant": constant}


def moved(model: Model, step: Sequence[float], scale: float) -> Model:
    """A copy of a model of floats, each weight moved by scale times its entry of step."""
    entries = iter(step)
    return {k: [[x + scale * next(entries) for x in row] for row in m] for k, m in model.items()}


def mean_length(policy: Model, world: World) -> float:
    """Mean number of tokens of its answers to the prompts for judging."""
    rng = random.Random(world.seed)
    starts = [encode(prompt, world.alphabet)[:-1] for prompt in world.prompts]
    return mean([len(sample(policy, start, rng)) for start in starts])


class Lengths(NamedTuple):
    """Mean lengths after all answers were praised, and after all were blamed."""

    praised: float
    blamed: float


def measure_lengths(world: World, groups: list[Group]) -> dict[str, Lengths]:
    """Blame, A = -1, is the step of praise backwards."""
    lengths = {}
    for label, step in praise(world, groups).items():
        praised, blamed = (moved(world.reference, step, s) for s in (STEP, -STEP))
        lengths[label] = Lengths(
            praised=mean_length(praised, world), blamed=mean_length(blamed, world)
        )
    return lengths


def show_rounds(group: Learnt, critic: Learnt) -> None:
    print(f"\ngold by round: {ROUNDS} rounds of {PROMPTS * GROUP} answers, {EPOCHS} epochs; every")
    print("curve has its own scale; behind it, means of three rounds at either end")
    for label, (_, rounds) in (("GRPO", group), ("PPO, with a critic", critic)):
        golds = [r.gold for r in rounds]
        first, last = mean(golds[:3]), mean(golds[-3:])
        print(f"  {label:18} {sparkline(golds)} {first:.2f} to {last:.2f}")
    print("\n  round  PPO's  GRPO's    KL  spread  length  clip   low  high   loss")
    for i, (r, other) in enumerate(zip(group.rounds, critic.rounds)):
        if i % max(1, ROUNDS // 12) == 0 or i == ROUNDS - 1:
            print(f"  {i + 1:5}{other.gold:7.2f}{r.gold:8.2f}{r.kl:6.2f}{r.spread:8.2f}", end="")
            print(f"{r.length:8.1f}{r.clipped:6.2f}{r.low:6.2f}{r.high:6.2f}{r.loss:7.2f}")
    print("""  PPO's, GRPO's  mean gold; the rest is GRPO's
  KL         drift from the reference, in nats per answer; length, in tokens
  spread     standard deviation of the rewards within a group
  clip       share of the ratios beyond the clip, after the round's first update
  low, high  the smallest and the largest of these ratios""")


def show_held(world: World) -> None:
    """What each method holds and writes besides the policy."""
    weights = len(weights_of(world.reference))
    critic = len(new_critic(world.alphabet))
    print(f"\nthe policy and the reference have {weights:,} weights each; for its credit")
    print("  GRPO holds 0 weights, and writes 0 answers beforehand")
    print(f"  PPO holds {critic} weights and {2 * critic} moments of Adam's, and writes", end="")
    print(f" {CRITIC_ROLLOUTS} answers")
    print("  (this critic is told the score of the text so far; where nobody knows that,")
    print("  the critic is a second model of the policy's size)")


def show_silence(shares: dict[str, list[float]]) -> None:
    print(f"\nif {GOOD} and more were yes, and all else no: yes in a group of {GROUP}")
    for label, row in shares.items():
        for n, share in enumerate(row):
            head, mark = label if n == 0 else "", "silent" if n in (0, GROUP) else ""
            print(f"  {head:10} {n} yes {share:6.1%}  {mark:6} {bar(share)}".rstrip())


def show_quarters(divided: list[float], plain: list[float]) -> None:
    print("\nA^2 by quarter of the reference's groups, least spread first")
    print(f"  divided by std        {' '.join(f'{share:6.1%}' for share in divided)}")
    print(f"  not divided           {' '.join(f'{share:6.1%}' for share in plain)}")
    print("  divided, all groups teach alike, however little their rewards differ")


def show_lengths(start: float, lengths: dict[str, Lengths]) -> None:
    print("\ntokens of an answer, after one step in which all answers were ...")
    print(f"  {'(the reference)':36}{start:5.1f} {bar(start / BLOCK_SIZE)}")
    for label, pair in lengths.items():
        for word, length in zip(pair._fields, pair):
            text = f"{word}, divided by {label}"
            print(f"  {text:36}{length:5.1f} {bar(length / BLOCK_SIZE)}")
    print("  by a constant, the step is 0 in the mean: what moves lengths there is chance")


def experiment(seed: int, names: str | None) -> int:
    check_settings()
    world = make_world(seed, names)
    print(f"microgrpo, seed {seed}: a reference that has learnt {len(world.names)} names")

    # The group's credit against the critic's: the same loop, and as many answers.
    learnt = {
        "GRPO": grpo(world, "GRPO", by_group(group_advantages), GROUP),
        "PPO, with a critic": grpo(world, "PPO, with a critic", by_critic(world), 1),
    }
    show_rounds(*learnt.values())
    show_held(world)
    verdicts = {"reference": judge(world.reference, world)}
    verdicts |= {label: judge(result.policy, world) for label, result in learnt.items()}
    show_verdicts(verdicts)

    # What a group teaches: nothing if it agrees, and as much as any other if it hardly differs.
    before, after = (
        write(policy, world, LOOKS, GROUP, random.Random(seed))
        for policy in (world.reference, learnt["GRPO"].policy)
    )
    shares = {"reference": count_good(rewards_of(before)), "GRPO": count_good(rewards_of(after))}
    show_silence(shares)
    divided, plain = (quarters(rewards_of(before), f) for f in (group_advantages, undivided))
    show_quarters(divided, plain)

    # What the divisor does to lengths where all advantages have one sign.
    lengths = measure_lengths(world, before)
    show_lengths(mean_length(world.reference, world), lengths)

    start, group, critic = (verdict.gold for verdict in verdicts.values())
    own, constant = (pair.blamed - pair.praised for pair in lengths.values())
    gained = (group - start) / max(critic - start, 1e-9)
    first = max(r.first for result in learnt.values() for r in result.rounds)
    hushed = silent(shares["GRPO"]) - silent(shares["reference"])
    claims = [
        ("first minibatches, largest |ratio - 1|", first, "<=", 1e-12),
        ("gold, GRPO minus reference", group - start, ">=", 0.12),
        ("gain in gold, GRPO's share of PPO's", gained, ">=", 0.7),
        ("silent groups, GRPO's minus the reference's", hushed, ">=", 0.2),
        ("A^2 in the quarter of least spread, undivided", plain[0], "<=", 0.12),
        ("tokens, blamed - praised, own length - constant", own - constant, ">=", 1.5),
    ]
    return check_claims(claims)


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "Can a group of answers stand in for the critic?", argv)


# APPENDIX: names and manners; nobody needs to read it =============================================

def check_settings() -> None:
    """An edit works, or ends here with one clear line."""
    check_model_settings()
    at_least(1, BATCH=BATCH, PRETRAIN_STEPS=PRETRAIN_STEPS, HELD_OUT_NAMES=HELD_OUT_NAMES)
    at_least(2, GROUP=GROUP, SAMPLES=SAMPLES)
    at_least(1, PROMPTS=PROMPTS, ROUNDS=ROUNDS, EPOCHS=EPOCHS, MINIBATCH=MINIBATCH)
    at_least(1, CRITIC_ROLLOUTS=CRITIC_ROLLOUTS, CRITIC_EPOCHS=CRITIC_EPOCHS)
    at_least(4, LOOKS=LOOKS)
    at_least(0.0, PRETRAIN_LR=PRETRAIN_LR, LR=LR, CRITIC_LR=CRITIC_LR, STEP=STEP, BETA=BETA)
    at_least(0.0, CLIP=CLIP, GAMMA=GAMMA, LAMBDA=LAMBDA)
    if GAMMA > 1.0 or LAMBDA > 1.0:
        fail("GAMMA and LAMBDA are shares: give numbers from 0 to 1")


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
