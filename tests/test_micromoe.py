"""micromoe.py: experts, their node in the graph, router, load-balancing loss, experiment."""

import gc
import io
import math
import random
import unittest
import weakref
from contextlib import redirect_stderr
from unittest.mock import patch

import micromoe as m
from micromoe import Value
from tests.helpers import slope

D, EXPERTS, WIDTH = 4, 5, 3
FACTS = [(code, letter, (code + 2 * letter) % 6) for code in range(3) for letter in range(6)]


def gauss(rng, n, std=1.0):
    return [rng.gauss(0.0, std) for _ in range(n)]


def values(xs):
    return [Value(x) for x in xs]


def grads(xs):
    return [x.grad for x in xs]


def weights(expert):
    return [x for row in expert.w1 + expert.w2 for x in row]


class Moe(unittest.TestCase):
    def setUp(self):
        sizes = patch.multiple(m, N_EMBD=D, CODES=3, LETTERS=6, TOP_K=2, BATCH_SIZE=6, STEPS=7)
        sizes.start()
        self.addCleanup(sizes.stop)
        self.rng = random.Random(3)
        self.experts = [m.Expert(WIDTH, self.rng) for _ in range(EXPERTS)]
        self.model = m.init_model(EXPERTS, self.rng)
        for p in m.parameters(self.model):
            p.data = self.rng.gauss(0.0, 1.0)

    def close(self, got, want, tolerance=1e-9):
        self.assertEqual(len(got), len(want))
        for a, b in zip(got, want):
            self.assertLessEqual(abs(a - b), tolerance * max(1.0, abs(b)), (got, want))

    def train(self, n_experts, balance=0.0):
        with redirect_stderr(io.StringIO()):
            return m.train("", n_experts, WIDTH, balance, 0.1, FACTS, 0)

    def test_backward_of_an_expert_against_central_differences(self):
        expert, x, g = self.experts[0], gauss(self.rng, D), gauss(self.rng, D)
        h, y = expert.forward(x)
        self.assertTrue(0 < sum(h_j > 0.0 for h_j in h) < WIDTH)  # some units on, some off
        x_grad = expert.backward(x, h, g)
        pairs = [(x, x_grad), *zip(expert.w1 + expert.w2, expert.w1_grad + expert.w2_grad)]
        for numbers, gradient in pairs:
            for i, kept in enumerate(list(numbers)):

                def loss(value, numbers=numbers, i=i):
                    numbers[i] = value
                    return m.dot(g, expert.forward(x)[1])

                self.assertAlmostEqual(gradient[i], slope(loss, kept), 8)
                numbers[i] = kept
        once = [row[:] for row in expert.w1_grad + expert.w2_grad]
        expert.backward(x, h, g)  # gradients add up, and step() sets them back to 0
        for row, first in zip(expert.w1_grad + expert.w2_grad, once):
            self.close(row, [2.0 * value for value in first])
        expert.step(0.1)
        self.assertEqual({v for row in expert.w1_grad + expert.w2_grad for v in row}, {0.0})

    def test_a_step_against_the_same_model_in_values(self):
        class Run:  # an ExpertRun in Values
            def __init__(self, expert, x):
                w1, w2 = in_values[expert]
                self.outputs = m.matvec(w2, [m.relu(a) for a in m.matvec(w1, x)])

        in_values = {e: [[values(row) for row in w] for w in (e.w1, e.w2)] for e in self.experts}
        got = []
        for run in (m.ExpertRun, Run):
            model = m.unfreeze(m.freeze(self.model))
            with patch.object(m, "ExpertRun", run):
                loss, logits, shares = m.forward(model, self.experts, FACTS)
                (loss + m.balance_loss(logits, shares) * 0.7).backward()
            got.append((loss.data, model))
        self.assertAlmostEqual(got[0][0], got[1][0], 12)
        for name, w in got[0][1].items():
            for row, other in zip(w, got[1][1][name]):
                self.close(grads(row), grads(other))
        self.assertGreater(math.hypot(*grads(m.parameters(model))), 0.1)
        for expert, (w1, w2) in in_values.items():
            for row, other in zip(expert.w1_grad + expert.w2_grad, w1 + w2):
                self.close(row, grads(other))

    def test_what_the_chosen_logits_get(self):
        x, g = values(gauss(self.rng, D)), gauss(self.rng, D)
        y, logits, chosen = m.moe(self.model, self.experts, x)
        m.dot(y, g).backward()
        self.assertEqual({logits[i] for i in chosen}, set(sorted(logits, key=lambda z: z.data)[3:]))
        w = m.softmax([logits[i].data for i in chosen])
        want = [0.0] * EXPERTS
        for w_i, i in zip(w, chosen):
            o = self.experts[i].forward(m.detach(x))[1]
            want[i] = w_i * m.dot(g, [a - b.data for a, b in zip(o, y)])
        self.close(grads(logits), want)
        self.assertAlmostEqual(sum(want), 0.0, 12)
        self.assertGreater(max(want), 1e-3)
        self.close(m.moe(m.freeze(self.model), self.experts, m.detach(x))[0], m.detach(y))

    def test_a_single_expert_trains_no_router(self):
        with patch.object(m, "TOP_K", 1):
            row = m.evaluate(self.model, self.experts, FACTS)
        self.assertEqual(row["gradient"], 0.0)
        self.assertGreater(m.evaluate(self.model, self.experts, FACTS)["gradient"], 1e-3)
        x = gauss(self.rng, D)
        one = m.freeze(m.init_model(1, self.rng))
        self.assertEqual(m.moe(one, self.experts[:1], x)[0], self.experts[0].forward(x)[1])

    def test_the_graph_is_freed_without_a_collector(self):
        gc.disable()
        self.addCleanup(gc.enable)
        run = m.ExpertRun(self.experts[0], [x * 1.0 for x in values(gauss(self.rng, D))])
        loss, reference = m.total(run.outputs), weakref.ref(run)
        loss.backward()
        del run, loss
        self.assertIsNone(reference())

    def test_balance_loss_and_its_gradient(self):
        rows = [values(gauss(self.rng, EXPERTS, 2.0)) for _ in range(4)]
        f = m.softmax(gauss(self.rng, EXPERTS))
        loss = m.balance_loss(rows, f)
        loss.backward()
        probs = [m.softmax(m.detach(z)) for z in rows]
        means = [sum(column) / 4 for column in zip(*probs)]
        self.assertAlmostEqual(loss.data, EXPERTS * m.dot(f, means), 12)
        for z, p in zip(rows, probs):
            self.close(grads(z), [EXPERTS * q * (s - m.dot(f, p)) / 4 for q, s in zip(p, f)])
        numbers = [m.detach(z) for z in rows]

        def changed(value):
            return m.balance_loss([[value, *numbers[0][1:]], *numbers[1:]], f)

        self.assertAlmostEqual(rows[0][0].grad, slope(changed, numbers[0][0]), 8)
        self.assertAlmostEqual(m.balance_loss([[0.5] * EXPERTS] * 3, f), 1.0)  # whatever f is

    def test_evaluate(self):
        for i, b in enumerate((99.0, 98.0, 0.0, -99.0, -99.0)):
            self.model["router_bias"][0][i].data = b
        row = m.evaluate(self.model, self.experts, FACTS)
        self.assertEqual((row["idle"], row["smallest"]), (3, 0.0))
        loss, logits, shares = m.forward(m.freeze(self.model), self.experts, FACTS)
        self.assertEqual((row["loss"], shares), (loss, [0.5, 0.5, 0.0, 0.0, 0.0]))
        self.assertEqual({v for e in self.experts for r in e.w1_grad for v in r}, {0.0})
        self.assertEqual(row["B"], m.balance_loss(logits, shares))
        router = self.model["router"]
        m.forward(self.model, self.experts, FACTS)[0].backward()
        norm = math.hypot(*(w.grad for w_row in router for w in w_row))
        self.assertAlmostEqual(row["gradient"], norm, 12)
        with patch.object(m, "forward", lambda *_: (Value(0.0), [[0.0] * 3], [0.03, 0.04, 0.93])):
            row = m.evaluate(self.model, [None] * 3, FACTS)
        self.assertEqual((row["idle"], row["smallest"]), (1, 0.09))  # idle: below a tenth

    def test_an_even_start(self):
        with patch.multiple(m, CODES=14, LETTERS=26, N_EMBD=8, INIT_STD=0.3):
            model = m.freeze(m.init_model(16, random.Random(1)))
        for name, std in (("codes", 0.322), ("letters", 0.312)):
            columns = [sorted(column) for column in zip(*model[name])]
            self.assertTrue(all(column == columns[0] for column in columns))
            self.close(columns[0], [-x for x in reversed(columns[0])])
            mean_square = sum(x * x for x in columns[0]) / len(columns[0])
            self.assertAlmostEqual(math.sqrt(mean_square), std, 3)
        for i, row in enumerate(model["router"]):
            want = [0.0] * 8
            want[i % 8] = m.ROUTER_INIT if i < 8 else -m.ROUTER_INIT
            self.assertEqual(row, want)

    def test_an_expert_without_tokens_does_not_move(self):
        made, init_model = [], m.init_model

        class Expert(m.Expert):
            def __init__(self, *args):
                super().__init__(*args)
                for adam in self.adams:  # as after a step with a gradient: momentum
                    adam.changes([1.0] * len(adam.m), 0.0)
                made.append((self, weights(self)))

        def dropped(*args):
            model = init_model(*args)
            model["router_bias"][0][2].data = -99.0
            return model

        with patch.multiple(m, Expert=Expert, init_model=dropped):
            self.train(EXPERTS)
        moved = [weights(expert) != first for expert, first in made]
        self.assertEqual(moved, [True, True, False, True, True])

    def test_every_model_sees_every_fact_once_in_a_pass(self):
        forward, seen = m.forward, []

        def recorded(model, experts, facts):
            seen.append(facts)
            return forward(model, experts, facts)

        unbalanced = self.train(EXPERTS)
        with patch.multiple(m, forward=recorded, SNAPSHOTS=(0, 3)):
            history = self.train(EXPERTS, 0.5)
            self.assertEqual(list(history), [0, 3, 7])
            self.assertLess(history[7]["loss"], history[0]["loss"])
            self.assertNotEqual(history[7], unbalanced[7])
            half = len(seen)
            self.train(1)
        self.assertEqual(seen[:half], seen[half:])
        batches = [facts for facts in seen[:half] if len(facts) == 6]
        self.assertEqual(len(batches), 7)
        for start in (0, 3):
            self.assertEqual(sorted(sum(batches[start : start + 3], [])), FACTS)
        self.assertNotEqual(batches[:3], batches[3:6])


if __name__ == "__main__":
    unittest.main()
