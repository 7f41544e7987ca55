"""Section 7 of microppo.py: hand-written gradients, GAE, the clipped losses, the loop."""

import io
import math
import random
import unittest
from contextlib import redirect_stderr

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


class Clip(unittest.TestCase):
    def test_value_and_derivative_at_and_around_the_edges(self):
        for x, value, gradient in (
            (0.5, 0.8, 0.0),
            (0.8 - 1e-12, 0.8, 0.0),
            (0.8, 0.8, 1.0),
            (1.0, 1.0, 1.0),
            (1.2, 1.2, 1.0),
            (1.2 + 1e-12, 1.2, 0.0),
            (9.0, 1.2, 0.0),
        ):
            v = Value(x)
            y = v.clip(0.8, 1.2) + v * 0.0
            y.backward()
            self.assertEqual((y.data, v.grad), (value, gradient), x)


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
        self.assertEqual([(s.last, s.place) for s in states], [(5, 2), (3, 3)])
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
        self.judges = m.Judges(
            self.reference,
            m.new_reward_model(len(ALPHABET), rng),
            0.1,
            0.5,
            m.new_critic(len(ALPHABET), rng),
        )
        self.policy = m.init_model(len(ALPHABET), rng)

    def test_rollout_log_probs_equal_those_of_the_training_pass(self):
        rollout = m.roll_out(self.policy, self.judges, [0, 2], random.Random(1))
        again = m.token_log_probs(m.unfreeze(self.policy), rollout.prompt, rollout.answer)
        self.assertEqual(len(again), len(rollout.answer))
        for a, b in zip(again, rollout.log_probs):
            self.assertAlmostEqual(a.data, b, 12)
        for xs in (rollout.kl, rollout.states, rollout.values):
            self.assertEqual(len(xs), len(rollout.answer))

    def test_log_probs_are_those_of_the_distribution_sampled_from(self):
        prompt, cache = [0, 2], m.new_cache()
        m.gpt(self.policy, 0, cache)
        chances = m.softmax(m.gpt(self.policy, 2, cache))
        drawn = [m.roll_out(self.policy, self.judges, prompt, random.Random(i)) for i in range(9)]
        for rollout in drawn:
            self.assertAlmostEqual(rollout.log_probs[0], math.log(chances[rollout.answer[0]]), 12)

    def test_identical_policies_have_no_kl(self):
        rollout = m.roll_out(self.reference, self.judges, [0], random.Random(1))
        self.assertEqual(set(rollout.kl), {0.0})
        verdict = m.judge(self.reference, self.judges, ["a", "b"], ALPHABET, 2)
        self.assertEqual(verdict.kl, 0.0)

    def test_kl_is_the_log_ratio(self):
        rollout = m.roll_out(self.policy, self.judges, [0, 2], random.Random(1))
        expected = m.token_log_probs(self.reference, rollout.prompt, rollout.answer)
        for kl, p, q in zip(rollout.kl, rollout.log_probs, expected):
            self.assertAlmostEqual(kl, p - q, 12)
        self.assertNotEqual(sum(rollout.kl), 0.0)

    def test_variety_counts_equally_frequent_triples(self):
        self.assertAlmostEqual(m.variety(["abc", "abc"]), 1.0, 12)
        self.assertAlmostEqual(m.variety(["abcd", "xyz", "uvwx"]), 5.0, 12)
        self.assertAlmostEqual(m.variety(["ab", "a"]), 1.0, 12)  # no triples at all
        lopsided = m.variety(["aaaaaaaaaa", "abc"])  # 8 times aaa, once abc
        p = 1 / 9
        want = math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p))
        self.assertAlmostEqual(lopsided, want, 12)

    def test_rewards_are_the_score_and_the_penalty_and_nothing_else(self):
        rollout = m.roll_out(self.policy, self.judges, [0, 2], random.Random(1))
        rewards = m.rewards_of(rollout, 0.3)
        for r, kl in zip(rewards[:-1], rollout.kl):
            self.assertAlmostEqual(r, -0.3 * kl, 12)
        text = [*rollout.prompt, *rollout.answer]
        score = (m.reward(self.judges.reward_model, text) - 0.1) / 0.5
        self.assertAlmostEqual(rollout.score, score, 12)
        self.assertAlmostEqual(rewards[-1], score - 0.3 * rollout.kl[-1], 12)

    def test_gradients_of_a_minibatch(self):
        """The policy's gradient of one minibatch, central differences; the end token is in it."""
        parts = []
        for i in range(2):
            rollout = m.roll_out(self.policy, self.judges, [0, 2], random.Random(i))
            n = len(rollout.answer)
            parts.append((rollout, [1.0 - 0.3 * t for t in range(n)], [0.2] * n))
        moved = {
            k: [[x + 0.05 * math.sin(i + j) for j, x in enumerate(row)] for i, row in enumerate(v)]
            for k, v in self.policy.items()
        }
        policy = m.unfreeze(moved)
        size = sum(len(r.answer) for r, _, _ in parts)
        loss, _, ratios = m.learn_from(policy, self.judges.critic, parts)
        self.assertEqual(len(ratios), size)

        def f(x=None, matrix=None):
            if matrix is not None:
                kept, matrix[2][3] = matrix[2][3], x
            result = 0.0
            for r, advantages, _ in parts:
                new = m.token_log_probs(moved, r.prompt, r.answer)
                for p, q, a in zip(new, r.log_probs, advantages):
                    ratio = math.exp(p - q)
                    result -= min(ratio * a, min(max(ratio, 0.8), 1.2) * a) / size
            if matrix is not None:
                matrix[2][3] = kept
            return result

        self.assertAlmostEqual(loss, f(), 12)
        for name, matrix in moved.items():
            numeric = slope(lambda x, matrix=matrix: f(x, matrix), matrix[2][3])
            self.assertAlmostEqual(policy[name][2][3].grad, numeric, 6, name)

    def test_critic_gradient_of_a_minibatch(self):
        rollout = m.roll_out(self.policy, self.judges, [0, 2], random.Random(1))
        n = len(rollout.answer)
        targets = [0.4 * t - 1.0 for t in range(n)]
        critic = self.judges.critic
        m.learn_from(m.unfreeze(self.policy), critic, [(rollout, [0.0] * n, targets)])

        def f():
            values = [m.value_of(critic, s) for s in rollout.states]
            losses = map(m.value_loss, values, rollout.values, targets)
            return sum(loss for loss, _ in losses) / n

        check_array_gradients(self, critic, f)

    def test_a_short_run(self):
        kept = {k: getattr(m, k) for k in ("ITERATIONS", "ROLLOUTS", "MINIBATCH")}
        m.ITERATIONS, m.ROLLOUTS, m.MINIBATCH = 3, 6, 3
        critic = [(list(w), list(g)) for w, g in m.arrays_of(self.judges.critic)]
        try:
            with redirect_stderr(io.StringIO()):
                policy, reports = m.ppo(self.judges, ["abc", "dea"], ALPHABET, 0.1, 1)
        finally:
            for name, value in kept.items():
                setattr(m, name, value)
        self.assertEqual(len(reports), 3)
        for report in reports:
            self.assertLess(report["first"], 1e-9)
            self.assertLess(report["low"], 1.0)
            self.assertGreater(report["high"], 1.0)
        self.assertEqual(reports[0]["KL"], 0.0)
        self.assertNotEqual(policy, self.reference)
        self.assertTrue(all(type(x) is float for x in m.weights_of(policy)))
        # the critic that was handed in is not the one that learnt
        self.assertEqual(m.arrays_of(self.judges.critic), critic)


if __name__ == "__main__":
    unittest.main()
