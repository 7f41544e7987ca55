"""The documentation against the scripts and the kept runs, so that it cannot go stale."""

import ast
import importlib
import re
import unittest

import microppo
from microppo import Value
from tests.helpers import ROOT
from tests.tools import links, sections

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
IMPLEMENTATION = (DOCS / "implementation.md").read_text("utf-8")
INTERFACE = (DOCS / "autograd-interface.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
KOREAN = (DOCS / "README.ko.md").read_text("utf-8")
PYTORCH = (ROOT / "tests" / "golden" / "pytorch.py").read_text("utf-8")
TEXTS = {path.stem: path.read_text("utf-8") for path in sections.scripts()}
RUNS = {name: (DOCS / "runs" / f"{name}.txt").read_text("utf-8") for name in TEXTS}
TITLES = ["What runs", "Settings, and why", "Details", "In PyTorch", "What is printed", "Controls",
          "What it does not show"]  # fmt: skip


def chapter(name):
    """A script's chapter, its sections headed ###."""
    page = DOCS / "further" / f"{name}.md"
    if page.exists():
        return page.read_text("utf-8").replace("\n## ", "\n### ")
    return IMPLEMENTATION.split(f"\n## {name}.py\n")[1].split("\n## ")[0]


def part(name, title):
    return chapter(name).split(f"### {title}\n")[1].split("\n### ")[0]


class Chapters(unittest.TestCase):
    def test_titles(self):
        for name in TEXTS:
            found = re.findall(r"^### (.*)$", chapter(name), re.M)
            last = "Where to go next" if (DOCS / "further" / f"{name}.md").exists() else "In "
            wanted = [title for title in TITLES if title in found or title != "In PyTorch"]
            self.assertEqual(found[:-1], wanted, name)
            self.assertTrue(found[-1].startswith(last), name)

    def test_every_setting_in_a_table_has_the_scripts_value(self):
        for name in TEXTS:
            module, checked = importlib.import_module(name), 0
            rows = re.findall(r"^\| (`[A-Z][^|]*) \| ([^|]*) \|", part(name, "Settings, and why"), re.M)
            for names, values in rows:
                settings = re.findall(r"`([A-Z_0-9]+)`", names)
                actual = [getattr(module, setting) for setting in settings]
                actual = actual[0] if len(actual) == 1 and isinstance(actual[0], (list, tuple)) else actual
                self.assertEqual([float(v) for v in values.split(",")], list(actual), f"{name}: {names}")
                checked += len(settings)
            self.assertGreater(checked, 4, name)

    def test_columns_that_are_explained_are_printed(self):
        for name in TEXTS:
            cells = re.findall(r"^\| ([^|]+) \| [^|]", part(name, "What is printed"), re.M)[2:]
            self.assertTrue(cells, name)
            for cell in cells:
                for column in cell.split(", "):
                    self.assertIn(column.strip("` "), RUNS[name], name)

    def test_code_is_that_of_a_script_or_of_pytorch(self):
        sources = "\n".join([*TEXTS.values(), PYTORCH])
        for page in PAGES:
            for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S):
                self.assertIn(code.strip(), sources, f"{page.name}: {code[:60]}")

    def test_functions_that_are_named_exist(self):
        for name, text in TEXTS.items():
            for function in re.findall(r"\[`(\w+)\(\)`\]", chapter(name)):
                self.assertIn(f"def {function}(", text, name)


class KeptRuns(unittest.TestCase):
    def claims(self, name):
        return re.findall(r"^  (ok  |FAIL) (.+?) +(\S+) (<=|>=) (\S+)$", RUNS[name], re.M)

    def test_every_claim_held(self):
        for name in TEXTS:
            claims = self.claims(name)
            self.assertIn(len(claims), range(4, 8), name)
            self.assertEqual([c for c in claims if c[0] != "ok  "], [], name)

    def test_a_full_run_fits_into_80_columns(self):
        for name, run in RUNS.items():
            for line in run.split("\nclaims")[0].splitlines():
                self.assertLessEqual(len(line), 80, f"{name}: {line}")

    def test_the_first_line_names_script_and_seed(self):
        for name, run in RUNS.items():
            self.assertIn(f"{name}, seed 42", run.splitlines()[0])

    def test_bounds_are_those_of_the_scripts(self):
        for name, text in TEXTS.items():
            printed = [(relation, float(bound)) for *_, relation, bound in self.claims(name)]
            tree, bounds = ast.parse(text), []
            for node in ast.walk(tree):
                if isinstance(node, ast.Tuple) and len(node.elts) == 4:
                    relation = node.elts[2]
                    if isinstance(relation, ast.Constant) and relation.value in (">=", "<="):
                        bounds.append((node.lineno, relation.value, float(ast.literal_eval(node.elts[3]))))
            self.assertEqual(printed, [bound[1:] for bound in sorted(bounds)], name)

    def test_claims_over_seeds_are_of_the_present_bounds(self):
        page = (DOCS / "results" / "claims.md").read_text("utf-8")
        for name in TEXTS:
            table = page.split(f"\n## {name}:")[1].split("\n## ")[0]
            rows = re.findall(r"^\| (.+?) \| ([<>]= \S+) \|", table, re.M)
            wanted = [(what.strip(), f"{r} {b}") for _, what, _, r, b in self.claims(name)]
            self.assertEqual(rows, wanted, name)


class Interface(unittest.TestCase):
    def test_vectors(self):
        def grads(y, *inputs):
            y.backward()
            return [y.data, *(v.grad for v in inputs)]

        a, b, c, d = Value(2.0), Value(-3.0), Value(0.5), Value(3.0)
        z, big = [Value(1.0), Value(2.0), Value(3.0)], [Value(700.0), Value(0.0)]
        got = [
            *grads(a * b + a**2 / b, a, b),
            *grads(c.exp().log(), c),
            *grads(1 - d**-1 * 2, d),
            *grads(microppo.cross_entropy(z, 0), *z),
            *grads(microppo.cross_entropy(big, 1), *big),
        ]
        table = INTERFACE.split("## Test vectors")[1].replace("−", "-")
        cells = [line.split("|")[2:4] for line in table.splitlines() if line.startswith("|")][2:]
        want = []
        for value, gradients in cells:
            want += [float(x) for x in re.sub(r"\*\w+\*:", "", value + "," + gradients).split(",")]
        self.assertEqual(len(got), len(want))
        for x, y in zip(got, want):
            self.assertAlmostEqual(x, y, delta=1e-12 * max(1.0, abs(y)))

    def test_every_operation_is_documented(self):
        for name, thing in vars(Value).items():
            if not name.startswith("_") and callable(thing):
                self.assertIn(f"{name}(", INTERFACE, name)
        section = sections.common(TEXTS["microppo"])["Autograd"]
        for name in re.findall(r"^def (\w+)", section, re.M):
            self.assertIn(f"`{name}(", INTERFACE, name)


class FrontDoor(unittest.TestCase):
    def test_the_korean_page_has_the_same_commands_and_output(self):
        for fence in ("sh", "text"):
            fenced = re.compile(rf"```{fence}\n(.*?)```", re.S)
            self.assertEqual(fenced.findall(README), fenced.findall(KOREAN))

    def test_every_script_has_a_row(self):
        for page in (README, KOREAN, (DOCS / "further" / "README.md").read_text("utf-8")):
            for name in TEXTS:
                wanted = (DOCS / "further" / f"{name}.py").exists() or page in (README, KOREAN)
                self.assertEqual(f"| [{name}.py](" in page, wanted, name)

    def test_functions_in_the_glossary_stand_in_a_script(self):
        page = (DOCS / "glossary.md").read_text("utf-8")
        names = set(re.findall(r"`(\w+)\(\)`", page))
        self.assertGreater(len(names), 20)
        text = "\n".join(TEXTS.values())
        self.assertEqual([name for name in names if f"def {name}(" not in text], [])

    def test_the_output_is_that_of_a_run(self):
        lines = {line for run in RUNS.values() for line in run.splitlines()}
        outputs = re.findall(r"```text\n(.*?)```", README, re.S)
        self.assertTrue(outputs)
        for output in outputs:
            for line in output.splitlines():
                self.assertIn(line, lines)

    def test_links_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
                self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_links_have_the_present_lines(self):
        self.assertEqual(links.outdated(), [])


if __name__ == "__main__":
    unittest.main()
