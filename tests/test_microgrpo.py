"""Sections 6 and 7 of microgrpo.py: credit, the loss, the loop, and what is measured."""

import io
import json
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microgrpo as m
from microgrpo import Value
from tests.helpers import ROOT, slope

SMALL = {"N_EMBD": 4, "BLOCK_SIZE": 5, "ROUNDS": 2, "PROMPTS": 3, "GROUP": 3, "MINIBATCH": 4}
SMALL |= {"EPOCHS": 2, "CRITIC_ROLLOUTS": 20}
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
        seed=seed, alphabet=ALPHABET, names=NAMES, reference=reference, prompts=["a", "b"] * 4
    )


def quietly(f, *arguments, **named):
    with redirect_stderr(io.StringIO()):
        return f(*arguments, **named)


def rollout(answer=(2, 0), reward=0.0, log_probs=None, ref_log_probs=None):
    zeros = [0.0] * len(answer)
    return m.Rollout(
        prompt=[0, 1],
        answer=list(answer),
        log_probs=list(log_probs or zeros),
        ref_log_probs=list(ref_log_probs or zeros),
        reward=reward,
    )


class Answers(unittest.TestCase):
    def test_a_group_answers_one_prompt(self):
        w, policy = world(), world(5).reference
        groups = m.write(policy, w, 6, 4, random.Random(1))
        self.assertEqual([len(group) for group in groups], [4] * 6)
        self.assertGreater(len({tuple(group[0].prompt) for group in groups}), 1)
        for group in groups:
            for r in group:
                self.assertEqual(r.prompt, group[0].prompt)
                self.assertEqual((r.prompt[0], m.EDGE in r.prompt[1:]), (m.EDGE, False))
                text = [*r.prompt, *r.answer]
                for model, got in ((policy, r.log_probs), (w.reference, r.ref_log_probs)):
                    losses = m.token_losses(model, text)[len(r.prompt) - 1 :]
                    self.assertEqual(got, [-loss for loss in losses])
                    self.assertEqual(len(got), len(r.answer))
                self.assertEqual(r.reward, m.gold(m.decode(text, ALPHABET)))


class Credits(unittest.TestCase):
    def test_group_advantages(self):
        got = m.group_advantages([1.0, 2.0, 3.0, 6.0])  # mean 3, variance 14 / 4
        for a, d in zip(got, (-2.0, -1.0, 0.0, 3.0)):
            self.assertAlmostEqual(a, d / (math.sqrt(3.5) + 1e-4), 12)
        self.assertEqual(m.group_advantages([0.25] * 4), [0.0] * 4)
        self.assertEqual(m.undivided([1.0, 2.0, 6.0]), [-2.0, -1.0, 3.0])

    def test_neither_sees_a_shift_and_one_sees_no_scale(self):
        rewards = [0.3, -0.2, 0.7, 0.1]
        raised, wide = [r + 1.0 for r in rewards], [1000.0 * r for r in rewards]
        for f in (m.group_advantages, m.undivided):
            for a, b in zip(f(rewards), f(raised)):
                self.assertAlmostEqual(a, b, 12)
        for a, b in zip(m.group_advantages(rewards), m.group_advantages(wide)):
            self.assertAlmostEqual(a, b, 3)

    def test_every_token_gets_its_answers_advantage_in_its_own_group(self):
        groups = [
            [rollout((1, 2, 0), reward=1.0), rollout((0,), reward=3.0)],
            [rollout((2, 0), reward=9.0), rollout((0,), reward=9.5)],
        ]
        lessons = m.by_group(m.undivided)(groups)
        self.assertEqual([lesson.rollout for lesson in lessons], groups[0] + groups[1])
        wanted = [[-1.0] * 3, [1.0], [-0.25] * 2, [0.25]]
        self.assertEqual([lesson.advantages for lesson in lessons], wanted)


class Loss(unittest.TestCase):
    def test_all_corners_of_the_surrogate(self):
        """(ratio, advantage): loss and d(loss)/d(log pi), which is -ratio A where it counts."""
        for ratio, advantage, counts in (
            (1.0, 2.0, True),
            (1.1, 2.0, True),
            (1.5, 2.0, False),
            (0.5, 2.0, True),
            (0.5, -2.0, False),
            (1.5, -2.0, True),
            (0.9, -2.0, True),
        ):
            log_prob = Value(math.log(ratio) - 1.3)
            loss = m.surrogate_loss(log_prob, -1.3, advantage) + log_prob * 0.0
            loss.backward()
            clipped = min(max(ratio, 1 - m.CLIP), 1 + m.CLIP)
            self.assertAlmostEqual(loss.data, -min(ratio * advantage, clipped * advantage), 12)
            self.assertAlmostEqual(log_prob.grad, -ratio * advantage if counts else 0.0, 12)

    def test_drift(self):
        for p, q in ((-1.0, -1.0), (-0.5, -2.0), (-3.0, -0.1)):
            log_prob = Value(p)
            k = m.drift(log_prob, q)
            k.backward()
            self.assertAlmostEqual(k.data, math.exp(q - p) - (q - p) - 1.0, 12)
            self.assertGreaterEqual(k.data, 0.0)
            self.assertAlmostEqual(
                log_prob.grad, slope(lambda x, q=q: m.drift(Value(x), q).data, p), 6
            )

    def test_the_mean_of_drift_is_the_kl(self):
        pi, ref = [0.5, 0.3, 0.2], [0.1, 0.3, 0.6]
        mean = sum(p * m.drift(Value(math.log(p)), math.log(q)).data for p, q in zip(pi, ref))
        self.assertAlmostEqual(mean, sum(p * math.log(p / q) for p, q in zip(pi, ref)), 12)

    def test_against_trl(self):
        golden = json.loads((ROOT / "tests/golden/grpo.json").read_text("utf-8"))
        for case in golden:
            for name, f in (("grpo", m.group_advantages), ("dr_grpo", m.undivided)):
                wanted = case[name]
                rollouts = [
                    rollout([0] * n, reward=r, log_probs=p, ref_log_probs=q)
                    for n, r, p, q in zip(*(case[k] for k in ("lengths", "rewards", "old", "ref")))
                ]
                lessons = m.by_group(f)([rollouts])
                for lesson, a in zip(lessons, wanted["advantages"]):
                    for b in lesson.advantages:
                        self.assertAlmostEqual(a, b, delta=1e-12)
                values = [[Value(p) for p in row] for row in case["new"]]
                turns = iter(values)
                fakes = {"token_log_probs": lambda *_, t=turns: next(t)}
                fakes |= {"BETA": case["beta"], "CLIP": case["clip"]}
                divisor = case["longest"] if name == "dr_grpo" else None
                with patch.multiple(m, **fakes):
                    update = m.learn_from({}, lessons, divisor)
                self.assertAlmostEqual(update.loss, wanted["loss"], delta=1e-12)
                for row, line in zip(values, wanted["gradients"]):
                    self.assertEqual(len(row), len(line))
                    for p, g in zip(row, line):
                        self.assertAlmostEqual(p.grad, g, delta=1e-12)
                ratios = [
                    math.exp(x - y)
                    for xs, ys in zip(case["new"], case["old"])
                    for x, y in zip(xs, ys)
                ]
                self.assertEqual(update.ratios, ratios)
            self.assertTrue(any(abs(r - 1) > case["clip"] for r in ratios))  # the clip was tried

    def test_its_gradient_reaches_the_weights(self):
        w = world()
        groups = m.write(w.reference, w, 2, 3, random.Random(2))
        lessons = m.by_group(lambda rewards: [0.7, -1.0, 0.2])(groups)
        start = world(6).reference  # some ratios are clipped

        def loss(model):
            parts = []
            for r, advantages in lessons:
                part = 0.0
                for p, old, q, a in zip(
                    m.token_log_probs(model, r.prompt, r.answer), r.log_probs, r.ref_log_probs,
                    advantages,
                ):  # fmt: skip
                    rho, u = math.exp(p - old), q - p
                    part -= min(rho * a, min(max(rho, 1 - m.CLIP), 1 + m.CLIP) * a)
                    part += m.BETA * (math.exp(u) - u - 1)
                parts.append(part / len(r.answer))
            return m.mean(parts)

        policy = m.unfreeze(start)
        update = m.learn_from(policy, lessons)
        self.assertAlmostEqual(update.loss, loss(start), 12)
        for name in ("wte", "0.wq", "0.w2", "lm_head"):
            row = start[name][1]

            def f(x, row=row):
                kept, row[1] = row[1], x
                y = loss(start)
                row[1] = kept
                return y

            self.assertAlmostEqual(policy[name][1][1].grad, slope(f, row[1]), 6, name)


class Loop(unittest.TestCase):
    def spied(self, credit, size):
        """(policies that wrote, batches learnt from, learning rates, what the loop returned)"""
        writers, batches, rates = [], [], []
        write, learn = m.write, m.learn_from

        def spy_write(policy, *rest):
            writers.append((m.weights_of(policy), rest[1:3]))
            return write(policy, *rest)

        def spy_learn(policy, lessons, *rest):
            batches.append((lessons, rest))
            return learn(policy, lessons, *rest)

        class Spy(m.Adam):
            def step(self, lr):
                rates.append(lr)
                super().step(lr)

        with patch.multiple(m, write=spy_write, learn_from=spy_learn, Adam=Spy):
            learnt = quietly(m.grpo, world(), "x", credit, size)
        return writers, batches, rates, learnt

    def test_a_round(self):
        seen = []

        def credit(groups):
            seen.append(groups)
            return m.by_group(m.group_advantages)(groups)

        writers, batches, rates, learnt = self.spied(credit, m.GROUP)
        self.assertEqual(writers[0][0], m.weights_of(world().reference))
        self.assertNotEqual(writers[1][0], writers[0][0])  # pi_old is the present policy
        self.assertEqual([shape for _, shape in writers], [(m.PROMPTS, m.GROUP)] * m.ROUNDS)
        self.assertEqual([len(lessons) for lessons, _ in batches], [4, 4, 1] * 4)
        self.assertEqual({rest for _, rest in batches}, {()})  # each by its own length
        self.assertEqual(rates, [m.LR] * 12)
        for number, groups in enumerate(seen):
            every = [tuple(r.answer) for group in groups for r in group]
            for epoch in range(m.EPOCHS):
                first = (number * m.EPOCHS + epoch) * 3
                got = [x for lessons, _ in batches[first : first + 3] for x in lessons]
                self.assertEqual(sorted(tuple(x.rollout.answer) for x in got), sorted(every))
        self.assertEqual(len(learnt.rounds), m.ROUNDS)
        for r in learnt.rounds:
            self.assertEqual(r.first, 0.0)
        self.assertIsInstance(m.weights_of(learnt.policy)[0], float)

    def test_groups_of_one_for_the_critic(self):
        writers, _, _, _ = self.spied(m.by_group(m.undivided), 1)
        self.assertEqual([shape for _, shape in writers], [(9, 1)] * m.ROUNDS)

    def test_silent_groups_leave_the_policy_where_it_is(self):
        credit = m.by_group(lambda rewards: [0.0] * len(rewards))
        learnt = quietly(m.grpo, world(), "x", credit, 3)
        for a, b in zip(m.weights_of(learnt.policy), m.weights_of(world().reference)):
            self.assertAlmostEqual(a, b, 12)

    def test_it_raises_the_reward(self):
        with patch.multiple(m, ROUNDS=8, PROMPTS=3, GROUP=4, MINIBATCH=8, LR=0.02):
            for credit, size in ((m.by_group(m.group_advantages), 4), (m.by_critic(world()), 1)):
                learnt = quietly(m.grpo, world(), "x", credit, size)
                golds = [r.gold for r in learnt.rounds]
                self.assertGreater(m.mean(golds[-3:]), m.mean(golds[:3]) + 0.15)


class Critic(unittest.TestCase):
    def test_features_and_value(self):
        state = m.features([0, 1, 2], ALPHABET)  # ab: gold 1 - 1 / 2
        self.assertEqual(state, {0: 0.5, 3: 1.0, 6: 1.0})
        critic = m.new_critic(ALPHABET)
        self.assertEqual(critic, [0.0] * 9)  # score, 3 tokens, lengths 1 to 5
        self.assertEqual(m.value_of([2.0, 9, 9, 0.25, 9, 9, 0.5, 9, 9], state), 1.75)
        longest = m.features([0, 1, 2, 1, 2], ALPHABET)  # no two features share a weight
        self.assertEqual(max(longest), len(critic) - 1)
        self.assertEqual(max(m.features([0, 2], ALPHABET).items()), (5, 1.0))

    def test_gae_against_its_sum(self):
        rewards, values, gamma, lam = [0.1, -0.4, 0.0, 2.0], [0.5, 0.2, -0.3, 0.9], 0.9, 0.7
        after = [*values[1:], 0.0]
        deltas = [r + gamma * w - v for r, v, w in zip(rewards, values, after)]
        wanted = [sum((gamma * lam) ** k * d for k, d in enumerate(deltas[t:])) for t in range(4)]
        for a, b in zip(m.gae(rewards, values, gamma, lam), wanted):
            self.assertAlmostEqual(a, b, 12)

    def test_normalize(self):
        (a,), (b, c) = m.normalize([[1.0], [2.0, 6.0]])
        std = math.sqrt(14 / 3)
        for got, wanted in zip((a, b, c), (-2 / std, -1 / std, 3 / std)):
            self.assertAlmostEqual(got, wanted, 6)

    def test_credit_is_what_the_critic_did_not_foresee(self):
        """Two rounds, replayed step by step with plain formulas."""
        w, seen = world(), []
        groups = [m.write(w.reference, w, 6, 1, random.Random(seed)) for seed in (7, 8)]

        class Spy(m.Adam):
            def __init__(self, *arguments, **named):
                super().__init__(*arguments, **named)
                seen.append(self)

            def step(self, lr):
                rates.add(lr)
                slopes.append(list(self.arrays[0][1]))
                super().step(lr)

        rates, slopes = set(), []
        with patch.multiple(m, Adam=Spy, GAMMA=0.9, CRITIC_EPOCHS=1, MINIBATCH=6):
            credit = m.by_critic(w)
            self.assertEqual(len(slopes), 4)  # 20 answers of the reference, 6 at a time
            for round_ in groups:
                critic = list(seen[0].arrays[0][0])
                slopes.clear()
                lessons = credit(round_)
                raw, wanted = [], [0.0] * len(critic)
                for (r,) in round_:
                    tokens = [*r.prompt, *r.answer]
                    states = [
                        m.features(tokens[:n], ALPHABET) for n in range(len(r.prompt), len(tokens))
                    ]
                    values = [m.value_of(critic, state) for state in states]
                    rewards = [0.0] * (len(states) - 1) + [r.reward]
                    raw.append(m.gae(rewards, values, 0.9, m.LAMBDA))
                    for state, a in zip(states, raw[-1]):
                        for i, x in state.items():
                            wanted[i] -= a * x  # V - target = -A
                size = sum(len(row) for row in raw)
                self.assertEqual(len(slopes), 1)
                for got, g in zip(slopes[0], wanted):
                    self.assertAlmostEqual(got, g / size, 12)
                self.assertEqual([x.rollout for x in lessons], [r for (r,) in round_])
                self.assertEqual([x.advantages for x in lessons], m.normalize(raw))
                self.assertNotEqual(critic, seen[0].arrays[0][0])  # and it has learnt
        self.assertEqual(rates, {m.CRITIC_LR})

    def test_it_starts_from_zero_and_learns_from_answers_of_the_reference(self):
        w, seen = world(), []

        class Spy(m.Adam):
            def step(self, lr):
                seen.append(list(self.arrays[0][1]))
                super().step(lr)

        with patch.multiple(m, Adam=Spy, CRITIC_EPOCHS=1, MINIBATCH=20):
            m.by_critic(w)
        (slopes,), wanted, size = seen, [0.0] * 9, 0
        for (r,) in m.write(w.reference, w, 20, 1, random.Random(w.seed)):
            n, text = len(r.answer), [*r.prompt, *r.answer]
            for t in range(n):  # V = 0 everywhere, so that delta is the reward at the end
                target = m.LAMBDA ** (n - 1 - t) * r.reward
                for i, x in m.features(text[: len(r.prompt) + t], ALPHABET).items():
                    wanted[i] -= target * x
            size += n
        for got, g in zip(slopes, wanted):
            self.assertAlmostEqual(got, g / size, 12)

    def test_it_learns_to_foresee(self):
        found = []

        class Spy(m.Adam):
            def __init__(self, *arguments, **named):
                super().__init__(*arguments, **named)
                found.append(self)

        with patch.multiple(m, Adam=Spy, CRITIC_ROLLOUTS=200):
            m.by_critic(world())
        critic = found[0].arrays[0][0]
        errors, golds = [], []
        for (r,) in m.write(world().reference, world(), 60, 1, random.Random(5)):
            text = [*r.prompt, *r.answer]
            before_last = m.value_of(critic, m.features(text[:-1], ALPHABET))
            errors.append(r.reward - before_last)
            golds.append(r.reward)
        self.assertLess(m.variance(errors), 0.5 * m.variance(golds))


class Measures(unittest.TestCase):
    def test_report(self):
        groups = [
            [
                rollout((1, 0), 1.0, log_probs=[-1.0, -2.0], ref_log_probs=[-1.5, -3.5]),
                rollout((0,), 3.0, log_probs=[-1.0], ref_log_probs=[-2.0]),
            ],
            [rollout((0,), 5.0), rollout((0,), 5.0)],
        ]
        updates = [
            m.Update(loss=1.0, ratios=[1.0, 0.75]),
            m.Update(loss=2.0, ratios=[1.5, 0.9]),
            m.Update(loss=6.0, ratios=[0.5, 1.1]),
        ]
        r = m.report(groups, updates)
        self.assertEqual((r.gold, r.spread, r.length, r.loss), (3.5, 0.5, 1.25, 3.0))
        self.assertAlmostEqual(r.kl, (2.0 + 1.0) / 4, 12)
        self.assertEqual((r.clipped, r.low, r.high, r.first), (0.5, 0.5, 1.5, 0.25))
        self.assertEqual(m.report(groups, updates[:1]).clipped, 0.0)
        with patch.object(m, "CLIP", 0.5):  # a ratio that far from 1 is not beyond it
            self.assertEqual(m.report(groups, updates).clipped, 0.0)

    def test_silence(self):
        with patch.multiple(m, GROUP=2, GOOD=0.5):
            groups = [[0.5, 0.9], [0.4, 0.6], [0.1, 0.2], [0.0, 0.8], [0.49, 0.3]]
            shares = m.count_good(groups)
            self.assertEqual(shares, [0.4, 0.4, 0.2])
            self.assertAlmostEqual(m.silent(shares), 0.6, 12)
            for group in groups:
                judged = [float(r >= m.GOOD) for r in group]
                if judged[0] == judged[1]:  # a silent group indeed
                    self.assertEqual(m.group_advantages(judged), [0.0, 0.0])

    def test_rewards_of(self):
        groups = [[rollout(reward=1.0), rollout(reward=2.0)], [rollout(reward=3.0)]]
        self.assertEqual(m.rewards_of(groups), [[1.0, 2.0], [3.0]])

    def test_quarters(self):
        groups = [[0.0, 2 * s] for s in (3.0, 1.0, 4.0, 2.0)]  # A = -s, s: A^2 sums to 2 s^2
        got = m.quarters(groups, m.undivided)
        for share, s in zip(got, (1.0, 2.0, 3.0, 4.0)):
            self.assertAlmostEqual(share, s * s / 30.0, 12)
        for share in m.quarters(groups, m.group_advantages):
            self.assertAlmostEqual(share, 0.25, 3)
        self.assertEqual(m.quarters([[1.0, 1.0]] * 4, m.undivided), [0.0] * 4)

    def test_praise_is_the_step_of_the_loss(self):
        w = world()
        groups = m.write(w.reference, w, 4, 2, random.Random(9))
        every = [r for group in groups for r in group]
        typical = sum(len(r.answer) for r in every) / len(every)
        steps = m.praise(w, groups)
        self.assertEqual(list(steps), ["its own length", "a constant"])
        for step, divisor in zip(steps.values(), (None, typical)):
            policy = m.unfreeze(w.reference)
            lessons = [m.Lesson(rollout=r, advantages=[1.0] * len(r.answer)) for r in every]
            m.learn_from(policy, lessons, divisor)
            for x, p in zip(step, m.weights_of(policy)):
                self.assertAlmostEqual(x, -p.grad, 12)

    def test_moved(self):
        got = m.moved({"a": [[1.0, 2.0]], "b": [[3.0]]}, [10.0, 20.0, 30.0], -0.1)
        self.assertEqual(got, {"a": [[0.0, 0.0]], "b": [[0.0]]})

    def test_mean_length_counts_tokens(self):
        w, rng = world(), random.Random(3)
        starts = [m.encode(prompt, ALPHABET)[:-1] for prompt in w.prompts]
        lengths = [len(m.sample(w.reference, start, rng)) for start in starts]
        self.assertEqual(m.mean_length(w.reference, w), m.mean(lengths))

    def test_lengths_of_praise_and_blame(self):
        w, groups, praised = world(), [[rollout()]], []
        fakes = {
            "praise": lambda *both: praised.append(both) or {"x": [1.0], "y": [2.0]},
            "moved": lambda model, step, scale: step[0] * scale,
            "mean_length": lambda policy, world: policy,
        }
        with patch.multiple(m, **fakes):
            got = m.measure_lengths(w, groups)
        self.assertEqual(praised, [(w, groups)])
        s = m.STEP
        self.assertEqual(got["x"], m.Lengths(praised=s, blamed=-s))
        self.assertEqual(got["y"], m.Lengths(praised=2 * s, blamed=-2 * s))


class Experiment(unittest.TestCase):
    def test_settings_are_checked_first(self):
        with patch.multiple(m, GROUP=1, make_world=None):
            self.assertRaises(SystemExit, quietly, m.experiment, 1, None)

    def test_the_command_runs_the_experiment(self):
        with patch.object(m, "experiment", lambda seed, names: (seed, names)):
            self.assertEqual(m.main(["--seed", "7", "--names", "file"]), (7, "file"))

    def test_claims_compare_what_they_say(self):
        golds = {"reference": 0.5, "GRPO": 0.8, "PPO": 0.9}
        firsts = {"GRPO": 0.125, "PPO": 0.25}
        calls, seen = [], []

        def fake_world(seed, names):
            self.assertEqual((seed, names), (1, "file"))
            return world()._replace(reference={"name": "reference"})

        def fake_grpo(world, label, credit, size):
            name = "PPO" if size == 1 else "GRPO"
            calls.append((label, credit, size))
            r = m.Round(
                gold=0.0, kl=0.0, spread=0.0, length=1.0, clipped=0.0, low=1.0, high=1.0,
                first=firsts[name], loss=0.0,
            )  # fmt: skip
            return m.Learnt(policy={"name": name}, rounds=[r])

        def fake_judge(policy, world):
            return m.Verdict(
                gold=golds[policy["name"]], gold_se=0.01, kl=0.0, variety=1.0, length=1.0,
                unfinished=0.0, names=["a"],
            )  # fmt: skip

        def fake_write(policy, world, count, size, rng):
            calls.append((policy["name"], count, size))
            if policy["name"] == "reference":  # half agree; spreads 0, 1, 2, 3
                return [[rollout(reward=0.0), rollout(reward=2.0 * s)] for s in range(4)]
            return [[rollout(reward=1.0), rollout(reward=1.0)]] * 4

        lengths = {
            "its own length": m.Lengths(praised=3.0, blamed=9.0),
            "a constant": m.Lengths(praised=5.0, blamed=4.5),
        }
        looked = []
        fakes = {
            "make_world": fake_world,
            "grpo": fake_grpo,
            "by_group": lambda f: f,
            "by_critic": lambda w: "critic",
            "judge": fake_judge,
            "write": fake_write,
            "show_held": lambda w: None,
            "mean_length": lambda policy, world: 5.0,
            "measure_lengths": lambda w, groups: looked.append(groups) or lengths,
            "check_claims": lambda claims: seen.extend(claims) or 7,
            "GROUP": 2,
        }
        with patch.multiple(m, **fakes), redirect_stdout(io.StringIO()):
            self.assertEqual(m.experiment(1, "file"), 7)
        self.assertEqual(
            calls,
            [
                ("GRPO", m.group_advantages, 2),
                ("PPO, with a critic", "critic", 1),
                ("reference", m.LOOKS, 2),
                ("GRPO", m.LOOKS, 2),
            ],
        )
        self.assertEqual([r.reward for (_, r) in looked[0]], [0.0, 2.0, 4.0, 6.0])
        got = [round(measured, 9) for _, measured, _, _ in seen]
        # the quarter of least spread is the silent group
        self.assertEqual(got, [0.25, 0.3, 0.75, 0.75, 0.0, 6.5])


if __name__ == "__main__":
    unittest.main()
