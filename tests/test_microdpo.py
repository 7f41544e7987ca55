"""Section 7 of microdpo.py, the theory behind it, and the pair files it reads."""

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
from tests.helpers import edited, slope, start

WIDTH = m.N_EMBD


def setUpModule():
    m.N_EMBD = 8


def tearDownModule():
    m.N_EMBD = WIDTH


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
        self.assertAlmostEqual(m.log_probs(self.model, x, y)[0], want, 12)

    def test_the_end_token_counts(self):
        x = [0, 1]
        with_end = m.log_probs(self.model, x, [3, 0])[0]
        without = m.log_probs(self.model, x, [3])[0]
        self.assertAlmostEqual(
            with_end - without, math.log(self.probabilities([0, 1, 3])[-1][0]), 12
        )

    def test_all_finished_and_unfinished_answers_sum_to_one(self):
        """Answers of up to two letters, and all longer ones as a whole."""
        x = [0, 1]
        mass = math.exp(m.log_probs(self.model, x, [0])[0])
        for a in range(1, 6):
            mass += math.exp(m.log_probs(self.model, x, [a, 0])[0])
            for b in range(1, 6):
                mass += math.exp(m.log_probs(self.model, x, [a, b])[0])
        self.assertAlmostEqual(mass, 1.0, 12)

    def test_one_reading_of_the_prompt_serves_every_answer(self):
        x, answers, weights = [0, 1, 2], ([3, 4, 0], [0], [3, 3, 1, 0]), [0.7, -1.3, 0.4]
        together, alone = m.unfreeze(self.model), m.unfreeze(self.model)
        sums = m.log_probs(together, x, *answers)
        m.dot(weights, sums).backward()
        for y, weight, one in zip(answers, weights, sums):
            full = m.total(m.token_losses(alone, x + y)[len(x) - 1 :]) * -weight
            full.backward()
            self.assertAlmostEqual(one.data * weight, full.data, 12)
        for a, b in zip(m.weights_of(together), m.weights_of(alone)):
            self.assertAlmostEqual(a.grad, b.grad, 12)

    def test_prompt_tokens_contribute_nothing(self):
        """The graph holds one cross-entropy for each token of the answer, none for the prompt."""
        for x, y in (([0, 1, 2], [3, 0]), ([0], [1, 2, 3, 4, 0]), ([0, 5, 5, 5], [0])):
            graph = m.log_probs(m.unfreeze(self.model), x, y)[0].graph()
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
        self.assertEqual(pair.ref_chosen, m.log_probs(self.model, [0, 1, 2], [3, 0])[0])
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
        want = -sum(m.log_probs(frozen, p.prompt, p.chosen)[0] for p in drawn) / m.BATCH
        self.assertAlmostEqual(loss, want, 12)

    def test_every_pair_is_drawn_once_before_any_is_drawn_again(self):
        alphabet = ["", *"abcdefghijklmnop"]
        model, drawn = m.init_model(17, random.Random(2)), []
        pairs = [
            m.prepare({"prompt": "a", "chosen": c, "rejected": "b"}, model, alphabet)
            for c in "cdefghij"
        ]

        def note(policy, x, y, real=m.log_probs):
            drawn.append(y[0])
            return real(policy, x, y)

        with patch.object(m, "log_probs", note):
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
        loss, margin, accuracy, chosen, rejected = m.watch(policy, pairs, 0.5)
        self.assertLess(loss, 0.6)
        self.assertGreater(margin, 0.2)
        self.assertEqual(accuracy, 1.0)
        self.assertAlmostEqual(
            margin, 0.5 * (chosen - pairs[0].ref_chosen - rejected + pairs[0].ref_rejected), 12
        )


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

    def test_length_alone_is_not_preferred(self):
        self.assertEqual(m.flow("la"), m.flow("lalalala"))

    def test_the_annotator_errs_as_bradley_and_terry_say(self):
        self.assertEqual(m.first_wins("lala", "nene"), 0.5)
        chance = m.first_wins("lala", "lall")
        self.assertAlmostEqual(chance + m.first_wins("lall", "lala"), 1.0, 12)
        self.assertAlmostEqual(math.log(chance / (1 - chance)), m.TASTE / 3, 9)

    def test_compare(self):
        rng = random.Random(1)
        model = m.init_model(27, rng)
        alphabet = m.alphabet_of(m.NAMES)
        wins = 0
        for _ in range(60):
            pair = m.compare(model, m.NAMES, alphabet, rng)
            self.assertNotEqual(pair["chosen"], pair["rejected"])
            self.assertIn(len(pair["prompt"]), (1, 2))
            for key in ("chosen", "rejected"):
                self.assertLess(len(pair["prompt"] + pair[key]), m.BLOCK_SIZE)
            better, worse = (pair["prompt"] + pair[k] for k in ("chosen", "rejected"))
            wins += m.flow(better) > m.flow(worse)
        self.assertGreater(wins, 38)

    def test_chance_of_a_choice(self):
        sure = {"prompt": "l", "chosen": "alala", "rejected": "ktkt"}
        wrong = {"prompt": "l", "chosen": "ktkt", "rejected": "alala"}
        coin = {"prompt": "l", "chosen": "ala", "rejected": "ana"}
        self.assertAlmostEqual(m.chance_of(sure), 1.0, 3)
        self.assertAlmostEqual(m.chance_of(wrong), 0.0, 3)
        self.assertEqual(m.chance_of(coin), 0.5)

    def test_the_task_is_the_same_text_in_both_scripts(self):
        root = Path(m.__file__).parent
        texts = []
        for name in ("microdpo.py", "microppo.py"):
            if (root / name).exists():
                text = (root / name).read_text("utf-8")
                texts.append(
                    text.split("# --- the preference task")[1].split("# --- end of the pref")[0]
                )
        self.assertEqual(len(set(texts)), 1)


class Judging(unittest.TestCase):
    def test_a_policy_equal_to_the_reference(self):
        model = m.init_model(27, random.Random(1))
        alphabet = m.alphabet_of(m.NAMES)
        verdict = m.judge(model, model, ["a", "b", "c"], alphabet, 5)
        self.assertEqual(verdict.kl, 0.0)
        self.assertEqual(verdict, m.judge(model, model, ["a", "b", "c"], alphabet, 5))

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
                    p = m.log_probs(policy, [0, 1], y)[0]
                    exact += math.exp(p) * (p - m.log_probs(reference, [0, 1], y)[0])
                else:
                    answers += [[*y, t] for t in range(4)]
            verdict = m.judge(policy, reference, ["a"] * 2000, alphabet, 3)
        finally:
            m.BLOCK_SIZE = block
        self.assertGreater(exact, 0.01)
        self.assertAlmostEqual(verdict.kl, exact, delta=0.25 * exact)

    def test_lead(self):
        a = m.Verdict(0.9, 0.03, 0.0, 0.0, [])
        b = m.Verdict(0.4, 0.04, 0.0, 0.0, [])
        self.assertAlmostEqual(m.lead(a, b), 10.0)

    def test_expected_accuracy_of_the_perfect_judge_is_the_ceiling(self):
        """A policy that prefers the better answer of every pair reaches the noise's limit."""
        alphabet = m.alphabet_of(m.NAMES)
        texts = [
            {"prompt": "l", "chosen": "ala", "rejected": "kkt"},
            {"prompt": "l", "chosen": "tt", "rejected": "ene"},
        ]
        reference = m.init_model(27, random.Random(1))
        policy = m.unfreeze(reference)
        right = [
            m.prepare(
                t
                if m.flow("l" + t["chosen"]) > m.flow("l" + t["rejected"])
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
        best = sum(max(c, 1.0 - c) for c in chances) / 2
        self.assertAlmostEqual(m.watch(policy, pairs, 0.5)[2], best, 12)
        self.assertEqual(m.watch(reference, pairs, 0.5)[2], 0.5)  # a tie


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
            copy = fast_copy("microdpo", folder, FAST["microdpo"])
            file = Path(folder) / "pairs.jsonl"
            file.write_text("\n".join(json.dumps(pair) for pair in self.GOOD), "utf-8")
            done = start(copy, "--pairs", str(file))
            self.assertIn(done.returncode, (0, 1), done.stderr.decode())
            self.assertIn(b"14 comparisons to learn, 6 held out", done.stdout)
            for word in (b"gold", b"flow", b"annotator"):
                self.assertNotIn(word, done.stdout)


if __name__ == "__main__":
    unittest.main()
