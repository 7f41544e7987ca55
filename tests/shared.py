"""Hold the shared sections of the scripts together.

    python tests/shared.py                 say which shared sections differ
    python tests/shared.py microlora.py    copy its shared sections to the others

Sections 3 to 6 of every script are the same text, but for the blocks between
a line "# --- where the scripts differ" and a line "# --- the same again".
Copying leaves those blocks of the other scripts as they are.
"""

import difflib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = range(3, 7)
RULE = "# " + "=" * 98
OPEN, CLOSE = "# --- where the scripts differ", "# --- the same again"


def scripts() -> list[Path]:
    return [
        ROOT / f"micro{name}.py"
        for name in ("lora", "dpo", "ppo", "moe")
        if (ROOT / f"micro{name}.py").exists()
    ]


def sections(text: str) -> dict[int, str]:
    """Section number to text, from its header to the next; 0 is what precedes."""
    found, number = {0: ""}, 0
    lines = text.splitlines(keepends=True)
    for here, following in zip(lines, lines[1:] + [""]):
        header = re.match(r"# (\d)\. ", following)
        if here.rstrip() == RULE and header:
            number = int(header[1])
        found[number] = found.get(number, "") + here
    return found


def pieces(section: str) -> list[tuple[bool, str]]:
    """(is it shared?, text) runs of a section; marker lines belong to own blocks."""
    runs: list[tuple[bool, str]] = [(True, "")]
    for line in section.splitlines(keepends=True):
        if line.strip().startswith(OPEN):
            runs.append((False, ""))
        kind, text = runs[-1]
        runs[-1] = (kind, text + line)
        if line.strip().startswith(CLOSE):
            runs.append((True, ""))
    return runs


def shared_text(section: str) -> str:
    return "".join(text for kind, text in pieces(section) if kind)


def transplant(source: str, target: str) -> str:
    """The source's shared text with the target's own blocks in their places."""
    result, before = shared_text(source), ""
    for kind, text in pieces(target):
        if kind:
            before = text
            continue
        # an own block stands where its last few shared lines stand in the source
        lines = before.splitlines(keepends=True)
        for count in range(1, len(lines) + 1):
            anchor = "".join(lines[-count:])
            if result.count(anchor) == 1:
                break
        else:
            raise SystemExit(f"no single place for this block:\n{text}")
        result = result.replace(anchor, anchor + text)
    return result


def differences() -> list[str]:
    """One diff for every shared section that is not the first script's."""
    first, *others = scripts()
    model = sections(first.read_text("utf-8"))
    found = []
    for other in others:
        copy = sections(other.read_text("utf-8"))
        for number in SHARED:
            ours, theirs = shared_text(model[number]), shared_text(copy.get(number, ""))
            if ours != theirs:
                found.append(
                    "".join(
                        difflib.unified_diff(
                            ours.splitlines(keepends=True),
                            theirs.splitlines(keepends=True),
                            f"{first.name} section {number}",
                            f"{other.name} section {number}",
                        )
                    )
                )
    return found


def copy_from(name: str) -> None:
    source = sections((ROOT / name).read_text("utf-8"))
    for path in scripts():
        if path.name != name:
            target = sections(path.read_text("utf-8"))
            for number in SHARED:
                target[number] = transplant(source[number], target[number])
            path.write_text("".join(target.values()), "utf-8")
            print(f"copied sections 3 to 6 of {name} to {path.name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        copy_from(Path(sys.argv[1]).name)
    remaining = differences()
    print("\n".join(remaining) or "the shared sections are the same text")
    sys.exit(1 if remaining else 0)
