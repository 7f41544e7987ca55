"""Break the scripts at random places, and see whether a test notices.

    python tests/tools/mutations.py microppo [--count 150] [--seed 1]
    python tests/tools/mutations.py shared               the shared blocks of sections 3 to 7

A mutant changes one operator, comparison, constant, sign, order of two arguments, or branch, or
drops a term or a statement, in what is a script's own of sections 3 to 7. The tests that matter
for that script run in a copy of the project, and stop at the first that fails. Equivalent mutants
are marked in equivalent.py, with the reason. Left out is what only shows: print(), note(),
progress(), functions called show_*, and texts, whose test are the runs that CI compares to the
byte; and the bounds of claims, which test_docs compares with the kept runs.

Writes docs/results/mutations/SCRIPT.md; exit status 1 if more than 3 % survive.

By their documentation, two kept libraries came near. mutmut 3 runs pytest, and finds mutants by the
module name that a path gives, which a script in docs/further, imported by its bare name, has not.
cosmic-ray takes any test command; what shared blocks need, one change in several files at once, it
would have to be taught. Neither was tried.
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
from tests.tools import blocks
from tests.tools.blocks import ROOT
from tests.tools.equivalent import EQUIVALENT

RESULTS = ROOT / "docs" / "results" / "mutations"
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
SHOWN = re.compile(r"^(show_\w+|print|note|progress)$")


def is_shown(node: ast.AST) -> bool:
    """A call of what only shows."""
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return named and bool(SHOWN.match(node.func.id))  # type: ignore[attr-defined]


def is_claim(node: ast.Tuple) -> bool:
    """(text, measured, relation, bound)."""
    relation = node.elts[2] if len(node.elts) == 4 else None
    return isinstance(relation, ast.Constant) and relation.value in ("<=", ">=")


class Finder(ast.NodeVisitor):
    """Collects the mutants of a syntax tree whose lines are wanted."""

    def __init__(self, text: str, wanted: set[int]):
        self.text, self.wanted = text, wanted
        self.found: list[Mutant] = []
        self.lines = [0]
        for line in text.encode().splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.raw = text.encode()

    def at(self, line: int, column: int) -> int:
        """A place in the text from the tree's line and column, which counts bytes."""
        return len(self.raw[: self.lines[line - 1] + column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = self.at(node.lineno, node.col_offset)
        return start, self.at(node.end_lineno, node.end_col_offset)

    def source(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.text[start:end]

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
        if isinstance(node, ast.Tuple) and is_claim(node):
            self.visit(node.elts[1])  # the bound is compared with the kept runs, by test_docs
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
        if isinstance(value, bool):
            self.add(*self.span(node), str(not value), "constant")
        elif isinstance(value, int):
            self.add(*self.span(node), str(value + 1), "constant")
        elif isinstance(value, float):
            self.add(*self.span(node), repr(1.5 * value or 1.0), "constant")

    def visit_Call(self, node: ast.Call) -> None:
        if len(node.args) > 1 and not isinstance(node.args[0], ast.Starred):
            a, b = self.source(node.args[0]), self.source(node.args[1])
            if a != b:
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


def wanted_lines(text: str, shared: bool) -> set[int]:
    """The lines of sections 3 to 7 that are shared, or that are the script's own."""
    lines: set[int] = set()
    place, inside = 1, False
    for name, run in blocks.pieces(text):
        height = run.count("\n")
        inside = (inside or run.startswith("# 3. ")) and not run.startswith("# APPENDIX")
        if inside and (name is not None) == shared:
            lines |= set(range(place, place + height))
        place += height
    return lines


def mutants_of(text: str, shared: bool = False) -> list[Mutant]:
    finder = Finder(text, wanted_lines(text, shared))
    finder.visit(ast.parse(text))
    return [m for m in finder.found if not text[m.start : m.end].startswith(('"', "'"))]


def changed(text: str, mutant: Mutant) -> str:
    return text[: mutant.start] + mutant.new + text[mutant.end :]


def line_of(text: str, mutant: Mutant) -> str:
    return text.splitlines()[mutant.line - 1].strip()


def new_copy(folder: Path) -> None:
    """Tests and scripts, side by side as in the project."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=skip)
    for path in blocks.scripts():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def verdict(folder: Path, modules: list[str]) -> str:
    """The first test that fails, or "survived"."""
    for module in modules:
        command = [sys.executable, "-B", "-m", "unittest", "-f", module]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{module}: timeout"
        if done.returncode:
            found = re.search(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.M)
            return f"{module.split('.')[-1]}: {found[1] if found else 'does not run'}"
    return "survived"


def examine(script: str, count: int, seed: int, jobs: int) -> list[tuple[str, str, str]]:
    """(line, kind, verdict) of a sample of mutants."""
    shared = script == "shared"
    source = next(p for p in blocks.scripts() if p.stem == ("microdpo" if shared else script))
    text = source.read_text("utf-8")
    every = mutants_of(text, shared)
    sample = random.Random(seed).sample(every, min(count, len(every)))
    if shared:
        modules = ["test_golden", "test_engine", "test_microdpo", "test_microppo", "test_microlora"]
    else:
        modules = [f"test_{script}", *(["test_golden"] if source.parent == ROOT else [])]
    folders: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory() as place:
        for i in range(jobs):
            new_copy(Path(place) / str(i))
            folders.put(Path(place) / str(i))

        def check(mutant: Mutant) -> tuple[str, str, str]:
            folder = folders.get()
            new = changed(text, mutant)
            copies = {source: new}
            if shared:  # the same change wherever the block stands
                copies |= {
                    path: blocks.transplant(blocks.shared(new), path.read_text("utf-8"))
                    for path in blocks.scripts()
                    if path != source
                }
            for path, content in copies.items():
                (folder / path.relative_to(ROOT)).write_text(content, "utf-8")
            result = verdict(folder, [f"tests.{m}" for m in modules])
            folders.put(folder)
            print(f"{mutant.line:5} {mutant.kind:18} {result}", flush=True)
            return line_of(text, mutant), mutant.kind, result

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(check, sample))


def page(script: str, seed: int, results: list[tuple[str, str, str]]) -> tuple[str, float]:
    """The page, and the share of mutants that survived without an excuse."""
    alive = [(line, kind) for line, kind, result in results if result == "survived"]
    reasons = EQUIVALENT.get(script, {})
    excused = [(key, reasons[key]) for key in alive if key in reasons]
    missed = [key for key in alive if key not in reasons]
    counted = len(results) - len(excused)
    killed = counted - len(missed)
    lines = [
        f"# {script}: mutations",
        "",
        f"Made by `python tests/tools/mutations.py {script} --count {len(results)} --seed {seed}`.",
        "",
        f"{len(results)} mutants, {len(excused)} of them equivalent; of the others {killed} killed,"
        f" {killed / counted:.1%}.",
        "",
    ]
    for title, rows in (
        ("Survived", [f"`{line}`, {kind}" for line, kind in missed]),
        ("Equivalent", [f"`{line}`, {kind}: {why}" for (line, kind), why in excused]),
    ):
        if rows:
            lines += [f"{title}:", "", *(f"- {row}" for row in rows), ""]
    return "\n".join(lines).rstrip("\n") + "\n", len(missed) / counted


def main() -> int:
    parser = argparse.ArgumentParser(description="Break a script at random places.")
    parser.add_argument("script")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="tests run at once")
    options = parser.parse_args()
    results = examine(options.script, options.count, options.seed, options.jobs)
    text, missed = page(options.script, options.seed, results)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{options.script}.md").write_text(text, "utf-8")
    print(text)
    return 1 if missed > 0.03 else 0


if __name__ == "__main__":
    sys.exit(main())
