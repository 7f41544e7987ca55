"""The shared blocks: autograd, model, training, files, drawing. They are the same text in every
script (test_collection.py), so that one copy of each is tested here."""

import gc
import io
import math
import random
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import microdpo
import microlora as m
import micromoe
import microppo
from microlora import Value
from tests.helpers import slope

WIDTH = m.N_EMBD


def setUpModule():
    m.N_EMBD = 8  # a smaller model shows the same and runs faster


def tearDownModule():
    m.N_EMBD = WIDTH


class Operations(unittest.TestCase):
    """Every operation against its float twin and central differences."""

    UNARY = {
        "neg": (lambda x: -x, [-2.0, 0.0, 3.5]),
        "add number": (lambda x: x + 2.5, [-1.0, 4.0]),
        "number add": (lambda x: 2.5 + x, [-1.0, 4.0]),
        "sub number": (lambda x: x - 2.5, [-1.0, 4.0]),
        "number sub": (lambda x: 2.5 - x, [-1.0, 4.0]),
        "mul number": (lambda x: x * -3.0, [-1.0, 4.0]),
        "number mul": (lambda x: -3.0 * x, [-1.0, 4.0]),
        "div number": (lambda x: x / -3.0, [-1.0, 4.0]),
        "number div": (lambda x: -3.0 / x, [-1.0, 0.4]),
        "square": (lambda x: x**2, [-1.5, 0.0, 2.0]),
        "inverse root": (lambda x: x**-0.5, [0.1, 2.0]),
        "power 0": (lambda x: x**0, [0.0, 2.0]),
        "power 1": (lambda x: x**1, [0.0, -2.0]),
        "relu": (lambda x: x.relu() if isinstance(x, Value) else max(x, 0.0), [-2.0, 0.5, 3.0]),
        "exp": (lambda x: x.exp() if isinstance(x, Value) else math.exp(x), [-3.0, 0.0, 2.0]),
        "log": (lambda x: x.log() if isinstance(x, Value) else math.log(x), [0.1, 1.0, 9.0]),
        "tanh": (lambda x: x.tanh() if isinstance(x, Value) else math.tanh(x), [-2.0, 0.0, 0.7]),
    }
    BINARY = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "same operand twice": lambda a, b: a * a * b + a / a - b * b,
    }

    def test_one_operand(self):
        for name, (f, points) in self.UNARY.items():
            for x in points:
                with self.subTest(name, x=x):
                    v = Value(x)
                    y = f(v)
                    y.backward()
                    self.assertAlmostEqual(y.data, f(x), 12)
                    self.assertAlmostEqual(v.grad, slope(f, x), 6)

    def test_two_operands(self):
        for name, f in self.BINARY.items():
            with self.subTest(name):
                a, b = Value(1.7), Value(-0.6)
                y = f(a, b)
                y.backward()
                self.assertAlmostEqual(y.data, f(1.7, -0.6), 12)
                self.assertAlmostEqual(a.grad, slope(lambda x: f(x, -0.6), 1.7), 6)
                self.assertAlmostEqual(b.grad, slope(lambda x: f(1.7, x), -0.6), 6)

    def test_a_vector_function(self):
        """Gradients of every input of the fused and composite functions."""
        weights = [0.5, -1.0, 2.0, 0.25]

        def mix(xs):  # one number out of a vector, so that all entries count
            return m.dot(weights, xs)

        cases = {
            "dot with itself": lambda xs: m.dot(xs, xs),
            "dot of two parts": lambda xs: m.dot(xs[:2], xs[2:]),
            "dot, floats left": lambda xs: m.dot(weights, xs),
            "dot, floats right": lambda xs: m.dot(xs, weights),
            "total": lambda xs: m.total(xs) ** 2,
            "softmax": lambda xs: mix(m.softmax(xs)),
            "softmax, warm": lambda xs: mix(m.softmax(xs, 2.5)),
            "rmsnorm": lambda xs: mix(m.rmsnorm(xs)),
            "attend": lambda xs: m.dot([0.7, -2.0], m.attend(xs[:2], [xs[1:3], xs[2:4]], 1.7)),
            "attend, float values": lambda xs: m.attend(xs, [[w] for w in weights], 0.8)[0],
            "attend, float scores": lambda xs: m.attend(weights, [[x] for x in xs], 0.8)[0],
            "linear": lambda xs: mix(m.linear([weights] * 4, xs)),
            "cross entropy": lambda xs: m.cross_entropy(xs, 2),
        }
        xs = [0.3, -1.2, 0.8, 2.0]
        for name, f in cases.items():
            with self.subTest(name):
                values = [Value(x) for x in xs]
                y = f(values)
                y.backward()
                self.assertAlmostEqual(y.data, f(xs), 12)
                for i, v in enumerate(values):
                    numeric = slope(lambda x, i=i: f([*xs[:i], x, *xs[i + 1 :]]), xs[i])
                    self.assertAlmostEqual(v.grad, numeric, 6)

    def test_floats_in_floats_out(self):
        for y in (
            m.dot([1.0], [2.0]),
            m.total([1.0]),
            m.cross_entropy([1.0, 2.0], 0),
            m.softmax([1.0, 2.0])[0],
            m.rmsnorm([1.0, 2.0])[0],
            m.attend([1.0, 2.0], [[3.0], [4.0]], 1.0)[0],
            m.linear([[1.0]], [2.0])[0],
            m.relu(-1.0),
        ):
            self.assertIs(type(y), float)

    def test_softmax_at_a_temperature(self):
        zs = [0.3, -1.2, 0.8]
        for t in (0.5, 1.0, 4.0):
            exps = [math.exp(z / t) for z in zs]
            for p, e in zip(m.softmax(zs, t), exps):
                self.assertAlmostEqual(p, e / sum(exps), 14)

    def test_attend_is_the_mean_by_softmax(self):
        scores, values = [0.5, -1.0, 2.0], [[1.0, 4.0], [-2.0, 0.0], [0.5, 3.0]]
        chances = m.softmax(scores, 2.0)
        for mean, column in zip(m.attend(scores, values, 2.0), zip(*values)):
            self.assertAlmostEqual(mean, sum(p * v for p, v in zip(chances, column)), 15)

    def test_linear_is_the_same_on_floats_and_values(self):
        rng = random.Random(1)
        rows = [[rng.gauss(0, 1) for _ in range(5)] for _ in range(3)]
        x = [rng.gauss(0, 1) for _ in range(5)]
        learns, [x_learns] = m.unfreeze({"w": rows})["w"], m.unfreeze({"x": [x]})["x"]
        want = [sum(a * b for a, b in zip(row, x)) for row in rows]
        for w in (rows, learns):
            for v in (x, x_learns):
                y = m.linear(w, v)
                self.assertEqual(m.floats(y), want)
                self.assertIs(type(y[0]), float if w is rows and v is x else Value)
                edges = 5 * (w is learns) + 5 * (v is x_learns)
                if edges:
                    self.assertEqual(len(y[0].children), edges)

    def test_linear_leaves_out_what_relu_switched_off(self):
        rows = [[1.0, -2.0, 3.0, 0.5], [0.0, 4.0, -1.0, 2.0]]
        for inputs, lit in (
            ([0.5, -1.0, 2.0, -3.0], 2),
            ([-0.5, 1.0, -2.0, -3.0], 1),
            ([-0.5, -1.0, -2.0, 0.0], 0),
        ):
            with self.subTest(inputs=inputs):
                w = m.unfreeze({"w": rows})["w"]
                x = [Value(v) for v in inputs]
                y = m.linear(w, [m.relu(v) for v in x])
                plain = [sum(a * max(b, 0.0) for a, b in zip(row, inputs)) for row in rows]
                got = [v.data if isinstance(v, Value) else v for v in y]
                self.assertEqual(got, plain)
                self.assertEqual(m.linear(rows, [max(v, 0.0) for v in inputs]), plain)
                if not lit:  # nothing is left to learn
                    self.assertEqual(y, [0.0, 0.0])
                    continue
                self.assertEqual([len(v.children) for v in y], [2 * lit] * 2)
                (y[0] + y[1] * 10.0).backward()
                for v, a, b in zip(x, *rows):
                    self.assertEqual(v.grad, a + 10.0 * b if v.data > 0 else 0.0)
                for row, slope_ in zip(w, (1.0, 10.0)):
                    self.assertEqual([p.grad for p in row], [slope_ * max(v, 0) for v in inputs])

    def test_linear_keeps_a_value_that_happens_to_be_zero(self):
        parameter, other = Value(0.0), Value(2.0)
        inner = other - 2.0
        m.linear([[3.0, 5.0, 1.0]], [parameter, inner, m.relu(Value(-1.0))])[0].backward()
        self.assertEqual((parameter.grad, other.grad), (3.0, 5.0))

    def test_linear_refuses_another_shape(self):
        for x in ([1.0], [Value(1.0)]):
            with self.assertRaises(ValueError):
                m.linear([[1.0, 2.0]], x)

    def test_dot_refuses_unequal_lengths(self):
        with self.assertRaises(ValueError):
            m.dot([1.0, 2.0], [1.0])

    def test_large_logits(self):
        for top in (1000.0, -1000.0):
            logits = [Value(top), Value(0.0), Value(top)]
            probabilities = m.softmax(logits)
            self.assertAlmostEqual(sum(p.data for p in probabilities), 1.0, 12)
            loss = m.cross_entropy(logits, 1)
            expected = 1000.0 + math.log(2) if top > 0 else 0.0
            self.assertAlmostEqual(loss.data, expected, 9)
            loss.backward()
            self.assertAlmostEqual(sum(z.grad for z in logits), 0.0, 12)

    def test_log_near_zero(self):
        for x in (0.0, 1e-300, -1.0):
            v = Value(x)
            y = v.log()
            y.backward()
            self.assertEqual((y.data, v.grad), (math.log(1e-12), 1e12))

    def test_relu_at_zero_and_off(self):
        for x in (0.0, -1.0):
            v = Value(x)
            y = v.relu() + v * 3.0
            y.backward()
            self.assertEqual((y.data, v.grad), (3 * x, 3.0))

    def test_relu_of_what_is_off_is_a_constant(self):
        x = Value(2.0)
        self.assertIs(m.relu(x), x)
        for off in (Value(-1.0), Value(0.0), -1.0, 0.0):
            self.assertIs(type(m.relu(off)), float)
            self.assertEqual(m.relu(off), 0.0)

    def test_relu_does_not_hide_nan(self):
        self.assertTrue(math.isnan(m.relu(Value(math.nan)).data))
        self.assertTrue(math.isnan(m.relu(math.nan)))


class Backward(unittest.TestCase):
    def test_a_chain_of_100000_nodes(self):
        x = Value(1.0)
        y = x
        for _ in range(100_000):
            y = y + 1.0
        y.backward()
        self.assertEqual((y.data, x.grad), (100_001.0, 1.0))
        del y  # and it can be taken apart again

    def test_reuse_adds_up(self):
        x = Value(3.0)
        y = x * x + x
        (y * y).backward()
        self.assertEqual(x.grad, 2 * 12.0 * 7.0)

    def test_a_diamond_of_many_levels_is_walked_once(self):
        x = Value(1.0)
        y = x
        for _ in range(60):  # 2^60 paths, 60 nodes
            y = y + y
        y.backward()
        self.assertEqual(x.grad, 2.0**60)

    def test_parameters_accumulate_and_inner_nodes_do_not(self):
        x = Value(2.0)
        inner = x * x
        y = inner * 3.0
        y.backward()
        y.backward()
        self.assertEqual((x.grad, inner.grad), (24.0, 3.0))

    def test_graph_lists_children_first(self):
        rng = random.Random(5)
        nodes = [Value(rng.random()) for _ in range(5)]
        for _ in range(200):
            nodes.append(m.dot(rng.sample(nodes, 3), rng.sample(nodes, 3)))
        order = nodes[-1].graph()
        place = {node: i for i, node in enumerate(order)}
        self.assertEqual(len(place), len(order))
        self.assertEqual(nodes[-1].graph(), order)
        for node in order:
            for child in node.children:
                if child.children:
                    self.assertLess(place[child], place[node])

    def test_a_graph_is_freed_without_the_collector(self):
        gc.collect()
        gc.disable()
        try:
            x = Value(1.0)
            y = (x * 2.0 + x).exp()
            y.backward()
            del y
            self.assertEqual(gc.collect(), 0)
        finally:
            gc.enable()


class Model(unittest.TestCase):
    def setUp(self):
        self.rng = random.Random(3)
        self.model = m.init_model(11, self.rng)
        self.tokens = [0, 4, 7, 7, 2, 10, 0]

    def test_values_and_floats_agree_to_the_bit(self):
        values = m.token_losses(m.unfreeze(self.model), self.tokens)
        floats = m.token_losses(self.model, self.tokens)
        self.assertEqual([v.data for v in values], floats)

    def test_cache_against_recomputing(self):
        """The cached forward against one written with whole matrices, no cache."""
        d, heads = m.N_EMBD, m.N_HEAD
        size = d // heads
        w = self.model

        def times(matrix, rows):
            return [[m.dot(line, row) for line in matrix] for row in rows]

        inputs = self.tokens[:-1]
        x = [
            m.rmsnorm([a + b for a, b in zip(w["wte"][t], w["wpe"][i])])
            for i, t in enumerate(inputs)
        ]
        for layer in range(m.N_LAYER):
            h = [m.rmsnorm(row) for row in x]
            q, k, v = (times(w[f"{layer}.{n}"], h) for n in ("wq", "wk", "wv"))
            mixed = []
            for i in range(len(inputs)):
                row = []
                for a in range(heads):
                    cut = slice(a * size, (a + 1) * size)
                    masked = [
                        m.dot(q[i][cut], k[j][cut]) / math.sqrt(size) if j <= i else -math.inf
                        for j in range(len(inputs))
                    ]
                    p = m.softmax(masked)
                    row += [
                        sum(p[j] * v[j][a * size + c] for j in range(len(inputs)))
                        for c in range(size)
                    ]
                mixed.append(row)
            out = times(w[f"{layer}.wo"], mixed)
            x = [[a + b for a, b in zip(r, s)] for r, s in zip(x, out)]
            h = times(w[f"{layer}.w1"], [m.rmsnorm(row) for row in x])
            out = times(w[f"{layer}.w2"], [[max(0.0, u) for u in row] for row in h])
            x = [[a + b for a, b in zip(r, s)] for r, s in zip(x, out)]
        logits = times(w["lm_head"], x)
        cache = m.new_cache()
        for token, expected in zip(inputs, logits):
            for got, want in zip(m.gpt(w, token, cache), expected):
                self.assertAlmostEqual(got, want, 12)

    def test_every_parameter_used_gets_its_gradient(self):
        model = m.unfreeze(self.model)
        loss = m.total(m.token_losses(model, self.tokens))
        loss.backward()
        for name, matrix in self.model.items():
            for i, j in ((0, 0), (4, 5), (len(matrix) - 1, 1)):
                x = matrix[i][j]

                def f(changed, matrix=matrix, i=i, j=j):
                    matrix[i][j] = changed
                    return sum(m.token_losses(self.model, self.tokens))

                with self.subTest(name, i=i, j=j):
                    self.assertAlmostEqual(model[name][i][j].grad, slope(f, x), 6)
                matrix[i][j] = x

    def test_freeze_copies(self):
        values = m.unfreeze(self.model)
        frozen = m.freeze(values)
        self.assertEqual(frozen, self.model)
        frozen["wte"][0][0] = 9.0
        self.assertNotEqual(self.model["wte"][0][0], 9.0)
        self.assertNotEqual(values["wte"][0][0].data, 9.0)
        self.assertEqual(len(m.weights_of(values)), sum(map(len, sum(frozen.values(), []))))

    def test_samples_follow_the_model(self):
        """First-letter frequencies against the model's own probabilities."""
        for row in self.model["lm_head"]:  # far from uniform, so that temperature shows
            row[:] = [30 * x for x in row]
        chances = m.softmax(m.gpt(self.model, m.EDGE, m.new_cache()))
        cold = m.softmax([z / 0.5 for z in m.gpt(self.model, m.EDGE, m.new_cache())])
        rng = random.Random(1)
        for t, expected in ((1.0, chances), (0.5, cold)):
            counts = [0] * 11
            with mock.patch.object(m, "BLOCK_SIZE", 1):  # the first letter is enough
                for _ in range(2000):
                    counts[m.sample(self.model, [m.EDGE], rng, t)[0]] += 1
            for count, p in zip(counts, expected):
                self.assertLess(abs(count - 2000 * p), 4.5 * math.sqrt(2000 * p) + 1)

    def test_a_sample_reads_its_prompt_and_then_its_own_letters(self):
        for prompt in ([m.EDGE], [m.EDGE, 3, 5]):
            with mock.patch.object(m, "gpt", wraps=m.gpt) as gpt:
                answer = m.sample(self.model, prompt, random.Random(2))
            self.assertGreater(len(answer), 1)
            read = [call.args[1] for call in gpt.call_args_list]
            self.assertEqual(read, [*prompt, *answer[:-1]])
            caches = [call.args[2] for call in gpt.call_args_list]
            self.assertTrue(all(cache is caches[0] for cache in caches))

    def test_a_new_model_is_drawn_around_zero(self):
        for name, matrix in m.init_model(40, random.Random(3)).items():
            xs = [x / m.INIT_STD for row in matrix for x in row]
            spread = 5.0 / math.sqrt(len(xs))
            self.assertAlmostEqual(sum(xs) / len(xs), 0.0, delta=spread, msg=name)
            self.assertAlmostEqual(sum(x * x for x in xs) / len(xs), 1.0, delta=2 * spread)

    def test_a_sample_ends_at_the_edge_or_at_a_full_context(self):
        lengths = set()
        for seed in range(60):
            prompt = [m.EDGE, 3]
            tokens = m.sample(self.model, prompt, random.Random(seed))
            self.assertNotIn(m.EDGE, tokens[:-1])
            if tokens[-1] != m.EDGE:
                self.assertEqual(len(prompt) + len(tokens), m.BLOCK_SIZE + 1)
            lengths.add(len(tokens))
        self.assertGreater(len(lengths), 5)


class Training(unittest.TestCase):
    def test_adam_against_steps_by_hand(self):
        p = Value(1.0)
        array, grads = [1.0], [0.0]
        adam = m.Adam([p], [(array, grads)])
        x, m1, v1 = 1.0, 0.0, 0.0
        for t, g in enumerate([0.5, -2.0, 0.0, 0.1], 1):
            p.grad = grads[0] = g
            adam.step(0.1)
            m1 = 0.9 * m1 + 0.1 * g
            v1 = 0.99 * v1 + 0.01 * g * g
            x -= 0.1 * (m1 / (1 - 0.9**t)) / (math.sqrt(v1 / (1 - 0.99**t)) + 1e-8)
            self.assertAlmostEqual(p.data, x, 14)
            self.assertAlmostEqual(array[0], x, 14)
            self.assertEqual((p.grad, grads[0]), (0.0, 0.0))
        self.assertLess(abs(adam.moments[0][0][0] - m1), 1e-15)

    def test_first_step_has_the_size_of_the_rate_whatever_the_gradient(self):
        for g in (1e-3, -40.0):
            p = Value(0.0)
            p.grad = g
            m.Adam([p]).step(0.02)
            self.assertAlmostEqual(p.data, -math.copysign(0.02, g), 6)

    def test_schedule(self):
        rates = []

        class Recorder:
            def step(self, lr):
                rates.append(lr)

        with redirect_stderr(io.StringIO()) as lines:
            m.train("x", lambda: 1.0, Recorder(), 100, 2.0)
        self.assertAlmostEqual(rates[0], 0.2)
        self.assertAlmostEqual(max(rates), 2.0)
        self.assertAlmostEqual(rates[-1], 2.0 / 90)
        self.assertEqual(rates.index(max(rates)), 9)
        self.assertEqual(len(lines.getvalue().splitlines()), 10)

    def test_the_hook_looks_before_every_step_and_at_the_end(self):
        seen = []
        with redirect_stderr(io.StringIO()):
            losses = m.train("x", lambda: float(len(seen)), m.Adam(), 3, 1.0, seen.append)
        self.assertEqual((seen, losses), ([0, 1, 2, 3], [1.0, 2.0, 3.0]))

    def test_a_batch_is_the_mean_over_tokens(self):
        model = m.unfreeze(m.init_model(4, random.Random(0)))
        learn = m.next_letter(model, ["ab", "c"], ["", "a", "b", "c"], random.Random(8))
        old, m.BATCH = m.BATCH, 3
        try:
            loss = learn()
        finally:
            m.BATCH = old
        rng = random.Random(8)
        texts = [rng.choice(["ab", "c"]) for _ in range(3)]
        expected = m.mean_loss(m.freeze(model), texts, ["", "a", "b", "c"])
        self.assertAlmostEqual(loss, expected, 12)
        again = m.total(
            [x for t in texts for x in m.token_losses(model, m.encode(t, ["", *"abc"]))]
        ) / sum(len(t) + 1 for t in texts)
        grads = [p.grad for p in m.weights_of(model)]
        for p in m.weights_of(model):
            p.grad = 0.0
        again.backward()
        for p, g in zip(m.weights_of(model), grads):
            self.assertAlmostEqual(p.grad, g, 12)

    def test_pretraining_is_training_of_a_new_model_by_the_settings(self):
        names, alphabet = ["abc", "cab"], ["", "a", "b", "c"]
        with redirect_stderr(io.StringIO()), mock.patch.object(m, "PRETRAIN_STEPS", 6):
            with mock.patch.object(m, "PRETRAIN_LR", 0.03):
                got = m.pretrain(names, alphabet, random.Random(5))
            rng = random.Random(5)
            model = m.unfreeze(m.init_model(4, rng))
            learn, adam = m.next_letter(model, names, alphabet, rng), m.Adam(m.weights_of(model))
            m.train("x", learn, adam, 6, 0.03)
        self.assertEqual(got, m.freeze(model))

    def test_training_lowers_the_loss(self):
        rng = random.Random(1)
        model = m.unfreeze(m.init_model(4, rng))
        alphabet = ["", "a", "b", "c"]
        before = m.mean_loss(m.freeze(model), ["abc", "cab"], alphabet)
        with redirect_stderr(io.StringIO()):
            learn = m.next_letter(model, ["abc", "cab"], alphabet, rng)
            m.train("x", learn, m.Adam(m.weights_of(model)), 20, 0.01)
        after = m.mean_loss(m.freeze(model), ["abc", "cab"], alphabet)
        self.assertLess(after, 0.5 * before)


class Annotator(unittest.TestCase):
    """What microdpo, microppo and microrlaif compare names by."""

    ALPHABET = ["", *"abklno"]

    def compare(self, answers, rng):
        """A comparison of these answers, in turn, whatever the prompt; the prompts, in tokens."""
        prompts = []

        def sample(model, start, rng):
            prompts.append(start)
            return answers[(len(prompts) - 1) % len(answers)]

        with mock.patch.object(microdpo, "sample", sample), redirect_stderr(io.StringIO()):
            try:
                return microdpo.compare({}, ["nolan", "ab"], self.ALPHABET, rng), prompts
            except SystemExit:
                return None, prompts

    def test_one_letter_is_hard_or_not(self):
        self.assertEqual([microdpo.flow(x) for x in "kla"], [-1.0, 0.0, 0.0])

    def test_a_prompt_is_one_letter_or_two_of_some_name(self):
        rng = random.Random(2)
        drawn = [microdpo.draw_prompt(["nolan", "ab"], rng) for _ in range(800)]
        for prompt in ("n", "no", "a", "ab"):
            self.assertAlmostEqual(drawn.count(prompt) / 800, 0.25, delta=0.06)

    def test_better_answers_win_as_often_as_first_wins_says(self):
        rng, wins = random.Random(3), 0
        with mock.patch.object(microdpo, "TASTE", 1.0):
            for _ in range(600):
                text, prompts = self.compare([[1, 0], [5, 1, 0]], rng)  # a, and na
                self.assertEqual({text["chosen"], text["rejected"]}, {"a", "na"})
                start = microdpo.encode(text["prompt"], self.ALPHABET)[:-1]
                self.assertEqual(prompts, [start, start])
                first, second = text["prompt"] + "a", text["prompt"] + "na"
                wins += (text["chosen"] == "a") - microdpo.first_wins(first, second)
        self.assertAlmostEqual(wins / 600, 0.0, delta=0.06)

    def test_equal_or_unfinished_answers_are_drawn_again(self):
        a, b, cut = [1, 0], [2, 0], [3, 3]
        for answers in ([a, a, a, b], [a, cut, a, b], [cut, b, a, b], [cut, [3, 4], b, a]):
            text, prompts = self.compare(answers, random.Random(1))
            self.assertEqual({text["chosen"], text["rejected"]}, {"a", "b"})
            self.assertEqual(len(prompts), 4)

    def test_after_a_thousand_prompts_it_gives_up(self):
        for answer in ([1, 0], [3, 3]):
            text, prompts = self.compare([answer], random.Random(1))
            self.assertIsNone(text)
            self.assertEqual(len(prompts), 2000)


class Charts(unittest.TestCase):
    def test_sparkline(self):
        with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")):
            self.assertEqual(microppo.sparkline([0, 1, 2, 3, 4, 5, 6, 7]), "▁▂▃▄▅▆▇█")
            self.assertEqual(microppo.sparkline([2.0, 2.0]), "▁▁")
            self.assertEqual(len(microppo.sparkline(range(1000), 40)), 40)
            self.assertEqual(micromoe.bar(0.5, 10), "█" * 5)
        with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "ascii")):
            self.assertEqual(microppo.sparkline([0, 7]), "_#")
            self.assertEqual(micromoe.bar(2.0, 10), "#" * 10)
            self.assertEqual(micromoe.bar(-1.0, 10), "")

    def test_plot_shows_every_point_in_its_place(self):
        with redirect_stdout(io.StringIO()) as out:
            m.plot([("a", 0.0, 1.0), ("b", 2.0, 3.0), ("c", 1.0, 2.0)], "x", "y")
        lines = out.getvalue().splitlines()
        rows = {mark: i for i, line in enumerate(lines) for mark in "abc" if mark in line[10:]}
        columns = {mark: lines[rows[mark]].index(mark) for mark in "abc"}
        self.assertEqual(rows, {"b": 1, "c": 7, "a": 13})
        self.assertEqual([columns[mark] - columns["a"] for mark in "acb"], [0, 30, 60])
        self.assertIn("3.00 |", lines[1])
        self.assertLessEqual(max(map(len, lines)), 79)
        with redirect_stdout(io.StringIO()) as out:
            m.plot([("a", 1.0, 1.0)], "x", "y")  # a range of zero
        self.assertIn("a", out.getvalue())

    def test_words_are_never_cut(self):
        self.assertEqual(m.words(["anna", "bob", "clara"], 9), "anna bob")
        self.assertEqual(m.words(["anna"], 3), "")
        self.assertEqual(m.words(["anna", "bob"], 99), "anna bob")

    def test_claims(self):
        with redirect_stdout(io.StringIO()) as out:
            good = m.check_claims([("a", 1.0, ">=", 1.0), ("b", 1.0, "<=", 1.0)])
            bad = m.check_claims([("a", 0.9, ">=", 1.0), ("b", 0.9, "<=", 1.0)])
            nan = m.check_claims([("a", math.nan, ">=", 0.0)])
        self.assertEqual((good, bad, nan), (0, 1, 1))
        self.assertEqual(out.getvalue().count("FAIL"), 2)


class Names(unittest.TestCase):
    def read(self, content):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "names.txt"
            path.write_bytes(content)
            with redirect_stderr(io.StringIO()) as errors:
                try:
                    return m.read_names(str(path), 15), errors.getvalue()
                except SystemExit as stop:
                    self.assertEqual(stop.code, 2)
                    self.assertEqual(errors.getvalue().count("\n"), 1)
                    self.assertIn("names.txt", errors.getvalue())
                    return None, errors.getvalue()

    def test_embedded(self):
        names = m.read_names(None, 15)
        self.assertGreaterEqual(len(set(names)), 500)
        self.assertEqual(len(set(names)), len(names))
        self.assertLess(max(map(len, names)), m.BLOCK_SIZE)
        self.assertTrue("".join(names).isascii() and "".join(names).islower())

    def test_any_alphabet(self):
        lines = [f"{a}{b}" for a in "éßжא민" for b in "øяב지"]
        names, errors = self.read("\ufeff{}\r\n\n".format("\r\n".join(lines)).encode())
        self.assertEqual((names, errors), (lines, ""))
        alphabet = m.alphabet_of(names)
        self.assertEqual(m.decode(m.encode("민지", alphabet), alphabet), "민지")

    def test_repeats_and_capitals_count_once(self):
        names, _ = self.read("\n".join(["Ada", "ada", *(f"x{i}" for i in range(30))]).encode())
        self.assertEqual(len(names), 31)

    def test_long_names_are_skipped_with_a_count(self):
        lines = [f"x{i}" for i in range(30)] + ["y" * 15, "z" * 16, "z" * 4000]
        names, errors = self.read("\n".join(lines).encode())
        self.assertEqual(len(names), 31)
        self.assertIn("2 names of more than 15 letters skipped", errors)

    def test_bad_files(self):
        good = b"\n".join(b"x%d" % i for i in range(30))
        for content, words in {
            b"": "no usable lines",
            b"\n \n": "no usable lines",
            b"y" * 16: "no usable lines",
            b"ada\nbob\n": "2 different names",
            good + b"\nab\xff\xfe\n": "line 31: not UTF-8",
            good + b"\nab\x00\x07\n": "line 31: holds a control character (U+0000)",
            good + "\nan\u00a0na\n".encode(): "line 31: holds NO-BREAK SPACE (U+00A0)",
            good + "\nan\u200dna\n".encode(): "line 31: holds ZERO WIDTH JOINER (U+200D)",
        }.items():
            with self.subTest(words):
                names, errors = self.read(content)
                self.assertIsNone(names)
                self.assertIn(words, errors)

    def test_split(self):
        for n in (20, 500, 3000):
            items = list(range(n))
            train, held = m.split(items, random.Random(1), 200)
            self.assertEqual(sorted(train + held), items)
            self.assertEqual(len(held), min(200, n // 3))
        first, again = (m.split(list(range(50)), random.Random(7), 9) for _ in range(2))
        self.assertEqual(first, again)

    def test_short_contexts_skip_embedded_names_too(self):
        with redirect_stderr(io.StringIO()) as errors:
            names = m.read_names(None, 5)
        self.assertLess(len(names), len(m.NAMES))
        self.assertEqual(max(map(len, names)), 5)
        self.assertIn("the embedded names: ", errors.getvalue())


if __name__ == "__main__":
    unittest.main()
