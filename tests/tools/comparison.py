"""The preference algorithms side by side, from what their scripts printed on many seeds.

    python tests/tools/claims.py run FOLDER microdpo 301 302 ...    and so on for each
    python tests/tools/comparison.py FOLDER                         writes docs/comparison.md

The scripts start from the same reference at the same seed, and judge by the same gold score.
"""

import importlib
import math
import random
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tests  # noqa: F401, I001  (finds the further scripts)
from tests.tools import blocks
from tests.tools.blocks import ROOT

VERDICT = r" +(?:-?[\d.]+ +)?([\d.]+) \+- [\d.]+ +(-?[\d.]+) .* ([\d.]+)%$"  # gold, KL, unfinished


class Entry(NamedTuple):
    name: str
    script: str
    row: str  # how the policy's row of the table of verdicts begins
    choice: str  # where it would be the choice


ENTRIES = [
    Entry("DPO, beta 0.3", "microdpo", "beta 0.3",
          "comparisons exist, and new answers cannot be judged: one supervised loss"),
    Entry("PPO", "microppo", "with KL",
          "a learned reward model judges new answers, and many are learnt from each"),
    Entry("REINFORCE, RLOO", "microreinforce", "RLOO",
          "a program scores answers, and answers are cheap: the least code"),
    Entry("GRPO", "microgrpo", "GRPO",
          "a program scores answers, several answers to a prompt can be had, and a critic would be a second model"),
    Entry("SPO", "microspo", "self-play",
          "preferences may go in circles, so that no score can express them"),
    Entry("RLAIF", "microrlaif", "AI, per token",
          "people's comparisons are dear, and good examples are at hand"),
]  # fmt: skip


def weights(m: Any) -> tuple[int, int]:
    """(weights of the policy, letters and the edge)."""
    alphabet = m.alphabet_of(m.NAMES)
    return len(m.weights_of(m.init_model(len(alphabet), random.Random(1)))), len(alphabet)


def costs(script: str) -> tuple[str, str, int]:
    """(what people or programs are asked for, answers written, floats held while learning).

    What learns is held four times: weight, gradient, and Adam's two moments.
    """
    m: Any = importlib.import_module(script)
    policy, letters = weights(m)
    floats = 5 * policy  # the policy learns, the reference does not
    if script == "microdpo":
        taught = m.PAIRS - m.HELD_OUT
        return f"{taught} comparisons", f"{2 * taught:,} beforehand", floats
    if script == "microppo":
        rng = random.Random(1)
        nets = (
            m.arrays_of(m.new_reward_model(letters, rng)),
            m.arrays_of(m.new_critic(letters, rng)),
        )
        reward, critic = (sum(len(array.w) for array in net) for net in nets)
        pairs = m.PAIRS - m.HELD_OUT
        written = f"{2 * pairs + m.CRITIC_ROLLOUTS:,} beforehand, {m.ROUNDS * m.ROLLOUTS}"
        return f"{pairs:,} comparisons", written, floats + reward + 4 * critic
    if script == "microreinforce":
        count = m.UPDATES * m.PROMPTS * m.GROUP
        return f"{count} scores", f"{count}", 4 * policy
    if script == "microgrpo":
        count = m.ROUNDS * m.PROMPTS * m.GROUP
        return f"{count} scores", f"{count}", floats
    if script == "microspo":
        count = m.PLAIN_ROUNDS * m.GROUP
        asked = count * (m.GROUP - 1) // 2
        return f"{asked:,} comparisons", f"{count}", floats
    return f"{m.PAIRS} of a model's", f"{2 * m.PAIRS} beforehand", floats


def passes(script: str) -> tuple[int, int]:
    """(answers written, answers learnt from, each as often as it is)."""
    m: Any = importlib.import_module(script)
    if script in ("microdpo", "microrlaif"):
        taught = m.PAIRS - (m.HELD_OUT if script == "microdpo" else 0)
        return 2 * taught, 2 * m.STEPS * m.BATCH
    if script == "microppo":
        pairs = m.PAIRS - m.HELD_OUT
        count = m.ROUNDS * m.ROLLOUTS
        return 2 * pairs + m.CRITIC_ROLLOUTS + count, count * m.EPOCHS
    if script == "microreinforce":
        count = m.UPDATES * m.PROMPTS * m.GROUP
        return count, count
    if script == "microgrpo":
        count = m.ROUNDS * m.PROMPTS * m.GROUP
        return count, count * m.EPOCHS
    count = m.PLAIN_ROUNDS * m.GROUP
    return count, count


def multiplications(script: str) -> float:
    """In millions, by the GPT alone, for names of six letters: a token costs 12 d^2 + V d, and
    2 d for each token it looks at; learning costs a forward pass and a backward one of twice its
    work. Reading for the reference's log-probabilities is left out: it is as much as writing."""
    m: Any = importlib.import_module(script)
    d, (_, letters) = m.N_EMBD, weights(m)
    forward = sum(12 * d * d * m.N_LAYER + letters * d + 2 * d * (t + 1) for t in range(7))
    written, learnt = passes(script)
    return (written + 3 * learnt) * forward / 1e6


def lines_of(script: str) -> int:
    """Lines of section 6, without the task that all share: the gold score and the annotator."""
    path = next(p for p in blocks.scripts() if p.stem == script)
    section = path.read_text("utf-8").split("\n# 6. ")[1].split("\n# 7. ")[0]
    task = ("the gold score", "the annotator")
    return sum(len(run.splitlines()) for name, run in blocks.pieces(section) if name not in task)


def verdicts(folder: Path, entry: Entry, row: str) -> dict[int, tuple[float, float, float]]:
    """Seed to (gold, KL, share unfinished) of a row in the last table of verdicts."""
    found = {}
    for path in folder.glob(f"{entry.script}_*.txt"):
        rows = re.findall(rf"^  {re.escape(row)}{VERDICT}", path.read_text("utf-8"), re.M)
        assert rows, f"{path.name}: no row {row}"
        gold, kl, unfinished = map(float, rows[-1])
        found[int(path.stem.split("_")[1])] = (gold, kl, unfinished)
    return found


def spread(xs: list[float]) -> float:
    mean = sum(xs) / len(xs)
    return math.sqrt(sum((x - mean) ** 2 for x in xs) / max(1, len(xs) - 1))


def page(folder: Path) -> str:
    """docs/comparison.md."""
    lines = [
        "# The algorithms side by side",
        "",
        "One task: a GPT of 1,328 parameters that has learnt names is to write names with a high gold",
        "score. The same reference at the same seed, each algorithm at the settings of its script, on",
        "seeds that no setting was chosen by. Made by `python tests/tools/comparison.py` from what the",
        "scripts printed; *gain* is gold minus the reference's at the same seed.",
        "",
        "| algorithm | seeds | gold | gain | spread of gold over seeds | worst seed's gold | KL | unfinished |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    costs_table = [
        "| algorithm | asked for | answers written | learnt from | multiplications, millions | floats held | reward model | lines of section 6, without the task |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    choices = []
    for entry in ENTRIES:
        found, start = (verdicts(folder, entry, row) for row in (entry.row, "reference"))
        golds, kls, unfinished = map(list, zip(*found.values()))
        gains = [found[seed][0] - start[seed][0] for seed in found]
        mean = sum(golds) / len(golds)
        lines.append(
            f"| {entry.name} | {len(found)} | {mean:.3f} | {sum(gains) / len(gains):+.3f} "
            f"| {spread(golds):.3f} | {min(golds):.3f} | {sum(kls) / len(kls):.2f} "
            f"| {sum(unfinished) / len(unfinished):.1f} % |"
        )
        asked, written, floats = costs(entry.script)
        model = "yes" if entry.script == "microppo" else "no"
        costs_table.append(
            f"| {entry.name} | {asked} | {written} | {passes(entry.script)[1]:,} "
            f"| {multiplications(entry.script):.0f} | {floats:,} | {model} | {lines_of(entry.script)} |"
        )
        choices.append(f"- **{entry.name}**: {entry.choice}.")
    return "\n".join([*lines, "", *NOTES, "", *costs_table, "", *COSTS, "", *choices]) + "\n"


NOTES = [
    "![Gold against KL: every algorithm, every seed a point](comparison.svg)",
    "",
    "What may not be read off: a ranking. REINFORCE and GRPO are given the gold score itself, by a",
    "program; the others see comparisons only, made by it through a noisy annotator (RLAIF: by a model",
    "that has read good names). They write and ask for different amounts, as the next table says.",
]
COSTS = [
    "*Floats held* counts the policy four times (weights, gradients, Adam's two moments), the reference",
    "once, the critic four times, the reward model once. *Learnt from* counts an answer as often as it",
    "is learnt from. *Multiplications* are counted by formula, for names of six letters, in the GPT alone,",
    "writing and learning; the reference's reading is not among them. The usual table calls complexity, memory and",
    "stability low, medium or high; here they are the last column, the floats, and the spread above.",
    "",
    "Where each would be the choice:",
]

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    (ROOT / "docs" / "comparison.md").write_text(page(Path(sys.argv[1])), "utf-8")
    print("wrote docs/comparison.md")
