"""What PyTorch computes: its own functions, optimizers, schedulers and layers, its autograd through
the code of pytorch.py, and whole training runs by it.

    python -m tests.golden.generate_torch
"""

import random

import torch
from torch import nn
from torch.nn import functional as F

from tests.golden import gpt_weights, numbers, pytorch, write

torch.set_default_dtype(torch.float64)
same = torch.testing.assert_close


def parameter(x):
    return torch.tensor(x, requires_grad=True)


def grads(params):
    return {name: p.grad.tolist() for name, p in params.items()}


def operations():
    """Values and gradients of expressions, which the tests evaluate with the scripts' functions of
    the same names: a is xs[0], b is xs[1]."""
    functions = {
        "sigmoid": torch.sigmoid,
        "preference_loss": lambda x: -F.logsigmoid(x),
        "total": lambda xs: torch.stack(list(xs)).sum(),
        "dot": lambda xs, ys: sum(x * y for x, y in zip(xs, ys)),
        "matvec": lambda w, xs: [sum(x * y for x, y in zip(row, xs)) for row in w],
        "softmax": lambda xs: F.softmax(torch.stack(list(xs)), 0),
        "rmsnorm": lambda xs: F.rms_norm(torch.stack(list(xs)), (len(xs),), eps=1e-5),
        "cross_entropy": lambda xs, i: F.cross_entropy(torch.stack(list(xs)), torch.tensor(i)),
    }
    scalars = (
        "-a", "a.exp()", "a.relu()", "a**2", "1.5 - a", "a / 1.5", "a + b", "a - b", "a * b",
        "a / b", "(b * b + 0.1).log()", "(a * a + 0.1)**-0.5", "a * a * b + a / b",
    )  # fmt: skip
    vectors = (
        "total(xs)", "dot(xs[:2], xs[2:4])", "dot(xs, [1, 2, 3, 4, 5])",
        "dot(matvec([xs[:2], xs[2:4]], xs[3:]), [3, 4])", "dot(softmax(xs), [1, 2, 3, 4, 5])",
        "dot(rmsnorm(xs), [1, 2, 3, 4, 5])", "cross_entropy(xs, 3)", "preference_loss(a)",
    )  # fmt: skip
    rng, cases = random.Random(1), []
    for expression in scalars + vectors:
        for scale in (1.0, 300.0 if expression in vectors else 1.0):
            x = numbers(rng, 5, scale=scale)
            xs = [parameter(v) for v in x]
            y = eval(expression, functions, {"xs": xs, "a": xs[0], "b": xs[1]})
            y.backward()
            grad = [0.0 if v.grad is None else v.grad.item() for v in xs]
            cases.append({"expression": expression, "x": x, "y": y.item(), "grad": grad})
    write("operations", cases)


def gpt():
    """Logits, mean cross-entropy and the gradient of every weight, at two sizes."""
    cases = []
    for seed, (vocab_size, d, n_head, n_layer) in enumerate(((5, 4, 2, 2), (7, 6, 3, 1))):
        w = gpt_weights(random.Random(seed), vocab_size, d, n_layer, 6)
        tokens = [0, 3, 1, 1, 4, 2, 0]
        params = {name: parameter(x) for name, x in w.items()}
        logits = pytorch.gpt(params, torch.tensor([tokens[:-1]]), n_head)[0]
        loss = F.cross_entropy(logits, torch.tensor(tokens[1:]))
        loss.backward()
        cases.append({
            "sizes": [d, n_head, n_layer], "weights": w, "tokens": tokens,
            "logits": logits.tolist(), "loss": loss.item(), "grads": grads(params),
        })  # fmt: skip
    write("gpt", cases)


def adam():
    """Twenty steps of Adam and of AdamW, the learning rate changing, the gradients given."""
    rng = random.Random(3)
    start, gradients = numbers(rng, 4), [[0.0, *numbers(rng, 3, scale=2.0)] for _ in range(20)]
    rates, decay = [0.05 * (1 - t / 25) for t in range(20)], 0.7
    case = {"start": start, "grads": gradients, "rates": rates, "decay": decay}
    for name, optimizer_class in (("Adam", torch.optim.Adam), ("AdamW", torch.optim.AdamW)):
        p = parameter(start)
        kind = {"weight_decay": decay} if name == "AdamW" else {}
        optimizer = optimizer_class([p], lr=0.1, betas=(0.9, 0.99), eps=1e-8, **kind)
        case[name] = []
        for g, rate in zip(gradients, rates):
            p.grad = torch.tensor(g)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            case[name].append(p.tolist())
    write("adam", case)


def schedule():
    """The rates of torch.optim.lr_scheduler at a peak of 1, and AveragedModel's mean."""
    steps, rise, s = 60, 6, torch.optim.lr_scheduler
    fall = steps // 5

    def down(optimizer, n):
        return s.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=n)

    def warmup(optimizer):
        up = s.LinearLR(optimizer, start_factor=1 / rise, end_factor=1.0, total_iters=rise - 1)
        return s.SequentialLR(optimizer, [up, down(optimizer, steps - rise)], milestones=[rise])

    def stable(optimizer):
        rest = [s.ConstantLR(optimizer, factor=1.0), down(optimizer, fall)]
        return s.SequentialLR(optimizer, rest, milestones=[steps - fall])

    schedulers = {
        "constant": lambda optimizer: s.ConstantLR(optimizer, factor=1.0),
        "step": lambda optimizer: s.MultiStepLR(optimizer, [steps // 2, 3 * steps // 4], gamma=0.3),
        "linear": lambda optimizer: down(optimizer, steps),
        "cosine": lambda optimizer: s.CosineAnnealingLR(optimizer, T_max=steps),
        "WSD": stable,
        "warmup": warmup,
    }
    rates = {}
    for name, new in schedulers.items():
        optimizer = torch.optim.SGD([parameter([0.0])], lr=1.0)
        scheduler, rates[name] = new(optimizer), []
        for _ in range(steps):
            rates[name].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    rng, model = random.Random(4), nn.Linear(3, 2, bias=False)
    averaged, models = torch.optim.swa_utils.AveragedModel(model), []
    for _ in range(4):
        models.append(numbers(rng, 2, 3))
        model.weight.data = torch.tensor(models[-1])
        averaged.update_parameters(model)
    mean = averaged.module.weight.tolist()
    write("schedule", {"rates": rates, "models": models, "mean": mean})


def score():
    """The gradient of reward model and critic, by autograd."""
    w = {"left": (6, 4), "right": (6, 4), "out": (1, 5)}
    rng, tokens = random.Random(7), [0, 3, 1, 1, 3, 1, 5, 0]
    w = {name: numbers(rng, *shape) for name, shape in w.items()}
    p = {name: parameter(x) for name, x in w.items()}
    sums = torch.tanh(p["left"][tokens[:-1]] + p["right"][tokens[1:]]).sum(0)
    y = p["out"][0, :-1] @ sums + p["out"][0, -1]
    y.backward()
    write("score", {"weights": w, "tokens": tokens, "score": y.item(), "grads": grads(p)})


def run_moe():
    """A whole MoE model trained by Adam: embeddings, router, experts, load-balancing loss."""
    rng, d, width, n_experts, k, balance = random.Random(9), 4, 3, 5, 2, 0.5
    codes, letters, steps, batch_size, lr = 3, 6, 6, 5, 0.05
    w = {
        "codes": numbers(rng, codes, d), "letters": numbers(rng, letters, d),
        "router": numbers(rng, n_experts, d), "router_bias": [[0.3, 0.1, -1.5, 0.2, 0.0]],
        "output": numbers(rng, letters, d),
    }  # fmt: skip
    w1, w2 = numbers(rng, n_experts, width, d), numbers(rng, n_experts, d, width)
    facts = [[rng.randrange(codes), rng.randrange(letters), rng.randrange(letters)]
             for _ in range(2 * batch_size)]  # fmt: skip
    p = {name: parameter(w[name]) for name in ("codes", "letters", "output")}
    block = pytorch.MoE(d, width, n_experts, k)
    block.router.weight.data = torch.tensor(w["router"])
    block.router.bias.data = torch.tensor(w["router_bias"][0])
    for expert, a, b in zip(block.experts, w1, w2):
        expert[0].weight.data, expert[2].weight.data = torch.tensor(a), torch.tensor(b)

    def losses(batch):
        code, letter, answer = torch.tensor(batch).T
        x = F.rms_norm(p["codes"][code] + p["letters"][letter], (d,), eps=1e-5)
        y, logits, chosen = block(x)
        loss = F.cross_entropy((x + y) @ p["output"].T, answer)
        return loss, pytorch.balance_loss(logits, chosen)

    optimizer = torch.optim.Adam([*p.values(), *block.parameters()], betas=(0.9, 0.99))
    shuffler, deck, idle = random.Random("batches 5"), [], []
    for step in range(steps):
        deck = deck or shuffler.sample(facts, len(facts))
        batch, deck = deck[:batch_size], deck[batch_size:]
        share = min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps), 1.0)
        optimizer.param_groups[0]["lr"] = lr * share
        optimizer.zero_grad()
        loss, b = losses(batch)
        (loss + balance * b).backward()
        idle.append([i for i, expert in enumerate(block.experts) if expert[0].weight.grad is None])
        optimizer.step()
    assert any(i not in idle[-1] for i in idle[0]), idle  # an expert rests, and comes back
    end = {name: x.tolist() for name, x in p.items()} | {
        "router": block.router.weight.tolist(), "router_bias": [block.router.bias.tolist()]
    }  # fmt: skip
    loss, b = losses(facts)
    (gradient,) = torch.autograd.grad(loss, block.router.weight)
    write("run_moe", {
        "settings": {"N_EMBD": d, "TOP_K": k, "STEPS": steps, "BATCH_SIZE": batch_size},
        "lr": lr, "balance": balance, "seed": 5, "facts": facts, "weights": w, "w1": w1, "w2": w2,
        "end": end, "end w1": [expert[0].weight.tolist() for expert in block.experts],
        "end w2": [expert[2].weight.tolist() for expert in block.experts],
        "loss": loss.item(), "B": b.item(), "gradient": gradient.norm().item(),
    })  # fmt: skip


def batchnorm():
    """nn.BatchNorm1d over several batches, and with its running statistics; pytorch.py's too."""
    cases = []
    for seed, (n, units, scale) in enumerate(((2, 3, 1.0), (5, 4, 3.0), (16, 2, 0.01))):
        rng, layer = random.Random(seed), nn.BatchNorm1d(units)
        gain, bias = numbers(rng, units), numbers(rng, units)
        layer.weight.data, layer.bias.data = torch.tensor(gain), torch.tensor(bias)
        batches = []
        for _ in range(2):
            rows, g = numbers(rng, n, units, scale=scale), numbers(rng, n, units)
            x = parameter(rows)
            layer.zero_grad()
            y = layer(x)
            same(y, pytorch.batch_norm(x, layer.weight, layer.bias))
            (y * torch.tensor(g)).sum().backward()
            batches.append({
                "x": rows, "g": g, "y": y.tolist(), "x grad": x.grad.tolist(),
                "gain grad": layer.weight.grad.tolist(), "bias grad": layer.bias.grad.tolist(),
                "running mean": layer.running_mean.tolist(),
                "running variance": layer.running_var.tolist(),
            })  # fmt: skip
        layer.eval()
        evaluated = layer(torch.tensor(batches[0]["x"])).tolist()
        cases.append({"gain": gain, "bias": bias, "batches": batches, "evaluated": evaluated})
    write("batchnorm", cases)


def dropout():
    """A network with dropout, for the mask that F.dropout drew; pytorch.py's draws one as often."""
    rng, p = random.Random(6), 0.5
    torch.manual_seed(3)
    w = {"wte": numbers(rng, 5, 2), "w1": numbers(rng, 6, 6), "w2": numbers(rng, 5, 6)}
    context, target, params = [0, 3, 1], 4, {name: parameter(x) for name, x in w.items()}
    h = F.relu(params["w1"] @ F.rms_norm(params["wte"][context].flatten(), (6,), eps=1e-5))
    mask = F.dropout(torch.ones(6), p)
    logits = params["w2"] @ (h * mask)
    loss = F.cross_entropy(logits, torch.tensor(target))
    loss.backward()
    drawn = pytorch.dropout(torch.ones(100000), p)
    same(drawn.unique(), mask.unique())
    same(drawn.mean(), torch.tensor(1.0), atol=0.02, rtol=0.0)
    write("dropout", {
        "weights": w, "context": context, "target": target, "mask": mask.tolist(),
        "logits": logits.tolist(), "loss": loss.item(), "grads": grads(params),
    })  # fmt: skip


def distill():
    """Distillation as a cross-entropy with soft targets, whose gradient KL shares; smoothing."""
    rng, soft, smooth = random.Random(17), [], []
    for t in (0.5, 1.0, 2.0, 8.0):
        for scale in (0.1, 5.0, 50.0):
            z, v = numbers(rng, 1, 5, scale=scale), numbers(rng, 1, 5, scale=min(scale, 5.0))
            logits, teacher = parameter(z), torch.tensor(v)
            q = F.softmax(teacher / t, -1)
            loss = pytorch.distill_loss(logits, teacher, t)
            (gradient,) = torch.autograd.grad(loss, logits)
            crossed = F.cross_entropy(logits / t, q) * t**2
            same(torch.autograd.grad(crossed, logits)[0], gradient)
            entropy = torch.distributions.Categorical(probs=q).entropy()
            same(crossed - t**2 * entropy.sum(), loss, atol=1e-12, rtol=1e-9)
            soft.append({
                "t": t, "z": z[0], "v": v[0], "q": q[0].tolist(), "loss": loss.item(),
                "grad": gradient[0].tolist(),
            })  # fmt: skip
    for share in (0.1, 0.5):
        z = numbers(rng, 1, 5)
        logits = parameter(z)
        loss = F.cross_entropy(logits, torch.tensor([3]), label_smoothing=share)
        loss.backward()
        row = {"share": share, "z": z[0], "label": 3, "loss": loss.item()}
        smooth.append(row | {"grad": logits.grad[0].tolist()})
    write("distill", {"soft": soft, "smooth": smooth})


if __name__ == "__main__":
    for generate in (
        operations, gpt, adam, schedule, score, run_moe, batchnorm, dropout, distill
    ):  # fmt: skip
        generate()
