"""Where the loss falls, and what a high peak costs with and without a decay."""

import re

from matplotlib.figure import Figure

from tests.tools.figures import style

DESCRIPTION = (
    "Left: training loss minus the constant run's, over the steps, for four decays: each falls when"
    " its rate does. Right: held-out loss at a low and a high peak rate: the constant run's rises,"
    " those of linear decay and of averaged weights hardly change."
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
    left.set_ylabel("training loss minus the constant run's")
    left.margins(y=0.12)

    peaks = [float(x) for x in re.findall(r"peak ([\d.]+)  - constant", text)]
    places = peaks[::-1]  # the low one on the left
    for label in ("constant", "averaged", "linear"):
        found = re.search(rf"^  {label} +([\d.]+) +\S+ +([\d.]+) +\S+$", text, re.M)
        assert found, label
        high, low = map(float, found.groups())
        right.plot([0, 1], [low, high], color=COLOURS[label], label=label, marker="o")
    right.set_xticks([0, 1], [f"{peak:g}" for peak in places])
    right.set(title="A decay or an average forgives", xlabel="peak rate", xlim=(-0.2, 1.2))
    right.set_ylabel("held-out loss, nats per token")
    right.legend(loc="upper left")
    return figure
