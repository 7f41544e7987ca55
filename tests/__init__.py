"""The tests; further scripts are imported by their names, like those at the top level."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs" / "further"))
