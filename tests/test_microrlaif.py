"""microrlaif.py: scores, labels, what is measured of them, the labeller and DPO."""

import io
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microrlaif as m
from microrlaif import Value
from tests.helpers import slope

SMALL = {"N_EMBD": 4, "TEACH_STEPS": 30}
NAMES = ["anna", "bea", "carl", "dora", "eve", "finn", "gale", "hope"]
LABELLER, REFERENCE = [-1.0, -3.0], [-2.0, -2.5]  # log-probabilities of a completion's two tokens


def reference(seed=1):
    model = m.init_gpt(random.Random(seed))
    for row in model["lm_head"]:
        row[:] = [6.0 * x for x in row]  # probabilities that differ
    return model


def quietly(function, *arguments):
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        return function(*arguments)


class Labels(unittest.TestCase):
    def test_scores(self):
        scores = {name: f(LABELLER, REFERENCE) for name, f in m.SCORES.items()}
        want = {"total": -4.0, "per token": -2.0, "ratio": 0.25, "reference": -2.25}
        self.assertEqual(scores, want)

    def test_length_counts_for_the_total_only(self):
        for name, f in m.SCORES.items():
            twice, once = f(2 * LABELLER, 2 * REFERENCE), f(LABELLER, REFERENCE)
            self.assertEqual(twice, once * (2 if name == "total" else 1), name)

    def test_labels_do_not_depend_on_the_annotator(self):
        x, a, b, p = [0, 1], [2, 0], [3, 0], 0.75
        self.assertEqual(m.label((x, a, b, p), 2.0), (x, a, b, p))
        self.assertEqual(m.label((x, b, a, 1.0 - p), -2.0), (x, a, b, p))

    def test_measures(self):
        long, short = [1, 1, 0], [1, 0]
        # the second is one where the annotator erred: asked again it prefers the other, mostly
        comparisons = [
            ([0], long, short, 0.9), ([0], long, short, 0.2), ([0], short, long, 0.7),
            ([0], short, [2, 0], 0.6),
        ]  # fmt: skip
        margins, ref_margins = [1.0, -2.0, -1.0, 3.0], [-0.5, -1.0, 2.0, -1.0]
        row = m.measure_labels(margins, ref_margins, comparisons)
        self.assertAlmostEqual(row["agrees"], (0.9 + 0.8 + 0.3 + 0.6) / 4, 12)
        self.assertAlmostEqual(row["unlikely"], (0.9 + 0.6) / 2, 12)  # the first and the last
        self.assertAlmostEqual(row["shorter"], 1 / 3, 12)  # only the second
        self.assertAlmostEqual(row["likelier"], 1 / 4, 12)  # only the second
        own = m.measure_labels(ref_margins, ref_margins, comparisons)
        self.assertEqual(own["likelier"], 1.0)
        self.assertAlmostEqual(own["unlikely"], (0.1 + 0.4) / 2, 12)

    def test_the_annotator_asked_again(self):
        comparisons = [([0], [1, 0], [1, 1, 0], p) for p in (0.9, 0.2, 0.7)]
        self.assertAlmostEqual(m.accuracy([1.0] * 3, comparisons), 0.6, 12)
        self.assertAlmostEqual(m.accuracy([1.0, -1.0, 0.0], comparisons), (0.9 + 0.8 + 0.5) / 3, 12)


@patch.multiple(m, **SMALL)
class Learning(unittest.TestCase):
    def test_the_labeller_learns_the_examples(self):
        start = reference()
        before = m.freeze(start)
        labeller = quietly(m.train_labeller, start, ["lara", "mila"], random.Random(1))
        self.assertEqual(start, before)
        for name in (".lara.", ".mila."):
            losses = [sum(m.token_losses(model, m.encode(name))) for model in (start, labeller)]
            self.assertLess(losses[1], losses[0] - 1.0)

    def test_dpo_loss(self):
        for margin in (-800.0, -2.0, 0.0, 0.5, 800.0):
            w, rejected = Value(margin / 0.25), Value(0.0)
            loss = m.dpo_loss(w, rejected, 0.25)
            loss.backward()
            want = max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))
            self.assertAlmostEqual(loss.data, want, 12)
            change = slope(lambda x: m.dpo_loss(Value(x), Value(0.0), 0.25).data, w.data)
            self.assertAlmostEqual(w.grad, change, 6)
            self.assertEqual(rejected.grad, -w.grad)

    def test_log_prob_sums_the_completion_with_its_end(self):
        start, x, y = reference(), m.encode(".a"), m.encode("nn.")
        p = 1.0
        for i in range(len(y)):
            cache = [([], []) for _ in range(m.N_LAYER)]
            logits = [m.gpt(start, token, cache) for token in x + y[:i]][-1]
            p *= m.softmax(logits)[y[i]]
        self.assertAlmostEqual(m.log_prob(start, x, y), math.log(p), 12)

    def test_policies_follow_the_labels_that_they_get(self):
        start, rng = reference(), random.Random(3)
        made = [m.compare(start, NAMES, rng) for _ in range(5)]
        for sign in (1.0, -1.0):
            labels = [m.label(comparison, sign) for comparison in 20 * made]
            policy = quietly(m.train_dpo, "DPO", start, labels)
            for x, y_w, y_l, _ in made:
                before, after = (
                    m.log_prob(model, x, y_w) - m.log_prob(model, x, y_l)
                    for model in (start, policy)
                )
                self.assertGreater(sign * (after - before), 0.0)


if __name__ == "__main__":
    unittest.main()
