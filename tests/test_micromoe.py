"""Section 7 of micromoe.py: experts, bridge, router, balance loss; and the task."""

import math
import random
import unittest
from collections import Counter

import micromoe as m
from micromoe import Value
from tests.helpers import slope

SIZES = {"N_EMBD": 8, "N_HEAD": 2, "EXPERTS": 5, "TOP_K": 2, "EXPERT_WIDTH": 3, "CODES": 2}
KEPT = {name: getattr(m, name) for name in SIZES}


def setUpModule():
    for name, value in SIZES.items():
        setattr(m, name, value)


def tearDownModule():
    for name, value in KEPT.items():
        setattr(m, name, value)


class Experts(unittest.TestCase):
    def test_backward_against_central_differences(self):
        rng = random.Random(2)
        for _ in range(5):
            expert = m.new_expert(rng)
            x = [rng.gauss(0, 2) for _ in range(8)]
            g = [rng.gauss(0, 1) for _ in range(8)]
            hidden, _ = m.expert_forward(expert, x)
            x_grad = m.expert_backward(expert, x, hidden, g)

            def loss(expert=expert, x=x, g=g):
                return m.dot(g, m.expert_forward(expert, x)[1])

            cases = [(x, x_grad)]
            cases += list(zip(expert.w1, expert.w1_grad)) + list(zip(expert.w2, expert.w2_grad))
            for numbers, grads in cases:
                for i in range(len(numbers)):

                    def f(value, numbers=numbers, i=i, loss=loss):
                        kept, numbers[i] = numbers[i], value
                        y = loss()
                        numbers[i] = kept
                        return y

                    self.assertAlmostEqual(grads[i], slope(f, numbers[i]), 7)

    def test_gradients_add_up(self):
        expert = m.new_expert(random.Random(1))
        x, g = [1.0] * 8, [0.5] * 8
        hidden, _ = m.expert_forward(expert, x)
        m.expert_backward(expert, x, hidden, g)
        once = [list(row) for row in expert.w2_grad]
        m.expert_backward(expert, x, hidden, g)
        for a, b in zip(once, expert.w2_grad):
            self.assertEqual([2 * v for v in a], b)

    def test_floats_and_values_give_the_same_answer(self):
        expert = m.new_expert(random.Random(1))
        x = [0.1 * i for i in range(8)]
        values = m.ask(expert, [Value(v) for v in x])
        self.assertEqual([v.data for v in values], m.ask(expert, x))


class Hybrid(unittest.TestCase):
    """The whole step against the same model written in Values throughout."""

    def all_values(self, layers):
        """(loss, model, experts as Values, routes) of the reference computation."""
        m.N_LAYER = layers
        model, experts = m.new_model(7, 0, random.Random(4))
        as_values = [
            tuple([[Value(x) for x in row] for row in w] for w in (e.w1, e.w2)) for e in experts
        ]
        return model, experts, as_values

    def check(self, layers, weight):
        tokens, targets = [1, 4, 2, 2, 6], [3, 0, 5, 1, 2]
        try:
            model, experts, value_experts = self.all_values(layers)
            twin = {k: [[Value(x.data) for x in row] for row in w] for k, w in model.items()}

            whole = m.attach(model, experts)
            cache = m.new_cache()
            losses = [m.cross_entropy(m.gpt(whole, t, cache), y) for t, y in zip(tokens, targets)]
            loss = m.total(losses) + m.balance_loss(whole["routes"]) * weight
            loss.backward()

            routes = []

            def mlp(model, layer, x):
                chances = m.softmax(m.linear(model[f"{layer}.router"], x))
                numbers = [c.data for c in chances]
                best = sorted(range(m.EXPERTS), key=lambda i: -numbers[i])[: m.TOP_K]
                routes.append((chances, best))
                norm = sum((chances[i] for i in best), Value(0.0))
                y = [Value(0.0)] * len(x)
                for i in best:
                    w1, w2 = value_experts[layer * m.EXPERTS + i]
                    out = m.linear(w2, [a.relu() for a in m.linear(w1, x)])
                    y = [old + chances[i] / norm * new for old, new in zip(y, out)]
                return y

            kept, m.mlp = m.mlp, mlp
            try:
                cache = m.new_cache()
                other = m.total(
                    [m.cross_entropy(m.gpt(twin, t, cache), y) for t, y in zip(tokens, targets)]
                )
            finally:
                m.mlp = kept
            f = m.choice_shares(routes)
            for i in range(m.EXPERTS):
                mean = sum((c[i] for c, _ in routes), Value(0.0)) / len(routes)
                other = other + mean * (f[i] * m.EXPERTS * weight)
            other.backward()

            self.assertAlmostEqual(loss.data, other.data, 9)
            for name, matrix in model.items():
                for row, twin_row in zip(matrix, twin[name]):
                    for a, b in zip(row, twin_row):
                        self.assertAlmostEqual(a.grad, b.grad, 9, name)
            moved = 0
            for expert, (w1, w2) in zip(experts, value_experts):
                for grads, w in ((expert.w1_grad, w1), (expert.w2_grad, w2)):
                    for row, value_row in zip(grads, w):
                        for a, b in zip(row, value_row):
                            self.assertAlmostEqual(a, b.grad, 9)
                            moved += a != 0.0
            self.assertGreater(moved, 20)
        finally:
            m.N_LAYER = 1

    def test_one_layer(self):
        self.check(1, 0.0)
        self.check(1, 0.3)

    def test_two_layers(self):
        """Gradients pass through the first layer's experts on their way down."""
        self.check(2, 0.3)

    def test_unchosen_experts_learn_nothing(self):
        model, experts = m.new_model(7, 0, random.Random(4))
        whole = m.attach(model, experts)
        m.cross_entropy(m.gpt(whole, 3, m.new_cache()), 5).backward()
        _, chosen = whole["routes"][0]
        for i, expert in enumerate(experts):
            grads = [x for row in (*expert.w1_grad, *expert.w2_grad) for x in row]
            self.assertEqual(any(grads), i in chosen)

    def test_all_experts_chosen_is_a_dense_mixture(self):
        m.TOP_K = m.EXPERTS
        try:
            model, experts = m.new_model(7, 0, random.Random(4))
            whole = m.attach(m.freeze(model), experts)
            x = [0.3 * i - 1 for i in range(8)]
            chances = m.softmax(m.linear(whole["0.router"], x))
            outputs = [m.expert_forward(expert, x)[1] for expert in experts]
            want = [sum(p * y for p, y in zip(chances, column)) for column in zip(*outputs)]
            for got, w in zip(m.mlp(whole, 0, x), want):
                self.assertAlmostEqual(got, w, 12)
        finally:
            m.TOP_K = SIZES["TOP_K"]

    def test_two_backward_passes_add_up(self):
        model, experts = m.new_model(7, 0, random.Random(4))
        loss = m.cross_entropy(m.gpt(m.attach(model, experts), 3, m.new_cache()), 5)
        loss.backward()
        once = [x for _, grad in m.arrays_of(experts) for x in grad]
        loss.backward()
        for a, b in zip(once, (x for _, grad in m.arrays_of(experts) for x in grad)):
            self.assertAlmostEqual(2 * a, b, 12)

    def test_adam_moves_experts_and_values_alike(self):
        model, experts = m.new_model(7, 0, random.Random(4))
        whole = m.attach(model, experts)
        loss = m.total([m.cross_entropy(m.gpt(whole, t, m.new_cache()), 5) for t in range(7)])
        loss.backward()
        before = [list(row) for row, _ in m.arrays_of(experts)]
        grads = [list(grad) for _, grad in m.arrays_of(experts)]
        m.Adam(m.weights_of(model), m.arrays_of(experts)).step(0.01)
        for old, grad, (new, left) in zip(before, grads, m.arrays_of(experts)):
            for a, g, b in zip(old, grad, new):
                step = -0.01 * math.copysign(1, g) if g else 0.0
                self.assertAlmostEqual(b - a, step, 4)
            self.assertEqual(set(left), {0.0})

    def test_the_graph_is_freed_without_the_collector(self):
        import gc

        model, experts = m.new_model(7, 0, random.Random(4))
        gc.collect()
        gc.disable()
        try:
            whole = m.attach(model, experts)
            m.cross_entropy(m.gpt(whole, 3, m.new_cache()), 5).backward()
            del whole
            self.assertEqual(gc.collect(), 0)
        finally:
            gc.enable()


class Router(unittest.TestCase):
    def test_weights_sum_to_one(self):
        rng = random.Random(1)
        for _ in range(20):
            chances = m.softmax([Value(rng.gauss(0, 3)) for _ in range(5)])
            chosen, weights = m.top_k(chances)
            self.assertEqual(len(chosen), 2)
            self.assertAlmostEqual(sum(w.data for w in weights), 1.0, 12)
            numbers = m.floats(chances)
            self.assertEqual(sorted(numbers)[-2:], [numbers[i] for i in chosen][::-1])

    def test_ties_go_to_the_lower_index(self):
        self.assertEqual(m.top_k([0.2] * 5)[0], [0, 1])
        self.assertEqual(m.top_k([0.1, 0.3, 0.2, 0.3, 0.1])[0], [1, 3])
        self.assertEqual(m.top_k([0.1, 0.2, 0.3, 0.2, 0.2])[0], [2, 1])


class Balance(unittest.TestCase):
    def test_one_at_perfect_balance(self):
        routes = [([0.2] * 5, [i, (i + 1) % 5]) for i in range(5)]
        self.assertAlmostEqual(m.balance_loss(routes), 1.0, 12)

    def test_e_at_collapse_with_top_1(self):
        routes = [([1.0, 0.0, 0.0, 0.0, 0.0], [0])] * 3
        self.assertAlmostEqual(m.balance_loss(routes), 5.0, 12)

    def test_shares(self):
        routes = [([0.2] * 5, [0, 1]), ([0.2] * 5, [0, 4])]
        self.assertEqual(m.choice_shares(routes), [0.5, 0.25, 0.0, 0.0, 0.25])

    def test_gradient_reaches_the_router_and_pushes_the_busy_expert_down(self):
        model, experts = m.new_model(7, 0, random.Random(4))
        whole = m.attach(model, experts)
        for token in range(7):
            m.gpt(whole, token, m.new_cache())
        routes = whole["routes"]
        busy = max(range(5), key=lambda i: m.choice_shares(routes)[i])
        loss = m.balance_loss(routes)
        loss.backward()
        self.assertTrue(any(p.grad for row in model["0.router"] for p in row))
        router = model["0.router"]

        def mean_chance():
            return sum(
                m.softmax(m.linear(router, [p.data for p in row]))[busy].data
                for row in model["wte"]
            )

        frozen = m.freeze(model)

        def f(x):
            frozen["0.router"][busy][2] = x
            again = m.attach(frozen, experts)
            for token in range(7):
                m.gpt(again, token, m.new_cache())
            chosen = [c for _, c in again["routes"]]
            self.assertEqual(chosen, [c for _, c in routes])  # f does not move
            return m.balance_loss(again["routes"])

        self.assertAlmostEqual(router[busy][2].grad, slope(f, router[busy][2].data), 7)
        before = [sum(m.floats(c)[busy] for c, _ in routes)]
        for row in router:
            for p in row:
                p.data -= 0.5 * p.grad
        again = m.attach(m.freeze(model), experts)
        for token in range(7):
            m.gpt(again, token, m.new_cache())
        self.assertLess(sum(c[busy] for c, _ in again["routes"]), before[0])


class TheTask(unittest.TestCase):
    def test_codes_are_permutations_and_differ(self):
        task = m.new_task(m.NAMES, random.Random(1))
        letters = set(task.alphabet[1:-2])
        for code in task.codes.values():
            self.assertEqual(set(code), letters)
            self.assertEqual(set(code.values()), letters)
        self.assertNotEqual(*task.codes.values())
        held = {name for _, name in task.unseen}
        self.assertFalse(held & {name for _, name in task.learnt})

    def test_losses_are_those_of_the_code_letters(self):
        task = m.new_task(m.NAMES, random.Random(1))
        model = m.init_model(len(task.alphabet), random.Random(2))
        cache, losses = m.new_cache(), m.code_losses(model, task, "B", "eve")
        m.gpt(model, task.alphabet.index("B"), cache)
        for letter, loss in zip("eve", losses):
            p = m.softmax(m.gpt(model, task.alphabet.index(letter), cache))
            target = task.alphabet.index(task.codes["B"][letter])
            self.assertAlmostEqual(loss, -math.log(p[target]), 12)
        self.assertEqual(len(losses), 3)

    def test_information(self):
        self.assertAlmostEqual(m.information([("a", 1), ("b", 2)] * 5), math.log(2), 12)
        independent = [(x, e) for x in "ab" for e in (1, 2)]
        self.assertAlmostEqual(m.information(independent), 0.0, 12)

    def test_work_and_parameters_of_a_fit(self):
        kept, m.STEPS = m.STEPS, 3
        import io
        from contextlib import redirect_stderr

        try:
            task = m.new_task(m.NAMES[:60], random.Random(1))
            with redirect_stderr(io.StringIO()):
                moe = m.fit(task, "x", 0, 0.1, 1)
                dense = m.fit(task, "x", 15, 0.0, 1)
        finally:
            m.STEPS = kept
        self.assertEqual(moe.work, 5 * 8 + 2 * 2 * 8 * 3)
        self.assertEqual(dense.work, 2 * 8 * 15)
        self.assertEqual(moe.parameters - moe.active, 3 * 2 * 8 * 3)
        self.assertEqual(dense.parameters, dense.active)
        self.assertEqual(len(moe.losses), len(task.unseen))
        self.assertAlmostEqual(sum(moe.shares[-1]), 1.0, 12)
        letters = Counter(letter for letter, _, _ in moe.choices)
        names = Counter(x for _, name in task.unseen for x in name)
        self.assertEqual(letters, Counter({k: 2 * v for k, v in names.items()}))


if __name__ == "__main__":
    unittest.main()
