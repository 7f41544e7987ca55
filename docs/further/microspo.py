"""microspo: what if preferences go in circles?

Three people may each rank endings of names consistently, and yet their majority prefers a to other
letters, those to e, and e to a (Condorcet 1785). No score says that. Direct preference optimization
(DPO) contains one, so it must err. Self-play preference optimization (SPO; Swamy et al. 2024,
arXiv:2401.04056) needs none: k completions of a prompt x, y_1 .. y_k, are compared with each other,
and the reward of each is its win rate,
    r_i = sum_(j != i) P(y_i is preferred to y_j) / (k - 1)
    loss = mean_i -(r_i - 1/2) log pi(y_i|x) + KL_COEF sum_t k3_t,
where k3 estimates the KL divergence from the reference. So the rewards change with the policy.

What runs: a tiny GPT learns names. Self-play learns from that majority; DPO learns from as many
completions, of the reference.

What to look for: the exploitability, how often the best reply to a policy wins, 1/2 at least. DPO
ends nearly every name in a. It beats the reference more often than self-play does, the usual test,
but any name in e beats it. Self-play starts the same way, meets names in e, and turns: the average
of its policies is less exploitable than the reference. Use it if completions can be compared during
training and opinions differ; it asks for k (k - 1) / 2 comparisons per prompt.

    python microspo.py [--seed N] [--names FILE]        9 seconds, standard library only
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

N_EMBD, N_HEAD, N_LAYER, BLOCK_SIZE, INIT_STD = 8, 2, 1, 16, 0.08
PRETRAIN_STEPS, PRETRAIN_LR = 600, 0.01  # one name per step; the loss is flat by then
GROUP, ROUNDS = 8, 64  # k completions of one prompt, and one update, per round
POLICY_LR = 0.02  # of self-play: Adam's at first, it falls to 0
KL_COEF = 0.2  # reward lost per nat; with 0 play circles widely, and less is gained
STEPS, LR = 256, 0.006  # of DPO, one comparison per step: as many completions as self-play
BETA = 0.05  # of DPO: so small that the comparisons decide where it ends
SAMPLES = 400  # fresh completions of each policy


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


# === Preferences ==================================================================================
#
# Three people rank endings: a, other, e; or other, e, a; or e, a, other. Two of three prefer a to
# other, two other to e, and two e to a. A score r would need r(a) > r(other) > r(e) > r(a).
#
# Let a, other, e be the shares of a policy's completions. A tie is half a win; so each ending wins
#     w_a = a / 2 + other,   w_other = other / 2 + e,   w_e = e / 2 + a
# of its comparisons with them. The largest is the policy's exploitability. Weighted by the shares,
# the mean of the three is the policy's win rate against itself, 1/2. So the largest is 1/2 or more,
# and 1/2 only at a third of each ending, the minimax winner: the policy that none beats.


def ending(text):
    """0, 1 or 2: a, other or e. Each is preferred to the next, and the last to the first."""
    return {"a": 0, "e": 2}.get(text.strip(".")[-1], 1)


def majority(a, b):
    """P(text a is preferred to text b)."""
    return (0.5, 1.0, 0.0)[(ending(b) - ending(a)) % 3]


def shares(texts):
    """Of the endings, and the exploitability."""
    a, other, e = (fmean(ending(text) == i for text in texts) for i in range(3))
    best_reply = max(a / 2 + other, other / 2 + e, e / 2 + a)
    return {"a": a, "other": other, "e": e, "exploitability": best_reply}


# === Self-play preference optimization ============================================================
#
# This is REINFORCE on whole completions. The baseline comes free: each comparison shares out one
# win, so the mean of a group's win rates is 1/2. The more names end in a, the more e wins: the
# policy circles about the minimax winner, and large or noisy steps carry it outwards. Against that:
#
# - The KL penalty. With u = log pi_ref(a_t | s_t) - log pi(a_t | s_t),
#       k3 = e^u - u - 1,   d k3 / d log pi = 1 - e^u.
#   Over the policy's tokens the mean of k3 is KL(pi || pi_ref), but the mean of its gradient is
#   that of KL(pi_ref || pi), which pulls to what the policy has given up: it keeps every ending.
#   Its price is that the reference, which is exploitable itself, pulls away from the winner.
# - No momentum (b1 = 0). It would follow wins against policies that are no longer played.
# - The average. The paper's guarantee is for the mixture of all rounds' policies. Here the mean of
#   their weights stands for it, over the second half of the rounds.


def win_rates(texts):
    """How often each text is preferred to the others."""
    return [fmean(majority(a, b) for b in texts[:i] + texts[i + 1 :]) for i, a in enumerate(texts)]


def k3(log_prob, ref_log_prob):
    """Of one token; never negative."""
    u = ref_log_prob - log_prob
    return u.exp() - u - 1.0


def average(models):
    """The model of the mean weights."""
    return {
        name: [[fmean(xs) for xs in zip(*rows)] for rows in zip(*(model[name] for model in models))]
        for name in models[0]
    }


def self_play(reference, names, seed):
    """Train a copy of the reference; return the average of the second half of the rounds."""
    rng = random.Random(seed)
    policy, played, recent = unfreeze(reference), [], []
    optimizer = Adam(parameters(policy), b1=0.0)
    for round_ in range(ROUNDS):
        # 1. Sample completions of a prompt; their win rates are the rewards.
        pi, prompt = freeze(policy), sample_prompt(names, rng)
        completions = [sample(pi, prompt, rng) for _ in range(GROUP)]
        texts = [decode(prompt + y) for y in completions]

        # 2. Learn from them once.
        for y, reward in zip(completions, win_rates(texts)):
            log_probs, ref_log_probs = (token_log_probs(m, prompt, y) for m in (policy, reference))
            penalty = total([k3(p, q) for p, q in zip(log_probs, ref_log_probs)])
            loss = total(log_probs) * (0.5 - reward) + penalty * KL_COEF
            (loss * (1.0 / GROUP)).backward()
        optimizer.step(POLICY_LR * (1.0 - round_ / ROUNDS))

        played.append(freeze(policy))
        recent += texts
        if (round_ + 1) % 8 == 0:
            print_row(f"round {round_ + 1}", shares(recent))
            recent = []
    return average(played[ROUNDS // 2 :])


# --- Preference loss ------------------------------------------------------------------------------


def sigmoid(x):
    return math.exp(min(x, 0.0)) / (1.0 + math.exp(-abs(x)))  # no overflow, whatever x


def preference_loss(margin):
    """-log sigmoid(margin) = log(1 + e^-margin), the negative log-likelihood of a choice whose
    margin is a Value. The derivative is -sigmoid(-margin)."""
    m = margin.data
    loss = max(-m, 0.0) + math.log1p(math.exp(-abs(m)))  # no overflow, whatever m
    return Value(loss, (margin,), (-sigmoid(-m),))


# --- DPO loss -------------------------------------------------------------------------------------
#
# The log-ratio of a completion y of a prompt x is log pi(y|x) - log pi_ref(y|x). beta times it is
# the policy's implicit reward. The DPO loss (Rafailov et al. 2023, arXiv:2305.18290) is the loss of
# a preference whose margin is a difference of implicit rewards: y_w is chosen, y_l rejected. Its
# gradient is -beta sigmoid(-margin) (grad log pi(y_w|x) - grad log pi(y_l|x)).


def log_prob(model, prompt, completion):
    """log pi(y|x): the sum over the tokens of y, END included. It is not divided by the length."""
    return total(token_log_probs(model, prompt, completion))


def dpo_loss(logratio_w, logratio_l, beta):
    """-log sigmoid(margin), margin = beta (logratio_w - logratio_l)."""
    return preference_loss((logratio_w - logratio_l) * beta)


# === Direct preference optimization ===============================================================
#
# The score inside is the implicit reward. Which one fits a circle best depends on what is compared:
# the reference ends few names in e, so a wins most often and gets the highest score. On the way to
# that corner DPO may pass policies that are less exploitable than the reference. Where to stop,
# only comparisons of their own completions could say, and that is the idea of self-play.


def compare_endings(reference, names, rng):
    """Sample two completions of a prompt whose endings differ: (prompt, chosen, rejected)."""
    while True:
        prompt = sample_prompt(names, rng)
        a, b = sample(reference, prompt, rng), sample(reference, prompt, rng)
        p = majority(decode(prompt + a), decode(prompt + b))
        if p != 0.5:
            return (prompt, a, b) if p == 1.0 else (prompt, b, a)


def train_dpo(reference, comparisons):
    policy = unfreeze(reference)
    optimizer = Adam(parameters(policy))
    for step in range(STEPS):
        x, y_w, y_l = comparisons[step]  # each once
        logratio_w = log_prob(policy, x, y_w) - log_prob(reference, x, y_w)
        logratio_l = log_prob(policy, x, y_l) - log_prob(reference, x, y_l)
        loss = dpo_loss(logratio_w, logratio_l, BETA)
        loss.backward()
        optimizer.step(LR * schedule(step, STEPS))
        progress("DPO", step, STEPS, loss.data)
    return freeze(policy)


# === Experiment ===================================================================================


def experiment(seed, names):
    assert len({ending(name) for name in names}) == 3, "names must end in a, in e, and otherwise"
    rng = random.Random(seed)
    reference = pretrain(names, rng)
    print(f"microspo, seed {seed}. a, other, e: shares of names that end so; exploitability:")
    print(f"how often the best reply wins. A row is of the {8 * GROUP} completions of 8 rounds.\n")
    header = {key: key for key in ("a", "other", "e", "exploitability")}
    print_row("self-play", header)
    policies = {"reference": reference, "self-play": self_play(reference, names, seed)}
    comparisons = [compare_endings(reference, names, rng) for _ in range(STEPS)]
    policies["DPO"] = train_dpo(reference, comparisons)

    print("\nFresh completions; wins: over the reference's of the same prompts.")
    print_row("", header | {"wins": "wins", "KL": "KL"})
    prompts, rows = [sample_prompt(names, rng) for _ in range(SAMPLES)], []
    rivals = [decode(x + sample(reference, x, rng)) for x in prompts]
    for label, policy in policies.items():
        fresh = [(x, sample(policy, x, rng)) for x in prompts]
        texts = [decode(x + y) for x, y in fresh]
        wins = fmean(map(majority, texts, rivals))
        kl = fmean(log_prob(policy, x, y) - log_prob(reference, x, y) for x, y in fresh)
        rows.append(shares(texts) | {"wins": wins, "KL": kl})
        print_row(label, rows[-1])
        print("  ", *texts[:6])
    before, after, fitted = (row["exploitability"] for row in rows)
    return check_claims([
        ("self-play: exploitability", after, "<=", 0.75),
        ("self-play: exploitability below the reference's", before - after, ">=", 0.0),
        ("DPO: exploitability above the reference's", fitted - before, ">=", 0.15),
        ("DPO: wins above self-play's", rows[2]["wins"] - rows[1]["wins"], ">=", 0.05),
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
