"""Every edit of the exercises is of the present text, and compiles."""

import re
import unittest

from tests.helpers import ROOT


class Edits(unittest.TestCase):
    def test_every_edit_applies_once(self):
        page = (ROOT / "docs" / "exercises.md").read_text("utf-8")
        parts = re.split(r"^## (micro\w+\.py)$", page, flags=re.M)
        self.assertEqual(len(parts), 9)
        for name, part in zip(parts[1::2], parts[2::2]):
            text = (ROOT / name).read_text("utf-8")
            edits = re.findall(r"^\| \d \| `(.+?)` → `(.+?)` \|", part, re.M)
            self.assertEqual(len(edits), 4, name)
            for old, new in edits:
                self.assertEqual(text.count(old), 1, f"{name}: {old}")
                compile(text.replace(old, new), name, "exec")


if __name__ == "__main__":
    unittest.main()
