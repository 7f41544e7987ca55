"""The scripts, and the sections that they have in common.

    python tests/tools/sections.py                      say which common sections differ
    python tests/tools/sections.py copy microlora.py    copy its common sections to the others

"# --- Title ---" heads a common section, the same to the letter in every script that has one of
that title. "# === Title ===" heads a section of the script's own. A section ends where the next one
starts, or at the line that runs the script. What else deals with "every script" asks scripts().
"""

import difflib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = re.compile(r'^(?=# (?:---|===) .* (?:---+|===+)$|if __name__ == "__main__":$)', re.M)
COMMON = re.compile(r"# --- (.*) -+\n")


def scripts() -> list[Path]:
    """Every script of the collection, those at the top level first."""
    return sorted(ROOT.glob("micro*.py")) + sorted((ROOT / "docs" / "further").glob("micro*.py"))


def sections(text: str) -> list[tuple[str | None, str]]:
    """(title of a common section or None, text), which together are the whole text."""
    parts = START.split(text)
    titles = [COMMON.match(part) for part in parts]
    return [(title[1] if title else None, part) for title, part in zip(titles, parts)]


def common(text: str) -> dict[str, str]:
    """Title to text of the common sections, without the blank lines at their ends."""
    return {title: part.rstrip("\n") for title, part in sections(text) if title}


def differences() -> list[str]:
    """One diff for every common section that differs from that of the first script that has it."""
    first: dict[str, tuple[str, str]] = {}
    found = []
    for path in scripts():
        for title, text in common(path.read_text("utf-8")).items():
            wanted, name = first.setdefault(title, (text, path.name))
            if text != wanted:
                sides = wanted.splitlines(), text.splitlines()
                found.append("\n".join(difflib.unified_diff(*sides, name, path.name, lineterm="")))
    return found


def with_sections_of(source: str, text: str) -> str:
    """A script's text, its common sections replaced by those of the same title in source."""
    new = common(source)
    result = ""
    for title, part in sections(text):
        blank = part[len(part.rstrip("\n")) :]
        result += new[title] + blank if title in new else part
    return result


def main(arguments: list[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "copy":
        source = next(path for path in scripts() if path.name == Path(arguments[1]).name)
        for path in scripts():
            text = path.read_text("utf-8")
            new = with_sections_of(source.read_text("utf-8"), text)
            if new != text:
                path.write_text(new, "utf-8")
                print(f"copied common sections of {source.name} to {path.name}")
    elif arguments:
        sys.exit(__doc__)
    found = differences()
    print("\n".join(found) or "the common sections are the same")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
