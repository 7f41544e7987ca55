"""micromoe: how does sparse routing add capacity without adding compute?

A mixture of experts (MoE; Shazeer et al. 2017, arXiv:1701.06538; Switch Transformer, Fedus et al.
2021, arXiv:2101.03961; Mixtral, Jiang et al. 2024, arXiv:2401.04088) replaces a transformer's MLP
by many small ones, the experts, and a router that sends each token to a few of them. The model
holds the parameters of all experts; a token costs only the few it is sent to.

What runs: a tiny GPT learns to write names in ten secret codes, each a substitution of letters. The
MLP is the only difference between the models compared: a mixture of experts with a balance loss,
one without, a dense MLP of the mixture's cost, and a dense MLP of its size.

What to look for: without the balance loss some experts starve; with it all work, and they divide
the letters among themselves, though nobody told them to. What shows little at this size is a lower
loss: the mixture's is a bit below that of the dense MLP of its cost, on most seeds (not on 42),
and mostly above that of the dense MLP of its size, which does four times the work.

Use it when memory is cheaper than compute, and there is much to know. Use a dense model when it
must be small, or when a simple training run is worth more than cheap capacity.

Two kinds of numbers learn here. The experts, the bulk of a real mixture, are plain lists of floats
with gradients derived by hand. All else, the router above all, is made of Values, the autograd
scalars of section 4. Section 7 builds the bridge between the two.

Read from top to bottom. Sections 3 to 6 are the same in microlora.py, microdpo.py and microppo.py,
but for marked lines (here mlp() in section 5): if you know them, go from section 2 to mlp(), and on
to section 7.
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
from collections import Counter
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
BLOCK_SIZE = 16  # context in tokens: a tag, and names of up to 15 letters
INIT_STD = 0.2  # standard deviation of the initial weights
BATCH = 5  # texts per step

CODES = 10  # secret codes, each a permutation of the alphabet: 260 facts to know
EXPERTS = 16  # in the layer: so many that, without the balance loss, some starve
TOP_K = 2  # experts for each token
EXPERT_WIDTH = 4  # hidden units of an expert
BALANCE = 0.7  # weight of the balance loss
STEPS = 240  # the same for every model
LR = 0.02  # Adam's learning rate at its peak


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
    """sum_i w_i expert_i(x) over the TOP_K experts that the router chooses for x, see section 7.

    A model without a router has the dense layer of the other scripts: W2 relu(W1 x).
    """
    if f"{layer}.router" in model:
        chances = softmax(project(model, f"{layer}.router", x))
        chosen, weights = top_k(chances)
        model["routes"].append((chances, chosen))  # a log, for the balance loss
        outputs = [ask(model[f"{layer}.experts"][i], x) for i in chosen]  # expert_i(x)
        return [dot(weights, column) for column in zip(*outputs)]
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
# 7. THE ALGORITHM: MIXTURE OF EXPERTS
# ==================================================================================================
# For a token's vector x (Shazeer et al. 2017; Mixtral, section 2.1):
#
#     p = softmax(W_router x)                       the router's chances, one for each expert
#     w_i = p_i / (sum of p over those chosen)      for the TOP_K experts of the highest p
#     y = sum_i w_i expert_i(x)                     over those chosen
#
# The choice itself has no derivative. The router learns through the weights w_i: an expert that
# helps more than its fellow gets a larger share. (With TOP_K = 1, w would be 1 and teach nothing;
# Switch uses w = p.) The experts that were not chosen are neither computed nor trained on this
# token: that is what "sparse" means.


def top_k(chances: Vector) -> tuple[list[int], list[Any]]:
    """(indices of the TOP_K highest chances, highest first; their renormalized weights)."""
    numbers = floats(chances)
    chosen = sorted(range(len(numbers)), key=lambda i: -numbers[i])[:TOP_K]
    norm = total([chances[i] for i in chosen])
    return chosen, [chances[i] / norm for i in chosen]


# 7a. THE EXPERTS, in floats. With g = dL/dy, dh = dL/dh and da = dL/da the chain rule gives:
#
#     forward     a = W1 x          h = relu(a)           y = W2 h
#     backward    dh = W2^T g       da_j = dh_j if h_j > 0, else 0
#                 dL/dW2 = g h^T    dL/dW1 = da x^T       dL/dx = W1^T da


class Expert(NamedTuple):
    """Weights w1 (width x d) and w2 (d x width), and a gradient for each of them."""

    w1: list[list[float]]
    w2: list[list[float]]
    w1_grad: list[list[float]]
    w2_grad: list[list[float]]


def new_expert(rng: random.Random) -> Expert:
    w1, w2 = new_matrix(EXPERT_WIDTH, N_EMBD, rng), new_matrix(N_EMBD, EXPERT_WIDTH, rng)
    return Expert(w1, w2, [[0.0] * len(row) for row in w1], [[0.0] * len(row) for row in w2])


def expert_forward(expert: Expert, x: Sequence[float]) -> tuple[list[float], list[float]]:
    """(h, y) for an input x."""
    h = [relu(a) for a in linear(expert.w1, x)]
    return h, linear(expert.w2, h)


def expert_backward(
    expert: Expert, x: Sequence[float], h: Sequence[float], g: Sequence[float]
) -> list[float]:
    """Add dL/dW1 and dL/dW2 to the expert's gradients, and return dL/dx."""
    da = [dot(g, column) if h_j > 0 else 0.0 for h_j, column in zip(h, zip(*expert.w2))]
    for g_i, row in zip(g, expert.w2_grad):  # += g h^T
        row[:] = [old + g_i * h_j for old, h_j in zip(row, h)]
    for da_j, row in zip(da, expert.w1_grad):  # += da x^T
        row[:] = [old + da_j * x_i for old, x_i in zip(row, x)]
    return [dot(da, column) for column in zip(*expert.w1)]


# 7b. THE BRIDGE between floats and Values: how a gradient written by hand takes part in autograd,
# as in torch.autograd.Function. Each call of an expert is a node between its input and its outputs:
#
#     x_1 .. x_d  <--  Bridge  <--  y_1 .. y_d  <--  the rest of the graph
#
# expert_backward() needs all dL/dy_j at once, but a node holds one gradient only. So each y_j
# leaves its own in a slot of the Bridge's inbox. backward() visits a node after all that was
# computed from it, the Bridge after every y_j: then push() turns the inbox into dL/dx_i, added to
# what x_i gets from the router and from the other experts. The gradients are exact, those that
# the expert would have if it were made of Values.


class Bridge(Value):
    """An expert at work on one token. Its push() is the expert's backward pass."""

    __slots__ = ("expert", "hidden", "inbox")

    def __init__(self, expert: Expert, x: Sequence[Value], hidden: list[float]):
        super().__init__(0.0, x)
        self.expert, self.hidden = expert, hidden
        self.inbox = [Value(0.0) for _ in expert.w2]  # one slot for each y_j

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
    if not isinstance(x[0], Value):
        return y
    bridge = Bridge(expert, x, hidden)
    # y_j has two children: the bridge (derivative 0, to set the order) and its slot (derivative 1)
    return [Value(v, (bridge, slot), (0.0, 1.0)) for v, slot in zip(y, bridge.inbox)]


# 7c. THE BALANCE LOSS (Switch Transformer, equation 4). A router that happens to favour an expert
# trains it more, and so favours it more: the rich get richer. Over the tokens of a batch, let f_i
# be the share of all choices that fell on expert i, P_i its mean chance, and E = EXPERTS:
#
#     B = E sum_i f_i P_i         training minimizes the cross-entropy + BALANCE B
#
# B is 1 if all f_i are equal, and E / TOP_K if TOP_K experts have all choices and all chances. f_i
# is a count, without a derivative; dB/dP_i is E f_i: the more often chosen, the harder pushed down.

Routes = list[tuple[Vector, list[int]]]  # for each token: (chances, indices of experts chosen)


def choice_shares(routes: Routes) -> list[float]:
    """f_i: the share of each expert in all choices; sums to 1."""
    counts = Counter(i for _, chosen in routes for i in chosen)
    return [counts[i] / counts.total() for i in range(len(routes[0][0]))]


def balance_loss(routes: Routes) -> Any:
    """E sum_i f_i P_i, a Value if the chances are."""
    columns = zip(*(chances for chances, _ in routes))
    mean_chances = [total(column) / len(routes) for column in columns]
    return dot(choice_shares(routes), mean_chances) * len(mean_chances)


def new_model(vocabulary: int, width: int, rng: random.Random) -> tuple[Model, list[Expert]]:
    """(a GPT of Values, its experts). Width 0 means a mixture; any other is that of a dense MLP,
    and there are no experts."""
    model, experts = init_model(vocabulary, rng), []
    for layer in range(N_LAYER):
        del model[f"{layer}.w1"], model[f"{layer}.w2"]  # this MLP makes way for another
        if width:
            model[f"{layer}.w1"] = new_matrix(width, N_EMBD, rng)
            model[f"{layer}.w2"] = new_matrix(N_EMBD, width, rng)
        else:
            model[f"{layer}.router"] = new_matrix(EXPERTS, N_EMBD, rng)
            experts += [new_expert(rng) for _ in range(EXPERTS)]
    return unfreeze(model), experts


def attach(model: Model, experts: list[Expert]) -> dict[str, Any]:
    """The model with its experts, and an empty list in which mlp() notes its routes."""
    parts = {f"{i}.experts": experts[i * EXPERTS : (i + 1) * EXPERTS] for i in range(N_LAYER)}
    return {**model, **parts, "routes": []}


def arrays_of(experts: list[Expert]) -> list[tuple[list[float], list[float]]]:
    """All rows of the experts, each with its gradient, as Adam takes them."""
    return [pair for e in experts for pair in zip(e.w1 + e.w2, e.w1_grad + e.w2_grad)]


# ==================================================================================================
# 8. EXPERIMENT
# ==================================================================================================
# The task: read a tag (A to J, one for each code), then a name, and predict for each letter what it
# is in that code. Attention brings the tag to every letter. What the letter is in the code, one of
# 260 facts, is for the MLP to know: here the number of its parameters matters.


class Task(NamedTuple):
    """Codes and names. A text is a tag and a name."""

    alphabet: list[str]  # letters, then tags
    codes: dict[str, dict[str, str]]  # tag to letter to code letter
    learnt: list[tuple[str, str]]  # to train on
    unseen: list[tuple[str, str]]  # held out


def new_task(names: list[str], rng: random.Random) -> Task:
    names_learnt, names_held = split(names, rng)
    _, *letters = alphabet_of(names)
    tags = [chr(ord("A") + i) for i in range(CODES)]  # names are in lower case
    codes = {tag: dict(zip(letters, rng.sample(letters, len(letters)))) for tag in tags}
    learnt = [(tag, name) for name in names_learnt for tag in tags]
    unseen = [(tag, name) for name in names_held for tag in tags]
    return Task(["", *letters, *tags], codes, learnt, rng.sample(unseen, min(200, len(unseen))))


def code_logits(model: Model, task: Task, tag: str, name: str) -> list[Any]:
    """For each letter of the name, the logits of what it is in the tag's code."""
    first, *letters = encode(tag + name, task.alphabet)[1:-1]
    cache = new_cache()
    gpt(model, first, cache)
    return [gpt(model, letter, cache) for letter in letters]


def code_losses(model: Model, task: Task, tag: str, name: str) -> list[Any]:
    """For each letter of the name, -log p(its code letter), in nats."""
    targets = [task.alphabet.index(task.codes[tag][letter]) for letter in name]
    return list(map(cross_entropy, code_logits(model, task, tag, name), targets))


class Result(NamedTuple):
    """What became of one model."""

    model: Model  # frozen, with its experts
    parameters: int
    active: int  # of them, all but the experts not chosen
    work: int  # multiply-adds of the MLP for a token, router included
    losses: list[float]  # of each held-out text: the mean over its letters
    curve: list[float]
    shares: list[list[float]]  # f_i on 50 held-out texts, at ten moments; on all, at the end
    balances: list[float]  # the balance loss there
    choices: list[tuple[str, str, int]]  # (letter, tag, expert), at the end


def fit(task: Task, label: str, width: int, weight: float, seed: int) -> Result:
    """Train a model with a dense MLP of that width, or, for width 0, a mixture of experts with that
    weight of the balance loss. Every model sees the same texts in the same order."""
    model, experts = new_model(len(task.alphabet), width, random.Random(seed))
    values, arrays = weights_of(model), arrays_of(experts)
    optimizer, order = Adam(values, arrays), random.Random(seed)
    shares, balances = [], []

    def note(routes: Routes) -> None:
        shares.append(choice_shares(routes))
        balances.append(balance_loss(routes))

    def learn() -> float:
        if experts and optimizer.t % max(1, STEPS // 10) == 0:
            whole = attach(freeze(model), experts)
            for text in task.unseen[:50]:
                code_logits(whole, task, *text)
            note(whole["routes"])
        whole = attach(model, experts)
        texts = order.choices(task.learnt, k=BATCH)
        losses = [loss for text in texts for loss in code_losses(whole, task, *text)]
        loss = total(losses) / len(losses)
        goal = loss + balance_loss(whole["routes"]) * weight if weight else loss
        goal.backward()
        return loss.data

    curve = train(label, learn, optimizer, STEPS, LR)
    whole, losses, choices = attach(freeze(model), experts), [], []
    for tag, name in task.unseen:
        some = code_losses(whole, task, tag, name)
        losses.append(sum(some) / len(some))
        for letter, (_, chosen) in zip(name, whole["routes"][-len(name) :]):
            choices += [(letter, tag, expert) for expert in chosen]
    if experts:
        note(whole["routes"])
    in_experts = sum(len(row) for row, _ in arrays)
    met = in_experts * TOP_K // EXPERTS
    work = N_LAYER * 2 * N_EMBD * width if width else N_LAYER * N_EMBD * EXPERTS + met
    size = len(values) + in_experts
    return Result(
        whole, size, size - in_experts + met, work, losses, curve, shares, balances, choices
    )


def standard_error(xs: Sequence[float]) -> float:
    """Of the mean of xs."""
    mean = sum(xs) / len(xs)
    return math.sqrt(sum((x - mean) ** 2 for x in xs) / (len(xs) - 1) / len(xs))


def information(pairs: Sequence[tuple[Any, int]]) -> float:
    """Mutual information: sum p(a, b) log(p(a, b) / (p(a) p(b))) over the pairs, in nats."""
    n, both = len(pairs), Counter(pairs)
    ones, others = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    return sum(c / n * math.log(c * n / (ones[a] * others[b])) for (a, b), c in both.items())


def shade(shares: Sequence[float]) -> str:
    """A strip of a heat map: darkest from 1 on."""
    marks = blocks(" ░▒▓█", " .:*#")
    return "".join(marks[min(4, int(4 * share))] for share in shares)


def experiment(seed: int, names: str | None) -> int:
    rng = random.Random(seed)
    task = new_task(read_names(names), rng)
    print(f"micromoe, seed {seed}")
    print(f"texts: {len(task.learnt)} to learn, {len(task.unseen)} held out, in {CODES} codes:")
    for tag, name in task.unseen[:3]:
        print(f"  {name} in code {tag} is {''.join(task.codes[tag][letter] for letter in name)}")

    # the width of a dense MLP of the same work: 2 d width = d EXPERTS + TOP_K 2 d EXPERT_WIDTH
    even = (EXPERTS + 2 * TOP_K * EXPERT_WIDTH) // 2
    rows = {
        "dense, equal work": fit(task, "dense, equal work", even, 0.0, seed),
        "MoE, balanced": fit(task, "MoE, balanced", 0, BALANCE, seed),
        "MoE, unbalanced": fit(task, "MoE, unbalanced", 0, 0.0, seed),
        "dense, equal size": fit(task, "dense, equal size", EXPERTS * EXPERT_WIDTH, 0.0, seed),
    }
    lean, moe, free, _ = rows.values()
    fair = 1.0 / EXPERTS

    print(f"\ntraining loss per letter, in nats, over {STEPS} steps")
    for label, r in rows.items():
        print(f"  {label:17} {sparkline(r.curve)} {sum(r.curve[-50:]) / 50:.2f}")
    print("\n                    params active   work    loss +- s.e.   least..most used dead")
    for label, r in rows.items():
        print(f"  {label:17}{r.parameters:7}{r.active:7}{r.work:7}", end="")
        print(f"   {sum(r.losses) / len(r.losses):5.3f} +- {standard_error(r.losses):.3f}", end="")
        if r.shares:
            used = r.shares[-1]
            dead = sum(share < 0.1 * fair for share in used)
            print(f"   {min(used):5.1%} .. {max(used):5.1%} {dead:4}", end="")
        print()
    print(f"""  active  parameters but for those of the experts not chosen
  work    multiply-adds of the MLP for a token, router included
  loss    on held-out texts, nats per letter
  used    shares of the choices; a fair share is {fair:.2%}, dead is below its tenth""")

    print("\nwho works: shares of the choices over training, dark from twice the fair share")
    print("  expert   with the balance loss               without")
    for i in range(EXPERTS):
        print(f"  {i + 1:6}   ", end="")
        for r in (moe, free):
            course, last = shade([share[i] / fair / 2 for share in r.shares]), r.shares[-1][i]
            print(f"{course} {last:5.1%} {bar(last / fair / 3, 13):13}  ", end="")
        print()

    print("\nwho does what, with the balance loss: each expert's most frequent inputs")
    for i in range(EXPERTS):
        letters = Counter(letter for letter, _, expert in moe.choices if expert == i)
        tags = Counter(tag for _, tag, expert in moe.choices if expert == i)
        top = [
            " ".join(f"{x} {c / counter.total():.0%}" for x, c in counter.most_common(4))
            for counter in (letters, tags)
        ]
        print(f"  expert {i + 1:2}   letters {top[0]:23}  codes {top[1]}")
    print("\nletters (down) to experts (across), darkest if a letter always goes there")
    print("     " + "".join(f"{i + 1:3}" for i in range(EXPERTS)))
    for letter, count in sorted(Counter(x for x, _, _ in moe.choices).most_common(16)):
        cells = Counter(expert for x, _, expert in moe.choices if x == letter)
        row = [TOP_K * cells[i] / count for i in range(EXPERTS)]
        print(f"  {letter}   " + "".join(3 * shade([share]) for share in row))

    print("\nthe mixture at work on held-out texts, wrong letters in brackets")
    for tag, name in task.unseen[:4]:
        said = ""
        for letter, logits in zip(name, code_logits(moe.model, task, tag, name)):
            answer = task.alphabet[logits.index(max(logits))]
            said += answer if answer == task.codes[tag][letter] else f"({answer})"
        print(f"  {name} in code {tag} is {said}")

    # Does the choice of experts say something about the input? The control shuffles the choices.
    chosen = [expert for _, _, expert in moe.choices]
    mixed = rng.sample(chosen, len(chosen))
    told, chance = [], []
    for part in (0, 1):
        inputs = [choice[part] for choice in moe.choices]
        told.append(information(list(zip(inputs, chosen))))
        chance.append(information(list(zip(inputs, mixed))))
    print("\nwhat the choice of an expert tells, in nats, and what shuffled choices would")
    for input_, found, luck in zip(("letter", "code"), told, chance):
        print(f"  about the {input_:6} {found:.3f} ({luck:.3f})")

    change = moe.balances[-1] - moe.balances[0]
    # The bound of two standard errors is that of "no worse, as far as the noise lets us see".
    worse = (sum(moe.losses) - sum(lean.losses)) / len(moe.losses)
    noise = math.hypot(standard_error(moe.losses), standard_error(lean.losses))
    return check_claims(
        [
            ("balanced: least used expert, fair shares", min(moe.shares[-1]) / fair, ">=", 0.5),
            ("unbalanced: least used expert, fair shares", min(free.shares[-1]) / fair, "<=", 0.1),
            ("change of the balance loss in training", change, "<=", -0.01),
            ("information of letters, over chance", told[0] / chance[0], ">=", 3.0),
            ("loss above that of dense, equal work, s.e.", worse / noise, "<=", 2.0),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "How does sparse routing add capacity without adding compute?", argv)


if __name__ == "__main__":
    sys.exit(main())
