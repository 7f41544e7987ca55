"""Break the scripts at random places, and see whether a test notices, or else the kept run.

    python tests/tools/mutations.py microppo --count 15 --seed 7
    python tests/tools/mutations.py all --count 15 --seed 7       the table in docs/results/mutations.md

A mutant changes one operator, comparison, constant, sign, order of two arguments, or branch, or
drops a term or a statement, anywhere between settings and Names; a mutant in a common section changes
it in every script. First the tests that matter run in a copy of the project; what they do not notice,
the script's default run may, whose output CI compares with docs/runs to the byte. Left out are texts
and what only shows (print(), print_row(), progress()), and the claims at the end. Survivors count
even where a mutant changes nothing. Take a seed that no test was written for.
"""

import argparse
import ast
import random
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools import kept_runs, sections
from tests.tools.sections import ROOT

PAGE = ROOT / "docs" / "results" / "mutations.md"
TIMEOUT = 240  # seconds; a mutant may loop for ever


class Mutant(NamedTuple):
    line: int
    start: int  # into the text
    end: int
    new: str
    kind: str


SWAPS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"), ast.Pow: ("**", "*"),
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip
SHOWN = re.compile(r"^(print|print_row|progress|check_claims)$")
SYMMETRIC = {"max", "min", "dot", "add"}  # swapped arguments change nothing


def is_shown(node: ast.AST) -> bool:
    """A call of what only shows."""
    return isinstance(node, ast.Call) and bool(SHOWN.match(getattr(node.func, "id", "")))


class Finder(ast.NodeVisitor):
    """Collects the mutants of a syntax tree whose lines are wanted."""

    def __init__(self, text: str, wanted: set[int]):
        self.text, self.wanted = text, wanted
        self.found: list[Mutant] = []
        self.raw = text.encode().splitlines(keepends=True)

    def at(self, line: int, column: int) -> int:
        """A place in the text from the tree's line and column, which counts bytes."""
        return len(b"".join([*self.raw[: line - 1], self.raw[line - 1][:column]]).decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        end = self.at(node.end_lineno, node.end_col_offset)
        return self.at(node.lineno, node.col_offset), end

    def source(self, node: ast.expr | ast.stmt) -> str:
        return self.text[slice(*self.span(node))]

    def add(self, start: int, end: int, new: str, kind: str) -> None:
        line = self.text.count("\n", 0, start) + 1
        if line in self.wanted:
            self.found.append(Mutant(line, start, end, new, kind))

    def swap(self, operator: ast.AST, left: ast.expr, right: ast.expr) -> None:
        """The operator between two operands, changed into its counterpart."""
        if type(operator) in SWAPS:
            old, new = SWAPS[type(operator)]
            a, b = self.span(left)[1], self.span(right)[0]
            gap = re.sub(r"#.*", lambda m: " " * len(m[0]), self.text[a:b])
            if old in gap:
                place = a + gap.index(old)
                self.add(place, place + len(old), new, f"{old} to {new}")

    def visit(self, node: ast.AST) -> None:
        """Down the tree, but not into annotations, nor into what only shows."""
        if isinstance(node, ast.FunctionDef) and SHOWN.match(node.name):
            return
        if isinstance(node, ast.JoinedStr) or is_shown(node):
            return
        getattr(self, f"visit_{type(node).__name__}", lambda node: None)(node)
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    self.visit(child)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.swap(node.op, node.left, node.right)
        self.add(*self.span(node), self.source(node.left), "term dropped")

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.swap(node.op, node.values[0], node.values[1])

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator, a, b in zip(node.ops, [node.left, *node.comparators], node.comparators):
            self.swap(operator, a, b)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if not isinstance(node.operand, ast.Constant):
            self.add(*self.span(node), f"({self.source(node.operand)})", "sign dropped")

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, int):
            new = not value if isinstance(value, bool) else value + 1
            self.add(*self.span(node), str(new), "constant")
        elif isinstance(value, float):
            self.add(*self.span(node), repr(1.5 * value or 1.0), "constant")

    def visit_Call(self, node: ast.Call) -> None:
        if len(node.args) > 1 and not isinstance(node.args[0], ast.Starred):
            a, b = self.source(node.args[0]), self.source(node.args[1])
            if a != b and self.source(node.func) not in SYMMETRIC:
                start, end = self.span(node.args[0])[0], self.span(node.args[1])[1]
                self.add(start, end, f"{b}, {a}", "arguments swapped")

    def visit_IfExp(self, node: ast.IfExp) -> None:
        a, test, b = map(self.source, (node.body, node.test, node.orelse))
        self.add(*self.span(node), f"{b} if {test} else {a}", "branches swapped")

    def visit_If(self, node: ast.If) -> None:
        self.add(*self.span(node.test), f"not ({self.source(node.test)})", "condition negated")

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.add(*self.span(test), "True", "filter dropped")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.swap(node.op, node.target, node.value)
        self.add(*self.span(node), "pass", "statement dropped")

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant) and not is_shown(node.value):
            self.add(*self.span(node), "pass", "statement dropped")


def mutants_of(text: str) -> list[Mutant]:
    """All mutants between the settings and the section Names."""
    first = text[: text.index("\n# --- Autograd")].count("\n")
    last = text[: re.search(r"^# --- (Names|Command line) -", text, re.M).start()].count("\n")
    finder = Finder(text, set(range(first, last)))
    finder.visit(ast.parse(text))
    return [m for m in finder.found if not text[m.start : m.end].startswith(('"', "'"))]


def new_copy(folder: Path) -> None:
    """Tests and scripts, side by side as in the project."""
    skip = shutil.ignore_patterns("__pycache__", "browser", "torch")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=skip)
    (folder / "docs" / "further").mkdir(parents=True)


def verdict(folder: Path, source: Path) -> str:
    """The first test that fails, "kept run" if only its output differs, or "survived"."""
    for module in (f"test_{source.stem}", "test_core", "test_golden"):
        command = [sys.executable, "-B", "-m", "unittest", "-f", f"tests.{module}"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return f"{module}: timeout"
        if done.returncode:
            found = re.search(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.M)
            return f"{module}: {found[1] if found else 'does not run'}"
    kept = (kept_runs.RUNS / f"{source.stem}.txt").read_text("utf-8")
    same = kept_runs.run(folder / source.relative_to(ROOT))[:2] == (0, kept)
    return "survived" if same else "kept run"


def examine(script: str, count: int, seed: int) -> list[str]:
    """The verdict on each mutant of a sample."""
    source = next(path for path in sections.scripts() if path.stem == script)
    text = source.read_text("utf-8")
    every = mutants_of(text)
    sample = random.Random(f"{script} {seed}").sample(every, min(count, len(every)))
    folders: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory() as place:
        for folder in (Path(place) / "1", Path(place) / "2"):
            new_copy(folder)
            folders.put(folder)

        def check(mutant: Mutant) -> str:
            folder = folders.get()
            new = text[: mutant.start] + mutant.new + text[mutant.end :]
            for path in sections.scripts():  # the same change wherever the section stands
                content = sections.with_sections_of(new, path.read_text("utf-8"))
                (folder / path.relative_to(ROOT)).write_text(content, "utf-8")
            (folder / source.relative_to(ROOT)).write_text(new, "utf-8")
            result = verdict(folder, source)
            folders.put(folder)
            line = text.splitlines()[mutant.line - 1].strip()
            print(f"{script} {mutant.line:4} {mutant.kind:18} {result:40} {line}", flush=True)
            return result

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(check, sample))


def page(seed: int, rows: dict[str, list[str]]) -> str:
    text = (
        "# Mutations\n\nMade by `python tests/tools/mutations.py all`. Who notices when a script is"
        f" broken at a random place? One sample, seed {seed}, for which no test was written: first the"
        " tests are asked, then the default run, whose output CI compares to the byte. Survivors count"
        " although some of them change nothing.\n\n"
        "| script | mutants | noticed by tests | or by the kept run | survived |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    for name, results in [*rows.items(), ("**all**", [x for xs in rows.values() for x in xs])]:
        kept, survived = results.count("kept run"), results.count("survived")
        text += f"| {name} | {len(results)} | {len(results) - kept - survived} | {kept} | {survived} |\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Break scripts at random places.")
    parser.add_argument("script", help="its name, or all")
    parser.add_argument("--count", type=int, default=15)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    every = [path.stem for path in sections.scripts()]
    chosen = every if options.script == "all" else [options.script]
    rows = {name: examine(name, options.count, options.seed) for name in chosen}
    print(page(options.seed, rows))
    if options.script == "all":
        PAGE.write_text(page(options.seed, rows), "utf-8")


if __name__ == "__main__":
    main()
