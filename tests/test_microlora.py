"""Sections 6 and 7 of microlora.py: the adapter, merging, and what is measured."""

import io
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microlora as m
from microlora import Value
from tests.helpers import slope

TOKENS = [0, 3, 1, 4, 1, 5, 0]
WIDTH = m.N_EMBD
EVERY = m.matrices("wq wk wv wo w1 w2 lm_head")


def all_logits(model, tokens):
    cache = m.new_cache()
    return [z for token in tokens for z in m.floats(m.gpt(model, token, cache))]


def setUpModule():
    m.N_EMBD = 8


def tearDownModule():
    m.N_EMBD = WIDTH


class Adapter(unittest.TestCase):
    def setUp(self):
        self.rng = random.Random(4)
        self.base = m.init_model(7, self.rng)
        self.untouched = m.freeze(self.base)

    def adapter(self, places=EVERY, rank=2, filled=True):
        adapter = m.new_adapter(self.base, places, rank, self.rng)
        if filled:  # as after some training: B is not zero
            for p in m.weights_of(adapter):
                p.data += self.rng.gauss(0.0, 0.1)
        return adapter

    def test_shapes_and_size(self):
        adapter = self.adapter(["0.w1"], rank=3, filled=False)
        a, b = adapter["0.w1.A"], adapter["0.w1.B"]
        self.assertEqual((len(a), len(a[0]), len(b), len(b[0])), (3, 8, 32, 3))
        self.assertEqual(len(m.weights_of(adapter)), 3 * (8 + 32))

    def test_initialization(self):
        m.N_EMBD = 64
        try:
            base = m.init_model(7, self.rng)
        finally:
            m.N_EMBD = 8
        adapter = m.freeze(m.new_adapter(base, ["0.wq"], 32, self.rng))
        self.assertEqual(set(m.weights_of({"B": adapter["0.wq.B"]})), {0.0})
        spread = m.weights_of({"A": adapter["0.wq.A"]})
        variance = sum(x * x for x in spread) / len(spread)
        self.assertAlmostEqual(variance * 64, 1.0, delta=0.15)  # N(0, 1/m), 2048 draws
        self.assertAlmostEqual(sum(spread) / len(spread), 0.0, delta=0.02)

    def test_an_adapter_starts_as_the_base_to_the_bit(self):
        adapted = {**self.base, **self.adapter(filled=False)}
        self.assertEqual(all_logits(adapted, TOKENS), all_logits(self.base, TOKENS))

    def test_forward_is_w_plus_alpha_over_r_times_ba(self):
        for rank in (1, 2, 4):
            adapter = self.adapter(["0.wk"], rank)
            a, b = (m.freeze(adapter)[f"0.wk.{x}"] for x in "AB")
            x = [self.rng.gauss(0, 1) for _ in range(8)]
            want = [
                sum(
                    (w + m.ALPHA / rank * sum(b[i][k] * a[k][j] for k in range(rank))) * x[j]
                    for j, w in enumerate(row)
                )
                for i, row in enumerate(self.base["0.wk"])
            ]
            got = m.project({**self.base, **adapter}, "0.wk", x)
            for g, w in zip(got, want):
                self.assertAlmostEqual(g.data, w, 12)

    def test_gradients(self):
        adapter = self.adapter()
        model = {**self.base, **adapter}
        m.total(m.token_losses(model, TOKENS)).backward()
        for name, matrix in adapter.items():
            p = matrix[-1][-1]

            def f(x, p=p):
                p.data, kept = x, p.data
                loss = sum(m.token_losses(m.freeze(model), TOKENS))
                p.data = kept
                return loss

            self.assertAlmostEqual(p.grad, slope(f, p.data), 6, name)

    def test_at_the_start_only_b_has_a_gradient(self):
        adapter = self.adapter(filled=False)
        m.total(m.token_losses({**self.base, **adapter}, TOKENS)).backward()
        for name, matrix in adapter.items():
            moved = any(p.grad for row in matrix for p in row)
            self.assertEqual(moved, name.endswith(".B"), name)

    def test_nothing_of_the_base_is_in_the_graph(self):
        adapter = self.adapter(["0.wq", "0.wv"])
        graph = m.total(m.token_losses({**self.base, **adapter}, TOKENS)).graph()
        leaves = {c for node in graph for c in node.children if not c.children}
        self.assertEqual(leaves, set(m.weights_of(adapter)))
        self.assertTrue(all(type(x) is float for x in m.weights_of(self.base)))

    def test_a_late_adapter_has_a_short_graph(self):
        full = m.backward_edges(m.unfreeze(self.base), TOKENS)
        head = m.backward_edges({**self.base, **self.adapter(["lm_head"], 1)}, TOKENS)
        every = m.backward_edges({**self.base, **self.adapter(EVERY, 1)}, TOKENS)
        self.assertLess(head, 0.2 * full)
        self.assertLess(every, full)

    def test_training_leaves_the_base_alone(self):
        adapter = self.adapter(filled=False)
        model = {**self.base, **adapter}
        learn = m.next_letter(model, ["abc", "cab"], ["", *"abcdef"], self.rng)
        before = all_logits(model, TOKENS)
        with redirect_stderr(io.StringIO()):
            m.train("x", learn, m.Adam(m.weights_of(adapter)), 5, 0.01)
        self.assertEqual(self.base, self.untouched)
        self.assertNotEqual(all_logits(model, TOKENS), before)
        self.assertEqual(all_logits(self.base, TOKENS), all_logits(self.untouched, TOKENS))

    def test_merge(self):
        for places, rank in ((["0.wq"], 1), (EVERY, 3), (["lm_head"], 2)):
            adapter = self.adapter(places, rank)
            merged = m.merge(self.base, adapter)
            self.assertEqual(list(merged), list(self.base))
            self.assertTrue(all(type(x) is float for x in m.weights_of(merged)))
            attached = all_logits({**self.base, **adapter}, TOKENS)
            gaps = [abs(x - y) for x, y in zip(attached, all_logits(merged, TOKENS))]
            self.assertLess(max(gaps), 1e-9)
            plain = all_logits(self.base, TOKENS)
            self.assertGreater(max(abs(x - y) for x, y in zip(attached, plain)), 1e-3)
        self.assertEqual(self.base, self.untouched)

    def test_swap(self):
        first, second = self.adapter(["0.wq"], 1), self.adapter(EVERY, 2)
        one = all_logits({**self.base, **first}, TOKENS)
        two = all_logits({**self.base, **second}, TOKENS)
        self.assertNotEqual(one, two)
        self.assertEqual(one, all_logits({**self.base, **first}, TOKENS))


class Directions(unittest.TestCase):
    @staticmethod
    def turned(values, rng):
        """U diag(values) V^T with U and V products of rotations."""
        n = len(values)
        a = [[values[i] if i == j else 0.0 for j in range(n)] for i in range(n)]
        for _ in range(2):
            for i in range(n):
                for j in range(i):
                    t = rng.random() * 6
                    c, s = math.cos(t), math.sin(t)
                    a[i], a[j] = (
                        [c * x + s * y for x, y in zip(a[i], a[j])],
                        [c * y - s * x for x, y in zip(a[i], a[j])],
                    )
            a = [list(column) for column in zip(*a)]
        return a

    def test_known_singular_values(self):
        rng = random.Random(2)
        for values, wanted in (
            ([1.0] * 10, 9),
            ([3.0, 1.0], 1),  # 9 of 10: exactly nine tenths, give or take rounding
            ([2.0, 1.0], 2),
            ([5.0, 3.0, 1.0, 0.1, 0.0], 2),
            ([1.0, 0.0, 0.0, 0.0], 1),
        ):
            with self.subTest(values=values):
                nudged = [v * (1 + 1e-9 * (i == 0)) for i, v in enumerate(values)]
                self.assertEqual(m.directions(self.turned(nudged, rng)), wanted)

    def test_exactly_nine_tenths_are_enough(self):
        self.assertEqual(m.directions([[3.0, 0.0], [0.0, 1.0]]), 1)

    def test_values_that_lie_close_together_are_told_apart(self):
        """Of the squares, the first five hold just over 90 %; mixed with the last two, less."""
        squares = [6.57, 0.52, 0.52, 0.52, 0.52, 0.48, 0.48]
        for seed in range(3):
            matrix = self.turned([x**0.5 for x in squares], random.Random(seed))
            self.assertEqual(m.directions(matrix), 5)

    def test_a_product_of_rank_2_has_two(self):
        rng = random.Random(6)
        b = [[rng.gauss(0, 1) for _ in range(2)] for _ in range(9)]
        a = [[rng.gauss(0, 1) for _ in range(9)] for _ in range(2)]
        product = [[m.dot(row, column) for column in zip(*a)] for row in b]
        self.assertLessEqual(m.directions(product), 2)


class Measures(unittest.TestCase):
    PATH = [m.Losses(3.0, 2.0), m.Losses(2.5, 2.4), m.Losses(2.6, 2.5), m.Losses(2.0, 3.0)]

    def outcome(self, *losses):
        return m.Outcome("", 1, {}, {}, 1, 1, list(losses))

    def test_base_loss_on_the_path(self):
        for target, base in ((3.0, 2.0), (2.75, 2.2), (2.5, 2.4), (2.3, 2.75), (2.0, 3.0)):
            self.assertAlmostEqual(m.base_loss_at(self.PATH, target), base, 12)
        self.assertEqual(m.base_loss_at(self.PATH, 1.0), 3.0)  # never reached: the end

    def test_gain_and_forgetting(self):
        full, adapter = self.outcome(*self.PATH), self.outcome(m.Losses(2.75, 2.5))
        self.assertAlmostEqual(m.gain(full, full), 1.0, 12)
        self.assertAlmostEqual(m.gain(adapter, full), 0.25, 12)
        self.assertAlmostEqual(m.forgets_more(adapter, full), 0.3, 12)


class Rows(unittest.TestCase):
    """Short fine-tuning runs."""

    def setUp(self):
        short = patch.multiple(m, ADAPT_STEPS=5, LOOK_EVERY=2, progress=lambda *a: None)
        short.start()
        self.addCleanup(short.stop)
        self.base = m.init_model(7, random.Random(4))
        self.korean = m.Names(learnt=["abc", "cab"], held_out=["fade", "be"])
        self.task = m.Task(
            seed=3,
            alphabet=["", *"abcdef"],
            english=m.Names(learnt=["ff"], held_out=["dec", "aa"]),
            korean=self.korean,
            base=self.base,
        )
        self.row = m.Row(places="wq lm_head", rank=2, lr=0.05)

    def losses(self, model):
        """On held-out names of both languages."""
        parts = ["fade", "be"], ["dec", "aa"]
        return m.Losses(*(m.mean_loss(m.freeze(model), part, self.task.alphabet) for part in parts))

    def test_the_whole_model_is_looked_at_on_the_way(self):
        kept = m.freeze(self.base)
        full = m.fine_tune(self.task, self.korean, 0.01)
        self.assertEqual(len(full.path), 4)  # after 0, 2 and 4 steps, and at the end
        self.assertEqual(full.path[0], self.losses(self.base))
        self.assertEqual(full.path[-1], self.losses(full.model))
        self.assertEqual(len(set(full.path)), 4)
        self.assertEqual((full.rank, full.adapter), (0, {}))
        self.assertEqual(full.trained, len(m.weights_of(self.base)))
        text = m.encode("fade", self.task.alphabet)
        self.assertEqual(full.edges, m.backward_edges(m.unfreeze(self.base), text))
        self.assertEqual(self.base, kept)
        self.assertIn("0.01", full.label)

    def test_an_adapter_is_looked_at_in_the_end(self):
        one = m.fine_tune(self.task, self.korean, 0.05, self.row)
        self.assertEqual(one.path, [self.losses(one.model)])
        self.assertNotEqual(one.path, [self.losses(self.base)])
        self.assertEqual((one.label, one.rank), (self.row.places, 2))
        self.assertEqual(set(one.adapter), {"0.wq.A", "0.wq.B", "lm_head.A", "lm_head.B"})
        self.assertEqual(one.trained, 2 * (8 + 8) + 2 * (8 + 7))
        for name, matrix in one.model.items():
            self.assertIs(matrix, {**self.base, **one.adapter}[name])
        text = m.encode("fade", self.task.alphabet)
        self.assertEqual(one.edges, m.backward_edges(one.model, text))

    def test_every_row_sees_the_same_names_in_the_same_order(self):
        drawn = []

        def note(model, names, alphabet, rng, real=m.next_letter):
            drawn.append((names, alphabet, rng.getstate()))
            return real(model, names, alphabet, rng)

        with patch.object(m, "next_letter", note):
            m.fine_tune(self.task, self.korean, 0.01)
            m.fine_tune(self.task, self.korean, 0.05, self.row)
        self.assertEqual(drawn[0], drawn[1])
        self.assertEqual(drawn[0][:2], (["abc", "cab"], self.task.alphabet))

    def test_serving_compares_each_adapter_with_the_other_ones(self):
        rng = random.Random(25)  # such that each is the better one for its own names
        adapters = {name: m.new_adapter(self.base, EVERY, 1, rng) for name in ("Korean", "other")}
        for p in (p for adapter in adapters.values() for p in m.weights_of(adapter)):
            p.data += rng.gauss(0.0, 0.1)
        others = m.Names(learnt=[], held_out=["bad", "feed"])
        targets = {"English": self.task.english, "Korean": self.korean, "other": others}
        with redirect_stdout(io.StringIO()) as out:
            apart = m.serve(self.task, adapters, targets)
        losses = {}
        for a, adapter in adapters.items():
            model = {**self.base, **m.freeze(adapter)}
            for b, names in targets.items():
                losses[a, b] = m.mean_loss(model, names.held_out, self.task.alphabet)
        gaps = [losses[b, a] - losses[a, a] for a, b in (("Korean", "other"), ("other", "Korean"))]
        self.assertGreater(min(gaps), 0.1)
        self.assertAlmostEqual(apart, min(gaps), 12)
        rows = {line[:28].strip(): line[28:] for line in out.getvalue().splitlines()}
        for a in adapters:
            numbers = [float(x) for x in rows[a].split()[:3]]
            for x, b in zip(numbers, targets):
                self.assertAlmostEqual(x, losses[a, b], delta=6e-4)
            # merged, it has the same losses, and writes the same names
            self.assertEqual(rows[f"{a}, merged"], rows[a])


class Experiment(unittest.TestCase):
    ENDS = {
        "full": (1.5, 3.5), "gentle": (2.0, 2.5), "wo lm_head": (2.25, 3.0), "wq wk": (1.875, 3.0),
    }  # fmt: skip

    def run_it(self):
        """A run with fakes for all that takes time: calls of fine_tune(), claims."""
        calls, claims, served, checked = [], [], [], []
        sizes = iter((700, 700, 7, 20, 90, 60))

        def fine_tune(task, target, lr, row=None):
            calls.append((task, target, lr, row))
            name = row.places if row else "full" if lr == 0.1 else "gentle"
            path = [m.Losses(*self.ENDS.get(name, (1.75, 3.0)))]
            path = path if row else [m.Losses(3.0, 2.0), m.Losses(2.5, 2.25), *path]
            adapter = {"of": (len(calls), name)}
            return m.Outcome(name, 0, {}, adapter, next(sizes), 0, path)

        def split(items, rng, held_out):
            self.assertEqual((type(rng), held_out), (random.Random, m.HELD_OUT))
            return items[2:], items[:2]

        def read_names(path, longest):
            self.assertEqual((path, longest), ("file", m.BLOCK_SIZE - 1))  # and an EDGE fits in
            return ["zoe", "ann", "eve", "bob"]

        def pretrain(names, alphabet, rng):
            letters = set("".join(["zoe", "ann", "eve", "bob", *m.KOREAN, *m.JAPANESE]))
            self.assertEqual((names, alphabet), (["eve", "bob"], ["", *sorted(letters)]))
            return "base"

        fakes = {
            "check_settings": lambda: checked.append(True),
            "read_names": read_names,
            "split": split,
            "pretrain": pretrain,
            "fine_tune": fine_tune,
            **dict.fromkeys(("show_table", "show_forgetting", "show_samples"), lambda *a: None),
            "show_rank": lambda task, full, rng: 0.625 if full.label == "full" else 0.0,
            "serve": lambda *a: served.append(a) or 0.375,
            "check_claims": lambda rows: claims.extend(rows) or 7,
        }
        others = [m.Row("wq wv", 1, 0.3), m.Row("wq wk", 4, 0.4)]
        settings = {"HEADLINE": m.Row("wo lm_head", 1, 0.2), "OTHERS": others}
        settings |= {"FULL_LR": 0.1, "GENTLE_LR": 0.01}
        with patch.multiple(m, **settings, **fakes), redirect_stdout(io.StringIO()):
            self.assertEqual(m.experiment(3, "file"), 7)
        self.assertEqual(checked, [True])
        return calls, claims, served, [settings["HEADLINE"], *others]

    def test_all_start_from_one_base_and_learn_one_language(self):
        calls, _, served, rows = self.run_it()
        english, korean, japanese = (
            m.Names(names[2:], names[:2])
            for names in (["zoe", "ann", "eve", "bob"], m.KOREAN, m.JAPANESE)
        )
        task = calls[0][0]
        self.assertEqual(task[:1] + task[2:], (3, english, korean, "base"))
        self.assertEqual({id(call[0]) for call in calls}, {id(task)})
        want = [(korean, 0.1, None), (korean, 0.01, None)]
        want += [(korean, row.lr, row) for row in rows] + [(japanese, 0.2, rows[0])]
        self.assertEqual([call[1:] for call in calls], want)
        adapters = {"Korean": {"of": (3, "wo lm_head")}, "Japanese": {"of": (6, "wo lm_head")}}
        targets = {"English": english, "Korean": korean, "Japanese": japanese}
        self.assertEqual(served, [(task, adapters, targets)])

    def test_claims_compare_what_they_say(self):
        _, claims, _, _ = self.run_it()
        got = [round(measured, 9) for _, measured, _, _ in claims]
        # gentle's path is at 2.25 halfway between 2.5/2.25 and 2.0/2.5: 2.375
        self.assertEqual(got, [1.5, 0.5, 0.01, 0.625, 0.75, 0.625, 0.375])

    def test_the_command_line_starts_the_experiment(self):
        with patch.object(m, "experiment", lambda **a: (a == {"seed": 5, "names": "x"}) * 7):
            self.assertEqual(m.main(["--seed", "5", "--names", "x"]), 7)


class Data(unittest.TestCase):
    def test_the_target_names(self):
        for names, least in ((m.KOREAN, 200), (m.JAPANESE, 150)):
            self.assertGreaterEqual(len(names), least)
            self.assertEqual(len(set(names)), len(names))
            self.assertFalse(set(names) & set(m.NAMES))
        self.assertFalse(set(m.KOREAN) & set(m.JAPANESE))

    def test_matrices_are_those_of_every_layer(self):
        layers, m.N_LAYER = m.N_LAYER, 2
        try:
            self.assertEqual(m.matrices("wo lm_head"), ["0.wo", "1.wo", "lm_head"])
            self.assertEqual(m.matrices("wq wv"), ["0.wq", "0.wv", "1.wq", "1.wv"])
            model = m.init_model(7, random.Random(1))
            every = m.matrices("wq wk wv wo w1 w2 lm_head")
            self.assertEqual(set(model) - set(every), {"wte", "wpe"})
        finally:
            m.N_LAYER = layers

    def test_the_headline_is_within_one_percent(self):
        m.N_EMBD = WIDTH
        try:
            base = m.init_model(27, random.Random(0))
            names = m.matrices(m.HEADLINE.places)
            adapter = m.new_adapter(base, names, m.HEADLINE.rank, random.Random(0))
            share = len(m.weights_of(adapter)) / len(m.weights_of(base))
        finally:
            m.N_EMBD = 8
        self.assertLessEqual(share, 0.01)

    def test_values_are_this_scripts(self):
        self.assertIs(type(m.unfreeze({"x": [[1.0]]})["x"][0][0]), Value)


if __name__ == "__main__":
    unittest.main()
