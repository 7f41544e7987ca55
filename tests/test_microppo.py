"""Sections 6 and 7 of microppo.py: hand-written gradients, GAE, the clipped losses, the loop."""

import io
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
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

    def test_new_weights_are_drawn_around_zero(self):
        with patch.object(m, "HIDDEN", 400):
            net = m.new_reward_model(3, self.rng)
        rows = {"left": 3, "right": 3, "bias": 1, "out": 1}
        self.assertEqual({k: len(v) for k, v in net.items()}, rows)
        for weights, grads in m.arrays_of(net):
            self.assertEqual(grads, [0.0] * 400)
            self.assertLess(abs(m.mean(weights)), m.NET_STD / 5)
            self.assertLess(abs(math.sqrt(m.variance(weights)) / m.NET_STD - 1), 0.15)

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

    def test_there_is_a_row_for_every_token_and_every_length(self):
        rows = {"mix": m.HIDDEN, "last": len(ALPHABET), "size": m.BLOCK_SIZE + 1}
        self.assertEqual({k: len(v) for k, v in self.net.items()}, {**rows, "out": 1, "shift": 1})
        full = [1] * m.BLOCK_SIZE  # an answer that has filled the context
        states = self.states([0], full)
        self.assertEqual(states[-1].length, m.BLOCK_SIZE)
        self.assertEqual(len({m.value_of(self.net, s) for s in states}), len(full))
        self.assertEqual(self.net["shift"][0].w, [0.0])  # so a new critic's forecasts are about 0

    def test_gradient_of_the_forecasts_loss(self):
        with patch.multiple(m, HIDDEN=3, MINIBATCH=4, BLOCK_SIZE=5):
            model, net = (new(6, self.rng) for new in (m.new_reward_model, m.new_critic))
            answers = [
                [(s, 0.4 * i - 0.5) for i, s in enumerate(m.states_of(model, [0, a], [3, 4, 0]))]
                for a in (1, 2, 5)
            ]
            loss = m.forecasts(net, answers, random.Random(8))()
        drawn = random.Random(8).choices(answers, k=4)
        batch = [example for answer in drawn for example in answer]

        def f():
            return m.mean([(m.value_of(net, s) - x) ** 2 for s, x in batch]) / 2

        self.assertAlmostEqual(loss, f(), 12)
        check_array_gradients(self, net, f)

    def test_explained_variance(self):
        self.assertEqual(m.explained_variance([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), 1.0)
        self.assertEqual(m.explained_variance([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), 0.0)
        self.assertAlmostEqual(m.explained_variance([3.0, 2.0, 1.0], [1.0, 2.0, 3.0]), -3.0, 12)
        self.assertEqual(m.explained_variance([5.0, 6.0, 7.0], [1.0, 2.0, 3.0]), 1.0)
        self.assertEqual(m.explained_variance([4.0, 4.0], [3.0, 3.0]), 1.0)


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

    def test_the_loop_learns_from_every_answer_in_every_epoch(self):
        """What is handed to learn_from(), and how far the weights move."""
        settings = {"ROUNDS": 3, "ROLLOUTS": 5, "MINIBATCH": 2, "EPOCHS": 2}
        calls, written, shown, reported = [], [], [], []
        real = {name: getattr(m, name) for name in ("learn_from", "lessons_from", "report")}
        first_steps = []

        def lessons_from(rollouts, critic, kl_coef):
            written.append((rollouts, kl_coef, real["lessons_from"](rollouts, critic, kl_coef)))
            return written[-1][2]

        def learn_from(policy, critic, lessons):
            weights = [x.data for x in m.weights_of(policy)], [list(w) for w, _ in critic["out"]]
            calls.append((weights, lessons))
            if len(calls) == 2:
                first_steps.extend(abs(a - b) for a, b in zip(weights[0], calls[0][0][0]))
            return real["learn_from"](policy, critic, lessons)

        def report(lessons, updates, alphabet):
            reported.append((lessons, len(updates)))
            return real["report"](lessons, updates, alphabet)

        fakes = {"lessons_from": lessons_from, "learn_from": learn_from, "report": report}
        fakes["sample"] = lambda model, prompt, rng: [rng.choice((1, 2, 3)), 0]
        with patch.multiple(m, **settings, **fakes, progress=lambda *a: shown.append(a)):
            policy, rounds = m.ppo(self.world, 0.3)
        self.assertEqual([len(lessons) for _, lessons in calls], [2, 2, 1] * 6)
        starts = {tuple(m.encode(name[:n], ALPHABET)[:-1]) for name in self.world.names
                  for n in (1, 2)}  # fmt: skip
        orders = set()
        for i, (rollouts, kl_coef, lessons) in enumerate(written):
            self.assertEqual((len(rollouts), kl_coef), (5, 0.3))
            self.assertLessEqual({tuple(r.prompt) for r in rollouts}, starts)
            for epoch in (0, 1):
                part = calls[6 * i + 3 * epoch : 6 * i + 3 * epoch + 3]
                drawn = [id(lesson) for _, few in part for lesson in few]
                self.assertEqual(sorted(drawn), sorted(map(id, lessons)))
                orders.add(tuple(drawn))
            self.assertIs(reported[i][0], lessons)
            self.assertEqual(reported[i][1], 6)
        self.assertEqual(len(orders), 6)  # shuffled anew for each epoch
        # Adam's first step is the learning rate, for every weight with a gradient
        moved = [x for x in first_steps if x > 1e-6]
        self.assertAlmostEqual(max(moved), m.POLICY_LR, 5)
        critics = [weights[1][0] for weights, _ in calls[:2]]
        self.assertAlmostEqual(max(abs(a - b) for a, b in zip(*critics)), m.CRITIC_LR, 5)
        self.assertEqual([a[1:3] for a in shown], [(1, 3), (2, 3), (3, 3)])
        for (*_, loss, seconds), r in zip(shown, rounds):
            self.assertEqual(loss, r.policy_loss)
            self.assertTrue(0.0 <= seconds < 60.0)

    def test_report_of_a_round(self):
        def lesson(answer, score, kls, log_probs, values, targets):
            rollout = m.Rollout([0, 1], answer, log_probs, kls, score, [])
            return m.Lesson(rollout, values, [9.0] * len(answer), targets)

        one = lesson([2, 0], 0.5, [0.1, 0.3], [-1.0, -2.0], [1.0, 2.0], [1.5, 2.0])
        two = lesson([1, 1, 0], -1.0, [0.0, 0.2, -0.6], [-0.5, -3.0, -1.0], [0.0] * 3, [1.0] * 3)
        ratios = [1.0, 1.125], [1.25, 0.8], [0.5, 1.1, 2.0]
        updates = [m.Update(0.25 * i, 1.0 + i, row) for i, row in enumerate(ratios)]
        with patch.object(m, "CLIP", 0.25):
            r = m.report([one, two], updates, ALPHABET)
            alone = m.report([one, two], updates[:1], ALPHABET)
        golds = [m.gold("ab"), m.gold("aaa")]
        self.assertEqual((r.golds, r.gold), (golds, m.mean(golds)))
        self.assertEqual((r.proxy, r.entropy), (-0.25, 1.5))
        self.assertAlmostEqual(r.kl, 0.0, 12)  # 0.4 in one answer, -0.4 in the other
        # 0.5 and 2.0 are beyond the clip; 1.25 is at it, and 1.125 was in the first update
        self.assertEqual((r.clipped, r.low, r.high, r.first), (0.4, 0.5, 2.0, 0.125))
        self.assertEqual((r.policy_loss, r.value_loss), (0.25, 2.0))
        want = m.explained_variance([1.0, 2.0, 0.0, 0.0, 0.0], [1.5, 2.0, 1.0, 1.0, 1.0])
        self.assertEqual(r.explained, want)
        # with one update a round there are no later ratios
        self.assertEqual((alone.clipped, alone.low, alone.high), (0.0, 1.0, 1.0))

    def test_judging_completes_every_prompt_once(self):
        prompts = ["a", "de", "f", "a"] * 3
        verdict, rng = m.judge(self.policy, self.world, prompts), random.Random(self.world.seed)
        want = [
            m.roll_out(self.policy, self.reference, self.proxy, m.encode(p, ALPHABET)[:-1], rng)
            for p in prompts
        ]
        names = [m.decode([*r.prompt, *r.answer], ALPHABET) for r in want]
        golds = [m.gold(name) for name in names]
        self.assertEqual(verdict.names, names)
        for name, p in zip(names, prompts):
            self.assertTrue(name.startswith(p))
        self.assertAlmostEqual(verdict.proxy, m.mean([r.score for r in want]), 12)
        self.assertAlmostEqual(verdict.kl, m.mean([sum(r.kls) for r in want]), 12)
        self.assertEqual((verdict.gold, verdict.gold_se), (m.mean(golds), m.standard_error(golds)))
        self.assertEqual(verdict.repeats, m.mean([m.repeats(name) for name in names]))
        self.assertEqual(verdict.length, m.mean(list(map(len, names))))
        self.assertEqual(verdict.unfinished, m.mean([0 not in r.answer for r in want]))

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
        self.assertAlmostEqual(m.best_stretch(rounds[:4])[0], 0.7, 12)  # the last three
        self.assertAlmostEqual(m.best_stretch(rounds[:1])[0], 0.1, 12)


class Preparation(unittest.TestCase):
    """The reward model and the critic before the loop, with fake answers and no training."""

    TEXTS = [("a", "ba", "bb"), ("c", "ad", "da"), ("ab", "a", "cc"), ("e", "fe", "ga"),
             ("d", "ed", "gd"), ("f", "b", "g")]  # fmt: skip

    def compare(self, reference, names, alphabet, rng):
        self.assertEqual((reference, names, alphabet), ("reference", ["abc"], ALPHABET))
        self.asked += 1
        return dict(zip(("prompt", "chosen", "rejected"), self.TEXTS[self.asked % 6]))

    def train_reward_model(self, reward):
        """With a given reward(name); (accuracy, limit, what there was to learn from)."""
        self.asked, self.learnt = 0, []
        fakes = {
            "compare": self.compare,
            "reward": lambda net, tokens: reward(m.decode(tokens, ALPHABET)),
            "comparisons": lambda net, pairs, rng: self.learnt.extend(pairs),
            "split": lambda items, rng, n: (items[n:], items[:n]),
            "train": lambda *a: [0.0],
        }
        with patch.multiple(m, PAIRS=12, HELD_OUT=5, TASTE=1.3, **fakes):
            with redirect_stdout(io.StringIO()):
                found = m.train_reward_model("reference", ["abc"], ALPHABET, random.Random(1))
            rows = [self.TEXTS[i % 6] for i in range(1, 13)]
            self.chances = [m.first_wins(p + a, p + b) for p, a, b in rows[:5]]
        self.rows = [tuple(m.encode(p + answer, ALPHABET) for answer in (a, b)) for p, a, b in rows]
        return found[1:]

    def test_the_reward_model_learns_all_but_the_held_out_comparisons(self):
        self.train_reward_model(len)
        self.assertEqual(self.learnt, self.rows[5:])

    def test_accuracy_is_judged_by_a_noisy_annotator(self):
        accuracy, limit = self.train_reward_model(m.gold)
        self.assertAlmostEqual(limit, m.mean([max(c, 1 - c) for c in self.chances]), 12)
        self.assertAlmostEqual(accuracy, limit, 12)  # who knows the gold score
        self.assertTrue(0.5 < limit < 1.0)
        accuracy, _ = self.train_reward_model(lambda name: -m.gold(name))
        self.assertAlmostEqual(accuracy, 1 - limit, 12)
        # one who sees no difference does not agree with the choice
        accuracy, _ = self.train_reward_model(lambda name: 0.0)
        self.assertAlmostEqual(accuracy, 1 - m.mean(self.chances), 12)

    def prepare_critic(self, reward=None):
        rng, learnt = random.Random(2), []
        model, net = m.init_model(len(ALPHABET), rng), m.new_reward_model(len(ALPHABET), rng)
        self.drawn = []
        real = m.sample

        def sample(reference, prompt, rng):
            self.drawn.append((prompt, real(reference, prompt, rng)))
            return self.drawn[-1][1]

        fakes = {
            "sample": sample,
            "forecasts": lambda critic, answers, rng: learnt.extend(answers),
            "split": lambda items, rng, n: (items[n:], items[:n]),
            "train": lambda *a: [0.0],
        }
        fakes |= {"reward": reward} if reward else {}
        with patch.multiple(m, CRITIC_ROLLOUTS=24, CRITIC_HELD_OUT=7, **fakes):
            with redirect_stdout(io.StringIO()):
                proxy, critic, explained = m.prepare_critic(
                    model, net, ["abc", "da"], ALPHABET, rng
                )
        return net, proxy, critic, explained, learnt

    def test_the_proxy_is_standardized_on_the_references_answers(self):
        net, proxy, *_ = self.prepare_critic()
        self.assertEqual(len(self.drawn), 24)
        self.assertEqual({tuple(p) for p, _ in self.drawn}, {(0, 1), (0, 1, 2), (0, 4), (0, 4, 1)})
        scores = [m.proxy_score(proxy, [*p, *answer]) for p, answer in self.drawn]
        self.assertAlmostEqual(m.mean(scores), 0.0, 12)
        self.assertAlmostEqual(m.variance(scores), 1.0, 12)
        self.assertIs(proxy.net, net)

    def test_scores_that_do_not_vary_are_not_scaled(self):
        _, proxy, _, _, learnt = self.prepare_critic(lambda net, tokens: 0.25)
        self.assertEqual((proxy.mean, proxy.std), (0.25, 1.0))
        self.assertEqual({x for answer in learnt for _, x in answer}, {0.0})

    def test_the_critic_is_to_foresee_the_discounted_score(self):
        net, proxy, critic, explained, learnt = self.prepare_critic()
        answers = []
        for prompt, answer in self.drawn:
            n, score = len(answer), m.proxy_score(proxy, [*prompt, *answer])
            later = [m.GAMMA**k * score for k in reversed(range(n))]
            answers.append(list(zip(m.states_of(net, prompt, answer), later)))
        self.assertEqual([s for a in learnt for s, _ in a], [s for a in answers[7:] for s, _ in a])
        for (_, got), (_, want) in zip(sum(learnt, []), sum(answers[7:], [])):
            self.assertAlmostEqual(got, want, 12)
        unseen = sum(answers[:7], [])
        values = [m.value_of(critic, s) for s, _ in unseen]
        self.assertAlmostEqual(explained, m.explained_variance(values, [x for _, x in unseen]), 12)


class Experiment(unittest.TestCase):
    def run_it(self):
        """A run with fakes for all that takes time: what was called with what, and the claims."""
        calls, claims = [], []
        golds = {"reference": (0.5, 0.03), "reined": (0.75, 0.04), "free": (0.1, 0.04)}
        proxies = {"reference": 0.0, "reined": 2.0, "free": 3.5}
        zeros = dict.fromkeys(m.Round._fields, 0.0)

        def noted(name, result):
            def fake(*a):
                calls.append((name, *a))
                return result

            return fake

        def ppo(world, kl_coef):
            calls.append(("ppo", world, kl_coef))
            name = "reined" if kl_coef else "free"
            clips = (0.25, 0.75) if kl_coef else (0.0, 0.0)
            firsts = (1e-12, 3e-12) if kl_coef else (2e-12, 5e-12)
            own = [{"clipped": c, "first": f} for c, f in zip(clips, firsts)]
            return name, [m.Round(**{**zeros, **more, "golds": [0.8, 0.9]}) for more in own]

        def judge(policy, world, prompts):
            calls.append(("judge", policy, world, prompts))
            mean, error = golds[policy]
            none = dict.fromkeys(("kl", "repeats", "length", "unfinished"), 0.0)
            return m.Verdict(proxy=proxies[policy], gold=mean, gold_se=error, names=["a"], **none)

        learnt, held_out = ["abc", "dea"], ["fz"]
        fakes = {
            "check_settings": noted("check_settings", None),
            "check_letters": noted("check_letters", None),
            "read_names": noted("read_names", "names"),
            "split": noted("split", (learnt, held_out)),
            "pretrain": noted("pretrain", "reference"),
            "mean_loss": noted("mean_loss", 1.0),
            "train_reward_model": noted("train_reward_model", ("net", 0.6, 0.8)),
            "prepare_critic": noted("prepare_critic", ("proxy", "critic", 0.4)),
            "ppo": ppo,
            "judge": judge,
            "show_goodhart": noted("show_goodhart", None),
            "check_claims": lambda rows: claims.extend(rows) or 7,
        }
        with patch.multiple(m, SAMPLES=9, **fakes), redirect_stdout(io.StringIO()):
            self.assertEqual(m.experiment(3, "file"), 7)
        return calls, claims

    def test_both_policies_have_the_same_start_seed_and_prompts(self):
        calls, _ = self.run_it()
        by_name = {}
        for name, *arguments in calls:
            by_name.setdefault(name, []).append(arguments)
        alphabet = ["", *"abcdefz"]  # of the held-out names, too
        self.assertEqual(by_name["check_settings"], [[]])
        self.assertEqual(by_name["check_letters"], [[alphabet]])
        self.assertEqual(by_name["read_names"], [["file", m.BLOCK_SIZE - 1]])  # and an EDGE fits in
        ((names, rng, count),) = by_name["split"]
        self.assertEqual((names, type(rng), count), ("names", random.Random, m.HELD_OUT_NAMES))
        self.assertEqual(by_name["pretrain"], [[["abc", "dea"], alphabet, rng]])
        self.assertEqual(by_name["mean_loss"], [["reference", ["fz"], alphabet]])
        start = ["reference", ["abc", "dea"], alphabet, rng]
        self.assertEqual(by_name["train_reward_model"], [start])
        self.assertEqual(by_name["prepare_critic"], [["reference", "net", *start[1:]]])
        world = m.World(3, alphabet, ["abc", "dea"], "reference", "proxy", "critic")
        self.assertEqual(by_name["ppo"], [[world, m.KL_COEF], [world, 0.0]])
        (first, second, third) = by_name["judge"]
        self.assertEqual([first[0], second[0], third[0]], ["reference", "reined", "free"])
        self.assertEqual(first[1:], second[1:])
        self.assertEqual(first[1:], third[1:])
        self.assertEqual((first[1], len(first[2])), (world, 9))
        self.assertEqual(set(first[2]), {"f", "fz"})

    def test_claims_compare_what_they_say(self):
        _, claims = self.run_it()
        best = math.hypot(m.standard_error([0.8, 0.9] * 2), 0.04)
        want = [0.75, 0.4, 5e-12, 0.5, 5.0, 0.65 / math.hypot(0.04, 0.04), 8.0, 0.75 / best, 1.5]
        self.assertEqual(len(claims), len(want))
        for (text, measured, _, _), x in zip(claims, want):
            self.assertAlmostEqual(measured / x, 1.0, 9, text)

    def test_the_command_line_starts_the_experiment(self):
        with patch.object(m, "experiment", lambda **a: (a == {"seed": 5, "names": "x"}) * 7):
            self.assertEqual(m.main(["--seed", "5", "--names", "x"]), 7)


if __name__ == "__main__":
    unittest.main()
