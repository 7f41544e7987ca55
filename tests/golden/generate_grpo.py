"""Write grpo.json: GRPO's and Dr. GRPO's loss, by TRL's own GRPOTrainer.

pip install --group golden
python tests/golden/generate_grpo.py
"""

import json
import random
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace


def trainer(loss_type, beta, clip, longest, log_probs):
    """What stands for the trainer when its _compute_loss() is called alone."""
    import torch

    def per_token(*_, **__):
        return log_probs, torch.zeros_like(log_probs), None

    return SimpleNamespace(
        _get_per_token_logps_and_entropies=per_token,
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        accelerator=SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x),
        _metrics={"eval": defaultdict(list)},
        loss_type=loss_type,
        beta=beta,
        epsilon_low=clip,
        epsilon_high=clip,
        max_completion_length=longest,
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
    )


def case(rng, answers, longest, beta, clip):
    """Log-probabilities of each answer's tokens in, under three policies, and rewards of a group;
    the advantages, and for both losses its value and the gradients, out."""
    import torch
    from trl import GRPOTrainer

    lengths = [rng.randint(1, longest) for _ in range(answers)]
    rewards = [rng.gauss(0, 1) for _ in range(answers)]
    old, ref = ([[-rng.expovariate(0.5) for _ in range(n)] for n in lengths] for _ in range(2))
    new = [[p + rng.gauss(0, 0.3) for p in row] for row in old]  # so that some ratios are clipped

    def padded(rows):
        full = [row + [-1.0] * (longest - len(row)) for row in rows]
        return torch.tensor(full, dtype=torch.float64)

    # as GRPOTrainer has them, but for the spread of a sample (ddof = 1) there
    r = torch.tensor(rewards, dtype=torch.float64)
    divided = (r - r.mean()) / (r.std(correction=0) + 1e-4)
    mask = torch.tensor([[float(t < n) for t in range(longest)] for n in lengths])
    found = {
        "lengths": lengths, "rewards": rewards, "beta": beta, "clip": clip, "longest": longest,
        "old": old, "new": new, "ref": ref,
    }  # fmt: skip
    for loss_type, advantages in (("grpo", divided), ("dr_grpo", r - r.mean())):
        z = padded(new).requires_grad_()
        inputs = {
            "prompt_ids": torch.zeros(answers, 1, dtype=torch.long),
            "prompt_mask": torch.ones(answers, 1, dtype=torch.long),
            "completion_ids": torch.zeros(answers, longest, dtype=torch.long),
            "completion_mask": mask,
            "advantages": advantages,
            "old_per_token_logps": padded(old),
            "ref_per_token_logps": padded(ref),
        }
        stand_in = trainer(loss_type, beta, clip, longest, z)
        loss = GRPOTrainer._compute_loss(stand_in, stand_in.model, inputs)
        loss.backward()
        gradients = [row[:n] for row, n in zip(z.grad.tolist(), lengths)]
        found[loss_type] = {
            "advantages": advantages.tolist(), "loss": loss.item(), "gradients": gradients,
        }  # fmt: skip
    return found


if __name__ == "__main__":
    rng = random.Random(14)
    cases = [
        case(rng, answers=4, longest=6, beta=0.04, clip=0.2),
        case(rng, answers=7, longest=4, beta=0.3, clip=0.1),
    ]
    path = Path(__file__).resolve().parent / "grpo.json"
    path.write_text(json.dumps(cases) + "\n", "utf-8")
    print(f"wrote {path.name}")
