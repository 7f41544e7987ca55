"""What the PyTorch versions of the scripts share. Many models train at once, one for each seed and
learning rate: every weight has a leading dimension of models. The sum of their losses gives each
model its own gradient, and Adam is elementwise, so that none knows of the others."""

import argparse
import contextlib
import importlib.util
import io
import sys
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

ROOT = Path(__file__).resolve().parents[2]
torch.set_default_dtype(torch.float64)


def load(path):
    """A file of this project, by its path: a script and its PyTorch version have the same name."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "."), ROOT / f"{path}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytorch = load("tests/golden/pytorch")


# --- Weights --------------------------------------------------------------------------------------


def stack(models):
    """Models of a script, dicts of rows of floats, as one dict of tensors (models, n, m)."""
    return {name: torch.tensor([model[name] for model in models]) for name in models[0]}


def unstack(w):
    """The reverse."""
    return [dict(zip(w, rows)) for rows in zip(*(x.tolist() for x in w.values()))]


def repeat(w, n):
    """Every model n times in a row: once for each learning rate."""
    return {name: x.repeat_interleave(n, 0) for name, x in w.items()}


def learnable(w):
    return {name: x.clone().requires_grad_() for name, x in w.items()}


def detach(w):
    return {name: x.detach() for name, x in w.items()}


class Adam:
    """torch.optim.Adam with betas=(0.9, 0.99), but every model has a learning rate of its own, and
    can be left out of a step. Weights: (models, n, m), or experts' (models, experts, n, m)."""

    def __init__(self, weights):
        self.state = [(w, torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
        self.t = torch.zeros(self.state[0][0].shape[:-2])

    @torch.no_grad()
    def step(self, lr, active=True):
        """lr and active: of the weights' shape without n and m."""
        active = torch.as_tensor(active).expand(self.t.shape)
        self.t += active
        b1, b2 = (torch.where(active, b, 1.0)[..., None, None] for b in (0.9, 0.99))
        c1, c2 = ((1.0 - b ** self.t.clamp(min=1))[..., None, None] for b in (0.9, 0.99))
        lr = (lr * active)[..., None, None]
        for w, m, v in self.state:
            m.mul_(b1).add_((1.0 - b1) * w.grad)
            v.mul_(b2).add_((1.0 - b2) * w.grad**2)
            w -= lr * (m / c1) / ((v / c2).sqrt_() + 1e-8)
            w.grad = None


# --- GPT ------------------------------------------------------------------------------------------


def encode(script, texts):
    """texts[model][i] to tokens (models, batch, n), padded, and to a mask (models, batch, n - 1) of
    the tokens that are predicted: all but the first and the padding."""
    n = max(len(text) for batch in texts for text in batch)
    tokens = [[script.encode(text.ljust(n, ".")) for text in batch] for batch in texts]
    mask = [[[i < len(text) for i in range(1, n)] for text in batch] for batch in texts]
    return torch.tensor(tokens), torch.tensor(mask)


def logits(w, tokens, n_head):
    """The logits after every token, (models, batch, n) to (models, batch, n, vocabulary)."""
    with sdpa_kernel(SDPBackend.MATH):  # the one that vmap knows
        z = torch.vmap(pytorch.gpt, (0, 0, None))(w, tokens, n_head)
    return z + w["lm_head.bias"][:, None] if "lm_head.bias" in w else z


def log_probs(w, tokens, n_head):
    """log p of every token but the first, shape (models, batch, n - 1)."""
    z = logits(w, tokens[..., :-1], n_head)
    return z.log_softmax(-1).gather(-1, tokens[..., 1:, None]).squeeze(-1)


def mean_loss(w, tokens, mask, n_head):
    """-log p, a mean over the tokens of all texts of a model, shape (models,)."""
    return -(log_probs(w, tokens, n_head) * mask).sum((1, 2)) / mask.sum((1, 2))


# --- Command line ---------------------------------------------------------------------------------


def printed_rows(script, *arguments):
    """(label, row) of every line of a table in the script's default run, in full precision."""
    rows = []
    script.print_row = lambda label, row: rows.append((label, row))
    with contextlib.redirect_stdout(io.StringIO()):
        script.experiment(*arguments)
    return rows


def compare(rows, bound):
    """Print (what, the script's number, ours) and the difference; return 1 if one is too large."""
    print(f"{'':34}{'script':>22}{'PyTorch':>22}{'difference':>12}")
    for what, a, b in rows:
        print(f"{what:34}{a:22.15f}{b:22.15f}{abs(a - b):12.1e}")
    holds = all(abs(a - b) <= bound for _, a, b in rows)
    print(f"{'all' if holds else 'NOT all'} within {bound:.0e}")
    return int(not holds)


def print_rates(title, rates, rows, best=None):
    """A table of means, a column for each rate. best: min or max, what to mark in each row."""
    print(f"\n{title:26}" + "".join(f"{rate:>9g} " for rate in rates))
    for label, means in rows.items():
        marks = ["*" if best and x == best(means) else " " for x in means]
        print(f"{label:26}" + "".join(f"{x:9.3f}{mark}" for x, mark in zip(means, marks)))


def run(check, rates):
    """python FILE check [SEED] or python FILE rates FIRST-LAST."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("check", "rates"))
    parser.add_argument("seeds", nargs="?", default="42", help="7, or 0-15")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split("-")]
    if arguments.command == "check":
        sys.exit(check(seeds[0]))
    rates(range(seeds[0], seeds[-1] + 1))
