"""microdistill: what does a teacher say that labels do not?

A label says which letter came next, and nothing about the others. A trained model, the teacher,
says how likely each of them was. Distillation (Hinton et al. 2015, arXiv:1503.02531) trains a
student, most often a smaller model, on such soft targets q. The temperature T lifts small ones:
    loss = T^2 KL(q || p),   q = softmax(teacher's logits / T),   p = softmax(student's logits / T)

What runs: a GPT learns names. Students whose MLP is an eighth as wide learn from 30 of them. The
baseline is hard labels at the step at which the held-out loss is lowest, an oracle: nobody knows
that step in practice. All controls that overfit are given the same advantage.

What to look for:
- Hard labels overfit, soft targets do not: ten names with a teacher are better than thirty without.
- Softness is not what helps. Smoothed labels are soft, too; and the teacher's probabilities, given
  to the wrong letters, are worse than none. What helps is which other letters are likely.
- That knowledge comes from the teacher's data, not from its size: a second teacher, which has seen
  the 30 names only, helps little; hard labels on all names come close to the teacher itself.
  Whether distillation makes up for a smaller size, a model as small as this cannot show.
- Names that the teacher writes (Kim and Rush 2016, arXiv:1606.07947) are worth less.

When to use it: a model exists that is good but too costly, and its probabilities can be had; if
only its texts can, train on those. When not: labels are plenty, and there is time to use them all.

    python microdistill.py [--seed N] [--names FILE]        11 seconds, standard library only
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

N_EMBD, N_HEAD, N_LAYER = 8, 2, 1  # of the teachers, 1,328 parameters
STUDENT_HIDDEN = 4  # hidden units of a student's MLP; a teacher has 4 N_EMBD. 880 parameters
BLOCK_SIZE, INIT_STD = 16, 0.08  # context in tokens; standard deviation of the initial weights

TEST = 62  # held-out names, a quarter of all
FEW, FEWER = 30, 10  # names that students learn from: few enough for hard labels to overfit
TEACHER_STEPS, STEPS = 400, 240  # one name per step; 240 are eight passes over the few names
# Each the best of 0.005, 0.01, 0.02, 0.04, 0.08 and 0.16 or within 0.005 nats of it:
HARD_LR, LR = 0.01, 0.02  # of hard and smoothed labels on the few names; of all other runs
TEMPERATURE = 2.0  # T of the soft targets; Hinton et al. tried 1 to 20. Here 1 does as well
SMOOTHING = 0.1  # share of a label that is spread evenly
EVERY = 30  # steps between two evaluations on the held-out names: the oracle chooses among these

assert N_LAYER == 1 and FEWER < FEW, "students have one layer; FEWER are the first of FEW"


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


# === Distillation =================================================================================
#
# How far is the student's distribution p from the target q? The KL divergence is the cross-entropy
# less the entropy H(q), which does not depend on the student:
#     KL(q || p) = sum_i q_i log(q_i / p_i) = -sum_i q_i log p_i - H(q)
# With log p_i = z_i / T - log sum_j e^(z_j / T) and sum_i q_i = 1 its gradient is
#     d KL / d z_j = (p_j - q_j) / T
# A hard label is a q of 1 at one letter. Its entropy is 0, and at T = 1 both lines are those of
# cross_entropy(). So hard and soft students have one loss, and differ in their targets only.
# For a large T p_j - q_j shrinks as 1 / T, so the gradient as 1 / T^2. The factor T^2 in the loss
# makes up for it, for SGD and beside a second loss; Adam divides a gradient by its size anyway.


def distill_loss(logits, q, t):
    """T^2 KL(q || softmax(z / T)), in nats, with the gradient T (p - q)."""
    p = softmax([z / t for z in detach(logits)])
    kl = fsum(b * math.log(b / a) for a, b in zip(p, q) if b > 0.0)
    return node(t * t * kl, (logits, [t * (a - b) for a, b in zip(p, q)]))


def all_logits(model, tokens):
    """The logits of every token but the first."""
    cache = [([], []) for _ in range(N_LAYER)]
    return [gpt(model, token, cache) for token in tokens[:-1]]


def hard(tokens):
    """An example: the tokens of a name, and a target distribution for each but the first."""
    return tokens, [[float(i == label) for i in range(len(ALPHABET))] for label in tokens[1:]]


def soft(teacher, tokens, t):
    """The teacher reads the name. What comes next, the label, is not used."""
    return tokens, [softmax([v / t for v in logits]) for logits in all_logits(teacher, tokens)]


def smooth(example):
    """Softness without knowledge: label smoothing (Szegedy et al. 2016, arXiv:1512.00567) spreads
    a share SMOOTHING of every target evenly over the tokens."""
    tokens, targets = example
    return tokens, [[(1.0 - SMOOTHING) * x + SMOOTHING / len(q) for x in q] for q in targets]


def permute(example, rng):
    """The same softness at the wrong letters: the letter that came next keeps its probability, the
    others exchange theirs (Furlanello et al. 2018, arXiv:1805.04770)."""
    tokens, targets = example
    permuted = []
    for label, q in zip(tokens[1:], targets):
        others = q[:label] + q[label + 1 :]
        rng.shuffle(others)
        permuted.append(others[:label] + [q[label]] + others[label:])
    return tokens, permuted


def init_student(rng):
    """A GPT of one layer, whose MLP is narrower."""
    w1 = random_matrix(STUDENT_HIDDEN, N_EMBD, rng)
    return init_gpt(rng) | {"0.w1": w1, "0.w2": random_matrix(N_EMBD, STUDENT_HIDDEN, rng)}


def evaluate(model, names):
    """The mean loss per token, in nats; names in tokens."""
    return fmean(loss for tokens in names for loss in token_losses(model, tokens))


def train(label, start, examples, t, lr, steps, test):
    """Train a copy of start on the examples in turn. Returns (held-out loss, step, the model in
    floats) for every EVERY-th step up to the last one."""
    model, path = unfreeze(start), []
    optimizer = Adam(parameters(model))
    for step in range(steps):
        tokens, targets = examples[step % len(examples)]
        losses = [distill_loss(z, q, t) for z, q in zip(all_logits(model, tokens), targets)]
        loss = total(losses) * (1.0 / len(losses))
        loss.backward()
        optimizer.step(lr * schedule(step, steps))
        progress(label, step, steps, loss.data)
        if (steps - step - 1) % EVERY == 0:
            path.append((evaluate(freeze(model), test), step + 1, freeze(model)))
    return path


# === Experiment ===================================================================================


def print_targets(kinds):
    """The targets of the third token of a name, for the letters to which "soft" gives most."""
    tokens, targets = kinds["soft"]
    print(f"\nafter {decode(tokens[:2])!r} in {decode(tokens)!r}, what comes next?")
    likeliest = sorted(range(len(ALPHABET)), key=lambda i: -targets[1][i])[:8]
    print_row("", {ALPHABET[i]: ALPHABET[i] for i in likeliest})
    for kind, (_, targets) in kinds.items():
        print_row(kind, {ALPHABET[i]: targets[1][i] for i in likeliest})


def experiment(seed, names):
    rng = random.Random(seed)
    names = [encode(f".{name}.") for name in rng.sample(names, len(names))]
    test, train_names = names[:TEST], names[TEST:]
    labels, few = [hard(tokens) for tokens in train_names], train_names[:FEW]
    print(f"microdistill, seed {seed}. Losses on {TEST} held-out names, nats per token.")
    path = train("teacher", init_gpt(rng), labels, 1.0, LR, TEACHER_STEPS, test)
    teacher_loss, _, teacher = path[-1]
    path = train("2nd teacher", init_gpt(rng), labels[:FEW], 1.0, HARD_LR, STEPS, test)
    second_loss, _, second = min(path)
    print(f"The teacher: {teacher_loss:.3f}. The second teacher at best: {second_loss:.3f}")

    targets = [soft(teacher, tokens, TEMPERATURE) for tokens in few]
    students = {  # examples, their temperature, learning rate
        "hard": (labels[:FEW], 1.0, HARD_LR),
        "smoothed": ([smooth(example) for example in labels[:FEW]], 1.0, HARD_LR),
        "soft": (targets, TEMPERATURE, LR),
        "soft, T = 1": ([soft(teacher, tokens, 1.0) for tokens in few], 1.0, LR),
        "permuted": ([permute(example, rng) for example in targets], TEMPERATURE, LR),
        "soft, fewer": (targets[:FEWER], TEMPERATURE, LR),
        "2nd teacher": ([soft(second, x, TEMPERATURE) for x in few], TEMPERATURE, LR),
        "written": ([hard([END, *sample(teacher, [END], rng)]) for _ in range(STEPS)], 1.0, LR),
        "hard, all": (labels, 1.0, LR),
    }
    print_targets({label: students[label][0][0] for label in list(students)[:5]})

    columns = ("names", "end", "best", "at step", "two names sampled at this step")
    print()
    print_row("students", {key: key for key in columns})
    start, end, best = init_student(rng), {}, {}
    for label, (examples, t, lr) in students.items():
        path = train(label, start, examples, t, lr, STEPS, test)
        end[label], (best[label], step, model) = path[-1][0], min(path)
        sampled = [decode(sample(model, [END], rng)).strip(".") for _ in range(2)]
        row = (f"{len(examples)}", f"{end[label]:.3f}", f"{best[label]:.3f}", f"{step}")
        print_row(label, dict(zip(columns, [*row, " ".join(sampled)])))

    label_best = min(best["hard"], best["smoothed"])
    return check_claims([
        ("soft minus hard or smoothed at best", end["soft"] - label_best, "<=", -0.08),
        ("soft, fewer minus hard at best", end["soft, fewer"] - best["hard"], "<=", -0.06),
        ("permuted minus hard, both at best", best["permuted"] - best["hard"], ">=", 0.1),
        ("soft minus 2nd teacher at best", end["soft"] - best["2nd teacher"], "<=", -0.06),
        ("written minus hard, all", end["written"] - end["hard, all"], ">=", 0.0),
        ("hard, all minus the teacher", end["hard, all"] - teacher_loss, "<=", 0.08),
        ("soft, T = 1 minus soft, absolute", abs(end["soft, T = 1"] - end["soft"]), "<=", 0.02),
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
