"""Draw the figures of the README from the runs that are kept in docs/runs.

    python tests/tools/figures.py

One SVG a script, with no background and in middle tones, for light and dark pages alike.
"""

import re
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.blocks import ROOT

DOCS = ROOT / "docs"
INK, BLUE, RED, GREEN = "#808080", "#3b82c4", "#d9603b", "#3f9d5a"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 64, 24, 44, 48


class Chart:
    """Axes from data ranges to pixels, and the SVG elements drawn so far."""

    def __init__(self, title, x_label, y_label, xs, ys, x_ticks=True):
        self.parts = []
        self.x0, self.x1 = min(xs), max(xs)
        self.y0, self.y1 = min(ys), max(ys)
        pad_x, pad_y = 0.06 * (self.x1 - self.x0 or 1), 0.1 * (self.y1 - self.y0 or 1)
        self.x0, self.x1, self.y0, self.y1 = (
            self.x0 - pad_x, self.x1 + pad_x, self.y0 - pad_y, self.y1 + pad_y,
        )  # fmt: skip
        self.text(WIDTH / 2, 22, title, size=15, anchor="middle", weight="bold")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, anchor="middle")
        self.parts.append(
            f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" font-size="12" '
            f'text-anchor="middle" fill="{INK}">{escape(y_label)}</text>'
        )
        self.line([(self.x0, self.y0), (self.x1, self.y0)], INK, 1)
        self.line([(self.x0, self.y0), (self.x0, self.y1)], INK, 1)
        for value in (self.y0 + pad_y, self.y1 - pad_y):
            self.text(LEFT - 6, self.y(value) + 4, f"{value:.3g}", anchor="end")
        for value in (self.x0 + pad_x, self.x1 - pad_x) if x_ticks else ():
            self.text(self.x(value), HEIGHT - BOTTOM + 16, f"{value:.3g}", anchor="middle")

    def x(self, value):
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def text(self, x, y, text, size=12, anchor="start", color=INK, weight="normal"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="{color}">{escape(text)}</text>'
        )

    def line(self, points, color, width=2.5):
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>'
        )

    def point(self, x, y, label, color, below=False):
        px, py = self.x(x), self.y(y)
        self.parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{color}"/>')
        anchor = "end" if px > WIDTH - 180 else "start"
        shift = -9 if anchor == "end" else 9
        self.text(px + shift, py + (16 if below else -6), label, anchor=anchor, color=color)

    def bar(self, x, share, color, width):
        top, bottom = self.y(share), self.y(0)
        self.parts.append(
            f'<rect x="{self.x(x):.1f}" y="{top:.1f}" width="{width}" '
            f'height="{bottom - top:.1f}" fill="{color}"/>'
        )

    def save(self, name, description):
        path = DOCS / f"{name}.svg"
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" role="img"><title>{escape(description)}</title>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n",
            "utf-8",
        )
        print(path.name)


def printed(script):
    return (DOCS / "runs" / f"{script}.txt").read_text("utf-8")


def lora():
    """Full fine-tuning's two paths, and the adapters, in the plane of learnt and forgotten."""
    text = printed("microlora")
    paths = {
        mark: [tuple(map(float, pair.split("/"))) for pair in pairs.split()]
        for mark, pairs in re.findall(r"^  ([fg]) at [\d.]+: (.*)$", text, re.M)
    }
    row = r"^(w[\w ]*?) +(\d) +\d+ +[\d.]+% +\d+ +\d+ +([\d.]+) +([\d.]+) +[\d.]+%$"
    rows = [(f"{n}, rank {r}", float(x), float(y)) for n, r, x, y in re.findall(row, text, re.M)]
    points = [*paths["f"], *paths["g"], *((x, y) for _, x, y in rows)]
    chart = Chart(
        "At equal learning, gentle full fine-tuning has forgotten less",
        "loss on Korean names, the target (to the left is learnt)",
        "loss on English names (up is forgotten)",
        [x for x, _ in points],
        [y for _, y in points],
    )
    chart.line(paths["f"], RED)
    chart.line(paths["g"], GREEN)
    chart.point(*paths["f"][0], "base", INK)
    chart.point(*paths["f"][-1], "full, best rate", RED)
    chart.point(*paths["g"][-1], "full, gentle rate", GREEN, below=True)
    for label, x, y in rows:
        chart.point(x, y, label, BLUE, below=True)
    chart.save("microlora", "Loss on English against loss on Korean: full fine-tuning and adapters")


def dpo():
    """The frontier, which turns over."""
    row = r"^  (reference|chosen only [\d.]+|beta [\d.]+) +([\d.]+) \+- [\d.]+ +(-?[\d.]+)"
    rows = re.findall(row, printed("microdpo"), re.M)
    points = [(float(kl), float(gold), label) for label, gold, kl in rows]
    chart = Chart(
        "DPO: beyond some drift from the reference, names get worse",
        "KL from the reference, nats per answer",
        "gold score of fresh answers",
        [p[0] for p in points],
        [p[1] for p in points],
    )
    betas = [(x, y) for x, y, label in points if label.startswith("beta")]
    chart.line([points[0][:2], *betas], BLUE, 1.5)
    for i, (x, y, label) in enumerate(points):
        chosen = label.startswith("chosen")
        color = RED if chosen else BLUE if "beta" in label else INK
        shown = "" if chosen and i > 1 else "chosen only, three rates" if chosen else label
        chart.point(x, y, shown, color, below=not label.startswith("beta"))
    chart.save("microdpo", "Gold score against KL for DPO at several betas and chosen-only tuning")


def ppo():
    """Gold by round, with the penalty and without."""
    runs = []
    for label in ("with the KL", "without the KL"):
        part = printed("microppo").split(f"PPO {label} penalty")[1].split("\n\n")[0]
        numbers = [line.split() for line in part.splitlines()[2:] if line.strip()]
        runs.append([(float(r[0]), float(r[2]), float(r[1])) for r in numbers])
    chart = Chart(
        "PPO without the KL penalty: the proxy rises, gold falls",
        "round",
        "gold score of a round's answers",
        [x for run in runs for x, _, _ in run],
        [y for run in runs for _, y, _ in run],
    )
    for run, color, label in zip(runs, (BLUE, RED), ("with the penalty", "without")):
        chart.line([(x, gold) for x, gold, _ in run], color)
        x, gold, proxy = run[-1]
        chart.point(x, gold, f"{label}: proxy {proxy:.1f}", color, below=True)
    chart.save("microppo", "Gold score over the rounds of PPO, with and without the KL penalty")


def moe():
    """Facts known by each of the four models."""
    text = printed("micromoe")
    rows = re.findall(r"^  (\w+, [\w ]+?) +\d+ +\d+ +(\d+) +([\d.]+) +(\d+)", text, re.M)
    facts = int(re.search(r"(\d+) facts to know", text)[1])
    chart = Chart(
        f"MoE: facts known, of {facts}",
        "the mixtures and the first dense model do equal work, the last one seven times as much",
        "facts known",
        [1, len(rows) + 1],
        [0, facts],
        x_ticks=False,
    )
    width = (chart.x(2) - chart.x(1)) * 0.6
    for i, (label, _, loss, known) in enumerate(rows):
        color = BLUE if label.startswith("MoE") else INK
        chart.bar(i + 1, int(known), color, width)
        chart.text(chart.x(i + 1), chart.y(int(known)) - 6, f"{known}, loss {loss}", color=color)
        chart.text(chart.x(i + 1), HEIGHT - BOTTOM + 16, label, color=color)
    chart.save("micromoe", "Facts known by two mixtures and two dense models")


if __name__ == "__main__":
    for draw in (lora, dpo, ppo, moe):
        draw()
