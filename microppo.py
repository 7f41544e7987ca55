"""microppo: how does the whole RLHF loop work, and how does it go wrong?

Reinforcement learning from human feedback (RLHF; Ziegler et al. 2019, arXiv:1909.08593; Ouyang et
al. 2022, arXiv:2203.02155) trains a reward model on comparisons, and then a policy on the reward
model by proximal policy optimization (PPO, Schulman et al. 2017, arXiv:1707.06347). A critic
predicts the reward while a text is being written; a KL penalty keeps the policy near its start.

The words: the language model is the policy pi, a prefix of a text the state, the next token the
action, a written answer a rollout. pi_ref, the reference, is the policy as it was before. The KL is
the mean of log pi(answer) - log pi_ref(answer) over the policy's own answers, in nats: how far the
policy has drifted.

What runs: a tiny GPT learns given names. A simulated annotator with a taste for names that flow
compares pairs of its completions. A reward model learns the comparisons, a critic learns to foresee
the reward, and PPO trains the policy twice: with the KL penalty, and without.

What to look for: the two runs side by side. Without the penalty the reward model's score is higher,
and the policy writes the same few letters over and over.

Use it when new answers are to be judged while learning: by a reward model, a program, a person. Use
DPO (microdpo.py) when comparisons are all there is: it is simpler and steadier.

Two kinds of numbers learn here. The policy is made of Values, the autograd scalars of section 4.
The reward model and the critic are small enough to derive their gradients by hand: plain lists of
floats, and much faster.

Read from top to bottom. Sections 3 to 6 are the same in microlora.py, microdpo.py and micromoe.py,
but for marked lines (here clip() in section 4): if you know them, go from section 2 to section 7.
"""

from __future__ import annotations

import argparse
import copy
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

N_EMBD = 8  # width d
N_HEAD = 2  # attention heads, of 4 dimensions each
N_LAYER = 1  # blocks
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # standard deviation of the initial weights
BATCH = 2  # names per step of pretraining

PRETRAIN_STEPS = 400  # the loss has flattened by then
PRETRAIN_LR = 0.02  # Adam's learning rate at its peak, as REWARD_LR and CRITIC_LR below

PAIRS = 1250  # comparisons that the annotator makes
HELD_OUT = 0.16  # share of them, and of the critic's first rollouts, that nothing is trained on
TASTE = 12.0  # how sure the annotator is: log-odds per unit of flow() in section 7

HIDDEN = 8  # width of the reward model, and of the critic
REWARD_STEPS = 800  # updates of the reward model
REWARD_BATCH = 8  # comparisons per update
REWARD_LR = 0.05
CRITIC_ROLLOUTS = 400  # answers of the reference that the critic learns from before the loop
CRITIC_STEPS = 300  # updates of the critic before the loop
CRITIC_LR = 0.02  # the constant rate in the loop, too

ITERATIONS = 20  # rounds of PPO: first write answers, then learn from them
ROLLOUTS = 16  # answers per round
EPOCHS = 3  # times that each answer is learnt from
MINIBATCH = 8  # answers per update
POLICY_LR = 0.006  # constant in the loop
KL_COEF = 0.2  # reward lost per nat of KL; rewards are in standard deviations of the score
CLIP = 0.2  # how far a probability ratio may move from 1 before its gradient is cut
VALUE_CLIP = 0.2  # how far the critic's value may move in a round before its gradient is cut
GAMMA = 0.99  # discount per token
LAMBDA = 0.95  # of gae(): 0 trusts the critic after one token, 1 waits for the whole answer

SAMPLES = 300  # fresh names from each policy when it is judged


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

    # --- where the scripts differ: microppo.py alone needs clip() ---

    def clip(self, low: float, high: float) -> Value:
        """min(max(x, low), high); beyond a bound it is a constant, as in relu."""
        inside = low <= self.data <= high
        if inside:
            return Value(self.data, (self,), (1.0,))
        return Value(min(max(self.data, low), high))

    # --- the same again ---
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
# 7. THE ALGORITHM: REINFORCEMENT LEARNING FROM HUMAN FEEDBACK
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


# A round of the loop, and the function for each part:
#
#     write     the policy answers prompts                                      roll_out()
#     reward    the score, less a penalty for leaving the reference             rewards_of()
#     credit    how much better each token did than the critic expected         gae()
#     learn     make good tokens likelier and bad ones less likely,             surrogate_loss()
#               and the critic's expectations better; EPOCHS times              value_loss()
#
# 7a. THE REWARD MODEL: from comparisons to a score, in floats
#
# It reads a text y_0 .. y_n, both edges included, as its n pairs of neighbours:
#
#     h_t = tanh(left[y_t] + right[y_(t+1)] + bias)         HIDDEN numbers for each pair
#     r   = out . mean_t h_t                                the score
#
# and is trained by the Bradley-Terry loss -log sigmoid(r_w - r_l) on a chosen text w and a rejected
# text l. Weights that learn by hand are kept beside their gradients:


class Array(NamedTuple):
    w: list[float]  # weights
    g: list[float]  # their gradients


Net = dict[str, list[Array]]  # name to rows; net[name][row] is an Array


def new_net(rows: dict[str, int], rng: random.Random) -> Net:
    """For each name that many arrays, of HIDDEN random weights and zero gradients each."""

    def array() -> Array:
        return Array([rng.gauss(0.0, 0.3) for _ in range(HIDDEN)], [0.0] * HIDDEN)

    return {name: [array() for _ in range(n)] for name, n in rows.items()}


def arrays_of(net: Net) -> list[Array]:
    return [array for arrays in net.values() for array in arrays]


def new_reward_model(vocabulary: int, rng: random.Random) -> Net:
    return new_net({"left": vocabulary, "right": vocabulary, "bias": 1, "out": 1}, rng)


def features(net: Net, tokens: Sequence[int]) -> list[list[float]]:
    """h_t for each pair of neighbours, shape (len(tokens) - 1, HIDDEN)."""
    left, right, bias = net["left"], net["right"], net["bias"][0]
    return [
        [math.tanh(x + y + z) for x, y, z in zip(left[a].w, right[b].w, bias.w)]
        for a, b in zip(tokens, tokens[1:])
    ]


def mean_of(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows)]


def reward(net: Net, tokens: Sequence[int]) -> float:
    """The score r of a text."""
    return dot(net["out"][0].w, mean_of(features(net, tokens)))


def reward_backward(net: Net, tokens: Sequence[int], slope: float) -> None:
    """Add slope dr/dw to the gradient of every weight w. By the chain rule, with u_t for the
    argument of tanh:

    dr/d out_j = mean_t h_tj         dr/d u_tj = out_j (1 - h_tj^2) / n

    u_t is a plain sum, so its gradient goes unchanged to left[y_t], right[y_(t+1)] and bias.
    """
    rows = features(net, tokens)
    out, bias = net["out"][0], net["bias"][0]
    for j, mean in enumerate(mean_of(rows)):
        out.g[j] += slope * mean
    for a, b, h in zip(tokens, tokens[1:], rows):
        left, right = net["left"][a], net["right"][b]
        for j in range(HIDDEN):
            u = slope * out.w[j] * (1.0 - h[j] * h[j]) / len(rows)
            left.g[j] += u
            right.g[j] += u
            bias.g[j] += u


def comparisons(
    net: Net, pairs: list[tuple[list[int], list[int]]], rng: random.Random
) -> Callable[[], float]:
    """A learn() for train(): the mean of -log sigmoid(r_w - r_l) over REWARD_BATCH random
    comparisons (Ouyang et al. 2022, equation 1), each in tokens: (chosen text, rejected text).

    As sigmoid(a - b) = e^a / (e^a + e^b), it is the cross-entropy of the logits (r_w, r_l). Its
    derivative is sigmoid(r_w - r_l) - 1 for r_w, and the opposite for r_l.
    """

    def learn() -> float:
        loss = 0.0
        for chosen, rejected in rng.choices(pairs, k=REWARD_BATCH):
            scores = [reward(net, chosen), reward(net, rejected)]
            loss += cross_entropy(scores, 0) / REWARD_BATCH
            slope = (softmax(scores)[0] - 1.0) / REWARD_BATCH
            reward_backward(net, chosen, slope)
            reward_backward(net, rejected, -slope)
        return loss

    return learn


# 7b. THE CRITIC: what reward is to be expected of an unfinished text?
#
# A token is good if what came of it is better than V, the critic's forecast before it. So V must
# not see that token, only the prefix y_0 .. y_t before it. Its input is m, the reward model's mean
# feature over the prefix (in Ouyang et al. it starts as a copy of the reward model); the last token
# chooses a row of last, and its position t one of place:
#
#     z = tanh(mix m + last[y_t] + place[t])              V = out . z + shift


class State(NamedTuple):
    """All that the critic may see of a prefix."""

    mean: list[float]  # m; zeros while there is no pair yet
    last: int  # y_t
    place: int  # t


def new_critic(vocabulary: int, rng: random.Random) -> Net:
    rows = {"mix": HIDDEN, "last": vocabulary, "place": BLOCK_SIZE, "out": 1}
    return {**new_net(rows, rng), "shift": [Array([0.0], [0.0])]}


def states_of(reward_model: Net, prompt: Sequence[int], answer: Sequence[int]) -> list[State]:
    """The state in which each token of the answer was chosen."""
    tokens = [*prompt, *answer]
    rows = features(reward_model, tokens)
    return [
        State(mean_of(rows[:t]) or [0.0] * HIDDEN, tokens[t], t)
        for t in range(len(prompt) - 1, len(tokens) - 1)
    ]


def critic_features(net: Net, state: State) -> list[float]:
    """z, shape (HIDDEN,)."""
    mixed = linear([row.w for row in net["mix"]], state.mean)
    last, place = net["last"][state.last].w, net["place"][state.place].w
    return [math.tanh(x + y + z) for x, y, z in zip(mixed, last, place)]


def value_of(net: Net, state: State) -> float:
    """V(prefix)."""
    return dot(net["out"][0].w, critic_features(net, state)) + net["shift"][0].w[0]


def critic_backward(net: Net, state: State, slope: float) -> None:
    """Add slope dV/dw to the gradient of every weight w. With u for the argument of tanh:

    dV/d out_j = z_j       dV/d shift = 1       dV/d u_j = out_j (1 - z_j^2)

    The last goes unchanged to last[y_t] and place[t], and times m_i to mix_ji.
    """
    out, last, place = net["out"][0], net["last"][state.last], net["place"][state.place]
    net["shift"][0].g[0] += slope
    for j, z in enumerate(critic_features(net, state)):
        out.g[j] += slope * z
        u = slope * out.w[j] * (1.0 - z * z)
        last.g[j] += u
        place.g[j] += u
        mix = net["mix"][j]
        for i, m in enumerate(state.mean):
            mix.g[i] += u * m


def forecasts(
    net: Net, examples: list[list[tuple[State, float]]], rng: random.Random
) -> Callable[[], float]:
    """A learn() for train(): half the mean squared error of V on the states of MINIBATCH random
    answers, each given as its (state, what came of it). The critic learns before the loop, from
    answers of the reference: an untrained one would mislead the first rounds."""

    def learn() -> float:
        batch = [example for answer in rng.choices(examples, k=MINIBATCH) for example in answer]
        errors = [value_of(net, state) - target for state, target in batch]
        for (state, _), error in zip(batch, errors):
            critic_backward(net, state, error / len(batch))
        return sum(error * error for error in errors) / (2 * len(batch))

    return learn


# 7c. ROLLOUTS: the policy writes, and everything about it is noted, in floats. From here on t
# counts the tokens of the answer: y_t is chosen by the policy with probability pi(y_t).


class Judges(NamedTuple):
    """All that looks at the policy's answers."""

    reference: Model
    reward_model: Net
    mean: float  # of the reward model's score over answers of the reference
    std: float
    critic: Net


class Rollout(NamedTuple):
    """One answer. From answer on, each list has an entry for each of its tokens, EDGE included."""

    prompt: list[int]
    answer: list[int]
    log_probs: list[float]  # log pi(y_t), for the policy that wrote it
    kl: list[float]  # log pi(y_t) - log pi_ref(y_t); the sum estimates the KL
    states: list[State]
    values: list[float]
    score: float  # the reward model's, standardized: 0 for the reference's average answer


def token_log_probs(model: Model, prompt: Sequence[int], answer: Sequence[int]) -> list[Any]:
    """log pi(y_t | all before) of each token of the answer, Values or floats."""
    return [-loss for loss in token_losses(model, [*prompt, *answer])[len(prompt) - 1 :]]


def roll_out(policy: Model, judges: Judges, prompt: list[int], rng: random.Random) -> Rollout:
    """One answer of a policy of floats, drawn at temperature 1, so that log_probs belong to the
    very distribution that it was drawn from."""
    answer = sample(policy, prompt, rng)
    log_probs = token_log_probs(policy, prompt, answer)
    reference = token_log_probs(judges.reference, prompt, answer)
    states = states_of(judges.reward_model, prompt, answer)
    return Rollout(
        prompt,
        answer,
        log_probs,
        [p - q for p, q in zip(log_probs, reference)],
        states,
        [value_of(judges.critic, state) for state in states],
        (reward(judges.reward_model, [*prompt, *answer]) - judges.mean) / judges.std,
    )


def rewards_of(rollout: Rollout, kl_coef: float) -> list[float]:
    """-kl_coef (log pi - log pi_ref) for every token, and for the last one the score on top
    (Ziegler et al. 2019; Ouyang et al. 2022, equation 2), even if the answer has filled the context
    and has no end. Nothing else is added."""
    rewards = [-kl_coef * kl for kl in rollout.kl]
    rewards[-1] += rollout.score
    return rewards


def gae(rewards: Sequence[float], values: Sequence[float], gamma: float, lam: float) -> list[float]:
    """The advantage of each token: how much better things went after it than the critic expected
    (generalized advantage estimation, Schulman et al. 2016, arXiv:1506.02438, equation 16).

    A_t = sum_k (gamma lam)^k delta_(t+k),  delta_t = r_t + gamma V_(t+1) - V_t,  V = 0 after the
    end; computed from the last token backwards. V_t is the value before token t is chosen, delta_t
    the surprise at that token. A_t + V_t is what the critic should have said.
    """
    advantages, running, following = [], 0.0, 0.0
    for r, v in zip(reversed(rewards), reversed(values)):
        running = r + gamma * following - v + gamma * lam * running
        following = v
        advantages.append(running)
    return advantages[::-1]


def normalize(batch: list[list[float]]) -> list[list[float]]:
    """All numbers of a batch, moved to mean 0 and scaled to standard deviation 1."""
    every = [x for xs in batch for x in xs]
    mean = sum(every) / len(every)
    std = math.sqrt(sum((x - mean) ** 2 for x in every) / len(every)) + 1e-8
    return [[(x - mean) / std for x in xs] for xs in batch]


def explained_variance(values: Sequence[float], targets: Sequence[float]) -> float:
    """1 - Var(target - value) / Var(target): 1 for a perfect critic, 0 for a constant."""

    def spread(xs: Sequence[float]) -> float:
        mean = sum(xs) / len(xs)
        return sum((x - mean) ** 2 for x in xs)

    return 1.0 - spread([t - v for t, v in zip(targets, values)]) / (spread(targets) or 1.0)


# 7d. PPO: learn from answers that an older policy wrote
#
# After the first update the policy is no longer pi_old, which wrote the answers. The ratio
# rho_t = pi(y_t) / pi_old(y_t) corrects for that, as long as it is near 1, and the clip takes the
# gain out of moving it further (Schulman et al. 2017, equation 7):
#
#     maximize  mean_t min(rho_t A_t, clip(rho_t, 1 - c, 1 + c) A_t)
#
# where c is CLIP. A > 0 pushes rho up, but not beyond 1 + c, and A < 0 pushes it down, but not
# below 1 - c; a rho that has gone the wrong way keeps its gradient. In a round's first minibatch pi
# is pi_old and every ratio is 1 (if not, a log-probability is wrong). The clip has work to do from
# the second update on; with one update per round this would be plain policy gradient.


def surrogate_loss(log_prob: Value, old: float, advantage: float) -> Value:
    """-min(rho A, clip(rho, 1 - c, 1 + c) A) for one token; old is its log pi_old."""
    ratio = (log_prob - old).exp()
    plain, clipped = ratio * advantage, ratio.clip(1.0 - CLIP, 1.0 + CLIP) * advantage
    return -(plain if plain.data <= clipped.data else clipped)


def value_loss(value: float, old: float, target: float) -> tuple[float, float]:
    """The critic's clipped loss, and its derivative with respect to value.

    max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2) / 2, where R is the target, V_old the
    value at rollout time and c VALUE_CLIP (Huang et al. 2024, arXiv:2403.17031): as above, there is
    nothing to gain by moving towards R by more than c in one round.
    """
    clipped = min(max(value, old - VALUE_CLIP), old + VALUE_CLIP)
    plain_loss, clipped_loss = (value - target) ** 2 / 2, (clipped - target) ** 2 / 2
    if plain_loss >= clipped_loss:
        return plain_loss, value - target
    return clipped_loss, 0.0  # beyond the clip, its loss does not depend on value


def learn_from(
    policy: Model, critic: Net, parts: list[tuple[Rollout, list[float], list[float]]]
) -> tuple[float, float, list[float]]:
    """Add up the gradients of one minibatch of (rollout, its advantages, its value targets).

    Returns (policy loss, value loss, all ratios); the losses are means per token.
    """
    size = sum(len(rollout.answer) for rollout, _, _ in parts)
    policy_loss = critic_loss = 0.0
    ratios = []
    for rollout, advantage, target in parts:
        log_probs = token_log_probs(policy, rollout.prompt, rollout.answer)
        loss = total(list(map(surrogate_loss, log_probs, rollout.log_probs, advantage))) / size
        loss.backward()
        policy_loss += loss.data
        ratios += [math.exp(p.data - old) for p, old in zip(log_probs, rollout.log_probs)]
        for state, old_value, goal in zip(rollout.states, rollout.values, target):
            part, slope = value_loss(value_of(critic, state), old_value, goal)
            critic_backward(critic, state, slope / size)
            critic_loss += part / size
    return policy_loss, critic_loss, ratios


def ppo(
    judges: Judges, names: list[str], alphabet: list[str], kl_coef: float, seed: int
) -> tuple[Model, list[dict[str, float]]]:
    """Train a copy of the reference, and a copy of the critic with it.

    Returns the policy, frozen, and a report of every round. Prompts come from names.
    """
    rng, started, reports = random.Random(seed), time.perf_counter(), []
    policy, critic = unfreeze(judges.reference), copy.deepcopy(judges.critic)
    judges = judges._replace(critic=critic)  # roll_out() asks the critic that learns
    policy_adam, critic_adam = Adam(weights_of(policy)), Adam(arrays=arrays_of(critic))
    for iteration in range(ITERATIONS):
        # Write. For the whole round, old is the policy that wrote the answers.
        old = freeze(policy)
        prompts = [encode(draw_prompt(names, rng), alphabet)[:-1] for _ in range(ROLLOUTS)]
        batch = [roll_out(old, judges, prompt, rng) for prompt in prompts]
        raw = [gae(rewards_of(r, kl_coef), r.values, GAMMA, LAMBDA) for r in batch]
        targets = [[a + v for a, v in zip(row, r.values)] for row, r in zip(raw, batch)]
        advantages = normalize(raw)  # a step's size should not depend on the reward's scale

        # Learn, from every answer EPOCHS times.
        updates = []
        for _ in range(EPOCHS):
            order = rng.sample(range(ROLLOUTS), ROLLOUTS)
            for first in range(0, ROLLOUTS, MINIBATCH):
                mini = order[first : first + MINIBATCH]
                parts = [(batch[i], advantages[i], targets[i]) for i in mini]
                updates.append(learn_from(policy, critic, parts))
                policy_adam.step(POLICY_LR)
                critic_adam.step(CRITIC_LR)

        ratios = [x for _, _, some in updates[1:] for x in some]
        texts = [decode([*r.prompt, *r.answer], alphabet) for r in batch]
        values = [v for r in batch for v in r.values]
        reports.append(
            {
                "proxy": sum(r.score for r in batch) / ROLLOUTS,
                "gold": sum(map(flow, texts)) / ROLLOUTS,
                "KL": sum(sum(r.kl) for r in batch) / ROLLOUTS,
                "entr.": -sum(sum(r.log_probs) for r in batch) / len(values),
                "clip": sum(abs(x - 1.0) > CLIP for x in ratios) / len(ratios),
                "low": min(ratios),
                "high": max(ratios),
                "expl.": explained_variance(values, [x for row in targets for x in row]),
                "policy": sum(u[0] for u in updates) / len(updates),
                "value": sum(u[1] for u in updates) / len(updates),
                "first": max(abs(x - 1.0) for x in updates[0][2]),
            }
        )
        seconds = time.perf_counter() - started
        progress(f"PPO, KL x {kl_coef}", iteration + 1, ITERATIONS, reports[-1]["policy"], seconds)
    return freeze(policy), reports


# ==================================================================================================
# 8. EXPERIMENT
# ==================================================================================================


class Verdict(NamedTuple):
    """What fresh samples show of a policy; gold_se is the standard error of the mean gold."""

    proxy: float
    gold: float
    gold_se: float
    kl: float
    surprise: float
    names: list[str]
    variety: float


def variety(names: list[str]) -> float:
    """How many letter triples the names are made of: e to the entropy of the triples, which is N if
    N triples are equally frequent, and near 1 if one of them is used nearly always."""
    triples = Counter(name[i : i + 3] for name in names for i in range(len(name) - 2))
    chances = [count / triples.total() for count in triples.values()]
    return math.exp(-sum(p * math.log(p) for p in chances))


def judge(
    policy: Model, judges: Judges, prompts: list[str], alphabet: list[str], seed: int
) -> Verdict:
    """Complete every prompt once with a policy of floats.

    The KL is estimated from these answers. The surprise is -log pi_ref(y|x) per token: low while
    they still look like names.
    """
    rng = random.Random(seed)
    answers = [roll_out(policy, judges, encode(p, alphabet)[:-1], rng) for p in prompts]
    names = [decode([*r.prompt, *r.answer], alphabet) for r in answers]
    golds, n = [flow(name) for name in names], len(names)
    gold = sum(golds) / n
    expected = sum(sum(r.log_probs) - sum(r.kl) for r in answers)
    return Verdict(
        sum(r.score for r in answers) / n,
        gold,
        math.sqrt(sum((g - gold) ** 2 for g in golds) / (n - 1) / n),
        sum(sum(r.kl) for r in answers) / n,
        -expected / sum(len(r.answer) for r in answers),
        names,
        variety(names),
    )


COLUMNS = ("proxy", "gold", "KL", "entr.", "clip", "low", "high", "expl.", "policy", "value")


def expected_accuracy(
    reward_model: Net, pairs: list[tuple[list[int], list[int]]], chances: list[float]
) -> float:
    """Accuracy on (chosen, rejected) texts, averaged over what the annotator might have said."""
    agrees = [reward(reward_model, chosen) > reward(reward_model, other) for chosen, other in pairs]
    return sum(c if right else 1.0 - c for right, c in zip(agrees, chances)) / len(pairs)


def experiment(seed: int, names: str | None) -> int:
    rng = random.Random(seed)
    learnt, held = split(read_names(names), rng)
    alphabet = alphabet_of(learnt + held)
    print(f"microppo, seed {seed}")
    print(f"names: {len(learnt)} to learn, {len(held)} held out")

    # Pretrain. The frozen copy is the reference, and every policy starts from it.
    learner = unfreeze(init_model(len(alphabet), rng))
    learn = next_letter(learner, learnt, alphabet, rng)
    optimizer = Adam(weights_of(learner))
    curve = train("pretrain", learn, optimizer, PRETRAIN_STEPS, PRETRAIN_LR)
    reference = freeze(learner)
    print(f"\npretraining, {PRETRAIN_STEPS} steps: loss per token, in nats")
    print(f"  {sparkline(curve)} {mean_loss(reference, held, alphabet):.2f} on held-out names")

    # The reward model.
    compared = [compare(reference, learnt, alphabet, rng) for _ in range(PAIRS)]
    texts, unseen_texts = split(compared, rng, HELD_OUT)

    def tokens_of(text: dict[str, str]) -> tuple[list[int], list[int]]:
        better, worse = (text["prompt"] + text[key] for key in ("chosen", "rejected"))
        return encode(better, alphabet), encode(worse, alphabet)

    pairs, unseen = list(map(tokens_of, texts)), list(map(tokens_of, unseen_texts))
    reward_model = new_reward_model(len(alphabet), rng)
    optimizer = Adam(arrays=arrays_of(reward_model))
    learn = comparisons(reward_model, pairs, rng)
    curve = train("reward model", learn, optimizer, REWARD_STEPS, REWARD_LR)
    chances = [chance_of(text) for text in unseen_texts]
    accuracy = expected_accuracy(reward_model, unseen, chances)
    ceiling = sum(max(c, 1.0 - c) for c in chances) / len(chances)
    print(f"\nreward model, {REWARD_STEPS} steps on {len(pairs)} comparisons: loss")
    print(f"  {sparkline(curve)}")
    print(f"  accuracy {accuracy:.1%} on {len(unseen)} held out; knowing flow exactly would give")
    print(f"  {ceiling:.1%}, because the annotator is noisy")

    # Its scale, and the critic, from answers of the reference; their first scores are raw.
    judges = Judges(reference, reward_model, 0.0, 1.0, new_critic(len(alphabet), rng))
    answers = [
        roll_out(reference, judges, encode(draw_prompt(learnt, rng), alphabet)[:-1], rng)
        for _ in range(CRITIC_ROLLOUTS)
    ]
    mean = sum(r.score for r in answers) / len(answers)
    std = math.sqrt(sum((r.score - mean) ** 2 for r in answers) / len(answers))
    judges = judges._replace(mean=mean, std=std)
    examples = []  # what comes of each token is the score at the end, discounted
    for r in answers:
        score, last = (r.score - mean) / std, len(r.states) - 1
        examples.append([(state, GAMMA ** (last - t) * score) for t, state in enumerate(r.states)])
    examples, unseen_examples = split(examples, rng, HELD_OUT)
    learn = forecasts(judges.critic, examples, rng)
    optimizer = Adam(arrays=arrays_of(judges.critic))
    curve = train("critic", learn, optimizer, CRITIC_STEPS, CRITIC_LR)
    flat = [example for some in unseen_examples for example in some]
    foreseen = explained_variance(
        [value_of(judges.critic, s) for s, _ in flat], [t for _, t in flat]
    )
    print(f"\ncritic, {CRITIC_STEPS} steps on {len(examples)} answers of the reference: loss")
    print(f"  {sparkline(curve)}")
    print(f"  explained variance {foreseen:.2f} on {len(unseen_examples)} held out")

    # PPO, with the penalty and without.
    policies, histories = {"reference": reference}, {}
    for label, kl_coef in (("with KL", KL_COEF), ("without KL", 0.0)):
        policies[label], histories[label] = ppo(judges, learnt, alphabet, kl_coef, seed)
    for label, reports in histories.items():
        print(f"\nPPO {label} penalty: {ITERATIONS} rounds of {ROLLOUTS} answers, {EPOCHS} epochs")
        print("  round" + "".join(f"{name:>7}" for name in COLUMNS))
        for i, report in enumerate(reports):
            if i % max(1, ITERATIONS // 8) == 0 or i == ITERATIONS - 1:
                print(f"  {i + 1:5}" + "".join(f"{report[name]:7.2f}" for name in COLUMNS))
        print(f"  proxy {sparkline([r['proxy'] for r in reports])}")
        print(f"  KL    {sparkline([r['KL'] for r in reports])}")
    print("""
  proxy      the reward model's score, 0 for the reference's average answer
  gold       flow, which the training knows only through the annotator's choices
  KL, entr.  drift, nats per answer; entropy of the choices, nats per token:
             means of log pi - log pi_ref, and of -log pi, over the answers
  clip       share of the ratios beyond the clip, after the round's first update
  low, high  the smallest and the largest ratio
  expl.      the critic's explained variance; policy, value: the two losses""")

    # Judge the policies by fresh answers to prompts from held-out names.
    prompts = [draw_prompt(held, rng) for _ in range(SAMPLES)]
    verdicts = {
        label: judge(policy, judges, prompts, alphabet, seed) for label, policy in policies.items()
    }
    print(f"\n{SAMPLES} fresh answers of each policy: proxy and gold")
    print("                proxy   gold flow +- s.e.      KL  surprise  distinct  triples")
    for label, v in verdicts.items():
        print(f"  {label:11} {v.proxy:7.2f} {v.gold:11.3f} +- {v.gold_se:.3f}", end="")
        print(f" {v.kl:7.2f} {v.surprise:9.2f} {len(set(v.names)):9} {v.variety:8.0f}")
    print("""  KL        drift from the reference, in nats per answer
  surprise  of the reference at the answers, in nats per token
  distinct  different names among them
  triples   of letters that the names are made of: e to their entropy""")
    print("\nanswers to the same prompts")
    for label, v in verdicts.items():
        print(f"  {label:11} {' '.join(v.names[:5])}"[:79])
        print(f"  {'':11} {' '.join(v.names[5:10])}"[:79])

    start, reined, free = verdicts.values()  # reined in by the penalty
    reports = [r for some in histories.values() for r in some]
    clipped = [r["clip"] for r in histories["with KL"]]
    gold_lead = (reined.gold - start.gold) / math.hypot(reined.gold_se, start.gold_se)
    collapse = free.variety / reined.variety
    return check_claims(
        [
            ("reward model's held-out accuracy", accuracy, ">=", 0.70),
            ("the same, as a share of the noise's limit", accuracy / ceiling, ">=", 0.85),
            ("critic's explained variance before the loop", foreseen, ">=", 0.1),
            ("first minibatch, largest |ratio - 1|", max(r["first"] for r in reports), "<=", 1e-9),
            ("smallest clip fraction of a round with KL", min(clipped), ">=", 0.001),
            ("largest clip fraction of a round with KL", max(clipped), "<=", 0.5),
            ("gold with KL above the reference, s.e.", gold_lead, ">=", 4.0),
            ("KL of the policy with KL, nats", reined.kl, "<=", 10.0),
            ("proxy without KL above with KL by", free.proxy - reined.proxy, ">=", 0.2),
            ("drift without the penalty, times that with it", free.kl / reined.kl, ">=", 3.0),
            ("letter triples without KL, share of with KL", collapse, "<=", 0.3),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(experiment, "How does the whole RLHF loop work, and how does it go wrong?", argv)


if __name__ == "__main__":
    sys.exit(main())
