"""Draw the figures of the README from real runs.

    python docs/figures.py --run    run the four scripts, keep what they print in docs/runs, draw
    python docs/figures.py          draw from docs/runs

One SVG a script, with no background and in middle tones, for light and dark pages alike.
"""

import re
import subprocess
import sys
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent
INK, BLUE, RED, GREEN = "#808080", "#3b82c4", "#d9603b", "#3f9d5a"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 64, 24, 44, 48


class Chart:
    """Axes from data ranges to pixels, and the SVG elements drawn so far."""

    def __init__(self, title, x_label, y_label, xs, ys):
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
            self.text(LEFT - 6, self.y(value) + 4, f"{value:.2g}", anchor="end")
        for value in (self.x0 + pad_x, self.x1 - pad_x):
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
    """Learned against forgotten: the two held-out losses of every row."""
    row = r"^(\S[\w -]*?) +(\d|-) +\d+ +[\d.]+% +\d+ +\d+ +([\d.]+) +([\d.]+) +[\d.]+%$"
    rows = re.findall(row, printed("microlora"), re.M)
    points = [(float(t), float(b), f"{n} r={r}" if r != "-" else n) for n, r, t, b in rows]
    chart = Chart(
        "LoRA learns less and forgets less",
        "loss on Korean names (the target): to the left is learned",
        "loss on English names: up is forgotten",
        [p[0] for p in points],
        [p[1] for p in points],
    )
    for i, (x, y, label) in enumerate(points):
        color = INK if label == "nothing" else RED if "full" in label else BLUE
        chart.point(x, y, label, color, below=i in (1, 3, 6))  # so that no two labels meet
    chart.save("microlora", "Held-out loss on the target against loss on the base, for each row")


def dpo():
    """The frontier: gold score against KL."""
    row = r"^  (reference|chosen only|beta [\d.]+) +([\d.]+) \+- [\d.]+ +([\d.]+)"
    rows = re.findall(row, printed("microdpo"), re.M)
    points = [(float(kl), float(gold), label) for label, gold, kl in rows]
    chart = Chart(
        "DPO: what each drift from the reference buys",
        "KL from the reference, nats per answer",
        "gold score of fresh answers",
        [p[0] for p in points],
        [p[1] for p in points],
    )
    betas = sorted(p for p in points if p[2].startswith("beta"))
    chart.line([(x, y) for x, y, _ in [points[0], *betas]], BLUE, 1.5)
    for x, y, label in points:
        chart.point(
            x, y, label, BLUE if "beta" in label else RED if "chosen" in label else INK, True
        )
    chart.save("microdpo", "Gold score against KL for three betas and chosen-only fine-tuning")


def ppo():
    """Proxy against KL through training, with the penalty and without."""
    runs = []
    for label in ("with KL", "without KL"):
        part = printed("microppo").split(f"PPO {label} penalty")[1].split("\n  proxy ")[0]
        numbers = [line.split() for line in part.splitlines()[2:] if line.strip()]
        runs.append([(float(r[0]), float(r[3]), float(r[1])) for r in numbers])
    chart = Chart(
        "PPO: drift from the reference, with and without the penalty",
        "round",
        "KL, nats per answer",
        [x for run in runs for x, _, _ in run],
        [y for run in runs for _, y, _ in run],
    )
    for run, color, label in zip(runs, (BLUE, RED), ("with KL penalty", "without")):
        chart.line([(x, kl) for x, kl, _ in run], color)
        x, kl, proxy = run[-1]
        chart.point(x, kl, f"{label}: proxy {proxy:.1f}", color)
    chart.save("microppo", "KL over the rounds of PPO, with and without the KL penalty")


def moe():
    """Each expert's share of the choices, with and without the balance loss."""
    part = printed("micromoe").split("who works")[1].split("who does what")[0]
    rows = [re.findall(r"([\d.]+)%", line) for line in part.splitlines()[2:] if "%" in line]
    shares = [sorted((float(row[i]) for row in rows), reverse=True) for i in (0, 1)]
    n = len(rows)
    chart = Chart(
        "MoE: who works, with and without the balance loss",
        "experts, busiest first",
        "share of the choices, %",
        [1, n + 1],
        [0, *shares[1]],
    )
    width = (chart.x(2) - chart.x(1)) * 0.4
    for i in range(n):
        chart.bar(i + 1, shares[0][i], BLUE, width)
        chart.bar(i + 1.45, shares[1][i], RED, width)
    chart.line([(1, 100 / n), (n + 1, 100 / n)], INK, 1)
    chart.text(chart.x(n + 1), chart.y(100 / n) - 6, "fair share", anchor="end")
    chart.text(chart.x(n * 0.5), TOP + 20, "with the balance loss", color=BLUE)
    chart.text(chart.x(n * 0.5), TOP + 38, "without", color=RED)
    chart.save("micromoe", "Shares of the experts with and without the balance loss")


if __name__ == "__main__":
    if sys.argv[1:] == ["--run"]:
        for script in ("microlora", "microdpo", "microppo", "micromoe"):
            command = [sys.executable, "-I", str(DOCS.parent / f"{script}.py")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            (DOCS / "runs" / f"{script}.txt").write_text(done.stdout, "utf-8")
            print(f"{script}: exit status {done.returncode}")
    for draw in (lora, dpo, ppo, moe):
        draw()
