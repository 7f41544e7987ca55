"""microspo.py: preferences, exploitability, win rates, self-play and DPO."""

import io
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microspo as m
from microspo import Value
from tests.helpers import slope

SMALL = {"N_EMBD": 4, "GROUP": 3, "ROUNDS": 2, "STEPS": 30}
NAMES = ["anna", "bea", "carl", "dora", "eve", "finn", "gale", "hope"]


def reference(seed=1):
    model = m.init_gpt(random.Random(seed))
    for row in model["lm_head"]:
        row[:] = [6.0 * x for x in row]  # probabilities that differ
    return model


def quietly(function, *arguments):
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        return function(*arguments)


class Preferences(unittest.TestCase):
    def test_the_majority_of_three_people(self):
        texts = [".anna.", ".ann.", ".anne."]
        self.assertEqual([m.ending(text) for text in [*texts, ".annea"]], [0, 1, 2, 0])
        people = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]  # each ranks endings, the best first
        for i, a in enumerate(texts):
            self.assertEqual(m.majority(a, a), 0.5)
            for j in {0, 1, 2} - {i}:
                votes = sum(person.index(i) < person.index(j) for person in people)
                self.assertEqual(m.majority(a, texts[j]), float(votes >= 2))

    def test_exploitability_is_the_win_rate_of_the_best_reply(self):
        replies = [".a.", ".b.", ".e."]
        for endings in ("a", "b", "e", "abe", "abb", "eea"):
            texts = [f".{letter}." for letter in endings]
            row = m.shares(texts)
            wins = [[m.majority(reply, text) for text in texts] for reply in replies]
            self.assertAlmostEqual(row["exploitability"], max(sum(w) / len(w) for w in wins), 12)
            self.assertAlmostEqual(row["e"], endings.count("e") / len(endings), 12)
        self.assertAlmostEqual(m.shares(replies)["exploitability"], 0.5, 12)

    def test_win_rates(self):
        rates = m.win_rates([".a.", ".b.", ".e.", ".b."])
        self.assertEqual(rates, [2 / 3, 0.5, 1 / 3, 0.5])


@patch.multiple(m, **SMALL)
class SelfPlay(unittest.TestCase):
    def test_k3(self):
        p, q = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]
        terms = [m.k3(Value(math.log(a)), math.log(b)) for a, b in zip(p, q)]
        kl = sum(a * math.log(a / b) for a, b in zip(p, q))
        self.assertAlmostEqual(sum(a * t.data for a, t in zip(p, terms)), kl, 12)
        self.assertGreater(min(t.data for t in terms), 0.0)
        x = Value(-1.0)
        m.k3(x, -2.0).backward()
        self.assertAlmostEqual(x.grad, 1.0 - math.exp(-1.0), 12)

    def test_where_all_is_equal_nothing_moves(self):
        start = reference()
        with patch.object(m, "majority", lambda a, b: 0.5):
            self.assertEqual(quietly(m.self_play, start, NAMES, 1), start)

    def test_the_gradient_of_the_second_round(self):
        start, rounds, gradients, sample = reference(), [], [], m.sample

        class Recorder(m.Adam):
            def step(self, lr):
                gradients.append([p.grad for p in self.parameters])
                for i, p in enumerate(self.parameters):
                    p.data, p.grad = p.data + 0.1 * math.sin(i), 0.0

        def record(pi, prompt, rng):
            rounds.append((pi, prompt, sample(pi, prompt, rng)))
            return rounds[-1][2]

        def prefer(a, b):
            return 0.5 + 0.5 * math.tanh(a.count("a") - b.count("a") + len(a) - len(b))

        patches = {"Adam": Recorder, "sample": record, "majority": prefer}
        with patch.multiple(m, **patches):
            quietly(m.self_play, start, NAMES, 1)
        group = [(x, y, m.decode(x + y)) for _, x, y in rounds[-m.GROUP :]]
        pi = rounds[-1][0]
        self.assertGreater(len({text for *_, text in group}), 1)

        def loss(name, x):
            model = pi | {name: [[x, *pi[name][0][1:]], *pi[name][1:]]}
            value = 0.0
            for i, (prompt, y, text) in enumerate(group):
                others = [prefer(text, other) for j, (*_, other) in enumerate(group) if j != i]
                advantage = sum(others) / len(others) - 0.5
                logs = (m.token_log_probs(w, prompt, y) for w in (model, start))
                for p, q in zip(*logs):
                    value += m.KL_COEF * (math.exp(q - p) - (q - p) - 1.0) - advantage * p
            return value / len(group)

        i = 0  # of the first weight of each matrix
        for name, w in pi.items():
            change = slope(lambda x, name=name: loss(name, x), w[0][0])
            self.assertAlmostEqual(gradients[1][i], change, 7)
            i += len(m.parameters({name: w}))

    def test_the_result_is_the_average_of_the_second_half(self):
        models = [{"w": [[1.0, 2.0], [3.0, 4.0]]}, {"w": [[3.0, 2.0], [5.0, 0.0]]}]
        self.assertEqual(m.average(models), {"w": [[2.0, 2.0], [4.0, 2.0]]})
        policies = []
        with patch.object(m, "average", policies.extend), patch.object(m, "ROUNDS", 4):
            quietly(m.self_play, reference(), NAMES, 1)
        self.assertEqual(len(policies), 2)
        self.assertNotEqual(*policies)


@patch.multiple(m, **SMALL)
class Dpo(unittest.TestCase):
    def test_loss(self):
        for margin in (-800.0, -2.0, 0.0, 0.5, 800.0):
            w, rejected = Value(margin / 0.25), Value(0.0)
            m.dpo_loss(w, rejected, 0.25).backward()
            change = slope(lambda x: m.dpo_loss(Value(x), Value(0.0), 0.25).data, w.data)
            self.assertAlmostEqual(w.grad, change, 6)
            self.assertEqual(rejected.grad, -w.grad)
        self.assertAlmostEqual(m.preference_loss(Value(2.0)).data, -math.log(m.sigmoid(2.0)), 12)

    def test_chosen_completions_gain_on_rejected_ones(self):
        start, rng = reference(), random.Random(3)
        comparisons = [m.compare_endings(start, NAMES, rng) for _ in range(5)]
        for x, y_w, y_l in comparisons:
            self.assertEqual(m.majority(m.decode(x + y_w), m.decode(x + y_l)), 1.0)
        policy = quietly(m.train_dpo, start, 6 * comparisons)
        for x, y_w, y_l in comparisons:
            before, after = (
                m.log_prob(model, x, y_w) - m.log_prob(model, x, y_l) for model in (start, policy)
            )
            self.assertGreater(after, before)


if __name__ == "__main__":
    unittest.main()
