"""The clouds of single answers' gradients, with and without a baseline."""

import gc
import re

from matplotlib.figure import Figure

import microreinforce as m
from tests.tools.figures import style

DESCRIPTION = "Gradients of single answers along two directions, without a baseline and with RLOO's"


def draw() -> Figure:
    """The run prints no single gradients, so that its first part is run again: half a minute."""
    gc.disable()
    clouds = m.measure_baselines(m.make_world(42, None))
    gc.enable()
    plain, rloo = clouds["none"], clouds["RLOO, of its group"]
    ratio = re.search(
        r"^  ok   scatter, plain over RLOO +(\S+)", style.printed("microreinforce"), re.M
    )
    assert ratio and abs(float(ratio[1]) - plain.scatter / rloo.scatter) < 1e-2
    towards = m.unit(m.centre(rloo.gradients))
    sideways = m.widest(plain.gradients, towards)
    figure, axes = style.panels(2)
    for axis, cloud, label, color in (
        (axes[0], plain, "no baseline", style.RED),
        (axes[1], rloo, "RLOO", style.BLUE),
    ):
        xs = [m.dot(row, sideways) for row in cloud.gradients]
        ys = [m.dot(row, towards) for row in cloud.gradients]
        axis.scatter(xs, ys, s=9, color=color, alpha=0.55, linewidths=0)
        axis.plot(m.mean(xs), m.mean(ys), "+", color=style.INK, markersize=16, markeredgewidth=2.5)
        axis.set_title(f"{label}: scatter {cloud.scatter:.0f}", color=color, fontsize=12)
        axis.set_xlabel("across")
    axes[0].set_ylabel("along the mean gradient")
    for axis in axes:
        axis.set_xlim(*axes[0].get_xlim())
        axis.set_ylim(*axes[0].get_ylim())
        axis.set_xticks([0, 5, 10, 15])
        axis.set_yticks([-5, 0, 5])
    figure.suptitle(
        f"A baseline leaves the mean (+) and takes the scatter: {ratio[1][:3]} times less",
        fontweight="bold", fontsize=13, color=style.INK,
    )  # fmt: skip
    return figure
