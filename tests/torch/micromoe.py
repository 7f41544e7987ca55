"""micromoe.py in PyTorch: a mixture of experts and two dense MLPs learn facts by heart.

    python tests/torch/micromoe.py check [SEED]     against the script's default run, all models
    python tests/torch/micromoe.py rates 0-15       loss by learning rate, and by other settings
"""

import random

import gpt
import torch
from torch.nn import functional as F

script = gpt.load("micromoe")
RATES = [0.045, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2]
STDS = [0.1, 0.3, 1.0]


# --- From the script: facts, batches and initial weights ------------------------------------------


def all_facts(seed):
    rng, letters = random.Random(seed), range(script.LETTERS)
    codes = [rng.sample(letters, script.LETTERS) for _ in range(script.CODES)]
    return [(c, *pair) for c, images in enumerate(codes) for pair in enumerate(images)]


def all_batches(seed):
    """Shape (steps, BATCH_SIZE, 3)."""
    rng, facts, deck, batches = random.Random(f"batches {seed}"), all_facts(seed), [], []
    for _ in range(script.STEPS):
        deck = deck or rng.sample(facts, len(facts))
        batches.append(deck[: script.BATCH_SIZE])
        deck = deck[script.BATCH_SIZE :]
    return batches


def initial_weights(seeds, n_experts, width):
    """w1 and w2 are all experts' weights, (models, experts, width, d) and (..., d, width)."""
    models = []
    for seed in seeds:
        rng = random.Random(f"weights {seed}")
        models.append(script.freeze(script.init_model(n_experts, rng)))
        experts = [script.Expert(width, rng) for _ in range(n_experts)]
        models[-1] |= {"w1": [x.w1 for x in experts], "w2": [x.w2 for x in experts]}
    return gpt.stack(models)


# --- Mixture of experts ---------------------------------------------------------------------------


def moe(w, x):
    """y for x of shape (models, n, d), the router's logits, and the experts chosen. All experts run
    on all tokens, and gates of 0 drop most. A stable sort ranks equal logits as the script does."""
    logits = x @ w["router"].mT + w["router_bias"]
    top, chosen = (z[..., -script.TOP_K :] for z in logits.sort(stable=True))
    gates = torch.zeros_like(logits).scatter(-1, chosen, top.softmax(-1))
    hidden = F.relu(torch.einsum("mnd,mehd->mneh", x, w["w1"]))
    outputs = torch.einsum("mneh,medh->mned", hidden, w["w2"])
    return torch.einsum("mne,mned->mnd", gates, outputs), logits, chosen


def forward(w, facts):
    """Cross-entropy, load-balancing loss B, both of shape (models,), and the experts' shares."""
    (code, letter, answer), model = facts.unbind(-1), torch.arange(len(facts))[:, None]
    x = w["codes"][model, code] + w["letters"][model, letter]
    x = F.rms_norm(x, x.shape[-1:], eps=1e-5)
    y, logits, chosen = moe(w, x)
    losses = F.cross_entropy(((x + y) @ w["output"].mT).mT, answer, reduction="none")
    shares = F.one_hot(chosen, logits.shape[-1]).double().mean((1, 2))
    balance = torch.vmap(gpt.pytorch.balance_loss)(logits, chosen)
    return losses.mean(1), balance, shares


def train(w, batches, balance, lr, frozen=()):
    """frozen: names of matrices that do not learn. batches: (models, steps, BATCH_SIZE, 3)."""
    w = gpt.learnable(w)
    others = gpt.Adam([x for name, x in w.items() if name not in ("w1", "w2", *frozen)])
    experts = gpt.Adam([w["w1"], w["w2"]])
    for step in range(script.STEPS):
        loss, b, shares = forward(w, batches[:, step])
        (loss + balance * b).sum().backward()
        lr_now = lr * script.schedule(step, script.STEPS)
        others.step(lr_now)
        experts.step(lr_now[:, None], shares > 0.0)  # an expert without a token is left alone
    return gpt.detach(w)


# --- Commands -------------------------------------------------------------------------------------


def settings():
    """Experts, hidden units, weight of B and peak learning rate of the script's four models."""
    d, expert = script.N_EMBD, 2 * script.N_EMBD * script.EXPERT_WIDTH
    router, e = d * script.EXPERTS, (script.EXPERTS, script.EXPERT_WIDTH)
    size, used = router + script.EXPERTS * expert, router + script.TOP_K * expert
    return {
        "MoE without B": (*e, 0.0, script.LR_MOE),
        "MoE with B": (*e, script.BALANCE, script.LR_MOE),
        "dense, FLOP-matched": (1, used // (2 * d), 0.0, script.LR_SMALL),
        "dense, parameter-matched": (1, size // (2 * d), 0.0, script.LR_LARGE),
    }


def check(seed):
    """The script's whole run, whose tables are taken in full precision, and ours."""
    rows, table = [], gpt.printed_rows(script, seed)
    ends = [row for label, row in table if label == f"step {script.STEPS}"]
    facts, batches = torch.tensor([all_facts(seed)]), torch.tensor([all_batches(seed)])
    for theirs, (label, (n, width, balance, lr)) in zip(ends, settings().items()):
        w = train(initial_weights([seed], n, width), batches, balance, torch.tensor([lr]))
        loss, b, shares = forward(w, facts)
        for name, ours in (("loss", loss), ("B", b), ("smallest", shares.min() * n)):
            rows.append((f"{label}, {name}", theirs[name], ours.item()))
    return gpt.compare(rows, 1e-9)


def losses_and_idle(seeds, n, width, balance, lrs, frozen=()):
    """The loss and the number of idle experts: means over seeds, one for each rate."""
    k, w = len(lrs), initial_weights(seeds, n, width)
    data = (torch.tensor([f(seed) for seed in seeds]) for f in (all_facts, all_batches))
    (facts, batches), w = (x.repeat_interleave(k, 0) for x in data), gpt.repeat(w, k)
    w = train(w, batches, balance, torch.tensor(lrs).repeat(len(seeds)), frozen)
    loss, _, shares = forward(w, facts)
    return [x.view(-1, k).mean(0).tolist() for x in (loss, (shares * n < 0.1).sum(1).double())]


def rates(seeds):
    print(f"Means over seeds {seeds[0]} to {seeds[-1]}")
    rows = {label: losses_and_idle(seeds, *row[:3], RATES)[0] for label, row in settings().items()}
    gpt.print_rates("loss, by learning rate", RATES, rows, min)

    rows, usual = {label: [] for label in settings()}, script.INIT_STD
    for script.INIT_STD in STDS:
        for label, (*row, lr) in settings().items():
            rows[label] += losses_and_idle(seeds, *row, [lr])[0]
    gpt.print_rates("loss, by INIT_STD", STDS, rows, min)
    script.INIT_STD = usual

    print(f"\n{'':64}  loss     idle")
    for start in (script.ROUTER_INIT, 3.0):
        script.ROUTER_INIT = start
        for frozen in ((), ("router_bias",), ("router", "router_bias")):
            for label, (*row, lr) in list(settings().items())[:2]:
                (loss,), (idle,) = losses_and_idle(seeds, *row, [lr], frozen)
                what = f"{label}, ROUTER_INIT {start}, frozen: {', '.join(frozen) or 'nothing'}"
                print(f"{what:64}{loss:6.3f}{idle:9.2f}")


if __name__ == "__main__":
    gpt.run(check, rates)
