"""Sections 6 and 7 of microreinforce.py: the gradient, baselines, and how they are measured."""

import io
import itertools
import json
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microreinforce as m
from tests.helpers import ROOT, slope

SMALL = {"N_EMBD": 4, "BLOCK_SIZE": 4, "UPDATES": 3, "PROMPTS": 2, "GROUP": 3, "CLOUD": 2}
KEPT = {name: getattr(m, name) for name in SMALL}
ALPHABET = ["", "a", "b"]
NAMES = ["ab", "ba", "aab", "bab"]


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


class Baselines(unittest.TestCase):
    def test_leave_one_out(self):
        self.assertEqual(m.leave_one_out([1.0, 2.0, 6.0]), [4.0, 3.5, 1.5])
        rewards = [0.3, -1.0, 0.25, 0.7, 0.1]
        self.assertEqual(m.no_baseline(rewards), [0.0] * 5)
        # with their own reward in, advantages are (k - 1) / k of RLOO's
        for r, b in zip(rewards, m.leave_one_out(rewards)):
            self.assertAlmostEqual(r - m.mean(rewards), 4 / 5 * (r - b), 12)

    def test_leave_one_out_does_not_see_a_shift(self):
        rewards = [0.3, -1.0, 0.25]
        raised = [r + 1.0 for r in rewards]
        for r, b, s, c in zip(rewards, m.leave_one_out(rewards), raised, m.leave_one_out(raised)):
            self.assertAlmostEqual(r - b, s - c, 12)


def answers_to(policy, start):
    """Every answer up to the context's end, with its probability."""
    room = m.BLOCK_SIZE - len(start) + 1
    for n in range(1, room + 1):
        for letters in itertools.product((1, 2), repeat=n - 1):
            for last in (m.EDGE,) if n < room else (m.EDGE, 1, 2):
                tokens = [*letters, last]
                yield tokens, math.exp(sum(m.token_log_probs(policy, start, tokens)))


class Gradient(unittest.TestCase):
    def expected_reward(self, policy, start):
        return sum(
            p * m.gold(m.decode([*start, *tokens], ALPHABET))
            for tokens, p in answers_to(policy, start)
        )

    def exact(self, start, baseline):
        """sum_y pi(y) of the gradient of reinforce_loss(), over all answers."""
        reference = world().reference
        policy = m.unfreeze(reference)
        chances = 0.0
        for tokens, p in answers_to(reference, start):
            reward = m.gold(m.decode([*start, *tokens], ALPHABET))
            answer = m.Answer(prompt=start, tokens=tokens, reward=reward)
            (m.reinforce_loss(policy, answer, baseline) * p).backward()
            chances += p
        self.assertAlmostEqual(chances, 1.0, 12)
        return [w.grad for w in m.weights_of(policy)]

    def test_its_mean_is_the_gradient_of_the_expected_reward_whatever_the_baseline(self):
        model, start = world().reference, [0, 1]
        gradients = iter(zip(*(self.exact(start, baseline) for baseline in (0.0, 0.4, -3.0))))
        for name, matrix in model.items():
            for row in matrix:
                for i, w in enumerate(row):

                    def f(x, row=row, i=i):
                        kept, row[i] = row[i], x
                        y = self.expected_reward(model, start)
                        row[i] = kept
                        return y

                    under_each = next(gradients)
                    if i == 1:  # one column of each matrix will do
                        wanted = slope(f, w)
                        for g in under_each:
                            self.assertAlmostEqual(-g, wanted, 7, name)

    def test_the_loss_is_minus_advantage_times_log_probability(self):
        w = world()
        answer = m.Answer(prompt=[0, 1], tokens=[2, 2, 0], reward=0.7)
        loss = m.reinforce_loss(m.unfreeze(w.reference), answer, 0.2)
        log_prob = -sum(m.token_losses(w.reference, [0, 1, 2, 2, 0])[1:])
        self.assertAlmostEqual(loss.data, -0.5 * log_prob, 12)

    def test_against_torch(self):
        golden = json.loads((ROOT / "tests/golden/reinforce.json").read_text("utf-8"))
        for case in golden:
            rows = [[[m.Value(z) for z in row] for row in answer] for answer in case["logits"]]
            baselines = m.leave_one_out(case["rewards"])
            losses = []
            for logits, tokens, reward, b in zip(rows, case["tokens"], case["rewards"], baselines):
                with patch.object(m, "token_losses", lambda model, text, z=logits: list(
                    map(m.cross_entropy, z, text[1:])
                )):  # fmt: skip
                    answer = m.Answer(prompt=[0], tokens=tokens, reward=reward)
                    losses.append(m.reinforce_loss({}, answer, b) / len(rows))
            self.assertAlmostEqual(sum(loss.data for loss in losses), case["loss"], 12)
            for loss in losses:
                loss.backward()
            for answer, wanted in zip(rows, case["gradients"]):
                for row, line in zip(answer, wanted):
                    for z, g in zip(row, line):
                        self.assertAlmostEqual(z.grad, g, 12)
            for b, r, a in zip(baselines, case["rewards"], case["advantages"]):
                self.assertAlmostEqual(r - b, a, 12)


class Loop(unittest.TestCase):
    def test_a_group_answers_one_prompt_and_is_scored_as_a_whole(self):
        w = world()
        group = m.write_group(w.reference, NAMES, ALPHABET, random.Random(1))
        self.assertEqual(len(group), m.GROUP)
        for answer in group:
            self.assertEqual(answer.prompt, group[0].prompt)
            self.assertEqual(answer.prompt[0], m.EDGE)
            self.assertNotEqual(answer.prompt[-1], m.EDGE)
            name = m.decode([*answer.prompt, *answer.tokens], ALPHABET)
            self.assertEqual(answer.reward, m.gold(name))

    def one_update(self, baseline, *shift):
        """The gradients that reach the optimizer, and the answers, of one update."""
        seen, groups = [], []

        class Spy(m.Adam):
            def step(self, lr):
                seen.append(([p.grad for p in self.values], lr))
                super().step(lr)

        original = m.write_group

        def spy(*arguments):
            groups.append(original(*arguments))
            return groups[-1]

        with patch.multiple(m, Adam=Spy, write_group=spy, UPDATES=1):
            learnt = quietly(m.reinforce, world(), "x", baseline, 0.07, *shift)
        (gradients, lr), *rest = seen
        self.assertEqual((lr, rest, len(groups)), (0.07, [], m.PROMPTS))
        return gradients, groups, learnt

    def test_an_update_is_the_mean_over_all_answers(self):
        for baseline, *shift in ((m.no_baseline,), (m.no_baseline, 1.0), (m.leave_one_out, 1.0)):
            gradients, groups, learnt = self.one_update(baseline, *shift)
            policy = m.unfreeze(world().reference)
            every = [answer for group in groups for answer in group]
            for group in groups:
                rewards = [answer.reward + sum(shift) for answer in group]
                for answer, r, b in zip(group, rewards, baseline(rewards)):
                    log_prob = m.total(m.token_log_probs(policy, answer.prompt, answer.tokens))
                    (log_prob * ((b - r) / len(every))).backward()
            for got, w in zip(gradients, m.weights_of(policy)):
                self.assertAlmostEqual(got, w.grad, 12)
            self.assertAlmostEqual(learnt.curve[0], m.mean([a.reward for a in every]), 12)

    def test_answers_are_written_by_the_present_policy(self):
        writers = []
        original = m.write_group

        def spy(policy, *rest):
            writers.append(m.weights_of(policy)[:5])
            return original(policy, *rest)

        with patch.object(m, "write_group", spy):
            quietly(m.reinforce, world(), "x", m.leave_one_out, 0.01)
        self.assertEqual(len(writers), m.UPDATES * m.PROMPTS)
        self.assertEqual(writers[0], writers[1])
        self.assertNotEqual(writers[0], writers[2])
        self.assertEqual(writers[0], m.weights_of(world().reference)[:5])

    def test_it_raises_the_reward(self):
        with patch.multiple(m, UPDATES=30, PROMPTS=4, GROUP=4):
            learnt = quietly(m.reinforce, world(), "x", m.leave_one_out, 0.05)
        self.assertGreater(m.mean(learnt.curve[-5:]), m.mean(learnt.curve[:5]) + 0.2)


class Measures(unittest.TestCase):
    def test_scatter_is_the_trace_of_the_covariance(self):
        rows = [[1.0, 0.0], [3.0, 0.0], [2.0, 6.0]]
        self.assertAlmostEqual(m.scatter(rows), 1.0 + 12.0, 12)
        self.assertEqual(m.centre(rows), [2.0, 2.0])
        self.assertEqual(m.scaled(rows, [2.0, 0.0, -1.0]), [[2, 0], [0, 0], [-2, -6]])

    def test_pull_takes_groups_as_the_unit(self):
        with patch.object(m, "GROUP", 2):
            rows = [[3.0], [5.0], [7.0], [9.0]]  # groups 4 and 8: mean 6, variance 8
            self.assertAlmostEqual(m.pull(rows), 36.0 / (8.0 / 2), 12)

    def test_pull_is_about_one_where_the_mean_is_zero(self):
        rng = random.Random(2)
        with patch.object(m, "GROUP", 4):
            rows = [[rng.gauss(0, 1) for _ in range(200)] for _ in range(120)]
            self.assertAlmostEqual(m.pull(rows), 1.0, delta=0.3)

    def test_score_gradients_are_those_of_log_probabilities(self):
        w = world()
        answers = [
            m.Answer(prompt=[0, 1], tokens=[2, 0], reward=9.0),
            m.Answer(prompt=[0], tokens=[1, 0], reward=-9.0),
        ]
        rows = m.score_gradients(w.reference, answers)
        for row, answer in zip(rows, answers):
            policy = m.unfreeze(w.reference)
            m.total(m.token_log_probs(policy, answer.prompt, answer.tokens)).backward()
            self.assertEqual(row, [p.grad for p in m.weights_of(policy)])

    def test_every_baseline_is_measured_on_the_same_answers(self):
        w = world()
        rng = random.Random(w.seed)
        groups = [m.write_group(w.reference, NAMES, ALPHABET, rng) for _ in range(m.CLOUD)]
        every = [a for g in groups for a in g]
        rewards = [a.reward for a in every]
        scores = m.score_gradients(w.reference, every)
        clouds = m.measure_baselines(w)
        total = sum(rewards)
        others = [(total - r) / (len(rewards) - 1) for r in rewards]
        own = [(sum(x.reward for x in g) - a.reward) / (m.GROUP - 1) for g in groups for a in g]
        wanted = {
            "none": [0.0] * len(rewards),
            "mean of all others": others,
            "RLOO, of its group": own,
            "twice the mean": [2 * b for b in others],
        }
        self.assertEqual(list(clouds), list(wanted))
        for label, bs in wanted.items():
            gradients = [[(r - b) * x for x in s] for r, b, s in zip(rewards, bs, scores)]
            for got, row in zip(clouds[label].gradients, gradients):
                for x, y in zip(got, row):
                    self.assertAlmostEqual(x, y, 12)
            self.assertAlmostEqual(clouds[label].scatter, m.scatter(gradients), 9)
            self.assertAlmostEqual(
                clouds[label].pull, m.pull([[b * x for x in s] for b, s in zip(bs, scores)]), 9
            )

    def test_the_sum_over_tokens_vanishes(self):
        self.assertLess(m.sum_over_tokens(world()), 1e-12)

    def test_the_sum_over_tokens_is_of_gradients_times_chances(self):
        """With one token alone in the sum, nothing makes up for its gradient."""
        w, loss = world(), m.cross_entropy
        (row,) = m.score_gradients(w.reference, [m.Answer(prompt=[0], tokens=[1], reward=0.0)])
        chance = math.exp(m.token_log_probs(w.reference, [0], [1])[0])
        with patch.object(m, "cross_entropy", lambda z, token: loss(z, token) * (token == 1)):
            got = m.sum_over_tokens(w)
        self.assertAlmostEqual(got, chance * max(map(abs, row)), 12)
        self.assertGreater(got, 0.01)

    def test_widest_is_the_direction_of_most_scatter_at_right_angles(self):
        rng = random.Random(4)
        rows = [[rng.gauss(0, s) for s in (9.0, 3.0, 1.0)] for _ in range(60)]
        direction = m.widest(rows, [1.0, 0.0, 0.0])
        self.assertAlmostEqual(m.dot(direction, direction), 1.0, 9)
        self.assertAlmostEqual(direction[0], 0.0, 9)
        self.assertGreater(abs(direction[1]), 0.98)

    def test_variety(self):
        self.assertAlmostEqual(m.variety(["abc", "bcd", "cde", "def"]), 4.0, 12)
        self.assertAlmostEqual(m.variety(["abc"] * 9), 1.0, 12)
        self.assertAlmostEqual(m.variety(["abcd", "abc"]), 3 / (2 ** (2 / 3)), 12)
        self.assertEqual(m.variety(["a", ""]), 1.0)

    def test_late_gold_is_the_second_half(self):
        self.assertEqual(m.late_gold([9.0, 9.0, 1.0, 2.0]), 1.5)
        self.assertEqual(m.late_gold([9.0, 1.0, 3.0]), 2.0)
        self.assertEqual(m.late_gold([5.0]), 5.0)

    def test_judging(self):
        w = world()
        verdict = m.judge(w.reference, w)
        self.assertEqual(verdict.kl, 0.0)
        self.assertEqual([name[0] for name in verdict.names], w.prompts)
        self.assertAlmostEqual(verdict.gold, m.mean([m.gold(n) for n in verdict.names]), 12)
        other = world(4)._replace(reference=w.reference)
        policy = world(5).reference
        verdict, rng = m.judge(policy, other), random.Random(4)
        kls, ends = [], []
        for prompt in other.prompts:
            start = m.encode(prompt, ALPHABET)[:-1]
            tokens = m.sample(policy, start, rng)
            ends.append(tokens[-1] != m.EDGE)
            text = [*start, *tokens]
            kls.append(
                sum(m.token_losses(w.reference, text)[1:]) - sum(m.token_losses(policy, text)[1:])
            )
        self.assertAlmostEqual(verdict.kl, m.mean(kls), 12)
        self.assertAlmostEqual(verdict.unfinished, m.mean(ends), 12)
        self.assertAlmostEqual(verdict.length, m.mean([len(n) for n in verdict.names]), 12)


class Experiment(unittest.TestCase):
    def test_settings_are_checked_first(self):
        with patch.multiple(m, GROUP=1, make_world=None):
            self.assertRaises(SystemExit, quietly, m.experiment, 1, None)

    def test_the_command_runs_the_experiment(self):
        with patch.object(m, "experiment", lambda seed, names: (seed, names)):
            self.assertEqual(m.main(["--seed", "7", "--names", "file"]), (7, "file"))

    def test_claims_compare_what_they_say(self):
        scatters = {"none": 10.0, "mean of all others": 2.0, "RLOO, of its group": 4.0}
        scatters["twice the mean"] = 20.0
        pulls = dict(zip(scatters, (0.0, 0.5, 1.5, 9.0)))
        clouds = {
            k: m.Cloud(gradients=[[1.0]], scatter=s, pull=pulls[k]) for k, s in scatters.items()
        }
        golds = {"reference": 0.5, "none": 0.7, "raised": 0.65, "RLOO": 0.9}
        calls, seen, shown = [], [], {}

        def fake_world(seed, names):
            self.assertEqual((seed, names), (1, "file"))
            return world()._replace(reference={"name": "reference"})

        def fake_reinforce(world, label, baseline, lr, shift=0.0):
            self.assertIsInstance(world, m.World)
            calls.append((baseline, lr, shift))
            name = "RLOO" if baseline is m.leave_one_out else "raised" if shift else "none"
            return m.Learnt(policy={"name": name}, curve=[9.9, 9.9, golds[name], golds[name]])

        def fake_judge(policy, world):
            return m.Verdict(
                gold=golds[policy["name"]], gold_se=0.01, kl=0.0, variety=1.0, length=1.0,
                unfinished=0.0, names=["a"],
            )  # fmt: skip

        fakes = {
            "make_world": fake_world,
            "show_verdicts": shown.update,
            "measure_baselines": lambda w: clouds,
            "show_clouds": lambda c: None,
            "sum_over_tokens": lambda w: 0.0,
            "reinforce": fake_reinforce,
            "judge": fake_judge,
            "check_claims": lambda claims: seen.extend(claims) or 7,
        }
        with patch.multiple(m, **fakes), redirect_stdout(io.StringIO()):
            self.assertEqual(m.experiment(1, "file"), 7)
        self.assertEqual([v.gold for v in shown.values()], list(golds.values()))
        self.assertEqual(
            calls,
            [
                (m.no_baseline, m.LR, 0.0),
                (m.no_baseline, m.SHIFT_LR, m.SHIFT),
                (m.leave_one_out, m.LR, 0.0),
            ],
        )
        got = [round(measured, 9) for _, measured, _, _ in seen]
        self.assertEqual(got, [0.0, 0.2, 0.4, 10.0, 1.5, 0.25])


if __name__ == "__main__":
    unittest.main()
