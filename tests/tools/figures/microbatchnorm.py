"""The figure of microbatchnorm: the signal at the start, and what each network has learnt."""

import re

from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from tests.tools.figures.style import BLUE, GREEN, INK, ORANGE, RED, panels, printed

DESCRIPTION = (
    "Left: before training, the size of the activations falls from layer to layer in the plain "
    "network and stays level with Kaiming initialization and with batch normalization. Right: "
    "after training, loss below that of the letter frequencies, for five networks."
)
COLOURS = {
    "plain": RED,
    "plain, Kaiming": ORANGE,
    "plain, Kaiming, fast": ORANGE,
    "batch norm": BLUE,
    "noisy batch norm": GREEN,
}


def draw() -> Figure:
    text = printed("microbatchnorm")
    figure, (left, right) = panels(2)

    rows = re.findall(r"^ +(\d+)((?: +\S+){9})$", text, re.M)
    layers = [int(number) for number, _ in rows]
    columns = list(zip(*(map(float, rest.split()) for _, rest in rows)))
    for label, sizes, place in (
        ("plain", columns[0], (3.2, 0.03)),
        ("plain, Kaiming", columns[3], (3.0, 0.3)),
        ("batch norm", columns[6], (3.0, 3.0)),
    ):
        left.plot(layers, sizes, color=COLOURS[label], marker="o", markersize=4)
        left.text(*place, label, color=COLOURS[label], va="center", fontsize=11)
    left.set_yscale("log")
    left.set_ylim(top=8)
    left.set_xticks(layers)
    left.set_xlabel("layer")
    left.set_ylabel("size of activations, untrained")
    left.set_title("The plain signal fades")

    found = re.findall(r"^  (\S.*?) +([\d.]+) +[\d.]+ +[\d.]+ +(-?[\d.]+)(?: .*)?$", text, re.M)
    gains = {label: (rate, float(gain)) for label, rate, gain in found if label in COLOURS}
    diverged = re.findall(r"^  (\S.*?) +([\d.]+) +diverged", text, re.M)
    gains.update({label: (rate, 0.0) for label, rate in diverged})
    order = [label for label in COLOURS if label in gains]
    for i, label in enumerate(order):
        rate, gain = gains[label]
        right.barh(-i, gain, color=COLOURS[label], height=0.35)
        name = label.removesuffix(", fast")
        lost = ", diverged" if (label, rate) in diverged else ""
        right.text(0.003, -i + 0.36, f"{name}, rate {float(rate):g}{lost}", fontsize=11,
                   color=COLOURS[label], va="center")  # fmt: skip
    right.axvline(0.0, color=INK, linewidth=1)
    right.set_yticks([])
    right.set_ylim(top=0.7)
    right.xaxis.set_major_locator(MultipleLocator(0.05))
    right.spines["left"].set_visible(False)
    right.set_xlabel("nats below letter frequencies")
    right.set_title("Batch norm learns")
    return figure
