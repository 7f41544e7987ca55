"""Loss and facts of the four models, and who works."""

import re

from matplotlib.figure import Figure

from tests.tools.figures import style

DESCRIPTION = "Facts known and loss of two mixtures and two dense models; shares of their experts"


def draw() -> Figure:
    text = style.printed("micromoe")
    rows = re.findall(r"^  (\w+, [\w ]+?) +\d+ +\d+ +(\d+) +([\d.]+) +(\d+)", text, re.M)
    found = re.search(r"(\d+) facts to know", text)
    assert found
    facts = int(found[1])
    figure, (left, right) = style.panels(2, height=3.8)
    colors = [style.BLUE, style.RED, style.INK, style.INK]
    for i, (label, work, loss, known) in enumerate(rows):
        y = len(rows) - i
        left.barh(y, int(known), 0.42, color=colors[i], alpha=0.85)
        left.text(0, y + 0.28, f"{label}: {known}, loss {loss}", color=colors[i], fontsize=11)
        left.text(6, y, f"work {int(work):,}", color="white", fontsize=11, va="center")
    left.axvline(facts, color=style.INK, linewidth=1, linestyle=":")
    left.set_title(f"facts known, of {facts}")
    left.set_yticks([])
    left.set_ylim(0.6, len(rows) + 0.65)
    left.set_xticks([0, 100, 200, 300])
    left.spines["left"].set_visible(False)
    table = text.split("who works in layer 0")[1].split("who does what")[0]
    lines = [line for line in table.splitlines() if "%" in line]
    shares = [tuple(map(float, re.findall(r"([\d.]+)%", line))) for line in lines]
    for column, color, label in ((0, style.BLUE, "balanced"), (1, style.RED, "unbalanced")):
        ordered = sorted((pair[column] for pair in shares), reverse=True)
        right.plot(range(1, len(ordered) + 1), ordered, "o-", color=color, markersize=4)
        right.text(3.2, ordered[2] + 3.5, label, color=color) if column else right.text(
            10, ordered[9] + 1.5, label, color=color
        )
    right.set_title("share of the choices, %")
    right.set_xlabel("experts, the busiest first")
    right.set_xticks([1, 4, 8, 12, 16])
    right.set_yticks([0, 10, 20, 30])
    return figure
