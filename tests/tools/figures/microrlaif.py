"""Agreement where the better answer is familiar and where not: from microrlaif's kept run."""

import re

from matplotlib.figure import Figure

from tests.tools.figures.style import BLUE, GREEN, INK, RED, panels, printed

DESCRIPTION = (
    "Share of comparisons in which each labeller agrees with the gold score: a dot where the "
    "better answer is also the likelier one under the reference, and a dot where it is not. The "
    "person's two dots lie close together; the labeller's, by likelihood per token, far apart; "
    "those of the ratio to the reference nearer; without a constitution they are 1 and 0."
)
NAMES = {
    "person": "person",
    "AI, total": "AI, total log q",
    "AI, per token": "AI, log q per token",
    "AI, ratio": "AI, log q − log p\nper token",
    "no constitution": "no constitution,\nlog p per token",
}


def rows() -> dict[str, tuple[float, float]]:
    """Labeller to agreement where the better answer is familiar, and where it is not."""
    part = printed("microrlaif").split("how each compares")[1].split("agreement   with")[0]
    found = re.findall(r"^  (\S.*?) {2,}([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", part, re.M)
    return {name: (float(familiar), float(not_)) for name, _, _, familiar, not_ in found}


def draw() -> Figure:
    figure, (ax,) = panels(height=3.7)
    measured = rows()
    ticks = range(len(NAMES) - 1, -1, -1)
    for y, name in zip(ticks, NAMES):
        familiar, unfamiliar = measured[name]
        ax.plot([unfamiliar, familiar], [y, y], color=INK, linewidth=2, zorder=1)
        ax.plot([familiar], [y], "o", color=BLUE, markersize=9, zorder=2)
        ax.plot([unfamiliar], [y], "o", color=RED, markersize=9, zorder=2)
        if familiar - unfamiliar > 0.15:
            middle = unfamiliar + 0.6 * (familiar - unfamiliar)
            gap = f"{familiar - unfamiliar:.2f}"
            ax.text(middle, y + 0.14, gap, ha="center", color=INK, fontsize=11)
    human = measured["person"]
    ax.text(human[0] + 0.025, len(NAMES) - 1, "familiar", color=BLUE, va="center", fontsize=11)
    ax.text(
        human[1] - 0.025, len(NAMES) - 1, "unfamiliar", color=RED, va="center", ha="right",
        fontsize=11,
    )  # fmt: skip
    ax.axvline(0.5, color=GREEN, linewidth=1, linestyle=":", zorder=0)
    ax.text(0.49, -0.42, "a coin", color=GREEN, fontsize=11, va="center", ha="right")
    ax.set_yticks(list(ticks), NAMES.values())
    ax.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_xlim(-0.05, 1.12)
    ax.set_ylim(-0.7, len(NAMES) - 0.5)
    ax.set_xlabel("agreement where the better name is familiar, or not")
    ax.set_title("A likelihood judges well what it knows", loc="left")
    return figure
