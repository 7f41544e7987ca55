"""microdistill.py: the loss, the targets, training and what is measured."""

import copy
import io
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microdistill as m
from microdistill import Value
from tests.helpers import slope

NAMES = ["abe", "cy", "dora", "ed", "fay", "gus", "hal", "ike", "jo", "kim"]
SMALL = {"N_EMBD": 4, "STUDENT_HIDDEN": 3, "STEPS": 4, "TEACHER_STEPS": 4, "EVERY": 2,
         "TEST": 3, "FEW": 4, "FEWER": 2}  # fmt: skip


def quietly(function, *arguments):
    """(result, what was printed)."""
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()) as out:
        result = function(*arguments)
    return result, out.getvalue()


def soften(z, t):
    exps = [math.exp(x / t) for x in z]
    return [e / sum(exps) for e in exps]


class Loss(unittest.TestCase):
    Z, V = [0.3, -1.2, 2.0, 0.1], [1.0, 0.5, -0.7, 0.2]

    def test_value_and_gradient(self):
        for t in (0.7, 1.0, 3.0):
            q, p = soften(self.V, t), soften(self.Z, t)
            logits = [Value(x) for x in self.Z]
            loss = m.distill_loss(logits, q, t)
            loss.backward()
            want = t * t * sum(a * math.log(a / b) for a, b in zip(q, p))
            self.assertAlmostEqual(loss.data, want, 12)
            for i, x in enumerate(self.Z):

                def f(y, i=i, t=t, q=q):
                    return m.distill_loss([*self.Z[:i], y, *self.Z[i + 1 :]], q, t)

                self.assertAlmostEqual(logits[i].grad, slope(f, x), 8)

    def test_a_hard_label_is_the_cross_entropy(self):
        one, other = [Value(x) for x in self.Z], [Value(x) for x in self.Z]
        soft, hard = m.distill_loss(one, [0.0, 0.0, 1.0, 0.0], 1.0), m.cross_entropy(other, 2)
        self.assertAlmostEqual(soft.data, hard.data, 12)
        soft.backward()
        hard.backward()
        for a, b in zip(one, other):
            self.assertAlmostEqual(a.grad, b.grad, 12)


@patch.multiple(m, **SMALL)
class Students(unittest.TestCase):
    def setUp(self):
        with patch.multiple(m, **SMALL):
            self.model = m.init_gpt(random.Random(1))
        self.tokens = m.encode(".abe.")

    def test_targets(self):
        tokens, labels = m.hard(self.tokens)
        self.assertEqual(tokens, self.tokens)
        self.assertEqual([q.index(1.0) for q in labels], [1, 2, 5, 0])
        self.assertEqual([sum(q) for q in labels], [1.0] * 4)
        _, soft = m.soft(self.model, self.tokens, 3.0)
        logits = m.all_logits(self.model, self.tokens)
        self.assertEqual(len(soft), 4)
        losses = [m.cross_entropy(z, label) for z, label in zip(logits, self.tokens[1:])]
        self.assertEqual(losses, m.token_losses(self.model, self.tokens))
        for q, z in zip(soft, logits):
            for a, b in zip(q, soften(z, 3.0)):
                self.assertAlmostEqual(a, b, 12)
        _, smoothed = m.smooth((tokens, labels))
        for q, label in zip(smoothed, tokens[1:]):
            want = [0.9 + 0.1 / 27 if i == label else 0.1 / 27 for i in range(27)]
            self.assertEqual([round(x, 12) for x in q], [round(x, 12) for x in want])
        _, permuted = m.permute((self.tokens, soft), random.Random(2))
        for q, p, label in zip(soft, permuted, self.tokens[1:]):
            self.assertEqual((sorted(q), q[label]), (sorted(p), p[label]))
            self.assertNotEqual(q, p)

    def test_the_student_is_narrower_and_works(self):
        student = m.init_student(random.Random(1))
        self.assertEqual((len(student["0.w1"]), len(student["0.w1"][0])), (3, 4))
        self.assertEqual((len(student["0.w2"]), len(student["0.w2"][0])), (4, 3))
        self.assertEqual(len(m.token_losses(student, self.tokens)), 4)

    def test_train(self):
        """Examples in turn, the mean loss of each, the schedule's rates; the start is kept."""
        examples = [m.soft(self.model, m.encode(f".{name}."), 2.0) for name in NAMES[:3]]
        start, seen = m.init_student(random.Random(4)), []
        before, test = copy.deepcopy(start), [m.encode(".jo."), m.encode(".kim.")]
        with patch.object(m, "progress", lambda *x: seen.append(x[3])):
            looks = m.train("x", start, examples, 2.0, 0.1, 4, test)
        self.assertEqual(start, before)
        self.assertEqual([step for _, step, _ in looks], [2, 4])
        model, losses = m.unfreeze(start), []
        optimizer = m.Adam(m.parameters(model))
        for step, i in enumerate((0, 1, 2, 0)):
            tokens, targets = examples[i]
            each = [m.distill_loss(z, q, 2.0) for z, q in
                    zip(m.all_logits(model, tokens), targets)]  # fmt: skip
            loss = sum(each) * (1 / len(each))
            loss.backward()
            optimizer.step(0.1 * m.schedule(step, 4))
            losses.append(loss.data)
        for a, b in zip(losses, seen):
            self.assertAlmostEqual(a, b, 12)
        tokens = [x for name in test for x in m.token_losses(m.freeze(model), name)]
        self.assertAlmostEqual(looks[-1][0], sum(tokens) / 7, 12)
        self.assertEqual(looks[-1][0], m.evaluate(looks[-1][2], test))

    def test_experiment(self):
        calls = []

        def train(label, start, examples, t, lr, steps, test):
            calls.append((label, start, examples, t, test))
            hard = label in ("hard", "smoothed", "2nd teacher") and len(calls) != 9
            self.assertEqual(lr, m.HARD_LR if hard else m.LR, label)
            loss = 2.0 + len(calls) / 100  # 0.01 more for each; better before the end
            return [(loss - 0.005, 2, self.model), (loss, 4, self.model)]

        with patch.object(m, "train", train), patch.object(m, "check_claims") as c:
            quietly(m.experiment, 5, NAMES)
        test = calls[0][4]
        self.assertEqual((len(test), len(calls[0][2])), (3, 7))
        for label, start, examples, t, _ in calls[2:]:
            self.assertIs(start, calls[2][1])
            softened = label in ("soft", "permuted", "soft, fewer", "2nd teacher")
            self.assertEqual(t, 2.0 if softened else 1.0)
            if label != "written":  # its names may be those of anybody
                self.assertFalse([tokens for tokens, _ in examples if tokens in test])
        got = [round(measured, 9) for _, measured, _, _ in c.call_args[0][0]]
        # hard 2.03, smoothed 2.04, soft 2.05, T = 1 2.06, permuted 2.07 ... hard, all 2.11
        self.assertEqual(got, [0.025, 0.055, 0.04, -0.035, -0.01, 0.1, 0.01])


if __name__ == "__main__":
    unittest.main()
