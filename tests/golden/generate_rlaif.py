"""Write rlaif.json: what a labeller prefers, by PyTorch.

pip install --group golden
python tests/golden/generate_rlaif.py
"""

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.golden.generate import gpt_weights, tensor, torch_gpt


def case(rng, letters, d, heads, layers, block):
    """Two models and pairs of answers in; log-probabilities, scores and choices out.

    Scores as a sequence model's are computed with transformers: logits of the whole text, shifted
    by one; cross_entropy() with the prompt's labels at -100, summed, or averaged over the others.
    """
    import torch
    from torch.nn import functional as F

    models = {k: gpt_weights(rng, letters + 1, d, layers, block) for k in ("labeller", "reference")}
    for weights in models.values():
        weights["lm_head"] = [[5.0 * x for x in row] for row in weights["lm_head"]]
    params = {k: {n: tensor(x) for n, x in w.items()} for k, w in models.items()}

    def word(most):
        return [rng.randint(1, letters) for _ in range(rng.randint(1, most))]

    def loss(model, prompt, answer, reduction):
        text = [0, *prompt, *answer, 0]
        logits = torch_gpt(params[model], text[:-1], heads, layers)
        labels = torch.tensor([-100] * len(prompt) + text[len(prompt) + 1 :])
        return F.cross_entropy(logits, labels, ignore_index=-100, reduction=reduction)

    pairs = []
    for _ in range(8):
        prompt, answers = word(2), [word(block - 3), word(block - 3)]
        total, mean, known = (
            [-loss(model, prompt, y, how).item() for y in answers]
            for model, how in (("labeller", "sum"), ("labeller", "mean"), ("reference", "mean"))
        )
        scores = {
            "AI, total": total,
            "AI, per token": mean,
            "AI, ratio": [a - b for a, b in zip(mean, known)],
            "no constitution": known,
        }
        tokens = [(-loss("labeller", prompt, y, "none"))[len(prompt) :].tolist() for y in answers]
        choices = {k: int(torch.tensor(s).argmax()) for k, s in scores.items()}
        pairs.append({
            "prompt": prompt,
            "answers": answers,
            "log_probs": tokens,
            "scores": scores,
            "choices": choices,
        })  # fmt: skip
    return {"sizes": [d, heads, layers, block], "models": models, "pairs": pairs}


if __name__ == "__main__":
    rng = random.Random(30)
    cases = [case(rng, 5, 4, 2, 1, 8), case(rng, 4, 4, 1, 2, 9)]
    path = Path(__file__).resolve().parent / "rlaif.json"
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n", "utf-8")
    print(f"wrote {path.name}")
