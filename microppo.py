"""microppo: how does the whole RLHF loop work, and how does it go wrong?

Reinforcement learning from human feedback (RLHF; Ouyang et al. 2022, arXiv:2203.02155) trains a
reward model on comparisons, then a policy pi on its score by proximal policy optimization (PPO;
Schulman et al. 2017, arXiv:1707.06347). pi_old, the policy before the update, sampled the token a_t
after the text s_t; the advantage A_t is how much better than expected a_t did. PPO maximizes
    mean_t min(rho_t A_t, clip(rho_t, 1 - c, 1 + c) A_t), rho_t = pi(a_t | s_t) / pi_old(a_t | s_t)
A token's reward is the KL penalty -KL_COEF (log pi_old - log pi_ref); the last one adds the score.

What runs: a tiny GPT learns names, a reward model learns from an annotator's comparisons, a critic
to predict its score. PPO trains the GPT with the KL penalty, without, and, as a control, on gold.
What to look for: reward hacking (over-optimization). Without the penalty the reward rises while the
gold score, what people want, falls far below its start: names repeat themselves and never end. The
reward model pays for both, by design here: it sums over pairs of letters, so longer is more, and it
never saw a missing end. On gold nothing is hacked, but KL rises and entropy falls there, too.
Nobody has gold in practice: watch the length, read samples. Use PPO for any score (tests, rules);
DPO learns from the same comparisons with less machinery.

    python microppo.py [--seed N] [--names FILE]        24 seconds, standard library only
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
TASTE = 12.0  # the annotator's log-odds of preferring a completion, per unit of gold
COMPARISONS, HELD_OUT = 1250, 200  # comparisons made, and how many of them only evaluate
HIDDEN, NET_STD = 8, 0.3  # width and initial weights of reward model and critic
RM_STEPS, RM_LR = 10000, 0.3  # of the reward model, one comparison per step
CRITIC_STEPS, CRITIC_LR = 2000, 0.003  # one completion per step
SAMPLES = 200  # completions of the reference for the critic, and of each policy to evaluate it
ROUNDS, ROLLOUTS, EPOCHS, MINIBATCH = 18, 16, 4, 8  # 8 updates per round
POLICY_LR = 0.012  # Adam's; KL_COEF was chosen by gold, which nobody has in practice
KL_COEF = 1.2  # reward lost per nat
CLIP, VALUE_CLIP = 0.2, 0.5  # c, for ratios and for values; scores have a standard deviation of 3
GAMMA, LAMBDA = 1.0, 0.95  # no discount, as in TRL; lambda of GAE
assert ROLLOUTS % MINIBATCH == 0, "ROLLOUTS must be a multiple of MINIBATCH"


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


# --- Preference loss ------------------------------------------------------------------------------


def sigmoid(x):
    return math.exp(min(x, 0.0)) / (1.0 + math.exp(-abs(x)))  # no overflow, whatever x


def preference_loss(margin):
    """-log sigmoid(margin) = log(1 + e^-margin), the negative log-likelihood of a choice whose
    margin is a Value. The derivative is -sigmoid(-margin)."""
    m = margin.data
    loss = max(-m, 0.0) + math.log1p(math.exp(-abs(m)))  # no overflow, whatever m
    return Value(loss, (margin,), (-sigmoid(-m),))


# --- Annotator ------------------------------------------------------------------------------------
#
# A simulated annotator prefers the completion of higher gold, with noise, by the Bradley-Terry
# model: P(a is preferred to b) = sigmoid(margin), margin = TASTE (gold(a) - gold(b)). Training
# sees the choices only; the gold score, which nobody has in practice, evaluates. A trap: what is
# compared hardly repeats itself and always has an end, so the choices say next to nothing on both.


def compare(model, names, rng):
    """Sample two different, finished completions of a prompt; the annotator chooses one. Returns
    (prompt, chosen, rejected, p): p is the probability to choose the same when asked again."""
    while True:
        prompt = sample_prompt(names, rng)
        a, b = sample(model, prompt, rng), sample(model, prompt, rng)
        if a != b and a[-1] == b[-1] == END:
            break
    p = sigmoid(TASTE * (gold(decode(prompt + a)) - gold(decode(prompt + b))))
    return (prompt, a, b, p) if rng.random() < p else (prompt, b, a, 1.0 - p)


def accuracy(margins, comparisons):
    """How often the annotator, asked again, would agree with the sign of a margin: a score of the
    chosen completion minus that of the rejected one. No sign does better than that of p - 1/2."""
    pairs = zip(margins, comparisons)
    return fmean(p if m > 0.0 else 1.0 - p if m < 0.0 else 0.5 for m, (*_, p) in pairs)


# === Reward model and critic ======================================================================
#
# A small network in plain floats, its gradient derived by hand. It scores x_0 .. x_n by pairs:
#     h_i = tanh(u_i),  u_i = left[x_i] + right[x_(i+1)]       HIDDEN numbers for each pair
#     score = out . (sum_i h_i, 1)                             the last entry of out is a bias
#     d score / d out = (sum_i h_i, 1) and, with tanh' = 1 - tanh^2, since u_i is a sum:
#     d score / d left[x_i]_j = d score / d right[x_(i+1)]_j = out_j (1 - h_ij^2)


def hidden_layer(net, tokens):
    """h_i of every pair, shape (n, HIDDEN), and (sum_i h_i, 1)."""
    pairs = zip(tokens, tokens[1:])
    hidden = [[math.tanh(u) for u in add(net["left"][a], net["right"][b])] for a, b in pairs]
    return hidden, [fsum(column) for column in zip(*hidden)] + [1.0]


def score(net, tokens):
    """A number for a text, or for its beginning."""
    return dot(net["out"][0], hidden_layer(net, tokens)[1])


def score_gradient(net, tokens):
    """[(row of weights, d score / d row), ...] for the rows that the score depends on."""
    hidden, sums = hidden_layer(net, tokens)
    gradient = [(net["out"][0], sums)]
    for a, b, h in zip(tokens, tokens[1:], hidden):
        u_grad = [w * (1.0 - h_j * h_j) for w, h_j in zip(net["out"][0], h)]
        gradient += [(net["left"][a], u_grad), (net["right"][b], u_grad)]
    return gradient


def descend(gradient, amount):
    """row -= amount * d score / d row."""
    for row, grads in gradient:
        row[:] = [w - amount * g for w, g in zip(row, grads)]


def train_reward_model(comparisons, rng):
    """Stochastic gradient descent (SGD) on the preference loss of a difference of scores."""
    n = len(ALPHABET)
    net = {name: random_matrix(n, HIDDEN, rng, NET_STD) for name in ("left", "right")}
    net["out"] = random_matrix(1, HIDDEN + 1, rng, NET_STD)
    for step in range(RM_STEPS):
        x, y_w, y_l, _ = rng.choice(comparisons)
        margin = Value(score(net, x + y_w) - score(net, x + y_l))
        loss = preference_loss(margin)
        loss.backward()
        chosen, rejected = score_gradient(net, x + y_w), score_gradient(net, x + y_l)
        amount = RM_LR * schedule(step, RM_STEPS) * margin.grad
        descend(chosen, amount)
        descend(rejected, -amount)
        progress("reward model", step, RM_STEPS, loss.data)
    return net


def states(rollout):
    """s_t, the tokens before a_t, for every a_t of the completion."""
    tokens = rollout.prompt + rollout.completion
    return [tokens[:n] for n in range(len(rollout.prompt), len(tokens))]


def train_critic(reward_model, reward, rollouts, rng):
    """SGD on (V(s) - R)^2 / 2 over the states s of completions with reward R. The critic starts as
    a copy of the reward model (Ouyang et al. 2022)."""
    critic = freeze(reward_model)
    for step in range(CRITIC_STEPS):
        lr, rollout = CRITIC_LR * schedule(step, CRITIC_STEPS), rng.choice(rollouts)
        for state in states(rollout):
            error = score(critic, state) - reward(rollout.text)
            descend(score_gradient(critic, state), lr * error)
        progress("critic", step, CRITIC_STEPS, error**2 / 2)
    return critic


# --- Clipped surrogate ----------------------------------------------------------------------------
#
# In the first minibatch pi is pi_old and every ratio 1; then the completions come from an older
# policy. The ratio corrects for that (for the action, not for how often the state is met), but only
# near 1. So the clip takes away the incentive to go on: the gradient is 0 where A_t > 0 and the
# ratio is above 1 + c, and where A_t < 0 and it is below 1 - c. Shared weights and momentum can
# still carry a ratio further. One that moved the wrong way (A_t > 0, ratio < 1 - c) is pulled back.


def clipped_surrogate(log_prob, old_log_prob, advantage):
    """-min(rho A, clip(rho, 1 - c, 1 + c) A) for one token, and whether the clip acts."""
    ratio = (log_prob - old_log_prob).exp()
    clipped = min(max(ratio.data, 1.0 - CLIP), 1.0 + CLIP)
    if clipped * advantage < ratio.data * advantage:
        return Value(-clipped * advantage), True  # a constant: no gradient
    return ratio * -advantage, False


# === Proximal policy optimization =================================================================
#
# A round:
#     pi_old --completions--> reward model --scores--> rewards r_t
#        |---completions--> reference --KL penalty-------^  |
#        '---states-------> critic --V(s_t), the rewards to come--> GAE: A_t, targets A_t + V(s_t)
#     EPOCHS times: the clipped surrogate moves pi, the targets move the critic


def gae(rewards, values):
    """Generalized advantage estimation (Schulman et al. 2016, arXiv:1506.02438), from the end back:
    A_t = delta_t + gamma lambda A_(t+1),  delta_t = r_t + gamma V(s_(t+1)) - V(s_t).
    After the end V and A are 0. lambda = 0 trusts the critic, lambda = 1 the sampled rewards."""
    advantages, advantage, next_value = [], 0.0, 0.0
    for reward, value in zip(reversed(rewards), reversed(values)):
        advantage = reward + GAMMA * next_value - value + GAMMA * LAMBDA * advantage
        next_value = value
        advantages.append(advantage)
    return advantages[::-1]


def value_gradient(value, old_value, target):
    """d/dV of max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2) / 2: 0 for a value that has
    moved towards its target R by more than c."""
    clipped = min(max(value, old_value - VALUE_CLIP), old_value + VALUE_CLIP)
    return 0.0 if abs(clipped - target) > abs(value - target) else value - target


def ppo(reference, reward, kl_coef, critic, names, seed):
    """Train copies of reference and critic; reward is a function of a text. Return the policy."""
    rng = random.Random(seed)
    policy, critic = unfreeze(reference), freeze(critic)
    optimizer = Adam(parameters(policy))
    for round_ in range(ROUNDS):
        # 1. Sample completions; their rewards and values give the advantages.
        pi_old = freeze(policy)
        prompts = [sample_prompt(names, rng) for _ in range(ROLLOUTS)]
        rollouts = [sample_rollout(pi_old, reference, prompt, rng) for prompt in prompts]
        batch = []
        for r in rollouts:
            rewards = [-kl_coef * (p - q) for p, q in zip(r.log_probs, r.ref_log_probs)]
            rewards[-1] += reward(r.text)  # the score comes with the last token
            values = [score(critic, state) for state in states(r)]
            batch.append((r, values, gae(rewards, values)))
        mean = fmean(a for *_, advantages in batch for a in advantages)
        std = math.sqrt(fmean((a - mean) ** 2 for *_, advantages in batch for a in advantages))
        means = {"reward": fmean(reward(r.text) for r in rollouts)}
        means["V end"] = fmean(values[-1] for _, values, _ in batch)

        # 2. Learn from them, EPOCHS times, in minibatches.
        clips = []
        for epoch in range(EPOCHS):
            rng.shuffle(batch)
            for start in range(0, ROLLOUTS, MINIBATCH):
                minibatch = batch[start : start + MINIBATCH]
                n = sum(len(r.completion) for r, *_ in minibatch)
                for r, values, advantages in minibatch:
                    log_probs = token_log_probs(policy, r.prompt, r.completion)
                    assert epoch + start or detach(log_probs) == r.log_probs, "pi is not pi_old"
                    normalized = [(a - mean) / (std + 1e-8) for a in advantages]
                    surrogates = map(clipped_surrogate, log_probs, r.log_probs, normalized)
                    losses, clipped = zip(*surrogates)
                    (total(losses) * (1.0 / n)).backward()
                    clips += clipped
                    for state, old_value, advantage in zip(states(r), values, advantages):
                        value, target = score(critic, state), old_value + advantage
                        amount = CRITIC_LR * value_gradient(value, old_value, target)
                        descend(score_gradient(critic, state), amount)
                optimizer.step(POLICY_LR)

        if (round_ + 1) % 3 == 0:
            print_row(f"round {round_ + 1}", measure(rollouts) | means | {"clip": fmean(clips)})
    return freeze(policy)


# === Experiment ===================================================================================


def experiment(seed, names):
    rng = random.Random(seed)
    reference = pretrain(names, rng)
    comparisons = [compare(reference, names, rng) for _ in range(COMPARISONS)]
    held_out, train = comparisons[:HELD_OUT], comparisons[HELD_OUT:]
    print(f"microppo, seed {seed}: {len(train)} comparisons for training, {HELD_OUT} held out")
    for x, y_w, y_l, _ in train[:3]:
        print(f"  {decode(x + y_w):>17} preferred to {decode(x + y_l)}")
    net = train_reward_model(train, rng)
    margins = [score(net, x + y_w) - score(net, x + y_l) for x, y_w, y_l, _ in held_out]
    right, ceiling = (accuracy(ms, held_out) for ms in (margins, [p - 0.5 for *_, p in held_out]))
    print(f"reward model: accuracy {right:.3f} on those held out; the noise allows {ceiling:.3f}")
    print("score and gold of names that repeat a pair, and at last do not end (means):")
    probes = []
    for letters, end in ((3, "."), (5, "."), (9, "."), (15, "")):
        texts = ["." + (pair * 8)[:letters] + end for pair in ("an", "el", "or", "is")]
        probes.append(fmean(score(net, encode(text)) for text in texts))
        print(f"  {texts[0]:17}{probes[-1]:6.2f}{fmean(map(gold, texts)):6.2f}")
    prompts = [sample_prompt(names, rng) for _ in range(SAMPLES)]
    rollouts = [sample_rollout(reference, reference, prompt, rng) for prompt in prompts]
    runs = {  # the reward of a text, the coefficient of the KL penalty
        "KL penalty": (lambda text: score(net, encode(text)), KL_COEF),
        "no penalty": (lambda text: score(net, encode(text)), 0.0),
        "on gold": (lambda text: TASTE * gold(text), 0.0),  # log-odds, as the scores are
    }
    policies, results = {"reference": reference}, {}
    columns = [*measure(rollouts), "reward", "V end", "clip", "score", "agrees"]
    print("\nV end: value before the last token. clip: share of tokens that the clip stops.")
    for label, (reward, kl_coef) in runs.items():
        print_row(f"\n{label:12}", {key: key for key in columns[:10]})
        critic = train_critic(net, reward, rollouts, random.Random(seed))
        policies[label] = ppo(reference, reward, kl_coef, critic, names, seed)

    print("\nFresh completions. agrees: how often score and annotator prefer the same.")
    print_row("", {key: key for key in columns[:7] + columns[10:]})
    for label, policy in policies.items():
        fresh = [sample_rollout(policy, reference, prompt, rng) for prompt in prompts]
        scores = [score(net, encode(r.text)) for r in fresh]
        margins = [s - score(net, encode(r.text)) for s, r in zip(scores, rollouts)]
        ps = [(sigmoid(TASTE * (gold(a.text) - gold(b.text))),) for a, b in zip(fresh, rollouts)]
        results[label] = measure(fresh) | {"score": fmean(scores), "agrees": accuracy(margins, ps)}
        print_row(label, results[label])
        print("  ", *(r.text for r in fresh[:4]))
    start, penalty, free, on_gold = results.values()
    return check_claims([
        ("reward model's accuracy over the noise ceiling", right / ceiling, ">=", 0.85),
        ("reward model: names without an end above the first", probes[-1] - probes[0], ">=", 0.0),
        ("KL penalty: gold above the reference's", penalty["gold"] - start["gold"], ">=", 0.02),
        ("no penalty: gold below the reference's", start["gold"] - free["gold"], ">=", 0.5),
        ("no penalty: score above the KL run's", free["score"] - penalty["score"], ">=", 1.0),
        ("no penalty: agreement lost", start["agrees"] - free["agrees"], ">=", 0.7),
        ("on gold: gold above the reference's", on_gold["gold"] - start["gold"], ">=", 0.1),
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
