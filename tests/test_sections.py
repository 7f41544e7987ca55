"""What holds for every script: common sections, imports, order, size."""

import ast
import re
import subprocess
import sys
import unittest

from tests.helpers import ROOT
from tests.tools import sections

TEXTS = {path.name: path.read_text("utf-8") for path in sections.scripts()}
LIMITS = {  # lines in all, and before Names; (560, 460) for the others
    "microlora.py": (520, 420), "micromoe.py": (480, 460), "microppo.py": (760, 660),
    "microdpo.py": (735, 625), "microspo.py": (611, 526), "microrlaif.py": (665, 580),
}  # fmt: skip


class Sections(unittest.TestCase):
    def test_there_are_twelve(self):
        self.assertEqual(len(TEXTS), 12)

    def test_common_sections_are_the_same(self):
        self.assertEqual(sections.differences(), [])

    def test_every_script_has_the_core(self):
        wanted = {"Autograd", "Models", "Training", "Command line"}
        for name, text in TEXTS.items():
            self.assertLessEqual(wanted, set(sections.common(text)), name)

    def test_common_sections_mention_no_script(self):
        for name, text in TEXTS.items():
            for title, section in sections.common(text).items():
                for script in TEXTS:
                    self.assertNotIn(script.removesuffix(".py"), section, f"{name}: {title}")

    def test_the_parts_are_the_whole(self):
        for text in TEXTS.values():
            self.assertEqual("".join(part for _, part in sections.sections(text)), text)
            self.assertEqual(sections.with_sections_of(text, text), text)

    def test_copying_replaces_a_section_and_nothing_else(self):
        head = "# --- Rows " + "-" * 30 + "\n"
        own = "# === Mine " + "=" * 30 + "\nz\n\n\n"
        end = 'if __name__ == "__main__":\n    run()\n'
        source = f"a\n\n\n{head}\nnew\n\n\n{own}{end}"
        target = f"b\n\n\n{own}{head}\nold\nolder\n\n\n{end}"
        wanted = f"b\n\n\n{own}{head}\nnew\n\n\n{end}"
        self.assertEqual(sections.with_sections_of(source, target), wanted)

    def test_size(self):
        for name, text in TEXTS.items():
            lines = text.splitlines()
            way = next(i for i, line in enumerate(lines)
                       if re.match(r"# --- (Names|Command line) -", line))  # fmt: skip
            whole, before = LIMITS.get(name, (560, 460))
            self.assertLessEqual((len(lines), way), (whole, before), name)
            self.assertLessEqual(way, before, name)
            self.assertLessEqual(max(map(len, lines)), 100, name)

    def test_standard_library_only(self):
        for name, text in TEXTS.items():
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    modules = [node.module] if isinstance(node, ast.ImportFrom) else [
                        alias.name for alias in node.names]  # fmt: skip
                    for module in modules:
                        self.assertIn(module.split(".")[0], sys.stdlib_module_names, name)

    def test_functions_fit_on_a_screen(self):
        for name, text in TEXTS.items():
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.lineno + 1
                    self.assertLessEqual(lines, 60, f"{name}: {node.name}")

    def test_sums_of_floats_are_exact(self):
        """sum() rounds otherwise from CPython 3.12 on, pstdev() from 3.11 on. A sum() may count
        (column, totals and row are integers)."""
        for name, text in TEXTS.items():
            self.assertNotRegex(text, r"\b(pstdev|stdev|pvariance|variance)\(", name)
            for line in text.splitlines():
                if re.search(r"(?<![\w.])sum\(", line.split("#")[0]):
                    counts = r"sum\((\w+ (==|!=|in|<|>)|len\(|share \*|(column|totals|row)\))"
                    self.assertRegex(line, counts, f"{name}: {line}")

    def test_import_runs_nothing(self):
        for path in sections.scripts():
            code = (
                "import random, gc; before = random.getstate()\n"
                f"import {path.stem}\n"
                "assert random.getstate() == before and gc.isenabled()"
            )
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, cwd=path.parent, capture_output=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_the_top_level_holds_what_it_should(self):
        kept = {"docs", "tests", "README.md", "pyproject.toml", "LICENSE"}
        aside = (".", "__", "practice_")
        found = {path.name for path in ROOT.iterdir() if not path.name.startswith(aside)}
        self.assertEqual(found - {name for name in TEXTS if (ROOT / name).exists()}, kept)


if __name__ == "__main__":
    unittest.main()
