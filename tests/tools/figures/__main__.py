"""Draw the figures: python -m tests.tools.figures [microppo bridge ...]

Needs the dependency group "figures". Each module micro*.py here has draw(), which returns the
figure of that script, with DESCRIPTION, its text for those who cannot see it.
"""

import importlib
import sys

from tests.tools import blocks
from tests.tools.figures import diagrams, style

if __name__ == "__main__":
    for name, (draw, description) in diagrams.DIAGRAMS.items():
        if not sys.argv[1:] or name in sys.argv[1:]:
            style.save(draw(), style.ROOT / "docs" / f"{name}.svg", description)
    for path in blocks.scripts():
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        module = importlib.import_module(f"tests.tools.figures.{path.stem}")
        folder = path.parent if path.parent.name == "further" else style.ROOT / "docs"
        style.save(module.draw(), folder / f"{path.stem}.svg", module.DESCRIPTION)
