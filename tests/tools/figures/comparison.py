"""Gold against KL: every algorithm, every seed a point. Needs the folder with the runs."""

from pathlib import Path

from matplotlib.figure import Figure

from tests.tools import comparison
from tests.tools.figures import style

DESCRIPTION = "Gold score against KL from the reference: six algorithms, every seed a point"
COLORS = [style.BLUE, style.RED, style.GREEN, style.PURPLE, style.ORANGE, style.INK]
MARKS = "osD^vP"


def draw(folder: Path) -> Figure:
    figure, (axis,) = style.panels(height=4.0)
    for entry, color, mark in zip(comparison.ENTRIES, COLORS, MARKS):
        found = comparison.verdicts(folder, entry, entry.row)
        golds, kls, _ = zip(*found.values())
        axis.plot(kls, golds, mark, color=color, markersize=6, alpha=0.75, label=entry.name)
    starts = [
        gold
        for entry in comparison.ENTRIES
        for gold, _, _ in comparison.verdicts(folder, entry, "reference").values()
    ]
    axis.axhspan(min(starts), max(starts), color=style.INK, alpha=0.2, linewidth=0)
    axis.text(axis.get_xlim()[1], max(starts) + 0.005, "the references", ha="right")
    axis.set_xlabel("KL from the reference, nats per answer")
    axis.set_ylabel("gold score")
    axis.legend(ncols=2, loc="lower right")
    axis.set_title("Six ways to better names; every seed a point")
    return figure
