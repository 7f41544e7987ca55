"""What each part of PPO buys: microppo with one part taken away, at equal rollouts.

    python tests/tools/ablations.py 1 2 3 4 5     writes docs/results/ppo-parts.md; ten minutes

One reference, reward model and critic for each seed; then PPO with the KL penalty, whole and with
one part less. Each policy is judged by the same held-out prompts as in the script.
"""

import io
import math
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import microppo as m
from tests.tools.blocks import ROOT


def no_critic(net, state):
    """V = 0 everywhere; normalize() then subtracts the batch's mean, the simplest baseline."""
    return 0.0


PARTS: dict[str, dict] = {
    "everything": {},
    "no critic (the batch's mean instead)": {"value_of": no_critic},
    "no clip": {"CLIP": 1e9},
    "one epoch": {"EPOCHS": 1},
    "no normalization of advantages": {"normalize": lambda batch: batch},
    "no value clip": {"VALUE_CLIP": 1e9},
}


def world_of(seed: int) -> tuple[m.World, list[str]]:
    """What the script has before the loop, and its prompts; the same draws in the same order."""
    rng = random.Random(seed)
    learnt, held_out = m.split(m.read_names(None, m.BLOCK_SIZE - 1), rng, m.HELD_OUT_NAMES)
    alphabet = m.alphabet_of(learnt + held_out)
    reference = m.pretrain(learnt, alphabet, rng)
    net, _, _ = m.train_reward_model(reference, learnt, alphabet, rng)
    proxy, critic, _ = m.prepare_critic(reference, net, learnt, alphabet, rng)
    world = m.World(
        seed=seed, alphabet=alphabet, names=learnt, reference=reference, proxy=proxy, critic=critic
    )
    return world, [m.draw_prompt(held_out, rng) for _ in range(m.SAMPLES)]


def measure(seed: int) -> dict[str, tuple[float, float]]:
    """Part taken away to (gold, KL)."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        world, prompts = world_of(seed)
        found = {}
        for label, changes in PARTS.items():
            kept = {name: getattr(m, name) for name in changes}
            for name, value in changes.items():
                setattr(m, name, value)
            policy, _ = m.ppo(world, m.KL_COEF)
            for name, value in kept.items():
                setattr(m, name, value)
            verdict = m.judge(policy, world, prompts)
            found[label] = (verdict.gold, verdict.kl)
    return found


def page(seeds: list[int]) -> str:
    with ProcessPoolExecutor(2) as pool:
        runs = list(pool.map(measure, seeds))
    lines = [
        "# microppo.py: what each part buys",
        "",
        f"Made by `python tests/tools/ablations.py {' '.join(map(str, seeds))}`. PPO with the KL",
        "penalty, whole and with one part taken away, at equal rollouts. Mean over the seeds; the",
        "difference to the whole is paired by seed, with its standard error.",
        "",
        "| without | gold | KL | gold, minus the whole's |",
        "| --- | --- | --- | --- |",
    ]
    for label in PARTS:
        golds, kls = zip(*(run[label] for run in runs))
        gaps = [run[label][0] - run["everything"][0] for run in runs]
        mean = sum(gaps) / len(gaps)
        error = math.sqrt(sum((g - mean) ** 2 for g in gaps) / (len(gaps) - 1) / len(gaps))
        gap = "" if label == "everything" else f"{mean:+.3f} ± {error:.3f}"
        lines.append(
            f"| {label} | {sum(golds) / len(golds):.3f} | {sum(kls) / len(kls):.2f} | {gap} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    text = page([int(seed) for seed in sys.argv[1:]])
    (ROOT / "docs" / "results").mkdir(exist_ok=True)
    (ROOT / "docs" / "results" / "ppo-parts.md").write_text(text, "utf-8")
    print(text)
