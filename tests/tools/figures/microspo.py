"""The triangle of the three classes, with the paths of self-play and of DPO."""

import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.tools.figures.style import BLUE, GREEN, INK, ORANGE, RED, panels, printed

DESCRIPTION = (
    "Two triangles whose corners are policies that write names in a only, in e only, or in other "
    "letters only. Left: from the reference, DPO runs into the corner of a; self-play sets out "
    "towards it, turns, and stays near the middle. Right: self-play without the pull to the "
    "reference circles near the edges."
)
Mixture = tuple[float, float, float]  # shares of a, other and e


def place(mixture: Mixture) -> tuple[float, float]:
    """As corner() in the script, with sides of equal length."""
    a, _, e = mixture
    return a + e / 2, e * 3**0.5 / 2


def read() -> tuple[dict[str, list[Mixture]], dict[str, Mixture]]:
    """The paths by stage, and the mixtures of the policies, as printed."""
    run = printed("microspo")
    part = run.split("on the way\n")[1].split("  self-play: of")[0].splitlines()
    rows = [[float(x) for x in line.split()[1:]] for line in part[1:]]
    labels = ("self-play", "without the pull", "DPO")
    paths = {
        label: [(row[3 * i], row[3 * i + 1], row[3 * i + 2]) for row in rows]
        for i, label in enumerate(labels)
    }
    found = re.findall(r"^  (\S.{21}) (\d\.\d\d) +(\d\.\d\d) (\d\.\d\d) ", run, re.M)
    ends = {label.strip(): (float(a), float(o), float(e)) for label, a, o, e in found}
    return paths, ends


def triangle(axes: Axes, title: str) -> None:
    corners = [place(m) for m in ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))]
    x, y = zip(*corners, corners[0])
    axes.plot(x, y, color=INK, linewidth=1)
    for (cx, cy), text, dy in zip(corners, ("all other", "all in a", "all in e"), (-9, -9, 7)):
        axes.annotate(text, (cx, cy), (0, dy), textcoords="offset points", ha="center",
                      va="bottom" if dy > 0 else "top")  # fmt: skip
    axes.plot(*place((1 / 3, 1 / 3, 1 / 3)), "+", color=INK, markersize=12, markeredgewidth=2)
    axes.annotate("a third of each", place((1 / 3, 1 / 3, 1 / 3)), (0, 22),
                  textcoords="offset points", ha="center", fontsize=11)  # fmt: skip
    axes.set_title(title)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-0.18, 1.18)
    axes.set_ylim(-0.16, 1.0)


def path(axes: Axes, points: list[Mixture], colour: str, label: str) -> None:
    x, y = zip(*map(place, points))
    axes.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1.5, label=label)


def draw() -> Figure:
    paths, ends = read()
    figure, (left, right) = panels(2, height=3.9, width=7.6)
    triangle(left, "Self-play stays near the middle")
    triangle(right, "Without the pull, it circles")
    start = ends["reference"]
    path(left, [start, *paths["DPO"]], RED, "DPO")
    path(left, [start, *paths["self-play"]], BLUE, "self-play")
    marks = {"linestyle": "", "marker": "*", "markersize": 14}
    left.plot(*place(ends["self-play"]), color=GREEN, label="its policy", **marks)
    path(right, [start, *paths["without the pull"]], ORANGE, "without the pull")
    for axes in (left, right):
        dot = {"linestyle": "", "marker": "o", "markersize": 8, "color": INK}
        axes.plot(*place(start), label="reference" if axes is left else None, **dot)
    figure.legend(loc="outside lower center", ncol=6, columnspacing=1.2, handletextpad=0.5)
    figure.get_layout_engine().set(h_pad=0.12)
    return figure
