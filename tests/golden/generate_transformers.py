"""What transformers' Mixtral computes: block and load-balancing loss; and pytorch.py's the same.

    python -m tests.golden.generate_transformers

A Mixtral expert is W2 (act(W1 x) * W3 x). With ReLU, a last input of 1 and W3 = (0 ... 0 1) in
every row, W3 x is 1, and the expert is W2 relu(W1 x). Mixtral rounds the router's probabilities to
float32 by .float(), which is made to mean .double() here, so that the formula is compared.
"""

import random

import torch
from transformers import MixtralConfig
from transformers.models.mixtral import modeling_mixtral

from tests.golden import numbers, pytorch, write

torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
same = torch.testing.assert_close


def moe():
    rng, n_experts, k, d, width, n = random.Random(8), 5, 2, 4, 3, 8
    config = MixtralConfig(
        hidden_size=d, intermediate_size=width, num_local_experts=n_experts,
        num_experts_per_tok=k, hidden_act="relu",
    )  # fmt: skip
    config._experts_implementation = "eager"
    theirs = modeling_mixtral.MixtralSparseMoeBlock(config).double()
    ours = pytorch.MoE(d, width, n_experts, k)
    router, w1 = numbers(rng, n_experts, d), numbers(rng, n_experts, width, d)
    w2, x = numbers(rng, n_experts, d, width), [[*numbers(rng, d - 1), 1.0] for _ in range(n)]
    g = torch.tensor(numbers(rng, n, d))
    w3 = [[0.0] * (d - 1) + [1.0]] * width
    theirs.gate.weight.data = torch.tensor(router)
    theirs.experts.gate_up_proj.data = torch.tensor([rows + w3 for rows in w1])
    theirs.experts.down_proj.data = torch.tensor(w2)
    ours.router.weight.data, ours.router.bias.data = torch.tensor(router), torch.zeros(n_experts)
    for expert, a, b in zip(ours.experts, w1, w2):
        expert[0].weight.data, expert[2].weight.data = torch.tensor(a), torch.tensor(b)

    inputs = torch.tensor(x, requires_grad=True)
    y, logits, chosen = ours(inputs)
    y_theirs = theirs(inputs[None])[0]
    same(y, y_theirs)
    same(chosen, theirs.gate(inputs)[2])
    (y_theirs * g).sum().backward()  # the input's gradient would also come through W3: not compared
    w1_grad, w2_grad = theirs.experts.gate_up_proj.grad[:, :width], theirs.experts.down_proj.grad
    experts = [weight for expert in ours.experts for weight in expert.parameters()]
    gradients = torch.autograd.grad((y * g).sum(), [inputs, ours.router.weight, *experts])
    x_grad, router_grad, *expert_grads = gradients
    same(router_grad, theirs.gate.weight.grad)
    same(expert_grads, [grad for pair in zip(w1_grad, w2_grad) for grad in pair])

    logits = logits.detach().requires_grad_()
    balance = modeling_mixtral.load_balancing_loss_func((logits,), n_experts, k)
    (balance_grad,) = torch.autograd.grad(balance, logits)
    # transformers' shares sum to k: each of a token's choices counts fully
    same(pytorch.balance_loss(logits, chosen), balance / k)
    return {
        "k": k, "router": router, "w1": w1, "w2": w2, "x": x, "g": g.tolist(), "y": y.tolist(),
        "logits": logits.tolist(), "chosen": chosen.tolist(), "x grad": x_grad.tolist(),
        "router grad": router_grad.tolist(), "w1 grad": w1_grad.tolist(),
        "w2 grad": w2_grad.tolist(), "balance loss": (balance / k).item(),
        "balance grad": (balance_grad / k).tolist(),
    }  # fmt: skip


if __name__ == "__main__":
    write("moe", moe())
