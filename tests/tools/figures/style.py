"""What the figures have in common: colours for light and dark pages, sizes, how a run is read."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[3]

# Middle tones, 4.3:1 against white and against GitHub's dark ground (#0d1117) alike: no color can
# have more against both.
INK = "#747a83"
BLUE, RED, GREEN, PURPLE, ORANGE = "#2e7bca", "#d24c42", "#2c8a50", "#8f60d6", "#af6800"

mpl.rcParams.update({
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "microalign",  # the same picture gives the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "savefig.transparent": True,
    "lines.linewidth": 2,
})  # fmt: skip


def printed(script: str) -> str:
    """What the script printed in the kept run."""
    return (ROOT / "docs" / "runs" / f"{script}.txt").read_text("utf-8")


def panels(count: int = 1, height: float = 3.6, width: float = 6.4) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side. 6.4 inches are 461 pixels at 72 to the inch: a column."""
    figure, axes = plt.subplots(1, count, figsize=(width, height), layout="constrained")
    return figure, [axes] if count == 1 else list(axes)


def save(figure: Figure, path: Path, description: str) -> None:
    metadata = {"Date": None, "Creator": None, "Title": description}
    figure.savefig(path, format="svg", metadata=metadata)
    plt.close(figure)
    print(path.relative_to(ROOT))
