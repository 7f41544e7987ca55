"""Write spo.json: win rates, and the loss of self-play with k3, by PyTorch's own autograd.

pip install --group golden
python tests/golden/generate_spo.py
"""

import json
import random
from pathlib import Path


def case(rng, answers, vocabulary, beta):
    """Logits of each answer's tokens, under policy and reference, and who beat whom; out come
    advantages, the loss and its gradients.

    k3 as TRL's GRPOTrainer has it: exp(ref - log p) - (ref - log p) - 1, by token. The advantage is
    an answer's mean over its comparisons with the others, less 1/2.
    """
    import torch
    from torch.distributions import Categorical

    def numbers(length):
        return [[rng.gauss(0, 1.5) for _ in range(vocabulary)] for _ in range(length)]

    lengths = [rng.randint(1, 5) for _ in range(answers)]
    logits, expected = ([numbers(n) for n in lengths] for _ in range(2))
    tokens = [[rng.randrange(vocabulary) for _ in range(n)] for n in lengths]
    beats = torch.zeros(answers, answers, dtype=torch.float64)
    for i in range(answers):
        for j in range(i):
            beats[i, j] = rng.randrange(2)
            beats[j, i] = 1 - beats[i, j]
    advantages = beats.sum(1) / (answers - 1) - 0.5
    z = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in logits]
    losses, references = [], []
    for x, q, text, advantage in zip(z, expected, tokens, advantages):
        text = torch.tensor(text)
        log_p = Categorical(logits=x).log_prob(text)
        log_q = Categorical(logits=torch.tensor(q, dtype=torch.float64)).log_prob(text)
        k3 = torch.exp(log_q - log_p) - (log_q - log_p) - 1
        losses.append(-advantage * log_p.sum() + beta * k3.sum())
        references.append(log_q.tolist())
    loss = torch.stack(losses).mean()
    loss.backward()
    return {
        "beta": beta,
        "beats": beats.tolist(),
        "logits": logits,
        "tokens": tokens,
        "expected": references,
        "advantages": advantages.tolist(),
        "loss": loss.item(),
        "gradients": [x.grad.tolist() for x in z],
    }


if __name__ == "__main__":
    rng = random.Random(21)
    cases = [case(rng, answers=k, vocabulary=v, beta=b) for k, v, b in ((2, 3, 0.1), (8, 5, 0.7))]
    path = Path(__file__).resolve().parent / "spo.json"
    path.write_text(json.dumps(cases) + "\n", "utf-8")
    print(f"wrote {path.name}")
