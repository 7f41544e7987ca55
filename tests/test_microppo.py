"""Sections 6 and 7 of microppo.py: hand-written gradients, GAE, the clipped losses, the loop."""

import io
import math
import random
import unittest
from contextlib import redirect_stderr
from unittest.mock import patch

import microppo as m
from microppo import Value
from tests.helpers import slope

SIZES = {"N_EMBD": 6, "N_HEAD": 3}
KEPT = {name: getattr(m, name) for name in SIZES}
ALPHABET = ["", *"abcdefg"]
TEXT = [0, 3, 1, 4, 1, 5, 0]


def setUpModule():
    for name, value in SIZES.items():
        setattr(m, name, value)


def tearDownModule():
    for name, value in KEPT.items():
        setattr(m, name, value)


def check_array_gradients(case, net, f, places=7):
    """The gradients stored in a net against central differences of f()."""
    for name, arrays in net.items():
        for row, (weights, grads) in enumerate(arrays):
            for i in range(len(weights)):

                def g(x, weights=weights, i=i):
                    kept, weights[i] = weights[i], x
                    y = f()
                    weights[i] = kept
                    return y

                case.assertAlmostEqual(grads[i], slope(g, weights[i]), places, f"{name} {row} {i}")


class RewardModel(unittest.TestCase):
    def setUp(self):
        self.rng = random.Random(3)
        self.net = m.new_reward_model(len(ALPHABET), self.rng)

    def test_gradient_of_the_score(self):
        m.reward_backward(self.net, TEXT, -1.7)
        check_array_gradients(self, self.net, lambda: -1.7 * m.reward(self.net, TEXT))

    def test_gradient_of_the_comparison_loss(self):
        pairs = [(TEXT, [0, 2, 2, 6, 0]), ([0, 5, 0], [0, 1, 7, 0])]
        loss = m.comparisons(self.net, pairs, random.Random(8))()
        drawn = random.Random(8).choices(pairs, k=m.REWARD_BATCH)

        def f():
            margins = [m.reward(self.net, w) - m.reward(self.net, other) for w, other in drawn]
            return sum(math.log1p(math.exp(-x)) for x in margins) / len(drawn)

        self.assertAlmostEqual(loss, f(), 12)
        check_array_gradients(self, self.net, f)

    def test_it_learns_a_preference(self):
        pairs = [([0, a, b, 0], [0, b, a, 0]) for a in (1, 2, 3) for b in (4, 5, 6)]
        with redirect_stderr(io.StringIO()):
            learn = m.comparisons(self.net, pairs, self.rng)
            m.train("x", learn, m.Adam(arrays=m.arrays_of(self.net)), 40, 0.05)
        for better, worse in pairs:
            self.assertGreater(m.reward(self.net, better), m.reward(self.net, worse))

    def test_the_score_does_not_grow_with_length_alone(self):
        once, twice = [1, 2, 1], [1, 2, 1, 2, 1]
        self.assertAlmostEqual(m.reward(self.net, once), m.reward(self.net, twice), 12)


class Critic(unittest.TestCase):
    def setUp(self):
        self.rng = random.Random(5)
        self.reward_model = m.new_reward_model(len(ALPHABET), self.rng)
        self.net = m.new_critic(len(ALPHABET), self.rng)

    def states(self, prompt, answer):
        return m.states_of(self.reward_model, prompt, answer)

    def test_gradient(self):
        for state in self.states([0], TEXT[1:])[::2]:
            for _, grads in m.arrays_of(self.net):
                grads[:] = [0.0] * len(grads)
            m.critic_backward(self.net, state, 2.3)
            check_array_gradients(self, self.net, lambda s=state: 2.3 * m.value_of(self.net, s))

    def test_gradients_of_all_branches_of_the_value_loss(self):
        state = self.states([0, 2], [3, 4, 0])[1]
        value = m.value_of(self.net, state)
        c = m.VALUE_CLIP
        branches = set()
        for moved in (-3 * c, -0.5 * c, 0.0, 0.5 * c, 3 * c):
            for away in (-2.0, -0.7 * c, 0.7 * c, 2.0):
                old, target = value - moved, value - away
                for _, grads in m.arrays_of(self.net):
                    grads[:] = [0.0] * len(grads)
                loss, slope_ = m.value_loss(value, old, target)
                m.critic_backward(self.net, state, slope_)
                clipped = old + max(-c, min(c, moved))
                self.assertAlmostEqual(
                    loss, max((value - target) ** 2, (clipped - target) ** 2) / 2, 12
                )
                branches.add((abs(moved) > c, slope_ == 0.0))

                def f(old=old, target=target):
                    return m.value_loss(m.value_of(self.net, state), old, target)[0]

                check_array_gradients(self, self.net, f, 6)
        self.assertEqual(branches, {(False, False), (True, False), (True, True)})

    def test_value_does_not_depend_on_later_tokens(self):
        one = self.states([0, 2], [3, 4, 5, 1, 0])
        two = self.states([0, 2], [3, 4, 6, 6, 6, 0])
        values = [[m.value_of(self.net, s) for s in states] for states in (one, two)]
        self.assertEqual(values[0][:3], values[1][:3])  # before 3, before 4, before 5 or 6
        self.assertNotEqual(values[0][3], values[1][3])

    def test_there_is_a_state_for_every_token_of_the_answer(self):
        states = self.states([0, 2, 5], [3, 0])
        self.assertEqual([(s.last, s.length) for s in states], [(5, 3), (3, 4)])
        means = m.mean_of(m.features(self.reward_model, [0, 2, 5]))
        self.assertEqual(states[0].mean, means)
        self.assertEqual(self.states([0], [1, 0])[0].mean, [0.0] * m.HIDDEN)

    def test_explained_variance(self):
        self.assertEqual(m.explained_variance([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), 1.0)
        self.assertEqual(m.explained_variance([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), 0.0)
        self.assertLess(m.explained_variance([3.0, 2.0, 1.0], [1.0, 2.0, 3.0]), 0.0)


class Advantages(unittest.TestCase):
    REWARDS = [0.1, -0.4, 0.0, 2.0]
    VALUES = [0.5, 0.2, -0.3, 1.1]

    def test_against_the_sum(self):
        for gamma, lam in ((0.99, 0.95), (0.9, 0.3), (1.0, 1.0), (0.7, 0.0)):
            n = len(self.REWARDS)
            after = [*self.VALUES[1:], 0.0]
            deltas = [r + gamma * b - v for r, v, b in zip(self.REWARDS, self.VALUES, after)]
            want = [
                sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, n)) for t in range(n)
            ]
            for a, b in zip(m.gae(self.REWARDS, self.VALUES, gamma, lam), want):
                self.assertAlmostEqual(a, b, 12)

    def test_limits(self):
        gamma = 0.9
        one_step = m.gae(self.REWARDS, self.VALUES, gamma, 0.0)
        self.assertAlmostEqual(one_step[0], 0.1 + gamma * 0.2 - 0.5, 12)
        self.assertAlmostEqual(one_step[3], 2.0 - 1.1, 12)
        whole = m.gae(self.REWARDS, self.VALUES, gamma, 1.0)
        for t in range(4):
            discounted = sum(gamma ** (k - t) * self.REWARDS[k] for k in range(t, 4))
            self.assertAlmostEqual(whole[t], discounted - self.VALUES[t], 12)

    def test_normalize(self):
        batch = m.normalize([[1.0, 5.0], [-2.0, 0.0, 7.0]])
        self.assertEqual([len(row) for row in batch], [2, 3])
        flat = [x for row in batch for x in row]
        self.assertAlmostEqual(sum(flat), 0.0, 12)
        self.assertAlmostEqual(sum(x * x for x in flat) / 5, 1.0, 6)


class Surrogate(unittest.TestCase):
    def test_all_corners(self):
        """(ratio, advantage): loss and d(loss)/d(log pi), which is -ratio A where it counts."""
        for ratio, advantage, counts in (
            (1.0, 2.0, True),
            (1.1, 2.0, True),
            (1.5, 2.0, False),  # a good token, likely enough by now
            (0.5, 2.0, True),  # a good token gone the wrong way is called back
            (0.5, -2.0, False),  # a bad token, rare enough by now
            (1.5, -2.0, True),  # a bad token gone the wrong way is called back
            (0.9, -2.0, True),
        ):
            log_prob = Value(math.log(ratio) - 1.3)
            loss = m.surrogate_loss(log_prob, -1.3, advantage) + log_prob * 0.0
            loss.backward()
            clipped = min(max(ratio, 1 - m.CLIP), 1 + m.CLIP)
            self.assertAlmostEqual(loss.data, -min(ratio * advantage, clipped * advantage), 12)
            self.assertAlmostEqual(log_prob.grad, -ratio * advantage if counts else 0.0, 12)

            def f(x, advantage=advantage):
                return m.surrogate_loss(Value(x), -1.3, advantage).data

            self.assertAlmostEqual(log_prob.grad, slope(f, log_prob.data), 6)


class Loop(unittest.TestCase):
    def setUp(self):
        rng = random.Random(7)
        self.reference = m.init_model(len(ALPHABET), rng)
        net = m.new_reward_model(len(ALPHABET), rng)
        self.proxy = m.Proxy(net=net, mean=0.1, std=0.5)
        self.critic = m.new_critic(len(ALPHABET), rng)
        self.policy = m.init_model(len(ALPHABET), rng)
        self.world = m.World(
            seed=1,
            alphabet=ALPHABET,
            names=["abc", "dea"],
            reference=self.reference,
            proxy=self.proxy,
            critic=self.critic,
        )

    def roll_out(self, policy, prompt, seed):
        return m.roll_out(policy, self.reference, self.proxy, prompt, random.Random(seed))

    def lesson(self, rollout, advantages=None, targets=None):
        n = len(rollout.answer)
        values = [m.value_of(self.critic, s) for s in rollout.states]
        return m.Lesson(rollout, values, advantages or [0.0] * n, targets or [0.0] * n)

    def test_rollout_log_probs_equal_those_of_the_training_pass(self):
        rollout = self.roll_out(self.policy, [0, 2], 1)
        again = m.token_log_probs(m.unfreeze(self.policy), rollout.prompt, rollout.answer)
        self.assertEqual(len(again), len(rollout.answer))
        for a, b in zip(again, rollout.log_probs):
            self.assertAlmostEqual(a.data, b, 12)
        for xs in (rollout.kls, rollout.states):
            self.assertEqual(len(xs), len(rollout.answer))

    def test_log_probs_are_those_of_the_distribution_sampled_from(self):
        prompt, cache = [0, 2], m.new_cache()
        m.gpt(self.policy, 0, cache)
        chances = m.softmax(m.gpt(self.policy, 2, cache))
        for seed in range(9):
            rollout = self.roll_out(self.policy, prompt, seed)
            self.assertAlmostEqual(rollout.log_probs[0], math.log(chances[rollout.answer[0]]), 12)

    def test_identical_policies_have_no_kl(self):
        self.assertEqual(set(self.roll_out(self.reference, [0], 1).kls), {0.0})
        self.assertEqual(m.judge(self.reference, self.world, ["a", "b"]).kl, 0.0)

    def test_kl_is_the_log_ratio(self):
        rollout = self.roll_out(self.policy, [0, 2], 1)
        expected = m.token_log_probs(self.reference, rollout.prompt, rollout.answer)
        for kl, p, q in zip(rollout.kls, rollout.log_probs, expected):
            self.assertAlmostEqual(kl, p - q, 12)
        self.assertNotEqual(sum(rollout.kls), 0.0)

    def test_rewards_are_the_score_and_the_penalty_and_nothing_else(self):
        rollout = self.roll_out(self.policy, [0, 2], 1)
        rewards = m.rewards_of(rollout, 0.3)
        for r, kl in zip(rewards[:-1], rollout.kls):
            self.assertAlmostEqual(r, -0.3 * kl, 12)
        text = [*rollout.prompt, *rollout.answer]
        score = (m.reward(self.proxy.net, text) - 0.1) / 0.5
        self.assertAlmostEqual(rollout.score, score, 12)
        self.assertAlmostEqual(rewards[-1], score - 0.3 * rollout.kls[-1], 12)

    def test_lessons(self):
        rollouts = [self.roll_out(self.policy, [0, 2], seed) for seed in range(3)]
        lessons = m.lessons_from(rollouts, self.critic, 0.3)
        raw = []
        for rollout, lesson in zip(rollouts, lessons):
            values = [m.value_of(self.critic, s) for s in rollout.states]
            advantages = m.gae(m.rewards_of(rollout, 0.3), values, m.GAMMA, m.LAMBDA)
            self.assertEqual((lesson.rollout, lesson.values), (rollout, values))
            for target, a, v in zip(lesson.targets, advantages, values):
                self.assertAlmostEqual(target, a + v, 12)
            raw.append(advantages)
        for lesson, row in zip(lessons, m.normalize(raw)):
            self.assertEqual(lesson.advantages, row)
        flat = [a for lesson in lessons for a in lesson.advantages]
        self.assertAlmostEqual(m.mean(flat), 0.0, 12)
        self.assertAlmostEqual(m.variance(flat), 1.0, 5)

    def test_gradients_of_a_minibatch(self):
        """The policy's gradient of one minibatch, central differences; the end token is in it."""
        lessons = []
        for seed in range(2):
            rollout = self.roll_out(self.policy, [0, 2], seed)
            n = len(rollout.answer)
            lessons.append(self.lesson(rollout, [1.0 - 0.3 * t for t in range(n)], [0.2] * n))
        moved = {
            k: [[x + 0.05 * math.sin(i + j) for j, x in enumerate(row)] for i, row in enumerate(v)]
            for k, v in self.policy.items()
        }
        policy = m.unfreeze(moved)
        size = sum(len(lesson.rollout.answer) for lesson in lessons)
        update = m.learn_from(policy, self.critic, lessons)
        self.assertEqual(len(update.ratios), size)

        def f(x=None, matrix=None):
            if matrix is not None:
                kept, matrix[2][3] = matrix[2][3], x
            result = 0.0
            for r, _, advantages, _ in lessons:
                new = m.token_log_probs(moved, r.prompt, r.answer)
                for p, q, a in zip(new, r.log_probs, advantages):
                    ratio = math.exp(p - q)
                    result -= min(ratio * a, min(max(ratio, 0.8), 1.2) * a) / size
            if matrix is not None:
                matrix[2][3] = kept
            return result

        self.assertAlmostEqual(update.policy_loss, f(), 12)
        for name, matrix in moved.items():
            numeric = slope(lambda x, matrix=matrix: f(x, matrix), matrix[2][3])
            self.assertAlmostEqual(policy[name][2][3].grad, numeric, 6, name)

    def test_critic_gradient_of_a_minibatch(self):
        rollout = self.roll_out(self.policy, [0, 2], 1)
        n = len(rollout.answer)
        lesson = self.lesson(rollout, targets=[0.4 * t - 1.0 for t in range(n)])
        update = m.learn_from(m.unfreeze(self.policy), self.critic, [lesson])

        def f():
            values = [m.value_of(self.critic, s) for s in rollout.states]
            losses = map(m.value_loss, values, lesson.values, lesson.targets)
            return sum(loss for loss, _ in losses) / n

        self.assertAlmostEqual(update.value_loss, f(), 12)
        check_array_gradients(self, self.critic, f)

    def test_a_short_run(self):
        kept = {k: getattr(m, k) for k in ("ROUNDS", "ROLLOUTS", "MINIBATCH")}
        m.ROUNDS, m.ROLLOUTS, m.MINIBATCH = 3, 6, 3
        critic = [(list(w), list(g)) for w, g in m.arrays_of(self.critic)]
        try:
            with redirect_stderr(io.StringIO()):
                policy, rounds = m.ppo(self.world, 0.1)
        finally:
            for name, value in kept.items():
                setattr(m, name, value)
        self.assertEqual(len(rounds), 3)
        for r in rounds:
            self.assertLess(r.first, 1e-9)
            self.assertLess(r.low, 1.0)
            self.assertGreater(r.high, 1.0)
            self.assertEqual(len(r.golds), 6)
            self.assertAlmostEqual(r.gold, sum(r.golds) / 6, 12)
        self.assertEqual(rounds[0].kl, 0.0)
        self.assertNotEqual(policy, self.reference)
        self.assertTrue(all(type(x) is float for x in m.weights_of(policy)))
        # the critic that was handed in is not the one that learnt
        self.assertEqual(m.arrays_of(self.critic), critic)

    def test_unfinished_answers_are_counted(self):
        endless = {k: [list(row) for row in v] for k, v in self.policy.items()}
        with_end = m.judge(self.policy, self.world, ["a"] * 40)
        self.assertLess(with_end.unfinished, 0.6)
        with patch.object(m, "sample", lambda *_: [1] * 15):
            verdict = m.judge(endless, self.world, ["a"] * 4)
        self.assertEqual((verdict.unfinished, verdict.length), (1.0, 16.0))


class Measures(unittest.TestCase):
    def test_spreads(self):
        self.assertEqual(m.variance([1.0, 3.0]), 1.0)
        self.assertAlmostEqual(m.standard_error([1.0, 2.0, 3.0, 4.0]), math.sqrt(5 / 3 / 4), 12)
        self.assertAlmostEqual(m.lead((0.9, 0.03), (0.4, 0.04)), 10.0, 12)

    def test_best_stretch_is_three_rounds_in_a_row(self):
        zeros = dict.fromkeys(m.Round._fields, 0.0)
        rounds = [m.Round(**{**zeros, "golds": [g, g + 0.2]}) for g in (0.0, 0.9, 0.4, 0.5, 0.6)]
        mean, error = m.best_stretch(rounds)
        self.assertAlmostEqual(mean, 0.7, 12)
        self.assertAlmostEqual(error, m.standard_error([0.9, 1.1, 0.4, 0.6, 0.5, 0.7]), 12)
        self.assertAlmostEqual(m.best_stretch(rounds[:1])[0], 0.1, 12)


if __name__ == "__main__":
    unittest.main()
