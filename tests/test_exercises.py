"""The exercises: every edit is of the present text, and every solution does what is asked for."""

import importlib
import math
import random
import unittest

from tests.helpers import slope
from tests.tools import exercises
from tests.tools.blocks import ROOT, scripts


def solved(script):
    """The script's names and those of the solution, in one namespace."""
    task = next(task for task in exercises.TASKS if task.script == script)
    names = dict(vars(importlib.import_module(script)))
    exec(task.solution, names)
    return names


class Edits(unittest.TestCase):
    def test_every_edit_is_of_the_present_text_and_compiles(self):
        for exercise in exercises.EXERCISES:
            compile(exercises.edited(exercise), exercise.name, "exec")

    def test_four_and_a_task_for_each_script(self):
        for script in [path.stem for path in scripts() if path.parent == ROOT]:
            count = sum(e.script == script for e in exercises.EXERCISES)
            self.assertGreaterEqual(count, 4)
            self.assertTrue(any(task.script == script for task in exercises.TASKS))


class Solutions(unittest.TestCase):
    def test_rounded(self):
        names = solved("microlora")
        base = {"w": [[random.Random(i).gauss(0, 1) for i in range(40)], [2.0, 2.0, 2.0]]}
        got = names["rounded"](base)
        self.assertEqual(got["w"][1], base["w"][1])
        row, step = got["w"][0], (max(base["w"][0]) - min(base["w"][0])) / 15
        self.assertLessEqual(len({round(x, 9) for x in row}), 16)
        for x, y in zip(row, base["w"][0]):
            self.assertLessEqual(abs(x - y), step / 2 + 1e-12)
        self.assertEqual((min(row), max(base["w"][0])), (min(base["w"][0]), max(base["w"][0])))

    def test_ipo_wants_a_margin_and_no_more(self):
        names = solved("microdpo")
        loss, beta = names["ipo_loss"], 0.25
        self.assertEqual(loss(2.5, 0.5, beta), 0.0)
        self.assertAlmostEqual(loss(4.0, 0.0, beta), 4.0, 12)
        w = names["Value"](1.0)
        loss(w, 0.3, beta).backward()
        self.assertAlmostEqual(w.grad, slope(lambda x: loss(x, 0.3, beta), 1.0), 6)

    def test_k3_is_never_negative_and_right_in_the_mean(self):
        k3 = solved("microppo")["k3"]
        p, q = [0.7, 0.2, 0.1], [0.3, 0.3, 0.4]
        kl = sum(a * math.log(a / b) for a, b in zip(p, q))
        mean = sum(a * k3(math.log(a), math.log(b)) for a, b in zip(p, q))
        self.assertAlmostEqual(mean, kl, 12)
        for a, b in zip(p, q):
            self.assertGreaterEqual(k3(math.log(a), math.log(b)), 0.0)

    def test_a_shared_expert_works_for_every_token(self):
        names = solved("micromoe")
        rng = random.Random(3)
        experts = [names["new_expert"](3, rng) for _ in range(5)]
        d = names["N_EMBD"]
        model = {"0.router": [[rng.gauss(0, 1) for _ in range(d)] for _ in range(4)]}
        x = [rng.gauss(0, 1) for _ in range(d)]
        got = names["Shared"]([experts]).mlp(model, 0, x)
        plain = names["Mixture"]([experts[1:]]).mlp(model, 0, x)
        first = names["ask"](experts[0], x)
        for a, b, c in zip(got, plain, first):
            self.assertAlmostEqual(a, b + c, 12)


if __name__ == "__main__":
    unittest.main()
