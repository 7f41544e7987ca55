"""Write reinforce.json: the REINFORCE loss with RLOO's baseline, by PyTorch's own autograd.

pip install --group golden
python tests/golden/generate_reinforce.py
"""

import json
import random
from pathlib import Path


def case(rng, answers, vocabulary):
    """Logits of each answer's tokens in; loss, its gradients and the advantages out.

    The advantages as TRL's RLOOTrainer has them: grouped rewards, their sum without one's own over
    k - 1. The loss is the mean over answers of -advantage * log-probability of the whole answer.
    """
    import torch
    from torch.distributions import Categorical

    logits, tokens = [], []
    for _ in range(answers):
        length = rng.randint(1, 5)
        logits.append([[rng.gauss(0, 2) for _ in range(vocabulary)] for _ in range(length)])
        tokens.append([rng.randrange(vocabulary) for _ in range(length)])
    rewards = [rng.gauss(0, 1) for _ in range(answers)]
    z = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in logits]
    grouped = torch.tensor(rewards, dtype=torch.float64).view(1, -1)
    baselines = (grouped.sum(1, keepdim=True) - grouped) / (answers - 1)
    advantages = (grouped - baselines).view(-1)
    log_probs = [Categorical(logits=x).log_prob(torch.tensor(t)).sum() for x, t in zip(z, tokens)]
    loss = -(advantages * torch.stack(log_probs)).mean()
    loss.backward()
    return {
        "logits": logits,
        "tokens": tokens,
        "rewards": rewards,
        "advantages": advantages.tolist(),
        "loss": loss.item(),
        "gradients": [x.grad.tolist() for x in z],
    }


if __name__ == "__main__":
    rng = random.Random(20)
    cases = [case(rng, answers=k, vocabulary=v) for k, v in ((2, 3), (4, 5), (7, 4))]
    path = Path(__file__).resolve().parent / "reinforce.json"
    path.write_text(json.dumps(cases) + "\n", "utf-8")
    print(f"wrote {path.name}")
