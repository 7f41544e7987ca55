"""Pictures that no run draws: W + BA, a graph of Values with its numbers, the bridge, a script."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

import microlora
from tests.tools.figures import style


def canvas(width: float, height: float, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """An empty axis in units of its own."""
    figure, (axis,) = style.panels(width=size[0], height=size[1])
    axis.set_xlim(0, width)
    axis.set_ylim(0, height)
    axis.set_axis_off()
    return figure, axis


def box(
    axis: Axes, x: float, y: float, text: str, color: str, w: float = 2.0, h: float = 0.8
) -> None:
    """A rounded box around (x, y)."""
    axis.add_patch(
        FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0.05,rounding_size=0.12",
            facecolor="none", edgecolor=color, linewidth=1.6,
        )
    )  # fmt: skip
    axis.text(x, y, text, ha="center", va="center", color=color, fontsize=11)


def arrow(
    axis: Axes, start: tuple, end: tuple, color: str, text: str = "", dy: float = 0.2
) -> None:
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=color, linewidth=1.4)
    )
    if text:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        axis.text(x, y + dy, text, ha="center", color=color, fontsize=11)


def low_rank() -> Figure:
    """W + BA, drawn to scale: d = 28, rank 1."""
    figure, axis = canvas(12, 5, (6.4, 2.7))
    d = microlora.N_EMBD
    side = 3.2
    thin = side / d * 2  # twice the true width, or it could not be seen
    axis.add_patch(Rectangle((0.4, 0.9), side, side, facecolor=style.INK, alpha=0.35))
    axis.text(2.0, 2.5, f"W\n{d} × {d}\nfrozen floats", ha="center", va="center")
    axis.text(4.05, 2.5, "+", fontsize=20, ha="center", va="center")
    axis.text(4.75, 2.5, "α/r", fontsize=13, ha="center", va="center")
    axis.add_patch(Rectangle((5.4, 0.9), thin, side, facecolor=style.BLUE))
    axis.text(5.5, 0.35, f"B: {d} × 1, starts at 0", color=style.BLUE, ha="center")
    axis.add_patch(Rectangle((6.3, 4.1 - thin), side, thin, facecolor=style.BLUE))
    axis.text(7.9, 3.25, f"A: 1 × {d}, starts random", color=style.BLUE, ha="center")
    axis.text(7.9, 1.6, f"{2 * d} numbers that learn\nbeside {d * d} that do not",
              ha="center", color=style.INK)  # fmt: skip
    axis.set_title("LoRA: W stays; the product of two thin matrices learns")
    return figure


def value_graph() -> Figure:
    """y = a b + a^2 / b at a = 2, b = -3, as the interface's first test vector has it."""
    a, b = microlora.Value(2.0), microlora.Value(-3.0)
    product, square, inverse = a * b, a**2, b**-1.0
    quotient = square * inverse
    result = product + quotient
    result.backward()
    figure, axis = canvas(13, 6.2, (6.4, 3.4))
    places = {
        "a": (a, 1.2, 4.6), "b": (b, 1.2, 1.4), "ab": (product, 4.9, 5.2),
        "a²": (square, 4.9, 3.1), "1/b": (inverse, 4.9, 1.0), "a²/b": (quotient, 8.4, 2.1),
        "y": (result, 11.6, 3.8),
    }  # fmt: skip
    nodes = {id(node): (u, v) for node, u, v in places.values()}
    for name, (node, x, y) in places.items():
        color = style.INK if node.children else style.BLUE
        box(axis, x, y, f"{name} = {node.data:.3g}\ngrad {node.grad:.3g}", color, w=2.1, h=1.15)
        for child, local in zip(node.children, node.local_grads):
            u, v = nodes[id(child)]
            arrow(axis, (u + 1.1, v), (x - 1.1, y), style.ORANGE, f"{local:.3g}")
    axis.set_title("Back from y: a gradient, times the number on the arrow")
    return figure


def bridge() -> Figure:
    """How a float expert stands in a graph of Values."""
    figure, axis = canvas(14, 6.4, (6.4, 3.2))
    box(axis, 1.1, 2.9, "x\nValues", style.BLUE, w=1.5, h=1.2)
    box(axis, 4.6, 2.9, "Bridge: an expert\nin floats", style.ORANGE, w=3.1, h=1.2)
    box(axis, 8.3, 2.9, "y\nValues", style.BLUE, w=1.5, h=1.2)
    box(axis, 4.6, 5.2, "router, in Values", style.BLUE, w=3.1, h=0.9)
    box(axis, 11.9, 4.1, "gate · y\n..., loss", style.BLUE, w=2.2, h=1.2)
    arrow(axis, (1.9, 2.9), (3.0, 2.9), style.ORANGE)
    arrow(axis, (6.2, 2.9), (7.5, 2.9), style.ORANGE)
    arrow(axis, (1.5, 3.6), (3.0, 5.1), style.BLUE)
    arrow(axis, (6.2, 5.2), (10.7, 4.5), style.BLUE, "gates", dy=0.3)
    arrow(axis, (9.1, 3.1), (10.7, 3.8), style.BLUE)
    arrow(axis, (10.7, 3.5), (9.15, 2.5), style.INK, "dL/dy", dy=-0.75)
    arrow(axis, (7.5, 2.5), (6.25, 2.5), style.INK, "inbox", dy=-0.6)
    arrow(axis, (3.0, 2.5), (1.9, 2.5), style.INK, "dL/dx", dy=-0.6)
    axis.text(7.0, 0.1, "push() turns dL/dy into dL/dx by the derivation on paper,\n"
              "and leaves the gradients of the expert's weights in its arrays",
              ha="center", va="bottom", fontsize=11)  # fmt: skip
    axis.set_title("The bridge: floats with a backward by hand, in a graph")
    return figure


PARTS = [
    ("1  thesis", "the question, papers, what to look for", False),
    ("2  settings", "every number, with its reason", False),
    ("3  autograd", "Value, and fused operations", True),
    ("4  model", "letters, a tiny GPT", True),
    ("5  training", "Adam, loss, sampling", True),
    ("6  the algorithm", "what this file is for", False),
    ("7  experiment", "measure, show, claim", False),
    ("appendix", "names, files, drawing, command line", True),
]


def skeleton() -> Figure:
    """The eight parts of a script, shared and own."""
    figure, axis = canvas(12, 8.6, (6.4, 3.6))
    for i, (name, what, shared) in enumerate(PARTS):
        y, color = 7.9 - i, style.INK if shared else style.BLUE
        axis.add_patch(Rectangle((0.3, y - 0.4), 0.25, 0.8, facecolor=color))
        weight = "bold" if name.startswith("6") else "normal"
        axis.text(0.9, y, name, color=color, va="center", fontweight=weight)
        axis.text(4.2, y, what, color=color, va="center")
    axis.text(11.9, 7.9, "own", color=style.BLUE, ha="right", va="center")
    axis.text(11.9, 4.9, "shared to the letter", color=style.INK, ha="right", va="center")
    axis.set_title("A script in eight parts: the blue ones are what differs")
    return figure


DIAGRAMS = {
    "low-rank": (low_rank, "A frozen square matrix plus the product of two thin ones"),
    "value-graph": (value_graph, "A graph of seven Values with values, local slopes and gradients"),
    "bridge": (bridge, "Router in Values, expert in floats, joined in one graph"),
    "skeleton": (skeleton, "The eight parts of a script, four of them shared"),
}
