"""The common sections: their text is the same in every script, so microppo's copy is tested."""

import argparse
import io
import math
import random
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import microdpo
import microppo as m
import microrlaif
import microspo
from microppo import END, Value
from tests.helpers import slope

XS, CONSTANTS = [0.3, -1.2, 0.8, 2.0], [0.5, -1.0, 2.0, 0.25]


def small():
    return patch.multiple(m, N_EMBD=4, N_HEAD=2, N_LAYER=2, BLOCK_SIZE=6)


def model(seed=1):
    """Knows ".abcde" only; its weights are so large that its probabilities are uneven."""
    weights = m.init_gpt(random.Random(seed))
    weights = {name: [[5.0 * x for x in row] for row in w] for name, w in weights.items()}
    return weights | {name: weights[name][:6] for name in ("wte", "lm_head")}


def read(weights, tokens):
    """The logits after the last token."""
    cache = [([], []) for _ in range(m.N_LAYER)]
    return [m.gpt(weights, token, cache) for token in tokens][-1]


def printed(function, *args):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        result = function(*args)
    return result, out.getvalue(), err.getvalue()


class Gradients(unittest.TestCase):
    def check(self, name, f, xs):
        """f of Values against f of floats, and its gradient against central differences."""
        values = [Value(x) for x in xs]
        y = f(*values)
        y.backward()
        self.assertAlmostEqual(y.data, m.detach([f(*xs)])[0], 12, name)
        for i, value in enumerate(values):
            numeric = slope(lambda x, i=i: m.detach([f(*xs[:i], x, *xs[i + 1 :])])[0], xs[i])
            self.assertAlmostEqual(value.grad, numeric, 6, (name, xs))

    def test_operators(self):
        def method(name):
            return lambda x: getattr(x, name)() if isinstance(x, Value) else getattr(math, name)(x)

        both, positive = [-2.0, 0.5, 3.0], [0.1, 1.0, 9.0]
        for name, f, points in (
            ("with numbers", lambda x: 2.5 + -x - (x + 1.5) * 3.0, both),
            ("and more", lambda x: 2.5 - x * (-3.0 * x - 2.0) / -4.0, both),
            ("powers", lambda x: x**3 - x**2, both),
            ("root", lambda x: x**-0.5, positive),
            ("relu", m.relu, both),
            ("exp", method("exp"), both),
            ("log", method("log"), positive),
        ):
            for x in points:
                self.check(name, f, [x])
        for xs in ([1.7, -0.6], [-0.2, 3.0]):
            self.check("add, sub, mul", lambda a, b: a + b - (b * a - a) * 3.0, xs)
            self.check("div", lambda a, b: a / b, xs)

    def test_functions_of_vectors(self):
        def mix(xs):  # one number of a vector, so that every entry counts
            return m.dot(CONSTANTS, xs)

        for name, f in (
            ("dot", lambda *xs: m.dot(xs[:2], xs[2:])),
            ("dot, floats right", lambda *xs: m.dot(xs, CONSTANTS)),
            ("total", lambda *xs: m.total(xs) * 2.0),
            ("matvec, W", lambda *xs: m.dot([2.0, -1.0], m.matvec([xs[:2], xs[2:]], [3.0, 5.0]))),
            ("matvec, x", lambda *xs: mix(m.matvec([CONSTANTS, XS, XS, CONSTANTS], xs))),
            ("matvec", lambda *xs: m.dot([2.0, -1.0], m.matvec([xs[:2], xs[1:3]], xs[2:]))),
            ("softmax", lambda *xs: mix(m.softmax(xs))),
            ("cross entropy", lambda *xs: m.cross_entropy(xs, 2)),
            ("rmsnorm", lambda *xs: mix(m.rmsnorm(xs))),
            ("add", lambda *xs: mix(m.add(xs, CONSTANTS))),
        ):
            for scale in (1.0, 3.0):
                self.check(name, f, [scale * x for x in XS])

    def test_floats_build_no_graph(self):
        x, values = [1.0, 2.0], [Value(1.0), Value(2.0)]
        numbers = [m.dot(x, x), m.total(x), m.cross_entropy(x, 0), *m.softmax(x), *m.rmsnorm(x)]
        numbers += [*m.matvec([x], x), *m.add(x, x), m.relu(-1.0)]
        self.assertEqual({type(y) for y in numbers}, {float})
        for y in (m.dot(x, values), m.dot(values, x), *m.matvec([x], values)):
            self.assertEqual(list(y.children), values)
        with small():  # a GPT of which one matrix learns: its logits depend on that alone
            mixed = model() | m.unfreeze({"lm_head": model()["lm_head"]})
            for row, z in zip(mixed["lm_head"], read(mixed, [0, 3, 1])):
                self.assertEqual(z.children, row)

    def test_each_node_in_its_turn(self):
        turns = []

        class Watched(Value):  # with a backward of its own
            __slots__ = ()

            def chain_rule(self):
                turns.append((self, self.grad))
                for child, factor in zip(self.children, self.local_grads):
                    child.grad += 2.0 * factor * self.grad

        x = Value(2.0)
        a = x * 3.0
        b = Watched(0.0, (a,), (1.0,))
        c = Watched(0.0, (a, b), (1.0, 3.0))  # a is reached directly and through b
        d = Watched(0.0, (c, b), (1.0, 1.0))
        d.backward()
        self.assertEqual(turns, [(node, node.grad) for node in (d, c, b)])  # complete by then
        self.assertEqual((c.grad, b.grad, a.grad, x.grad), (2.0, 14.0, 32.0, 96.0))

    def test_gradients_add_up(self):
        x = Value(3.0)
        y = x * x
        (y * y + y * x).backward()  # x^4 + x^3
        self.assertEqual((x.grad, y.grad), (135.0, 21.0))
        (x + x * 5.0).backward()
        self.assertEqual(x.grad, 135.0 + 6.0)

    def test_nothing_overflows(self):
        for z in (800.0, -800.0):
            probs = m.softmax([z, 0.0, z])
            self.assertAlmostEqual(m.fsum(probs), 1.0, 12)
            self.assertAlmostEqual(probs[0], 0.5 if z > 0 else 0.0, 12)
            self.assertAlmostEqual(m.cross_entropy([z, -z], int(z < 0)), 0.0, 12)
            self.assertEqual(m.sigmoid(z), float(z > 0))
            margin = Value(z)
            loss = m.preference_loss(margin)
            loss.backward()
            self.assertEqual((loss.data, margin.grad), (max(-z, 0.0), -float(z < 0)))


class Training(unittest.TestCase):
    def test_adam_and_its_schedule(self):
        grads = [[0.5, -3.0, 0.0], [0.1, 1.0, 0.0], [-2.0, 4.0, 1e-8]]
        params, data, b1, b2 = [Value(1.0) for _ in range(3)], [1.0] * 3, 0.9, 0.99
        optimizer = m.Adam(params)
        for t, (gradient, lr) in enumerate(zip(grads, (0.1, 0.2, 0.05)), 1):
            for p, g in zip(params, gradient):
                p.grad = g
            optimizer.step(lr)
            self.assertEqual([p.grad for p in params], [0.0] * 3)
            for i, p in enumerate(params):
                past = [(t - 1 - k, grads[k][i]) for k in range(t)]
                mean = sum((1 - b1) * b1**age * g for age, g in past) / (1 - b1**t)
                square = sum((1 - b2) * b2**age * g * g for age, g in past) / (1 - b2**t)
                data[i] -= lr * mean / (math.sqrt(square) + 1e-8)
                self.assertAlmostEqual(p.data, data[i], 12)
        for step, share in enumerate([0.5, 1.0, *((20 - step) / 18 for step in range(2, 20))]):
            self.assertAlmostEqual(m.schedule(step, 20), share, 14)

    def test_every_training_loop_follows_its_schedule(self):
        """The learning rate of each step is the setting's times schedule(step, steps)."""
        model, names = microdpo.init_gpt(random.Random(1)), ["anna", "bo"]
        pair = (m.encode(".a"), m.encode("na."), m.encode("b."))
        pairs = [(*pair, -1.0, -2.0, 1.0)] * 8
        loops = [
            (microdpo, microdpo.PRETRAIN_LR, "pretrain", names, random.Random(1)),
            (microdpo, microdpo.LR, "train_dpo", model, pairs, 0.5),
            (microdpo, microdpo.LR, "train_sft", model, pairs),
            (microspo, microspo.LR, "train_dpo", model, [pair] * 4),
            (microrlaif, microrlaif.LR, "train_dpo", "", model, [(*pair, 1.0)] * 4),
            (microrlaif, microrlaif.TEACH_LR, "train_labeller", model, names, random.Random(1)),
        ]
        for module, lr, function, *arguments in loops:
            rates = []
            adam = type("Recorder", (module.Adam,), {"step": lambda self, lr: rates.append(lr)})  # noqa: B023
            steps = {x: 4 for x in ("STEPS", "PRETRAIN_STEPS", "TEACH_STEPS") if hasattr(module, x)}
            with patch.multiple(module, Adam=adam, **steps):
                printed(getattr(module, function), *arguments)
            wanted = [lr * module.schedule(step, 4) for step in range(4)]
            self.assertEqual(rates, wanted, f"{module.__name__}.{function}")

    def test_models(self):
        floats = {"w": [[1.0, 2.0], [3.0, 4.0]], "v": [[5.0]]}
        values = m.unfreeze(floats)
        self.assertEqual([p.data for p in m.parameters(values)], [1.0, 2.0, 3.0, 4.0, 5.0])
        values["w"][0][0].data = 9.0
        self.assertEqual(m.freeze(values), {"w": [[9.0, 2.0], [3.0, 4.0]], "v": [[5.0]]})
        m.freeze(floats)["w"][0][0] = 7.0
        self.assertEqual(floats["w"][0][0], 1.0)
        with patch.multiple(m, N_EMBD=16, N_LAYER=2):
            xs = m.parameters(m.init_gpt(random.Random(1)))
        self.assertEqual(len(xs), (27 + 27 + 16) * 16 + 2 * 12 * 16 * 16)
        self.assertLess(abs(m.fmean(xs)), 0.003)
        self.assertAlmostEqual(math.sqrt(m.fmean(x * x for x in xs)) / m.INIT_STD, 1.0, 1)


class GPT(unittest.TestCase):
    def test_causal_and_cached(self):
        with small():
            weights, tokens, cache = model(), [0, 3, 1, 4, 2, 0], [([], []), ([], [])]
            losses = m.token_losses(weights, tokens)
            self.assertEqual(losses[:2], m.token_losses(weights, [0, 3, 1, 5, 5, 5])[:2])
            for n, token in enumerate(tokens[:-1], 1):
                logits = m.gpt(weights, token, cache)
                self.assertEqual(logits, read(weights, tokens[:n]))
                self.assertEqual([len(keys) for keys, _ in cache], [n, n])
                self.assertAlmostEqual(losses[n - 1], -math.log(m.softmax(logits)[tokens[n]]), 14)
            for xs in ([5, 3, 1], [3, 1, 5]):  # another token, another order
                self.assertNotEqual(read(weights, [0, 1, 3, 5]), read(weights, [0, *xs]))

    def test_sampling(self):
        with small():
            weights, prompt, rng = model(), [0, 3], random.Random(3)
            ys = [m.sample(weights, prompt, rng) for _ in range(1500)]
            for y in ys:
                self.assertTrue(all(y[:-1]) and (y[-1] == END or len(y) == m.BLOCK_SIZE - 1))
            self.assertEqual({len(y) for y in ys}, set(range(1, m.BLOCK_SIZE)))
            self.assertTrue(any(y[-1] != END for y in ys))
            for i, place in ((0, prompt), (1, [*prompt, 4])):
                nexts = [y[i] for y in ys if [*prompt, *y][: i + 2] == place and len(y) > i]
                for token, p in enumerate(m.softmax(read(weights, place))):
                    error = 5 * math.sqrt(p * (1 - p) / len(nexts))
                    self.assertLess(abs(nexts.count(token) / len(nexts) - p), error)


class Task(unittest.TestCase):
    def test_gold(self):
        self.assertEqual(m.decode(m.encode(".anna.")), ".anna.")
        for text, repeats, want in (
            (".alan.", 0, 1.0), (".anna.", 0, 2 / 3), (".bob.", 0, 1 / 3), (".a.", 0, 0.0),
            (".nanana.", 3 / 7, 4 / 7), (".q.", 0, -1.0), (".alan", 0, 0.0), (".yyy", 1 / 3, -4 / 3)
        ):  # fmt: skip
            self.assertAlmostEqual(m.repeats(text), repeats, 12, text)
            self.assertAlmostEqual(m.gold(text), want, 12, text)
        prompts = [m.decode(m.sample_prompt(["anna", "bo"], random.Random(i))) for i in range(400)]
        for text in (".a", ".an", ".b", ".bo"):
            self.assertLess(abs(prompts.count(text) - 100), 45)

    def test_rollouts(self):
        with small():
            models = policy, reference = model(1), model(2)
            r = m.sample_rollout(policy, reference, m.encode(".ad"), random.Random(4))
            self.assertEqual(r.text, ".ad" + m.decode(r.completion))
            want = [[-x for x in m.token_losses(w, m.encode(r.text))[2:]] for w in models]
            self.assertEqual([r.log_probs, r.ref_log_probs], want)

    def test_measure(self):
        rollouts = [
            m.Rollout([0, 1], [14, 1, END], [-1.0, -2.0, -0.5], [-1.5, -1.0, -0.5], ".ana."),
            m.Rollout([0], [2, 2, 2], [-0.1, -0.2, -0.3], [-2.1, -0.2, -1.3], ".bbb"),
        ]
        k3 = [math.exp(-x) - 1.0 + x for x in (0.5, -1.0, 2.0, 1.0)]
        want = {
            "gold": (1.0 - 7 / 3) / 2, "KL": (-0.5 + 3.0) / 2, "k3": sum(k3) / 2,
            "entropy": 4.1 / 6, "repeats": 1 / 6, "length": 3.0, "no end": 0.5,
        }  # fmt: skip
        got = m.measure(rollouts)
        self.assertEqual(list(got), list(want))
        for key, value in want.items():
            self.assertAlmostEqual(got[key], value, 12, key)

    def test_comparisons(self):
        rng, completions = random.Random(5), [m.encode(y) for y in ("nna.", "nana.", "nn", "bb.")]
        with patch.object(m, "TASTE", 2.0), patch.object(m, "sample_prompt", lambda *_: [0, 1]):
            with patch.object(m, "sample", lambda model, prompt, rng: rng.choice(completions)):
                comparisons = [m.compare(None, None, rng) for _ in range(3000)]
        golds = {tuple(y): m.gold(m.decode([0, 1, *y])) for y in completions}
        for x, y_w, y_l, p in comparisons:
            self.assertEqual((x, y_w[-1], y_l[-1], y_w != y_l), ([0, 1], END, END, True))
            self.assertAlmostEqual(p, m.sigmoid(2.0 * (golds[tuple(y_w)] - golds[tuple(y_l)])), 12)
        for p in {p for *_, p in comparisons}:  # what p says is what happens
            chosen, other = (sum(abs(q - r) < 1e-9 for *_, q in comparisons) for r in (p, 1.0 - p))
            self.assertLess(abs(chosen / (chosen + other) - p), 0.06)
            self.assertGreater(chosen, 50)

        comparisons = [([], [], [], p) for p in (0.9, 0.2, 0.7)]
        for margins, want in (([1, 2, 0.1], 1.8), ([1, -2, 0.1], 2.4), ([-1, 0, 0], 1.1)):
            self.assertAlmostEqual(m.accuracy(margins, comparisons), want / 3, 14)


class CommandLine(unittest.TestCase):
    def test_names(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "names.txt"
            for text, message in (
                (b"anna\n" * 99, "line 99: give 100 names"),
                ("anna\nJürgen\n".encode(), "line 2: 'jürgen'"),
                (b"anna\n\nbob\n", "line 2: ''"),
                (b"a" * 16, "line 1"),
                (b"", "line 0: give"),
                (b"ann\xff\n", "utf-8"),
            ):
                path.write_bytes(text)
                with self.assertRaises(argparse.ArgumentTypeError) as caught:
                    m.read_names(path)
                self.assertIn(message, str(caught.exception))
                self.assertIn(str(path), str(caught.exception))
            self.assertRaises(argparse.ArgumentTypeError, m.read_names, folder)
            path.write_bytes(b"\xef\xbb\xbf Anna \r\n" + b"bob\n" * 98 + b"a" * 15)
            self.assertEqual(m.read_names(path), ["anna", *["bob"] * 98, "a" * 15])

    def test_rows_and_progress(self):
        row = {"gold": -0.126, "a long key": 12345.6, "text": "one"}
        for label, cells, want in (
            ("", {key: key for key in row}, "              gold a long key  text\n"),
            ("round 3", row, "round 3      -0.13      12346   one\n"),
        ):
            self.assertEqual(printed(m.print_row, label, cells)[1], want)
        _, out, err = printed(lambda: [m.progress("x", i, 30, 1.5) for i in range(30)])
        self.assertEqual((out, err.count("\r"), err.count("\n"), err[-7:]), ("", 10, 1, " 1.500\n"))

    def test_claims(self):
        holds = [("a", 0.5, ">=", 0.5), ("b", -1.0, "<=", -1.0)]
        self.assertEqual(printed(m.check_claims, holds)[0], 0)
        for claim in (("a", 0.499, ">=", 0.5), ("b", -0.999, "<=", -1.0), ("c", math.nan, ">=", 0)):
            status, out, _ = printed(m.check_claims, [holds[0], claim, holds[1]])
            words = [line.split()[:3] for line in out.splitlines()[2:]]
            self.assertEqual((status, [w[0] for w in words]), (1, ["ok", "FAIL", "ok"]))
            self.assertEqual(words[1][1:], [claim[0], f"{claim[1]:.3f}"])
