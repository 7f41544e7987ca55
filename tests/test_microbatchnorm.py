"""microbatchnorm.py: the layer and its gradients, running statistics, noise, network, training."""

import math
import random
import unittest
from statistics import fmean, variance
from unittest.mock import patch

import microbatchnorm as m
from microbatchnorm import Value
from tests.helpers import slope

EXAMPLES = m.make_examples(["anna", "otto", "eve"])[:8]
NAMES = "gain", "bias", "mean", "variance"


def setUpModule():
    patcher = patch.multiple(m, LAYERS=2, WIDTH=3, N_EMBD=2)
    patcher.start()
    unittest.addModuleCleanup(patcher.stop)


def new_model(seed=1):
    """In floats, with gains, biases and running statistics that matter."""
    rng = random.Random(seed)
    keys = [f"{i}.{name}" for i in range(2) for name in NAMES]
    return m.init_model(True, rng) | {k: [[rng.uniform(0.5, 2) for _ in range(3)]] for k in keys}


def loss_of(model, norm):
    return m.mean_loss(m.forward(model, norm, EXAMPLES)[0], EXAMPLES)


def normalize(xs, gain, bias):
    """y by the formula."""
    mean = sum(xs) / len(xs)
    s = math.sqrt(sum((x - mean) ** 2 for x in xs) / len(xs) + m.EPS)
    return [gain * (x - mean) / s + bias for x in xs]


class Close(unittest.TestCase):
    def close(self, got, want, places=9):
        self.assertEqual(len(got), len(want))
        for a, b in zip(got, want):
            self.assertAlmostEqual(a, b, places)


class Layer(Close):
    def test_outputs_and_gradients(self):
        """Against the formula and its central differences, for x, gain and bias."""
        numbers, g = [0.5, -1.0, 2.0, 0.25, 1.5, -0.5], [0.3, -2.0, 0.7, 1.1]
        *xs, gain, bias = values = [Value(v) for v in numbers]
        outputs = m.BatchNorm(xs, gain, bias, *m.moments(numbers[:4])).outputs
        self.close(m.detach(outputs), normalize(numbers[:4], 1.5, -0.5))
        m.dot(outputs, g).backward()
        for k, value in enumerate(values):

            def loss(v, k=k):
                *xs, gain, bias = numbers[:k] + [v] + numbers[k + 1 :]
                return sum(a * b for a, b in zip(normalize(xs, gain, bias), g))

            self.assertAlmostEqual(value.grad, slope(loss, numbers[k]), 6)

    def test_running_statistics(self):
        """Training moves them by MOMENTUM; evaluation uses them and moves nothing."""
        model, rows = new_model(), [[1.0, 2.0, 3.0], [3.0, -1.0, 0.0]]
        kept, training = m.freeze(model), m.unfreeze(model)
        trained = m.batch_norm(training, 1, [[Value(x) for x in row] for row in rows])
        evaluated = m.batch_norm(model, 1, rows)
        self.assertEqual(model, kept)
        for j, xs in enumerate(zip(*rows)):
            gain, bias, mean, var = (model[f"1.{name}"][0][j] for name in NAMES)
            moved = [training[f"1.{name}"][0][j].data for name in ("mean", "variance")]
            self.close(moved, [0.9 * mean + 0.1 * fmean(xs), 0.9 * var + 0.1 * variance(xs)])
            self.close([y[j].data for y in trained], normalize(xs, gain, bias))
            want = [gain * (x - mean) / math.sqrt(var + m.EPS) + bias for x in xs]
            self.close([y[j] for y in evaluated], want)

    def test_scale(self):
        """4 w in place of w: the same loss, a quarter of the gradient."""
        model, grads = new_model(), []
        for scale in (1.0, 4.0):
            copy = m.unfreeze(model | {"1.w": [[scale * x for x in row] for row in model["1.w"]]})
            loss = loss_of(copy, "batch")
            loss.backward()
            grads.append([loss.data] + [scale * w.grad for row in copy["1.w"] for w in row])
        self.close(*grads, places=4)

    def test_noise(self):
        """a (gain u + bias) + b, with a gradient for gain and bias."""
        model, rng = m.unfreeze(new_model()), random.Random(3)
        noisy = m.add_noise(model, random.Random(3))
        a = [rng.uniform(0.5, 1.5) for _ in range(3)]
        for j in range(3):
            b = rng.uniform(-0.5, 0.5)
            gain, bias = model["0.gain"][0][j], model["0.bias"][0][j]
            got = noisy["0.gain"][0][j], noisy["0.bias"][0][j]
            self.close(m.detach(got), [a[j] * gain.data, a[j] * bias.data + b])
            (got[0] + got[1]).backward()
            self.assertEqual([gain.grad, bias.grad], [a[j], a[j]])


class Network(Close):
    def test_inputs(self):
        """What each layer's ReLU gets: W x + bias."""
        model = new_model()
        x = [v for token in EXAMPLES[1][0] for v in model["wte"][token]]
        for i, rows in enumerate(m.forward(model, "none", EXAMPLES)[1]):
            want = m.add(m.matvec(model[f"{i}.w"], x), model[f"{i}.bias"][0])
            self.assertEqual(rows[1], want)
            x = [max(0.0, z) for z in want]

    def test_gradients(self):
        """Of a weight of every matrix, for every norm, against central differences."""
        for norm in ("none", "rms", "batch"):
            numbers = new_model(seed=4)
            model = m.unfreeze(numbers)
            loss_of(model, norm).backward()
            for name, (row, *_) in numbers.items():
                kept = row[1]

                def loss(x, row=row, norm=norm, numbers=numbers):
                    row[1] = x
                    return loss_of(m.unfreeze(numbers), norm).data

                self.assertAlmostEqual(model[name][0][1].grad, slope(loss, kept), 6, name)
                row[1] = kept


class Training(Close):
    def test_sgd(self):
        p = Value(2.0)
        p.grad = 0.5
        m.SGD([p]).step(3.0)
        self.close([p.data, p.grad], [0.5, 0.0])

    def test_drift(self):
        """Units move by 1, 2 and 0 of their standard deviations."""
        before = [[Value(x) for x in row] for row in ([0.0, 1.0, 5.0], [2.0, 5.0, 9.0])]
        after = [[Value(x) for x in row] for row in ([0.0, 7.0, 5.0], [4.0, 7.0, 9.0])]
        self.assertAlmostEqual(m.drift(before, after), 1.0, 4)

    def test_train(self):
        """It learns; noise shifts its inputs; training that diverges ends early."""
        with patch.multiple(m, STEPS=20, BATCH_SIZE=8, progress=lambda *args: None):
            (model, row), (_, noisy_row) = (
                m.train("", False, "batch", noisy, m.SGD, 0.5, EXAMPLES, 1)
                for noisy in (False, True)
            )
            self.assertLess(row["train"], math.log(27))
            self.assertNotEqual(model["0.mean"], [[0.0] * 3])
            self.assertGreater(noisy_row["drift"], row["drift"])
            with patch.object(m, "MAX_LOGIT", 0.5):
                _, ended = m.train("", True, "none", False, m.SGD, 5.0, EXAMPLES, 1)
            self.assertLess(int(ended["steps"]), int(row["steps"]))
