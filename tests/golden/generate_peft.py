"""What PEFT's LoRA computes, and pytorch.py's the same.

    python -m tests.golden.generate_peft

One layer by itself, and adapters in two matrices of a GPT.
"""

import random

import torch
from peft import LoraConfig, get_peft_model

from tests.golden import gpt_weights, numbers, pytorch, write

torch.set_default_dtype(torch.float64)
same = torch.testing.assert_close


def layer(seed, n, m, r, alpha):
    """One linear layer: output at the start and later, gradients, merged weight."""
    rng = random.Random(seed)
    weight, x, g = numbers(rng, n, m), numbers(rng, m), numbers(rng, n)
    a, b = numbers(rng, r, m), numbers(rng, n, r)
    base = torch.nn.Sequential(torch.nn.Linear(m, n, bias=False))
    base[0].weight.data = torch.tensor(weight)
    plain = base(torch.tensor(x))
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules=["0"], lora_dropout=0.0)
    model = get_peft_model(base, config, autocast_adapter_dtype=False).double()
    ours = pytorch.LoRALinear(torch.tensor(weight), r, alpha)
    inputs = torch.tensor(x, requires_grad=True)
    same(model(inputs), plain)  # B = 0 at the start
    same(ours(inputs), plain)

    adapter = model.base_model.model[0]
    theirs = adapter.lora_A["default"].weight, adapter.lora_B["default"].weight
    for p, q, values in zip(theirs, (ours.A, ours.B), (a, b)):
        p.data, q.data = torch.tensor(values), torch.tensor(values)
    y = model(inputs)
    gradients = torch.autograd.grad(y @ torch.tensor(g), [*theirs, inputs])
    same(ours(inputs), y)
    same(torch.autograd.grad(ours(inputs) @ torch.tensor(g), [ours.A, ours.B, inputs]), gradients)
    merged = model.merge_and_unload()[0].weight
    same(ours.merge(), merged)
    names = ("a grad", "b grad", "x grad")
    return {
        "weight": weight, "x": x, "g": g, "a": a, "b": b, "alpha": alpha, "y": y.tolist(),
        "merged": merged.tolist(),
    } | dict(zip(names, (gradient.tolist() for gradient in gradients)))  # fmt: skip


def whole_gpt(r, alpha):
    """Adapters in a query matrix and the output matrix of a GPT: loss and gradients."""
    rng, d, n_head, tokens = random.Random(20), 4, 2, [0, 3, 1, 1, 4, 2, 0]
    w = gpt_weights(rng, 5, d, 1, 6)
    names = ("0.wq", "lm_head")
    adapter = {}
    for name in names:
        adapter |= {f"{name}.A": numbers(rng, r, d), f"{name}.B": numbers(rng, len(w[name]), r)}
    params, layers = {name: torch.tensor(x) for name, x in w.items()}, {}
    for name in names:
        layers[name] = pytorch.LoRALinear(params[name], r, alpha)
        layers[name].A.data = torch.tensor(adapter[f"{name}.A"])
        layers[name].B.data = torch.tensor(adapter[f"{name}.B"])
        params[name] = layers[name].merge()
    logits = pytorch.gpt(params, torch.tensor([tokens[:-1]]), n_head)[0]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:]))
    loss.backward()
    grads = {}
    for name, lora in layers.items():
        grads |= {f"{name}.A": lora.A.grad.tolist(), f"{name}.B": lora.B.grad.tolist()}
    return {
        "sizes": [d, n_head, 1], "alpha": alpha, "weights": w, "adapter": adapter, "tokens": tokens,
        "loss": loss.item(), "grads": grads,
    }  # fmt: skip


if __name__ == "__main__":
    layers = [layer(0, 5, 4, 1, 8), layer(1, 6, 6, 3, 8)]
    write("lora", {"layers": layers, "gpt": whole_gpt(2, 8)})
