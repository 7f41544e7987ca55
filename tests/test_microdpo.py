"""Section 6 and 7 of microdpo.py, the theory behind it, and the pair files it reads."""

import io
import json
import math
import random
import tempfile
import unittest
from contextlib import redirect_stderr
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
