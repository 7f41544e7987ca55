"""The documentation against the scripts, so that it cannot go stale."""

import importlib
import random
import re
import unittest

import microppo
from microppo import Value
from tests.helpers import ROOT
from tests.tools import blocks, links

IMPLEMENTATION = (ROOT / "docs" / "implementation.md").read_text("utf-8")
INTERFACE = (ROOT / "docs" / "autograd-interface.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def chapter(name):
    """A script's chapter; a further one has a page of its own beside it."""
    page = ROOT / "docs" / "further" / f"{name}.md"
    if page.exists():
        return page.read_text("utf-8").replace("\n## ", "\n### ")
    return IMPLEMENTATION.split(f"\n## {name}.py\n")[1].split("\n## ")[0]


class Settings(unittest.TestCase):
    def test_every_setting_in_a_table_has_the_scripts_value(self):
        for path in blocks.scripts():
            module, checked = importlib.import_module(path.stem), 0
            table = chapter(path.stem).split("### Settings, and why\n")[1].split("\n### ")[0]
            for names, values in re.findall(r"^\| (`[A-Z][^|]*) \| ([^|]*) \|", table, re.M):
                names = re.findall(r"`([A-Z_]+)`", names)
                values = [float(v) for v in values.split(",")]
                for name in names:
                    actual = getattr(module, name)
                    wanted = values if isinstance(actual, list) else values[names.index(name)]
                    self.assertEqual(wanted, actual, name)
                    checked += 1
            self.assertGreater(checked, 4, path.name)

    def test_columns_that_are_explained_are_printed(self):
        for path in blocks.scripts():
            source = path.read_text("utf-8").split("# 7. EXPERIMENT")[1]
            part = re.split(r"### What is printed[^\n]*\n", chapter(path.stem))[1]
            part = part.split("\n### ")[0]
            for cell in re.findall(r"^\| ([^|]+) \| [^|]", part, re.M)[2:]:
                for column in re.split(r", |\.\.| and ", cell):
                    self.assertIn(column.strip().split()[0], source, f"{path.name}: {column}")

    def test_sizes(self):
        for name in ("microlora", "microdpo", "microppo"):
            m = importlib.import_module(name)
            model = m.init_model(len(m.alphabet_of(m.NAMES)), random.Random(1))
            self.assertIn(f"GPT of {len(m.weights_of(model)):,} parameters", chapter(name))

    def test_functions_that_are_named_exist(self):
        for path in blocks.scripts():
            text = path.read_text("utf-8")
            part = chapter(path.stem).split("### What TRL does")[0].split("### From here")[0]
            for name in re.findall(r"`(\w+)\(\)`", part):
                self.assertIn(f"def {name}(", text, f"{path.name}: {name}")


class KeptRuns(unittest.TestCase):
    def test_every_claim_held_in_every_kept_run(self):
        for path in blocks.scripts():
            run = (ROOT / "docs" / "runs" / f"{path.stem}.txt").read_text("utf-8")
            self.assertIn("\n  ok   ", run, path.name)
            self.assertNotIn("\n  FAIL ", run, path.name)

    def test_a_full_run_fits_into_80_columns(self):
        for path in blocks.scripts():
            run = (ROOT / "docs" / "runs" / f"{path.stem}.txt").read_text("utf-8")
            for line in run.splitlines():
                self.assertLessEqual(len(line), 80, f"{path.name}: {line}")

    def test_the_kept_runs_are_of_the_present_claims(self):
        for path in blocks.scripts():
            body = path.read_text("utf-8").split("# 7. EXPERIMENT")[1]
            bounds = re.findall(r'"([<>]=)", ([\d.e-]+)\)', body)
            run = (ROOT / "docs" / "runs" / f"{path.stem}.txt").read_text("utf-8")
            printed = re.findall(r"^  ok   .{48} +\S+ ([<>]=) (\S+)$", run, re.M)
            wanted, got = ([(r, float(b)) for r, b in found] for found in (bounds, printed))
            self.assertEqual(wanted, got, path.name)

    def test_results_are_of_the_present_bounds(self):
        for path in blocks.scripts():
            page = (ROOT / "docs" / "results" / f"{path.stem}.md").read_text("utf-8")
            run = (ROOT / "docs" / "runs" / f"{path.stem}.txt").read_text("utf-8")
            printed = re.findall(r"^  ok   .{48} +\S+ ([<>]= \S+)$", run, re.M)
            rows = re.findall(r"^\| .* \| ([<>]= \S+) \| \S+ \| \S+ \| \S+ \|", page, re.M)
            self.assertEqual(sorted(rows), sorted(printed), path.name)


class Interface(unittest.TestCase):
    def test_vectors(self):
        def grads(y, *inputs):
            y.backward()
            return [y.data, *(v.grad for v in inputs)]

        a, b, c, d, e = Value(2.0), Value(-3.0), Value(0.5), Value(3.0), Value(0.0)
        z, big = [Value(1.0), Value(2.0), Value(3.0)], [Value(1000.0), Value(0.0)]
        got = [
            *grads(a * b + a**2 / b, a, b),
            *grads(c.tanh().exp().log(), c),
            *grads(1 - 2 / d, d),
            *grads(e.log(), e),
            *grads(microppo.cross_entropy(z, 0), *z),
            *grads(microppo.cross_entropy(big, 1), *big),
        ]
        table = INTERFACE.split("## Test vectors")[1].replace("−", "-").replace("10¹²", "1e12")
        cells = [line.split("|")[2:4] for line in table.splitlines() if line.startswith("|")][2:]
        want = []
        for value, gradients in cells:
            numbers = re.sub(r"\*\w+\*:", "", value + "," + gradients)
            want += [float(x) for x in numbers.split(",")]
        self.assertEqual(len(got), len(want))
        for x, y in zip(got, want):
            self.assertAlmostEqual(x, y, delta=1e-12 * max(1.0, abs(y)))

    def test_every_operation_is_documented(self):
        for name, thing in vars(Value).items():
            if not name.startswith("_") and callable(thing):
                self.assertIn(f"{name}(", INTERFACE, name)
        fused = "dot total cross_entropy linear rmsnorm softmax attend floats learns relu"
        for name in fused.split():
            self.assertIn(f"`{name}(", INTERFACE)


KOREAN = (ROOT / "docs" / "README.ko.md").read_text("utf-8")


class FrontDoor(unittest.TestCase):
    def test_the_korean_page_has_the_same_commands_output_and_numbers(self):
        for fence in ("sh", "text"):
            fenced = re.compile(rf"```{fence}\n(.*?)```", re.S)
            self.assertEqual(fenced.findall(README), fenced.findall(KOREAN))
        for path in (p for p in blocks.scripts() if p.parent == ROOT):
            numbers = [
                re.findall(r"\d(?:[\d,]*\d)?", re.sub(r"\]\([^)]*\)", "", line))
                for page in (README, KOREAN)
                for line in page.splitlines()
                if line.startswith(f"| [{path.name}]")
            ]
            self.assertEqual(len(numbers), 2)
            self.assertEqual(sorted(numbers[0]), sorted(numbers[1]), path.name)

    def test_every_script_has_a_row_with_its_line_counts(self):
        for path in blocks.scripts():
            row = next(line for line in README.splitlines() if f"| [{path.name}]" in line)
            self.assertIn(f"| {links.counts(path)} |", row)

    def test_functions_in_the_glossary_stand_in_a_script(self):
        text = "\n".join(path.read_text("utf-8") for path in blocks.scripts())
        page = (ROOT / "docs" / "glossary.md").read_text("utf-8")
        names = set(re.findall(r"`(\w+)\(\)`", page))
        self.assertGreater(len(names), 30)
        self.assertEqual([name for name in names if f"def {name}(" not in text], [])

    def test_excerpts_are_in_the_scripts(self):
        text = "\n".join(path.read_text("utf-8") for path in blocks.scripts())
        excerpts = re.findall(r"```python\n(.*?)```", README, re.S)
        self.assertTrue(excerpts)
        for excerpt in excerpts:
            self.assertTrue(excerpt.strip() in text, excerpt[:80])

    def test_the_output_is_that_of_a_run(self):
        runs = [p.read_text("utf-8") for p in (ROOT / "docs" / "runs").glob("*.txt")]
        lines = {line for run in runs for line in run.splitlines()}
        outputs = re.findall(r"```text\n(.*?)```", README, re.S)
        self.assertTrue(outputs)
        for output in outputs:
            for line in output.splitlines():
                self.assertIn(line, lines)

    def test_links_lead_somewhere(self):
        for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
                self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_links_to_functions_have_the_present_lines(self):
        self.assertEqual(links.outdated(), [])


if __name__ == "__main__":
    unittest.main()
