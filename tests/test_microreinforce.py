"""microreinforce's own sections: baselines, the gradient, what the baseline leaves as it is."""

import io
import itertools
import math
import random
import unittest
from contextlib import redirect_stdout
from unittest.mock import patch

import microreinforce as m
from tests.helpers import slope

SMALL = {
    "N_EMBD": 4, "N_HEAD": 2, "BLOCK_SIZE": 6, "ROUNDS": 1, "PROMPTS": 2, "GROUP": 3,
}  # fmt: skip
TINY = SMALL | {"N_EMBD": 2, "N_HEAD": 1, "BLOCK_SIZE": 3, "ALPHABET": ".ab", "PROMPTS": 1}


class Recorded(m.Adam):
    """Keeps the gradients of every step."""

    def step(self, lr):
        Recorded.grads.append([p.grad for p in self.parameters])
        super().step(lr)


def train(reference, reward, advantages_of, **settings):
    """The gradients of every update, and the policy."""
    Recorded.grads = []
    with patch.multiple(m, Adam=Recorded, **settings), redirect_stdout(io.StringIO()):
        policy = m.reinforce(reference, reward, advantages_of, 0.1, ["anna", "bo"], 5)
    return Recorded.grads, policy


def with_weight(model, index, x):
    """A copy of a model whose index-th number is x."""
    copy = m.freeze(model)
    row, i = [(row, i) for w in copy.values() for row in w for i in range(len(row))][index]
    row[i] = x
    return copy


class Advantages(unittest.TestCase):
    def test_leave_one_out(self):
        rewards = [1.0, 2.0, 6.0, -3.0]
        mean = sum(rewards) / 4
        for r, advantage in zip(rewards, m.leave_one_out(rewards)):
            self.assertAlmostEqual(advantage, 4 / 3 * (r - mean), 12)
        self.assertEqual(m.leave_one_out([5.0, 1.0]), [4.0, -4.0])
        self.assertEqual(m.leave_one_out([2.5] * 5), [0.0] * 5)

    def test_scatter(self):
        gradients, advantages = [[1.0, 0.0], [2.0, -1.0], [0.5, 3.0]], [2.0, -1.0, 4.0]
        vectors = [[a * g for g in gs] for a, gs in zip(advantages, gradients)]
        mean = [sum(xs) / 3 for xs in zip(*vectors)]
        want = sum(sum((x - y) ** 2 for x, y in zip(v, mean)) for v in vectors) / 3
        self.assertAlmostEqual(m.scatter(gradients, advantages), want, 12)
        self.assertEqual(m.scatter([[3.0, 4.0]] * 2, [1.0, 1.0]), 0.0)


class Gradients(unittest.TestCase):
    def setting(self, settings):
        patcher = patch.multiple(m, **settings)
        patcher.start()
        self.addCleanup(patcher.stop)
        return m.init_gpt(random.Random(1))

    def check(self, grads, reference, f):
        for i, (x, grad) in enumerate(zip(m.parameters(reference), grads)):
            at = slope(lambda x, i=i: f(with_weight(reference, i, x)), x)
            self.assertAlmostEqual(grad, at, 7)

    def test_of_a_round(self):
        """The mean of -A log pi(y) over all of its completions, by every weight."""
        reference, rollouts, sample = self.setting(SMALL | {"N_EMBD": 2}), [], m.sample_rollout

        def watched(*args):
            rollouts.append(sample(*args))
            return rollouts[-1]

        (grads,), _ = train(reference, len, m.leave_one_out, sample_rollout=watched)
        rewards = [len(r.text) for r in rollouts]
        self.assertEqual(len(rewards), 6)
        advantages = m.leave_one_out(rewards[:3]) + m.leave_one_out(rewards[3:])

        def loss(model):
            log_pis = [sum(m.token_log_probs(model, r.prompt, r.completion)) for r in rollouts]
            return -sum(a * log_pi for a, log_pi in zip(advantages, log_pis)) / 6

        self.check(grads, reference, loss)
        self.assertGreater(max(map(abs, grads)), 0.01)

    def test_any_baseline_leaves_the_mean_gradient(self):
        """Weighted by pi(y) and summed over all completions y, -A grad log pi(y) is the derivative
        of minus the expected reward, whatever the baseline."""
        reference, prompt = self.setting(TINY), [0, 1]
        completions = [[0], *([a, b] for a in (1, 2) for b in range(3))]  # up to END, or full

        def pi(model, y):
            return math.exp(sum(m.token_log_probs(model, prompt, y)))

        def reward(y):
            return 1.0 + 2.0 * y.count(1) - 0.5 * len(y)

        self.assertAlmostEqual(sum(pi(reference, y) for y in completions), 1.0, 12)
        for baseline in (0.0, -7.5):
            every, given = itertools.cycle(completions), {}
            for y in completions:  # reinforce() divides by their number
                weight = pi(reference, y) * len(completions)
                given[m.decode(prompt + y)] = weight * (reward(y) - baseline)
            settings = {"GROUP": len(completions), "sample": lambda *_: next(every)}
            settings["sample_prompt"] = lambda *_: prompt
            (grads,), _ = train(reference, given.get, list, **settings)

            def loss(model):
                return -sum(pi(model, y) * reward(y) for y in completions)

            self.check(grads, reference, loss)

    def test_of_one_completion(self):
        reference = self.setting(TINY)
        r = m.Rollout([0, 2], [1, 0], [], [], "")
        grads = m.gradient(reference, r)
        self.check(grads, reference, lambda w: sum(m.token_log_probs(w, r.prompt, r.completion)))
        self.assertEqual(reference, m.init_gpt(random.Random(1)))

    def test_rloo_cannot_notice_a_shift(self):
        reference, policies = self.setting(SMALL | {"ROUNDS": 10}), []
        for shift in (0, 64):  # sums of halves are exact
            for advantages_of in (m.leave_one_out, list):

                def reward(text, shift=shift):
                    return len(text) / 2 + shift

                policies.append(train(reference, reward, advantages_of)[1])
        self.assertEqual(policies[0], policies[2])
        self.assertNotEqual(policies[1], policies[3])
        self.assertNotEqual(policies[0], reference)


if __name__ == "__main__":
    unittest.main()
