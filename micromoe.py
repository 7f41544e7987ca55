"""micromoe: how does sparse routing add capacity without adding compute?

A mixture of experts (MoE; Shazeer et al. 2017, arXiv:1701.06538) replaces the MLP of a transformer
block by many MLPs, the experts, and a router that sends each token to a few. For a token's x:
    z = W_router x + b                            one logit for each expert
    w = softmax of the TOP_K highest logits       the gate weights, as in Mixtral (arXiv:2401.04088)
    y = sum of w_i expert_i(x) over those TOP_K   the other experts do not run

What runs: models learn 364 facts by heart, (code, letter, its image) of 14 codes that permute 26
letters. All are trained on and evaluated: memory takes parameters. The same batches train a MoE
without and with a load-balancing loss B, and two dense MLPs: FLOP-matched and parameter-matched.

What to look for: idle experts, with less than a tenth of an even share. The untrained router uses
all alike; without B some are idle after a tenth of the steps; with B none is, and the loss is
lower: at most about a third of the FLOP-matched MLP's, and about that of the parameter-matched MLP
or less, though that MLP does 5.67 times the compute. "gradient" is the norm of the router's
gradient without B's part; it is 0 with TOP_K = 1, since a softmax over one logit is 1.
    This task has no structure for a router to find, and experts go idle because ROUTER_INIT is
small: with 3 none does, and the loss is .10 without B and .06 with B (means of seeds 0 to 7).

Use a MoE where compute is scarcer than memory, which holds every expert. Compute is multiply-adds
here. In time less is gained: the router's logits, a third of them, are nodes of the graph.

    python micromoe.py [--seed N]        17 seconds, standard library only
"""
import argparse
import gc
import math
import random
import signal
import sys
from math import fsum
from operator import mul

CODES, LETTERS = 14, 26  # 364 facts
STEPS, BATCH_SIZE = 252, 52  # seven batches are all facts once: 36 passes
SNAPSHOTS = 0, 10, STEPS // 10, STEPS  # steps after which all facts are evaluated
N_EMBD, INIT_STD = 8, 0.3  # d, the length of x; best of .1, .3, 1 if parameter-matched
EXPERTS, TOP_K, EXPERT_WIDTH = 16, 2, 8  # width: hidden units of an expert
ROUTER_INIT = 0.05  # length of the router's rows; small, so that training decides who gets what
BALANCE = 0.5  # weight of B; Switch has 0.01, in far longer runs
LR_MOE, LR_SMALL, LR_LARGE = 0.08, 0.12, 0.1  # each the best of .045 to .2
assert TOP_K <= EXPERTS == 2 * N_EMBD, "init_model() makes a router for 2 N_EMBD experts"


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


# === Experts ======================================================================================
#
# An expert is an MLP: a = W1 x, h = relu(a), y = W2 h. With g = dL/dy:
#     dL/dW2 = g h^T        dL/da = W2^T g where a > 0, else 0
#     dL/dW1 = (dL/da) x^T  dL/dx = W1^T (dL/da)
# The lesson is the router's decision, so the router is made of Values. The experts, most of the
# weights, are floats: in Values they would take three lines and a longer run.


class Expert:
    """Rows of weights beside rows of gradients, all floats; each row has its own Adam."""

    def __init__(self, width, rng):
        self.w1 = random_matrix(width, N_EMBD, rng, N_EMBD**-0.5)
        self.w2 = random_matrix(N_EMBD, width, rng, width**-0.5)
        self.w1_grad = [[0.0] * N_EMBD for _ in range(width)]
        self.w2_grad = [[0.0] * width for _ in range(N_EMBD)]
        self.adams = [Adam(row) for row in self.w1 + self.w2]

    def forward(self, x):
        """h and y."""
        h = [relu(a) for a in matvec(self.w1, x)]
        return h, matvec(self.w2, h)

    def backward(self, x, h, g):
        """Add dL/dW1 and dL/dW2 to the gradients; return dL/dx."""
        a_grad = [dot(w, g) if h_j > 0.0 else 0.0 for w, h_j in zip(zip(*self.w2), h)]
        for grad, a, b in ((self.w2_grad, g, h), (self.w1_grad, a_grad, x)):
            for row, a_i in zip(grad, a):  # grad += a b^T
                if a_i != 0.0:  # about half of dL/da is 0
                    row[:] = [old + a_i * b_j for old, b_j in zip(row, b)]
        return matvec(list(zip(*self.w1)), a_grad)

    def step(self, lr):
        """Move every weight against its gradient, and set the gradient back to 0."""
        for row, grad, adam in zip(self.w1 + self.w2, self.w1_grad + self.w2_grad, self.adams):
            row[:] = [w - change for w, change in zip(row, adam.changes(grad, lr))]
            grad[:] = [0.0] * len(grad)


# A node with a chain rule of its own, like a torch.autograd.Function, joins x and y_1 ... y_d. Each
# y_i is a Value that has the node as a child, with local gradient 0, only for the order: when the
# node's turn comes, every dL/dy_i is complete, and it takes them all at once.


class ExpertRun(Value):
    def __init__(self, expert, x):
        super().__init__(0.0, x)
        self.expert = expert
        self.hidden, y = expert.forward(detach(x))
        self.outputs = [Value(y_i, (self,), (0.0,)) for y_i in y]

    def chain_rule(self):
        x, g = self.children, [y.grad for y in self.outputs]
        for x_i, grad in zip(x, self.expert.backward(detach(x), self.hidden, g)):
            x_i.grad += grad
        self.outputs = []  # the node and its outputs hold each other: break the cycle


# === Router =======================================================================================
#
# The choice has no derivative. The router learns through the gate weights: with o_i = expert_i(x),
# y = sum_i w_i o_i and g = dL/dy, for a chosen expert,
#     dL/do_i = w_i g               its gradient is scaled by its gate weight
#     dL/dw_i = g . o_i             more weight lowers L if its output points against g
#     dL/dz_i = w_i g . (o_i - y)   how the router learns: z_i rises if o_i does better than y
# The last sums to 0 over the chosen: if one logit rises, another falls. An expert that is not
# chosen costs nothing; neither it nor its logit gets a gradient from this token. b favors
# an expert whatever x is.


def moe(model, experts, x):
    """The output y, the router's logits, and the experts chosen."""
    logits = add(matvec(model["router"], x), model["router_bias"][0])
    chosen = sorted(range(len(experts)), key=detach(logits).__getitem__)[-TOP_K:]
    gates = softmax([logits[i] for i in chosen])
    if isinstance(x[0], Value):
        outputs = [ExpertRun(experts[i], x).outputs for i in chosen]
    else:
        outputs = [experts[i].forward(x)[1] for i in chosen]
    return [dot(gates, column) for column in zip(*outputs)], logits, chosen


# The load-balancing loss of the Switch Transformer (Fedus et al. 2021, arXiv:2101.03961), of a
# batch of n tokens. f says who was chosen: f_i is expert i's share of the choices, a count. P is
# its differentiable stand-in: the mean over tokens of p = softmax(z), over all E experts.
#     B = E sum_i f_i P_i      dB/dz_i = E p_i (f_i - sum_j f_j p_j) / n   for each token
# Logits of experts with more than the mean share (under p) fall, the others rise, idle ones too. B
# does not measure balance: where p is nearly uniform, B is about 1 whatever f is.


def balance_loss(logits, shares):
    """B, from the logits of every token and the shares f."""
    return total([dot(softmax(z), shares) for z in logits]) * (len(shares) / len(logits))


# === Experiment ===================================================================================


def init_model(n_experts, rng):
    """All but the experts, in Values. All experts shall start about equal: expert i is preferred
    where x_i is large, expert d + i where -x_i is, and evenly spaced embeddings make x_i alike."""
    model: dict = {}
    for name, n in (("codes", CODES), ("letters", LETTERS)):
        even = [INIT_STD * 3**0.5 * (2 * i / (n - 1) - 1) for i in range(n)]
        model[name] = zip(*(rng.sample(even, n) for _ in range(N_EMBD)))
    units = [[ROUTER_INIT * (i == j) for j in range(N_EMBD)] for i in range(N_EMBD)]
    model["router"] = (units + [[-w for w in row] for row in units])[:n_experts]
    model["router_bias"] = [[0.0] * n_experts]
    model["output"] = random_matrix(LETTERS, N_EMBD, rng)
    return unfreeze(model)


def forward(model, experts, facts):
    """Cross-entropy in nats, the router's logits, the experts' shares of the choices. The model is
    a transformer block's MLP on its own, as if attention had brought the code to the letter."""
    losses, router_logits, choices = [], [], []
    for code, letter, answer in facts:
        x = rmsnorm(add(model["codes"][code], model["letters"][letter]))
        y, z, chosen = moe(model, experts, x)
        losses.append(cross_entropy(matvec(model["output"], add(x, y)), answer))
        router_logits.append(z)
        choices += chosen
    shares = [choices.count(i) / len(choices) for i in range(len(experts))]
    return total(losses) * (1.0 / len(facts)), router_logits, shares


def evaluate(model, experts, facts):
    """On all facts. An even share is 1. Only the router is in Values: only it gets a gradient."""
    probe = freeze(model) | unfreeze({"router": [detach(row) for row in model["router"]]})
    loss, router_logits, shares = forward(probe, experts, facts)
    loss.backward()
    return {
        "loss": loss.data,
        "idle": sum(share * len(experts) < 0.1 for share in shares),
        "smallest": min(shares) * len(experts),
        "B": balance_loss([detach(z) for z in router_logits], shares),
        "gradient": math.sqrt(fsum(w.grad**2 for row in probe["router"] for w in row)),
    }


def train(label, n_experts, width, balance, peak_lr, facts, seed):
    """Train a model; return evaluate() at SNAPSHOTS. A dense MLP is one expert of gate weight 1."""
    rng = random.Random(f"weights {seed}")
    model = init_model(n_experts, rng)
    experts = [Expert(width, rng) for _ in range(n_experts)]
    optimizer, deck, history = Adam(parameters(model)), [], {}
    rng = random.Random(f"batches {seed}")  # the same for every model
    for step in range(STEPS):
        if step in SNAPSHOTS:
            history[step] = evaluate(model, experts, facts)
        deck = deck or rng.sample(facts, len(facts))
        batch, deck = deck[:BATCH_SIZE], deck[BATCH_SIZE:]
        loss, router_logits, shares = forward(model, experts, batch)
        if balance > 0.0:
            loss += balance_loss(router_logits, shares) * balance
        loss.backward()
        lr = peak_lr * schedule(step, STEPS)
        optimizer.step(lr)
        for expert, share in zip(experts, shares):
            if share > 0.0:  # Adam's momentum would move an expert without a gradient
                expert.step(lr)
        progress(label, step, STEPS, loss.data)
    return history | {STEPS: evaluate(model, experts, facts)}


def experiment(seed):
    rng, letters = random.Random(seed), range(LETTERS)
    facts = [(c, *pair) for c in range(CODES) for pair in enumerate(rng.sample(letters, LETTERS))]
    router, expert, output = N_EMBD * EXPERTS, 2 * N_EMBD * EXPERT_WIDTH, N_EMBD * LETTERS
    size, used = router + EXPERTS * expert, router + TOP_K * expert
    print(f"micromoe, seed {seed}: {size} weights, {used} per token; parameter-matched compute is")
    mlp, whole = size / used, (size + output) / (used + output)
    print(f"{mlp:.2f} times FLOP-matched, {whole:.2f} times with the output layer")
    models = {  # experts, hidden units of each, weight of B, peak learning rate
        "MoE without B": (EXPERTS, EXPERT_WIDTH, 0.0, LR_MOE),
        "MoE with B": (EXPERTS, EXPERT_WIDTH, BALANCE, LR_MOE),
        "dense, FLOP-matched": (1, used // (2 * N_EMBD), 0.0, LR_SMALL),
        "dense, parameter-matched": (1, size // (2 * N_EMBD), 0.0, LR_LARGE),
    }
    histories = []
    for label, settings in models.items():
        histories.append(train(label, *settings, facts, seed))
        print(f"\n{label}")
        print_row("", {key: key for key in histories[-1][0]})
        for step, row in histories[-1].items():
            print_row(f"step {step}", row | {"gradient": f"{row['gradient']:.4f}"})
    without, balanced, small, large = (history[STEPS] for history in histories)
    start, tenth, loss = histories[0][0], histories[0][STEPS // 10], balanced["loss"]
    return check_claims([
        ("smallest share of the untrained router (even: 1)", start["smallest"], ">=", 0.6),
        ("idle experts without B after a tenth of the steps", tenth["idle"], ">=", 1),
        ("idle experts without B at the end", without["idle"], ">=", 2),
        ("smallest share with B at the end", balanced["smallest"], ">=", 0.6),
        ("loss of the MoE with B / without B", loss / without["loss"], "<=", 1.0),
        ("loss of the MoE with B / FLOP-matched", loss / small["loss"], "<=", 0.35),
        ("loss of the MoE with B / parameter-matched", loss / large["loss"], "<=", 1.1),
    ])


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
    run(experiment)
