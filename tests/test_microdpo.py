"""microdpo's own sections: DPO loss, its theory on a bandit, training, measurements, files."""

import argparse
import io
import json
import math
import random
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import microdpo as m
from microdpo import Value
from tests.helpers import slope

X, Y_W, Y_L = m.encode(".an"), m.encode("na."), m.encode("tan.")
SMALL = {"N_EMBD": 4, "N_HEAD": 2, "PRETRAIN_STEPS": 5, "COMPARISONS": 24, "HELD_OUT": 5,
         "SAMPLES": 6, "STEPS": 3, "BATCH": 2}  # fmt: skip


def new_model(seed=1):
    return {name: [[3.0 * x for x in row] for row in w]
            for name, w in m.init_gpt(random.Random(seed)).items()}  # fmt: skip


def quietly(function, *args):
    """The result, and what was printed."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
        return function(*args), out.getvalue()


class Loss(unittest.TestCase):
    def test_preference_loss_far_out(self):
        at_0 = (0.0, math.log(2.0), -0.5)
        for margin, loss, grad in ((800.0, 0.0, 0.0), (-800.0, 800.0, -1.0), at_0):
            value = Value(margin)
            result = m.preference_loss(value)
            result.backward()
            self.assertAlmostEqual(result.data, loss, 12)
            self.assertAlmostEqual(value.grad, grad, 12)

    def test_dpo_loss_and_gradient(self):
        for beta in (0.01, 0.5, 1.0):
            for w, r in ((0.3, -0.9), (-4.0, 2.0), (7.0, 7.5)):

                def loss(w, r, beta=beta):
                    return -math.log(1.0 / (1.0 + math.exp(-beta * (w - r))))

                chosen, rejected = Value(w), Value(r)
                result = m.dpo_loss(chosen, rejected, beta)
                result.backward()
                self.assertAlmostEqual(result.data, loss(w, r), 12)
                self.assertAlmostEqual(chosen.grad, slope(lambda x, r=r: loss(x, r), w), 8)
                self.assertAlmostEqual(rejected.grad, slope(lambda x, w=w: loss(w, x), r), 8)

    def test_log_prob_is_that_of_the_product(self):
        model, product = new_model(), 1.0
        for i, token in enumerate(Y_W):  # END included, the prompt's own probabilities left out
            cache = [([], []) for _ in range(m.N_LAYER)]
            for before in X + Y_W[:i]:
                logits = m.gpt(model, before, cache)
            product *= m.softmax(logits)[token]
        self.assertAlmostEqual(m.log_prob(model, X, Y_W), math.log(product), 10)
        self.assertAlmostEqual(m.log_prob(m.unfreeze(model), X, Y_W).data, math.log(product), 10)


class Theory(unittest.TestCase):
    def test_bandit(self):
        """Trained to the end on all choices, DPO finds pi_ref(y) exp(r(y) / beta) / Z."""
        ref, rewards, beta = [0.5, 0.3, 0.15, 0.05], [0.0, 0.6, -0.5, 1.0], 0.8
        logits = [Value(math.log(p)) for p in ref]
        optimizer = m.Adam(logits)
        for step in range(300):
            losses = []
            for w in range(4):
                for r in range(4):
                    log_ratios = [-m.cross_entropy(logits, y) - math.log(ref[y]) for y in (w, r)]
                    chosen = 1.0 / (1.0 + math.exp(rewards[r] - rewards[w]))
                    losses.append(m.dpo_loss(*log_ratios, beta) * chosen)
            m.total(losses).backward()
            optimizer.step(0.1 * m.schedule(step, 300))
        best = [p * math.exp(r / beta) for p, r in zip(ref, rewards)]
        for p, b in zip(m.softmax(m.detach(logits)), best):
            self.assertAlmostEqual(p, b / math.fsum(best), 4)


class Training(unittest.TestCase):
    def train(self, function, *args, steps=1):
        with patch.multiple(m, STEPS=steps, BATCH=2):
            return quietly(function, *args)[0]

    def setUp(self):
        self.reference = new_model()
        others = X, m.encode("a."), m.encode("xx."), 1.0
        self.pairs = m.with_reference(self.reference, [(X, Y_W, Y_L, 1.0), others])

    def test_with_reference(self):
        x, y_w, y_l, ref_w, ref_l, p = self.pairs[0]
        want = [m.log_prob(self.reference, X, y) for y in (Y_W, Y_L)]
        self.assertEqual((x, y_w, y_l, [ref_w, ref_l], p), (X, Y_W, Y_L, want, 1.0))
        self.assertEqual(m.log_ratios(self.reference, self.pairs), [(0.0, 0.0)] * 2)

    def test_dpo_opens_the_gap_of_every_pair_further_with_a_small_beta(self):
        gaps = []
        for beta in (2.0, 0.1):
            policy = self.train(m.train_dpo, self.reference, self.pairs, beta, steps=60)
            gaps.append([a - b for a, b in m.log_ratios(policy, self.pairs)])
        for near, far in zip(*gaps):
            self.assertGreater(near, 0.5)
            self.assertGreater(far, near + 0.5)

    def test_adam_cancels_beta_as_long_as_the_weights_are_equal(self):
        one, other = (self.train(m.train_dpo, self.reference, self.pairs, b) for b in (1.0, 0.01))
        for a, b, start in zip(*map(m.parameters, (one, other, self.reference))):
            self.assertAlmostEqual(a - start, b - start, delta=0.1 * m.LR)
        moved = one["lm_head"][m.END][0] - self.reference["lm_head"][m.END][0]
        self.assertGreater(abs(moved), 0.5 * m.LR)

    def test_sft_imitates_the_chosen_and_ignores_the_rejected(self):
        policy = self.train(m.train_sft, self.reference, self.pairs, steps=30)
        for logratio_w, _ in m.log_ratios(policy, self.pairs):
            self.assertGreater(logratio_w, 0.5)
        changed = [(x, y_w, y_w, *rest) for x, y_w, _, *rest in self.pairs]
        self.assertEqual(self.train(m.train_sft, self.reference, changed, steps=30), policy)


class Measurements(unittest.TestCase):
    def test_measure_comparisons(self):
        reference, policy = new_model(2), new_model()
        completions = Y_W, Y_L, m.encode("b.")
        w, r, s = (m.log_prob(policy, X, y) - m.log_prob(reference, X, y) for y in completions)
        train = [(X, Y_W, Y_L, 0.9), (X, Y_W, completions[2], 0.8)]
        train, held_out = (m.with_reference(reference, some) for some in (train, train[:1]))
        row = m.measure_comparisons(policy, reference, 2.0, train, held_out)
        margins = [2.0 * (w - r), 2.0 * (w - s)]
        weights = [1.0 / (1.0 + math.exp(margin)) for margin in margins]
        losses = [math.log(1.0 + math.exp(-margin)) for margin in margins]
        prompt = m.log_prob(policy, X[:1], X[1:]) - m.log_prob(reference, X[:1], X[1:])
        want = {
            "logratio_w": w, "logratio_l": (r + s) / 2, "gap": w - (r + s) / 2,
            "accuracy": 0.9 if w > r else 0.1, "prompt": prompt,
            "weight": sum(weights) / 2, "loss": sum(losses) / 2,
        }  # fmt: skip
        self.assertEqual(row.keys(), want.keys())
        for key, value in want.items():
            self.assertAlmostEqual(row[key], value, 10, key)
        sft = m.measure_comparisons(policy, reference, None, train, held_out)
        self.assertEqual(row | sft, row)
        self.assertNotIn("weight", sft)


class Files(unittest.TestCase):
    GOOD = {"prompt": "jo", "chosen": "na", "rejected": "h"}

    def read(self, text, name="pairs.jsonl"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
            return m.read_pairs(str(path))

    def test_good_files(self):
        lines = [json.dumps(self.GOOD)] * 19 + [json.dumps(self.GOOD | {"chosen": "", "more": [1]})]
        want = m.encode(".jo"), m.encode("na."), m.encode("h."), 1.0
        for text in ("\n".join(lines), "\ufeff" + "\r\n".join(lines) + "\r\n"):
            pairs = self.read(text)
            self.assertEqual(len(pairs), 20)
            self.assertEqual(pairs[0], want)
            self.assertEqual(pairs[-1][1], [m.END])

    def test_bad_files_get_one_clear_line(self):
        good, message = json.dumps(self.GOOD), [{"role": "user", "content": "na"}]
        keys, letters, lengths = '{"prompt": ', "letters a to z", "15 letters with"
        for line, reason in (
            ('{"chosen": "na", "rejected": "h"}', keys),
            (json.dumps(self.GOOD | {"chosen": message, "rejected": message}), keys),
            ('{"query": "jo", "response": "na", "rejected_response": "h"}', keys),
            (json.dumps([self.GOOD]), keys),
            ("prompt,chosen,rejected", keys),
            ("", keys),
            ('{"prompt": "jo", "chosen": "na", "rejected": 1}', keys),
            ('{"prompt": "jo", "chosen": "na"', "delimiter"),
            (json.dumps(self.GOOD | {"chosen": "nä"}), letters),
            (json.dumps(self.GOOD | {"chosen": "n\na"}), letters),
            (json.dumps(self.GOOD | {"chosen": "NA"}), letters),
            (json.dumps(self.GOOD | {"prompt": ""}), letters),
            (json.dumps(self.GOOD | {"chosen": "h"}), "two answers"),
            (json.dumps(self.GOOD | {"rejected": "a" * 14}), lengths),
        ):
            for before in (0, 25):
                with self.assertRaises(argparse.ArgumentTypeError, msg=line) as caught:
                    self.read("\n".join([good] * before + [line] + [good] * 25))
                said = str(caught.exception)
                self.assertIn(f"pairs.jsonl, line {before + 1}: ", said)
                self.assertIn(reason, said)
                self.assertNotIn("\n", said)
        for bad, reason in (("\n".join([good] * 19), "20"), ("", "20"), (b"\xff{", "utf-8")):
            with self.assertRaisesRegex(argparse.ArgumentTypeError, reason):
                self.read(bad)
        with self.assertRaisesRegex(argparse.ArgumentTypeError, "No such file"):
            m.read_pairs("no/such/file")

    def test_a_run_on_pairs(self):
        pairs = [(X, Y_W, Y_L, 1.0)] * 24
        with patch.multiple(m, **SMALL | {"HELD_OUT": 9}):
            status, printed = quietly(m.experiment, 5, m.NAMES, pairs)
        self.assertEqual(status, 0)
        self.assertIn("18 comparisons for training, 6 held out", printed)
        self.assertIn(".anna. preferred to .antan.", printed)
        self.assertNotIn("claims", printed)
        self.assertLessEqual(max(map(len, printed.splitlines())), 80)


if __name__ == "__main__":
    unittest.main()
