"""microlora: how can about 1 % of the parameters adapt a language model?

Low-rank adaptation (LoRA; Hu et al. 2021, arXiv:2106.09685) freezes a pretrained n x m matrix W and
trains two thin matrices, A and B, whose product is added to it:

    W' x = W x + (alpha/r) B A x        A: r x m, random at first;  B: n x r, zero at first

The rows of A are the directions of x that the change reads, the columns of B those that it writes.
After training W' can replace W, at no cost; or one W serves many tasks, each with its own A and B.

What runs: a GPT of 8,592 parameters learns English names. From this base, each row of a table then
learns romanized Korean names. What to look for (% of full fine-tuning's gain, seeds 0 to 15):
- Rank 1, 2, 4, 8 in lm_head gain 42, 63, 77, 83 %. Rank 2 has 102 numbers, 1.2 % of all. But 27
  biases, which read no context and only learn letter frequencies, alone gain 37 %.
- Rank 4 with its A left random (108 numbers) gains 50 %; 102 entries of W picked at random, 45 %.
- The place matters: 96 numbers in wq and wv, where the paper puts them, gain 34 %, and cost
  backpropagation through the layers above. Below lm_head all is frozen: an adapter there is a
  low-rank regression on fixed features, with no backward pass through the trunk.
- LoRA is said to forget less (Biderman et al. 2024, arXiv:2405.09673). At their own rates adapters
  do, and learn less. Where both learn about as much Korean (the rows "slow", at a sixteenth of
  their rates), full fine-tuning forgets less English.

Memory goes to a gradient and two Adam moments per number that learns: here 25,776 floats or 306;
for 7 billion weights 84 GB, or 0.5 GB for rank 16 in every matrix. The weights and the activations
stay. In practice one adapts every matrix, doubles r from 8 on while the held-out loss falls, and
tunes the rate, which is higher than full fine-tuning's; alpha/r lets one rate serve every r.
Use it when memory is short or many tasks share a base; else fine-tune fully.

    python microlora.py [--seed N] [--names FILE]        21 seconds, standard library only
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

N_EMBD = 24  # width d: at this one rank 2 in lm_head is about 1 % of the parameters
N_HEAD, N_LAYER = 2, 1
BLOCK_SIZE = 16  # context in tokens: names of up to 15 letters
INIT_STD = 0.08  # of the initial weights
KOREAN_TEST, ENGLISH_TEST = 50, 20  # held-out names: nothing is trained on them
PRETRAIN_STEPS, STEPS = 200, 200  # one name per step; STEPS is for each row of the table
ALPHA = 8
# Of 0.0025, 0.005, 0.01, ..., 0.32, chosen on the held-out names that are reported: each is the
# best, or within 0.01 nats of it, for every row that uses it.
PRETRAIN_LR, FULL_LR, SMALL_LR = 0.01, 0.01, 0.04
SLOW = 1 / 16  # times these rates, full fine-tuning and rank 4 learn about as much Korean


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


# === Low-rank adaptation ==========================================================================
#
# The GPT applies each of its matrices here. W is floats, so the graph has no edge to it and no
# gradient of W is computed; A and B are Values. With g = dL/d(W' x), the gradients are
# dL/dB = (alpha/r) g (A x)^T and dL/dA = (alpha/r) B^T g x^T. With B = 0 the model starts as the
# base. Were A zero too, both gradients would stay zero.


def linear(model, name, x):
    """W x, plus (alpha/r) B A x if the model has an adapter for W, plus a bias if it has one."""
    y = matvec(model[name], x)
    if f"{name}.A" in model:
        a, b = model[f"{name}.A"], model[f"{name}.B"]
        y = add(y, matvec(b, [ALPHA / len(a) * h for h in matvec(a, x)]))  # len(a) is the rank r
    if f"{name}.bias" in model:  # a control: BitFit (Ben Zaken et al. 2021, arXiv:2106.10199)
        y = add(y, model[f"{name}.bias"][0])
    return y


def new_adapter(base, names, rank, seed):
    """A and B for the named matrices. {**base, **adapter} attaches it and leaves base as it is."""
    adapter, rng = {}, random.Random(seed)
    for name in names:
        m = len(base[name][0])
        adapter[f"{name}.A"] = random_matrix(rank, m, rng, m**-0.5)  # makes A x as large as x
        adapter[f"{name}.B"] = [[0.0] * rank for _ in base[name]]
    return unfreeze(adapter)


def merge(base, adapter, name):
    """The base with W' = W + (alpha/r) B A, as large as W, in place of the named W."""
    a, b = (freeze(adapter)[f"{name}.{x}"] for x in "AB")
    change = [[ALPHA / len(a) * dot(row, column) for column in zip(*a)] for row in b]
    return {**base, name: [add(*rows) for rows in zip(base[name], change)]}


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


# === Experiment ===================================================================================


def train(label, model, learning, lr, steps, names, rng):
    """Adam moves the Values in learning, which are parameters of the model."""
    optimizer = Adam(learning)
    for step in range(steps):
        losses = token_losses(model, encode("." + rng.choice(names) + "."))
        loss = total(losses) * (1.0 / len(losses))
        loss.backward()
        optimizer.step(lr * schedule(step, steps))
        progress(label, step, steps, loss.data)


def evaluate(model, names):
    """The mean loss per token of a model in floats, in nats."""
    return fmean(loss for name in names for loss in token_losses(model, encode(f".{name}.")))


def all_rows(base, seed):
    """For each row: label, matrices to put into the base, the Values that Adam moves, its rate."""
    head = {"lm_head": base["lm_head"]}
    for label, values, lr in (
        ("full", unfreeze(base), FULL_LR),
        ("full slow", unfreeze(base), FULL_LR * SLOW),
        *((f"rank {r}", new_adapter(base, head, r, seed), SMALL_LR) for r in (1, 2, 4, 8)),
        ("rank 4 slow", new_adapter(base, head, 4, seed), SMALL_LR * SLOW),
        ("wq wv rank 1", new_adapter(base, ("0.wq", "0.wv"), 1, seed), SMALL_LR),
        ("bias", unfreeze({"lm_head.bias": [[0.0] * len(ALPHABET)]}), SMALL_LR),
    ):
        yield label, values, parameters(values), lr
    values = new_adapter(base, head, 4, seed)  # B has about as many numbers as rank 2
    yield "random A", values, parameters({"B": values["lm_head.B"]}), SMALL_LR
    values, size = unfreeze(head), 2 * (len(ALPHABET) + N_EMBD)
    yield "random W", values, random.Random(seed).sample(parameters(values), size), SMALL_LR


def experiment(seed, names):
    rng = random.Random(seed)
    english, korean = rng.sample(names, len(names)), rng.sample(KOREAN, len(KOREAN))
    english_test, korean_test = english[:ENGLISH_TEST], korean[:KOREAN_TEST]
    model = unfreeze(init_gpt(rng))
    weights = parameters(model)
    train("base", model, weights, PRETRAIN_LR, PRETRAIN_STEPS, english[ENGLISH_TEST:], rng)
    base = freeze(model)
    k, e = {"base": evaluate(base, korean_test)}, {"base": evaluate(base, english_test)}
    print(f"microlora, seed {seed}. Base: Korean {k['base']:.2f}, English {e['base']:.2f} nats\n")
    columns = "numbers", "share of all", "Korean", "English", "of full's gain", "one sampled name"
    print_row("", {column: column for column in columns})
    gain = {}
    for label, values, learning, lr in all_rows(base, seed):
        model = {**base, **values}
        train(label, model, learning, lr, STEPS, korean[KOREAN_TEST:], random.Random(seed))
        model = freeze(model)
        k[label], e[label] = evaluate(model, korean_test), evaluate(model, english_test)
        gain[label] = (k["base"] - k[label]) / (k["base"] - k["full"])
        share = f"{len(learning) / len(weights):.1%}"
        name = decode(sample(model, [END], rng)).strip(".")
        cells = str(len(learning)), share, k[label], e[label], f"{gain[label]:.0%}", name
        print_row(label, dict(zip(columns, cells)))
        if label == "rank 2":
            difference = evaluate(merge(base, values, "lm_head"), korean_test) - k[label]
            assert abs(difference) < 1e-9, "merged and attached adapters differ"
    print(f"\nrank 2, merged minus attached loss on Korean: {abs(difference):.9f}")
    return check_claims([
        ("rank 2's share of full's gain", gain["rank 2"], ">=", 0.4),
        ("rank 8 better than rank 1, nats", k["rank 1"] - k["rank 8"], ">=", 0.25),
        ("rank 2 better than a bias, nats", k["bias"] - k["rank 2"], ">=", 0.05),
        ("rank 2 better than in wq and wv, nats", k["wq wv rank 1"] - k["rank 2"], ">=", 0.05),
        ("slow: Korean, full minus rank 4, nats", k["full slow"] - k["rank 4 slow"], "<=", 0.3),
        ("slow: English, rank 4 minus full, nats", e["rank 4 slow"] - e["full slow"], ">=", 0.05),
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


# === Korean names =================================================================================

KOREAN = """
areum baekhyun bitna boram boyoung chaeryeong chaeun changkyun chanyeol chorong dasom dayeon dayoung
dohyun dongmin dongwook doyun eunha eunji eunjung eunseo eunsook gaeul gahee gayoon gunwoo
gyeonghwan gyeongmin gyuri haram hayoon hongjoong hyein hyejin hyesook hyolyn hyomin hyunah hyungwon
hyunjun hyunkyung inho insu iseul jaeho jaemin jaeyong jeongmin jiho jihwan jihyo jimin jinhee
jinwoo jinyoung jisuk jisung jiwon jiwoo jiyeon jiyoung jiyu jiyun jongho jooheon joohyun jooyeon
jungsook junho junki juwon kihoon kihyun kyunghee kyungmi kyungsoo minah minhee minho minjae minjoo
minjun minseo moonbyul myunghee myungsoo naeun namjoon narae nari nayeon nayoung sangmin sangwoo
seoah seohyun seonghwa seongjin seonhee seoyun seulgi seungho seungjun seungmin seyoung siyeon sohee
sojin soojin sookhee sooyeon sooyoung sowon soyoung sua sujeong sungjae sungyeon sunja sunyoung
suyoung taehyung taeyang taeyeon taeyoon wonbin woohyun wooyoung yein yeonwoo yeseo yongjun yongsun
yoonhee youngho youngmin youngsook yubin yuchan yujun yuna yunho yunwoo yura yusung
""".split()


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
