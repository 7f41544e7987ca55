"""microreinforce: how does a policy learn from a score alone, and what is a baseline for?

A policy pi samples completions y; a program scores them with rewards r, through which no gradient
flows. The expected reward has a gradient all the same, for grad pi = pi grad log pi:
    grad sum_y pi(y) r(y) = sum_y pi(y) r(y) grad log pi(y),
the mean of r grad log pi(y) over completions. A baseline b that does not depend on y adds nothing
to it: sum_y pi(y) b grad log pi(y) = b grad sum_y pi(y) = b grad 1 = 0. So with any such b
    loss = -A log pi(y),  A = r - b, the advantage,
makes REINFORCE (Williams 1992). In RLOO (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740)
b is the mean reward of the other completions of the same prompt: leave one out.

What runs: a tiny GPT learns names. We measure how the gradients of its single completions scatter,
by baseline. Then policies learn from the gold score, and from the gold score + 1. What to look for:
a baseline shrinks the scatter. Adding 1 to every reward makes no completion better than another,
and RLOO cannot notice. Without a baseline less is learned then, at the best learning rate too.
Use it when completions are cheap, for each is learned from once. PPO and GRPO can reuse them.

    python microreinforce.py [--seed N] [--names FILE]        12 seconds, standard library only
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

N_EMBD, N_HEAD, N_LAYER, BLOCK_SIZE, INIT_STD = 8, 2, 1, 16, 0.08
PRETRAIN_STEPS, PRETRAIN_LR = 600, 0.01  # one name per step; the loss is flat by then
SAMPLES = 64  # prompts to evaluate each policy on, with GROUP completions of each
ROUNDS, PROMPTS, GROUP = 40, 4, 4  # prompts per round, completions of each; one update per round


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


# --- Policy ---------------------------------------------------------------------------------------
#
# The task: complete a name from its first letters. The policy pi is a language model: its state s_t
# is the text so far, its action a_t the next token, a rollout a sampled completion y. The reference
# pi_ref is the policy at the start: in practice from supervised fine-tuning (SFT), here pretrained.


def pretrain(names, rng):
    """The reference, in floats."""
    model = unfreeze(init_gpt(rng))
    optimizer = Adam(parameters(model))
    for step in range(PRETRAIN_STEPS):
        losses = token_losses(model, encode("." + rng.choice(names) + "."))
        loss = total(losses) * (1.0 / len(losses))
        loss.backward()
        optimizer.step(PRETRAIN_LR * schedule(step, PRETRAIN_STEPS))
        progress("pretraining", step, PRETRAIN_STEPS, loss.data)
    return freeze(model)


def sample_prompt(names, rng):
    """"." and the first letter of a name, or its first two, as tokens."""
    return encode("." + rng.choice(names)[: rng.choice((1, 2))])


def token_log_probs(model, prompt, completion):
    """log pi(a_t | s_t) for every token of a completion. END is one: where to stop is an action."""
    return [-loss for loss in token_losses(model, prompt + completion)[len(prompt) - 1 :]]


# --- Evaluation -----------------------------------------------------------------------------------
#
# What people want of a name is its gold score (Gao et al. 2022, arXiv:2210.10760): vowels and
# consonants in turn, few hard letters, no repeats, an end.

VOWELS, HARD = "aeiouy", "bcdgkpqtx"


def repeats(text):
    """The share of pairs of neighboring characters that came before: 3 of 7 in ".nanana."."""
    pairs = list(zip(text, text[1:]))
    return 1.0 - len(set(pairs)) / len(pairs)


def gold(text):
    """The gold score, at most 1, of a text such as ".anna." or, unfinished, ".annannannannann"."""
    name, unfinished = text.strip("."), not text.endswith(".")
    vowel = [letter in VOWELS for letter in name]
    turns = sum(a != b for a, b in zip(vowel, vowel[1:])) / max(1, len(name) - 1)
    hard = sum(letter in HARD for letter in name) / len(name)
    return turns - hard - repeats(text) - unfinished


class Rollout(NamedTuple):
    prompt: list  # tokens
    completion: list  # tokens
    log_probs: list  # log pi(a_t | s_t) of its tokens, by the policy that sampled it
    ref_log_probs: list  # log pi_ref(a_t | s_t)
    text: str  # prompt and completion


def sample_rollout(policy, reference, prompt, rng):
    """Complete a prompt with a policy in floats."""
    y = sample(policy, prompt, rng)
    log_probs, ref_log_probs = (token_log_probs(m, prompt, y) for m in (policy, reference))
    return Rollout(prompt, y, log_probs, ref_log_probs, decode(prompt + y))


def measure(rollouts):
    """Means over rollouts. KL and k3 estimate the KL divergence from the reference, in nats, by
    sums over tokens: of x = log pi(a_t | s_t) - log pi_ref(a_t | s_t), and of e^-x - 1 + x, which
    is never negative, and less noisy near the reference (Schulman 2020)."""
    ratios = [[p - q for p, q in zip(r.log_probs, r.ref_log_probs)] for r in rollouts]
    return {
        "gold": fmean(gold(r.text) for r in rollouts),
        "KL": fmean(fsum(xs) for xs in ratios),
        "k3": fmean(fsum(math.exp(-x) - 1.0 + x for x in xs) for xs in ratios),
        "entropy": -fmean(p for r in rollouts for p in r.log_probs),  # estimated, nats per token
        "repeats": fmean(repeats(r.text) for r in rollouts),
        "length": fmean(len(r.completion) for r in rollouts),
        "no end": fmean(r.completion[-1] != END for r in rollouts),
    }


# === REINFORCE ====================================================================================


def leave_one_out(rewards):
    """r - b for every reward, where b is the mean of the others."""
    return [r - (fsum(rewards) - r) / (len(rewards) - 1) for r in rewards]


def reinforce(reference, reward, advantages_of, lr, names, seed):
    """Train a copy of the reference; reward is a function of a text. Return the policy."""
    rng, policy = random.Random(seed), unfreeze(reference)
    optimizer = Adam(parameters(policy))
    for round_ in range(ROUNDS):
        # 1. Sample groups of completions; their rewards give the advantages.
        pi_old, batch = freeze(policy), []
        for prompt in [sample_prompt(names, rng) for _ in range(PROMPTS)]:
            group = [sample_rollout(pi_old, reference, prompt, rng) for _ in range(GROUP)]
            batch += zip(group, advantages_of([reward(r.text) for r in group]))
        # 2. Learn from them, once: the mean of -A log pi(y).
        for r, advantage in batch:
            log_probs = token_log_probs(policy, r.prompt, r.completion)
            (total(log_probs) * (-advantage / len(batch))).backward()
        optimizer.step(lr)
        if (round_ + 1) % 10 == 0:
            print_row(f"round {round_ + 1}", measure([r for r, _ in batch]))
    return freeze(policy)


def gradient(model, rollout):
    """grad log pi(y) by the weights."""
    policy = unfreeze(model)
    total(token_log_probs(policy, rollout.prompt, rollout.completion)).backward()
    return [x.grad for x in parameters(policy)]


def scatter(gradients, advantages):
    """The mean squared distance of A grad log pi(y) from its mean."""
    squares = fmean(a * a * dot(g, g) for a, g in zip(advantages, gradients))
    mean = [dot(advantages, column) / len(column) for column in zip(*gradients)]
    return squares - dot(mean, mean)


# === Experiment ===================================================================================


def experiment(seed, names):
    rng = random.Random(seed)
    reference = pretrain(names, rng)
    prompts = [x for _ in range(SAMPLES) for x in [sample_prompt(names, rng)] * GROUP]
    rollouts = [sample_rollout(reference, reference, x, rng) for x in prompts]
    start, results, scatters = measure(rollouts), {}, []
    print(f"microreinforce, seed {seed}. The reference's gold score: {start['gold']:.2f}")
    print("scatter of A grad log pi(y), where b is 0, the mean of all others, or RLOO's")
    gradients = [gradient(reference, r) for r in rollouts]
    for label, shift in (("reward", 0.0), ("reward + 1", 1.0)):
        rs = [gold(r.text) + shift for r in rollouts]
        rloo = [a for i in range(0, len(rs), GROUP) for a in leave_one_out(rs[i : i + GROUP])]
        scatters += [scatter(gradients, advantages) for advantages in (rs, leave_one_out(rs), rloo)]
        print_row(label, dict(zip(("no b", "others", "RLOO"), scatters[-3:])))
    runs = {  # last the learning rate, by gold within 0.01 of the best of 0.003 to 0.024
        "RLOO": (gold, leave_one_out, 0.012),
        "no baseline": (gold, lambda rewards: rewards, 0.012),
        "and gold + 1": (lambda text: gold(text) + 1.0, lambda rewards: rewards, 0.012),
    }
    for label, run in runs.items():
        print_row(f"\n{label:12}", {key: key for key in start})
        policy = reinforce(reference, *run, names, seed)
        results[label] = measure([sample_rollout(policy, reference, x, rng) for x in prompts])
        print_row("policy", results[label])
    best, _, worst = (row["gold"] for row in results.values())
    return check_claims([
        ("scatter with RLOO's baseline / without", scatters[2] / scatters[0], "<=", 0.6),
        ("scatter without, reward + 1 / reward", scatters[3] / scatters[0], ">=", 5.0),
        ("RLOO: gold above the reference's", best - start["gold"], ">=", 0.15),
        ("RLOO: gold above no baseline's on gold + 1", best - worst, ">=", 0.0),
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
