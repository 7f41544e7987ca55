"""microdropout: what keeps a network from memorizing its few examples?

A network that meets the same examples again and again memorizes them: the loss on them falls, the
loss on others rises. This is overfitting. Three remedies, for a hidden unit h_i and a weight w:

    dropout          y_i = m_i h_i, where m_i = 0 with probability p, else 1 / (1 - p)
    weight decay     w = w - lr decay w, beside Adam's step (AdamW)
    early stopping   keep the checkpoint whose loss on validation names is lowest
(Srivastava et al. 2014; Loshchilov and Hutter 2019, arXiv:1711.05101; Prechelt 1998.)

What runs: an MLP of 1,848 weights learns from 40 names to predict the next letter from the three
before it. First without remedy, with dropout, and with weight decay, all at one high learning rate;
then without remedy and with dropout at the rates that are best for them. All start alike and see
the same batches. Early stopping is applied to each. A table of letter pairs is the control.

What to look for: at the high rate the loss of the plain run turns up. Dropout delays that, weight
decay prevents it, at that rate too. But a lower rate and early stopping, which cost nothing, do as
much as dropout at its best. A network trained with dropout is many networks: at the high rate the
mean of their predictions is better than its own.

When to use them: early stopping always; weight decay and dropout where a network is large for its
data and passes over it often, as in fine-tuning. When not: large language models see most of their
text once and are mostly pretrained without dropout.

    python microdropout.py [--seed N] [--names FILE]    12 seconds, standard library only
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

CONTEXT = 3  # letters that the network reads
N_EMBD, HIDDEN = 8, 32  # numbers per letter, hidden units: seven weights for each training example
INIT_STD = 0.08
BLOCK_SIZE = 16  # a name in a file has fewer letters

TRAIN_NAMES, VALIDATION_NAMES, TEST_NAMES = 40, 40, 160  # few to learn from, many to compare on
STEPS, BATCH_SIZE = 500, 8  # each of some 280 examples is seen 14 times
EVAL_EVERY = 50  # steps from one checkpoint to the next
HIGH_LR = 0.012  # peak rate of the first three runs: the plain one overfits
PLAIN_LR, DROPOUT_LR = 0.0015, 0.003  # the best of 0.00075, 0.0015, 0.003, ..., 0.024 for each
DROPOUT = 0.5  # p, as in the paper
DECAY = 2.0  # the best of 1, 2, 4; every step takes lr DECAY of each weight, here up to 2.4 %
MASKS = 20  # subnetworks whose predictions are averaged

assert 0.0 <= DROPOUT < 1.0, "DROPOUT is a probability below 1"
assert STEPS % EVAL_EVERY == 0, "the last step must be a checkpoint"


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


# === The MLP and its examples =====================================================================
#
# The network of Bengio et al. (2003): with e(a) the embedding of token a,
#
#     x = rmsnorm(e(a_1), ..., e(a_CONTEXT))      one after the other
#     h = relu(W1 x)                              the hidden units
#     logits = W2 y                               y = h, or what dropout makes of it
#
# Tokens are letters; "." stands before a name and after it.

ALPHABET = ".abcdefghijklmnopqrstuvwxyz"


def make_examples(names):
    """(CONTEXT tokens, the next token) for every letter of the names and for their ends."""
    examples = []
    for name in names:
        tokens = [ALPHABET.index(letter) for letter in "." * CONTEXT + name + "."]
        for i in range(CONTEXT, len(tokens)):
            examples.append((tuple(tokens[i - CONTEXT : i]), tokens[i]))
    return examples


def init_mlp(rng):
    return {
        "wte": random_matrix(len(ALPHABET), N_EMBD, rng),
        "w1": random_matrix(HIDDEN, CONTEXT * N_EMBD, rng),
        "w2": random_matrix(len(ALPHABET), HIDDEN, rng),
    }


def mlp(model, context, mask):
    """The logits of the next token, shape (27,), with a dropout mask for the hidden units."""
    x = rmsnorm([number for token in context for number in model["wte"][token]])
    h = [relu(z) for z in matvec(model["w1"], x)]
    return matvec(model["w2"], dropout(h, mask))


# === Dropout ======================================================================================
#
# In training, every hidden unit is switched off with probability p, anew for each example:
#
#     y_i = m_i h_i      dL/dh_i = m_i dL/dy_i      m_i = 0 with probability p, else 1 / (1 - p)
#
# No gradient reaches a unit that is off. As E[m_i] = p 0 + (1 - p) / (1 - p) = 1, E[y_i] = h_i: the
# next layer gets on average what it gets with all units on. So evaluation takes all m_i = 1, and
# nothing else changes. Without the 1 / (1 - p) in training, all logits would be too large then.
#
# Why should it help? A unit cannot rely on another one that may be off (co-adaptation). Or: each
# mask makes one of 2^HIDDEN subnetworks, which share their weights, and all units together speak
# for them: the logits with all m_i = 1 are exactly the mean of theirs, since E[W2 y] = W2 h.

ALL_ON = [1.0] * HIDDEN


def sample_mask(p, rng):
    """HIDDEN factors: 0 with probability p, else 1 / (1 - p)."""
    return [float(rng.random() >= p) / (1.0 - p) for _ in range(HIDDEN)]


def dropout(h, mask):
    return [m_i * h_i for m_i, h_i in zip(mask, h)]


# === Weight decay =================================================================================
#
# A network that has memorized its examples is sure of them, and for that its weights are large. For
# gradient descent, shrinking them is the same as a penalty (decay / 2) sum w^2 in the loss, whose
# gradient is decay w. For Adam it is not: Adam divides a gradient by its usual size, and so would
# shrink least the weights with the largest gradients. AdamW shrinks all by the same share instead:
#
#     w = w - lr decay w      then Adam's step, from the gradient of the cross-entropy alone
#
# A weight without gradient halves in ln 2 / (lr decay) steps, 29 at the peak of the high rate: what
# the examples do not ask for again and again is forgotten.


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2)."""

    def __init__(self, parameters, decay):
        super().__init__(parameters)
        self.decay = decay

    def step(self, lr):
        for w in self.parameters:
            w.data -= lr * self.decay * w.data
        super().step(lr)


# === Training with checkpoints ====================================================================


def evaluate(model, examples):
    """The mean cross-entropy in nats per letter, all units on, of a model in floats."""
    contexts = dict.fromkeys(context for context, _ in examples)  # each once: many are the same
    logits = {context: mlp(model, context, ALL_ON) for context in contexts}
    return fmean(cross_entropy(logits[context], target) for context, target in examples)


def train(label, p, decay, peak_lr, examples, validation, seed):
    """Checkpoints, every EVAL_EVERY steps: (step, frozen model, validation loss)."""
    model = unfreeze(init_mlp(random.Random(f"weights {seed}")))
    batch_rng, mask_rng = random.Random(f"batches {seed}"), random.Random(f"masks {seed}")
    optimizer = AdamW(parameters(model), decay)
    checkpoints = []
    for step in range(STEPS):
        losses = []
        for context, target in batch_rng.choices(examples, k=BATCH_SIZE):
            logits = mlp(model, context, sample_mask(p, mask_rng))
            losses.append(cross_entropy(logits, target))
        loss = total(losses) * (1.0 / BATCH_SIZE)
        loss.backward()
        optimizer.step(peak_lr * schedule(step, STEPS))
        progress(label, step, STEPS, loss.data)
        if (step + 1) % EVAL_EVERY == 0:
            copy = freeze(model)
            checkpoints.append((step + 1, copy, evaluate(copy, validation)))
    return checkpoints


def early_stopping(checkpoints):
    """The checkpoint of the lowest validation loss. Other names have to test it, since that loss
    flatters what was chosen by it. In practice training ends after a few checkpoints without a new
    lowest loss (the patience), and saves the remaining steps."""
    return min(checkpoints, key=lambda checkpoint: checkpoint[2])


# === The experiment ===============================================================================
#
# The control that is no network counts letter pairs. Where pairs are few, the letters' own shares
# u(b) fill in, as if WEIGHT more pairs had been seen:
#
#     P(b | a) = (count(a, b) + WEIGHT u(b)) / (count(a) + WEIGHT)      WEIGHT: best on validation


def count_pairs(examples, weight):
    """P(next token | last token), one row for each last token."""
    counts = [[0] * len(ALPHABET) for _ in ALPHABET]
    for context, target in examples:
        counts[context[-1]][target] += 1
    totals = [1 + sum(column) for column in zip(*counts)]  # 1 more, so that no probability is 0
    u = [n / sum(totals) for n in totals]
    return [[(n + weight * q) / (sum(row) + weight) for n, q in zip(row, u)] for row in counts]


def pairs_loss(probs, examples):
    return fmean(-math.log(probs[context[-1]][target]) for context, target in examples)


def evaluate_masks(model, examples, rng):
    """(mean loss of MASKS subnetworks, loss of the mean of their predicted probabilities)."""
    masks = [sample_mask(DROPOUT, rng) for _ in range(MASKS)]
    one, mean = {}, {}
    for context in dict.fromkeys(context for context, _ in examples):
        all_probs = [softmax(mlp(model, context, mask)) for mask in masks]
        totals = [0.0] * len(ALPHABET)
        for probs in all_probs:
            totals = add(totals, probs)
        mean[context] = [-math.log(p / MASKS) for p in totals]
        one[context] = [-fmean(map(math.log, column)) for column in zip(*all_probs)]
    return tuple(fmean(losses[c][target] for c, target in examples) for losses in (one, mean))


def experiment(seed, names):
    names = random.Random(seed).sample(names, len(names))
    a, b = TRAIN_NAMES, TRAIN_NAMES + VALIDATION_NAMES
    parts = names[:a], names[a:b], names[b : b + TEST_NAMES]
    examples, validation, test = (make_examples(part) for part in parts)
    print(f"microdropout, seed {seed}: {len(examples)} letters to learn from, ", end="")
    print(f"{len(validation)} to validate, {len(test)} to test")
    print("\nvalidation loss in nats per letter after so many steps")
    print_row("", {str(i): str(i) for i in range(EVAL_EVERY, STEPS + 1, EVAL_EVERY)})
    runs = {  # dropout, decay, peak learning rate
        "plain": (0.0, 0.0, HIGH_LR),
        "dropout": (DROPOUT, 0.0, HIGH_LR),
        "decay": (0.0, DECAY, HIGH_LR),
        "plain, low": (0.0, 0.0, PLAIN_LR),
        "dropout, low": (DROPOUT, 0.0, DROPOUT_LR),
    }
    rows, models = {}, {}
    for label, (p, decay, lr) in runs.items():
        checkpoints = train(label, p, decay, lr, examples, validation, seed)
        print_row(label, {str(step): loss for step, _, loss in checkpoints})
        models[label] = checkpoints[-1][1]
        step, best, _ = early_stopping(checkpoints)
        losses = {"train": evaluate(models[label], examples), "end": evaluate(models[label], test)}
        stopped = {"stopped": evaluate(best, test), "at step": str(step)}
        rows[label] = {"p": p, "decay": decay, "peak rate": f"{lr:g}"} | losses | stopped

    print("\nloss on training names (train), on test names (end), there if stopped early")
    print_row("", {key: key for key in rows["plain"]})
    for label, row in rows.items():
        print_row(label, row)
    tables = [count_pairs(examples, weight) for weight in (3.0, 10.0, 30.0)]
    table = min(tables, key=lambda probs: pairs_loss(probs, validation))
    print(f"letter pairs, counted: {pairs_loss(table, test):.2f} on the test names")

    all_on, rng = rows["dropout"]["end"], random.Random(f"test masks {seed}")
    left_on, mean = evaluate_masks(models["dropout"], test, rng)
    print("\nthe network trained with dropout at the high rate, loss on the test names:")
    print(f"all units on {all_on:.2f}, dropout left on {left_on:.2f}, ", end="")
    print(f"mean prediction of {MASKS} subnetworks {mean:.2f}")

    plain, dropped, decayed, low, low_dropped = rows.values()
    best = low["stopped"]  # without remedy but early stopping, at its best rate
    gain = low_dropped["stopped"] - best
    return check_claims([
        ("plain: end minus early stopping", plain["end"] - plain["stopped"], ">=", 0.3),
        ("dropout's end minus plain's end", dropped["end"] - plain["end"], "<=", -0.2),
        ("decay: end minus early stopping", decayed["end"] - decayed["stopped"], "<=", 0.1),
        ("decay's end minus plain, low, stopped early", decayed["end"] - best, "<=", 0.1),
        ("dropout minus plain, low, both stopped early", gain, ">=", -0.06),
        ("dropout left on minus all units on", left_on - all_on, ">=", 0.1),
        ("mean of subnetworks minus all units on", mean - all_on, "<=", -0.04),
    ])


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
