"""Sections 6 and 7 of microrlaif.py: the labeller, what is measured of it, DPO on its labels."""

import io
import json
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microrlaif as m
from tests.helpers import ROOT, slope

SMALL = {"N_EMBD": 4, "BLOCK_SIZE": 6, "STEPS": 3, "TEACH_STEPS": 3, "PAIRS": 4, "MEASURED": 3}
KEPT = {name: getattr(m, name) for name in SMALL}
ALPHABET = ["", "a", "b", "l"]
NAMES = ["ab", "ba", "aab", "lala", "al"]


def setUpModule():
    for name, value in SMALL.items():
        setattr(m, name, value)


def tearDownModule():
    for name, value in KEPT.items():
        setattr(m, name, value)


def model(seed=3):
    new = m.init_model(len(ALPHABET), random.Random(seed))
    for row in new["lm_head"]:
        row[:] = [8.0 * x for x in row]  # chances that differ
    return new


def world(seed=3):
    return m.World(
        seed=seed, alphabet=ALPHABET, names=NAMES, reference=model(seed), prompts=["a", "b"]
    )


def quietly(f, *arguments):
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        return f(*arguments)


def reading(answer, q=(-1.0,), p=(-1.0,), prompt="l"):
    return m.Reading(prompt=prompt, answer=answer, q=list(q), p=list(p))


class Labeller(unittest.TestCase):
    def test_the_constitution_is_the_best_names(self):
        names = ["kkk", "lana", "kt", "ena", "anna", "ktk", "nnn", "dd"]
        with patch.object(m, "EXEMPLARY", 0.25):
            self.assertEqual(m.exemplary(names), ["lana", "ena"])
            self.assertEqual(m.exemplary(names[:1]), ["kkk"])  # never none
        with patch.object(m, "EXEMPLARY", 0.01):
            self.assertEqual(m.exemplary(names), ["lana"])
        with patch.object(m, "EXEMPLARY", 0.375):
            self.assertEqual(m.exemplary(names)[2], "anna")

    def test_it_goes_on_from_the_reference_with_the_examples_only(self):
        seen, calls = [], []

        def spy(model, names, alphabet, rng, real=m.next_letter):
            seen.append((m.freeze(model), names))
            return real(model, names, alphabet, rng)

        def watch(label, learn, optimizer, steps, lr, real=m.train):
            calls.append((steps, lr, optimizer.values))
            return real(label, learn, optimizer, steps, lr)

        reference = model()
        with patch.multiple(m, next_letter=spy, train=watch):
            labeller = quietly(m.teach, reference, ["lala"], ALPHABET, random.Random(1))
        self.assertEqual(seen, [(reference, ["lala"])])
        (steps, lr, values), *rest = calls
        self.assertEqual((steps, lr, rest), (m.TEACH_STEPS, m.TEACH_LR, []))
        self.assertEqual(m.floats(values), m.weights_of(labeller))
        self.assertIsInstance(m.weights_of(labeller)[0], float)
        self.assertNotEqual(labeller, reference)
        self.assertEqual(reference, model())
        with patch.object(m, "TEACH_STEPS", 30):
            labeller = quietly(m.teach, reference, ["lala"], ALPHABET, random.Random(1))
        better, before = (m.mean_loss(x, ["lala"], ALPHABET) for x in (labeller, reference))
        self.assertLess(better, before - 0.5)

    def test_readings_are_of_the_answers_tokens_and_the_end(self):
        q, p = model(1), model(2)
        text = {"prompt": "ab", "chosen": "l", "rejected": "aa"}
        a, b = m.read_both(text, q, p, ALPHABET)
        self.assertEqual((a.prompt, a.answer, b.prompt, b.answer), ("ab", "aa", "ab", "l"))
        for y, tokens in ((a, [1, 1, 0]), (b, [3, 0])):
            for got, net in ((y.q, q), (y.p, p)):
                cache, want = m.new_cache(), []
                for token, following in zip([0, 1, 2, *tokens], [1, 2, *tokens]):
                    want.append(math.log(m.softmax(m.gpt(net, token, cache))[following]))
                self.assertEqual(len(got), len(tokens))
                for x, w in zip(got, want[2:]):
                    self.assertAlmostEqual(x, w, 12)

    def test_the_order_does_not_tell_what_was_chosen(self):
        text = {"prompt": "ab", "chosen": "l", "rejected": "aa"}
        swapped = {"prompt": "ab", "chosen": "aa", "rejected": "l"}
        pairs = [m.read_both(t, model(1), model(2), ALPHABET) for t in (text, swapped)]
        self.assertEqual(pairs[0], pairs[1])

    def test_scores(self):
        y = reading("ab", q=(-1.0, -2.0, -6.0), p=(-2.0, -2.0, -0.5))
        got = {name: score(y) for name, score in m.SCORES.items()}
        want = {"AI, total": -9.0, "AI, per token": -3.0, "AI, ratio": -1.5}
        self.assertEqual(got, {**want, "no constitution": -1.5})

    def test_a_label_is_the_answer_of_the_higher_score(self):
        a, b = reading("ab", q=(-1.0, -1.0, -1.0)), reading("b", q=(-1.25, -1.25))
        for pair in ((a, b), (b, a)):
            got = m.label(pair, m.SCORES["AI, per token"])
            self.assertEqual(got, {"prompt": "l", "chosen": "ab", "rejected": "b"})
            got = m.label(pair, m.SCORES["AI, total"])
            self.assertEqual(got, {"prompt": "l", "chosen": "b", "rejected": "ab"})

    def test_against_torch(self):
        for case in json.loads((ROOT / "tests/golden/rlaif.json").read_text("utf-8")):
            d, heads, layers, block = case["sizes"]
            alphabet = ["", *"abcde"][: len(case["models"]["labeller"]["wte"])]
            nets = case["models"]
            with patch.multiple(m, N_EMBD=d, N_HEAD=heads, N_LAYER=layers, BLOCK_SIZE=block):
                for pair in case["pairs"]:
                    self.compare(pair, nets["labeller"], nets["reference"], alphabet)

    def compare(self, pair, labeller, reference, alphabet):
        prompt, *answers = (m.decode(x, alphabet) for x in (pair["prompt"], *pair["answers"]))
        text = {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}
        both = m.read_both(text, labeller, reference, alphabet)
        for y in both:
            i = answers.index(y.answer)
            self.assertEqual(len(y.q), len(pair["log_probs"][i]))
            for x, w in zip(y.q, pair["log_probs"][i]):
                self.assertAlmostEqual(x, w, delta=1e-10 * max(1.0, abs(w)))
            self.assertEqual(list(m.SCORES), list(pair["scores"]))
            for name, score in m.SCORES.items():
                w = pair["scores"][name][i]
                self.assertAlmostEqual(score(y), w, delta=1e-10 * max(1.0, abs(w)))
        for name, score in m.SCORES.items():
            best = pair["choices"][name]
            self.assertEqual(m.label(both, score)["chosen"], answers[best], name)


class Measures(unittest.TestCase):
    GOOD, BAD, SHORT = "ana", "kk", "l"

    def test_person(self):
        good, bad = reading(self.GOOD), reading(self.BAD)
        self.assertEqual(m.gold_of(good), m.gold("lana"))
        log_odds = m.TASTE * (m.gold("lana") - m.gold("ll"))
        chance = m.person(good, reading(self.SHORT))
        self.assertAlmostEqual(chance, 1 / (1 + math.exp(-log_odds)), 12)
        self.assertAlmostEqual(m.person(bad, good) + m.person(good, bad), 1.0, 12)

    def test_by(self):
        prefers = m.by(m.SCORES["AI, total"])
        a, b = reading("a", q=(-1.0,)), reading("b", q=(-2.0,))
        self.assertEqual((prefers(a, b), prefers(b, a), prefers(a, a)), (1.0, 0.0, 0.0))

    def pairs(self):
        """(better, worse): familiar and longer; unfamiliar and longer; of equal gold; equal
        length, familiar."""
        return [
            (reading(self.GOOD, q=[-1.0] * 4, p=[-1.0] * 4), reading("l", [-1.0] * 2, [-1.1] * 2)),
            (reading(self.GOOD, q=[-1.0] * 4, p=[-1.2] * 4), reading("l", [-1.0] * 2, [-1.1] * 2)),
            (reading("ana", [-1.0] * 4, [-9.0] * 4), reading("ena", [-1.0] * 4, [-1.0] * 4)),
            (reading("ana", [-1.0] * 4, [-1.0] * 4), reading("kkk", [-1.0] * 4, [-3.0] * 4)),
        ]

    def test_habits(self):
        pairs = self.pairs()
        chances = {id(better): c for (better, _), c in zip(pairs, (0.9, 0.3, 0.77, 0.5))}

        def prefers(a, b):
            return chances[id(a)] if id(a) in chances else 1.0 - chances[id(b)]

        want = m.Habits(
            agreement=(0.9 + 0.3 + 0.5) / 3,
            shorter=(0.1 + 0.7) / 2,
            familiar=(0.9 + 0.5) / 2,
            unfamiliar=0.3,
        )
        for order in (pairs, [(b, a) for a, b in pairs]):
            for got, w in zip(m.habits(order, prefers), want):
                self.assertAlmostEqual(got, w, 12)
        self.assertAlmostEqual(m.gap(want), 0.4, 12)

    def test_the_reference_agrees_with_the_familiar_by_definition(self):
        got = m.habits(self.pairs(), m.by(m.SCORES["no constitution"]))
        self.assertEqual((got.familiar, got.unfamiliar, got.agreement), (1.0, 0.0, 2 / 3))

    def test_what_is_as_usual_as_the_other_is_not_familiar(self):
        pair = (reading("ana", p=[-1.0] * 4), reading("kkk", p=[-1.0] * 4))
        got = m.habits([pair], lambda a, b: 1.0)
        self.assertEqual((got.familiar, got.unfamiliar), (0.5, 1.0))

    def test_nothing_asked_is_a_coin(self):
        self.assertEqual(m.habits([], m.person), m.Habits(0.5, 0.5, 0.5, 0.5))
        self.assertEqual(m.share([1.0, 0.0, 0.25, 0.25]), 0.375)

    def test_errors_are_those_of_the_score(self):
        good, bad = reading("ana", q=[-2.0]), reading("kkk", q=[-1.0])
        same = reading("ene", q=[-3.0])
        score = m.SCORES["AI, total"]
        pairs = [(good, bad), (bad, good), (good, same), (same, bad)]
        wanted = [[bad, good], [bad, good], [bad, same]]
        self.assertEqual(m.errors(pairs, score), wanted)
        self.assertEqual(m.errors(pairs, lambda y: -score(y)), [])
        self.assertEqual(m.errors(pairs, lambda y: 0.0), [])  # a tie is no error


class Alignment(unittest.TestCase):
    def test_dpo_loss_and_its_gradient(self):
        for w, rejected, beta in ((0.3, -0.9, 0.5), (-2.0, 1.0, 0.1), (50.0, -900.0, 1.0)):
            a, b = m.Value(w), m.Value(rejected)
            loss = m.dpo_loss(a, b, beta)
            loss.backward()
            margin = beta * (w - rejected)
            want = math.log1p(math.exp(-abs(margin))) + max(-margin, 0.0)
            self.assertAlmostEqual(loss.data, want, 12)
            for x, f in (
                (a, lambda x: m.dpo_loss(x, rejected, beta)),
                (b, lambda x: m.dpo_loss(w, x, beta)),
            ):
                self.assertAlmostEqual(x.grad, slope(f, x.data), 6)

    def test_against_trl(self):
        case = json.loads((ROOT / "tests/golden/dpo.json").read_text("utf-8"))
        d, heads, layers = case["sizes"]
        x, chosen, rejected = case["prompt"], case["chosen"], case["rejected"]
        alphabet = ["", *"abcde"]
        text = {"prompt": m.decode(x, alphabet), "chosen": m.decode(chosen, alphabet)}
        text["rejected"] = m.decode(rejected, alphabet)
        with patch.multiple(m, N_EMBD=d, N_HEAD=heads, N_LAYER=layers, BLOCK_SIZE=8):
            pair = m.prepare(text, case["reference"], alphabet)
            self.assertEqual((pair.prompt, pair.chosen, pair.rejected), (x, chosen, rejected))
            policy = m.unfreeze(case["weights"])
            loss = m.dpo_loss(*m.log_ratios(policy, pair), case["beta"])
            loss.backward()
        self.assertAlmostEqual(loss.data, case["loss"], 11)
        for name, matrix in policy.items():
            for row, want in zip(matrix, case["grads"][name]):
                for weight, g in zip(row, want):
                    self.assertAlmostEqual(weight.grad, g, 11)

    def test_log_prob_is_the_sum_of_the_tokens(self):
        net, x, y = model(), [0, 1, 2], [3, 1, 0]
        self.assertAlmostEqual(m.log_prob(net, x, y), sum(m.token_log_probs(net, x, y)), 12)

    def test_every_pair_is_drawn_once_before_any_is_drawn_again(self):
        net, drawn = model(), []
        texts = [{"prompt": "a", "chosen": c, "rejected": "b"} for c in ("a", "l", "al", "la")]
        pairs = [m.prepare(text, net, ALPHABET) for text in texts]

        def note(policy, pair, real=m.log_ratios):
            drawn.append(pair)
            return real(policy, pair)

        policy = m.unfreeze(net)
        with patch.object(m, "log_ratios", note):
            learn = m.preferences(policy, pairs, 0.5, random.Random(4))
            losses = [learn() for _ in range(4)]
        self.assertEqual(losses, [math.log(2)] * 4)
        self.assertEqual(sorted(drawn[:4]), sorted(pairs))
        self.assertEqual(sorted(drawn[4:]), sorted(pairs))
        other = m.unfreeze(net)
        for pair in drawn:
            (m.dpo_loss(*m.log_ratios(other, pair), 0.5) * (1 / m.BATCH)).backward()
        for a, b in zip(m.weights_of(policy), m.weights_of(other)):
            self.assertAlmostEqual(a.grad, b.grad, 12)

    def test_align_trains_a_copy_by_the_labels_it_is_given(self):
        w, calls = world(), []

        def spy(policy, pairs, beta, rng, real=m.preferences):
            calls.append((m.freeze(policy), pairs, beta, rng.random()))
            return real(policy, pairs, beta, rng)

        def watch(label, learn, optimizer, steps, lr, real=m.train):
            calls.append((label, steps, lr))
            return real(label, learn, optimizer, steps, lr)

        text = {"prompt": "a", "chosen": "l", "rejected": "b"}
        with patch.multiple(m, preferences=spy, train=watch, STEPS=20):
            policy = quietly(m.align, w, "x", [text])
        pair = m.prepare(text, w.reference, ALPHABET)
        draw = random.Random(w.seed).random()
        self.assertEqual(calls, [(w.reference, [pair], m.BETA, draw), ("x", 20, m.DPO_LR)])
        chosen, rejected = m.log_ratios(policy, pair)
        self.assertGreater(chosen - rejected, 0.5)
        self.assertEqual(w.reference, world().reference)


def verdict(gold, length=5.0):
    return m.Verdict(
        gold=gold, gold_se=0.01, kl=0.0, variety=1.0, length=length, unfinished=0.0, names=["a"]
    )


class Experiment(unittest.TestCase):
    def test_claims_compare_what_they_say(self):
        rows = {
            "person": (0.9, 0.5, 0.92, 0.85),
            "AI, total": (0.7, 0.8, 0.8, 0.5),
            "AI, per token": (0.78, 0.6, 0.93, 0.45),
            "AI, ratio": (0.77, 0.61, 0.8, 0.7),
            "no constitution": (0.69, 0.55, 1.0, 0.0),
        }
        habits = {name: m.Habits(*row) for name, row in rows.items()}
        self.assertEqual(list(rows)[1:], list(m.SCORES))
        golds = dict(zip(rows, (0.8, 0.7, 0.75, 0.74, 0.72)), reference=0.6)
        verdicts = {name: verdict(g) for name, g in golds.items()}
        verdicts["AI, total"] = verdict(0.7, length=3.0)
        got = [round(measured, 9) for _, measured, _, _ in m.claims_of(habits, verdicts)]
        self.assertEqual(got, [0.12, 0.09, 0.2, 0.41, 0.25, -0.05, 0.12, 0.6])

    def run_it(self):
        """A run with a fake judge: (labels by policy, pairs measured by each, who is judged)."""
        trained, measured, judged = {}, [], []

        def fake_world(seed, names):
            self.assertEqual((seed, names), (1, "file"))
            return world()

        def align(w, label, texts):
            trained[label] = texts
            return {"name": label}

        def habits(pairs, prefers):
            measured.append((pairs, prefers))
            return m.Habits(0.5, 0.5, 0.5, 0.5)

        def judge(policy, w):
            self.assertEqual(w, world())
            judged.append(policy)
            return verdict(0.5)

        fakes = {
            "check_settings": lambda: None,
            "make_world": fake_world,
            "align": align,
            "habits": habits,
            "judge": judge,
            "check_claims": lambda claims: 7,
        }
        with patch.multiple(m, **fakes):
            self.assertEqual(quietly(m.experiment, 1, "file"), 7)
        return trained, measured, judged

    def test_settings_are_checked_first(self):
        with patch.multiple(m, PAIRS=0, make_world=None):
            self.assertRaises(SystemExit, quietly, m.experiment, 1, None)

    def test_the_command_runs_the_experiment(self):
        with patch.object(m, "experiment", lambda seed, names: (seed, names)):
            self.assertEqual(m.main(["--seed", "7", "--names", "file"]), (7, "file"))

    def test_everybody_labels_the_same_comparisons(self):
        trained, measured, judged = self.run_it()
        self.assertEqual(list(trained), ["person", "AI, total", "AI, per token", "no constitution"])
        questions = [
            [(t["prompt"], {t["chosen"], t["rejected"]}) for t in texts]
            for texts in trained.values()
        ]
        for row in questions:
            self.assertEqual(row, questions[0])
            self.assertEqual(len(row), m.PAIRS)
        rng = random.Random(1)
        w = world()
        labeller = quietly(m.teach, w.reference, m.exemplary(NAMES), ALPHABET, rng)
        drawn = [m.compare(w.reference, NAMES, ALPHABET, rng) for _ in range(m.PAIRS + m.MEASURED)]
        self.assertEqual(judged, [w.reference, labeller, *({"name": n} for n in trained)])
        self.assertEqual(trained["person"], drawn[: m.PAIRS])
        pairs = [m.read_both(t, labeller, w.reference, ALPHABET) for t in drawn]
        for name in list(trained)[1:]:
            wanted = [m.label(pair, m.SCORES[name]) for pair in pairs[: m.PAIRS]]
            self.assertEqual(trained[name], wanted)
        # measured on others, each by its own preferences
        self.assertEqual(measured[0][1], m.person)
        for (got, prefers), score in zip(measured, [None, *m.SCORES.values()]):
            self.assertEqual(got, pairs[m.PAIRS :])
            for a, b in got if score else ():
                self.assertEqual(prefers(a, b), float(score(a) > score(b)))


if __name__ == "__main__":
    unittest.main()
