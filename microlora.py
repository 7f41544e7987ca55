"""microlora: how can about 1 % of the parameters adapt a language model?

Low-rank adaptation (LoRA, Hu et al. 2021, arXiv:2106.09685) freezes a pretrained n x m weight W and
learns a small change beside it, W' = W + (alpha/r) B A. A is r x m and B is n x r; the rank r is
tiny, and alpha is a constant that sets the size of the change. A and B together are the adapter. B
starts at zero, so the adapted model starts as the base model. Afterwards (alpha/r) B A is either
added into W, and the adapted model costs what the base costs; or it is kept apart, and many
adapters share one base.

What runs: a tiny GPT learns English given names. Adapters of several ranks and places then teach
it Korean ones, and so does full fine-tuning, the control.

What to look for: how much of full fine-tuning's gain the smallest adapters recover; how much
English each of them forgets (Biderman et al. 2024, "LoRA learns less and forgets less",
arXiv:2405.09673); how much work the backward pass saves (the forward pass costs slightly more).

Use it when memory is short, when many variants share one base, or when the base should be
forgotten less: take the adapter away, and it is back exactly. Fine-tune fully when the new task is
far from the old one and nothing else matters.

Read from top to bottom. Sections 3 to 6 are the same in microdpo.py, microppo.py and micromoe.py,
but for marked lines (here project() in section 5, LoRA's forward pass): if you know them, go from
section 2 to project(), and on to section 7.
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
from collections.abc import Callable, Sequence
from itertools import compress
from operator import mul
from typing import Any, NoReturn, Union

# ==================================================================================================
# 1. THESIS: the docstring above.  2. SETTINGS
# ==================================================================================================

N_EMBD = 32  # width d
N_HEAD = 4  # attention heads, of 8 dimensions each
N_LAYER = 1  # blocks
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # standard deviation of the initial weights
BATCH = 1  # names per step
HELD_OUT = 0.25  # share of the names, of both kinds, that nothing is trained on

PRETRAIN_STEPS = 500  # the base loss has flattened by then
PRETRAIN_LR = 0.01  # Adam's learning rate at its peak, as every rate below

ADAPT_STEPS = 300  # the same for every row of the sweep
ALPHA = 8.0  # the adapter's output is multiplied by ALPHA / rank

# The sweep: (label, adapted matrices, rank, learning rate); rank 0 is no adapter. wq wk wv wo are
# attention's projections, w1 w2 the MLP's, "0." is the layer; lm_head makes the logits of the next
# letter. EVERY is every matrix but the embeddings. Each rate is the best of a grid for its own row,
# or as good, full fine-tuning included, found on other seeds (docs/implementation.md).
FULL = "full fine-tuning"
ATTENTION = ["0.wq", "0.wk", "0.wv", "0.wo"]
EVERY = [*ATTENTION, "0.w1", "0.w2", "lm_head"]
SWEEP: list[tuple[str, list[str], int, float]] = [
    (FULL, [], 0, 0.007),
    ("lm_head", ["lm_head"], 1, 0.05),
    ("wq wv", ["0.wq", "0.wv"], 1, 0.015),
    ("attention", ATTENTION, 4, 0.012),
    ("every projection", EVERY, 1, 0.01),
    ("every projection", EVERY, 2, 0.007),
]


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
    """W x, plus (alpha/r) B A x where the model has an adapter for W: matrices name.A, name.B."""
    y = linear(model[name], x)
    if f"{name}.A" not in model:
        return y
    a, b = model[f"{name}.A"], model[f"{name}.B"]
    scale = ALPHA / len(a)  # the rank r is the number of A's rows
    hidden = [scale * h for h in linear(a, x)]  # scaled here: these are r numbers, y has n
    return add(y, linear(b, hidden))


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
# 7. THE ALGORITHM: LOW-RANK ADAPTATION
# ==================================================================================================
# Fine-tuning moves a weight matrix from W to W + dW, and dW has as many numbers as W. LoRA writes
# the change as a product instead (paper, equation 3):
#
#     W' x = W x + (alpha/r) B (A x)          W: n x m,   B: n x r,   A: r x m
#
# With r = 1 and n = m = 32 these are 64 numbers instead of 1,024. The price: all changes of the
# output lie in r directions, the columns of B. Three details carry the method.
#
# - A is random and B is zero, so B A = 0 and training starts at the base model. Were both zero,
#   they would stay so: with g = dL/d(W' x), the gradient of A is (alpha/r) B^T g x^T, and that of B
#   is (alpha/r) g (A x)^T.
# - W is made of floats here, not of Values. Nothing is computed or stored for its gradient:
#   linear() of floats and Values has edges to the Values only. Above an adapter the gradient still
#   passes through W to x; below the lowest one x is floats too, and the graph does not even begin.
# - B A is a sum of r terms. alpha/r is meant to keep the sum's size when r changes, so that the
#   learning rate need not change much. (The rates of the sweep were tuned row by row all the same.)
#
# The forward pass is project() in section 5. What is left: make an adapter, attach it, merge it.


def new_adapter(base: Model, places: Sequence[str], rank: int, rng: random.Random) -> Model:
    """A and B, as Values, for each named matrix (n x m) of the base.

    A is rank x m and random, B is n x rank and zero (paper, section 4.1). The variance 1/m is our
    choice: the entries of A x are then about as large as those of x. Attach the adapter with
    {**base, **adapter}, which copies no number and leaves the base as it was.
    """
    adapter: Model = {}
    for name in places:
        n, m = len(base[name]), len(base[name][0])
        a = [[rng.gauss(0.0, m**-0.5) for _ in range(m)] for _ in range(rank)]
        b = [[0.0] * rank for _ in range(n)]
        adapter |= unfreeze({f"{name}.A": a, f"{name}.B": b})
    return adapter


def merge(base: Model, adapter: Model) -> Model:
    """The base with W + (alpha/r) B A in place of W, in floats: its shapes and its cost."""
    merged = freeze(base)
    small = freeze(adapter)
    for name in [key.removesuffix(".A") for key in adapter if key.endswith(".A")]:
        a, b = small[f"{name}.A"], small[f"{name}.B"]
        scale = ALPHA / len(a)
        columns = list(zip(*a))
        merged[name] = [
            [w + scale * dot(b_row, column) for w, column in zip(w_row, columns)]
            for w_row, b_row in zip(base[name], b)
        ]
    return merged


def singular_values(matrix: Matrix) -> list[float]:
    """The singular values of a matrix of floats, largest first.

    One-sided Jacobi: rotate pairs of rows until every two are orthogonal. A rotation changes no
    singular value, and those of a matrix with orthogonal rows are the rows' lengths.
    """
    rows = [list(row) for row in matrix]
    for _ in range(12):  # rounds over all pairs; 8 reach rounding error at 32 x 32
        for i in range(len(rows)):
            for j in range(i):
                p, q = rows[i], rows[j]
                angle = 0.5 * math.atan2(2 * dot(p, q), dot(p, p) - dot(q, q))
                c, s = math.cos(angle), math.sin(angle)
                rows[i] = [c * x + s * y for x, y in zip(p, q)]
                rows[j] = [c * y - s * x for x, y in zip(p, q)]
    return sorted((math.sqrt(dot(row, row)) for row in rows), reverse=True)


def directions(singular: Sequence[float]) -> int:
    """How many of the largest singular values hold 90 % of the sum of squares."""
    held, enough = 0.0, 0.9 * dot(singular, singular)
    for count, value in enumerate(singular, 1):
        held += value * value
        if held >= enough:
            return count
    return len(singular)


# ==================================================================================================
# 8. EXPERIMENT
# ==================================================================================================
# The target: given names of Korea, romanized. Other letter pairs (eo, ae, hy), two syllables each,
# other endings: a shift that is seen at once.

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


def backward_edges(model: Model, tokens: Sequence[int]) -> int:
    """The edges from node to child in the graph of one name: each is a step of the chain rule."""
    return sum(len(node.children) for node in total(token_losses(model, tokens)).graph())


def all_logits(model: Model, tokens: Sequence[int]) -> list[float]:
    """The logits after every token, in one list."""
    cache = new_cache()
    return [z for token in tokens for z in floats(gpt(model, token, cache))]


def differing(xs: Sequence[float], ys: Sequence[float]) -> int:
    return sum(x != y for x, y in zip(xs, ys))


def experiment(seed: int, names: str | None) -> int:
    rng = random.Random(seed)
    english, english_held = split(read_names(names), rng, HELD_OUT)
    korean, korean_held = split(KOREAN, rng, HELD_OUT)
    alphabet = alphabet_of(english + english_held + KOREAN)
    print(f"microlora, seed {seed}")
    print(f"base names: {len(english)} to learn, {len(english_held)} held out; ", end="")
    print(f"target names: {len(korean)} and {len(korean_held)}")

    # Pretrain, then freeze: from here on the base is floats.
    learner = unfreeze(init_model(len(alphabet), rng))
    size = len(weights_of(learner))
    learn = next_letter(learner, english, alphabet, rng)
    optimizer = Adam(weights_of(learner))
    curve = train("pretrain", learn, optimizer, PRETRAIN_STEPS, PRETRAIN_LR)
    base = freeze(learner)
    untouched = freeze(base)  # to compare with at the end

    # Adapt, once for every row, on the same names in the same order. The table's rows: (parameters
    # trained, edges, loss on Korean, loss on English); the first is the base, the second is full.
    probe = encode(korean_held[0], alphabet)
    models, adapters, curves, table = [base], [], [curve], []

    def measure(trained: int, edges: int, model: Model) -> None:
        losses = (mean_loss(freeze(model), part, alphabet) for part in (korean_held, english_held))
        table.append((trained, edges, *losses))

    measure(0, 0, base)
    for place, matrices, rank, lr in SWEEP:
        adapter = new_adapter(base, matrices, rank, rng)
        model = unfreeze(base) if place == FULL else {**base, **adapter}
        values = weights_of(model if place == FULL else adapter)
        learn = next_letter(model, korean, alphabet, random.Random(seed))
        curves.append(train(f"{place} {rank or ''}", learn, Adam(values), ADAPT_STEPS, lr))
        measure(len(values), backward_edges(model, probe), model)
        models.append(freeze(model))
        adapters.append(adapter)
    rows = [("nothing", 0), *((place, rank) for place, _, rank, _ in SWEEP)]
    labels = [f"{place:17}{rank or '-':>2}" for place, rank in rows]

    print(f"\ntraining loss per token, in nats: {PRETRAIN_STEPS} steps of pretraining, then")
    print(f"{ADAPT_STEPS} steps of every row            rank")
    for label, line in zip(["pretraining        ", *labels[1:]], curves):
        ends = f"{sum(line[:10]) / 10:.2f} to {sum(line[-50:]) / 50:.2f}"
        print(f"  {label}  {sparkline(line, 40)} {ends}")

    start = table[0][2]  # the base's loss on the target, before any adapting
    _, full_edges, full_target, full_base = table[1]
    gains = [(start - row[2]) / (start - full_target) for row in table]
    print("\nwhat each row learned, and what it forgot")
    print("adapted         rank trained   share    held   edges target   base    gain")
    for label, (n, edges, target, forgot), gain in zip(labels, table, gains):
        print(f"{label} {n:7} {n / size:7.2%} {3 * n:7} {edges:7}", end="")
        print(f" {target:6.3f} {forgot:6.3f} {gain:7.1%}")
    print(f"""  trained  parameters that learn, and their share of the model's {size}
  held     floats kept for them: a gradient each, and Adam's two moments
  edges    chain-rule steps in the graph of one name ({korean_held[0]}): backward work
  target   loss per token on held-out Korean names
  base     the same on held-out English ones: what rises here is forgetting
  gain     share of full fine-tuning's improvement on the target""")

    print("\nnames that each row writes, the base model first")
    for label, model in zip(labels, models):
        draw = random.Random(seed)
        words = [decode(sample(model, [EDGE], draw), alphabet) for _ in range(9)]
        print(f"  {label}  {' '.join(words)}"[:79])

    # How low-rank is full fine-tuning's own change? The control is a matrix of random numbers.
    print("\nsingular values of full fine-tuning's change of the matrix wv")
    change = [
        [x - y for x, y in zip(new, old)] for new, old in zip(models[1]["0.wv"], base["0.wv"])
    ]
    spectrum = singular_values(change)
    noise = singular_values([[rng.gauss(0.0, 1.0) for _ in row] for row in change])
    for k in range(0, len(spectrum), 4):
        print(f"  {k + 1:2} {spectrum[k]:6.3f} {bar(spectrum[k] / spectrum[0])}")
    print(f"  90 % of the sum of squares: in {directions(spectrum)} of {N_EMBD} directions", end="")
    print(f" (a random matrix: {directions(noise)})")
    print("""  Fewer than the random matrix: the change has structure. Many more than the
  adapters' ranks: low rank gives something up; the column gain says how much.""")

    # Merge, swap, take away: one base, many adapters.
    first, second = adapters[-1], adapters[1]  # the last row, and lm_head; [0] is full's, empty
    attached = all_logits({**base, **first}, probe)
    merged = all_logits(merge(base, first), probe)
    all_logits({**base, **second}, probe)  # another adapter in between
    again = all_logits({**base, **first}, probe)
    spread = directions(spectrum) / directions(noise)
    small = [gain for row, gain in zip(table[2:], gains[2:]) if row[0] <= 0.01 * size]
    most_forgot = max(row[3] - full_base for row in table[2:])
    work = max(row[1] for row in table[2:]) / full_edges
    changed = differing(weights_of(base), weights_of(untouched))
    gap = max(abs(x - y) for x, y in zip(attached, merged))
    return check_claims(
        [
            ("base weights changed by all this training", changed, "<=", 0),
            ("logits changed by swapping adapters and back", differing(attached, again), "<=", 0),
            ("merged against attached, largest logit gap", gap, "<=", 1e-9),
            ("full fine-tuning's gain on the target, nats", start - full_target, ">=", 0.8),
            ("best gain with at most 1 % of the parameters", max(small, default=0.0), ">=", 0.3),
            ("gain of the largest adapter", gains[-1], ">=", 0.7),
            ("directions of full fine-tuning's change of wv", directions(spectrum), ">=", 3),
            ("the same, as a share of a random matrix's", spread, "<=", 0.8),
            ("English loss, worst adapter minus full, nats", most_forgot, "<=", 0.0),
            ("largest share of full's backward work", work, "<=", 0.8),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "How can about 1 % of the parameters adapt a language model?", argv)


if __name__ == "__main__":
    sys.exit(main())
