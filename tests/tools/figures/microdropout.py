"""microdropout: the validation loss over training, a line for each remedy."""

import re

from matplotlib.figure import Figure

from tests.tools.figures import style

DESCRIPTION = (
    "Line chart. Without a remedy the validation loss turns up after about 80 steps, while the "
    "loss on the letters that are learnt falls all the way. With dropout 0.5 it turns up less, "
    "with dropout 0.8 hardly, with weight decay not at all."
)


def draw() -> Figure:
    text = style.printed("microdropout")
    table = text.split("\n   step    learnt")[1].split("\n\n")[0].splitlines()
    names = re.split(r" {2,}", table[0].strip())
    steps, learnt, *rows = zip(*([float(x) for x in line.split()] for line in table[1:]))
    figure, (axes,) = style.panels(height=3.9)
    colours = [style.RED, style.ORANGE, style.PURPLE, style.GREEN]
    for name, losses, colour in zip(names, rows, colours):
        axes.plot(steps, losses, color=colour)
        axes.annotate(
            name, (steps[-1], losses[-1]), (6, 0), textcoords="offset points", color=colour,
            va="center",
        )  # fmt: skip
    axes.plot(steps, learnt, color=style.INK, linestyle="--")
    axes.annotate(
        "plain, on what\nit learns", (steps[-1], learnt[-1]), (6, 0), textcoords="offset points",
        va="center",
    )  # fmt: skip
    axes.set_xlabel("training step")
    axes.set_ylabel("validation loss, nats per letter")
    axes.set_xlim(0, 780)
    axes.set_ylim(1.0, 4.5)
    axes.set_xticks(range(0, 601, 100))
    axes.set_title("The loss on other names turns up, but not with decay")
    return figure
