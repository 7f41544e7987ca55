"""microbatchnorm: how does a deep network become trainable?

Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167) gives every unit of a layer, over the
examples x_1 ... x_n of a training batch, mean 0 and variance 1, then a gain and a bias that learn:

    u_i = (x_i - mean) / sqrt(variance + EPS)        y_i = gain u_i + bias

So an output depends on the rest of the batch. Evaluation uses running averages of the statistics.

What runs: a narrow ReLU network of five layers predicts the next letter of a name by SGD, first
from small weights, without and with batch normalization. Three controls do without it: Kaiming's
larger weights (He et al. 2015, arXiv:1502.01852), alone, with Adam, and with RMSNorm. Two tests of
the paper's reasons: a rate three times as high; and noisy batch normalization (Santurkar et al.
2018, arXiv:1805.11604), which shifts the inputs of every layer in every step.

What to look for: in the plain network the signal fades from layer to layer, and it learns no more
than how frequent the letters are. With batch normalization the same weights learn, and Kaiming's
stand a rate at which alone they fail. But steady inputs (less "internal covariate shift") are not
needed: with noise they shift more than without the layer, and it learns. The controls learn, too.

When to use it: deep networks with large batches, as in vision. When not: small batches, text, or
whenever an output must not depend on other examples; RMSNorm normalizes each example by itself.

    python microbatchnorm.py [--seed N] [--names FILE]        21 seconds, standard library only
"""
import argparse
import gc
import math
import random
import signal
import sys
from math import fsum
from operator import mul
from statistics import fmean, median

CONTEXT, N_EMBD = 3, 8  # letters that the network reads, numbers for each, from N(0, 1)
LAYERS, WIDTH = 5, 12  # deep enough for the signal to fade; units per layer
INIT_STD = 0.08  # of the small weights; Kaiming's is sqrt(2 / 12) = 0.41
BLOCK_SIZE, HELD_OUT_NAMES = 16, 80  # names have fewer letters; a third of them for evaluation
STEPS, BATCH_SIZE = 120, 32  # the same batches for every network
LR = 1.0  # SGD's peak; of 0.25, 0.5, 1, 2, 4 the best or within 0.02 nats of it for every network
FAST = 3.0  # a peak at which Kaiming's weights alone fail
ADAM_LR = 0.02  # best of 0.005, 0.01, 0.02, 0.04, 0.08
EPS, MOMENTUM = 1e-5, 0.1  # as in PyTorch; MOMENTUM is the weight of the newest batch
NOISE = 0.5  # noisy batch norm: every unit's output times 1 +- 0.5 and plus 0 +- 0.5
DRIFT_EVERY = 10  # steps between two measurements of drift
MAX_LOGIT = 300.0  # a larger one means divergence, and e^-logit will soon be too small for a float


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


# === Batch normalization ==========================================================================
#
# One unit, one batch: with m = mean(x), s = 1 / sqrt(variance + EPS) and g_i = dL/dy_i,
#
#     u_i = (x_i - m) s      y_i = gain u_i + bias      dL/dgain = sum g_i u_i    dL/dbias = sum g_i
#
# Each x_j moves u_j, and through m and s every u_i (dm/dx_j = 1 / n, ds/dx_j = -s^2 u_j / n):
#
#     du_i/dx_j = s [i = j] - s / n + (x_i - m) ds/dx_j = s ([i = j] - 1 / n - u_i u_j / n)
#     dL/dx_j = sum_i gain g_i du_i/dx_j = gain s (g_j - mean(g) - u_j mean(g u))
#
# The gradient loses its mean and its part along u, because neither a shift nor a scale of all x
# changes y. So 4 w in place of a unit's weights w gives the same y and a quarter of the gradient.
# And a step, at a right angle to w, makes w longer: too large a step makes the next ones smaller.


def moments(xs):
    """The mean and the variance, divided by n."""
    mean = fmean(xs)
    return mean, fmean((x - mean) ** 2 for x in xs)


class BatchNorm(Value):
    """One node between x and y_1 ... y_n of one unit. The y_i have it as a child, with local
    gradient 0, only so that its turn comes after theirs, when their gradients are complete."""

    __slots__ = ("u", "s", "outputs")

    def __init__(self, xs, gain, bias, mean, variance):
        super().__init__(0.0, (*xs, gain, bias))
        self.s = (variance + EPS) ** -0.5
        self.u = [(x.data - mean) * self.s for x in xs]
        self.outputs = [Value(gain.data * u + bias.data, (self,), (0.0,)) for u in self.u]

    def chain_rule(self):
        """Add d(loss)/dx, d(loss)/dgain and d(loss)/dbias to the gradients of the children."""
        *xs, gain, bias = self.children
        grads = [y.grad for y in self.outputs]
        products = [g * u for g, u in zip(grads, self.u)]
        gain.grad += fsum(products)
        bias.grad += fsum(grads)
        mean_g, mean_gu = fmean(grads), fmean(products)
        for x, g, u in zip(xs, grads, self.u):
            x.grad += gain.data * self.s * (g - mean_g - u * mean_gu)
        self.outputs = None  # node and outputs refer to each other: else they are never freed


def batch_norm(model, i, rows):
    """Normalize the outputs of layer i. A model in Values is in training: it uses the batch's own
    statistics, and moves the running ones towards them (that variance is divided by n - 1). A model
    in floats is evaluated: it uses the running ones."""
    outputs, n = [], len(rows)
    weights = (model[f"{i}.{name}"][0] for name in ("gain", "bias", "mean", "variance"))
    for xs, gain, bias, running_mean, running_variance in zip(zip(*rows), *weights):
        if isinstance(gain, Value):
            mean, variance = moments(detach(xs))
            running_mean.data += MOMENTUM * (mean - running_mean.data)
            running_variance.data += MOMENTUM * (variance * n / (n - 1) - running_variance.data)
            outputs.append(BatchNorm(xs, gain, bias, mean, variance).outputs)
        else:
            s = (running_variance + EPS) ** -0.5
            outputs.append([gain * (x - running_mean) * s + bias for x in xs])
    return list(zip(*outputs))


# Noisy batch normalization. The paper holds that a layer learns badly because its inputs shift
# while the layers below learn, and that normalization steadies them. So shift them on purpose: in
# every step, a (gain u + bias) + b with random a and b, which is a noisy gain and a noisy bias.


def add_noise(model, rng):
    """A model with noisy gains and biases, computed from the model's own."""
    noisy = dict(model)
    for i in range(LAYERS):
        a = [rng.uniform(1.0 - NOISE, 1.0 + NOISE) for _ in range(WIDTH)]
        gain, bias = zip(model[f"{i}.gain"][0], a), zip(model[f"{i}.bias"][0], a)
        noisy[f"{i}.gain"] = [[x * a_j for x, a_j in gain]]
        noisy[f"{i}.bias"] = [[x * a_j + rng.uniform(-NOISE, NOISE) for x, a_j in bias]]
    return noisy


# === The network and its training =================================================================
#
# The model of Bengio et al. (2003), made deep: h_i = relu(norm(W_i h_(i-1))), where h_0 is three
# embeddings in a row. Tokens are letters; "." stands before a name and after it.

ALPHABET = ".abcdefghijklmnopqrstuvwxyz"


def make_examples(names):
    """(CONTEXT tokens, the next token) for every letter of the names and for their ends."""
    examples = []
    for name in names:
        tokens = [ALPHABET.index(letter) for letter in "." * CONTEXT + name + "."]
        for i in range(CONTEXT, len(tokens)):
            examples.append((tuple(tokens[i - CONTEXT : i]), tokens[i]))
    return examples


def init_model(kaiming, rng):
    """A network in floats. ReLU halves the mean square; Kaiming's sqrt(2 / inputs) makes up for it.
    No optimizer moves the running statistics, which have no gradient."""
    model = {"wte": random_matrix(len(ALPHABET), N_EMBD, rng, 1.0)}
    for i in range(LAYERS):
        inputs = WIDTH if i else CONTEXT * N_EMBD
        std = math.sqrt(2.0 / inputs) if kaiming else INIT_STD
        model[f"{i}.w"] = random_matrix(WIDTH, inputs, rng, std)
        for name, start in (("gain", 1.0), ("bias", 0.0), ("mean", 0.0), ("variance", 1.0)):
            model[f"{i}.{name}"] = [[start] * WIDTH]
    head = {"head": random_matrix(len(ALPHABET), WIDTH, rng), "head.bias": [[0.0] * len(ALPHABET)]}
    return model | head


def forward(model, norm, examples):
    """The logits of every example, and for every layer the inputs of its ReLUs."""
    batch = [[x for token in context for x in model["wte"][token]] for context, _ in examples]
    inputs = []
    for i in range(LAYERS):
        rows = [matvec(model[f"{i}.w"], h) for h in batch]
        if norm == "batch":
            rows = batch_norm(model, i, rows)
        else:
            rows = [rmsnorm(row) if norm == "rms" else row for row in rows]
            rows = [add(row, model[f"{i}.bias"][0]) for row in rows]
        inputs.append(rows)
        batch = [[relu(z) for z in row] for row in rows]
    return [add(matvec(model["head"], h), model["head.bias"][0]) for h in batch], inputs


def mean_loss(logits, examples):
    losses = [cross_entropy(z, target) for z, (_, target) in zip(logits, examples)]
    return total(losses) * (1.0 / len(losses))


class SGD(Adam):
    """Stochastic gradient descent: Adam's step(), with another change."""

    def changes(self, grads, lr):
        return [lr * g for g in grads]


def drift(before, after):
    """How far a step moves a unit's mean, in standard deviations: the median over the units."""
    units = [(*moments(detach(x)), *moments(detach(y))) for x, y in zip(zip(*before), zip(*after))]
    return median(abs(m_after - m) / math.sqrt(v + EPS) for m, v, m_after, _ in units)


def train(label, kaiming, norm, noisy, optimizer, peak_lr, examples, seed):
    """(the trained model in floats, its row of the table). Training that diverges ends early."""
    model = unfreeze(init_model(kaiming, random.Random(f"weights {seed}")))
    rng, noise_rng = random.Random(f"batches {seed}"), random.Random(f"noise {seed}")
    optimizer = optimizer(parameters(model))
    losses, drifts, sizes = [], [], []
    for step in range(STEPS):
        batch = rng.choices(examples, k=BATCH_SIZE)
        logits, before = forward(add_noise(model, noise_rng) if noisy else model, norm, batch)
        if max(abs(z.data) for row in logits for z in row) > MAX_LOGIT:
            break
        loss = mean_loss(logits, batch)
        loss.backward()
        optimizer.step(peak_lr * schedule(step, STEPS))
        losses.append(loss.data)
        progress(label, step, STEPS, loss.data)
        if step == 0:
            sizes = [fmean(relu(z.data) ** 2 for row in rows for z in row) for rows in before]
        if step % DRIFT_EVERY == 0:
            copy = unfreeze(freeze(model))  # in training mode, but moves no running statistics
            _, after = forward(add_noise(copy, noise_rng) if noisy else copy, norm, batch)
            drifts.append(drift(before[LAYERS // 2], after[LAYERS // 2]))
    row = {"rate": peak_lr, "fading": f"{math.sqrt(sizes[-1] / sizes[0]):.0e}"}
    row |= {"steps": str(len(losses)), "drift": median(drifts)}
    return freeze(model), row | {"train": fmean(losses[-STEPS // 10 :])}


# === The experiment ===============================================================================


def experiment(seed, names):
    names = random.Random(seed).sample(names, len(names))
    held_out = make_examples(names[:HELD_OUT_NAMES])
    examples = make_examples(names[HELD_OUT_NAMES:])
    targets = [target for _, target in examples] + list(range(len(ALPHABET)))  # no count is 0
    frequencies = fmean(-math.log(targets.count(t) / len(targets)) for _, t in held_out)
    print(f"microbatchnorm, seed {seed}: the letter frequencies alone have a held-out loss of")
    print(f"{frequencies:.2f} nats; gain: how far a network's loss is below that\n")
    print_row("", {x: x for x in "rate fading steps drift train held-out gain".split()})
    runs = {  # Kaiming initialization, norm, noise, optimizer, peak rate
        "plain": (False, "none", False, SGD, LR),
        "batch norm": (False, "batch", False, SGD, LR),
        "noisy": (False, "batch", True, SGD, LR),
        "Kaiming": (True, "none", False, SGD, LR),
        "K, Adam": (True, "none", False, Adam, ADAM_LR),
        "K, RMSNorm": (True, "rms", False, SGD, LR),
        "K, fast": (True, "none", False, SGD, FAST),
        "K, fast, BN": (True, "batch", False, SGD, FAST),
    }
    rows, models = {}, {}
    for label, settings in runs.items():
        models[label], row = train(label, *settings, examples, seed)
        loss = frequencies  # that of diverged training, in favor of the network
        if row["steps"] == str(STEPS):
            loss = mean_loss(forward(models[label], settings[1], held_out)[0], held_out)
        rows[label] = row | {"held-out": loss, "gain": frequencies - loss}
        print_row(label, rows[label])
    print("""K: Kaiming's weights; BN: batch norm; fading: size of the last layer's outputs
over the first's, untrained; drift: of a middle unit's mean per step, in its std""")

    running, training = rows["batch norm"]["held-out"], unfreeze(models["batch norm"])
    pairs = list(zip(held_out[::2], held_out[1::2]))
    alone = fmean(mean_loss(forward(training, "batch", pair)[0], pair).data for pair in pairs)
    print(f"\nbatch norm, held-out loss if normalized in batches of 2: {alone:.2f}")
    gains, drifts = ({label: rows[label][key] for label in rows} for key in ("gain", "drift"))
    controls = max(gains[label] for label in ("Kaiming", "K, Adam", "K, RMSNorm"))
    return check_claims([
        ("gain of plain", gains["plain"], "<=", 0.03),
        ("gain of batch norm minus plain's", gains["batch norm"] - gains["plain"], ">=", 0.04),
        ("gain of noisy minus plain's", gains["noisy"] - gains["plain"], ">=", 0.02),
        ("drift of noisy minus Kaiming's", drifts["noisy"] - drifts["Kaiming"], ">=", 0.03),
        ("fast: gain with BN minus without", gains["K, fast, BN"] - gains["K, fast"], ">=", 0.0),
        ("gain of the best control", controls, ">=", 0.0),
        ("batches of 2: loss above running statistics'", alone - running, ">=", 0.0),
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
