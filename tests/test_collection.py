"""What holds for every script: shared blocks, order of sections, imports, names."""

import ast
import subprocess
import sys
import unittest

from tests.helpers import ROOT
from tests.tools import blocks


class Collection(unittest.TestCase):
    def test_there_are_scripts(self):
        names = [path.name for path in blocks.scripts()]
        self.assertEqual(len(set(names)), len(names))
        for name in ("microlora", "microdpo", "microppo", "micromoe"):
            self.assertIn(f"{name}.py", names)

    def test_shared_blocks_are_identical(self):
        self.assertEqual(blocks.differences(), [])

    def test_every_script_has_the_engine_and_the_sections_in_order(self):
        wanted = {"AUTOGRAD", "MODEL", "TRAINING", "the names", "reading files", "progress"}
        for path in blocks.scripts():
            text = path.read_text("utf-8")
            self.assertLessEqual(wanted, set(blocks.shared(text)), path.name)
            heads = [m[0] for m in blocks.MARK.finditer(text) if not m[0].startswith("# ---")]
            starts = [head.split()[1] for head in heads]
            self.assertEqual(starts, ["1.", "3.", "4.", "5.", "6.", "7.", "APPENDIX:"], path.name)

    def test_pieces_are_the_whole_text(self):
        for path in blocks.scripts():
            text = path.read_text("utf-8")
            self.assertEqual("".join(run for _, run in blocks.pieces(text)), text)
            self.assertEqual(blocks.transplant(blocks.shared(text), text), text)

    def test_copying_replaces_a_block_and_nothing_else(self):
        head = "# --- plots (shared) " + "-" * 30 + "\n"
        own = "# --- mine " + "-" * 30 + "\nz\n"
        source = f"a\n\n\n{head}\nnew\n\n\n{own}"
        target = f"b\n\n\n{head}\nold\nolder\n\n\n{own}"
        got = blocks.transplant(blocks.shared(source), target)
        self.assertEqual(got, f"b\n\n\n{head}\nnew\n\n\n{own}")

    def test_a_new_script_has_the_blocks_and_compiles(self):
        text = blocks.template("microtrial")
        known = blocks.library()
        for name, block in blocks.shared(text).items():
            self.assertEqual(block, known[name][0])
        ast.parse(text)

    def test_scripts_import_the_standard_library_and_no_other_script(self):
        for path in blocks.scripts():
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module]
                for name in names:
                    self.assertIn(name.split(".")[0], sys.stdlib_module_names)

    def test_names_that_others_rely_on(self):
        for path in blocks.scripts():
            tree = ast.parse(path.read_text("utf-8"))
            defined = {n.name for n in tree.body if hasattr(n, "name")}
            wanted = "Value dot linear softmax rmsnorm cross_entropy Adam experiment main"
            self.assertLessEqual(set(wanted.split()), defined, path.name)

    def test_functions_fit_on_a_screen(self):
        for path in blocks.scripts():
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.lineno + 1
                    self.assertLessEqual(lines, 62, f"{path.name}: {node.name}")

    def test_import_runs_nothing_and_leaves_global_randomness_alone(self):
        for path in blocks.scripts():
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
        found = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__"))}
        found -= {path.name for path in blocks.scripts()}
        self.assertEqual(found, kept)


if __name__ == "__main__":
    unittest.main()
