"""What each drift buys: the frontier of DPO, which turns over, and the control at three rates."""

import re

from matplotlib.figure import Figure

from tests.tools.figures import style

DESCRIPTION = "Gold score against KL for DPO at several betas and for chosen-only fine-tuning"
ROW = r"^  (reference|chosen only [\d.]+|beta [\d.]+) +([\d.]+) \+- ([\d.]+) +(-?[\d.]+)"


def draw() -> Figure:
    rows = re.findall(ROW, style.printed("microdpo"), re.M)
    points = {label: (float(kl), float(gold), float(se)) for label, gold, se, kl in rows}
    figure, (axis,) = style.panels()
    betas = [points["reference"], *(p for k, p in points.items() if k.startswith("beta"))]
    axis.plot([p[0] for p in betas], [p[1] for p in betas], "-", color=style.BLUE, alpha=0.5)
    for label, (kl, gold, se) in points.items():
        chosen, beta = label.startswith("chosen"), label.startswith("beta")
        color = style.RED if chosen else style.BLUE if beta else style.INK
        axis.errorbar(kl, gold, se, fmt="o", color=color, markersize=6, capsize=2)
        if beta:
            axis.annotate(label, (kl, gold), xytext=(7, 5), textcoords="offset points", color=color)
    kl, gold, _ = points["chosen only 0.012"] if "chosen only 0.012" in points else betas[0]
    axis.annotate("chosen only, three rates", (kl, gold), xytext=(10, -4),
                  textcoords="offset points", color=style.RED)  # fmt: skip
    axis.annotate("reference", points["reference"][:2], xytext=(8, -4), textcoords="offset points")
    axis.set_title("DPO: too far from the reference, names get worse")
    axis.set_xlabel("KL from the reference, nats per answer")
    axis.set_ylabel("gold score, ± s.e.")
    axis.set_xlim(-0.4, 1.15 * max(p[0] for p in points.values()))
    axis.set_yticks([0.6, 0.7, 0.8])
    return figure
