"""Sections 6 and 7 of micromoe.py: experts, bridge, router, balance loss; and the task."""

import io
import math
import random
import statistics
import unittest
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import micromoe as m
from micromoe import Value
from tests.helpers import slope

SIZES = {"N_EMBD": 8, "N_HEAD": 2, "BLOCK_SIZE": 6, "EXPERTS": 5, "TOP_K": 2, "EXPERT_WIDTH": 3}
KEPT = {name: getattr(m, name) for name in (*SIZES, "CODES", "LETTERS", "STEPS", "N_LAYER")}


def setUpModule():
    for name, value in {**SIZES, "CODES": 2, "LETTERS": 3}.items():
        setattr(m, name, value)


def tearDownModule():
    for name, value in KEPT.items():
        setattr(m, name, value)


def run(model, experts, tokens):
    """(logits after every token, the mixture with its routes)."""
    mixture, cache = m.Mixture(experts), m.new_cache()
    return [m.gpt(model, token, cache, mixture.mlp) for token in tokens], mixture


class Experts(unittest.TestCase):
    def test_backward_against_central_differences(self):
        rng = random.Random(2)
        for _ in range(5):
            expert = m.new_expert(3, rng)
            x = [rng.gauss(0, 2) for _ in range(8)]
            g = [rng.gauss(0, 1) for _ in range(8)]
            hidden, _ = m.expert_forward(expert, x)
            x_grad = m.expert_backward(expert, x, hidden, g)

            def loss(expert=expert, x=x, g=g):
                return m.dot(g, m.expert_forward(expert, x)[1])

            cases = [(x, x_grad)]
            cases += list(zip(expert.u, expert.u_grad)) + list(zip(expert.v, expert.v_grad))
            for numbers, grads in cases:
                for i in range(len(numbers)):

                    def f(value, numbers=numbers, i=i, loss=loss):
                        kept, numbers[i] = numbers[i], value
                        y = loss()
                        numbers[i] = kept
                        return y

                    self.assertAlmostEqual(grads[i], slope(f, numbers[i]), 7)

    def test_an_answer_is_about_as_large_as_the_input_whatever_the_width(self):
        rng = random.Random(3)
        for width in (3, 300):
            spreads = []
            for _ in range(900 // width):
                expert = m.new_expert(width, rng)
                spreads.append([x for row in expert.u for x in row])
                spreads.append([x * width**0.5 / 8**0.5 for row in expert.v for x in row])
                grads = [expert.u_grad, expert.v_grad]
                self.assertEqual(grads, [[[0.0] * 8] * width] * 2)
            for part in (spreads[::2], spreads[1::2]):
                numbers = [x for row in part for x in row]
                self.assertLess(abs(statistics.mean(numbers)), 0.02)
                self.assertLess(abs(statistics.pstdev(numbers) * 8**0.5 - 1), 0.05)

    def test_gradients_add_up(self):
        expert = m.new_expert(3, random.Random(1))
        x, g = [1.0] * 8, [0.5] * 8
        hidden, _ = m.expert_forward(expert, x)
        m.expert_backward(expert, x, hidden, g)
        once = [list(row) for row in expert.v_grad]
        m.expert_backward(expert, x, hidden, g)
        for a, b in zip(once, expert.v_grad):
            self.assertEqual([2 * v for v in a], b)

    def test_floats_and_values_give_the_same_answer(self):
        expert = m.new_expert(3, random.Random(1))
        x = [0.1 * i for i in range(8)]
        values = m.ask(expert, [Value(v) for v in x])
        self.assertEqual([v.data for v in values], m.ask(expert, x))


class Hybrid(unittest.TestCase):
    """The whole step against the same model written in Values throughout."""

    def check(self, layers, weight):
        tokens, targets = [1, 4, 2, 2, 6], [3, 0, 5, 1, 2]
        m.N_LAYER = layers
        try:
            model, experts = m.new_model(7, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
            values = [
                [m.unfreeze({"u": e.u, "v": list(map(list, zip(*e.v)))}) for e in layer]
                for layer in experts
            ]
            twin = {k: [[Value(x.data) for x in row] for row in w] for k, w in model.items()}

            logits, mixture = run(model, experts, tokens)
            losses = list(map(m.cross_entropy, logits, targets))
            balances = [m.balance_loss(routes) for routes in mixture.routes]
            loss = m.total(losses) + m.total(balances) * weight
            loss.backward()

            routes = [[] for _ in range(layers)]

            def mlp(model, layer, x):
                chances = m.softmax(m.linear(model[f"{layer}.router"], x))
                numbers = [c.data for c in chances]
                best = sorted(range(m.EXPERTS), key=lambda i: -numbers[i])[: m.TOP_K]
                routes[layer].append(m.Route(chances, best))
                norm = sum((chances[i] for i in best), Value(0.0))
                y = [Value(0.0)] * len(x)
                for i in best:
                    w = values[layer][i]
                    out = m.linear(w["v"], [a.relu() for a in m.linear(w["u"], x)])
                    y = [old + chances[i] / norm * new for old, new in zip(y, out)]
                return y

            cache = m.new_cache()
            other = m.total(
                [m.cross_entropy(m.gpt(twin, t, cache, mlp), y) for t, y in zip(tokens, targets)]
            )
            for layer in routes:
                f = m.choice_shares(layer)
                for i in range(m.EXPERTS):
                    mean = sum((r.chances[i] for r in layer), Value(0.0)) / len(layer)
                    other = other + mean * (f[i] * m.EXPERTS * weight)
            other.backward()

            self.assertAlmostEqual(loss.data, other.data, 9)
            for name, matrix in model.items():
                for row, twin_row in zip(matrix, twin[name]):
                    for a, b in zip(row, twin_row):
                        self.assertAlmostEqual(a.grad, b.grad, 9, name)
            moved = 0
            for layer, value_layer in zip(experts, values):
                for expert, w in zip(layer, value_layer):
                    columns = [list(column) for column in zip(*w["v"])]
                    for grads, rows in ((expert.u_grad, w["u"]), (expert.v_grad, columns)):
                        for grad_row, row in zip(grads, rows):
                            for a, b in zip(grad_row, row):
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

    def test_one_expert_is_the_dense_mlp(self):
        model, experts = m.new_model(7, 1, 12, random.Random(4))
        [[expert]] = experts
        plain = {**m.freeze(model), "0.w1": expert.u, "0.w2": list(zip(*expert.v))}
        logits, mixture = run(m.freeze(model), experts, [1, 4, 2])
        cache = m.new_cache()
        for token, row in zip([1, 4, 2], logits):
            for a, b in zip(row, m.gpt(plain, token, cache)):
                self.assertAlmostEqual(a, b, 12)
        self.assertEqual(mixture.routes, [[]])
        self.assertNotIn("0.router", model)

    def test_two_experts_have_a_router(self):
        model, experts = m.new_model(7, 2, 3, random.Random(4))
        _, mixture = run(m.freeze(model), experts, [1, 4, 2])
        self.assertEqual([sorted(r.chosen) for r in mixture.routes[0]], [[0, 1]] * 3)

    def test_a_new_router_is_drawn_around_zero(self):
        model, _ = m.new_model(7, 200, 1, random.Random(4))
        weights = [x.data for row in model["0.router"] for x in row]
        self.assertLess(abs(statistics.mean(weights)), m.ROUTER_STD / 10)
        self.assertLess(abs(statistics.pstdev(weights) / m.ROUTER_STD - 1), 0.1)

    def test_unchosen_experts_learn_nothing(self):
        model, experts = m.new_model(7, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
        [logits], mixture = run(model, experts, [3])
        m.cross_entropy(logits, 5).backward()
        chosen = mixture.routes[0][0].chosen
        for i, expert in enumerate(experts[0]):
            grads = [x for row in (*expert.u_grad, *expert.v_grad) for x in row]
            self.assertEqual(any(grads), i in chosen)

    def test_all_experts_chosen_is_a_dense_mixture(self):
        m.TOP_K = m.EXPERTS
        try:
            model, experts = m.new_model(7, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
            frozen = m.freeze(model)
            x = [0.3 * i - 1 for i in range(8)]
            chances = m.softmax(m.linear(frozen["0.router"], x))
            outputs = [m.expert_forward(expert, x)[1] for expert in experts[0]]
            want = [sum(p * y for p, y in zip(chances, column)) for column in zip(*outputs)]
            for got, w in zip(m.Mixture(experts).mlp(frozen, 0, x), want):
                self.assertAlmostEqual(got, w, 12)
        finally:
            m.TOP_K = SIZES["TOP_K"]

    def test_an_expert_that_is_off_altogether(self):
        expert = m.new_expert(3, random.Random(1))
        x = [1.0] * 8
        expert.u[:] = [[-1.0] * 8] * 3
        self.assertEqual(m.expert_forward(expert, x), ([0.0] * 3, [0.0] * 8))
        self.assertEqual(m.expert_backward(expert, x, [0.0] * 3, [1.0] * 8), [0.0] * 8)

    def test_two_backward_passes_add_up(self):
        model, experts = m.new_model(7, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
        [logits], _ = run(model, experts, [3])
        loss = m.cross_entropy(logits, 5)
        loss.backward()
        once = [x for _, grad in m.arrays_of(experts) for x in grad]
        loss.backward()
        for a, b in zip(once, (x for _, grad in m.arrays_of(experts) for x in grad)):
            self.assertAlmostEqual(2 * a, b, 12)

    def test_adam_moves_experts_and_values_alike(self):
        model, experts = m.new_model(7, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
        losses = [m.cross_entropy(run(model, experts, [t])[0][0], 5) for t in range(7)]
        m.total(losses).backward()
        before = [list(row) for row, _ in m.arrays_of(experts)]
        grads = [list(grad) for _, grad in m.arrays_of(experts)]
        m.Adam(m.weights_of(model), m.arrays_of(experts)).step(0.01)
        for old, grad, (new, left) in zip(before, grads, m.arrays_of(experts)):
            for a, g, b in zip(old, grad, new):
                step = -0.01 * math.copysign(1, g) if g else 0.0
                self.assertAlmostEqual(b - a, step, 3)
            self.assertEqual(set(left), {0.0})

    def test_the_graph_is_freed_without_the_collector(self):
        import gc

        model, experts = m.new_model(7, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
        gc.collect()
        gc.disable()
        try:
            [logits], mixture = run(model, experts, [3])
            m.cross_entropy(logits, 5).backward()
            del logits, mixture
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
        routes = [m.Route([0.2] * 5, [i, (i + 1) % 5]) for i in range(5)]
        self.assertAlmostEqual(m.balance_loss(routes), 1.0, 12)

    def test_e_at_collapse_with_top_1(self):
        routes = [m.Route([1.0, 0.0, 0.0, 0.0, 0.0], [0])] * 3
        self.assertAlmostEqual(m.balance_loss(routes), 5.0, 12)

    def test_shares(self):
        routes = [m.Route([0.2] * 5, [0, 1]), m.Route([0.2] * 5, [0, 4])]
        self.assertEqual(m.choice_shares(routes), [0.5, 0.25, 0.0, 0.0, 0.25])
        self.assertEqual(m.choice_shares(routes[:1]), [0.5, 0.5, 0.0, 0.0, 0.0])

    def test_gradient_reaches_the_router_and_pushes_the_busy_expert_down(self):
        model, experts = m.new_model(7, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))

        def routes_of(weights):
            return [run(weights, experts, [token])[1].routes[0][0] for token in range(7)]

        routes = routes_of(model)
        busy = max(range(5), key=lambda i: m.choice_shares(routes)[i])
        m.balance_loss(routes).backward()
        router = model["0.router"]
        self.assertTrue(any(p.grad for row in router for p in row))
        frozen = m.freeze(model)

        def f(x):
            frozen["0.router"][busy][2] = x
            again = routes_of(frozen)
            self.assertEqual([r.chosen for r in again], [r.chosen for r in routes])  # f stays
            return m.balance_loss(again)

        self.assertAlmostEqual(router[busy][2].grad, slope(f, router[busy][2].data), 7)
        before = sum(m.floats(r.chances)[busy] for r in routes)
        for row in router:
            for p in row:
                p.data -= 0.5 * p.grad
        self.assertLess(sum(r.chances[busy] for r in routes_of(m.freeze(model))), before)


class TheTask(unittest.TestCase):
    LETTERS = list("abcdefg")

    def setUp(self):
        self.task = m.new_task(self.LETTERS, random.Random(1))

    def test_codes_are_permutations_and_differ(self):
        for code in self.task.codes.values():
            self.assertEqual(sorted(code), self.LETTERS)
            self.assertEqual(sorted(code.values()), self.LETTERS)
        self.assertNotEqual(*self.task.codes.values())
        self.assertEqual(list(self.task.codes), ["A", "B"])

    def test_tags_are_no_letters(self):
        task = m.new_task(["A", "B", "x"], random.Random(1))
        self.assertEqual(list(task.codes), ["C", "D"])

    def test_a_tag_read_once_serves_every_letter(self):
        model, experts = m.new_model(10, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
        got = m.code_logits(m.freeze(model), m.Mixture(experts), self.task, "B", ["c", "a"])
        for letter, logits in zip("ca", got):
            tokens = [self.task.alphabet.index("B"), self.task.alphabet.index(letter)]
            alone, _ = run(m.freeze(model), experts, tokens)
            self.assertEqual(alone[1], logits)
        losses = m.code_losses(m.freeze(model), m.Mixture(experts), self.task, "B", ["c", "a"])
        for letter, logits, loss in zip("ca", got, losses):
            target = self.task.alphabet.index(self.task.codes["B"][letter])
            self.assertAlmostEqual(loss, -math.log(m.softmax(logits)[target]), 12)

    def test_every_fact_is_asked_before_any_is_asked_again(self):
        model, experts = m.new_model(10, 1, 3, random.Random(4))
        asked = []

        def note(model, mixture, task, tag, letters, real=m.code_losses):
            asked.extend((tag, letter) for letter in letters)
            return real(model, mixture, task, tag, letters)

        kept, m.code_losses = m.code_losses, note
        try:
            learn = m.questions(model, experts, self.task, 0.0, random.Random(3))
            for _ in range(7):  # 3 letters of each of 2 codes: 21 of 7 letters, three passes
                learn()
        finally:
            m.code_losses = kept
        self.assertEqual(set(Counter(asked).values()), {3})

    def test_the_goal_holds_the_balance_loss_and_the_report_does_not(self):
        grads = []
        for weight in (0.0, 0.5):
            model, experts = m.new_model(10, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
            learn = m.questions(model, experts, self.task, weight, random.Random(3))
            loss = learn()
            grads.append([p.grad for row in model["0.router"] for p in row])
        again, experts = m.new_model(10, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
        self.assertEqual(m.questions(again, experts, self.task, 0.0, random.Random(3))(), loss)
        self.assertNotEqual(*grads)

    def test_the_loss_is_a_mean_over_all_that_was_asked(self):
        model, experts = m.new_model(10, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
        losses = []

        def note(*arguments, real=m.code_losses):
            found = real(*arguments)
            losses.extend(m.floats(found))
            return found

        with patch.object(m, "code_losses", note):
            loss = m.questions(model, experts, self.task, 0.4, random.Random(3))()
        self.assertEqual(len(losses), 6)
        self.assertAlmostEqual(loss, statistics.mean(losses), 12)

    def test_the_balance_loss_counts_by_its_weight_and_as_a_mean_over_layers(self):
        knob = Value(0.7)
        with patch.object(m, "N_LAYER", 2):
            model, experts = m.new_model(10, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
            learn = m.questions(model, experts, self.task, 0.4, random.Random(3))
            with patch.object(m, "balance_loss", lambda routes: knob * 3.0):
                learn()
        self.assertAlmostEqual(knob.grad, 0.4 * 3.0, 12)

    def test_survey_of_two_layers(self):
        """Every letter by itself, with a mixture of its own."""
        with patch.object(m, "N_LAYER", 2):
            model, experts = m.new_model(10, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
            frozen = m.freeze(model)
            survey = m.survey(frozen, experts, self.task)
            losses, choices, routes = [], [], [[], []]
            for tag, code in self.task.codes.items():
                for letter in code:
                    mixture = m.Mixture(experts)
                    losses += m.code_losses(frozen, mixture, self.task, tag, [letter])
                    for layer, (of_tag, of_letter) in enumerate(mixture.routes):
                        choices += [(layer, tag, letter, i) for i in of_letter.chosen]
                        # the tag is read once for all letters
                        routes[layer] += [of_tag] * (letter == "a") + [of_letter]
        self.assertEqual(survey.losses, losses)
        self.assertEqual(sorted(survey.choices), sorted(choices))
        self.assertEqual(survey.shares, list(map(m.choice_shares, routes)))
        balances = [m.balance_loss(layer) for layer in routes]
        self.assertAlmostEqual(survey.balance, statistics.mean(balances), 12)

    def test_survey_of_a_dense_model(self):
        model, experts = m.new_model(10, 1, 3, random.Random(4))
        survey = m.survey(m.freeze(model), experts, self.task)
        self.assertEqual((survey.shares, survey.balance, survey.choices), ([], 0.0, []))

    def test_survey(self):
        model, experts = m.new_model(10, m.EXPERTS, m.EXPERT_WIDTH, random.Random(4))
        survey = m.survey(m.freeze(model), experts, self.task)
        self.assertEqual((len(survey.losses), len(survey.choices)), (14, 2 * 14))
        self.assertAlmostEqual(sum(survey.shares[0]), 1.0, 12)
        known = 0
        for tag, code in self.task.codes.items():
            for letter, answer in code.items():
                [z] = m.code_logits(m.freeze(model), m.Mixture(experts), self.task, tag, [letter])
                known += z.index(max(z)) == self.task.alphabet.index(answer)
        self.assertEqual(survey.known, known)
        letters = Counter(letter for _, _, letter, _ in survey.choices)
        self.assertEqual(set(letters.values()), {4})  # two codes, two experts each

    def test_information(self):
        told = [(0, "A", "x", 1), (0, "B", "x", 2)] * 5
        self.assertAlmostEqual(m.information(told, 1), math.log(2), 12)
        self.assertAlmostEqual(m.information(told, 2), 0.0, 12)
        independent = [(0, tag, "x", e) for tag in "AB" for e in (1, 2)]
        self.assertAlmostEqual(m.information(independent, 1), 0.0, 12)

    def test_information_is_what_the_entropies_have_in_common(self):
        rng = random.Random(6)  # expert 1 of layer 0 is not expert 1 of layer 1
        choices = [(rng.choice((0, 0, 1)), rng.choice("AAB"), rng.choice("xyz")) for _ in range(40)]
        rows = [
            (*c, rng.choice((1, 2, 2 + c[0], 3 + len(c[1:2]) + (c[2] == "x")))) for c in choices
        ]

        def entropy(values):
            return -sum(n / 40 * math.log(n / 40) for n in Counter(values).values())

        for part in (1, 2):
            inputs, experts = [r[part] for r in rows], [(r[0], r[3]) for r in rows]
            want = entropy(inputs) + entropy(experts) - entropy(zip(inputs, experts))
            self.assertAlmostEqual(m.information(rows, part), want, 12)

    def test_marks_are_darkest_from_one_on(self):
        with patch.object(m, "blocks", lambda marks, ascii_marks: marks):
            self.assertEqual(m.shade([0.0, 0.24, 0.25, 0.5, 0.75, 0.99, 1.0, 3.0]), "  ░▒▓▓██")

    def fit(self, steps, **row):
        """A model trained for some steps, with a fake survey of the step."""
        row = m.Row(**{"label": "x", "experts": 5, "width": 3, "balance": 0.1, "lr": 0.01, **row})
        with patch.object(m, "STEPS", steps), redirect_stderr(io.StringIO()):
            return m.fit(self.task, row, 1)

    def test_surveys_on_the_way_only_with_a_router(self):
        seen = []

        def survey(model, experts, task):
            self.assertIs(task, self.task)
            self.assertTrue(all(type(x) is float for x in m.weights_of(model)))
            seen.append(m.weights_of(model))
            return len(seen)

        with patch.object(m, "survey", survey), patch.object(m, "LETTERS", 1):
            weights = self.train_alone(19)
            for experts in (2, 5):
                seen.clear()
                result = self.fit(19, experts=experts)
                self.assertEqual(len(result.surveys), 11)  # ten on the way, and the last
                self.assertEqual(seen[-1], m.weights_of(result.model))
            self.assertEqual(seen, weights[:19:2] + weights[-1:])
            seen.clear()
            dense = self.fit(19, experts=1, width=15, balance=0.0)
            self.assertEqual((len(dense.surveys), seen), (1, [m.weights_of(dense.model)]))

    def train_alone(self, steps):
        """The weights before every step of the same training, and at the end."""
        model, experts = m.new_model(10, 5, 3, random.Random(1))
        learn, course = m.questions(model, experts, self.task, 0.1, random.Random(1)), []
        adam = m.Adam(m.weights_of(model), m.arrays_of(experts))
        with redirect_stderr(io.StringIO()):
            m.train("x", learn, adam, steps, 0.01, lambda _: course.append(m.freeze(model)))
        return [m.weights_of(weights) for weights in course]

    def test_the_least_used_expert_at_the_end(self):
        def survey(*shares):
            return m.Survey(losses=[], known=0, shares=list(shares), balance=0.0, choices=[])

        surveys = [survey([0.5, 0.5]), survey([0.01, 0.99]), survey([0.4, 0.6], [0.3, 0.7])]
        result = m.Result(None, {}, [], 0, 0, 0, surveys)
        self.assertAlmostEqual(m.least_used(result), 0.3 * m.EXPERTS, 12)

    def test_work_and_parameters_of_a_fit(self):
        moe, dense = self.fit(3), self.fit(3, experts=1, width=15, balance=0.0)
        self.assertEqual(moe.work, 5 * 8 + 2 * 2 * 8 * 3)
        self.assertEqual(dense.work, 2 * 8 * 15)
        self.assertEqual(self.fit(1, experts=2).work, 2 * 8 + 2 * 2 * 8 * 3)
        self.assertEqual(moe.parameters - moe.active, 3 * 2 * 8 * 3)
        self.assertEqual(dense.parameters, dense.active)
        for r in (moe, dense):
            rows = [row for e in r.experts[0] for row in e.u + e.v]
            self.assertEqual(r.parameters, len(m.weights_of(r.model)) + 8 * len(rows))
        self.assertEqual(len(moe.surveys), 4)  # before each of three steps, and at the end
        self.assertEqual(len(dense.surveys), 1)
        self.assertAlmostEqual(m.least_used(moe), min(moe.surveys[-1].shares[0]) * 5, 12)


class Experiment(unittest.TestCase):
    def run_it(self, loss=0.5):
        """A run with fakes for all that takes time: (rows, information's arguments, claims)."""
        rows, asked, claims, shown = [], [], [], []
        losses = {"MoE, balanced": loss, "MoE, unbalanced": 0.6, "dense, equal work": 2.0}
        known = {"MoE, balanced": 50, "MoE, unbalanced": 40, "dense, equal work": 20}
        shares = {"MoE, balanced": [0.1, 0.9], "MoE, unbalanced": [0.02, 0.98]}

        def fit(task, row, seed):
            self.assertEqual((task, seed), ("task", 3))
            rows.append(row)
            label = row.label
            ends = [
                m.Survey(
                    [x - 0.1, x, x + 0.1], n, [shares.get(label, [1.0])], 0.0, [f"{label} {when}"]
                )
                for x, n, when in (
                    (9.0, 0, "first"),
                    (8.0, 1, "second"),
                    (losses.get(label, 0.25), known.get(label, 7), "last"),
                )
            ]
            return m.Result(row, {}, [], 0, 0, 0, ends)

        def information(choices, part):
            asked.append((choices, part))
            return {1: 0.5, 2: 0.25}[part] if choices[0].endswith("last") else 0.125

        def new_task(letters, rng):
            self.assertEqual((letters, type(rng)), (["a", "b", "c", "d", "e"], random.Random))
            return "task"

        checked = []

        def read_names(path, longest):
            self.assertEqual((path, longest), ("file", 50))
            return ["abc", "dea", "bead", "cab"]

        def nothing(*a):
            shown.append(a)

        fakes = {
            "check_settings": lambda: checked.append("settings"),
            "check_questions": lambda letters: checked.append("".join(letters)),
            "read_names": read_names,
            "new_task": new_task,
            "fit": fit,
            "information": information,
            "check_claims": lambda found: claims.extend(found) or 7,
            **dict.fromkeys(
                ("show_results", "show_work", "show_specialties", "show_writing"), nothing
            ),
        }
        with patch.multiple(m, **fakes), redirect_stdout(io.StringIO()) as out:
            self.assertEqual(m.experiment(3, "file"), 7)
        self.assertEqual(checked, ["settings", "abcde"])
        self.printed = out.getvalue()
        self.facts = shown[0][1]
        return rows, asked, claims

    def test_two_mixtures_and_two_dense_models_of_equal_work_and_size(self):
        rows, _, _ = self.run_it()
        balanced, free, lean, big = rows
        mixture = {"experts": 5, "width": 3, "lr": m.LR}
        for row, balance in ((balanced, m.BALANCE), (free, 0.0)):
            self.assertEqual(row, m.Row(label=row.label, balance=balance, **mixture))
        for row, lr in ((lean, m.DENSE_LR), (big, m.BIG_LR)):
            self.assertEqual((row.experts, row.balance, row.lr), (1, 0.0, lr))
        # multiply-adds: the router's, and those of two experts; floor of half a hidden unit
        self.assertEqual(2 * 8 * lean.width, (5 * 8 + 2 * 2 * 8 * 3) // 16 * 16)
        self.assertEqual(big.width, 5 * 3)
        self.assertEqual(self.facts, m.CODES * 5)

    def test_claims_compare_what_they_say(self):
        _, asked, claims = self.run_it()
        got = [round(measured, 9) for _, measured, _, _ in claims]
        self.assertEqual(got, [0.25, 30, 2.0, 0.1, 0.5, 0.375])
        first, last = ["MoE, balanced first"], ["MoE, balanced last"]
        self.assertEqual(asked, [(first, 1), (last, 1), (first, 2), (last, 2)])

    def test_what_the_balance_loss_costs(self):
        self.run_it(loss=0.5)
        self.assertIn("gained 0.100 nats", self.printed)
        self.run_it(loss=0.85)
        self.assertIn("cost 0.250 nats", self.printed)

    def test_the_command_line_starts_the_experiment(self):
        with patch.object(m, "experiment", lambda **a: (a == {"seed": 5, "names": "x"}) * 7):
            self.assertEqual(m.main(["--seed", "5", "--names", "x"]), 7)


if __name__ == "__main__":
    unittest.main()
