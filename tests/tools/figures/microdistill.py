"""Where every student ends up, measured from hard labels on the same names."""

import re

from matplotlib.figure import Figure

from tests.tools.figures import style

DESCRIPTION = "Loss on held-out names of every student, minus that of hard labels at their best"
NUMBER = r" +([\d.]+) ([+-][\d.]+)"
SHORT = {
    "hard labels": "hard labels, 30 names",
    "hard, smoothed": "hard labels, smoothed",
    "soft targets": "soft targets, 30 names",
    "soft, fewer names": "soft targets, 10 names",
    "soft, permuted": "soft targets, permuted",
    "soft, 2nd teacher": "soft, 30-name teacher",
    "teacher's names": "written by the teacher",
    "hard, all names": "hard labels, all names",
}


def students(text: str) -> dict[str, float]:
    """Label to loss minus the yardstick: controls at their best step, soft targets at the end."""
    rows = {}
    for label in SHORT:
        line = re.search(rf"^  {re.escape(label)} .*$", text, re.M)
        assert line
        pairs = re.findall(NUMBER, line[0])
        counts = pairs[0] if label == "soft targets" else pairs[-1]
        rows[label] = float(counts[1])
    return rows


def draw() -> Figure:
    rows = students(style.printed("microdistill"))
    figure, (axis,) = style.panels(height=3.9)
    order = sorted(rows, key=lambda label: -rows[label])
    for i, label in enumerate(order):
        loss = rows[label]
        color = style.BLUE if loss < -0.05 else style.RED if loss > 0.05 else style.INK
        axis.barh(i, loss, color=color, height=0.62)
        side = 0.008 if loss >= 0 else -0.008
        axis.text(
            loss + side, i, f"{loss:+.2f}", color=color, fontsize=11, va="center",
            ha="left" if loss >= 0 else "right",
        )  # fmt: skip
    axis.set_yticks(range(len(order)), [SHORT[label] for label in order])
    axis.axvline(0.0, color=style.INK, linewidth=1)
    axis.set_xlim(-0.4, 0.4)
    axis.set_xticks([-0.4, -0.2, 0.0, 0.2, 0.4])
    axis.set_xlabel(
        "held-out loss (lower is better), minus that of\nhard labels on 30 names at their best step"
    )
    figure.suptitle(
        "What helps is what the teacher knows, not softness",
        fontweight="bold", fontsize=13, color=style.INK,
    )  # fmt: skip
    return figure
