"""docs/debugging.py, and the edits of docs/debugging.md and docs/exercises.md."""

import importlib.util
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest.mock import patch

from tests.helpers import ROOT, edited, start
from tests.tools.sections import scripts

spec = importlib.util.spec_from_file_location("debugging", ROOT / "docs" / "debugging.py")
m = importlib.util.module_from_spec(spec)
spec.loader.exec_module(m)

PAGE = """# Page

```text case 3 seed 7 ^gold
```

### 3. A case

```diff microx.py
-gold = 1
+gold = 2
```

```diff seed 7 gold|KL
old
```
"""


class Planting(unittest.TestCase):
    def test_hunks(self):
        text = "a = 1\n\nb = 2\nc = 3\n"
        self.assertEqual(m.plant(text, " a = 1\n+x = 0\n"), "a = 1\nx = 0\n\nb = 2\nc = 3\n")
        self.assertEqual(m.plant(text, "-a = 1\n+a = 9\n@@\n-c = 3\n"), "a = 9\n\nb = 2\n")
        for edit in ("-a = \n", "-d = 1\n+d = 2\n"):  # half a line, no line
            self.assertRaises(ValueError, m.plant, text, edit)
        self.assertRaises(ValueError, m.plant, "a\na\n", "-a\n+b\n")  # two places

    def test_what_differs_is_written_into_the_page(self):
        def output(script, edit, seed):
            return ["table", f"gold {len(edit)} of {seed}", "KL 0"]

        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            page.write_text(PAGE)
            with patch.multiple(m, PAGES=[page], output=output):
                self.assertEqual(m.read_cases()["3"][:2], ("A case", "microx.py"))
                m.write(["4"])
                self.assertEqual(page.read_text(), PAGE)
                m.write(["3"])
            wanted = PAGE.replace("^gold\n", "^gold\ngold 20 of 7\n")
            wanted = wanted.replace("\nold\n", "\n-gold 0 of 7\n+gold 20 of 7\n KL 0\n")
            self.assertEqual(page.read_text(), wanted)


class Pages(unittest.TestCase):
    cases = m.read_cases()

    def test_every_edit_applies(self):
        with patch("builtins.print") as said:
            self.assertEqual(m.check([]), 0, said.mock_calls)

    def test_there_are_enough(self):
        numbers = [case for case in self.cases if case.isdigit()]
        self.assertGreaterEqual(len(numbers), 20)
        page = m.PAGES[0].read_text("utf-8")
        riddles = re.findall(r"^```text case (\d+) ", page, re.M)
        self.assertEqual(len(set(riddles)), 10)
        for path in scripts():
            mine = [case for case in self.cases if case.startswith(path.stem + " ")]
            self.assertGreaterEqual(len(mine), 4, path.stem)  # three edits, and code to write
            for case in mine:
                self.assertEqual(self.cases[case][1], str(path.relative_to(ROOT)))

    def test_every_result_is_filled_in(self):
        for page in m.PAGES:
            for section in m.split(page):
                for fence, *_ in m.results(section, self.cases, []):
                    self.assertGreater(fence[0].count("\n"), 1, fence[0])

    def test_a_few_edits_run(self):
        with tempfile.TemporaryDirectory() as folder:
            for case in list(self.cases)[::25]:
                path = Path(folder) / Path(self.cases[case][1]).name
                text = (ROOT / self.cases[case][1]).read_text("utf-8")
                path.write_text(m.plant(text, self.cases[case][2]), "utf-8")
                done = start(edited(path, folder))
                self.assertNotIn(b"SyntaxError", done.stderr, case)
                self.assertTrue(done.stdout, f"{case}: {done.stderr}")

    def test_command(self):
        command = [sys.executable, str(ROOT / "docs" / "debugging.py")]
        listed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        self.assertEqual(len(listed.stdout.splitlines()), len(self.cases))
        wrong = subprocess.run([*command, "999"], capture_output=True, text=True)
        self.assertEqual((wrong.returncode, "no case 999" in wrong.stderr), (2, True))


if __name__ == "__main__":
    unittest.main()
