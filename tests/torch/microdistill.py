"""microdistill.py in PyTorch: teachers, and students that learn from labels or from a teacher.

    python tests/torch/microdistill.py check [SEED]     against the script, both teachers and every
                                                        student, at the end and at the best step
    python tests/torch/microdistill.py rates 0-15       held-out loss by learning rate
"""

import random

import gpt
import torch
from torch.nn import functional as F

script = gpt.load("docs/further/microdistill")
RATES = [0.005, 0.01, 0.02, 0.04, 0.08, 0.16]


def distill_loss(log_probs, q, t):
    """T^2 KL(q || p) of every token, with log p at temperature T; 0 log 0 is 0."""
    return t**2 * F.kl_div(log_probs, q, reduction="none").sum(-1)


def pad(examples):
    """Examples of the script, [model][i] (tokens, targets), to tensors: tokens (models, n, length),
    targets (models, n, length - 1, 27), 0 where there is no token, and their mask."""
    size = max(len(tokens) for row in examples for tokens, _ in row)
    nothing = [[0.0] * len(script.ALPHABET)]
    tokens = [[x + [script.END] * (size - len(x)) for x, _ in row] for row in examples]
    targets = [[q + nothing * (size - len(x)) for x, q in row] for row in examples]
    mask = [[[i < len(x) for i in range(1, size)] for x, _ in row] for row in examples]
    return torch.tensor(tokens), torch.tensor(targets), torch.tensor(mask)


def train(start, examples, t, lr, steps, test):
    """Adam on the examples in turn, one a step; lr: a rate for each model. Return the held-out
    losses at every EVERY-th step, shape (models, times), and the model of each time."""
    w, path, models = gpt.learnable(start), [], []
    optimizer = gpt.Adam(w.values())
    for step in range(steps):
        i = step % examples[0].shape[1]
        tokens, q, mask = (x[:, i : i + 1] for x in examples)
        log_probs = (gpt.logits(w, tokens[..., :-1], script.N_HEAD) / t).log_softmax(-1)
        losses = distill_loss(log_probs, q, t) * mask
        (losses.sum((1, 2)) / mask.sum((1, 2))).sum().backward()
        optimizer.step(lr * script.schedule(step, steps))
        if (steps - step - 1) % script.EVERY == 0:
            models.append({name: x.detach().clone() for name, x in w.items()})
            path.append(gpt.mean_loss(models[-1], test[0], test[2], script.N_HEAD))
    return torch.stack(path, 1), models


def experiment(seeds):
    """The teachers' paths, and for every student the initial weights, examples, temperature and
    rate. The script makes the targets, from our teachers and its own random stream."""
    rngs = [random.Random(seed) for seed in seeds]
    encoded = [script.encode(f".{name}.") for name in script.NAMES]
    names = [rng.sample(encoded, len(encoded)) for rng in rngs]
    test = pad([[script.hard(x) for x in xs[: script.TEST]] for xs in names])
    labels = [[script.hard(x) for x in xs[script.TEST :]] for xs in names]
    few = [row[: script.FEW] for row in labels]

    def teach(examples, lr, steps):
        start, lr = gpt.stack([script.init_gpt(rng) for rng in rngs]), torch.full((len(rngs),), lr)
        return train(start, pad(examples), 1.0, lr, steps, test)

    def write(teacher, rng):
        return script.hard([script.END, *script.sample(teacher, [script.END], rng)])

    path, models = teach(labels, script.LR, script.TEACHER_STEPS)
    second_path, second_models = teach(few, script.HARD_LR, script.STEPS)
    teachers = gpt.unstack(models[-1])
    seconds = [gpt.unstack(second_models[best])[i] for i, best in enumerate(second_path.argmin(1))]
    t, hard_lr, lr, students = script.TEMPERATURE, script.HARD_LR, script.LR, {}
    for rng, teacher, second, row, all_ in zip(rngs, teachers, seconds, few, labels):
        targets = [script.soft(teacher, x, t) for x, _ in row]
        for label, *student in (
            ("hard", row, 1.0, hard_lr),
            ("smoothed", [script.smooth(example) for example in row], 1.0, hard_lr),
            ("soft", targets, t, lr),
            ("soft, T = 1", [script.soft(teacher, x, 1.0) for x, _ in row], 1.0, lr),
            ("permuted", [script.permute(example, rng) for example in targets], t, lr),
            ("soft, fewer", targets[: script.FEWER], t, lr),
            ("2nd teacher", [script.soft(second, x, t) for x, _ in row], t, lr),
            ("written", [write(teacher, rng) for _ in range(script.STEPS)], 1.0, lr),
            ("hard, all", all_, 1.0, lr),
        ):
            students.setdefault(label, []).append(student)
    start = gpt.stack([script.init_student(rng) for rng in rngs])
    students = {k: (pad([x for x, _, _ in v]), *v[0][1:]) for k, v in students.items()}
    return path, second_path, start, students, test


# --- Commands -------------------------------------------------------------------------------------


def check(seed):
    theirs, train_script = [], script.train

    def keep_losses(*arguments):
        path = train_script(*arguments)
        theirs.append([loss for loss, *_ in path])
        return path

    script.train = keep_losses
    gpt.printed_rows(script, seed, script.NAMES)
    path, second_path, start, students, test = experiment([seed])
    ours = {"teacher": path, "second teacher": second_path}
    for label, (examples, t, lr) in students.items():
        ours[label], _ = train(start, examples, t, torch.tensor([lr]), script.STEPS, test)
    rows = []
    for losses, (label, path) in zip(theirs, ours.items()):
        rows.append((f"{label}, end", losses[-1], path[0, -1].item()))
        rows.append((f"{label}, best", min(losses), path.min().item()))
    return gpt.compare(rows, 1e-9)


def rates(seeds):
    *_, start, students, test = experiment(seeds)
    k, lr = len(RATES), torch.tensor(RATES).repeat(len(seeds))
    start, test = gpt.repeat(start, k), [x.repeat_interleave(k, 0) for x in test]
    ends, bests = {}, {}
    for label, (examples, t, _) in students.items():
        examples = [x.repeat_interleave(k, 0) for x in examples]
        path, _ = train(start, examples, t, lr, script.STEPS, test)
        for rows, losses in ((ends, path[:, -1]), (bests, path.min(1).values)):
            rows[label] = losses.view(-1, k).mean(0).tolist()
    print(f"Means over seeds {seeds[0]} to {seeds[-1]}")
    gpt.print_rates("held-out loss at the end", RATES, ends, min)
    gpt.print_rates("held-out loss at best", RATES, bests, min)


if __name__ == "__main__":
    gpt.run(check, rates)
