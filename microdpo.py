"""microdpo: how do preferences align a language model with no reward model?

Direct preference optimization (DPO, Rafailov et al. 2023, arXiv:2305.18290) learns from
comparisons: a prompt, an answer that was chosen, one that was rejected. It raises the probability
of the chosen answer relative to the rejected one, each measured against a frozen copy of the model,
the reference. That is one supervised loss: no reward model is trained, and nothing is sampled while
learning. Section 7 derives why this maximizes a reward all the same.

What runs: a tiny GPT learns given names, and completes them from their first letters. A simulated
annotator with a taste for names that flow compares pairs of completions. DPO fits the comparisons
at three values of beta, the strength of the pull to the reference. Fine-tuning on the chosen
answers alone, with as many updates, is the control.

What to look for: the margin by which the chosen answers gain on the rejected ones, even where both
become less likely; what each beta gains, and how far it drifts from the reference; how little the
chosen answers teach without the rejected ones.

Use it when comparisons are at hand and a steady, cheap fit to them is enough. Use PPO (microppo.py)
when new answers should be judged while learning.

Read from top to bottom. Sections 3 to 6 are the same in microlora.py, microppo.py and micromoe.py:
if you know them, go from section 2 to section 7.
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
from collections.abc import Callable, Sequence
from itertools import compress
from operator import mul
from typing import Any, NamedTuple, NoReturn, Union

# ==================================================================================================
# 1. THESIS: the docstring above.  2. SETTINGS
# ==================================================================================================

N_EMBD = 16  # width d
N_HEAD = 4  # attention heads, of 4 dimensions each
N_LAYER = 1  # blocks
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # standard deviation of the initial weights
BATCH = 2  # names per step in pretraining, comparisons per step afterwards

PRETRAIN_STEPS = 400  # the loss has flattened by then
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak, as every rate below

PAIRS = 600  # comparisons that the annotator makes
HELD_OUT = 0.34  # share of them that nothing is trained on, 200 at most
TASTE = 12.0  # how sure the annotator is: log-odds per unit of flow() in section 7

STEPS = 200  # updates of DPO, and of the control
BETAS = [0.1, 0.3, 1.0]  # strength of the pull to the reference, weak to strong
BETA = BETAS[1]  # the one that is shown in detail
DPO_LR = 0.004  # from a grid on other seeds, a little below the best (docs/implementation.md)
CHOSEN_LR = 0.006  # the same for the control

SAMPLES = 300  # fresh names from each model when it is judged


# ==================================================================================================
# 3. DATA  (shared: the same text in all four scripts)
# ==================================================================================================
# The model reads and writes given names, one letter at a time. Any file with one name a line can
# take their place: --names FILE.

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

EDGE = 0  # the token before the first letter and after the last one


def fail(message: str) -> NoReturn:
    """End the program with one clear line and exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


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
        if not lines[-1].isprintable():
            fail(f"{path}, line {number}: holds control characters; give a text file")
    return lines


def read_names(path: str | None) -> list[str]:
    """The embedded names, or those of a file: lower case, each name once."""
    if path is None:
        return NAMES
    found = list(dict.fromkeys(line.lower() for line in read_lines(path) if line))
    longest = BLOCK_SIZE - 1
    names = [name for name in found if len(name) <= longest]
    if not names:
        fail(f"{path}: no usable lines; write one name of 1 to {longest} letters per line")
    if len(names) < 20:
        fail(f"{path}: {len(names)} different names are too few to split; give 20 or more")
    if len(names) < len(found):
        skipped = len(found) - len(names)
        print(f"{path}: {skipped} names of more than {longest} letters skipped", file=sys.stderr)
    return names


def split(items: Sequence[Any], rng: random.Random, share: float = 0.1) -> tuple[list, list]:
    """(training part, held-out part); the second is a share, 200 items at most."""
    shuffled = rng.sample(items, len(items))
    held_out = max(1, min(200, int(share * len(items))))
    return shuffled[held_out:], shuffled[:held_out]


def alphabet_of(names: list[str]) -> list[str]:
    """The vocabulary: token t stands for the letter alphabet[t], EDGE for the empty string."""
    return ["", *sorted(set("".join(names)))]


def encode(text: str, alphabet: list[str]) -> list[int]:
    return [EDGE, *(alphabet.index(letter) for letter in text), EDGE]


def decode(tokens: Sequence[int], alphabet: list[str]) -> str:
    return "".join(alphabet[token] for token in tokens)


# ==================================================================================================
# 4. AUTOGRAD  (shared)
# ==================================================================================================
# A Value is a number that remembers which numbers it was computed from (children) and how fast it
# changes with each of them (local_grads). backward(), called on a loss, walks from it down to the
# parameters and applies the chain rule at every node: child.grad += d(node)/d(child) * node.grad.
#
# The rule of the house: a number that learns through autograd is a Value; a number that does not is
# a float. The same functions run on both, and what runs on floats builds no graph.

Number = Union["Value", float]
Vector = Sequence[Any]  # of Values or of floats
Matrix = Sequence[Vector]  # a list of rows
Model = dict[str, Any]  # of named matrices


class Value:
    """A scalar in the graph. The whole contract stands in docs/autograd-interface.md."""

    __slots__ = ("data", "grad", "children", "local_grads")

    def __init__(self, data: float, children: Any = (), local_grads: Any = ()):
        self.data = data
        self.grad = 0.0
        self.children = children
        self.local_grads = local_grads

    # Each operation states its value, its operands and its local derivatives. With a plain number
    # on the other side, the Value is the only child. No script uses all of them.

    def __add__(self, other: Number) -> Value:
        if isinstance(other, Value):
            return Value(self.data + other.data, (self, other), (1.0, 1.0))
        return Value(self.data + other, (self,), (1.0,))

    def __mul__(self, other: Number) -> Value:
        if isinstance(other, Value):
            a, b = self.data, other.data
            return Value(a * b, (self, other), (b, a))
        return Value(self.data * other, (self,), (other,))

    def __truediv__(self, other: Number) -> Value:
        if isinstance(other, Value):
            a, b = self.data, other.data
            return Value(a / b, (self, other), (1.0 / b, -a / (b * b)))
        return Value(self.data / other, (self,), (1.0 / other,))

    def __pow__(self, k: float) -> Value:  # k is a plain number
        slope = k * self.data ** (k - 1) if k else 0.0
        return Value(self.data**k, (self,), (slope,))

    def exp(self) -> Value:
        e = math.exp(self.data)
        return Value(e, (self,), (e,))

    def log(self) -> Value:  # below 1e-12, value and slope are those at 1e-12
        safe = max(self.data, 1e-12)
        return Value(math.log(safe), (self,), (1.0 / safe,))

    def tanh(self) -> Value:
        t = math.tanh(self.data)
        return Value(t, (self,), (1.0 - t * t,))

    def relu(self) -> Value:  # what is not positive is switched OFF, see below
        return OFF if self.data <= 0 else Value(self.data, (self,), (1.0,))

    def __neg__(self) -> Value:
        return self * -1.0

    def __sub__(self, other: Number) -> Value:
        return self + -other

    def __rsub__(self, other: float) -> Value:
        return -self + other

    def __rtruediv__(self, other: float) -> Value:
        return self**-1.0 * other

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        return f"Value(data={self.data}, grad={self.grad})"

    def graph(self) -> list[Value]:
        """This node and those below it that have children, each after its children, all with a grad
        of zero: only parameters, which have no children, keep theirs from one call to the next.

        A depth-first walk with a stack of its own, so no depth exceeds Python's recursion limit. A
        node that it has been to is marked by SEEN (below) in its grad.
        """
        order: dict[Value, None] = {}  # an ordered set: a node met twice keeps its first place
        stack = [self]
        while stack:
            node = stack[-1]
            if node.grad is SEEN:  # back again: everything below it is in order
                order[stack.pop()] = None
            else:
                node.grad = SEEN
                stack += [c for c in node.children if c.children and c.grad is not SEEN]
        for node in order:
            node.grad = 0.0
        return list(order)

    def backward(self) -> None:
        """Add d(self)/d(parameter) to the grad of every parameter below."""
        order = self.graph()
        self.grad = 1.0
        for node in reversed(order):
            node.push()

    def push(self) -> None:
        """The chain rule at one node. A gradient of zero has nothing to pass on."""
        if grad := self.grad:
            for child, local in zip(self.children, self.local_grads):
                child.grad += local * grad


SEEN = float("nan")  # one particular float, a mark that graph() leaves for as long as it walks
OFF = Value(0.0)  # the one output of every relu() that is off: a constant, with no path back

# Fused operations. A dot product of length n, written with * and +, is 2n - 1 nodes. On paper its
# derivatives are plain: d(a.b)/da = b and d(a.b)/db = a. So one node does it, still from scalars to
# a scalar. It is the chain rule done once by hand, and most of these scripts' speed.


def floats(xs: Vector) -> Sequence[float]:
    """The plain numbers of a vector: a new list for Values, xs itself for floats.

    So with data = floats(xs), "data is xs" says that there is nothing to differentiate.
    """
    return [x.data for x in xs] if isinstance(xs[0], Value) else xs


def dot(a: Vector, b: Vector) -> Any:
    """sum_i a_i b_i of two equally long vectors."""
    if len(a) != len(b):
        raise ValueError(f"dot of vectors of length {len(a)} and {len(b)}")
    a_data, b_data = floats(a), floats(b)
    result = sum(map(mul, a_data, b_data))
    if a_data is not a and b_data is not b:
        return Value(result, (*a, *b), (*b_data, *a_data))
    if a_data is not a:
        return Value(result, a, b_data)
    if b_data is not b:
        return Value(result, b, a_data)
    return result


def total(xs: Vector) -> Any:
    """sum_i x_i."""
    data = floats(xs)
    return sum(data) if data is xs else Value(sum(data), xs, [1.0] * len(xs))


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
    if data is logits:
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
        if isinstance(scores[0], Value):
            children += scores
            slopes += [p * (v - mean) / t for p, v in zip(chances, data)]
        if data is not column:
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
    if data is logits:
        return loss
    slopes = softmax(data)
    slopes[target] -= 1.0
    return Value(loss, logits, slopes)


def relu(x: Any) -> Any:
    return x.relu() if isinstance(x, Value) else max(x, 0.0)


# ==================================================================================================
# 5. MODEL  (shared, but for the marked lines)
# ==================================================================================================
# A GPT-2 in miniature: token and position embeddings, then blocks of attention and MLP, each added
# onto a residual stream. RMSNorm replaces LayerNorm, ReLU replaces GELU; no biases, a norm after
# the embeddings and none before lm_head. A model is a dict of named matrices, and a matrix a list
# of rows, of floats or of Values.


def new_matrix(rows: int, columns: int, rng: random.Random) -> list[list[float]]:
    """Random floats, drawn from N(0, INIT_STD^2)."""
    return [[rng.gauss(0.0, INIT_STD) for _ in range(columns)] for _ in range(rows)]


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
    """W x, shapes (n, m) and (m,) to (n,): dot() of every row and x, but with one look at x.

    A frozen W is made of floats, as its first row tells.

    What relu() has switched off, OFF among Values and 0.0 among floats, is left out with its column
    of W: it adds nothing to W x, and neither it nor the column gets a gradient. In the MLP of a
    trained model that is most of x.
    """
    if len(weights[0]) != len(x):
        raise ValueError(f"a matrix of {len(weights[0])} columns times {len(x)} numbers")
    on = [v is not OFF and v != 0.0 for v in x]
    if 0 < sum(on) < len(x):  # with all of them off, let them stay: floats() wants an entry
        x, weights = list(compress(x, on)), [list(compress(row, on)) for row in weights]
    x_data, frozen = floats(x), floats(weights[0]) is weights[0]
    rows = weights if frozen else [floats(row) for row in weights]
    products = [sum(map(mul, row, x_data)) for row in rows]
    if x_data is x:
        return products if frozen else [Value(y, w, x) for y, w in zip(products, weights)]
    if frozen:
        return [Value(y, x, row) for y, row in zip(products, rows)]
    return [Value(y, [*w, *x], [*x_data, *row]) for y, w, row in zip(products, weights, rows)]


def add(a: Vector, b: Vector) -> list[Any]:
    return [x + y for x, y in zip(a, b)]


def rmsnorm(x: Vector) -> list[Any]:
    """x / sqrt(mean(x^2) + 1e-5)."""
    data = floats(x)
    scale = (dot(data, data) / len(x) + 1e-5) ** -0.5
    if data is x:
        return [v * scale for v in x]
    # the chain rule for scale, once: d(scale)/d(x_i) = -scale^3 x_i / n
    node = Value(scale, x, [-(scale**3) * v / len(x) for v in data])
    return [v * node for v in x]


# --- where the scripts differ: microlora.py adds its adapters to project(), ---
# --- micromoe.py routes mlp(); elsewhere both are plain                      ---


def project(model: Model, name: str, x: Vector) -> list[Any]:
    """W x."""
    return linear(model[name], x)


def mlp(model: Model, layer: int, x: Vector) -> list[Any]:
    """W2 relu(W1 x): widen to 4d, switch off what is negative, narrow to d."""
    hidden = [relu(h) for h in project(model, f"{layer}.w1", x)]
    return project(model, f"{layer}.w2", hidden)


# --- the same again ---


def new_cache() -> list[tuple[list[Any], list[Any]]]:
    """For every layer, the keys and the values of the positions read so far."""
    return [([], []) for _ in range(N_LAYER)]


def gpt(model: Model, token: int, cache: list[tuple[list[Any], list[Any]]]) -> Any:
    """Read one token and return the logits of the next, shape (vocabulary,).

    The position is the length of the cache, to which this token's keys and values are appended.
    That makes attention causal: no later key exists yet.
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
            scores = [dot(query[part], key[part]) for key in keys]
            heads += attend(scores, [v[part] for v in values], d_head**0.5)
        x = add(x, project(model, f"{layer}.wo", heads))
        x = add(x, mlp(model, layer, rmsnorm(x)))
    return project(model, "lm_head", x)


def token_losses(model: Model, tokens: Sequence[int]) -> list[Any]:
    """-log p(next token | tokens so far), in nats, for each token but the first."""
    cache = new_cache()
    return [
        cross_entropy(gpt(model, token, cache), following)
        for token, following in zip(tokens, tokens[1:])
    ]


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


# ==================================================================================================
# 6. TRAINING KIT  (shared)
# ==================================================================================================


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
    label: str, learn: Callable[[], float], optimizer: Adam, steps: int, lr: float
) -> list[float]:
    """Minimize: learn() adds up the gradients of one batch and returns its loss.

    The learning rate rises to lr in the first tenth of the steps, then falls along a straight line
    towards zero. Returns the loss of every step.
    """
    losses = []
    start = time.perf_counter()
    for step in range(steps):
        losses.append(learn())
        rise, fall = (step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps)
        optimizer.step(lr * min(rise, fall, 1.0))
        progress(label, step + 1, steps, losses[-1], time.perf_counter() - start)
    return losses


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


def mean_loss(model: Model, names: list[str], alphabet: list[str]) -> float:
    """Mean cross-entropy per token over names, in nats. Give it a frozen model."""
    losses = [x for n in names for x in token_losses(model, encode(n, alphabet))]
    return sum(losses) / len(losses)


def progress(label: str, step: int, steps: int, loss: float, seconds: float) -> None:
    """To stderr: a moving line on a terminal, else a line every tenth of the way."""
    done = "#" * (20 * step // steps)
    line = f"{label:20} {step:4}/{steps} loss {loss:6.3f} "
    if step == steps:
        line += f"done in {seconds:.1f} s, {1000 * seconds / steps:.1f} ms per step"
    else:
        line += f"{seconds / step * (steps - step):4.0f} s left [{done:20}]"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        ending = "\n" if step == steps else ""
        print(f"\r{line[:width]:{min(width, 79)}}", end=ending, file=sys.stderr, flush=True)
    elif 10 * step // steps > 10 * (step - 1) // steps:
        print(line, file=sys.stderr)


def blocks(marks: str, ascii_marks: str) -> str:
    """marks, if the output's encoding has them, else ascii_marks."""
    try:
        marks.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return ascii_marks
    return marks


def sparkline(values: Sequence[float], width: int = 50) -> str:
    """A curve in one line of text: high marks for high values."""
    width = min(width, len(values))
    cuts = [len(values) * i // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in zip(cuts, cuts[1:])]
    low, high = min(means), max(means)
    marks = blocks("▁▂▃▄▅▆▇█", "_.:-=+*#")
    return "".join(marks[int(7.99 * (m - low) / ((high - low) or 1))] for m in means)


def bar(share: float, width: int = 30) -> str:
    """A horizontal bar, full at share = 1."""
    return blocks("█", "#") * round(width * min(max(share, 0.0), 1.0))


def check_claims(claims: list[tuple[str, float, str, float]]) -> int:
    """Print (claim, measured, ">=" or "<=", bound) lines; 0 if all hold, else 1."""
    print("\nclaims, measured in this run")
    failed = 0
    for text, measured, relation, bound in claims:
        holds = measured >= bound if relation == ">=" else measured <= bound
        failed += not holds
        mark = "ok  " if holds else "FAIL"
        print(f"  {mark} {text:48} {measured:9.4g} {relation} {bound:g}")
    return 1 if failed else 0


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
    gc.disable()  # graphs hold no cycles: reference counts free them at once
    try:
        return experiment(**vars(args))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has left: | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    finally:
        gc.enable()


# ==================================================================================================
# 7. THE ALGORITHM: DIRECT PREFERENCE OPTIMIZATION
# ==================================================================================================

# --- the preference task: the same text in microdpo.py and microppo.py ---
# The model completes a name from its first letters. An annotator compares two completions, and
# likes names that flow: vowels and consonants in turn, few hard stops. The algorithms see nothing
# but the comparisons; flow(), the gold score, drives the annotator and, at the end, grades the
# policy.


def flow(name: str) -> float:
    """The gold score: share of neighbours that alternate, minus share of hard letters."""
    vowel = [letter in "aeiouyáàâäãåéèêëíìîïóòôöõøúùûü" for letter in name]
    turns = sum(a != b for a, b in zip(vowel, vowel[1:])) / max(1, len(name) - 1)
    return turns - sum(letter in "bcdgkpqtx" for letter in name) / max(1, len(name))


def first_wins(first: str, second: str) -> float:
    """P(first is preferred) = sigmoid(TASTE (flow(first) - flow(second))): Bradley and Terry."""
    return 1.0 / (1.0 + math.exp(-TASTE * (flow(first) - flow(second))))


def draw_prompt(names: list[str], rng: random.Random) -> str:
    """The first letter of some name, or the first two."""
    return rng.choice(names)[: rng.choice((1, 2))]


def compare(
    model: Model, names: list[str], alphabet: list[str], rng: random.Random
) -> dict[str, str]:
    """The annotator's choice between two different, finished completions of one prompt."""
    while True:
        prompt = draw_prompt(names, rng)
        start = encode(prompt, alphabet)[:-1]  # without the EDGE at its end: the name goes on
        first, second = sample(model, start, rng), sample(model, start, rng)
        if first != second and first[-1] == second[-1] == EDGE:
            break
    a, b = decode(first, alphabet), decode(second, alphabet)
    if rng.random() > first_wins(prompt + a, prompt + b):
        a, b = b, a
    return {"prompt": prompt, "chosen": a, "rejected": b}


def chance_of(text: dict[str, str]) -> float:
    """P(the annotator, asked again, makes the same choice)."""
    return first_wins(text["prompt"] + text["chosen"], text["prompt"] + text["rejected"])


# --- end of the preference task ---


# From preferences to a loss, in four steps (paper, section 4).
#
# x is a prompt and y an answer to it; y_w was chosen (it won), y_l rejected (it lost). pi is the
# policy, the model that learns, and pi_ref the reference. E is the mean over prompts and over
# answers of the policy. KL(pi || pi_ref) = E[log pi(y|x) - log pi_ref(y|x)] is how far the policy
# has drifted.
#
# 1. Alignment asks for answers of high reward r that stay near the reference:
#        maximize  E[r(x, y)] - beta KL(pi || pi_ref)
#    A small beta lets the policy go far for a little reward.
# 2. The solution is the reference, reweighted by the reward:
#        pi*(y|x) = pi_ref(y|x) exp(r(x, y) / beta) / Z(x)
#    Z(x) sums the numerator over every possible answer; nobody can compute it. (Put pi* into 1: the
#    objective is the mean of beta log Z(x) - beta KL(pi || pi*), which is highest at pi = pi*.)
# 3. Solve for the reward instead:
#        r(x, y) = beta log(pi*(y|x) / pi_ref(y|x)) + beta log Z(x)
#    Read backwards: any policy is the solution for the reward that this line makes of it.
# 4. The annotator prefers y_w to y_l with probability sigmoid(r(x, y_w) - r(x, y_l)) (Bradley and
#    Terry). Put 3 in: beta log Z(x) is the same for both answers and cancels. What is left can be
#    computed, and its negative log-likelihood is the DPO loss:
#        -log sigmoid(beta [(log pi(y_w|x) - log pi_ref(y_w|x))
#                         - (log pi(y_l|x) - log pi_ref(y_l|x))])
#
# beta times the bracket is the margin: by how much the reward inside the policy prefers the chosen
# answer. While pi = pi_ref it is 0, and the loss is ln 2 = 0.693.


def log_probs(model: Model, prompt: Sequence[int], *answers: Sequence[int]) -> list[Any]:
    """log pi(y|x) = sum_t log pi(y_t | x, y_1 .. y_t-1) of each answer y, in nats.

    The prompt x starts with EDGE, and its own tokens are left out of the sum. The answer y ends
    with EDGE (if the context did not end first), which is in the sum: where to stop is part of y.
    All answers go on from one reading of the prompt, each with a cache of its own.
    """
    sums, cache = [], new_cache()
    first = [gpt(model, token, cache) for token in prompt][-1]  # the logits of y_1
    for answer in answers:
        own = [(keys[:], values[:]) for keys, values in cache]
        logits = [first, *(gpt(model, token, own) for token in answer[:-1])]  # for y_1, y_2, ...
        sums.append(-total(list(map(cross_entropy, logits, answer))))
    return sums


def dpo_loss(ratio_w: Any, ratio_l: Any, beta: float) -> Any:
    """-log sigmoid(beta (ratio_w - ratio_l)): the paper's equation 7, for one comparison.

    ratio_w, ratio_l: log pi(y|x) - log pi_ref(y|x) of the chosen answer and of the rejected one, in
    nats, Values or floats. sigmoid(a - b) = e^a / (e^a + e^b), so this is the cross-entropy of the
    logits (beta ratio_w, beta ratio_l), which does not overflow, whatever the margin.
    """
    return cross_entropy([beta * ratio_w, beta * ratio_l], 0)


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
    x = encode(text["prompt"], alphabet)[:-1]
    y_w, y_l = (encode(text[key], alphabet)[1:] for key in ("chosen", "rejected"))
    ref_w, ref_l = log_probs(reference, x, y_w, y_l)
    return Pair(x, y_w, y_l, ref_w, ref_l, chance)


def log_ratios(model: Model, pair: Pair) -> tuple[Any, Any]:
    """log pi(y|x) - log pi_ref(y|x) of the chosen answer, and of the rejected one."""
    chosen, rejected = log_probs(model, pair.prompt, pair.chosen, pair.rejected)
    return chosen - pair.ref_chosen, rejected - pair.ref_rejected


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
            return -log_probs(policy, pair.prompt, pair.chosen)[0]
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


# ==================================================================================================
# 8. EXPERIMENT
# ==================================================================================================


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


def watch(policy: Model, pairs: list[Pair], beta: float) -> list[float]:
    """Means over pairs: [loss, margin, accuracy, log pi(chosen|x), log pi(rejected|x)].

    The accuracy is averaged over what the annotator might have said; a tie is half right.
    """
    frozen, rows = freeze(policy), []
    for pair in pairs:
        ratio_w, ratio_l = log_ratios(frozen, pair)
        margin, chance = beta * (ratio_w - ratio_l), pair.chance
        right = 0.5 if margin == 0.0 else chance if margin > 0.0 else 1.0 - chance
        loss = dpo_loss(ratio_w, ratio_l, beta)
        rows.append((loss, margin, right, ratio_w + pair.ref_chosen, ratio_l + pair.ref_rejected))
    return [sum(column) / len(rows) for column in zip(*rows)]


class Verdict(NamedTuple):
    """What fresh samples show of a policy; gold_se is the standard error of the mean gold."""

    gold: float
    gold_se: float
    kl: float
    surprise: float
    names: list[str]


def judge(
    policy: Model, reference: Model, prompts: list[str], alphabet: list[str], seed: int
) -> Verdict:
    """Complete every prompt once with a policy of floats.

    The KL is estimated from these answers. The surprise is -log pi_ref(y|x) per token: low while
    they still look like names.
    """
    rng = random.Random(seed)
    golds, kls, names = [], [], []
    surprise = tokens = 0.0
    for prompt in prompts:
        x = encode(prompt, alphabet)[:-1]
        y = sample(policy, x, rng)
        expected = log_probs(reference, x, y)[0]
        kls.append(log_probs(policy, x, y)[0] - expected)
        surprise -= expected
        tokens += len(y)
        names.append(prompt + decode(y, alphabet))
        golds.append(flow(names[-1]))
    n = len(prompts)
    gold = sum(golds) / n
    gold_se = math.sqrt(sum((g - gold) ** 2 for g in golds) / (n - 1) / n)
    return Verdict(gold, gold_se, sum(kls) / n, surprise / tokens, names)


def lead(a: Verdict, b: Verdict) -> float:
    """By how many standard errors a's gold score exceeds b's, as if samples were independent."""
    return (a.gold - b.gold) / math.hypot(a.gold_se, b.gold_se)


def frontier(verdicts: dict[str, Verdict]) -> None:
    """The paper's figure 2 (left) in text: gold score upwards, KL to the right."""
    golds = [v.gold for v in verdicts.values()]
    top, low, far = max(golds), min(golds), max(v.kl for v in verdicts.values()) or 1.0
    grid = [[" "] * 61 for _ in range(9)]
    for mark, v in zip("RCabcdefgh", verdicts.values()):
        grid[round(8 * (top - v.gold) / (top - low or 1))][round(60 * max(v.kl, 0) / far)] = mark
    print("\ngold score (up) against KL (to the right): what each drift buys")
    for i, line in enumerate(grid):
        print(f"  {top - (top - low) * i / 8:5.2f} |{''.join(line)}".rstrip())
    print(f"        +{'-' * 61}\n         0{far:60.2f}")
    print("  " + ", ".join(f"{mark} {label}" for mark, label in zip("RCabcdefgh", verdicts)))


def experiment(seed: int, names: str | None, pairs: str | None) -> int:
    """names and pairs are the paths of the user's files, if any."""
    rng = random.Random(seed)
    learnt, held = split(read_names(names), rng)
    alphabet = alphabet_of(learnt + held)
    given = read_pairs(pairs, alphabet) if pairs is not None else None
    print(f"microdpo, seed {seed}")
    print(f"names: {len(learnt)} to learn, {len(held)} held out")

    # Pretrain. The frozen copy is the reference, and every policy starts from it.
    learner = unfreeze(init_model(len(alphabet), rng))
    learn = next_letter(learner, learnt, alphabet, rng)
    optimizer = Adam(weights_of(learner))
    curve = train("pretrain", learn, optimizer, PRETRAIN_STEPS, PRETRAIN_LR)
    reference = freeze(learner)
    print(f"\npretraining, {PRETRAIN_STEPS} steps: loss per token, in nats")
    print(f"  {sparkline(curve)} {mean_loss(reference, held, alphabet):.2f} on held-out names")

    # Make the comparisons, and hold some out.
    compared = given or [compare(reference, learnt, alphabet, rng) for _ in range(PAIRS)]
    texts, unseen_texts = split(compared, rng, HELD_OUT)
    chances = [1.0 if given else chance_of(text) for text in unseen_texts]
    taught = [prepare(text, reference, alphabet) for text in texts]
    unseen = [prepare(t, reference, alphabet, c) for t, c in zip(unseen_texts, chances)]
    print(f"\n{len(taught)} comparisons to learn, {len(unseen)} held out. Some of them:")
    for text in texts[:6]:
        better, worse = (text["prompt"] + text[key] for key in ("chosen", "rejected"))
        score = "" if given else f"flow {flow(better):5.2f} over {flow(worse):5.2f}"
        print(f"  {better:>15} preferred to {worse:15} {score}".rstrip())
    ceiling = sum(max(c, 1.0 - c) for c in chances) / len(chances)
    if not given:
        print(f"  Knowing flow exactly, one would agree with {ceiling:.1%} of those held out.")

    # Align: the control, and DPO at every beta, on the same comparisons in the same order.
    history: list[list[float]] = []

    def align(label: str, beta: float | None, lr: float) -> Model:
        policy, steps = unfreeze(reference), iter(range(STEPS))
        learn = preferences(policy, taught, beta, random.Random(seed))

        def watched() -> float:  # five looks at the held-out comparisons on the way
            step = next(steps)
            if beta == BETA and step % max(1, STEPS // 5) == 0:
                history.append([step, *watch(policy, unseen, BETA)])
            return learn()

        train(label, watched, Adam(weights_of(policy)), STEPS, lr)
        return freeze(policy)

    policies = {"reference": reference, "chosen only": align("chosen only", None, CHOSEN_LR)}
    policies |= {f"beta {beta}": align(f"beta {beta}", beta, DPO_LR) for beta in BETAS}
    history.append([STEPS, *watch(policies[f"beta {BETA}"], unseen, BETA)])

    print(f"\nDPO at beta {BETA}, on the held-out comparisons")
    print("   step    loss  margin  accuracy  log pi(chosen)  log pi(rejected)")
    for step, loss, margin, right, chosen, rejected in history:
        print(f"  {step:5} {loss:7.3f} {margin:7.2f} {right:9.3f} {chosen:15.2f} {rejected:17.2f}")
    print("""  The loss sees only the difference of the last two columns, so both may fall:
  the two answers share letters, and what makes the rejected one less likely
  tends to do the same to the chosen one, in favour of other answers.""")

    # Judge every policy by fresh answers to prompts from held-out names.
    prompts = [draw_prompt(held, rng) for _ in range(SAMPLES)]
    verdicts = {
        label: judge(policy, reference, prompts, alphabet, seed)
        for label, policy in policies.items()
    }
    print(f"\n{SAMPLES} fresh answers of each policy")
    title = "" if given else "   gold flow +- s.e."
    print(f"  {'':11}{title}     KL  surprise  distinct")
    for label, v in verdicts.items():
        gold = "" if given else f"{v.gold:11.3f} +- {v.gold_se:.3f}"
        print(f"  {label:11}{gold}{v.kl:7.2f}{v.surprise:10.2f}{len(set(v.names)):10}")
    print("""  KL        drift from the reference, in nats per answer
  surprise  of the reference at the answers, in nats per token: as long as it
            does not rise much above the first row, they still look like names
  distinct  different names among them""")
    if not given:
        frontier(verdicts)
    print("\nanswers to the same prompts")
    for label, v in verdicts.items():
        print(f"  {label:11} {' '.join(v.names[:9])}"[:79])

    _, loss, _, accuracy, *_ = history[-1]
    accuracy_control = watch(policies["chosen only"], unseen, BETA)[2]
    best, start = verdicts[f"beta {BETA}"], verdicts["reference"]
    kls = [start.kl, *(verdicts[f"beta {beta}"].kl for beta in sorted(BETAS, reverse=True))]
    growth = min(b - a for a, b in zip(kls, kls[1:]))
    rise = best.surprise - start.surprise
    claims: list[tuple[str, float, str, float]] = [
        ("held-out loss; ln 2 = 0.693 before training", loss, "<=", 0.62),
        ("held-out accuracy above chosen-only's by", accuracy - accuracy_control, ">=", 0.02),
        ("KL rises with each smaller beta by", growth, ">=", 0.05),
        ("rise of the surprise, nats per token", rise, "<=", 0.3),
    ]
    if not given:
        claims += [
            ("held-out accuracy, share of the noise's limit", accuracy / ceiling, ">=", 0.75),
            ("gold above the reference, standard errors", lead(best, start), ">=", 4.0),
            ("gold above chosen-only, s.e.", lead(best, verdicts["chosen only"]), ">=", 4.0),
        ]
    return check_claims(claims)


def main(argv: Sequence[str] | None = None) -> int:
    pairs = "your own comparisons: JSON lines with prompt, chosen and rejected"
    return run(experiment, "How do preferences align a language model?", argv, pairs=pairs)


if __name__ == "__main__":
    sys.exit(main())
