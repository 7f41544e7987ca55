"""Line numbers in the documentation: links to functions, [`name()`](../script.py#L123), and the
front page's links to a script's algorithm, [745 lines](script.py#L552 "Title of its section").

    python tests/tools/links.py         bring them up to date
    python tests/tools/links.py check   exit status 1 if one is out of date (a test does this)
"""

import ast
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.sections import ROOT

FUNCTION = re.compile(r"\[`(\w+)(\(\))?`\]\(([^)\s]+?\.py)(?:#L\d+)?\)")
SECTION = re.compile(r"\[\d+ lines\]\(([^)\s]+?\.py)(?:#L\d+)? \"([^\"]+)\"\)")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def line_of(script: Path, name: str) -> int:
    """Where a function or class of that name begins, at the top level or in a class."""
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node.lineno
    raise SystemExit(f"{script.name} has no {name}")


def renewed(page: Path) -> str:
    """The page's text with the present line numbers."""

    def function(found: re.Match) -> str:
        name, call, target = found.groups()
        return f"[`{name}{call or ''}`]({target}#L{line_of(page.parent / target, name)})"

    def section(found: re.Match) -> str:
        target, title = found.groups()
        lines = (page.parent / target).read_text("utf-8").splitlines()
        heading = re.compile(rf"# [=-]+ {re.escape(title)} [=-]+$")
        place = next(i for i, line in enumerate(lines, 1) if heading.match(line))
        return f'[{len(lines)} lines]({target}#L{place} "{title}")'

    return SECTION.sub(section, FUNCTION.sub(function, page.read_text("utf-8")))


def outdated() -> list[Path]:
    return [page for page in PAGES if renewed(page) != page.read_text("utf-8")]


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["check"]):
        sys.exit(__doc__)
    for page in outdated():
        print(f"{page.relative_to(ROOT)}: {'out of date' if sys.argv[1:] else 'renewed'}")
        if not sys.argv[1:]:
            page.write_text(renewed(page), "utf-8")
        else:
            sys.exit(1)
