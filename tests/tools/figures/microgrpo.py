"""The figure of microgrpo.py: gold of the policies, and groups that fall silent; the kept run."""

import re

from matplotlib.figure import Figure

from tests.tools.figures import style

DESCRIPTION = (
    "Left: mean gold of fresh answers, of the reference, of GRPO and of PPO with a critic; GRPO "
    "gains nearly what PPO does. Right: the share of groups by number of answers that a judge "
    "would accept. At the reference they are spread; after GRPO nearly all groups are accepted "
    "whole, and teach nothing."
)


def draw() -> Figure:
    text = style.printed("microgrpo")
    figure, (left, right) = style.panels(2, height=3.4)
    names = ("reference", "GRPO", "PPO, with a critic")
    for place, (name, colour) in enumerate(zip(names, (style.ORANGE, style.BLUE, style.RED))):
        found = re.search(rf"^  {name} +(\d\.\d+) \+- (\d\.\d+)", text, re.M)
        assert found, name
        gold, error = float(found[1]), float(found[2])
        left.bar(place, gold, width=0.6, color=colour)
        left.errorbar(place, gold, yerr=2 * error, color=style.INK, capsize=3)
    left.set_title("A group gains nearly\nwhat a critic does", loc="left")
    left.set_ylabel("mean gold of fresh answers")
    left.set_xlabel("bars: two standard errors")
    left.set_ylim(0.0, 1.0)
    left.set_yticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    left.set_xticks(range(3), ["reference", "GRPO", "PPO"])

    shares = [float(x) for x in re.findall(r"\d yes +(\d+\.\d)%", text)]
    half = len(shares) // 2
    parts = (("reference", shares[:half], style.ORANGE), ("GRPO", shares[half:], style.BLUE))
    for i, (name, part, colour) in enumerate(parts):
        places = [n + 0.4 * (i - 0.5) for n in range(half)]
        right.bar(places, part, width=0.38, color=colour, label=name)
    right.set_title("... until groups agree:\nnothing left to compare", loc="left")
    right.set_xlabel(f"good answers in a group of {half - 1}")
    right.set_ylabel("groups, %")
    right.set_ylim(0, 100)
    right.set_xticks(range(half))
    right.legend(loc="upper left")
    return figure
