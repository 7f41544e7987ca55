"""microschedule: what does a learning-rate schedule buy?

A schedule multiplies a peak learning rate by a share that changes with the step t of T, such as
    constant: 1        linear decay: 1 - t / T        cosine decay: (1 + cos(pi t / T)) / 2
(Loshchilov and Hutter 2017, arXiv:1608.03983). Warmup-stable-decay (WSD; Hu et al. 2024,
arXiv:2404.06395) stays at the peak and decays at the end only. The rival of every decay is a
constant rate whose weights are averaged over the run (SWA; Izmailov et al. 2018, arXiv:1803.05407).

What runs: a tiny GPT learns names under six schedules, from the same initial weights, with the same
names in the same order. The peak of 0.04 is the best of linear and cosine decay. The constant rate
also runs at 0.01, which is its best. The loss is that on all names, which training minimizes.

What to look for:
- A decay lowers the loss when it lowers the rate, and hardly before. Which decay matters little.
- The mean of the constant run's weights is about as good as a decayed run, although the run itself
  gets no better. It asks for no number of steps in advance, and neither does WSD.
- With a decay or an average the peak hardly matters. At a constant rate it does.
- Warmup shows nothing here. It is known to matter for large models and for norms after the residual
  sum (Xiong et al. 2020, arXiv:2002.04745), which Adam's first steps can spoil for good.

When to use it: decay when you know the number of steps, use WSD or averaging when you do not. Warm
up all the same: it costs nothing.

    python microschedule.py [--seed N] [--names FILE]        14 seconds, standard library only
"""

import argparse
import gc
import math
import random
import signal
import sys
from math import fsum
from operator import mul
from statistics import fmean
from typing import NamedTuple

N_EMBD, N_HEAD, N_LAYER = 8, 2, 1  # 1,328 parameters
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # of the initial weights

STEPS = 400  # of every run, one name per step
# Peak rates. Of 0.0025, 0.005, 0.01, 0.02, 0.04 and 0.08 the best of linear and cosine decay is
# 0.04, that of the constant rate 0.01.
HIGH, LOW = 0.04, 0.01
DROPS, GAMMA = (0.5, 0.75), 0.3  # step decay multiplies by GAMMA after these shares of the steps
DECAY = 0.2  # WSD decays in this share of the steps
EVERY = 20  # in its second half, a run keeps its weights every so many steps, to average them

assert STEPS % 5 == 0, "the table shows fifths of the steps"


# --- Autograd -------------------------------------------------------------------------------------
#
# A Value is a number whose gradient autograd computes: a weight that learns by it, or anything
# computed from one. Everything else is a float. The functions below run on both; what runs on
# floats builds no graph, so weights given as floats are frozen. A vector is a list, all of Values
# or all of floats. (The class Value is whole in every script, whether all of it is used or not.)


class Value:
    """A number, what it was computed from, and its derivatives by that."""

    __slots__ = ("data", "grad", "children", "local_grads")

    def __init__(self, data, children=(), local_grads=()):
        self.data = data
        self.grad = 0.0  # d(loss)/d(self), filled in by backward()
        self.children = children  # the Values that it was computed from
        self.local_grads = local_grads  # d(self)/d(child), one for each of them

    def __add__(self, other):
        if isinstance(other, Value):
            return Value(self.data + other.data, (self, other), (1.0, 1.0))
        return Value(self.data + other, (self,), (1.0,))

    def __mul__(self, other):
        if isinstance(other, Value):
            return Value(self.data * other.data, (self, other), (other.data, self.data))
        return Value(self.data * other, (self,), (other,))

    def __pow__(self, k): return Value(self.data**k, (self,), (k * self.data ** (k - 1),))
    def exp(self): return Value(math.exp(self.data), (self,), (math.exp(self.data),))
    def log(self): return Value(math.log(self.data), (self,), (1.0 / self.data,))
    def relu(self): return Value(max(self.data, 0.0), (self,), (float(self.data > 0.0),))

    __radd__, __rmul__ = __add__, __mul__
    def __neg__(self): return self * -1.0
    def __sub__(self, other): return self + -other
    def __rsub__(self, other): return -self + other
    def __truediv__(self, other): return self * other**-1.0

    def backward(self):
        """Add d(self)/d(x) to x.grad for every Value x below: each node's turn comes before that of
        its children, when its own gradient is complete."""
        order = []
        topological_sort(self, set(), order)
        self.grad = 1.0
        for node in reversed(order):
            node.chain_rule()

    def chain_rule(self):
        """d(loss)/d(child) += d(self)/d(child) * d(loss)/d(self)."""
        for child, local_grad in zip(self.children, self.local_grads):
            child.grad += local_grad * self.grad


def topological_sort(node, seen, order):
    """Append the nodes below to order, children first; weights, which have none, are left out."""
    seen.add(node)
    for child in node.children:
        if child.children and child not in seen:
            topological_sort(child, seen, order)
    order.append(node)


# A dot product written with * and + would be a node for every product and every sum. We know its
# derivatives, d(a . b)/d(a_i) = b_i and the reverse, so one node does it, which is faster.


def detach(xs):
    """The plain numbers of a vector."""
    return [x.data for x in xs] if isinstance(xs[0], Value) else xs


def node(data, *inputs):
    """One node for a function of vectors: inputs are pairs (vector, d(data)/d(vector)). A vector of
    floats is a constant and gets no edge; if all are, the result is a float."""
    children, local_grads = [], []
    for xs, grads in inputs:
        if isinstance(xs[0], Value):
            children += xs
            local_grads += grads
    return Value(data, children, local_grads) if children else data


def dot(a, b):
    a_data, b_data = detach(a), detach(b)
    return node(fsum(map(mul, a_data, b_data)), (a, b_data), (b, a_data))


def total(xs):
    return node(fsum(detach(xs)), (xs, [1.0] * len(xs)))


def matvec(w, x):
    """W x, shapes (n, m) and (m,) to (n,)."""
    if isinstance(x[0], Value) or isinstance(w[0][0], Value):
        return [dot(row, x) for row in w]
    return [fsum(map(mul, row, x)) for row in w]  # dot() of floats, without its overhead


def softmax(logits):
    """p_i = e^z_i / sum_j e^z_j, with the Jacobian dp_i/dz_j = p_i ([i = j] - p_j)."""
    data = detach(logits)
    largest = max(data)  # subtracted from every logit, it changes no p and prevents overflow
    exps = [math.exp(z - largest) for z in data]
    norm = fsum(exps)
    probs = [e / norm for e in exps]
    if not isinstance(logits[0], Value):
        return probs
    rows = [[p * ((i == j) - q) for j, q in enumerate(probs)] for i, p in enumerate(probs)]
    return [Value(p, logits, row) for p, row in zip(probs, rows)]


def cross_entropy(logits, target):
    """-log softmax(logits)[target], in nats; the gradient is softmax(logits) - one_hot(target)."""
    probs = softmax(detach(logits))
    grads = [p - (i == target) for i, p in enumerate(probs)]
    return node(-math.log(probs[target]), (logits, grads))


# --- Models ---------------------------------------------------------------------------------------
#
# A model is a dict of named matrices. A matrix is a list of rows, all of Values or all of floats.


def random_matrix(rows, columns, rng, std=INIT_STD):
    return [[rng.gauss(0.0, std) for _ in range(columns)] for _ in range(rows)]


def unfreeze(model):
    """A copy in Values: it learns."""
    return {name: [[Value(x) for x in row] for row in w] for name, w in model.items()}


def freeze(model):
    """A copy in floats: it does not."""
    return {name: [list(detach(row)) for row in w] for name, w in model.items()}


def parameters(model):
    return [x for w in model.values() for row in w for x in row]


def add(a, b):
    return [x + y for x, y in zip(a, b)]


def relu(x):
    return x.relu() if isinstance(x, Value) else max(x, 0.0)


def rmsnorm(x):
    """x / sqrt(mean(x^2) + 1e-5)."""
    scale = (dot(x, x) * (1.0 / len(x)) + 1e-5) ** -0.5
    return [v * scale for v in x]


# --- Linear layer ---------------------------------------------------------------------------------


def linear(model, name, x):
    """W x for a matrix of the GPT. Methods that change the layers change this function."""
    return matvec(model[name], x)


# --- GPT ------------------------------------------------------------------------------------------
#
# A GPT-2 in miniature: RMSNorm for LayerNorm, ReLU for GELU, no biases. "0.wq" is the query matrix
# of layer 0. Tokens are letters; "." stands before a name and after it.

ALPHABET = ".abcdefghijklmnopqrstuvwxyz"
END = ALPHABET.index(".")


def encode(text):
    return [ALPHABET.index(letter) for letter in text]


def decode(tokens):
    return "".join(ALPHABET[token] for token in tokens)


def init_gpt(rng):
    d, vocab_size = N_EMBD, len(ALPHABET)
    shapes = {"wte": (vocab_size, d), "wpe": (BLOCK_SIZE, d), "lm_head": (vocab_size, d)}
    for i in range(N_LAYER):
        shapes |= {f"{i}.{name}": (d, d) for name in ("wq", "wk", "wv", "wo")}
        shapes |= {f"{i}.w1": (4 * d, d), f"{i}.w2": (d, 4 * d)}
    return {name: random_matrix(*shape, rng) for name, shape in shapes.items()}


def gpt(model, token, cache):
    """Read one token and return the logits of the next, shape (vocab_size,). cache holds, for each
    layer, the keys and the values of the tokens read so far."""
    d_head, position = N_EMBD // N_HEAD, len(cache[0][0])
    x = rmsnorm(add(model["wte"][token], model["wpe"][position]))
    for i, (keys, values) in enumerate(cache):
        h = rmsnorm(x)
        query = linear(model, f"{i}.wq", h)
        keys.append(linear(model, f"{i}.wk", h))
        values.append(linear(model, f"{i}.wv", h))
        heads = []
        for start in range(0, N_EMBD, d_head):
            head = slice(start, start + d_head)
            scores = matvec([k[head] for k in keys], [q * d_head**-0.5 for q in query[head]])
            weights = softmax(scores)
            heads += [dot(weights, column) for column in zip(*(v[head] for v in values))]
        x = add(x, linear(model, f"{i}.wo", heads))
        hidden = [relu(h) for h in linear(model, f"{i}.w1", rmsnorm(x))]
        x = add(x, linear(model, f"{i}.w2", hidden))
    return linear(model, "lm_head", x)


def token_losses(model, tokens):
    """-log p(token | those before) for every token but the first, in nats."""
    cache = [([], []) for _ in range(N_LAYER)]
    return [cross_entropy(gpt(model, a, cache), b) for a, b in zip(tokens, tokens[1:])]


def sample(model, prompt, rng):
    """Sample tokens after a prompt, up to END or to a full context."""
    tokens, cache = list(prompt), [([], []) for _ in range(N_LAYER)]
    for token in prompt[:-1]:
        gpt(model, token, cache)
    while len(tokens) <= BLOCK_SIZE:
        probs = softmax(gpt(model, tokens[-1], cache))
        tokens += rng.choices(range(len(probs)), probs)
        if tokens[-1] == END:
            break
    return tokens[len(prompt) :]


# --- Training -------------------------------------------------------------------------------------


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1). b2 is 0.99 instead of 0.999, for short runs."""

    def __init__(self, parameters, b1=0.9, b2=0.99):
        self.parameters, self.b1, self.b2, self.t = parameters, b1, b2, 0
        self.m = self.v = [0.0] * len(parameters)

    def step(self, lr):
        """Move every parameter against its gradient, and set the gradient back to 0."""
        for p, change in zip(self.parameters, self.changes([p.grad for p in self.parameters], lr)):
            p.data -= change
            p.grad = 0.0

    def changes(self, grads, lr):
        """What to subtract: lr m_hat / (sqrt(v_hat) + 1e-8), from running means of g and g^2."""
        self.t += 1
        self.m = [self.b1 * m + (1.0 - self.b1) * g for m, g in zip(self.m, grads)]
        self.v = [self.b2 * v + (1.0 - self.b2) * g * g for v, g in zip(self.v, grads)]
        c1, c2 = 1.0 - self.b1**self.t, 1.0 - self.b2**self.t  # m_hat = m / c1: m starts at 0
        return [lr * (m / c1) / (math.sqrt(v / c2) + 1e-8) for m, v in zip(self.m, self.v)]


def schedule(step, steps):
    """The share of the peak learning rate: up for a tenth of the steps, then straight down to 0."""
    return min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps), 1.0)


# === Learning-rate schedules ======================================================================
#
# Why should a learning rate fall? The smallest model there is has one parameter w and the loss
# h w^2 / 2. The gradient of one name is h w + e: right on average, with a noise e of variance s^2.
# A step of stochastic gradient descent is
#     w <- w - lr (h w + e).
# 1. Far from the minimum the noise hardly matters: w shrinks by 1 - lr h. A high rate is fast.
# 2. Near it there is nothing but noise. w never settles: its variance V stays the same once
#    V = (1 - lr h)^2 V + lr^2 s^2, which makes a mean loss of
#        h V / 2 = lr s^2 / (4 - 2 lr h).
#    A low rate is good: the loss at which a run levels off is about proportional to lr.
#    So the rate should be high at first and low later. Nothing here prefers a line to a cosine.
# 3. Or average. The sum of n steps, w_n - w_0 = -lr (h sum(w) + sum(e)), solved for the mean of w:
#        mean(w) = -mean(e) / h - (w_n - w_0) / (lr h n).
#    The first term, of variance s^2 / (h^2 n), does not depend on the rate; the second vanishes
#    faster, above all at a high rate. So the average settles although w itself does not.
# Adam divides the gradient by its size, which changes the scale of this, not the argument.


def constant(step, steps):
    """Every schedule is a function of (t, T), with t from 0 to T - 1, to a share of the peak."""
    return 1.0


def step_decay(step, steps):
    return GAMMA ** sum(step >= drop * steps for drop in DROPS)


def linear_decay(step, steps):
    return 1.0 - step / steps


def cosine_decay(step, steps):
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def warmup_stable_decay(step, steps):
    """Without its warmup, so that it differs from constant in its end only."""
    return min(1.0, (steps - step) / (DECAY * steps))


SCHEDULES = {
    "constant": constant,
    "step": step_decay,
    "linear": linear_decay,
    "cosine": cosine_decay,
    "WSD": warmup_stable_decay,
    "warmup": schedule,  # linear decay after warmup
}


class Run(NamedTuple):
    losses: list  # of the name of every step, before the step
    snapshots: list  # models in floats, from the second half; the last one from the end


def train(label, start, share, peak, order):
    """Train a copy of start on the names of order, at the learning rate peak * share(t, T)."""
    model = unfreeze(start)
    optimizer, losses, snapshots = Adam(parameters(model)), [], []
    for step in range(STEPS):
        token_loss = token_losses(model, encode("." + order[step] + "."))
        loss = total(token_loss) * (1.0 / len(token_loss))
        loss.backward()
        optimizer.step(peak * share(step, STEPS))
        progress(f"{label}, {peak}", step, STEPS, loss.data)
        losses.append(loss.data)
        if step >= STEPS // 2 and (STEPS - step - 1) % EVERY == 0:
            snapshots.append(freeze(model))
    return Run(losses, snapshots)


def average(models):
    """The mean of every weight, over models in floats."""
    return {
        name: [[fmean(ws) for ws in zip(*rows)] for rows in zip(*(model[name] for model in models))]
        for name in models[0]
    }


# === Experiment ===================================================================================


def evaluate(model, names):
    """The mean loss per token of all names, in nats: what training minimizes."""
    return fmean(loss for name in names for loss in token_losses(model, encode(f".{name}.")))


def measure(label, run, names):
    """The training loss in each fifth of a run, and the loss on all names: at the end (final), and
    of the averaged weights. A constant run still jumps at its end, so its final loss is the mean
    over the snapshots of its last fifth."""
    fifth = STEPS // 5
    row = {f"to {i + fifth}": fmean(run.losses[i : i + fifth]) for i in range(0, STEPS, fifth)}
    last = max(1, fifth // EVERY) if label == "constant" else 1
    row["final"] = fmean(evaluate(model, names) for model in run.snapshots[-last:])
    row["averaged"] = evaluate(average(run.snapshots), names)
    return row


def sampled_names(model, seed):
    rng = random.Random(seed)
    return " ".join(decode(sample(model, [END], rng)).strip(".") for _ in range(7))


def experiment(seed, names):
    rng = random.Random(seed)
    start, order = init_gpt(rng), [rng.choice(names) for _ in range(STEPS)]
    print(f"microschedule, seed {seed}. Losses in nats per token.")
    print(f"to {STEPS // 5} ...: training loss up to this step, on the same names in every row")
    print("final: loss on all names at the end; averaged: that of the mean of the")
    print("  weights in the second half of the run")

    runs, rows = {}, {}
    for peak, labels in ((HIGH, SCHEDULES), (LOW, ("constant", "linear"))):
        for label in labels:
            run = runs[peak, label] = train(label, start, SCHEDULES[label], peak, order)
            row = rows[peak, label] = measure(label, run, names)
            if label == "constant":
                print()
                print_row(f"peak {peak}", {key: key for key in row})
            print_row(label, {key: f"{x:.3f}" for key, x in row.items()})

    print(f"\nsampled names, peak {HIGH}")
    for label in ("constant", "linear"):
        print(f"{label:12} {sampled_names(runs[HIGH, label].snapshots[-1], seed)}")

    high = {label: rows[HIGH, label]["final"] for label in SCHEDULES}
    low = {label: rows[LOW, label]["final"] for label in ("constant", "linear")}
    high["averaged"], low["averaged"] = (rows[p, "constant"]["averaged"] for p in (HIGH, LOW))
    decays = [high[label] for label in ("step", "linear", "cosine", "warmup")]
    best = {label: min(high[label], low[label]) for label in low}  # each at its better peak
    cost = [high[label] - low[label] for label in ("constant", "linear")]  # of the high peak
    return check_claims([
        ("linear decay minus constant", high["linear"] - high["constant"], "<=", -0.05),
        ("WSD minus constant", high["WSD"] - high["constant"], "<=", -0.01),
        ("averaged minus constant", high["averaged"] - high["constant"], "<=", -0.03),
        ("worst minus best of step, linear, cosine, warmup", max(decays) - min(decays), "<=", 0.05),
        ("better peaks: linear minus constant", best["linear"] - best["constant"], "<=", -0.01),
        ("better peaks: averaged minus constant", best["averaged"] - best["constant"], "<=", -0.01),
        ("cost of the high peak, constant minus linear", cost[0] - cost[1], ">=", 0.03),
    ])  # fmt: skip


# --- Names ----------------------------------------------------------------------------------------

NAMES = """
aaron abel adam adriana aida aisha alden alessandra alexandra alicia alisa alma amara amelia amos
andre andy angelica anna annette anton ariel arlo arturo audrey aurelia avery basil belinda benedict
bernice bethany bill boris bradley brent brooke bruno caleb candace carl carmen carter cassandra
cecilia chad charlotte chloe claire clarence clement colette conrad corey crystal cyrus dalia daniel
danielle darcy daryl dawn declan dennis diana dinah donald doreen duncan edith edna eileen eliana
elijah elizabeth elmer elsie emerson emmanuel erica esme etta eva fabian felix fernando floyd frank
frederick gabriela gemma george gianna giselle glen graham guillermo guy harold harry heather helen
herman homer hugh ignacio imogen iris isabella isla jack jaime james jana jasmine javier jeffrey
jeremy jerry jill jocelyn johanna jonas josefina joshua joyce jules juliana june karina kate katrina
kelvin kenneth kim kristina laila lara laurence layla leila leonard leonora leticia lila liliana
linda lois lorenzo louis lucian lucy luther madison maggie manuel marco marcus mariam mario marisol
marlene martina mason maureen megan melinda mercedes michelle mila milton miranda molly monique
myrtle naomi nathan nicholas nigel noelle octavia olga omar otis pablo paola paula pedro peter
pierre quentin ralph raquel ravi regina reuben richard roberta rodney roland ronald rose ross ruben
russell ryan salvador samuel sarah savannah selena sergio sharon sherman sidney silvia sonia sophie
stella stuart susanna sylvester tara taylor tessa theresa tiffany todd trevor tristan una vanessa
veronica victoria vivian walter wendy willa willow xavier yvonne zara
""".split()


def read_names(path):
    """The names in a UTF-8 file, one a line."""
    number, names = 0, []
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                names.append(line.strip().lower())
                if set(names[-1]) - set(ALPHABET[1:]) or not 0 < len(names[-1]) < BLOCK_SIZE:
                    raise ValueError(f"{names[-1]!r}: write 1 to {BLOCK_SIZE - 1} letters a to z")
        if number < 100:
            raise ValueError("give 100 names or more")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}, line {number}: {error}") from None
    return names


# --- Command line ---------------------------------------------------------------------------------


def progress(label, step, steps, loss):
    """A moving line on stderr; stdout depends on the seed alone."""
    if (step + 1) % max(1, steps // 10) == 0 or step + 1 == steps:
        end = "\n" if step + 1 == steps else ""
        line = f"\r{label:15} step {step + 1:4}/{steps}, loss {loss:6.3f}"
        print(line, end=end, file=sys.stderr, flush=True)


def print_row(label, row):
    """A line of a table: each value of a dict in a column at least as wide as its key."""
    cells = [f"{x:.{2 * (abs(x) < 100)}f}" if isinstance(x, float) else x for x in row.values()]
    columns = [f"{cell:>{max(len(key), 5) + 1}}" for key, cell in zip(row, cells)]
    print(f"{label:12}" + "".join(columns))


def check_claims(claims):
    """Print each claim: (what, measured, ">=" or "<=", bound). Return 1 if one fails, else 0."""
    print("\nclaims")
    failed = 0
    for what, measured, relation, bound in claims:
        holds = measured >= bound if relation == ">=" else measured <= bound
        failed |= not holds
        print(f"  {'ok  ' if holds else 'FAIL'} {what:54} {measured:8.3f} {relation} {bound}")
    return int(failed)


def run(experiment, **files):
    """Run an experiment as the command line says, and exit with its status. files: for each option
    its type=, the function that reads its file, the default without one, and a help text."""
    for name in ("SIGINT", "SIGPIPE"):  # Ctrl-C and | head end the program without a traceback
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    sys.stdout.reconfigure(line_buffering=True)  # results appear as they come, in a pipe too
    gc.disable()  # graphs hold no cycles: looking for them takes time for nothing
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="default: 42")
    for option, arguments in files.items():
        parser.add_argument(f"--{option}", metavar="FILE", **arguments)
    sys.exit(experiment(**vars(parser.parse_args())))


if __name__ == "__main__":
    run(experiment, names=dict(type=read_names, default=NAMES, help="names, one a line, UTF-8"))
