"""microdropout.py: the network, dropout, weight decay, early stopping, and what measures them."""

import math
import random
import unittest
from unittest.mock import patch

import microdropout as m
from microdropout import Value
from tests.helpers import slope

MASK = [0.0, 2.0, 2.0, 0.0, 2.0, 2.0, 2.0]
CONTEXT = (2, 0, 4)


def setUpModule():
    patcher = patch.multiple(m, N_EMBD=2, HIDDEN=7, ALL_ON=[1.0] * 7, MASKS=3)
    patcher.start()
    unittest.addModuleCleanup(patcher.stop)


def new_mlp():
    """Weights of a size at which everything matters, in floats."""
    model = m.init_mlp(random.Random(8))
    return {name: [[10.0 * x for x in row] for row in w] for name, w in model.items()}


class Network(unittest.TestCase):
    def test_examples(self):
        self.assertEqual(m.make_examples(["ab", "c"]), [
            ((0, 0, 0), 1), ((0, 0, 1), 2), ((0, 1, 2), 0), ((0, 0, 0), 3), ((0, 0, 3), 0)
        ])  # fmt: skip

    def test_evaluate(self):
        """Against the formula, written out; contexts may occur more than once."""
        model, losses = new_mlp(), []
        examples = [(CONTEXT, 2), (CONTEXT, 3), (CONTEXT, 3), ((1, 2, 3), 4)]
        for context, target in examples:
            x = [v for token in context for v in model["wte"][token]]
            size = math.sqrt(sum(v * v for v in x) / 6 + 1e-5)
            h = [max(0.0, sum(w * v / size for w, v in zip(row, x))) for row in model["w1"]]
            e = [math.exp(sum(w * v for w, v in zip(row, h))) for row in model["w2"]]
            losses.append(-math.log(e[target] / sum(e)))
        self.assertAlmostEqual(m.evaluate(model, examples), sum(losses) / 4, 9)

    def test_gradients(self):
        """Of the masked network, against central differences of the same in floats."""
        frozen = new_mlp()
        model = m.unfreeze(frozen)
        m.cross_entropy(m.mlp(model, CONTEXT, MASK), 1).backward()
        places = [(name, i, j) for name, w in frozen.items() for i in range(7) for j in (0, 1)]
        for name, i, j in places:
            row = frozen[name][i]
            kept = row[j]

            def loss(x, row=row, j=j):
                row[j] = x
                return m.cross_entropy(m.mlp(frozen, CONTEXT, MASK), 1)

            self.assertAlmostEqual(model[name][i][j].grad, slope(loss, kept), 6)
            row[j] = kept


class Dropout(unittest.TestCase):
    def test_mask(self):
        rng = random.Random(2)
        for p in (0.2, 0.75):
            masks = [x for _ in range(4000) for x in m.sample_mask(p, rng)]
            self.assertEqual(set(masks), {0.0, 1.0 / (1.0 - p)})
            self.assertAlmostEqual(masks.count(0.0) / len(masks), p, delta=0.01)
        self.assertEqual(m.sample_mask(0.0, rng), [1.0] * 7)

    def test_gradient(self):
        """dL/dh_i = m_i dL/dy_i: none where the unit is off."""
        h = [Value(x) for x in (0.5, -1.0, 2.0)]
        y = m.dropout(h, [0.0, 2.0, 4.0])
        self.assertEqual(m.detach(y), [0.0, -2.0, 8.0])
        m.dot(y, [3.0, 5.0, 7.0]).backward()
        self.assertEqual([x.grad for x in h], [0.0, 10.0, 28.0])

    def test_all_units_speak_for_all_subnetworks(self):
        """The mean of the logits over all 2^7 masks is the logits with all units on."""
        model = new_mlp()
        masks = [[2.0 * (bits >> i & 1) for i in range(7)] for bits in range(2**7)]
        logits = [m.mlp(model, CONTEXT, mask) for mask in masks]
        for column, want in zip(zip(*logits), m.mlp(model, CONTEXT, m.ALL_ON)):
            self.assertAlmostEqual(sum(column) / len(masks), want, 9)

    def test_subnetworks(self):
        """Loss with dropout left on, and of the mean prediction, example by example."""
        model, examples = new_mlp(), [(CONTEXT, 2), ((1, 2, 3), 4), (CONTEXT, 5)]
        got, rng = m.evaluate_masks(model, examples, random.Random(5)), random.Random(5)
        masks, one, mean = [m.sample_mask(m.DROPOUT, rng) for _ in range(3)], 0.0, 0.0
        for context, target in examples:
            p = [m.softmax(m.mlp(model, context, mask))[target] for mask in masks]
            one -= sum(map(math.log, p)) / 3 / 3
            mean -= math.log(sum(p) / 3) / 3
        self.assertAlmostEqual(got[0], one, 9)
        self.assertAlmostEqual(got[1], mean, 9)


class Remedies(unittest.TestCase):
    def test_weight_decay(self):
        """The share lr decay, and Adam's step from the gradient alone."""
        plain, decayed = [Value(2.0), Value(-1.0)], [Value(2.0), Value(-1.0)]
        adam, adamw = m.Adam(plain), m.AdamW(decayed, 3.0)
        for grads in ((0.5, 0.0), (-4.0, 0.0)):
            before = m.detach(decayed)
            for p, q, g in zip(plain, decayed, grads):
                p.data, p.grad, q.grad = q.data, g, g
            adam.step(0.1)
            adamw.step(0.1)
            for x, p, q in zip(before, plain, decayed):
                self.assertAlmostEqual(q.data, p.data - 0.1 * 3.0 * x, 12)
        self.assertAlmostEqual(decayed[1].data, -1.0 * 0.7**2, 12)

    def test_early_stopping(self):
        checkpoints = [(50, "a", 3.0), (100, "b", 2.5), (150, "c", 2.5), (200, "d", 2.9)]
        self.assertEqual(m.early_stopping(checkpoints), (100, "b", 2.5))

    def test_train(self):
        """Checkpoints where they are due; dropout and decay change what training does."""
        examples, weights = m.make_examples(["anna", "otto"]), []
        with patch.multiple(m, STEPS=6, EVAL_EVERY=3, BATCH_SIZE=2, progress=lambda *args: None):
            for p, decay in ((0.0, 0.0), (0.0, 0.0), (0.5, 0.0), (0.0, 5.0)):
                checkpoints = m.train("", p, decay, 0.05, examples, examples, 1)
                (step, model, loss), (last_step, last, _) = checkpoints
                self.assertEqual((step, last_step), (3, 6))
                self.assertEqual(loss, m.evaluate(model, examples))
                weights.append(last)
        self.assertEqual(weights[0], weights[1])
        self.assertNotIn(weights[0], weights[2:])
        norms = [sum(x * x for x in m.parameters(model)) for model in weights]
        self.assertLess(norms[3], norms[0])

    def test_the_rate_follows_its_schedule(self):
        examples, rates = m.make_examples(["anna"]), []
        adam = type("Recorder", (m.AdamW,), {"step": lambda self, lr: rates.append(lr)})
        quiet = {"AdamW": adam, "progress": lambda *args: None}
        with patch.multiple(m, STEPS=4, EVAL_EVERY=4, BATCH_SIZE=1, **quiet):
            m.train("", 0.5, 0.0, 0.05, examples, examples, 1)
        self.assertEqual(rates, [0.05 * m.schedule(step, 4) for step in range(4)])


class Pairs(unittest.TestCase):
    def test_counts(self):
        """P(b | a) = (count(a, b) + weight u(b)) / (count(a) + weight)."""
        probs = m.count_pairs([((0, 0, 1), 2), ((0, 3, 1), 2), ((0, 0, 1), 0)], 10.0)
        u = [2 / 30, 1 / 30, 3 / 30]
        self.assertAlmostEqual(probs[1][2], (2 + 10 * u[2]) / 13, 12)
        self.assertAlmostEqual(probs[1][1], 10 * u[1] / 13, 12)
        self.assertAlmostEqual(sum(probs[1]), 1.0, 12)
        self.assertAlmostEqual(probs[5][0], u[0], 12)
        loss = m.pairs_loss(probs, [((0, 0, 1), 2), ((0, 0, 5), 0)])
        self.assertAlmostEqual(loss, -(math.log(probs[1][2]) + math.log(u[0])) / 2, 12)
