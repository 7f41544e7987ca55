"""Learnt against forgotten: full fine-tuning's two paths, and the adapters."""

import re

from matplotlib.figure import Figure

from tests.tools.figures import style

DESCRIPTION = "Loss on English against loss on Korean: full fine-tuning's paths and the adapters"
ROW = r"^(w[\w ]*?) +(\d) +\d+ +([\d.]+%) +\d+ +\d+ +([\d.]+) +([\d.]+) +[\d.]+%$"
# where a row's label stands beside its point: sideways, up (points)
PLACES = [(8, -12), (8, -13), (9, -4), (9, 0)]


def draw() -> Figure:
    text = style.printed("microlora")
    paths = {
        mark: [tuple(map(float, pair.split("/"))) for pair in pairs.split()]
        for mark, pairs in re.findall(r"^  ([fg]) at [\d.]+: (.*)$", text, re.M)
    }
    figure, (axis,) = style.panels(height=4.2)
    for mark, color, label in (
        ("f", style.RED, "full fine-tuning, its best rate"),
        ("g", style.GREEN, "full, a gentle rate"),
    ):
        xs, ys = zip(*paths[mark])
        axis.plot(xs, ys, "-o", color=color, markersize=4, alpha=0.6)
        top = ys.index(max(ys))
        if mark == "f":
            axis.annotate(label, (xs[top], ys[top]), xytext=(8, -3), textcoords="offset points",
                          color=color)  # fmt: skip
        else:
            axis.text(xs[top] - 0.12, ys[top] - 0.42, label, color=color)
    axis.plot(*paths["f"][0], "o", color=style.INK, markersize=7)
    axis.annotate("base", paths["f"][0], xytext=(-6, -18), textcoords="offset points")
    for place, (name, rank, share, x, y) in zip(PLACES, re.findall(ROW, text, re.M)):
        name = "every matrix" if "w1" in name else "attention" if "wk" in name else name
        axis.plot(float(x), float(y), "D", color=style.BLUE, markersize=7)
        axis.annotate(
            f"{name}, rank {rank}: {share}", (float(x), float(y)), xytext=place,
            textcoords="offset points", color=style.BLUE,
        )  # fmt: skip
    axis.set_title("At equal learning, gentle full fine-tuning forgets least")
    axis.set_xlabel("loss on Korean names, nats (left is learnt)")
    axis.set_ylabel("loss on English names (up is forgotten)")
    axis.set_xticks([2.0, 2.25, 2.5, 2.75, 3.0])
    axis.set_yticks([2.5, 3.0, 3.5])
    axis.set_ylim(bottom=2.2)
    return figure
