"""Line numbers in the documentation: links to functions, [`name()`](../script.py#L123), and the
front page's counts, in rows like "| [script.py](...) | ... | 70 of 1,142 |".

    python tests/tools/links.py         bring them up to date
    python tests/tools/links.py check   exit status 1 if one is out of date (a test does this)
"""

import ast
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.blocks import ROOT, scripts

LINK = re.compile(r"\[`(\w+)(\(\))?`\]\((\S+?\.py)(?:#L\d+)?\)")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def line_of(script: Path, name: str) -> int:
    """Where a function or class of that name begins, at the top level or in a class."""
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node.lineno
    raise SystemExit(f"{script.name} has no {name}")


def counts(script: Path) -> str:
    """Lines of section 6, of all lines."""
    text = script.read_text("utf-8")
    algorithm = text.split("\n# 6. ")[1].split("\n# 7. ")[0]
    return f"{len(algorithm.splitlines()):,} of {len(text.splitlines()):,}"


def renewed(page: Path) -> str:
    """The page's text with the present line numbers."""

    def link(found: re.Match) -> str:
        name, call, target = found.groups()
        line = line_of(page.parent / target, name)
        return f"[`{name}{call or ''}`]({target}#L{line})"

    text = LINK.sub(link, page.read_text("utf-8"))
    for path in scripts():
        row = rf"(?m)^(\| \[{re.escape(path.name)}\].*\| )[\d,]+ of [\d,]+( \|)"
        text = re.sub(row, rf"\g<1>{counts(path)}\g<2>", text)
    return text


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
