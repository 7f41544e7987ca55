"""The long experiments behind the documentation's tables; never part of the tests.

    python tests/experiments.py claims microlora 1 2 3 4 5    every claim, seed by seed
    python tests/experiments.py rates microlora 11 12 13 14   learning-rate grids

Both print Markdown. Two processes run at once. Choose settings on seeds that the claims are not
checked on; docs/implementation.md says where that was not kept.
"""

import io
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CLAIM = re.compile(r"  (ok  |FAIL) (.{48}) +(\S+) (<=|>=) (\S+)")


def run_script(script: str, seed: int) -> tuple[int, str]:
    command = [sys.executable, f"{script}.py", "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def claims(script: str, seeds: list[int]) -> None:
    """A table: one line a claim, one column a seed; a failure is in bold."""
    with ProcessPoolExecutor(2) as pool:
        runs = list(pool.map(run_script, [script] * len(seeds), seeds))
    table: dict[str, list[str]] = {}
    for _, output in runs:
        for mark, text, measured, relation, bound in CLAIM.findall(output):
            row = table.setdefault(f"{text.strip()} | {relation} {bound}", [])
            row.append(measured if mark == "ok  " else f"**{measured}**")
    print("| claim | bound |", " | ".join(f"seed {seed}" for seed in seeds), "|")
    print("| --- " * (len(seeds) + 2) + "|")
    for text, row in table.items():
        print(f"| {text} | {' | '.join(row)} |")
    print(f"| exit status | | {' | '.join(str(status) for status, _ in runs)} |")


def lora_rates(seed: int) -> Iterator[tuple]:
    """(row and rate, target loss, base loss) for a grid of rates around each row's own."""
    import microlora as m

    rng = random.Random(seed)
    english, english_held = m.split(m.NAMES, rng, m.HELD_OUT)
    korean, korean_held = m.split(m.KOREAN, rng, m.HELD_OUT)
    alphabet = m.alphabet_of(m.NAMES + m.KOREAN)
    learner = m.unfreeze(m.init_model(len(alphabet), rng))
    learn = m.next_letter(learner, english, alphabet, rng)
    optimizer = m.Adam(m.weights_of(learner))
    m.train("", learn, optimizer, m.PRETRAIN_STEPS, m.PRETRAIN_LR)
    base = m.freeze(learner)
    for place, matrices, rank, rate in m.SWEEP:
        for factor in (0.5, 1.0, 2.0):
            adapter = m.new_adapter(base, matrices, rank, random.Random(seed))
            model = m.unfreeze(base) if place == m.FULL else {**base, **adapter}
            values = m.weights_of(model if place == m.FULL else adapter)
            learn = m.next_letter(model, korean, alphabet, random.Random(seed))
            m.train("", learn, m.Adam(values), m.ADAPT_STEPS, factor * rate)
            frozen = m.freeze(model)
            yield (
                f"{place} | {rank or '-'} | {factor * rate:.4f}",
                m.mean_loss(frozen, korean_held, alphabet),
                m.mean_loss(frozen, english_held, alphabet),
            )


def dpo_rates(seed: int) -> Iterator[tuple]:
    """(method and rate, held-out loss at BETA, held-out accuracy, gold, KL) for a grid of rates."""
    import microdpo as m

    rng = random.Random(seed)
    learnt, held = m.split(m.NAMES, rng)
    alphabet = m.alphabet_of(m.NAMES)
    learner = m.unfreeze(m.init_model(len(alphabet), rng))
    learn = m.next_letter(learner, learnt, alphabet, rng)
    optimizer = m.Adam(m.weights_of(learner))
    m.train("", learn, optimizer, m.PRETRAIN_STEPS, m.PRETRAIN_LR)
    reference = m.freeze(learner)
    texts = [m.compare(reference, learnt, alphabet, rng) for _ in range(m.PAIRS)]
    texts, unseen_texts = m.split(texts, rng, m.HELD_OUT)
    taught = [m.prepare(text, reference, alphabet) for text in texts]
    unseen = [m.prepare(t, reference, alphabet, m.chance_of(t)) for t in unseen_texts]
    prompts = [m.draw_prompt(held, rng) for _ in range(m.SAMPLES)]
    for label, beta, rates in (
        ("chosen only", None, (0.003, 0.006, 0.012, 0.024)),
        ("DPO", m.BETA, (0.002, 0.004, 0.008)),
    ):
        for rate in rates:
            policy = m.unfreeze(reference)
            learn = m.preferences(policy, taught, beta, random.Random(seed))
            m.train("", learn, m.Adam(m.weights_of(policy)), m.STEPS, rate)
            frozen = m.freeze(policy)
            verdict = m.judge(frozen, reference, prompts, alphabet, seed)
            yield (
                f"{label} | {rate}",
                m.watch(policy, unseen, m.BETA)[0],
                m.watch(policy, unseen, m.BETA)[2],
                verdict.gold,
                verdict.kl,
            )


GRIDS = {
    "microlora": (lora_rates, "adapted | rank | rate | target loss | base loss"),
    "microdpo": (dpo_rates, "method | rate | held-out loss | accuracy | gold | KL"),
}


def run_grid(script: str, seed: int) -> list[tuple]:
    with redirect_stderr(io.StringIO()):
        return list(GRIDS[script][0](seed))


def rates(script: str, seeds: list[int]) -> None:
    """A table: the mean over the seeds of what each setting reaches."""
    with ProcessPoolExecutor(2) as pool:
        runs = list(pool.map(run_grid, [script] * len(seeds), seeds))
    titles = GRIDS[script][1]
    print(f"| {titles} |")
    print("| --- " * len(titles.split("|")) + "|")
    for rows in zip(*runs):
        means = [sum(column) / len(rows) for column in zip(*(row[1:] for row in rows))]
        print(f"| {rows[0][0]} | {' | '.join(f'{mean:.3f}' for mean in means)} |")


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("claims", "rates"):
        sys.exit(__doc__)
    {"claims": claims, "rates": rates}[sys.argv[1]](
        sys.argv[2].removesuffix(".py"), [int(seed) for seed in sys.argv[3:]]
    )
