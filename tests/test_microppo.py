"""microppo's own sections: hand-written gradients, GAE, the clipped losses, rounds of PPO."""

import io
import math
import random
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

import microppo as m
from microppo import Value
from tests.helpers import slope

SMALL = {
    "N_EMBD": 4, "N_HEAD": 2, "BLOCK_SIZE": 6, "ROUNDS": 6, "ROLLOUTS": 4, "EPOCHS": 2,
    "MINIBATCH": 2,
}  # fmt: skip


def new_net():
    rng = random.Random(3)
    net = {name: m.random_matrix(27, m.HIDDEN, rng, 0.5) for name in ("left", "right")}
    return net | {"out": m.random_matrix(1, m.HIDDEN + 1, rng, 0.5)}


def quietly(function, *args):
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return function(*args)


class Nets(unittest.TestCase):
    def check_step(self, before, after, f, rate):
        """after - before is minus rate times the gradient of f() by the weights before."""
        for name, w in before.items():
            for row, moved in zip(w, after[name]):
                for i, x in enumerate(list(row)):

                    def at(x, row=row, i=i):
                        row[i], kept = x, row[i]
                        y = f()
                        row[i] = kept
                        return y

                    self.assertAlmostEqual(moved[i] - x, -rate * slope(at, x), 8, name)

    def test_gradient_of_the_score(self):
        for text in (".a", ".anana.", ".ananannabb"):
            net, moved, tokens = new_net(), new_net(), m.encode(text)
            m.descend(m.score_gradient(moved, tokens), 0.7)
            self.check_step(net, moved, lambda net=net, x=tokens: m.score(net, x), 0.7)

    def test_one_step_of_the_reward_model(self):
        """Chosen and rejected share rows: both gradients must be those before the step."""
        comparison = x, y_w, y_l, _ = m.encode(".an"), m.encode("na."), m.encode("tan."), 1.0
        nets = []
        for steps in (0, 1):
            with patch.multiple(m, RM_STEPS=steps, RM_LR=0.05, schedule=lambda *_: 0.5):
                nets.append(quietly(m.train_reward_model, [comparison], random.Random(7)))

        self.assertEqual([len(nets[0]["out"][0]), len(nets[0]["left"])], [m.HIDDEN + 1, 27])

        def loss():
            return math.log1p(math.exp(m.score(nets[0], x + y_l) - m.score(nets[0], x + y_w)))

        self.check_step(*nets, loss, 0.05 * 0.5)

    def test_the_critic_learns_the_reward(self):
        net, args = new_net(), (len, [m.Rollout([0, 1], m.encode(y), [], [], ".a" + y)
                                      for y in ("nna.", "bb.")], random.Random(1))  # fmt: skip
        self.assertEqual(m.states(args[1][1]), [[0, 1], [0, 1, 2], [0, 1, 2, 2]])
        with patch.multiple(m, CRITIC_STEPS=1000, CRITIC_LR=0.02):
            critic = quietly(m.train_critic, net, *args)
        self.assertEqual(net, new_net())  # the reward model stays
        for text, want in ((".an", 6.0), (".ann", 6.0), (".abb", 5.0), (".a", 5.5)):
            self.assertLess(abs(m.score(critic, m.encode(text)) - want), 0.2, text)


class Losses(unittest.TestCase):
    def test_gae(self):
        rng = random.Random(1)
        rewards, values = ([rng.gauss(0, 1) for _ in range(6)] for _ in range(2))
        for gamma, lam in ((1.0, 0.95), (0.9, 0.5), (0.9, 0.0), (0.9, 1.0)):
            with patch.multiple(m, GAMMA=gamma, LAMBDA=lam):
                got = m.gae(rewards, values)
            deltas = [r + gamma * v - u for r, u, v in zip(rewards, values, [*values[1:], 0.0])]
            for t, advantage in enumerate(got):
                want = sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, 6))
                if lam == 0.0:  # one reward, then the critic
                    want = deltas[t]
                if lam == 1.0:  # the sampled return, less the value
                    want = sum(gamma ** (k - t) * rewards[k] for k in range(t, 6)) - values[t]
                self.assertAlmostEqual(advantage, want, 12)

    def test_clipped_surrogate(self):
        c, stopped = m.CLIP, []
        for ratio in (1 - 2 * c, 1 - c / 2, 1.0, 1 + c / 2, 1 + 2 * c):
            for advantage in (-1.5, 2.0):

                def loss(x, a=advantage):
                    return -min(math.exp(x) * a, min(max(math.exp(x), 1 - c), 1 + c) * a)

                x = Value(math.log(ratio) - 0.7)
                value, clipped = m.clipped_surrogate(x, -0.7, advantage)
                value.backward()
                self.assertAlmostEqual(value.data, loss(x.data + 0.7), 12)
                self.assertAlmostEqual(x.grad, slope(loss, x.data + 0.7), 6)
                self.assertEqual(clipped, x.grad == 0.0)
                stopped += [(ratio, advantage)] * clipped
        self.assertEqual(stopped, [(1 - 2 * c, -1.5), (1 + 2 * c, 2.0)])

    def test_value_gradient(self):
        c, grads = m.VALUE_CLIP, []
        for moved in (-3 * c, -0.5 * c, 0.0, 0.5 * c, 3 * c):
            for away in (-2.0, -0.7 * c, 0.7 * c, 2.0):
                target = 1.0 + moved + away

                def loss(v, target=target):
                    clipped = min(max(v, 1.0 - c), 1.0 + c)
                    return max((v - target) ** 2, (clipped - target) ** 2) / 2

                grads.append(m.value_gradient(1.0 + moved, 1.0, target))
                self.assertAlmostEqual(grads[-1], slope(loss, 1.0 + moved), 6)
        self.assertEqual(grads.count(0.0), 6)


class Rounds(unittest.TestCase):
    def run_ppo(self, kl_coef=0.0, **settings):
        """The policy, and every call of clipped_surrogate(): (log-prob, old one, advantage)."""
        calls, surrogate, net = [], m.clipped_surrogate, new_net()

        def watched(log_prob, old, advantage):
            calls.append((log_prob.data, old, advantage))
            return surrogate(log_prob, old, advantage)

        with patch.multiple(m, **SMALL | settings, clipped_surrogate=watched):
            reference = m.init_gpt(random.Random(1))
            policy = quietly(m.ppo, reference, m.gold, kl_coef, net, ["anna", "bo"], 5)
            self.assertEqual(reference, m.init_gpt(random.Random(1)))
        self.assertEqual(net, new_net())  # ppo() trains copies
        return policy, calls

    def test_ratios_and_advantages(self):
        _, calls = self.run_ppo(EPOCHS=3, MINIBATCH=4)
        ones = sum(new == old for new, old, _ in calls)
        self.assertLessEqual(0, ones - len(calls) // 3)  # the first epoch of each round
        self.assertLess(ones - len(calls) // 3, 10)
        self.assertAlmostEqual(m.fmean(a for *_, a in calls), 0.0, 9)  # standardized by round
        self.assertAlmostEqual(m.fmean(a * a for *_, a in calls), 1.0, 6)

    def test_the_kl_coefficient_reaches_the_rewards(self):
        (one, free), (two, penalized) = (self.run_ppo(kl_coef) for kl_coef in (0.0, 5.0))
        first = [x == y for x, y in zip(free, penalized)].index(False)
        self.assertGreater(first, 3)  # as long as pi is the reference, there is nothing to pay
        self.assertNotEqual(one, two)


if __name__ == "__main__":
    unittest.main()
