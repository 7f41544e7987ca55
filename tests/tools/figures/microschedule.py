"""Where the loss falls, and what a high peak costs with and without a decay."""

import re

from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from tests.tools.figures import style

DESCRIPTION = (
    "Left: training loss minus the constant run's, over the steps, for four decays: each falls when"
    " its rate does. Right: held-out loss at a low and a high peak rate: the constant run's rises"
    " most, those of linear decay and of averaged weights little."
)
COLOURS = {
    "constant": style.RED,
    "averaged": style.GREEN,
    "step": style.ORANGE,
    "linear": style.BLUE,
    "cosine": style.PURPLE,
    "WSD": style.INK,
}


def draw() -> Figure:
    text = style.printed("microschedule")
    row = r"^ +(\d+) +[\d.]+ +(-?[\d.]+) +(-?[\d.]+) +(-?[\d.]+) +(-?[\d.]+) +-?[\d.]+$"
    tenths = [[float(x) for x in found] for found in re.findall(row, text, re.M)]
    steps, *courses = zip(*tenths)
    figure, (left, right) = style.panels(2, height=3.6, width=8.8)
    middles = [step - steps[0] / 2 for step in steps]
    left.axhline(0.0, color=style.RED)
    left.text(steps[-1], 0.004, "constant", color=style.RED, ha="right", va="bottom", fontsize=11)
    for label, course in zip(("step", "linear", "cosine", "WSD"), courses):
        left.plot(middles, course, color=COLOURS[label], label=label, marker="o", markersize=4)
    left.legend(loc="lower left")
    left.set(title="The loss falls when the rate falls", xlabel="step", xlim=(0, steps[-1]))
    left.set_ylabel("training loss minus constant's")
    left.set_yticks([0.0, -0.05, -0.1, -0.15])
    left.margins(y=0.12)

    peaks = [float(x) for x in re.findall(r"peak ([\d.]+)  - constant", text)]
    places = peaks[::-1]  # the low one on the left
    for label in ("constant", "averaged", "linear"):
        found = re.search(rf"^  {label} +([\d.]+) +\S+ +([\d.]+) +\S+$", text, re.M)
        assert found, label
        high, low = map(float, found.groups())
        right.plot([0, 1], [low, high], color=COLOURS[label], marker="o")
        right.text(1.06, high, label, color=COLOURS[label], va="center", fontsize=11)
    right.set_xticks([0, 1], [f"{peak:g}" for peak in places])
    right.set(title="A high peak hurts constant most", xlabel="peak rate", xlim=(-0.15, 1.5))
    right.set_ylabel("held-out loss, nats per token")
    right.yaxis.set_major_locator(MultipleLocator(0.05))
    return figure
