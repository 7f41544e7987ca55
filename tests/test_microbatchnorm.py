"""Sections 4, 6 and 7 of microbatchnorm.py: the deep network, batch normalization, the measures."""

import io
import json
import math
import random
import string
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import microbatchnorm as m
from microbatchnorm import Value
from tests.helpers import ROOT, slope

SIZES = {"N_EMBD": 2, "LAYERS": 3, "WIDTH": 4, "BATCH": 6, "STEPS": 4, "PROBE": 5}
KEPT = {name: getattr(m, name) for name in (*SIZES, "HELD_OUT_NAMES", "LR", "MOMENTUM", "NOISE")}
NAMES = [a + b + c for a in "abc" for b in "abc" for c in "bcd"]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "batchnorm.json").read_text("utf-8"))


def setUpModule():
    for name, value in SIZES.items():
        setattr(m, name, value)


def tearDownModule():
    for name, value in KEPT.items():
        setattr(m, name, value)


def flat(x):
    return [v for part in x for v in flat(part)] if isinstance(x, list | tuple) else [x]


def values(rows):
    return [[Value(x) for x in row] for row in rows]


def task_of(seed=1):
    m.HELD_OUT_NAMES = 8
    return m.new_task(NAMES, random.Random(seed))


def row(norm="batch", kaiming=False, lr=0.1):
    return m.Row(label="x", kaiming=kaiming, norm=norm, lr=lr)


class Close(unittest.TestCase):
    def close(self, got, want, relative=1e-9):
        got, want = flat(got), flat(want)
        self.assertEqual(len(got), len(want))
        scale = max(1e-3, *map(abs, want))
        for a, b in zip(got, want):
            self.assertLessEqual(abs(a - b), relative * scale)


class Golden(Close):
    """Against torch.nn.BatchNorm1d."""

    def test_a_layer_forward_backward_running_and_in_use(self):
        kept = m.LAYERS, m.WIDTH
        try:
            for case in GOLDEN["layers"]:
                m.LAYERS, m.WIDTH = 1, len(case["gain"])
                model = {"0.gain": values([case["gain"]]), "0.bias": values([case["shift"]])}
                norm = m.BatchNorm()
                for step in case["steps"]:
                    for p in m.weights_of(model):
                        p.grad = 0.0
                    x = values(step["rows"])
                    ys = norm(model, 0, x)
                    self.close([m.floats(y) for y in ys], step["y"])
                    m.dot(sum(ys, []), flat(step["weights"])).backward()
                    self.close([[v.grad for v in r] for r in x], step["dx"])
                    self.close([v.grad for v in model["0.gain"][0]], step["dgain"])
                    self.close([v.grad for v in model["0.bias"][0]], step["dshift"])
                    means, variances = zip(*norm.running[0])
                    self.close(means, step["running mean"])
                    self.close(variances, step["running variance"])
                norm.training = False
                self.close(norm(m.freeze(model), 0, case["steps"][0]["rows"]), case["evaluation"])
        finally:
            m.LAYERS, m.WIDTH = kept

    def test_a_deep_network(self):
        golden = GOLDEN["network"]
        self.assertEqual({k: SIZES[k] for k in golden["sizes"]}, golden["sizes"])
        pairs = zip(golden["contexts"], golden["targets"])
        examples = [m.Example(context=c, target=t) for c, t in pairs]
        for case in golden["cases"]:
            model = m.unfreeze(golden["weights"])
            norm = m.BatchNorm() if case["normed"] else None
            losses = m.losses_of(model, examples, norm)
            loss = m.total(losses) / len(losses)
            self.close(loss.data, case["loss"])
            loss.backward()
            for name, grads in case["grads"].items():
                self.close([[w.grad for w in r] for r in model[name]], grads)
            if norm:
                norm.training = False
            self.close(m.forward(m.freeze(model), golden["contexts"], norm), case["in use"])


class BatchNormOfAColumn(Close):
    def test_mean_and_variance_of_what_comes_out(self):
        rng = random.Random(2)
        ys = m.batch_norm([rng.gauss(3, 5) for _ in range(20)], 2.0, 0.5)
        mean, variance = m.moments(ys)
        self.assertAlmostEqual(mean, 0.5, 12)
        self.assertAlmostEqual(variance, 4.0, 5)

    def test_a_large_mean_does_not_blur_the_variance(self):
        xs = [0.1, 0.9, 0.4, 0.3, 0.8, 0.2, 0.6]
        variance = m.moments(xs)[1]
        for mean in (0.0, 1e8 / 3, 1e8, -1e9 / 7):
            self.assertAlmostEqual(m.moments([mean + x for x in xs])[1], variance, 6)

    def test_gradients_against_central_differences_and_the_formula(self):
        rng = random.Random(3)
        for n in (2, 3, 9):
            x, g = [rng.gauss(1, 2) for _ in range(n)], [rng.gauss(0, 1) for _ in range(n)]
            gain, shift = rng.gauss(1, 0.5), rng.gauss(0, 1)
            column, gain_v, shift_v = [Value(v) for v in x], Value(gain), Value(shift)
            ys = m.batch_norm(column, gain_v, shift_v)
            self.close(m.floats(ys), m.batch_norm(x, gain, shift))
            m.dot(g, ys).backward()

            def f(i, v, x=x, g=g, gain=gain, shift=shift):
                return m.dot(g, m.batch_norm([*x[:i], v, *x[i + 1 :]], gain, shift))

            s = (m.moments(x)[1] + m.EPS) ** -0.5
            us = [(v - m.moments(x)[0]) * s for v in x]
            mean_g, mean_gu = sum(g) / n, m.dot(g, us) / n
            for i, v in enumerate(column):
                self.assertAlmostEqual(v.grad, slope(lambda t: f(i, t), x[i]), 7)
                formula = gain * s * (g[i] - mean_g - us[i] * mean_gu)
                self.assertAlmostEqual(v.grad, formula, 12)
            self.assertAlmostEqual(gain_v.grad, m.dot(g, us), 12)
            self.assertAlmostEqual(shift_v.grad, sum(g), 12)

    def test_a_column_with_plain_zeros_in_it(self):
        column = [Value(1.0), 0.0, Value(-2.0)]
        ys = m.batch_norm(column, Value(1.0), Value(0.0))
        self.close(m.floats(ys), m.batch_norm([1.0, 0.0, -2.0], 1.0, 0.0))
        m.total([y * y * y for y in ys]).backward()
        twin = [Value(x) for x in (1.0, 0.0, -2.0)]
        m.total([y * y * y for y in m.batch_norm(twin, Value(1.0), Value(0.0))]).backward()
        self.close([column[0].grad, column[2].grad], [twin[0].grad, twin[2].grad])

    def test_shift_and_stretch_do_not_matter(self):
        x = [0.3, -1.0, 2.0, 0.5]
        moved = [1e3 * v + 7.0 for v in x]
        self.close(m.batch_norm(moved, 1.3, 0.2), m.batch_norm(x, 1.3, 0.2), 1e-4)

    def test_the_graph_is_freed_without_the_collector(self):
        import gc

        gc.collect()
        gc.disable()
        try:
            ys = m.batch_norm([Value(1.0), Value(3.0)], Value(1.0), Value(0.0))
            m.total(ys).backward()
            del ys
            self.assertEqual(gc.collect(), 0)
        finally:
            gc.enable()


class Layer(Close):
    def setUp(self):
        self.model = m.new_network(5, False, random.Random(1))
        self.model["1.gain"], self.model["1.bias"] = [[1.0, 2.0, 0.5, 1.0]], [[0.0, 1.0, 0.0, -1.0]]
        rng = random.Random(2)
        self.rows = [[rng.gauss(j, 1 + j) for j in range(4)] for _ in range(6)]

    def test_every_unit_is_normalized_by_itself(self):
        norm = m.BatchNorm()
        out = norm(self.model, 1, self.rows)
        for j, (got, column) in enumerate(zip(zip(*out), zip(*self.rows))):
            gain, shift = self.model["1.gain"][0][j], self.model["1.bias"][0][j]
            self.close(got, m.batch_norm(column, gain, shift))

    def test_what_is_frozen_keeps_its_running_statistics(self):
        norm = m.BatchNorm()
        norm(self.model, 1, self.rows)
        self.assertEqual(norm.running, m.BatchNorm().running)
        norm(m.unfreeze(self.model), 1, values(self.rows))
        self.assertEqual(norm.running[0], m.BatchNorm().running[0])
        column = [r[2] for r in self.rows]
        mean = sum(column) / 6
        variance = sum((x - mean) ** 2 for x in column) / 5
        self.close(norm.running[1][2], (0.1 * mean, 0.9 + 0.1 * variance))

    def test_momentum_is_the_share_of_the_new(self):
        m.MOMENTUM = 1.0
        try:
            norm = m.BatchNorm()
            for rows in ([[5.0] * 4, [9.0] * 4], [[1.0] * 4, [3.0] * 4]):
                norm(m.unfreeze(self.model), 1, values(rows))
            self.close(norm.running[1][0], (2.0, 2.0))
        finally:
            m.MOMENTUM = KEPT["MOMENTUM"]

    def test_in_use_an_example_does_not_depend_on_its_company(self):
        norm = m.BatchNorm()
        norm(m.unfreeze(self.model), 1, values(self.rows))
        norm.training = False
        together = norm(self.model, 1, self.rows)
        self.close(together, [norm(self.model, 1, [r])[0] for r in self.rows])
        mean, variance = norm.running[1][1]
        x = self.rows[3][1]
        self.assertAlmostEqual(together[3][1], 2 * (x - mean) / math.sqrt(variance + 1e-5) + 1, 9)

    def test_a_batch_of_one_is_its_shift(self):
        self.close(m.BatchNorm()(self.model, 1, self.rows[:1]), [self.model["1.bias"][0]])

    def test_noise_is_a_factor_and_a_term_after_normalizing(self):
        noisy = m.NoisyBatchNorm(random.Random(4))
        plain = m.BatchNorm()(self.model, 1, self.rows)
        want = [[a * y + b for y, a, b in zip(r, noisy.a[1], noisy.b[1])] for r in plain]
        self.close(noisy(self.model, 1, self.rows), want)
        for a, b in zip(flat(noisy.a), flat(noisy.b)):
            self.assertLessEqual(max(abs(a - 1.0), abs(b)), m.NOISE)
        self.assertGreater(max(map(abs, flat(noisy.b))), 0.6 * m.NOISE)
        before = [list(r) for r in noisy.a + noisy.b]
        noisy.redraw()
        self.assertFalse(set(flat(before)) & set(flat(noisy.a + noisy.b)))

    def test_noise_is_even_on_both_sides(self):
        with patch.multiple(m, LAYERS=40, WIDTH=50):
            noisy = m.NoisyBatchNorm(random.Random(4))
        for numbers, middle in ((noisy.a, 1.0), (noisy.b, 0.0)):
            self.assertEqual((len(numbers), len(numbers[0])), (40, 50))
            mean, variance = m.moments(flat(numbers))
            self.assertAlmostEqual(mean, middle, delta=0.03 * m.NOISE)
            self.assertAlmostEqual(variance / (m.NOISE**2 / 3), 1.0, delta=0.05)

    def test_noise_learns_gains_and_shifts_and_rests_in_use(self):
        noisy = m.NoisyBatchNorm(random.Random(4))
        model = m.unfreeze(self.model)
        m.total(sum(noisy(model, 1, values(self.rows)), [])).backward()
        for p, b in zip(model["1.bias"][0], noisy.a[1]):
            self.assertAlmostEqual(p.grad, 6 * b, 9)  # six examples
        noisy.training = False
        quiet = m.BatchNorm()
        quiet.training, quiet.running = False, noisy.running
        self.close(noisy(self.model, 1, self.rows), quiet(self.model, 1, self.rows))


class Network(Close):
    def test_examples(self):
        alphabet = m.alphabet_of(["ab"])
        got = [(e.context, e.target) for e in m.examples_of(["ab"], alphabet)]
        self.assertEqual(got, [([0, 0, 0], 1), ([0, 0, 1], 2), ([0, 1, 2], 0)])

    def test_initial_weights(self):
        m.WIDTH = 60
        try:
            for kaiming, stds in ((False, (0.08, 0.08)), (True, (3**-0.5, 30**-0.5))):
                model = m.new_network(40, kaiming, random.Random(1))
                for name, std in (("0.w", stds[0]), ("1.w", stds[1]), ("wte", 1.0), ("head", 0.08)):
                    mean, variance = m.moments(flat(model[name]))
                    self.assertAlmostEqual(mean / std, 0.0, delta=0.15)
                    self.assertAlmostEqual(math.sqrt(variance) / std, 1.0, delta=0.15)
                self.assertEqual(set(flat(model["1.gain"])), {1.0})
                self.assertEqual(set(flat(model["1.bias"] + model["head.bias"])), {0.0})
        finally:
            m.WIDTH = SIZES["WIDTH"]

    def test_same_numbers_for_the_same_seed_whatever_the_scale(self):
        small, kaiming = (m.new_network(5, k, random.Random(1)) for k in (False, True))
        self.close(small["1.w"], [[w * 0.08 / 0.5**0.5 for w in r] for r in kaiming["1.w"]])

    def test_forward_in_plain_formulas(self):
        model = m.new_network(5, True, random.Random(1))
        model["2.bias"] = [[0.3, -0.2, 0.1, 0.0]]
        seen = []
        [logits] = m.forward(model, [[3, 0, 4]], None, seen)
        h = model["wte"][3] + model["wte"][0] + model["wte"][4]
        for layer in range(3):
            z = [m.dot(w, h) + b for w, b in zip(model[f"{layer}.w"], model[f"{layer}.bias"][0])]
            self.close(seen[layer], [z])
            h = [max(x, 0.0) for x in z]
        self.close(logits, [m.dot(w, h) + b for w, b in zip(model["head"], model["head.bias"][0])])
        [loss] = m.losses_of(model, [m.Example(context=[3, 0, 4], target=2)])
        self.assertAlmostEqual(loss, -math.log(m.softmax(logits)[2]), 12)

    def test_sgd(self):
        p, q = Value(2.0), Value(-1.0)
        p.grad, q.grad = 0.5, -3.0
        m.SGD([p, q]).step(0.1)
        self.close([p.data, q.data, p.grad, q.grad], [1.95, -0.7, 0.0, 0.0])


class Experiment(Close):
    def fit(self, **settings):
        with redirect_stderr(io.StringIO()) as errors:
            return m.fit(task_of(), row(**settings), 1), errors.getvalue()

    def test_the_task(self):
        task = task_of()
        self.assertEqual((len(task.learnt), len(task.held_out)), (19 * 4, 8 * 4))
        counts = [1 + sum(e.target == t for e in task.learnt) for t in range(task.vocabulary)]
        want = [-math.log(counts[e.target] / sum(counts)) for e in task.held_out]
        self.assertAlmostEqual(task.frequencies, sum(want) / 32, 12)

    def test_a_fit_is_its_losses_in_order(self):
        """The first step of plain gradient descent, written out."""
        task = task_of()
        result, _ = self.fit(norm="", lr=0.2)
        rng = random.Random(1)
        model = m.unfreeze(m.new_network(task.vocabulary, False, rng))
        for step, loss in enumerate(result.losses):
            losses = m.losses_of(model, rng.choices(task.learnt, k=m.BATCH))
            goal = m.total(losses) / m.BATCH
            self.assertAlmostEqual(goal.data, loss, 12)
            goal.backward()
            rate = 0.2 * min(1.0, (m.STEPS - step) / (0.9 * m.STEPS))
            for p in m.weights_of(model):
                p.data -= rate * p.grad
                p.grad = 0.0
        self.close(m.weights_of(result.model), m.floats(m.weights_of(model)))
        self.assertIsNone(result.norm)
        want = m.losses_of(result.model, task.held_out)
        self.assertAlmostEqual(result.loss, sum(want) / len(want), 12)

    def test_rows_reach_training(self):
        runs = {
            "plain": self.fit(norm="")[0],
            "kaiming": self.fit(norm="", kaiming=True)[0],
            "batch": self.fit()[0],
            "noisy": self.fit(norm="noisy")[0],
            "slow": self.fit(lr=0.01)[0],
        }
        self.assertEqual(len({r.losses[-1] for r in runs.values()}), 5)
        self.assertEqual(runs["batch"].losses[0], runs["slow"].losses[0])
        self.assertIs(type(runs["batch"].norm), m.BatchNorm)
        self.assertIs(type(runs["noisy"].norm), m.NoisyBatchNorm)
        for name in ("batch", "noisy"):
            self.assertFalse(runs[name].norm.training)
            self.assertNotEqual(runs[name].norm.running, m.BatchNorm().running)
            self.assertNotEqual(runs[name].model["1.gain"], [[1.0] * 4])
            task, result = task_of(), runs[name]
            want = m.losses_of(result.model, task.held_out, result.norm)
            self.assertAlmostEqual(result.loss, sum(want) / len(want), 12)

    def test_the_noise_is_redrawn_at_every_step(self):
        drawn, real = [], m.NoisyBatchNorm.redraw
        m.NoisyBatchNorm.redraw = lambda norm: drawn.append(real(norm))
        try:
            result, _ = self.fit(norm="noisy")
        finally:
            m.NoisyBatchNorm.redraw = real
        self.assertEqual(len(drawn), 1 + m.STEPS)
        self.assertGreater(result.drift, 10 * self.fit()[0].drift)

    def test_one_that_diverges(self):
        result, errors = self.fit(norm="", kaiming=True, lr=1e6)
        self.assertLess(len(result.losses), m.STEPS)
        self.assertEqual(result.loss, math.inf)
        self.assertIn(f"diverged at step {len(result.losses)}", errors)
        with redirect_stdout(io.StringIO()) as out:
            m.show_results([result], task_of())
        self.assertIn(f"diverged at step {len(result.losses)}", out.getvalue())

    def test_a_loss_of_a_hundred_nats_has_diverged(self):
        for loss, steps in ((99.0, m.STEPS), (101.0, 0), (math.inf, 0), (math.nan, 0)):

            def losses_of(model, examples, norm, loss=loss):
                one = Value(loss) if m.learns(model["head"][0]) else loss
                return [one] * len(examples)

            with patch.object(m, "losses_of", losses_of):
                result, errors = self.fit()
            self.assertEqual(result.losses, [99.0] * steps)
            self.assertEqual(result.loss, 99.0 if steps else math.inf)
            self.assertEqual("diverged" in errors, not steps)
            self.assertEqual(result.drift, 0.0)  # of a network that never moved

    def test_drift_is_that_of_the_middle_layer(self):
        """The layer's input to relu, before and after the first of two steps."""
        for layers in (3, 5, 6):
            batches, moves = [], []

            def forward(model, contexts, norm=None, seen=None, real=m.forward, batches=batches):
                logits = real(model, contexts, norm, seen)
                if seen is not None:
                    batches.append(seen)
                return logits

            def drift(before, after, moves=moves):
                moves.append((before, after))
                return 0.0

            with patch.multiple(m, LAYERS=layers, STEPS=2, forward=forward, drift=drift):
                self.fit()
            [(before, after)] = moves
            self.assertIs(before, batches[0][layers // 2])
            self.assertIs(after, batches[1][layers // 2])

    def test_drift_is_looked_at_ten_times(self):
        looks = []
        with (
            patch.object(m, "STEPS", 40),
            patch.object(m, "drift", lambda *_: looks.append(0) or 0),
        ):
            self.fit()
        self.assertEqual(len(looks), 10)

    def test_counted_as_at_least_the_frequencies(self):
        task = task_of()
        result, _ = self.fit(norm="", lr=0.01)
        for loss, want in ((math.inf, task.frequencies), (0.5, 0.5)):
            self.assertEqual(m.at_worst(result._replace(loss=loss), task), want)

    def test_drift(self):
        before = [[0.0, 0.0, 5.0], [2.0, 4.0, 5.0]]  # standard deviations 1, 2 and 0
        after = [[1.0, 3.0, 9.0], [7.0, 3.0, 9.0]]  # whatever theirs are
        self.assertEqual(m.drift(before, after), 0.5)  # moved by 3 / 1, 1 / 2, and never by 4 / 0
        self.assertEqual(m.drift(before, before), 0.0)
        self.assertEqual(m.drift([r[:1] for r in before], [r[:1] for r in after]), 3.0)

    def test_drift_of_a_fit_is_the_median_over_its_looks(self):
        """Here before and after steps 0, 2 and 4."""
        seen, real = [], m.drift
        answers = iter([0.3, 0.1, 0.2])
        m.STEPS = 6
        m.drift = lambda before, after: (seen.append((before, after)), next(answers))[1]
        try:
            result, _ = self.fit()
        finally:
            m.drift, m.STEPS = real, SIZES["STEPS"]
        self.assertEqual(result.drift, 0.2)
        self.assertEqual(len(seen[0][0]), m.PROBE)
        self.assertTrue(all(before != after for before, after in seen))
        self.assertEqual(m.median([1.0, 4.0, 2.0, 3.0]), 3.0)

    def test_alike(self):
        self.assertEqual(m.alike([[1.0, 2.0]] * 3), 1.0)
        self.assertEqual(m.alike([[1.0, 2.0], [-1.0, -2.0]]), 0.0)
        self.assertEqual(m.alike([[3.0, 0.0], [0.0, 3.0]]), 0.5)
        self.assertEqual(m.alike([[0.0, 0.0]] * 2), 1.0)

    def test_levels(self):
        task = task_of()
        for norm in (None, m.BatchNorm()):
            model = m.unfreeze(m.new_network(task.vocabulary, True, random.Random(1)))
            examples = task.learnt[:5]
            got = m.levels(model, examples, norm)
            seen = []
            frozen = m.freeze(model)
            m.forward(frozen, [e.context for e in examples], norm and m.BatchNorm(), seen)
            for layer, level in enumerate(got):
                active = [[max(z, 0.0) for z in r] for r in seen[layer]]
                self.assertAlmostEqual(level.size, math.sqrt(sum(x * x for x in flat(active)) / 20))
                self.assertAlmostEqual(level.alike, m.alike(active), 12)
                grads = [w.grad for r in model[f"{layer}.w"] for w in r]
                self.assertAlmostEqual(level.gradient, math.hypot(*grads), 12)

            def f(x, norm=norm, frozen=frozen, examples=examples):
                frozen["1.w"][2][3] = x
                return m.mean_of(m.losses_of(frozen, examples, norm))

            weight = model["1.w"][2][3]
            self.assertAlmostEqual(weight.grad, slope(f, weight.data), 6)

    def test_tenths(self):
        m.STEPS = 20
        try:
            self.assertEqual(m.tenths(list(range(20))), [0.5 + 2 * i for i in range(10)])
            self.assertEqual(m.tenths([1.0, 3.0, 5.0]), [2.0, 5.0])
            m.STEPS = 3
            self.assertEqual(m.tenths([1.0, 3.0, 5.0]), [1.0, 3.0, 5.0])
        finally:
            m.STEPS = SIZES["STEPS"]

    def test_scaling_leaves_batch_norm_alone_and_not_a_plain_network(self):
        normed, plain = self.fit()[0], self.fit(norm="", kaiming=True)[0]
        kept = [list(r) for r in normed.model["1.w"]]
        gap, times = m.scaling(normed, task_of(), 4.0)
        self.assertLess(gap, 1e-2)
        self.assertAlmostEqual(times, 0.25, 2)
        self.assertEqual(normed.model["1.w"], kept)
        gap, times = m.scaling(plain, task_of(), 4.0)
        louder = m.freeze(plain.model)
        louder["1.w"] = [[4.0 * w for w in r] for r in louder["1.w"]]
        contexts = [e.context for e in task_of().learnt[: m.BATCH]]
        pairs = zip(flat(m.forward(plain.model, contexts)), flat(m.forward(louder, contexts)))
        self.assertAlmostEqual(gap, max(abs(a - b) for a, b in pairs), 12)
        self.assertGreater(gap, 1e-2)
        self.assertEqual(m.scaling(plain, task_of(), 1.0), (0.0, 1.0))

    def test_loss_by_batches(self):
        result, task = self.fit()[0], task_of()
        examples = task.held_out[:7]
        want = []
        for part in (examples[:3], examples[3:6], examples[6:]):
            want += m.losses_of(result.model, part, m.BatchNorm())
        self.assertAlmostEqual(m.batch_loss(result, examples, 3), sum(want) / 7, 12)
        alone = m.batch_loss(result, examples, 1)
        logits = m.forward(result.model, [[0, 0, 0]], m.BatchNorm())[0]  # whatever it reads
        want = [-math.log(m.softmax(logits)[e.target]) for e in examples]
        self.assertAlmostEqual(alone, sum(want) / 7, 9)

    def test_a_vanished_gradient_has_no_ratio(self):
        """Of a network whose middle layer is off for every example."""
        dead = self.fit(norm="", kaiming=True)[0]
        dead.model["1.bias"] = [[-1e9] * m.WIDTH]
        self.assertEqual(m.scaling(dead, task_of(), 4.0), (0.0, 0.0))


class Wiring(Close):
    """experiment(): who gets what."""

    def test_seed_and_file_reach_the_experiment(self):
        with patch.object(m, "experiment", return_value=3) as experiment:
            self.assertEqual(m.main(["--seed", "7", "--names", "x.txt"]), 3)
        experiment.assert_called_once_with(seed=7, names="x.txt")

    def test_bad_settings_end_it_before_anything_is_learnt(self):
        with patch.object(m, "MOMENTUM", 1.5), patch.object(m, "fit") as fit:
            with redirect_stderr(io.StringIO()), self.assertRaises(SystemExit):
                m.experiment(5, None)
        fit.assert_not_called()

    def run_it(self, names=None):
        """The experiment with made-up results; what it asked for, what it printed."""
        losses = {
            "plain": 2.75, "plain, Kaiming": 2.5, "plain, Kaiming, fast": math.inf,
            "batch norm": 2.25, "noisy batch norm": 2.375,
        }  # fmt: skip
        drifts = {"plain, Kaiming": 0.25, "noisy batch norm": 0.75}
        self.fits, self.shown = [], {}

        def fit(task, row, seed):
            self.fits.append((task, row, seed))
            return m.Result(
                row=row, model={}, norm=None, losses=[1.0] * m.STEPS, loss=losses[row.label],
                drift=drifts.get(row.label, 9.0),
            )  # fmt: skip

        def show(name, answer):
            def note(*arguments):
                self.shown[name] = arguments
                return answer

            return note

        def new_task(*arguments, real=m.new_task):
            return real(*arguments)._replace(frequencies=3.0)

        shows = {"show_start": [0.01, 5.0, 0.75], "show_scaling": 1e-5, "show_batches": 0.0625}
        answers = {name: show(name, answer) for name, answer in shows.items()}
        claims = []
        with patch.multiple(m, fit=fit, new_task=new_task, **answers):
            with patch.object(m, "check_claims", lambda found: claims.extend(found) or 0):
                with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
                    self.assertEqual(m.experiment(5, names), 0)
        return claims, out.getvalue()

    def test_the_claims_compare_what_they_say(self):
        claims, _ = self.run_it()
        want = [0.01, 0.75, 0.25, 0.5, 0.75, 0.375, 0.5, 1e-5, 0.0625]
        for (text, measured, *_), value in zip(claims, want, strict=True):
            self.assertAlmostEqual(measured, value, 12, text)

    def test_rows_differ_in_one_thing_each(self):
        self.run_it()
        rows = {row.label: row._replace(label="") for _, row, _ in self.fits}
        normed = rows["batch norm"]
        self.assertEqual(normed, m.Row(label="", kaiming=False, norm="batch", lr=m.LR))
        self.assertEqual(rows["plain"], normed._replace(norm=""))
        self.assertEqual(rows["noisy batch norm"], normed._replace(norm="noisy"))
        fast = rows["plain, Kaiming, fast"]
        self.assertEqual(fast, rows["plain"]._replace(kaiming=True))
        self.assertEqual(rows["plain, Kaiming"], fast._replace(lr=m.KAIMING_LR))
        self.assertEqual(len({id(task) for task, _, _ in self.fits}), 1)
        self.assertEqual({seed for *_, seed in self.fits}, {5})
        # the start is shown of those that are trained; batch norm is what the rest is about
        labels = [row.label for row in self.shown["show_start"][1]]
        self.assertEqual(labels, ["plain", "plain, Kaiming", "batch norm"])
        normed, careful, _ = self.shown["show_scaling"]
        self.assertEqual((normed.row.label, careful.row.label), ("batch norm", "plain, Kaiming"))
        self.assertEqual(self.shown["show_batches"][0].row.label, "batch norm")

    def test_a_file_of_names(self):
        """Up to 50 letters each; every letter has its token."""
        names = [letter * 2 for letter in string.ascii_lowercase] + ["y" * 50]
        with tempfile.TemporaryDirectory() as folder, patch.object(m, "HELD_OUT_NAMES", 3):
            path = Path(folder) / "names.txt"
            path.write_text("\n".join([*names, "z" * 51]), "utf-8")
            _, out = self.run_it(str(path))
        task = self.fits[0][0]
        self.assertEqual(task.vocabulary, 27)
        examples = task.learnt + task.held_out
        self.assertEqual(sum(e.target == m.EDGE for e in examples), 27)  # ends of names
        self.assertEqual(len(examples), 26 * 3 + 51)
        self.assertEqual(sum(e.target == m.EDGE for e in task.held_out), 3)
        self.assertIn(f"{len(task.learnt)} examples to learn, {len(task.held_out)} held out", out)


if __name__ == "__main__":
    unittest.main()
