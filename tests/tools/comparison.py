"""The preference algorithms side by side, from what their scripts printed on many seeds.

    python tests/tools/claims.py run FOLDER microdpo 401-412    and so on for each script
    python tests/tools/comparison.py FOLDER                     writes docs/comparison.md

The scripts start from the same reference at the same seed, and evaluate by the same gold score.
"""

import re
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.sections import ROOT

PAGE = ROOT / "docs" / "comparison.md"


class Entry(NamedTuple):
    name: str
    script: str
    after: str  # the policy's row is the first of its label after these words
    label: str
    asks: str
    choice: str


ENTRIES = [
    Entry("SFT on the chosen", "microdpo", "fresh completions", "SFT", "600 comparisons",
          "there are good completions, and nothing else"),
    Entry("DPO, beta 0.5", "microdpo", "fresh completions", "beta 0.5", "600 comparisons",
          "comparisons exist, and new completions cannot be scored"),
    Entry("PPO on a reward model", "microppo", "Fresh completions", "KL penalty", "1,050 comparisons",
          "a learned reward model scores completions, and each is used several times"),
    Entry("PPO on gold", "microppo", "Fresh completions", "on gold", "1,050 comparisons, from which its critic begins, and the gold score of 488 completions",
          "as above, with a program for a reward model"),
    Entry("REINFORCE, RLOO", "microreinforce", "\nRLOO ", "policy", "the gold score of 640 completions",
          "a program scores completions, and completions are cheap: the least code"),
    Entry("GRPO", "microgrpo", "\nGRPO ", "policy", "the gold score of 256 completions",
          "a program scores completions, and a critic would be a second large model"),
    Entry("RLAIF, per token", "microrlaif", "", "by per token", "a model's labels",
          "people's comparisons are expensive, and good examples are at hand"),
]  # fmt: skip
HEAD = """# The algorithms side by side

One task: a GPT of 1,328 parameters that has learned names is to complete them with a high gold score. The same reference at the same seed, each algorithm with the settings of its script, on seeds that nothing was chosen by. Made by `python tests/tools/comparison.py`. Mean ± standard deviation over seeds.

| algorithm | script | seeds | gold | KL, nats | asked for |
| --- | --- | --- | --- | --- | --- |
"""
TAIL = """
What may not be read off: a ranking. Two of the columns differ by design. REINFORCE, GRPO and PPO on gold are given the gold score itself (PPO on gold: comparisons, too, for its critic); the others see comparisons only, made through a noisy annotator (RLAIF: by a model that has read good names). Each moves as far from the reference as its settings let it, and they ask for different amounts. Self-play ([microspo](further/microspo.md)) is not in the table: it wins against other policies, not a score.

Where each would be the choice:

"""


def numbers(text: str, entry: Entry) -> tuple[float, float]:
    """(gold, KL): the first two columns of the policy's row."""
    part = text[text.index(entry.after) :] if entry.after else text
    rows = re.findall(rf"^{re.escape(entry.label)} +(-?[\d.]+) +(-?[\d.]+) ", part, re.M)
    return float(rows[0][0]), float(rows[0][1])


def page(folder: Path) -> str:
    text, choices = HEAD, ""
    for entry in ENTRIES:
        files = sorted(folder.glob(f"{entry.script}_[4-9]??.txt"))
        golds, kls = zip(*(numbers(file.read_text("utf-8"), entry) for file in files))
        cells = [f"{statistics.fmean(xs):.2f} ± {statistics.stdev(xs):.2f}" for xs in (golds, kls)]
        text += f"| {entry.name} | {entry.script} | {len(files)} | {cells[0]} | {cells[1]} | {entry.asks} |\n"
        choices += f"- **{entry.name}**: {entry.choice}.\n"
    return text + TAIL + choices


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    PAGE.write_text(page(Path(sys.argv[1])), "utf-8")
