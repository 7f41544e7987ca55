"""The documentation against the scripts, so that it cannot go stale."""

import importlib
import json
import random
import re
import unittest
from pathlib import Path

import microppo
from microppo import Value
from tests import shared
from tests.helpers import ROOT

IMPLEMENTATION = (ROOT / "docs" / "implementation.md").read_text("utf-8")
INTERFACE = (ROOT / "docs" / "autograd-interface.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def chapter(name):
    return IMPLEMENTATION.split(f"\n## {name}.py\n")[1].split("\n## ")[0]


class Settings(unittest.TestCase):
    def test_every_setting_in_a_table_has_the_scripts_value(self):
        for path in shared.scripts():
            module, checked = importlib.import_module(path.stem), 0
            table = chapter(path.stem).split("### Settings, and why\n")[1].split("\n### ")[0]
            for names, values in re.findall(r"^\| (`[A-Z][^|]*) \| ([^|]*) \|", table, re.M):
                names = re.findall(r"`([A-Z_]+)`", names)
                values = [v.strip() for v in values.split(",")]
                for name in names:
                    actual = getattr(module, name)
                    if isinstance(actual, list):  # BETAS, or the sweep, whose rates are elsewhere
                        if name == "SWEEP":
                            continue
                        self.assertEqual([float(v) for v in values], actual, name)
                    else:
                        self.assertEqual(float(values[names.index(name)]), float(actual), name)
                    checked += 1
            self.assertGreater(checked, 4, path.name)

    def test_every_claim_is_in_its_table_with_its_bound(self):
        for path in shared.scripts():
            text = path.read_text("utf-8")
            body = text.split("def experiment(")[1]
            claims = re.findall(r'\("([^"]{12,})", .+, "([<>]=)", ([^)]+)\)', body)
            run = (ROOT / "docs" / "runs" / f"{path.stem}.txt").read_text("utf-8")
            self.assertEqual(len(claims), len(re.findall(r"^  (?:ok  |FAIL) ", run, re.M)))
            for claim, relation, bound in claims:
                pattern = re.escape(claim).replace(r"\|", r"\\\|") + rf" \| {relation} (\S+) \|"
                found = re.search(pattern, chapter(path.stem))
                self.assertIsNotNone(found, f"{path.name}: {claim}")
                self.assertAlmostEqual(float(found[1]), eval(bound), 5, claim)

    def test_no_claim_failed_in_the_tables(self):
        for path in shared.scripts():
            statuses = re.findall(r"^\| exit status \| \|(.*)\|$", chapter(path.stem), re.M)
            self.assertEqual(len(statuses), 1, path.name)
            self.assertEqual(set(statuses[0].replace("|", " ").split()), {"0"}, path.name)

    def test_columns_that_are_explained_are_printed(self):
        for path in shared.scripts():
            source = path.read_text("utf-8").split("# 8. EXPERIMENT")[1]
            part = re.split(r"### What is printed[^\n]*\n", chapter(path.stem))[1].split("\n### ")[
                0
            ]
            for cell in re.findall(r"^\| ([^|]+) \| [^|]", part, re.M)[2:]:
                for column in re.split(r", |\.\.| and ", cell):
                    self.assertIn(column.strip().split()[0], source, f"{path.name}: {column}")


class Outlines(unittest.TestCase):
    def test_sizes(self):
        for name in ("microlora", "microdpo", "microppo"):
            m = importlib.import_module(name)
            names = m.NAMES + getattr(m, "KOREAN", [])
            model = m.init_model(len(m.alphabet_of(names)), random.Random(1))
            self.assertIn(f"GPT of {len(m.weights_of(model)):,} parameters", chapter(name))

    def test_numbers_of_comparisons(self):
        for name, text in (
            ("microdpo", "{made:,} prompts; the annotator prefers one. Fit {learnt} of"),
            ("microppo", "Train the reward model on {learnt:,} comparisons"),
        ):
            m = importlib.import_module(name)
            learnt, _ = m.split(range(m.PAIRS), random.Random(1), m.HELD_OUT)
            self.assertIn(text.format(made=m.PAIRS, learnt=len(learnt)), chapter(name))


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
        for name in (
            "dot",
            "total",
            "cross_entropy",
            "linear",
            "rmsnorm",
            "softmax",
            "attend",
            "floats",
        ):
            self.assertIn(f"`{name}(", INTERFACE)


class FrontDoor(unittest.TestCase):
    def test_line_counts(self):
        for path in shared.scripts():
            row = next(line for line in README.splitlines() if f"[{path.name}]" in line)
            lines = len(path.read_text("utf-8").splitlines())
            self.assertIn(f"| {lines:,} |", row)

    def test_excerpts_are_in_the_scripts(self):
        text = "\n".join(path.read_text("utf-8") for path in shared.scripts())
        blocks = re.findall(r"```python\n(.*?)```", README, re.S)
        self.assertTrue(blocks)
        for block in blocks:
            self.assertIn(block.strip(), text)

    def test_the_output_is_that_of_a_run(self):
        run = (ROOT / "docs" / "runs" / "microlora.txt").read_text("utf-8").splitlines()
        block = re.search(r"```text\n(.*?)```", README, re.S)[1].splitlines()
        self.assertGreater(len(block), 15)
        for line in block:
            self.assertIn(line, run)

    def test_quotes_from_the_kept_runs(self):
        quotes = (
            ("microdpo", "beta 0.3", r"gold (\S+) at a KL of (\S+) for DPO"),
            ("microppo", "with KL", r"gold (\S+) at a KL of (\S+) for PPO"),
            ("microppo", "without KL", r"endless alternation, `(\w+)`"),
            ("micromoe", "MoE, balanced", r"the mixture's loss is (\S+) in the kept run"),
            ("micromoe", "MoE, unbalanced", r"without the balance loss it is (\S+)\.\n"),
        )
        for script, row, pattern in quotes:
            run = (ROOT / "docs" / "runs" / f"{script}.txt").read_text("utf-8").splitlines()
            words = {w for line in run if line.strip().startswith(row) for w in line.split()}
            with self.subTest(script=script, row=row):
                self.assertLessEqual(set(re.search(pattern, IMPLEMENTATION).groups()), words)

    def test_the_number_of_mutants(self):
        from tests.mutants import MUTANTS

        for script, old, _ in MUTANTS:  # none of them is out of date
            path = ROOT / f"{'microlora' if script == 'shared' else script}.py"
            self.assertIn(old, path.read_text("utf-8"))
        self.assertIn(f"Of {len(MUTANTS)} deliberate", README)
        self.assertIn(f"{len(MUTANTS)} killed, 0 survived", IMPLEMENTATION)

    def test_the_diff_is_one(self):
        block = re.search(r"```diff\n\$ diff (\S+) (\S+)[^\n]*\n(.*?)```", README, re.S)
        old, new = ((ROOT / block[i]).read_text("utf-8").splitlines() for i in (1, 2))
        lines = block[3].splitlines()
        here, there = (
            [line[2:] for line in lines if line.startswith(mark)] for mark in ("< ", "> ")
        )
        self.assertTrue(here and there)
        numbers = re.search(r"^(\d+),\d+c(\d+),", block[3], re.M)
        first, second = int(numbers[1]) - 1, int(numbers[2]) - 1
        self.assertEqual(old[first : first + len(here)], here)
        self.assertEqual(new[second : second + len(there)], there)

    def test_links_lead_somewhere(self):
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
            for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
                if not link.startswith("http"):
                    self.assertTrue((page.parent / link).exists(), f"{page.name}: {link}")

    def test_number_of_names(self):
        self.assertIn(f"{len(microppo.NAMES)} given names", IMPLEMENTATION)

    def test_golden_files_are_named(self):
        for path in (Path(__file__).parent / "golden").glob("*.json"):
            self.assertTrue(json.loads(path.read_text("utf-8")))


if __name__ == "__main__":
    unittest.main()
