"""microlora: the adapted layer, its gradients, merging, the rows of the table, what is measured."""

import contextlib
import io
import math
import random
import unittest
from unittest.mock import patch

import microlora as m
from tests.helpers import slope

TOKENS = m.encode(".ada.")
EVERY = [f"0.{name}" for name in ("wq", "wk", "wv", "wo", "w1", "w2")] + ["lm_head"]


def product(b, a):
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*a)] for row in b]


class Small(unittest.TestCase):
    def setUp(self):
        width = patch.object(m, "N_EMBD", 4)
        width.start()
        self.addCleanup(width.stop)
        self.rng = random.Random(4)
        self.base = m.init_gpt(self.rng)

    def adapter(self, names, rank=2):
        """As after some training: B is not zero."""
        adapter = m.new_adapter(self.base, names, rank, 1)
        for p in m.parameters(adapter):
            p.data += self.rng.gauss(0.0, 0.3)
        return adapter


class Adapter(Small):
    def test_shapes_and_start(self):
        adapter = m.freeze(m.new_adapter(self.base, ["0.w1", "0.w2"], 3, 1))
        shapes = {name: (len(w), len(w[0])) for name, w in adapter.items()}
        self.assertEqual(shapes, {"0.w1.A": (3, 4), "0.w1.B": (16, 3),
                                  "0.w2.A": (3, 16), "0.w2.B": (4, 3)})  # fmt: skip
        self.assertEqual(set(sum(adapter["0.w1.B"] + adapter["0.w2.B"], [])), {0.0})
        a = sum(m.freeze(m.new_adapter(self.base, ["0.w2"], 200, 1))["0.w2.A"], [])
        self.assertAlmostEqual(16 * sum(x * x for x in a) / len(a), 1.0, delta=0.1)  # N(0, 1/m)

    def test_larger_ranks_start_with_the_rows_of_smaller_ones(self):
        one, two = (m.freeze(m.new_adapter(self.base, ["0.wq"], r, 5))["0.wq.A"] for r in (1, 2))
        self.assertEqual(one, two[:1])

    def test_it_starts_as_the_base_and_only_b_has_a_gradient(self):
        adapter = m.new_adapter(self.base, EVERY, 2, 1)
        losses = m.token_losses({**self.base, **adapter}, TOKENS)
        self.assertEqual([x.data for x in losses], m.token_losses(self.base, TOKENS))
        m.total(losses).backward()
        for name, w in adapter.items():
            self.assertEqual(any(p.grad for row in w for p in row), name.endswith(".B"), name)

    def test_linear_is_w_x_plus_alpha_over_r_b_a_x_plus_bias(self):
        x, bias = [0.3, -1.0, 0.5, 2.0], [self.rng.gauss(0.0, 1.0) for _ in range(27)]
        for rank in (1, 2, 4):
            adapter = m.freeze(self.adapter(["lm_head"], rank))
            change = product(adapter["lm_head.B"], adapter["lm_head.A"])
            want = [
                sum((w + m.ALPHA / rank * c) * z for w, c, z in zip(w_row, c_row, x)) + b
                for w_row, c_row, b in zip(self.base["lm_head"], change, bias)
            ]
            model = {**self.base, **adapter, "lm_head.bias": [bias]}
            for got, wanted in zip(m.linear(model, "lm_head", x), want):
                self.assertAlmostEqual(got, wanted, 12)

    def test_gradients_against_central_differences(self):
        values = {**self.adapter(EVERY), **m.unfreeze({"lm_head.bias": [[0.1] * 27]})}
        model = {**self.base, **values}
        m.total(m.token_losses(model, TOKENS)).backward()
        for name, w in values.items():
            for p in (w[0][0], w[-1][-1], w[len(w) // 2][0]):
                def loss(x, p=p):
                    kept, p.data = p.data, x
                    result = math.fsum(m.token_losses(m.freeze(model), TOKENS))
                    p.data = kept
                    return result
                self.assertAlmostEqual(p.grad, slope(loss, p.data), 6, name)

    def test_gradients_by_the_formulas(self):
        """dL/dB = (alpha/r) g (A x)^T and dL/dA = (alpha/r) B^T g x^T, for L = g . W' x."""
        adapter, x = self.adapter(["0.wq"]), [0.3, -1.0, 0.5, 2.0]
        g = [1.0, -0.5, 0.25, 2.0]
        m.dot(m.linear({**self.base, **adapter}, "0.wq", x), g).backward()
        a, b = (m.freeze(adapter)[f"0.wq.{name}"] for name in "AB")
        ax, bg = m.matvec(a, x), m.matvec(list(zip(*b)), g)
        for name, left, right in (("B", g, ax), ("A", bg, x)):
            for row, u in zip(adapter[f"0.wq.{name}"], left):
                for p, v in zip(row, right):
                    self.assertAlmostEqual(p.grad, m.ALPHA / 2 * u * v, 12)

    def test_an_adapter_in_lm_head_reads_floats(self):
        """No backward pass through the trunk; one in wq and wv needs it."""
        for names, wanted in (["lm_head"], float), (["0.wq", "0.wv"], m.Value):
            read, linear = {}, m.linear
            with patch.object(m, "linear", lambda model, name, x: read.setdefault(name, x) and
                              linear(model, name, x)):  # fmt: skip
                m.token_losses({**self.base, **self.adapter(names)}, TOKENS)
            self.assertIs(type(read["lm_head"][0]), wanted)
            self.assertIs(type(read["0.wq"][0]), float)

    def test_merged_equals_attached(self):
        adapter, before = self.adapter(["lm_head"]), m.freeze(self.base)
        merged = m.merge(self.base, adapter, "lm_head")
        attached = m.token_losses({**self.base, **adapter}, TOKENS)
        for got, wanted in zip(m.token_losses(merged, TOKENS), attached):
            self.assertAlmostEqual(got, wanted.data, 12)
        self.assertEqual(self.base, before)
        self.assertEqual(set(merged), set(before))
        self.assertEqual([name for name in before if merged[name] != before[name]], ["lm_head"])


class Experiment(Small):
    def test_a_row_moves_what_learns_and_nothing_else(self):
        before = m.freeze(self.base)
        counts = {"full": 472, "full slow": 472, "rank 1": 31, "rank 2": 62, "rank 4": 124,
                  "rank 8": 248, "rank 4 slow": 124, "wq wv rank 1": 16, "bias": 27,
                  "random A": 108, "random W": 62}  # fmt: skip
        rows = {label: row for label, *row in m.all_rows(self.base, 3)}
        self.assertEqual({label: len(learning) for label, (_, learning, _) in rows.items()}, counts)
        self.assertEqual({name[:4] for name in rows["wq wv rank 1"][0]}, {"0.wq", "0.wv"})
        for label, (values, learning, lr) in rows.items():
            self.assertEqual(lr, (m.FULL_LR if "full" in label else m.SMALL_LR)
                             * (m.SLOW if "slow" in label else 1.0))  # fmt: skip
            start = [p.data for p in m.parameters(values)]
            with contextlib.redirect_stderr(io.StringIO()):
                m.train(label, {**self.base, **values}, learning, lr, 2, ["abc"], random.Random(1))
            free = {id(p) for p in learning}
            self.assertEqual(len(free), len(learning))  # no number is drawn twice
            for p, x in zip(m.parameters(values), start):
                self.assertTrue(id(p) in free or p.data == x, label)
            self.assertTrue(any(p.data != x for p, x in zip(m.parameters(values), start)), label)
        self.assertEqual(self.base, before)

    def test_a_step_follows_the_gradient_of_the_mean_loss(self):
        adapter, seen = self.adapter(["lm_head"]), []
        p, model = adapter["lm_head.B"][3][0], {**self.base, **adapter}
        with patch.object(m, "Adam") as adam, contextlib.redirect_stderr(io.StringIO()):
            adam.return_value.step.side_effect = lambda lr: seen.append((lr, p.grad))
            m.train("", model, [p], 0.5, 20, ["abc"], random.Random(1))
        def loss(x):
            p.data = x
            return m.evaluate(m.freeze(model), ["abc"])
        self.assertAlmostEqual(seen[0][1], slope(loss, p.data), 7)
        self.assertEqual([lr for lr, _ in seen], [0.5 * m.schedule(i, 20) for i in range(20)])

    def test_the_loss_is_a_mean_over_tokens(self):
        zeros = {name: [[0.0] * len(row) for row in w] for name, w in self.base.items()}
        self.assertAlmostEqual(m.evaluate(zeros, ["a", "abc"]), math.log(27))
        one, two = (m.token_losses(self.base, m.encode(name)) for name in (".a.", ".abc."))
        self.assertAlmostEqual(m.evaluate(self.base, ["a", "abc"]), math.fsum(one + two) / 6, 12)

    def test_korean_names_fit(self):
        self.assertEqual(len(set(m.KOREAN)), len(m.KOREAN))
        self.assertLess(max(map(len, m.KOREAN)), m.BLOCK_SIZE)
        self.assertGreater(len(m.KOREAN), 2 * m.KOREAN_TEST)

    def test_an_experiment(self):
        trained, tested, out = {}, set(), io.StringIO()
        def train(label, model, learning, lr, steps, names, rng):
            trained.setdefault(steps, set()).update(names)
            learning[-1].data += 0.01  # so that no row gains exactly nothing
        def evaluate(model, names):
            tested.update(names)
            return m.fmean(m.token_losses(model, m.encode(f".{names[0]}.")))
        with patch.multiple(m, train=train, evaluate=evaluate, PRETRAIN_STEPS=1, STEPS=2), \
                contextlib.redirect_stdout(out):  # fmt: skip
            self.assertIn(m.experiment(1, m.NAMES), (0, 1))
        lines = out.getvalue().splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertIn("minus attached loss on Korean: 0.000000000", out.getvalue())
        self.assertEqual(len([line for line in lines if line[:6] in ("  ok  ", "  FAIL")]), 6)
        self.assertFalse(tested & (trained[1] | trained[2]))  # nothing is trained on held-out names
        self.assertLessEqual(trained[1], set(m.NAMES))
        self.assertLessEqual(trained[2], set(m.KOREAN))
        self.assertEqual(len(tested), m.KOREAN_TEST + m.ENGLISH_TEST)
