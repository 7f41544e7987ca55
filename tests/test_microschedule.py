"""microschedule.py: its schedules, the derivation before them, training and what is measured."""

import copy
import io
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microschedule as m
from tests.helpers import slope

NAMES = ["abe", "cy", "dora", "ed", "fay", "gus", "hal", "ike", "jo", "kim"]
SMALL = {"N_EMBD": 4, "STEPS": 20, "EVERY": 2}


def quietly(function, *arguments):
    """(result, what was printed)."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()) as out:
        result = function(*arguments)
    return result, out.getvalue()


def shares(schedule, steps):
    return [schedule(step, steps) for step in range(steps)]


class Schedules(unittest.TestCase):
    def assertClose(self, got, want, places=9):
        self.assertEqual(len(got), len(want))
        for a, b in zip(got, want):
            self.assertAlmostEqual(a, b, places)

    def test_by_hand(self):
        self.assertClose(shares(m.constant, 3), [1, 1, 1])
        self.assertClose(shares(m.step_decay, 8), [1] * 4 + [0.3] * 2 + [0.09] * 2)
        self.assertClose(shares(m.linear_decay, 4), [1, 0.75, 0.5, 0.25])
        self.assertClose(shares(m.cosine_decay, 4), [1, 0.5 + 8**-0.5, 0.5, 0.5 - 8**-0.5])
        self.assertClose(shares(m.warmup_stable_decay, 20), [1] * 17 + [0.75, 0.5, 0.25])
        self.assertEqual(m.average([{"w": [[1.0, 2.0]]}, {"w": [[3.0, 8.0]]}]), {"w": [[2.0, 5.0]]})

    def walk(self, lr, h, s, steps, w=0.0):
        """Steps on the loss h w^2 / 2 with noise."""
        rng, path, noise = random.Random(5), [w], []
        for _ in range(steps):
            noise.append(rng.gauss(0.0, s))
            path.append(path[-1] - lr * (h * path[-1] + noise[-1]))
        return path, noise

    def test_where_the_loss_levels_off(self):
        h, s = 0.5, 2.0
        for lr in (0.1, 0.4):
            path, _ = self.walk(lr, h, s, 100_000)
            loss = sum(h * w * w / 2 for w in path) / len(path)
            self.assertAlmostEqual(loss / (lr * s * s / (4 - 2 * lr * h)), 1.0, delta=0.05)

    def test_the_mean_of_the_path(self):
        lr, h, n = 0.3, 0.5, 50
        path, noise = self.walk(lr, h, 2.0, n, w=3.0)
        want = -sum(noise) / n / h - (path[n] - path[0]) / (lr * h * n)
        self.assertAlmostEqual(sum(path[:n]) / n, want, 12)


@patch.multiple(m, **SMALL)
class Runs(unittest.TestCase):
    def setUp(self):
        with patch.multiple(m, **SMALL):
            self.start = m.init_gpt(random.Random(3))
        self.order = (NAMES * 2)[::-1]

    def test_every_step_has_its_name_its_gradient_and_its_rate(self):
        seen = []

        def step(optimizer, lr):
            seen.append((lr, optimizer.parameters[0].grad))  # and nothing is changed
            for p in optimizer.parameters:
                p.grad = 0.0

        def loss(x, name):
            model = copy.deepcopy(self.start)
            model["wte"][0][0] = x
            return m.fmean(m.token_losses(model, m.encode(f".{name}.")))

        with patch.object(m.Adam, "step", step):
            run, _ = quietly(m.train, "x", self.start, m.linear_decay, 0.5, self.order)
        self.assertEqual(len(seen), 20)
        x = self.start["wte"][0][0]
        for i, ((lr, grad), name) in enumerate(zip(seen, self.order)):
            self.assertAlmostEqual(lr, 0.5 * (20 - i) / 20, 12)
            self.assertAlmostEqual(run.losses[i], loss(x, name), 12)
            self.assertAlmostEqual(grad, slope(lambda y, n=name: loss(y, n), x), 7)

    def test_snapshots_of_the_second_half(self):
        before = copy.deepcopy(self.start)
        run, _ = quietly(m.train, "x", self.start, m.constant, 0.1, self.order)
        self.assertEqual(self.start, before)
        self.assertEqual(len(run.snapshots), 5)  # after 12, 14, 16, 18 and 20 steps
        with patch.object(m, "STEPS", 12):
            shorter, _ = quietly(m.train, "x", self.start, m.constant, 0.1, self.order)
        self.assertEqual(shorter.snapshots[-1], run.snapshots[0])
        self.assertEqual(shorter.losses, run.losses[:12])

    def test_measure(self):
        models = [m.init_gpt(random.Random(seed)) for seed in range(5)]
        losses = [m.evaluate(model, NAMES) for model in models]
        tokens = [x for name in NAMES for x in m.token_losses(models[0], m.encode(f".{name}."))]
        self.assertAlmostEqual(losses[0], sum(tokens) / sum(len(name) + 1 for name in NAMES), 12)
        run = m.Run([float(i) for i in range(20)], models)
        row = m.measure("linear", run, NAMES)
        self.assertEqual([row[f"to {k}"] for k in (4, 8, 12, 16, 20)], [1.5, 5.5, 9.5, 13.5, 17.5])
        self.assertEqual(row["final"], losses[-1])
        self.assertAlmostEqual(row["averaged"], m.evaluate(m.average(models), NAMES), 12)
        row = m.measure("constant", run, NAMES)
        self.assertAlmostEqual(row["final"], (losses[-1] + losses[-2]) / 2, 12)

    def test_claims(self):
        final = {"constant": 2.6, "step": 2.41, "linear": 2.42, "cosine": 2.43, "WSD": 2.5,
                 "warmup": 2.48}  # fmt: skip
        low = {"constant": 2.55, "linear": 2.46}

        def measure(label, run, names):
            return {"final": run.losses, "averaged": run.losses - 0.08}

        def train(label, start, share, peak, order):
            self.assertIs(share, m.SCHEDULES[label])
            loss = final[label] if peak == m.HIGH else low[label]
            return m.Run(loss, [self.start])

        with patch.multiple(m, train=train, measure=measure), patch.object(m, "check_claims") as c:
            quietly(m.experiment, 5, NAMES)
        got = [round(measured, 9) for _, measured, _, _ in c.call_args[0][0]]
        # best of constant: 2.55, of linear 2.42, of averaged 2.47; costs 0.05 and -0.04
        self.assertEqual(got, [-0.18, -0.1, -0.08, 0.07, -0.13, -0.08, 0.09])


if __name__ == "__main__":
    unittest.main()
