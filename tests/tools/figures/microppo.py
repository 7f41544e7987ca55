"""Gold and proxy by round, with the KL penalty and without: they part."""

import re

from matplotlib.figure import Figure

from tests.tools.figures import style

DESCRIPTION = "Proxy and gold score over the rounds of PPO, with and without the KL penalty"
RUNS = (("with the KL", "with KL penalty", style.BLUE), ("without the KL", "without", style.RED))


def draw() -> Figure:
    text = style.printed("microppo")
    figure, (left, right) = style.panels(2)
    for part, label, color in RUNS:
        block = text.split(f"PPO {part} penalty")[1].split("\n\n")[0]
        rows = [list(map(float, line.split())) for line in block.splitlines()[2:] if line.strip()]
        xs = [row[0] for row in rows]
        for axis, column in ((left, 1), (right, 2)):
            axis.plot(xs, [row[column] for row in rows], color=color)
            free = part.startswith("without")
            place = {(1, True): (9, 2.2), (1, False): (12, 0.55), (2, True): (11, 0.45),
                     (2, False): (10, 0.92)}[column, free]  # fmt: skip
            axis.text(*place, label, color=color, ha="left" if column == 2 else "center")
    start = re.search(r"^  reference +\S+ +([\d.]+)", text, re.M)
    assert start
    right.axhline(float(start[1]), color=style.INK, linewidth=1, linestyle=":")
    right.text(20, float(start[1]) - 0.055, "reference", color=style.INK, ha="right")
    left.set_title("proxy: what PPO sees")
    right.set_title("gold: what people want")
    for axis in (left, right):
        axis.set_xlabel("round")
        axis.set_xticks([1, 5, 10, 15, 20])
    left.set_yticks([0, 1, 2])
    right.set_yticks([0.2, 0.4, 0.6, 0.8])
    right.set_ylim(0.15, 1.0)
    return figure
