"""The figure of microbatchnorm: the signal at the start, and what each network has learnt."""

import re

from matplotlib.figure import Figure

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
    for label, colour, sizes, height in (
        ("plain", RED, columns[0], 2.2),
        ("plain, Kaiming", ORANGE, columns[3], 0.32),
        ("batch norm", BLUE, columns[6], 1.5),
    ):
        left.plot(layers, sizes, color=colour, marker="o", markersize=4)
        right_end = label != "plain"
        left.annotate(
            label,
            (layers[-1 if right_end else 2], sizes[-1 if right_end else 2] * height),
            color=colour,
            ha="right" if right_end else "left",
            va="center",
            fontsize=11,
        )
    left.set_yscale("log")
    left.set_ylim(top=4)
    left.set_xticks(layers)
    left.set_xlabel("layer")
    left.set_title("Size of the signal, untrained")

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
        right.text(0.0, -i + 0.33, f"{name}, rate {float(rate):g}{lost}", fontsize=11,
                   color=COLOURS[label], va="center")  # fmt: skip
    right.axvline(0.0, color=INK, linewidth=1)
    right.set_yticks([])
    right.spines["left"].set_visible(False)
    right.set_xlabel("nats below the letter frequencies")
    right.set_title("What each has learnt")
    return figure
