"""Sections 6 and 7 of microspo.py: the circle, win rates, self-play, DPO, and what is measured."""

import io
import itertools
import json
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import Mock, patch

import microspo as m
from microspo import Value
from tests.helpers import ROOT, slope

SMALL = {"N_EMBD": 4, "BLOCK_SIZE": 4, "GROUP": 3, "DPO_PAIRS": 3, "DPO_STEPS": 4, "STAGES": 2}
KEPT = {name: getattr(m, name) for name in SMALL}
ALPHABET = ["", "a", "b", "e"]
NAMES = ["ab", "ba", "aab", "bab", "be"]


def setUpModule():
    for name, value in SMALL.items():
        setattr(m, name, value)


def tearDownModule():
    for name, value in KEPT.items():
        setattr(m, name, value)


def world(seed=3):
    reference = m.init_model(len(ALPHABET), random.Random(seed))
    for row in reference["lm_head"]:
        row[:] = [8.0 * x for x in row]  # chances that differ
    return m.World(
        seed=seed, alphabet=ALPHABET, names=NAMES, reference=reference, prompts=["a", "b"]
    )


def quietly(f, *arguments):
    with redirect_stderr(io.StringIO()):
        return f(*arguments)


def golden(name):
    return json.loads((ROOT / f"tests/golden/{name}.json").read_text("utf-8"))


def names_of(a, other, e):
    return ["a"] * a + ["b"] * other + ["e"] * e


class Circle(unittest.TestCase):
    def test_classes(self):
        self.assertEqual([m.kind(n) for n in ("anna", "ann", "anne", "x", "")], [0, 1, 2, 1, 1])

    def test_each_class_is_ahead_of_the_next(self):
        for first, second in (("anna", "ann"), ("ann", "anne"), ("anne", "anna")):
            self.assertEqual(m.majority(first, second), 1.0)
            self.assertEqual(m.majority(second, first), 0.0)
            self.assertEqual(m.majority(first, first), 0.5)

    def test_it_is_the_majority_of_three_consistent_readers(self):
        readers = [("a", "other", "e"), ("other", "e", "a"), ("e", "a", "other")]
        for i, first in enumerate(m.CLASSES):
            for j, second in enumerate(m.CLASSES):
                if i != j:
                    votes = sum(r.index(first) < r.index(second) for r in readers)
                    self.assertEqual(votes >= 2, m.ahead(i, j) > 0.5)

    def test_the_plain_annotator_has_a_score(self):
        z = m.TASTE * (m.gold("lara") - m.gold("grk"))
        self.assertAlmostEqual(m.annotator("lara", "grk"), 1 / (1 + math.exp(-z)), 12)
        self.assertEqual(m.annotator("lara", "lara"), 0.5)

    def test_exploitability(self):
        self.assertAlmostEqual(m.exploitability([1 / 3] * 3), 0.5, 12)
        for k in range(3):
            pure = [float(i == k) for i in range(3)]
            self.assertEqual(m.exploitability(pure), 1.0)
            self.assertEqual(m.replies(pure).index(1.0), (k - 1) % 3)  # the one ahead of it
        # by hand: a half, other 0.3, e 0.2
        wins = [0.25 + 0.3, 0.15 + 0.2, 0.1 + 0.5]
        for got, want in zip(m.replies([0.5, 0.3, 0.2]), wins):
            self.assertAlmostEqual(got, want, 12)
        self.assertAlmostEqual(m.exploitability([0.5, 0.3, 0.2]), 0.6, 12)

    def test_a_mixture_draws_with_itself(self):
        p = [0.2, 0.7, 0.1]
        self.assertAlmostEqual(sum(x * w for x, w in zip(p, m.replies(p))), 0.5, 12)

    def test_shares(self):
        self.assertEqual(m.shares(names_of(1, 5, 2)), [0.125, 0.625, 0.25])
        self.assertEqual(m.shares(["e"]), [0.0, 0.0, 1.0])


class WinRates(unittest.TestCase):
    def test_every_two_are_compared_once(self):
        asked = []

        def oracle(first, second):
            asked.append((first, second))
            return 1.0 if first < second else 0.0

        got = m.win_rates(["c", "a", "b", "d"], oracle)
        for x, y in zip(got, [1 / 3, 1.0, 2 / 3, 0.0]):
            self.assertAlmostEqual(x, y, 12)
        self.assertEqual(sorted(map(sorted, asked)), sorted(map(list, m.combinations("abcd", 2))))

    def test_by_hand(self):
        # two in a, one other, one in e: a ties with a, beats other, loses to e
        for x, y in zip(m.win_rates(["a", "a", "b", "e"], m.majority), [0.5, 0.5, 1 / 3, 2 / 3]):
            self.assertAlmostEqual(x, y, 12)

    def test_the_mean_is_a_half_whatever_happens(self):
        for names in (["a"] * 5, ["a", "b", "e", "a", "b", "e", "b"]):
            for oracle in (m.majority, m.annotator):
                self.assertAlmostEqual(m.mean(m.win_rates(names, oracle)), 0.5, 12)


class Pull(unittest.TestCase):
    def test_k3_and_its_slope(self):
        for log_p, log_q in ((-1.0, -2.5), (-2.0, -0.3), (-0.7, -0.7)):
            ratio = math.exp(log_q - log_p)
            p = Value(log_p)
            value = m.k3(p, log_q)
            value.backward()
            self.assertAlmostEqual(value.data, ratio - math.log(ratio) - 1.0, 12)
            self.assertAlmostEqual(p.grad, 1.0 - ratio, 12)
            self.assertAlmostEqual(
                p.grad, slope(lambda x, q=log_q: m.k3(Value(x), q).data, log_p), 7
            )
            self.assertGreaterEqual(value.data, 0.0)

    def test_its_mean_is_one_kl_and_its_mean_gradient_that_of_the_other(self):
        rng = random.Random(4)
        z, y = ([rng.gauss(0, 1) for _ in range(5)] for _ in range(2))
        p, q = m.softmax(z), m.softmax(y)
        logits, mean = [Value(x) for x in z], 0.0
        for token in range(5):
            term = m.k3(-m.cross_entropy(logits, token), math.log(q[token])) * p[token]
            term.backward()
            mean += term.data
        self.assertAlmostEqual(mean, sum(a * math.log(a / b) for a, b in zip(p, q)), 12)
        for i, logit in enumerate(logits):

            def kl(x, i=i):
                return sum(
                    b * math.log(b / a) for a, b in zip(m.softmax([*z[:i], x, *z[i + 1 :]]), q)
                )

            self.assertAlmostEqual(logit.grad, slope(kl, z[i]), 8)

    def test_the_loss_by_hand(self):
        w = world()
        policy = m.init_model(len(ALPHABET), random.Random(8))
        answer = m.Answer(
            name="abb", prompt=[0, 1], tokens=[2, 2, 0], expected=[-1.0, -2.0, -0.5], advantage=0.3
        )
        log_probs = [-x for x in m.token_losses(policy, [0, 1, 2, 2, 0])[1:]]
        self.assertEqual(len(log_probs), 3)
        drift = sum(math.exp(q - p) - (q - p) - 1 for p, q in zip(log_probs, answer.expected))
        for beta in (0.0, 0.1, 2.0):
            loss = m.self_play_loss(m.unfreeze(policy), answer, beta)
            self.assertAlmostEqual(loss.data, -0.3 * sum(log_probs) + beta * drift, 12)
        self.assertEqual(w.reference["wte"], world().reference["wte"])

    def test_against_torch(self):
        for case in golden("spo"):
            count = len(case["tokens"])
            labels = [chr(97 + i) for i in range(count)]

            def oracle(first, second, beats=case["beats"]):
                return beats[ord(first) - 97][ord(second) - 97]

            rates = m.win_rates(labels, oracle)
            for rate, want in zip(rates, case["advantages"]):
                self.assertAlmostEqual(rate - 0.5, want, 12)
            rows = [[[Value(z) for z in row] for row in answer] for answer in case["logits"]]
            loss = 0.0
            for logits, tokens, expected, rate in zip(
                rows, case["tokens"], case["expected"], rates
            ):
                with patch.object(m, "token_losses", lambda model, text, z=logits: list(
                    map(m.cross_entropy, z, text[1:])
                )):  # fmt: skip
                    answer = m.Answer(
                        name="", prompt=[0], tokens=tokens, expected=expected, advantage=rate - 0.5
                    )
                    share = m.self_play_loss({}, answer, case["beta"]) / count
                    share.backward()
                    loss += share.data
            self.assertAlmostEqual(loss, case["loss"], 12)
            for answer, wanted in zip(rows, case["gradients"]):
                for row, line in zip(answer, wanted):
                    for z, g in zip(row, line):
                        self.assertAlmostEqual(z.grad, g, 12)


class Play(unittest.TestCase):
    def test_a_group_answers_one_prompt_and_is_compared_with_itself(self):
        w, seen = world(), []

        def rates(names, oracle):
            seen.append((names, oracle))
            return [0.25 * i for i in range(len(names))]

        policy = world(5).reference
        with patch.object(m, "win_rates", rates):
            group = m.write_group(policy, w, m.majority, random.Random(1))
        self.assertEqual(seen, [([a.name for a in group], m.majority)])
        self.assertEqual([a.advantage for a in group], [-0.5, -0.25, 0.0])
        for answer in group:
            self.assertEqual(answer.prompt, group[0].prompt)
            self.assertEqual(answer.prompt[0], m.EDGE)
            text = [*answer.prompt, *answer.tokens]
            self.assertEqual(answer.name, m.decode(text, ALPHABET))
            wanted = [-x for x in m.token_losses(w.reference, text)[len(answer.prompt) - 1 :]]
            self.assertEqual(answer.expected, wanted)
            self.assertEqual(len(answer.expected), len(answer.tokens))

    def played(self, beta, rounds):
        """The optimizers' steps, the groups, the weights after each step, and the result."""
        steps, groups, after, writers = [], [], [], []

        class Spy(m.Adam):
            def step(self, lr):
                steps.append(([p.grad for p in self.values], lr, self.b1))
                super().step(lr)
                after.append([p.data for p in self.values])

        original = m.write_group

        def spy(policy, *arguments):
            writers.append(m.weights_of(policy))
            groups.append(original(policy, *arguments))
            return groups[-1]

        with patch.multiple(m, Adam=Spy, write_group=spy):
            play = quietly(m.self_play, world(), "x", m.majority, beta, rounds)
        return steps, groups, after, writers, play

    def test_an_update_is_the_mean_over_the_group(self):
        for beta in (0.0, 0.5):
            steps, groups, _, _, play = self.played(beta, 2)
            policy = m.unfreeze(world().reference)
            for answer in groups[0]:
                (m.self_play_loss(policy, answer, beta) / m.GROUP).backward()
            gradients, lr, b1 = steps[0]
            self.assertEqual((lr, b1), (m.LR, 0.0))
            self.assertAlmostEqual(steps[1][1], m.LR / 2, 12)
            for got, w in zip(gradients, m.weights_of(policy)):
                self.assertAlmostEqual(got, w.grad, 12)
            self.assertEqual(play.rounds, [[a.name for a in group] for group in groups])

    def test_the_loss_shown_is_that_of_the_round(self):
        shown = []
        with patch.object(m, "progress", lambda label, done, of, loss, _: shown.append(loss)):
            _, groups, _, writers, _ = self.played(0.5, 2)
        for loss, group, weights in zip(shown, groups, writers, strict=True):
            rest = iter(weights)
            policy = {
                name: [[Value(next(rest)) for _ in row] for row in rows]
                for name, rows in world().reference.items()
            }
            losses = [m.self_play_loss(policy, answer, 0.5).data for answer in group]
            self.assertAlmostEqual(loss, m.mean(losses), 12)

    def test_present_policies_play_and_the_second_half_is_averaged(self):
        _, groups, after, writers, play = self.played(0.1, 5)
        self.assertEqual(len(groups), 5)
        self.assertEqual(writers[0], m.weights_of(world().reference))
        self.assertEqual(writers[1:], after[:-1])
        self.assertNotEqual(writers[0], writers[1])
        for got, *late in zip(m.weights_of(play.policy), *after[2:]):
            self.assertAlmostEqual(got, sum(late) / 3, 12)

    def test_average(self):
        one, two = {"w": [[1.0, 2.0], [3.0, 4.0]]}, {"w": [[3.0, 2.0], [0.0, 8.0]]}
        self.assertEqual(m.average([one, two]), {"w": [[2.0, 2.0], [1.5, 6.0]]})
        self.assertEqual(m.average([two]), two)

    def test_it_raises_what_is_preferred(self):
        def likes_e(first, second):
            return 0.5 + 0.5 * ((first[-1:] == "e") - (second[-1:] == "e"))

        with patch.multiple(m, GROUP=6, LR=0.03):
            play = quietly(m.self_play, world(), "x", likes_e, 0.0, 40)
        first, last = (
            m.shares([name for names in part for name in names])[2]
            for part in (play.rounds[:5], play.rounds[-5:])
        )
        self.assertGreater(last, first + 0.3)


class Dpo(unittest.TestCase):
    def test_against_trl(self):
        case = golden("dpo")
        d, heads, layers = case["sizes"]
        model, reference = case["weights"], case["reference"]
        with patch.multiple(
            m, N_EMBD=d, N_HEAD=heads, N_LAYER=layers, BLOCK_SIZE=99, DPO_BETA=case["beta"]
        ):
            x, y_w, y_l = case["prompt"], case["chosen"], case["rejected"]
            pair = m.Pair(
                prompt=x, chosen=y_w, rejected=y_l,
                ref_chosen=sum(m.token_log_probs(reference, x, y_w)),
                ref_rejected=sum(m.token_log_probs(reference, x, y_l)),
            )  # fmt: skip
            policy = m.unfreeze(model)
            loss = m.pair_loss(policy, pair)
            self.assertAlmostEqual(loss.data, case["loss"], 9)
            loss.backward()
        for name, rows in case["grads"].items():
            for row, line in zip(policy[name], rows):
                for w, g in zip(row, line):
                    self.assertAlmostEqual(w.grad, g, 9)

    def test_a_comparison_is_of_the_references_answers(self):
        w = world()
        for oracle in (lambda a, b: 1.0, lambda a, b: 0.0):
            rng = random.Random(6)
            prompt = m.draw_prompt(NAMES, rng)
            start = m.encode(prompt, ALPHABET)[:-1]
            texts = [m.sample(w.reference, start, rng) for _ in range(2)]
            pair = m.compare(w, oracle, random.Random(6))
            wanted = texts if oracle("", "") else texts[::-1]
            self.assertNotEqual(*texts)
            self.assertEqual([pair.prompt, pair.chosen, pair.rejected], [start, *wanted])
            for text, value in zip(wanted, (pair.ref_chosen, pair.ref_rejected)):
                losses = m.token_losses(w.reference, [*start, *text])[len(start) - 1 :]
                self.assertAlmostEqual(value, -sum(losses), 12)

    def test_the_oracle_sees_whole_names_and_has_to_prefer_one(self):
        asked = []
        w = world()

        def oracle(first, second):
            asked.append((first, second))
            return 0.5 if len(asked) % 3 else 1.0

        for seed in range(5):
            pair = m.compare(w, oracle, random.Random(seed))
            texts = ([*pair.prompt, *y] for y in (pair.chosen, pair.rejected))
            self.assertEqual(asked[-1], tuple(m.decode(text, ALPHABET) for text in texts))
        self.assertEqual(len(asked), 15)

    def test_it_gives_up_after_as_many_pairs_as_it_says(self):
        asked, errors = [], io.StringIO()
        with (
            patch.object(m, "sample", lambda *_: [m.EDGE]),
            redirect_stderr(errors),
            self.assertRaises(SystemExit),
        ):
            m.compare(world(), lambda *both: asked.append(both) or 0.5, random.Random(1))
        self.assertIn(f"of {len(asked):,} pairs", errors.getvalue())

    def test_a_preference_that_is_not_sure_is_drawn(self):
        w, rng, kept, count = world(), random.Random(7), 0, 0
        while count < 300:
            names = []
            pair = m.compare(w, lambda *both, names=names: names.extend(both) or 0.8, rng)
            if names[0] != names[1]:
                kept += m.decode([*pair.prompt, *pair.chosen], ALPHABET) == names[0]
                count += 1
        self.assertAlmostEqual(kept / 300, 0.8, delta=0.1)

    def test_every_pair_is_seen_once_and_the_policy_is_looked_at(self):
        seen, looks, rates = [], [], []
        original = m.pair_loss

        class Spy(m.Adam):
            def step(self, lr):
                rates.append(lr)
                super().step(lr)

        def spy(policy, pair):
            seen.append(pair)
            return original(policy, pair)

        with patch.multiple(m, pair_loss=spy, Adam=Spy, DPO_PAIRS=8, DPO_STEPS=4, STAGES=2):
            policy = quietly(m.dpo, world(), m.majority, lambda p: looks.append((len(seen), p)))
        self.assertEqual(len(seen), 8)
        self.assertEqual(len({id(pair) for pair in seen}), 8)
        self.assertEqual([n for n, _ in looks], [4, 8])
        self.assertEqual(looks[-1][1], policy)
        self.assertNotEqual(looks[0][1], policy)
        self.assertNotEqual(policy, world().reference)
        self.assertAlmostEqual(max(rates), m.DPO_LR, 12)

    def test_it_starts_from_a_loss_of_log_2(self):
        losses, train = [], m.train
        with patch.object(m, "train", lambda *a: losses.extend(train(*a))):
            quietly(m.dpo, world(), m.majority, lambda policy: None)
        self.assertAlmostEqual(losses[0], math.log(2.0), 12)


class Measures(unittest.TestCase):
    def test_stages_are_equal_parts_of_play(self):
        rounds = [names_of(1, 1, 0), names_of(0, 1, 1), names_of(2, 0, 0), names_of(1, 0, 1)]
        self.assertEqual(m.stages(rounds), [[0.25, 0.5, 0.25], [0.75, 0.0, 0.25]])
        with patch.object(m, "STAGES", 4):
            self.assertEqual(m.stages(rounds), [m.shares(names) for names in rounds])

    def test_dpos_path(self):
        policies = [world(s).reference for s in (5, 6)]

        def fake(w, oracle, look):
            for policy in policies:
                look(policy)
            return oracle

        with patch.multiple(m, dpo=fake, LOOK_NAMES=40):
            got, path = m.dpo_path(world(), m.majority)
        self.assertIs(got, m.majority)
        rng = random.Random(3)
        for policy, mixture in zip(policies, path):
            names = []
            for _ in range(40):
                prompt = rng.choice(["a", "b"])
                start = m.encode(prompt, ALPHABET)[:-1]
                names.append(prompt + m.decode(m.sample(policy, start, rng), ALPHABET))
            self.assertEqual(mixture, m.shares(names))

    def test_corners(self):
        self.assertEqual(m.corner([1.0, 0.0, 0.0]), (1.0, 0.0))
        self.assertEqual(m.corner([0.0, 1.0, 0.0]), (0.0, 0.0))
        self.assertEqual(m.corner([0.0, 0.0, 1.0]), (0.5, 1.0))

    def test_the_table_names_the_best_reply(self):
        verdict = m.Verdict(
            gold=0.5, gold_se=0.01, kl=1.25, variety=1.0, length=1.0, unfinished=0.0, names=["a"]
        )
        out = io.StringIO()
        with redirect_stdout(out):
            m.show_mixtures({"x": verdict}, {"x": [0.6, 0.3, 0.1]})
        row = next(line for line in out.getvalue().splitlines() if line.startswith("  x "))
        self.assertEqual(row.split(), ["x", "0.60", "0.30", "0.10", "e", "0.650", "1.25"])

    def test_names_of_all_classes(self):
        m.check_classes(["anna", "ann", "anne"])
        for names, words in ((["ann", "anne"], "in a:"), (["anna", "ann"], "in e:"),
                             (["anna", "anne"], "other than a and e")):  # fmt: skip
            errors = io.StringIO()
            with redirect_stderr(errors), self.assertRaises(SystemExit) as end:
                m.check_classes(names)
            self.assertEqual(end.exception.code, 2)
            self.assertIn(words, errors.getvalue())


class Experiment(unittest.TestCase):
    def test_settings_are_checked_first(self):
        with patch.multiple(m, GROUP=1, read_names=None):
            self.assertRaises(SystemExit, quietly, m.experiment, 1, None)

    def test_names_that_fit_the_context_are_of_all_classes(self):
        """In a context of 4 tokens names have up to 3 letters."""
        names = ["bba", *("".join(x) + "d" for x in itertools.product("bcdfg", repeat=2))]
        for last, reached in (("bbe", True), ("bbbe", False)):
            errors, made = io.StringIO(), Mock(side_effect=SystemExit)
            with (
                patch.multiple(m, NAMES=[*names, last], make_world=made),
                redirect_stderr(errors),
                self.assertRaises(SystemExit),
            ):
                m.experiment(1, None)
            self.assertEqual((made.called, "in e:" in errors.getvalue()), (reached, not reached))

    def test_the_command_runs_the_experiment(self):
        with patch.object(m, "experiment", lambda seed, names: (seed, names)):
            self.assertEqual(m.main(["--seed", "7", "--names", "file"]), (7, "file"))

    def test_claims_compare_what_they_say(self):
        mixtures = {
            "reference": names_of(3, 6, 1),
            "DPO": names_of(9, 1, 0),
            "without": names_of(8, 1, 1),
            "play": names_of(4, 3, 3),
        }
        golds = {"reference": 0.6, "plain": 0.85, "DPO": 0.1, "without": 0.2, "play": 0.3}
        calls, seen = [], []

        def fake_world(seed, names):
            self.assertEqual((seed, names), (1, "file"))
            return world()._replace(reference={"name": "reference"})

        def fake_play(world, label, oracle, beta, rounds):
            self.assertIsInstance(world, m.World)
            calls.append((oracle, beta, rounds))
            name = "plain" if oracle is m.annotator else "play" if beta else "without"
            early, late = ["a"], {"play": ["a", "b", "e"], "without": ["a", "a", "b", "e"]}
            written = [early] * 2 + [late.get(name, ["a"])] * 2
            return m.Play(policy={"name": name}, rounds=written)

        def fake_judge(policy, world):
            name = policy["name"]
            return m.Verdict(
                gold=golds[name], gold_se=0.01, kl=0.0, variety=1.0, length=1.0,
                unfinished=0.0, names=mixtures.get(name, ["a"]),
            )  # fmt: skip

        fakes = {
            "check_settings": lambda: None,
            "check_classes": lambda names: None,
            "read_names": lambda path, longest: [],
            "make_world": fake_world,
            "self_play": fake_play,
            "dpo_path": lambda w, oracle: calls.append(oracle) or ({"name": "DPO"}, [[1.0, 0, 0]]),
            "judge": fake_judge,
            "check_claims": lambda claims: seen.extend(claims) or 7,
        }
        with patch.multiple(m, **fakes), redirect_stdout(io.StringIO()):
            self.assertEqual(m.experiment(1, "file"), 7)
        circle = [(m.majority, m.BETA, m.ROUNDS), (m.majority, 0.0, m.ROUNDS), m.majority]
        self.assertEqual(calls, [*circle, (m.annotator, m.BETA, m.PLAIN_ROUNDS)])
        # the best reply: to 4 3 3, e with 0.55; to 3 6 1, a with 0.75; to 9 1 0, e with 0.9
        got = [round(measured, 9) for _, measured, _, _ in seen]
        self.assertEqual(got, [0.55, 0.2, 0.35, 0.25])


if __name__ == "__main__":
    unittest.main()
