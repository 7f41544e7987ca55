"""Draw the figures from the kept runs: python tests/tools/figures.py [microppo value-graph ...]

Needs the dependency group "figures". docs/comparison.svg: ... figures.py comparison FOLDER, with the
folder of runs that claims.py made.
"""

import re
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.sections import ROOT, scripts

# Middle tones, 4.3:1 against white and against GitHub's dark ground alike.
INK = "#747a83"
BLUE, RED, GREEN, PURPLE, ORANGE = "#2e7bca", "#d24c42", "#2c8a50", "#8f60d6", "#af6800"
mpl.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "microalign", "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"], "font.size": 12,
    "axes.titlesize": 13, "axes.titleweight": "bold", "axes.edgecolor": INK, "axes.labelcolor": INK,
    "axes.titlecolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "savefig.transparent": True,
    "lines.linewidth": 2,
})  # fmt: skip


def tables(script, text=None):
    """[(words before the header, {label: {column: number}}), ...] from what print_row() printed."""
    text = text or (ROOT / "docs" / "runs" / f"{script}.txt").read_text("utf-8")
    source = next(path for path in scripts() if path.stem == script).read_text("utf-8")
    found, columns = [], None
    known = sorted(set(re.findall(r'"([\w /|()+-]+)"', source)), key=len, reverse=True)
    previous = ""
    for line in text.split("\nclaims")[0].splitlines():
        cells = line[12:].split()
        words = line[12:].replace("k3", "")  # a header has no numbers
        if words.strip() and not re.search(r"\d", words) and len(line) > 20 and line[12] == " ":
            rest, columns = line[12:], []
            while rest.strip():
                name = next((k for k in known if rest.lstrip().startswith(k)), rest.split()[0])
                columns.append(name)
                rest = rest.lstrip()[len(name) :]
            found.append((line[:12].strip() or previous, {}))
        elif columns and cells and all(re.fullmatch(r"[-+]?\d[\d.]*%?|-", c) for c in cells):
            values = [float(c.rstrip("%")) if c != "-" else None for c in cells]
            found[-1][1][line[:12].strip()] = dict(zip(columns, values))
        previous = line.strip() or previous
    return found


def panels(count=1, height=3.6, width=6.4):
    figure, axes = plt.subplots(1, count, figsize=(width, height), layout="constrained")
    return figure, [axes] if count == 1 else list(axes)


def curve(axis, rows, column, color, label, dy=0.0):
    """A column against the number in the labels ("round 3", "step 10"), with its name at the end."""
    points = [(int(m[1]), row[column]) for key, row in rows.items() if (m := re.search(r"(\d+)$", key))]
    axis.plot(*zip(*points), "o-", color=color, markersize=4)
    axis.annotate(label, points[-1], xytext=(-4, 8 + dy), textcoords="offset points", color=color, ha="right")


def microlora():
    """Korean learned and English forgotten, by row."""
    text = (ROOT / "docs" / "runs" / "microlora.txt").read_text("utf-8")
    figure, (axis,) = panels(height=4.4)
    row = r"^(\S.{11}) +(\d+) +[\d.]+% +([\d.]+) +([\d.]+) "
    for label, numbers, korean, english in re.findall(row, text, re.M):
        color = RED if label.startswith("full") else BLUE if "rank" in label else ORANGE
        place = float(korean), float(english)
        axis.plot(*place, "o", color=color)
        axis.annotate(f"{label.strip()}, {numbers}", place, xytext=(6, 3),
                      textcoords="offset points", color=color, fontsize=10)  # fmt: skip
    axis.set(xlabel="loss on Korean names, nats (left: learned)", ylabel="loss on English (up: forgotten)")
    axis.set_title("Learned and forgotten, and how many numbers learn")
    axis.margins(x=0.25)
    return figure


def microdpo():
    """Gold against KL."""
    rows = {}
    for _, table in tables("microdpo"):
        for label, row in table.items():
            rows[label] = rows.get(label, {}) | row
    figure, (axis,) = panels()
    for label, row in rows.items():
        color = BLUE if "beta" in label else RED if label == "SFT" else INK
        axis.plot(row["KL"], row["gold"], "o", color=color)
        axis.annotate(label, (row["KL"], row["gold"]), xytext=(6, 4), textcoords="offset points", color=color)
    axis.set(xlabel="KL from the reference, nats per completion", ylabel="gold score")
    axis.set_xscale("symlog", linthresh=1.0)
    axis.set_title("DPO: a smaller beta goes further, at last too far")
    axis.margins(x=0.2)
    return figure


def microppo():
    """Reward and gold over the rounds, with the penalty and without."""
    runs = dict(tables("microppo"))
    figure, (left, right) = panels(2)
    for label, color in (("KL penalty", BLUE), ("no penalty", RED)):
        curve(left, runs[label], "reward", color, label)
        curve(right, runs[label], "gold", color, label)
    left.set_title("reward: the model's score")
    right.set_title("gold: what people want")
    for axis in (left, right):
        axis.set_xlabel("round")
    return figure


def micromoe():
    """Idle experts and loss over the steps."""
    runs = dict(tables("micromoe"))
    figure, (left, right) = panels(2)
    for label, color in (("MoE without B", RED), ("MoE with B", BLUE)):
        curve(left, runs[label], "idle", color, label)
    colors = (RED, BLUE, INK, INK)
    for (label, rows), color in zip(runs.items(), colors):
        loss = list(rows.values())[-1]["loss"]
        right.barh(label.replace("dense, ", "dense,\n"), loss, color=color, alpha=0.85)
        right.text(loss, label.replace("dense, ", "dense,\n"), f" {loss:.2f}", va="center", color=color)
    left.set_title("idle experts of 16")
    left.set_xlabel("step")
    right.set_title("final loss, nats")
    right.invert_yaxis()
    right.margins(x=0.15)
    return figure


def bars(script, after, pattern, title):
    """A number of each row, found by a pattern of (label, number) behind some words."""
    text = (ROOT / "docs" / "runs" / f"{script}.txt").read_text("utf-8").split(after, 1)[1]
    rows = re.findall(pattern, text.split("\n\n")[0], re.M)
    figure, (axis,) = panels(height=0.9 + 0.36 * len(rows))
    for label, number in rows:
        axis.barh(label, float(number), color=BLUE, alpha=0.85)
        axis.text(max(float(number), 0.0), label, f" {number}", va="center", color=BLUE)
    axis.set_title(title)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    return figure


def microdropout():
    """Validation loss over the steps."""
    text = (ROOT / "docs" / "runs" / "microdropout.txt").read_text("utf-8")
    table = text.split("validation loss")[1].split("\n\n")[0].splitlines()[1:]
    steps = [int(x) for x in table[0].split()]
    figure, (axis,) = panels(height=4.0)
    for line, color in zip(table[1:], (RED, ORANGE, GREEN, INK, BLUE)):
        label, values = line[:12].strip(), [float(x) for x in line[12:].split()]
        axis.plot(steps, values, color=color, label=label)
    axis.legend(frameon=False, labelcolor="linecolor")
    axis.set(xlabel="step", ylabel="validation loss, nats")
    axis.set_title("Without remedy the loss turns up")
    return figure


def rounds(script, title):
    """Gold over the rounds of each run."""
    figure, (axis,) = panels(height=4.0)
    runs = [(head, rows) for head, rows in tables(script) if any(k.startswith("round") for k in rows)]
    for (head, rows), color in zip(runs, (BLUE, RED, GREEN, PURPLE, ORANGE)):
        kept = {k: row for k, row in rows.items() if k.startswith("round")}
        points = [(int(label.split()[1]), row["gold"]) for label, row in kept.items()]
        axis.plot(*zip(*points), "o-", color=color, markersize=4, label=head)
    axis.legend(frameon=False, labelcolor="linecolor", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.set_xlabel("round")
    axis.set_title(title)
    return figure


def value_graph():
    """y = a b + a^2 / b at a = 2, b = -3, as the interface's first test vector has it."""
    from microppo import Value

    a, b = Value(2.0), Value(-3.0)
    product, square, inverse = a * b, a**2, b**-1.0
    quotient = square * inverse
    result = product + quotient
    result.backward()
    figure, (axis,) = panels(height=3.4)
    axis.set(xlim=(0, 13), ylim=(0, 6.2))
    axis.set_axis_off()
    nodes = {"a": (a, 1.2, 4.6), "b": (b, 1.2, 1.4), "ab": (product, 4.9, 5.2), "a²": (square, 4.9, 3.1),
             "1/b": (inverse, 4.9, 1.0), "a²/b": (quotient, 8.4, 2.1), "y": (result, 11.6, 3.8)}  # fmt: skip
    places = {id(node): (x, y) for node, x, y in nodes.values()}
    for name, (node, x, y) in nodes.items():
        color = INK if node.children else BLUE
        box = {"boxstyle": "round,pad=0.4", "facecolor": "none", "edgecolor": color}
        axis.text(x, y, f"{name} = {node.data:.3g}\ngrad {node.grad:.3g}", ha="center", va="center",
                  color=color, fontsize=11, bbox=box)  # fmt: skip
        for child, local in zip(node.children, node.local_grads):
            u, v = places[id(child)]
            arrow = {"arrowstyle": "-|>", "color": ORANGE}
            axis.annotate("", (x - 1.3, y), (u + 1.3, v), arrowprops=arrow)
            axis.text((u + x) / 2, (v + y) / 2 + 0.2, f"{local:.3g}", color=ORANGE, ha="center")
    axis.set_title("Back from y: a gradient, times the number on the arrow")
    return figure


FIGURES = {
    "microlora": (microlora, "Loss on Korean and on English names for each row"),
    "microdpo": (microdpo, "Gold score against KL for SFT and DPO at three betas"),
    "microppo": (microppo, "Reward and gold over the rounds of PPO, with the KL penalty and without"),
    "micromoe": (micromoe, "Idle experts over the steps; final loss of the four models"),
    "microreinforce": (lambda: rounds("microreinforce", "Gold over the rounds"), "Gold over the rounds"),
    "microgrpo": (lambda: rounds("microgrpo", "Gold over the rounds"), "Gold over the rounds"),
    "microdropout": (microdropout, "Validation loss over the steps, with and without remedies"),
    "microbatchnorm": (
        lambda: bars("microbatchnorm", "gain\n", r"^(\S.{11}).* (-?[\d.]+)$",
                     "gain over the letter frequencies, nats"),
        "Gain of each network",
    ),
    "microschedule": (
        lambda: bars("microschedule", "averaged\n", r"^(\w+) +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +([\d.]+) ",
                     "final loss at a peak of 0.04"),
        "Final loss of each schedule",
    ),
    "microdistill": (
        lambda: bars("microdistill", "students", r"^(\S.{11}) +\d+ +[\d.]+ +([\d.]+) +\d+ ",
                     "best held-out loss, nats"),
        "Held-out loss of each student at its best step",
    ),
    "microspo": (
        lambda: bars("microspo", "Fresh completions", r"^(\S.{11}).* ([\d.]+) +[\d.]+ +[\d.]+$",
                     "exploitability: how often the best reply wins"),
        "Exploitability of each policy",
    ),
    "microrlaif": (
        lambda: bars("microrlaif", "Fresh completions", r"^(\S.{11}) +(-?[\d.]+) ", "gold score by policy"),
        "Gold score of each policy",
    ),
    "value-graph": (value_graph, "A graph of seven Values with values, local gradients and gradients"),
}  # fmt: skip

if __name__ == "__main__":
    for name in sys.argv[1:] or FIGURES:
        draw, description = FIGURES[name]
        figure = draw()
        further = ROOT / "docs" / "further" / f"{name}.py"
        path = (further.parent if further.exists() else ROOT / "docs") / f"{name}.svg"
        metadata = {"Date": None, "Creator": None, "Title": description}
        figure.savefig(path, format="svg", metadata=metadata)
        plt.close(figure)
        print(path.relative_to(ROOT))
