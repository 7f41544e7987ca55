"""Section 6 and 7 of microdpo.py, the theory behind it, and the pair files it reads."""

import io
import json
import math
import random
import statistics
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import microdpo as m
from microdpo import Value
from tests.helpers import ROOT, edited, slope, start

WIDTH = m.N_EMBD


def setUpModule():
    m.N_EMBD = 8


def tearDownModule():
    m.N_EMBD = WIDTH


def task_of(reference, alphabet=(), held_out=(), prompts=()):
    """What judge() and look_at() look at."""
    return m.Task(
        seed=5,
        alphabet=list(alphabet),
        reference=reference,
        pairs=[],
        held_out=list(held_out),
        prompts=list(prompts),
        has_gold=True,
    )


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


class Loss(unittest.TestCase):
    def test_values_and_gradients_at_all_margins(self):
        for beta in (0.1, 1.0):
            for margin in (1e-3, -1e-3, 1.0, -1.0, 50.0, -50.0, 1000.0, -1000.0):
                with self.subTest(beta=beta, margin=margin):
                    chosen, rejected = Value(margin / beta - 2.0), Value(-2.0)
                    loss = m.dpo_loss(chosen, rejected, beta)
                    loss.backward()
                    want = math.log1p(math.exp(-abs(margin))) + max(-margin, 0.0)
                    self.assertAlmostEqual(loss.data, want, 9)
                    self.assertAlmostEqual(chosen.grad, -beta * sigmoid(-margin), 9)
                    self.assertAlmostEqual(rejected.grad, beta * sigmoid(-margin), 9)

                    def f(x, beta=beta):
                        return m.dpo_loss(x, -2.0, beta)

                    self.assertAlmostEqual(chosen.grad, slope(f, margin / beta - 2.0, 1e-4), 6)

    def test_exact_at_large_margins(self):
        """To 1e-12 of their size, where e^-m alone is the loss, or m is."""
        for margin in (15.0, 30.0, 36.0, 40.0, 700.0, -15.0, -36.0, -700.0):
            chosen = Value(margin)
            loss = m.dpo_loss(chosen, 0.0, 1.0)
            loss.backward()
            # by series: log(1 + x) = x - x^2/2 + x^3/3, and x = e^-|m| is below 1e-6 here
            x = math.exp(-abs(margin))
            want = max(-margin, 0.0) + x - x * x / 2 + x**3 / 3
            self.assertLess(abs(loss.data / want - 1.0), 1e-12, margin)
            want = -x / (1 + x) if margin > 0 else -1 / (1 + x)
            self.assertLess(abs(chosen.grad / want - 1.0), 1e-12, margin)
            self.assertEqual(m.dpo_loss(margin, 0.0, 1.0), loss.data)

    def test_by_hand(self):
        # beta 0.5, ratios 0.3 and -0.9: margin 0.6, loss ln(1 + e^-0.6)
        self.assertAlmostEqual(m.dpo_loss(0.3, -0.9, 0.5), 0.43748795, 8)

    def test_ln_2_exactly_when_policy_equals_reference(self):
        self.assertEqual(m.dpo_loss(0.0, 0.0, 0.3), math.log(2))
        model = m.init_model(5, random.Random(1))
        text = {"prompt": "a", "chosen": "bc", "rejected": "d"}
        pair = m.prepare(text, model, ["", *"abcd"])
        loss = m.dpo_loss(*m.log_ratios(m.unfreeze(model), pair), 0.3)
        self.assertEqual(loss.data, math.log(2))

    def test_swapping_mirrors_the_gradient(self):
        def grads(a, b, flip):
            a, b = Value(a), Value(b)
            m.dpo_loss(*((b, a) if flip else (a, b)), 0.7).backward()
            return a.grad, b.grad

        a, b = grads(0.0, 0.0, False)
        self.assertEqual((-a, -b), grads(0.0, 0.0, True))
        # with a margin, the two losses' gradients differ by exactly beta: sigmoid's symmetry
        a, _ = grads(1.3, 0.2, False)
        swapped, _ = grads(1.3, 0.2, True)
        self.assertAlmostEqual(swapped - a, 0.7, 12)


class LogProb(unittest.TestCase):
    def setUp(self):
        self.model = m.init_model(6, random.Random(2))
        self.alphabet = ["", *"abcde"]

    def probabilities(self, tokens):
        cache = m.new_cache()
        return [m.softmax(m.gpt(self.model, token, cache)) for token in tokens]

    def test_is_the_answers_tokens_and_the_end_without_the_prompt(self):
        x, y = [0, 1, 2], [3, 4, 0]
        chances = self.probabilities(x + y[:-1])
        want = sum(math.log(p[t]) for p, t in zip(chances[2:], y))
        self.assertAlmostEqual(m.log_prob(self.model, x, y), want, 12)

    def test_the_end_token_counts(self):
        x = [0, 1]
        with_end = m.log_prob(self.model, x, [3, 0])
        without = m.log_prob(self.model, x, [3])
        self.assertAlmostEqual(
            with_end - without, math.log(self.probabilities([0, 1, 3])[-1][0]), 12
        )

    def test_all_finished_and_unfinished_answers_sum_to_one(self):
        """Answers of up to two letters, and all longer ones as a whole."""
        x = [0, 1]
        mass = math.exp(m.log_prob(self.model, x, [0]))
        for a in range(1, 6):
            mass += math.exp(m.log_prob(self.model, x, [a, 0]))
            for b in range(1, 6):
                mass += math.exp(m.log_prob(self.model, x, [a, b]))
        self.assertAlmostEqual(mass, 1.0, 12)

    def test_it_is_the_sum_of_the_tokens_losses(self):
        x, y = [0, 1, 2], [3, 4, 0]
        one, other = m.unfreeze(self.model), m.unfreeze(self.model)
        m.log_prob(one, x, y).backward()
        full = m.total(m.token_losses(other, x + y)[len(x) - 1 :]) * -1.0
        full.backward()
        for a, b in zip(m.weights_of(one), m.weights_of(other)):
            self.assertAlmostEqual(a.grad, b.grad, 12)

    def test_prompt_tokens_contribute_nothing(self):
        """The graph holds one cross-entropy for each token of the answer, none for the prompt."""
        for x, y in (([0, 1, 2], [3, 0]), ([0], [1, 2, 3, 4, 0]), ([0, 5, 5, 5], [0])):
            graph = m.log_prob(m.unfreeze(self.model), x, y).graph()
            slopes = [n.local_grads for n in graph if len(n.children) == 6]
            entropies = [s for s in slopes if abs(sum(s)) < 1e-9 and min(s) < -0.5]
            self.assertEqual(len(entropies), len(y))

    def test_gradient_of_the_whole_loss(self):
        text = {"prompt": "a", "chosen": "bcd", "rejected": "ee"}
        reference = m.init_model(6, random.Random(9))
        pair = m.prepare(text, reference, self.alphabet)
        model = m.unfreeze(self.model)
        m.dpo_loss(*m.log_ratios(model, pair), 0.4).backward()
        for name, matrix in self.model.items():

            def f(x, matrix=matrix):
                kept, matrix[1][2] = matrix[1][2], x
                loss = m.dpo_loss(*m.log_ratios(self.model, pair), 0.4)
                matrix[1][2] = kept
                return loss

            self.assertAlmostEqual(model[name][1][2].grad, slope(f, matrix[1][2]), 7, name)

    def test_reference_values_are_computed_once_and_are_right(self):
        text = {"prompt": "ab", "chosen": "c", "rejected": "de"}
        pair = m.prepare(text, self.model, self.alphabet)
        self.assertEqual(pair.prompt, [0, 1, 2])
        self.assertEqual((pair.chosen, pair.rejected), ([3, 0], [4, 5, 0]))
        self.assertEqual(pair.ref_chosen, m.log_prob(self.model, [0, 1, 2], [3, 0]))
        self.assertEqual(m.log_ratios(self.model, pair), (0.0, 0.0))
        self.assertEqual(pair.chance, 1.0)  # of a file's comparison


class Steps(unittest.TestCase):
    def test_a_batch_is_a_mean_over_pairs(self):
        alphabet = ["", *"abcde"]
        model = m.unfreeze(m.init_model(6, random.Random(2)))
        reference = m.init_model(6, random.Random(3))
        texts = [
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            {"prompt": "b", "chosen": "da", "rejected": "e"},
        ]
        pairs = [m.prepare(t, reference, alphabet) for t in texts]
        loss = m.preferences(model, pairs, 0.5, random.Random(4))()
        drawn = pairs  # a batch is all there is
        frozen = m.freeze(model)
        want = sum(m.dpo_loss(*m.log_ratios(frozen, p), 0.5) for p in drawn) / m.BATCH
        self.assertAlmostEqual(loss, want, 12)
        loss = m.preferences(model, pairs, None, random.Random(4))()
        want = -sum(m.log_prob(frozen, p.prompt, p.chosen) for p in drawn) / m.BATCH
        self.assertAlmostEqual(loss, want, 12)

    def test_every_pair_is_drawn_once_before_any_is_drawn_again(self):
        alphabet = ["", *"abcdefghijklmnop"]
        model, drawn = m.init_model(17, random.Random(2)), []
        pairs = [
            m.prepare({"prompt": "a", "chosen": c, "rejected": "b"}, model, alphabet)
            for c in "cdefghij"
        ]

        def note(policy, x, y, real=m.log_prob):
            drawn.append(y[0])
            return real(policy, x, y)

        with patch.object(m, "log_prob", note):
            learn = m.preferences(m.unfreeze(model), pairs, None, random.Random(4))
            for _ in range(2 * len(pairs) // m.BATCH):
                learn()
        self.assertEqual(len(drawn), 16)
        self.assertEqual(sorted(drawn[:8]), sorted(drawn[8:]))
        self.assertEqual(len(set(drawn[:8])), 8)
        self.assertNotEqual(drawn[:8], drawn[8:])

    def test_learning_one_pair_raises_its_margin(self):
        alphabet = ["", *"abcde"]
        reference = m.init_model(6, random.Random(2))
        policy = m.unfreeze(reference)
        text = {"prompt": "a", "chosen": "bc", "rejected": "cb"}
        pairs = [m.prepare(text, reference, alphabet)]
        with redirect_stderr(io.StringIO()):
            learn = m.preferences(policy, pairs, 0.5, random.Random(4))
            m.train("x", learn, m.Adam(m.weights_of(policy)), 15, 0.01)
        look = m.look_at(policy, task_of(reference, held_out=pairs), 0.5, 15)
        self.assertLess(look.loss, 0.6)
        self.assertGreater(look.margin, 0.2)
        self.assertEqual((look.accuracy, look.step), (1.0, 15))
        ratios = look.chosen - pairs[0].ref_chosen, look.rejected - pairs[0].ref_rejected
        self.assertAlmostEqual(look.margin, 0.5 * (ratios[0] - ratios[1]), 12)

    def test_aligning_starts_at_the_reference_and_leaves_it_alone(self):
        alphabet = ["", *"abcde"]
        reference = m.init_model(6, random.Random(2))
        kept = m.freeze(reference)
        texts = [{"prompt": "a", "chosen": c, "rejected": "e"} for c in "bcdab"]
        pairs = [m.prepare(t, reference, alphabet) for t in texts]
        task = task_of(reference)._replace(pairs=pairs)
        looks = []

        def look(policy, step):
            looks.append((step, m.freeze(policy)))

        with patch.object(m, "STEPS", 4), redirect_stderr(io.StringIO()):
            policy = m.align(task, "x", 0.5, 0.01, look)
            again = m.align(task, "x", 0.5, 0.01)
            control = m.align(task, "x", None, 0.01)
            slow = m.align(task, "x", 0.5, 0.001)
            other = m.align(task._replace(seed=6), "x", 0.5, 0.01)
        self.assertEqual([step for step, _ in looks], [0, 1, 2, 3, 4])
        self.assertEqual((looks[0][1], looks[4][1]), (kept, policy))
        self.assertNotEqual(policy, kept)
        self.assertEqual((policy, reference), (again, kept))
        for different in (control, slow, other):
            self.assertNotEqual(policy, different)
        self.assertTrue(all(type(x) is float for x in m.weights_of(policy)))


class Theory(unittest.TestCase):
    def test_the_minimum_is_the_reference_reweighted_by_the_reward(self):
        """Three answers, every pair compared with exact Bradley-Terry probabilities: the minimum
        of the same loss is pi = pi_ref exp(r / beta) / Z."""
        beta, rewards, reference = 0.5, [1.0, 0.0, -0.7], [0.2, 0.5, 0.3]
        logits = [Value(math.log(p)) for p in reference]
        adam = m.Adam(logits)
        for step in range(600):
            log_pi = [-m.cross_entropy(logits, i) for i in range(3)]
            ratios = [lp - math.log(p) for lp, p in zip(log_pi, reference)]
            loss = m.total(
                [
                    m.dpo_loss(ratios[w], ratios[loser], beta)
                    * sigmoid(rewards[w] - rewards[loser])
                    for w in range(3)
                    for loser in range(3)
                    if w != loser
                ]
            )
            loss.backward()
            adam.step(0.05 * (1 - step / 600))
        want = [p * math.exp(r / beta) for p, r in zip(reference, rewards)]
        for got, w in zip(m.softmax(m.floats(logits)), want):
            self.assertAlmostEqual(got, w / sum(want), delta=1e-2)


class Task(unittest.TestCase):
    def test_flow(self):
        self.assertEqual(m.flow("lenane"), 1.0)
        self.assertEqual(m.flow("anana"), 1.0)
        self.assertAlmostEqual(m.flow("ada"), 1.0 - 1 / 3)
        self.assertAlmostEqual(m.flow("ktt"), -1.0)
        self.assertAlmostEqual(m.flow("éla"), 1.0)
        self.assertEqual((m.flow(""), m.flow("a")), (0.0, 0.0))

    def test_repeats(self):
        self.assertEqual([m.repeats(x) for x in ("", "a", "ab", "aba", "anna")], [0.0] * 5)
        self.assertAlmostEqual(m.repeats("nanana"), 3 / 5)  # an na of na an na an na ... twice
        self.assertAlmostEqual(m.repeats("aaaa"), 2 / 3)
        self.assertAlmostEqual(m.repeats("lalalala"), 5 / 7)

    def test_gold_is_flow_without_repeats(self):
        self.assertEqual(m.gold("lenaru"), 1.0)
        self.assertAlmostEqual(m.gold("lalalala"), m.flow("lalalala") - 5 / 7)
        self.assertEqual(m.flow("la"), m.flow("lalalala"))  # length alone is not preferred

    def test_the_annotator_errs_as_bradley_and_terry_say(self):
        self.assertEqual(m.first_wins("lana", "nela"), 0.5)
        chance = m.first_wins("lana", "lann")
        self.assertAlmostEqual(chance + m.first_wins("lann", "lana"), 1.0, 12)
        self.assertAlmostEqual(math.log(chance / (1 - chance)), m.TASTE / 3, 9)

    def test_compare(self):
        rng = random.Random(1)
        model = m.init_model(27, rng)
        alphabet = m.alphabet_of(m.NAMES)
        wins = 0
        for _ in range(30):
            pair = m.compare(model, m.NAMES, alphabet, rng)
            self.assertNotEqual(pair["chosen"], pair["rejected"])
            self.assertIn(len(pair["prompt"]), (1, 2))
            for key in ("chosen", "rejected"):
                self.assertLess(len(pair["prompt"] + pair[key]), m.BLOCK_SIZE)
            better, worse = (pair["prompt"] + pair[k] for k in ("chosen", "rejected"))
            wins += m.gold(better) > m.gold(worse)
        self.assertGreater(wins, 18)

    def test_chance_of_a_choice(self):
        sure = {"prompt": "l", "chosen": "alena", "rejected": "ktkt"}
        wrong = {"prompt": "l", "chosen": "ktkt", "rejected": "alena"}
        coin = {"prompt": "l", "chosen": "ana", "rejected": "ena"}
        self.assertAlmostEqual(m.chance_of(sure), 1.0, 3)
        self.assertAlmostEqual(m.chance_of(wrong), 0.0, 3)
        self.assertEqual(m.chance_of(coin), 0.5)

    def test_a_sure_annotator_does_not_overflow(self):
        taste, m.TASTE = m.TASTE, 1e4
        try:
            self.assertEqual(m.first_wins("lana", "ktkt"), 1.0)
            self.assertEqual(m.first_wins("ktkt", "lana"), 0.0)
        finally:
            m.TASTE = taste

    def test_names_that_leave_nothing_to_compare(self):
        model = m.init_model(3, random.Random(1))
        row = [0.0] * m.N_EMBD
        model["lm_head"] = [[1e3 * x for x in model["wte"][0]], row, row]
        with patch.object(m, "sample", lambda *_: [1, 0]), self.assertRaises(SystemExit) as stop:
            with redirect_stderr(io.StringIO()) as errors:
                m.compare(model, ["a", "b"], ["", "a", "b"], random.Random(1))
        self.assertEqual((stop.exception.code, errors.getvalue().count("\n")), (2, 1))

    def test_letters_that_can_be_judged(self):
        m.check_letters(["", *"abc"])
        for letters in ("абв", "aei", "bcd", "123"):
            with self.assertRaises(SystemExit), redirect_stderr(io.StringIO()):
                m.check_letters(["", *letters])


class Judging(unittest.TestCase):
    def test_a_policy_equal_to_the_reference(self):
        model = m.init_model(27, random.Random(1))
        alphabet = m.alphabet_of(m.NAMES)
        task = task_of(model, alphabet=alphabet, prompts=["a", "b", "c"])
        verdict = m.judge(model, task)
        self.assertEqual(verdict.kl, 0.0)
        self.assertEqual(verdict, m.judge(model, task))

    def test_kl_estimate_against_the_exact_sum(self):
        """A context of four tokens and three letters has few answers: sum over all of them."""
        block, m.BLOCK_SIZE = m.BLOCK_SIZE, 4
        try:
            alphabet = ["", *"abc"]
            reference = m.init_model(4, random.Random(1))
            policy = m.init_model(4, random.Random(2))
            for row in policy["lm_head"]:  # make them differ visibly
                row[:] = [4 * x for x in row]
            exact, answers = 0.0, [[]]
            while answers:
                y = answers.pop()
                if y and (y[-1] == 0 or len(y) == 3):
                    p = m.log_prob(policy, [0, 1], y)
                    exact += math.exp(p) * (p - m.log_prob(reference, [0, 1], y))
                else:
                    answers += [[*y, t] for t in range(4)]
            task = task_of(reference, alphabet=alphabet, prompts=["a"] * 800)
            verdict = m.judge(policy, task)
        finally:
            m.BLOCK_SIZE = block
        self.assertGreater(exact, 0.01)
        self.assertAlmostEqual(verdict.kl, exact, delta=0.25 * exact)

    def test_judging_completes_every_prompt_once(self):
        alphabet, prompts = ["", *"abcdefg"], ["a", "de", "f", "ag"] * 3
        reference, policy = (m.init_model(8, random.Random(seed)) for seed in (1, 2))
        verdict = m.judge(policy, task_of(reference, alphabet=alphabet, prompts=prompts))
        rng, names, kls, ends = random.Random(5), [], [], []
        for prompt in prompts:
            x = m.encode(prompt, alphabet)[:-1]
            y = m.sample(policy, x, rng)
            names.append(m.decode([*x, *y], alphabet))
            kls.append(m.log_prob(policy, x, y) - m.log_prob(reference, x, y))
            ends.append(0 in y)
        golds = list(map(m.gold, names))
        self.assertEqual(verdict.names, names)
        self.assertAlmostEqual(verdict.gold, statistics.mean(golds), 12)
        self.assertAlmostEqual(verdict.gold_se, statistics.stdev(golds) / math.sqrt(12), 12)
        self.assertAlmostEqual(verdict.kl, statistics.mean(kls), 12)
        self.assertAlmostEqual(verdict.repeats, statistics.mean(map(m.repeats, names)), 12)
        self.assertAlmostEqual(verdict.length, statistics.mean(map(len, names)), 12)
        self.assertAlmostEqual(verdict.unfinished, 1 - statistics.mean(ends), 12)
        self.assertTrue(0.0 < verdict.unfinished < 1.0 and verdict.repeats > 0.0)

    def test_a_look_is_a_mean_over_the_held_out_comparisons(self):
        rows = [  # ratio of chosen, of rejected, P(the annotator agrees), log pi_ref of both
            (0.4, 0.1, 0.9, -3.0, -4.0),
            (-0.5, 0.3, 0.7, -1.0, -2.0),
            (0.2, 0.2, 0.6, -5.0, -1.0),
            (2.0, -7.0, 0.25, -2.0, -2.5),
        ]
        pairs = [m.Pair([], [], [], w, lost, chance) for _, _, chance, w, lost in rows]
        ratios = dict(zip(map(id, pairs), rows))
        with patch.object(m, "log_ratios", lambda model, pair: ratios[id(pair)][:2]):
            look = m.look_at({}, task_of({}, held_out=pairs), 0.5, 7)
        margins = [0.15, -0.4, 0.0, 4.5]
        self.assertEqual(look.step, 7)
        self.assertAlmostEqual(look.margin, sum(margins) / 4, 12)
        self.assertAlmostEqual(look.loss, -sum(math.log(sigmoid(x)) for x in margins) / 4, 12)
        self.assertAlmostEqual(look.accuracy, (0.9 + 0.3 + 0.5 + 0.25) / 4, 12)
        self.assertAlmostEqual(look.chosen, (-2.6 - 1.5 - 4.8 + 0.0) / 4, 12)
        self.assertAlmostEqual(look.rejected, (-3.9 - 1.7 - 0.8 - 9.5) / 4, 12)

    def test_lead(self):
        rest = {"kl": 0.0, "repeats": 0.0, "length": 0.0, "unfinished": 0.0, "names": []}
        a, b = m.Verdict(gold=0.9, gold_se=0.03, **rest), m.Verdict(gold=0.4, gold_se=0.04, **rest)
        self.assertAlmostEqual(m.lead(a, b), 10.0)

    def test_expected_accuracy_of_the_perfect_judge_is_the_ceiling(self):
        """A policy that prefers the better answer of every pair reaches the noise's limit."""
        alphabet = m.alphabet_of(m.NAMES)
        texts = [
            {"prompt": "l", "chosen": "ana", "rejected": "kkt"},
            {"prompt": "l", "chosen": "tt", "rejected": "ene"},
        ]
        reference = m.init_model(27, random.Random(1))
        policy = m.unfreeze(reference)
        right = [
            m.prepare(
                t
                if m.gold("l" + t["chosen"]) > m.gold("l" + t["rejected"])
                else {**t, "chosen": t["rejected"], "rejected": t["chosen"]},
                reference,
                alphabet,
            )
            for t in texts
        ]
        with redirect_stderr(io.StringIO()):
            learn = m.preferences(policy, right, 0.5, random.Random(1))
            m.train("x", learn, m.Adam(m.weights_of(policy)), 30, 0.01)
        chances = [m.chance_of(t) for t in texts]
        pairs = [m.prepare(t, reference, alphabet, c) for t, c in zip(texts, chances)]
        task = task_of(reference, held_out=pairs)
        best = sum(max(c, 1.0 - c) for c in chances) / 2
        self.assertAlmostEqual(m.noise_limit(task), best, 12)
        self.assertAlmostEqual(m.look_at(policy, task, 0.5, 0).accuracy, best, 12)
        self.assertEqual(m.look_at(reference, task, 0.5, 0).accuracy, 0.5)  # a tie


class Making(unittest.TestCase):
    """The task, from the annotator's comparisons or from a file's, without training."""

    def make(self, file):
        self.calls, texts = {}, []
        answers = ["ba", "zed", "cab", "ebb", "aza", "dda", "be", "ca", "eza"]
        for a, b in zip(answers, answers[1:]):
            texts.append({"prompt": "d", "chosen": a, "rejected": b})
        left = iter(texts)

        def noted(name, result):
            def fake(*a):
                self.calls.setdefault(name, []).append(a)
                return result() if callable(result) else result

            return fake

        def split(items, rng, held_out):
            self.calls.setdefault("split", []).append((items, held_out))
            return items[2:], items[:2]

        reference = m.init_model(7, random.Random(1))
        fakes = {
            "read_names": noted("read_names", ["zed", "za", "abc", "dea"]),
            "read_pairs": noted("read_pairs", texts[:5]),
            "compare": noted("compare", lambda: next(left)),
            "check_letters": noted("check_letters", None),
            "pretrain": noted("pretrain", reference),
            "mean_loss": noted("mean_loss", 1.0),
            "split": split,
        }
        with patch.multiple(m, PAIRS=8, SAMPLES=40, TASTE=2.0, **fakes):
            with redirect_stdout(io.StringIO()):
                task = m.make_task(4, "names", file)
            given = texts[:5] if file else texts
            chances = [m.chance_of(t) if not file else 1.0 for t in given]
        alphabet = ["", *"abcdez"]  # z is in held-out names only
        want = [m.prepare(t, reference, alphabet, c) for t, c in zip(given, chances)]
        self.assertEqual((task.held_out, task.pairs), (want[:2], want[2:]))
        self.assertEqual((task.seed, task.alphabet, task.has_gold), (4, alphabet, not file))
        self.assertIs(task.reference, reference)
        self.assertEqual(len(task.prompts), 40)
        self.assertEqual(set(task.prompts), {"z", "ze", "za"})
        self.assertEqual(self.calls["read_names"], [("names", m.BLOCK_SIZE - 1)])
        sizes = [held_out for _, held_out in self.calls["split"]]
        self.assertEqual(sizes, [m.HELD_OUT_NAMES, m.HELD_OUT])
        self.assertEqual([a[:2] for a in self.calls["pretrain"]], [(["abc", "dea"], alphabet)])
        self.assertEqual(self.calls["mean_loss"], [(reference, ["zed", "za"], alphabet)])
        return alphabet

    def test_the_annotator_compares_what_the_reference_writes(self):
        alphabet = self.make(None)
        self.assertNotIn("read_pairs", self.calls)
        self.assertEqual(self.calls["check_letters"], [(alphabet,)])
        self.assertEqual([a[1:3] for a in self.calls["compare"]], [(["abc", "dea"], alphabet)] * 8)

    def test_a_file_takes_the_annotators_place(self):
        alphabet = self.make("pairs")
        self.assertEqual(self.calls["read_pairs"], [("pairs", alphabet)])
        self.assertNotIn("compare", self.calls)
        self.assertNotIn("check_letters", self.calls)  # no gold score has to be computed


class Experiment(unittest.TestCase):
    GOLDS = {"reference": 0.5, "low": 0.55, "mid": 0.65, "high": 0.6, 1.0: 0.7, 0.3: 0.9, 0.1: 0.2}
    KLS = {0.3: 4.0, 0.1: 10.0}

    def run_it(self, has_gold=True, steps=13):
        """A run with fakes for all that takes time."""
        task = task_of("reference")._replace(has_gold=has_gold)
        calls, self.claims, self.history, self.shown = [], [], [], {}
        lrs = {0.1: "low", 0.2: "mid", 0.3: "high"}

        def make_task(*a):
            self.assertEqual((checked, a), ([True], (3, "names", "pairs")))
            return task

        def align(world, label, beta, lr, look=None):
            self.assertIs(world, task)
            policy = lrs[lr] if beta is None else beta
            calls.append((beta, lr))
            for step in range(m.STEPS + 1) if look else ():
                look(policy, step)
            return policy

        def look_at(policy, world, beta, step):
            self.assertEqual((policy, world, beta), (m.BETA, task, m.BETA))
            return m.Look(step, 0.5 + step, 0.0, 0.1 * step, 0.0, 0.0)

        def judge(policy, world):
            self.assertIs(world, task)
            rest = dict.fromkeys(("repeats", "length", "unfinished"), 0.0)
            gold, kl = self.GOLDS[policy], self.KLS.get(policy, 1.0)
            return m.Verdict(gold=gold, gold_se=0.01, kl=kl, names=["a"], **rest)

        checked = []
        fakes = {
            "check_settings": lambda: checked.append(True),
            "make_task": make_task,
            "show_pairs": lambda task: None,
            "noise_limit": lambda task: 0.8,
            "align": align,
            "look_at": look_at,
            "judge": judge,
            "show_history": self.history.extend,
            "show_verdicts": lambda verdicts, has_gold: self.shown.update(verdicts),
            "check_claims": lambda rows: self.claims.extend(rows) or 7,
        }
        settings = {"STEPS": steps, "BETAS": [0.3, 1.0, 0.1], "BETA": 0.3, "DPO_LR": 0.05}
        settings["CHOSEN_LRS"] = [0.1, 0.2, 0.3]
        with patch.multiple(m, **settings, **fakes), redirect_stdout(io.StringIO()) as out:
            self.assertEqual(m.experiment(3, "names", "pairs"), 7)
        self.printed = out.getvalue()
        return calls

    def test_every_policy_is_trained_and_judged(self):
        calls = self.run_it()
        control = [(None, 0.1), (None, 0.2), (None, 0.3)]
        self.assertEqual(calls, [*control, (1.0, 0.05), (0.3, 0.05), (0.1, 0.05)])
        self.assertEqual([v.gold for v in self.shown.values()], list(self.GOLDS.values()))

    def test_the_history_begins_before_the_first_step_and_ends_after_the_last(self):
        for steps, seen in ((11, [0, 2, 4, 6, 8, 10, 11]), (3, [0, 1, 2, 3])):
            self.run_it(steps=steps)
            self.assertEqual([look.step for look in self.history], seen)

    def test_claims_compare_what_they_say(self):
        self.run_it()
        error = math.hypot(0.01, 0.01)
        want = [13.5, 1.3 / 0.8, 0.4 / error, 0.25 / error, 0.7, 2.5]
        self.assertEqual(len(self.claims), len(want))
        for (text, measured, _, _), x in zip(self.claims, want):
            self.assertAlmostEqual(measured / x, 1.0, 9, text)

    def test_nothing_is_claimed_of_a_gold_score_that_is_not_known(self):
        self.run_it()
        self.assertIn("gold", self.printed)
        self.run_it(has_gold=False)
        self.assertEqual([measured for _, measured, _, _ in self.claims], [13.5])
        self.assertNotIn("gold", self.printed)

    def test_the_command_line_starts_the_experiment(self):
        want = {"seed": 5, "names": "x", "pairs": "y"}
        with patch.object(m, "experiment", lambda **a: (a == want) * 7):
            self.assertEqual(m.main(["--seed", "5", "--names", "x", "--pairs", "y"]), 7)


class PairFiles(unittest.TestCase):
    GOOD = [{"prompt": "a", "chosen": f"b{x}", "rejected": "c"} for x in "abcdefghijklmnopqrst"]

    def read(self, lines):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.jsonl"
            path.write_text("\n".join(lines), "utf-8")
            with redirect_stderr(io.StringIO()) as errors:
                try:
                    return m.read_pairs(str(path), m.alphabet_of(m.NAMES)), ""
                except SystemExit as stop:
                    self.assertEqual(stop.code, 2)
                    self.assertEqual(errors.getvalue().count("\n"), 1)
                    self.assertIn("pairs.jsonl", errors.getvalue())
                    return None, errors.getvalue()

    def test_good(self):
        lines = [json.dumps({**pair, "score": 3}) for pair in self.GOOD] + [""]
        lines[3] = "\t" + lines[3].replace(": ", ":\t")  # JSON's white space
        pairs, _ = self.read(lines)
        self.assertEqual(pairs, self.GOOD)

    def test_bad(self):
        lines = [json.dumps(pair) for pair in self.GOOD]
        for bad, words in {
            "{": "line 21: not JSON",
            "[" * 5000: "line 21: not JSON",
            "[1]": "line 21: give the keys",
            '{"prompt": "a", "chosen": "b"}': "line 21: give the keys",
            '{"prompt": "a", "chosen": "b", "rejected": 3}': "line 21: give the keys",
            '{"prompt": "a", "chosen": "b", "rejected": "b"}': "chosen equals rejected",
            '{"prompt": "a", "chosen": "b", "rejected": "ü"}': "'ü' is in none of the names",
            json.dumps({"prompt": "a", "chosen": "b" * 15, "rejected": "c"}): "longer than",
        }.items():
            with self.subTest(words):
                pairs, error = self.read([*lines, bad])
                self.assertIsNone(pairs)
                self.assertIn(words, error)
        pairs, error = self.read(lines[:19])
        self.assertIn("19 pairs are too few", error)

    def test_a_run_on_a_pair_file_leaves_the_gold_out(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = edited(ROOT / "microdpo.py", folder)
            file = Path(folder) / "pairs.jsonl"
            file.write_text("\n".join(json.dumps(pair) for pair in self.GOOD), "utf-8")
            done = start(copy, "--pairs", str(file))
            self.assertIn(done.returncode, (0, 1), done.stderr.decode())
            self.assertIn(b"14 comparisons to learn, 6 held out", done.stdout)
            for word in (b"gold", b"flow", b"annotator"):
                self.assertNotIn(word, done.stdout)


if __name__ == "__main__":
    unittest.main()
