"""Write the golden files: what PyTorch, PEFT, TRL and transformers compute, in float64.

    pip install --group golden        (the pinned versions stand in pyproject.toml)
    python tests/golden/generate.py

Each case is a function that returns inputs and expected values, and becomes one JSON file beside
this one. The tests read the files only. Importing this module needs none of the libraries.

Two of the libraries' functions round to float32 on the way (.float() in Mixtral's router and in
the balance loss). For the golden values .float() is made to mean .double() here, so that what is
compared is the formula.
"""

import json
import random
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent


def numbers(rng, *shape, scale=1.0):
    """A nested list of normal numbers."""
    if not shape:
        return rng.gauss(0.0, scale)
    return [numbers(rng, *shape[1:], scale=scale) for _ in range(shape[0])]


def tensor(x, grad=False):
    import torch

    return torch.tensor(x, dtype=torch.float64, requires_grad=grad)


def operations():
    """Every operation of Value: value and gradients."""
    import torch
    from torch.nn import functional as F

    unary = {
        "neg": lambda x: -x,
        "exp": torch.exp,
        "log": torch.log,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "square": lambda x: x**2,
        "cube": lambda x: x**3,
        "inverse root": lambda x: x**-0.5,
        "number minus": lambda x: 1.5 - x,
        "number over": lambda x: 1.5 / x,
    }
    binary = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
    vector = {
        "total": lambda x: x.sum(),
        "dot with itself": lambda x: x @ x,
        "softmax, weighted": lambda x: F.softmax(x, 0) @ torch.arange(5.0, dtype=x.dtype),
        "rmsnorm, weighted": lambda x: (
            F.rms_norm(x, (5,), eps=1e-5) @ torch.arange(5.0, dtype=x.dtype)
        ),
        "cross entropy": lambda x: F.cross_entropy(x[None], torch.tensor([3])),
        "softmax at 2.5": lambda x: F.softmax(x / 2.5, 0) @ torch.arange(5.0, dtype=x.dtype),
        "attention": lambda x: (
            F.scaled_dot_product_attention(  # of x_0, keys and values among x
                x[None, :1], x[:3, None], torch.stack([x[1:4], x[2:5]], 1), scale=0.4
            )
            @ torch.arange(1.0, 3.0, dtype=x.dtype)
        ),
    }
    rng, cases = random.Random(1), []
    for name, f in unary.items():
        for x in (0.3, 0.95, 1.7):
            v = tensor(x, True)
            y = f(v)
            y.backward()
            cases.append({"op": name, "x": [x], "y": y.item(), "grad": [v.grad.item()]})
    for name, f in binary.items():
        for _ in range(3):
            x = numbers(rng, 2)
            a, b = (tensor(v, True) for v in x)
            y = f(a, b)
            y.backward()
            cases.append(
                {"op": name, "x": x, "y": y.item(), "grad": [a.grad.item(), b.grad.item()]}
            )
    for name, f in vector.items():
        for scale in (1.0, 300.0):
            x = numbers(rng, 5, scale=scale)
            v = tensor(x, True)
            y = f(v)
            y.backward()
            cases.append({"op": name, "x": x, "y": y.item(), "grad": v.grad.tolist()})
    return {"cases": cases}


def torch_gpt(w, tokens, heads, layers):
    """The logits after every token, shape (n, vocabulary): whole matrices, no cache."""
    import torch
    from torch.nn import functional as F

    n = len(tokens)
    x = w["wte"][tokens] + w["wpe"][:n]
    d = x.shape[1]
    x = F.rms_norm(x, (d,), eps=1e-5)
    for i in range(layers):
        h = F.rms_norm(x, (d,), eps=1e-5)
        q, k, v = (
            (h @ w[f"{i}.{name}"].T).view(n, heads, -1).transpose(0, 1)
            for name in ("wq", "wk", "wv")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + mixed.transpose(0, 1).reshape(n, d) @ w[f"{i}.wo"].T
        h = F.rms_norm(x, (d,), eps=1e-5)
        x = x + torch.relu(h @ w[f"{i}.w1"].T) @ w[f"{i}.w2"].T
    return x @ w["lm_head"].T


def gpt_weights(rng, vocabulary, d, layers, block):
    w = {"wte": numbers(rng, vocabulary, d, scale=0.3), "wpe": numbers(rng, block, d, scale=0.3)}
    for i in range(layers):
        for name in ("wq", "wk", "wv", "wo"):
            w[f"{i}.{name}"] = numbers(rng, d, d, scale=0.3)
        w[f"{i}.w1"] = numbers(rng, 4 * d, d, scale=0.3)
        w[f"{i}.w2"] = numbers(rng, d, 4 * d, scale=0.3)
    w["lm_head"] = numbers(rng, vocabulary, d, scale=0.3)
    return w


def gpt():
    """Logits, mean cross-entropy and the gradient of every parameter, at two sizes."""
    import torch

    cases = []
    for seed, (vocabulary, d, heads, layers) in enumerate(((5, 4, 2, 1), (7, 8, 2, 2))):
        rng = random.Random(seed)
        w = gpt_weights(rng, vocabulary, d, layers, 6)
        tokens = [0, 3, 1, 1, 4, 2, 0]
        params = {k: tensor(v, True) for k, v in w.items()}
        logits = torch_gpt(params, tokens[:-1], heads, layers)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:]))
        loss.backward()
        cases.append(
            {
                "sizes": [d, heads, layers],
                "weights": w,
                "tokens": tokens,
                "logits": logits.tolist(),
                "loss": loss.item(),
                "grads": {k: p.grad.tolist() for k, p in params.items()},
            }
        )
    return {"cases": cases}


def adam():
    """Twenty steps of torch.optim.Adam, the learning rate changing."""
    import torch

    rng = random.Random(3)
    start, grads = numbers(rng, 4), numbers(rng, 20, 4, scale=2.0)
    rates = [0.05 * (1 - t / 25) for t in range(20)]
    p = tensor(start, True)
    optimizer = torch.optim.Adam([p], lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    path = []
    for g, rate in zip(grads, rates):
        p.grad = tensor(g)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        path.append(p.tolist())
    return {"start": start, "grads": grads, "rates": rates, "path": path}


def lora():
    """PEFT's LoRA on a linear layer: initialization, output, gradients, merged weight."""
    import torch
    from peft import LoraConfig, get_peft_model

    cases = []
    for seed, (n, m, r, alpha) in enumerate(((5, 4, 1, 8), (6, 6, 3, 8))):
        rng = random.Random(seed)
        weight, x, g = numbers(rng, n, m), numbers(rng, m), numbers(rng, n)
        a, b = numbers(rng, r, m), numbers(rng, n, r)
        base = torch.nn.Sequential(torch.nn.Linear(m, n, bias=False, dtype=torch.float64))
        base[0].weight.data = tensor(weight)
        plain = base(tensor(x)).tolist()
        config = LoraConfig(r=r, lora_alpha=alpha, target_modules=["0"], lora_dropout=0.0)
        model = get_peft_model(base, config, autocast_adapter_dtype=False).double()
        layer = model.base_model.model[0]
        at_start = model(tensor(x)).tolist()
        layer.lora_A["default"].weight.data = tensor(a)
        layer.lora_B["default"].weight.data = tensor(b)
        inputs = tensor(x, True)
        y = model(inputs)
        (y @ tensor(g)).backward()
        cases.append(
            {
                "weight": weight,
                "x": x,
                "g": g,
                "a": a,
                "b": b,
                "alpha": alpha,
                "plain": plain,
                "at_start": at_start,
                "y": y.tolist(),
                "a_grad": layer.lora_A["default"].weight.grad.tolist(),
                "b_grad": layer.lora_B["default"].weight.grad.tolist(),
                "x_grad": inputs.grad.tolist(),
                "scaling": layer.scaling["default"],
                "merged": model.merge_and_unload()[0].weight.tolist(),
            }
        )
    return {"cases": cases}


def dpo():
    """TRL's DPOTrainer on the log-probabilities of a small GPT: loss, rewards, gradient."""
    import torch
    from torch.nn import functional as F
    from trl import DPOTrainer

    rng = random.Random(5)
    d, heads, layers, beta = 4, 2, 1, 0.3
    w, ref = (gpt_weights(rng, 6, d, layers, 8) for _ in range(2))
    prompt, chosen, rejected = [0, 2], [3, 1, 0], [4, 4, 5, 0]
    params = {k: tensor(v, True) for k, v in w.items()}
    ref_params = {k: tensor(v) for k, v in ref.items()}

    def log_probs(p, tokens):
        logits = torch_gpt(p, tokens[:-1], heads, layers)
        return -F.cross_entropy(logits, torch.tensor(tokens[1:]), reduction="none")

    size = len(prompt) + max(len(chosen), len(rejected))
    texts = [prompt + chosen, prompt + rejected]
    ids = torch.tensor([t + [0] * (size - len(t)) for t in texts])
    mask = torch.tensor(
        [[0] * len(prompt) + [1] * (len(t) - len(prompt)) + [0] * (size - len(t)) for t in texts]
    )

    def model(labels, **_):  # the part of a transformers model that the loss looks at
        rows = [F.pad(log_probs(params, t), (0, size - len(t))) for t in texts]
        kept = torch.stack(rows) * (labels[:, 1:] != -100)
        zeros = torch.zeros_like(kept)
        return SimpleNamespace(
            log_probs=kept, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), logits=zeros
        )

    ref_logps = [log_probs(ref_params, t)[len(prompt) - 1 :].sum()[None] for t in texts]
    same = lambda x: x  # noqa: E731
    metrics = defaultdict(lambda: defaultdict(list))
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=SimpleNamespace(device="cpu", gather=same, gather_for_metrics=same),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=beta,
        use_weighting=False,
        _metrics=metrics,
        _total_train_tokens=0,
    )
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": mask,
        "ref_chosen_logps": ref_logps[0],
        "ref_rejected_logps": ref_logps[1],
    }
    loss = DPOTrainer._compute_loss(trainer, model, inputs, False)
    loss.backward()
    logged = {
        key.replace("/", "_"): values[0] for key, values in metrics["eval"].items() if "/" in key
    }
    return {
        "sizes": [d, heads, layers],
        "weights": w,
        "reference": ref,
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "beta": beta,
        "loss": loss.item(),
        "logged": {k: logged[k] for k in sorted(logged) if k.startswith(("rewards", "logps"))},
        "grads": {k: p.grad.tolist() for k, p in params.items()},
    }


def ppo():
    """GAE, surrogate, value loss, KL: the cited equations in PyTorch, since the pinned TRL has no
    PPO trainer; and TRL's RewardTrainer for the pairwise loss."""
    import torch
    from trl import RewardTrainer

    rng = random.Random(6)
    gamma, lam, clip = 0.99, 0.95, 0.2
    rewards, values = numbers(rng, 6), numbers(rng, 6)
    v = torch.cat([tensor(values), torch.zeros(1, dtype=torch.float64)])
    deltas = tensor(rewards) + gamma * v[1:] - v[:-1]
    weights = torch.tensor(
        [[(gamma * lam) ** (k - t) if k >= t else 0.0 for k in range(6)] for t in range(6)],
        dtype=torch.float64,
    )
    advantages = weights @ deltas

    old = numbers(rng, 8)
    new = [x + y for x, y in zip(old, numbers(rng, 8, scale=0.3))]
    signs = numbers(rng, 8)
    log_probs = tensor(new, True)
    ratio = torch.exp(log_probs - tensor(old))
    surrogate = -torch.min(
        ratio * tensor(signs), torch.clamp(ratio, 1 - clip, 1 + clip) * tensor(signs)
    )
    surrogate.sum().backward()

    before, target = numbers(rng, 12), numbers(rng, 12)
    now = [x + y for x, y in zip(before, numbers(rng, 12, scale=0.4))]
    value = tensor(now, True)
    moved = tensor(before) + torch.clamp(value - tensor(before), -clip, clip)
    value_losses = 0.5 * torch.max((value - tensor(target)) ** 2, (moved - tensor(target)) ** 2)
    value_losses.sum().backward()

    scores = tensor(numbers(rng, 6), True)
    same = lambda x: x  # noqa: E731
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(center_rewards_coefficient=None),
        accelerator=SimpleNamespace(gather=same, gather_for_metrics=same),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
    )
    loss = RewardTrainer.compute_loss(
        trainer, lambda **_: SimpleNamespace(logits=scores[:, None]), {}
    )
    loss.backward()
    kl = (tensor(new) - tensor(old)).tolist()
    return {
        "gae": {
            "gamma": gamma,
            "lam": lam,
            "rewards": rewards,
            "values": values,
            "advantages": advantages.tolist(),
        },
        "surrogate": {
            "clip": clip,
            "old": old,
            "new": new,
            "advantages": signs,
            "losses": surrogate.tolist(),
            "grads": log_probs.grad.tolist(),
            "kl": kl,
        },
        "value": {
            "clip": clip,
            "old": before,
            "new": now,
            "targets": target,
            "losses": value_losses.tolist(),
            "grads": value.grad.tolist(),
        },
        "pairs": {
            "chosen": scores[:3].tolist(),
            "rejected": scores[3:].tolist(),
            "loss": loss.item(),
            "grads": scores.grad.tolist(),
        },
    }


def nets():
    """The gradients written by hand: reward model, critic, expert, by PyTorch's autograd."""
    import torch

    rng = random.Random(7)
    h, vocabulary, tokens = 8, 6, [0, 3, 1, 1, 5, 0]

    def fresh(shapes):
        w = {k: numbers(rng, *shape, scale=0.5) for k, shape in shapes.items()}
        return w, {k: tensor(v, True) for k, v in w.items()}

    def grads(p):
        return {k: v.grad.tolist() for k, v in p.items()}

    w, p = fresh({"left": (vocabulary, h), "right": (vocabulary, h), "bias": (1, h), "out": (1, h)})
    features = torch.tanh(p["left"][tokens[:-1]] + p["right"][tokens[1:]] + p["bias"])
    score = (features.mean(0) * p["out"][0]).sum()
    score.backward()
    reward = {"weights": w, "tokens": tokens, "y": score.item(), "grads": grads(p)}

    w, p = fresh(
        {"mix": (h, h), "last": (vocabulary, h), "size": (16, h), "out": (1, h), "shift": (1, 1)}
    )
    mean = numbers(rng, h)
    z = torch.tanh(p["mix"] @ tensor(mean) + p["last"][4] + p["size"][2])
    value = (p["out"][0] * z).sum() + p["shift"][0, 0]
    value.backward()
    state = [mean, 4, 2]
    critic = {"weights": w, "state": state, "y": value.item(), "grads": grads(p)}

    w, p = fresh({"w1": (3, 5), "w2": (5, 3)})
    x, g = numbers(rng, 5), numbers(rng, 5)
    inputs = tensor(x, True)
    y = p["w2"] @ torch.relu(p["w1"] @ inputs)
    (y @ tensor(g)).backward()
    expert = {
        "weights": w,
        "x": x,
        "g": g,
        "y": y.tolist(),
        "grads": grads(p),
        "x_grad": inputs.grad.tolist(),
    }
    return {"reward": reward, "critic": critic, "expert": expert}


def moe():
    """transformers' Mixtral block and load-balancing loss.

    A Mixtral expert is W2 (act(W1 x) * W3 x). With ReLU, a last input of 1, and W3 = (0 .. 0 1) in
    every row, W3 x is 1, and the expert is W2 relu(W1 x).
    """
    import torch
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import (
        MixtralSparseMoeBlock,
        load_balancing_loss_func,
    )

    kept, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
    try:
        rng = random.Random(8)
        experts, k, d, width, n = 5, 2, 6, 3, 8
        config = MixtralConfig(
            hidden_size=d,
            intermediate_size=width,
            num_local_experts=experts,
            num_experts_per_tok=k,
            hidden_act="relu",
        )
        config._experts_implementation = "eager"
        block = MixtralSparseMoeBlock(config).double()
        router, w1 = numbers(rng, experts, d), numbers(rng, experts, width, d)
        w2, x = numbers(rng, experts, d, width), [[*numbers(rng, d - 1), 1.0] for _ in range(n)]
        g = numbers(rng, n, d)
        ones = [[0.0] * (d - 1) + [1.0]] * width
        block.gate.weight.data = tensor(router)
        block.experts.gate_up_proj.data = tensor([w + ones for w in w1])
        block.experts.down_proj.data = tensor(w2)
        inputs = tensor(x, True)
        y = block(inputs[None])[0]
        (y * tensor(g)).sum().backward()
        up = block.experts.gate_up_proj.grad[:, :width].tolist()
        # the input's gradient through W3 alone is taken off: our experts have no W3
        twin = tensor(x, True)
        _, weights, chosen = block.gate(twin.detach())
        through = torch.zeros_like(twin)
        for t in range(n):
            for j in range(k):
                i = chosen[t, j]
                h = torch.relu(tensor(w1[i]) @ twin[t].detach())
                dh = tensor(w2[i]).T @ tensor(g[t]) * weights[t, j].detach()
                through[t, -1] += (dh * h).sum()
        logits = block.gate(tensor(x))[0].detach().requires_grad_()
        balance = load_balancing_loss_func((logits,), experts, k)
        balance.backward()
        return {
            "k": k,
            "router": router,
            "w1": w1,
            "w2": w2,
            "x": x,
            "g": g,
            "chosen": chosen.tolist(),
            "shares": weights.tolist(),
            "y": y.tolist(),
            "router_grad": block.gate.weight.grad.tolist(),
            "w1_grad": up,
            "w2_grad": block.experts.down_proj.grad.tolist(),
            "x_grad": (inputs.grad - through).tolist(),
            "balance": balance.item(),
            "logits": logits.tolist(),
            "balance_grad": logits.grad.tolist(),
        }
    finally:
        torch.Tensor.float = kept


CASES = {f.__name__: f for f in (operations, gpt, adam, lora, dpo, ppo, nets, moe)}


if __name__ == "__main__":
    for case, function in CASES.items():
        path = HERE / f"{case}.json"
        path.write_text(json.dumps(function(), separators=(",", ":")) + "\n", "utf-8")
        print(f"{path.name}: {path.stat().st_size} bytes")
