"""microgrpo's own sections: advantages, the gradient of every epoch; its diffs."""

import difflib
import io
import math
import random
import unittest
from contextlib import redirect_stdout
from unittest.mock import patch

import microgrpo as m
from tests.helpers import ROOT, slope
from tests.tools.sections import sections

SMALL = {
    "N_EMBD": 4, "N_HEAD": 2, "BLOCK_SIZE": 6, "ROUNDS": 1, "PROMPTS": 2, "GROUP": 3,
}  # fmt: skip


class Advantages(unittest.TestCase):
    def test_made_up_rewards(self):
        root = math.sqrt(2.0)  # of rewards 1, 2, 3 the standard deviation is sqrt(2 / 3)
        for rewards, want in (
            ([1.0, 2.0, 3.0], [-math.sqrt(1.5), 0.0, math.sqrt(1.5)]),
            ([0.0, 1.0, 1.0], [-root, root / 2, root / 2]),
            ([-7.0, 13.0], [-1.0, 1.0]),
        ):
            for got, x in zip(m.group_advantages(rewards), want):
                self.assertAlmostEqual(got, x, 6)

    def test_silent_groups_get_zeros(self):
        for reward in (0.0, 1.0, 0.7, -3.25):
            self.assertEqual(m.group_advantages([reward] * 4), [0.0] * 4)


class Epochs(unittest.TestCase):
    def train(self, reward, advantages_of, epochs, lr):
        """The weights before every update, their gradients, the rollouts, what was printed, and
        the policy. An update is plain gradient descent."""
        weights, grads, rollouts, sample = [], [], [], m.sample_rollout

        class Watched:
            def __init__(self, parameters):
                self.parameters = parameters

            def step(self, lr):
                weights.append([p.data for p in self.parameters])
                grads.append([p.grad for p in self.parameters])
                for p in self.parameters:
                    p.data, p.grad = p.data - lr * p.grad, 0.0

        def watched(*args):
            rollouts.append(sample(*args))
            return rollouts[-1]

        out = io.StringIO()
        with redirect_stdout(out), patch.multiple(m, Adam=Watched, sample_rollout=watched):
            args = reward, advantages_of, epochs, lr, ["anna", "bo", "carl"], 5
            policy = m.grpo(self.reference, *args)
        return weights, grads, rollouts, out.getvalue(), policy

    def setUp(self):
        patcher = patch.multiple(m, **SMALL)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.reference = m.init_gpt(random.Random(1))

    def loss(self, weights, rollouts, advantages):
        """The formula of the docstring; how many ratios the clip stops."""
        numbers, losses, stopped = iter(weights), [], 0
        model = {k: [[next(numbers) for _ in row] for row in w] for k, w in self.reference.items()}
        for r, a in zip(rollouts, advantages):
            log_probs = m.token_log_probs(model, r.prompt, r.completion)
            ratios = [math.exp(p - q) for p, q in zip(log_probs, r.log_probs)]
            least = [min(x * a, min(max(x, 1 - m.CLIP), 1 + m.CLIP) * a) for x in ratios]
            stopped += sum(x * a > y for x, y in zip(ratios, least))
            losses.append(-math.fsum(least) / len(least))
        return math.fsum(losses) / len(losses), stopped

    def test_gradient_of_every_epoch(self):
        weights, grads, rollouts, _, _ = self.train(lambda text: len(text) / 4,
                                                    m.group_advantages, 3, 1.0)  # fmt: skip
        rewards = [len(r.text) / 4 for r in rollouts]
        advantages = m.group_advantages(rewards[:3]) + m.group_advantages(rewards[3:])
        losses, stopped = zip(*(self.loss(w, rollouts, advantages) for w in weights))
        self.assertAlmostEqual(losses[0], 0.0, 12)  # ratios are 1, and advantages add up to 0 ...
        self.assertGreater(max(map(abs, grads[0])), 1e-3)  # ... but the gradient is not 0
        self.assertEqual(stopped[0], 0)
        self.assertGreater(stopped[-1], 0)
        for w, grad in zip(weights, grads):
            for i in range(0, len(w), 7):

                def at(x, w=w, i=i):
                    return self.loss([*w[:i], x, *w[i + 1 :]], rollouts, advantages)[0]

                self.assertAlmostEqual(grad[i], slope(at, w[i]), 6)

    def test_equal_rewards_teach_nothing(self):
        with patch.object(m, "ROUNDS", 4):
            *_, printed, policy = self.train(lambda text: 1.0, m.group_advantages, 2, 1.0)
        self.assertEqual(policy, self.reference)
        self.assertEqual(printed.split()[-2:], ["1.00", "0.00"])  # all silent, no clip

    def test_completions_come_from_the_policy(self):
        def stale(policy, reference, prompt, rng):
            return m.Rollout(prompt, [1, 0], [-3.0, -3.0], [-3.0, -3.0], ".aa.")

        with patch.object(m, "sample_rollout", stale), self.assertRaises(AssertionError):
            m.grpo(self.reference, len, m.group_advantages, 1, 0.1, ["anna"], 5)


class Ladder(unittest.TestCase):
    """Two rungs differ by their methods: in the docstring and in the algorithm's own sections."""

    def lines(self, name):
        """(line, whether it is in one of these)."""
        (_, head), *rest = sections((ROOT / name).read_text("utf-8"))
        end = head.splitlines().index('"""') + 1
        found = [(line, i < end) for i, line in enumerate(head.splitlines())]
        for _, part in rest:
            own = part.startswith("# === ") and not part.startswith("# === Experiment ")
            found += [(line, own) for line in part.splitlines()]
        return found

    def check_diff(self, one, two, limit):
        a, b = self.lines(one), self.lines(two)
        matcher = difflib.SequenceMatcher(None, [x for x, _ in a], [x for x, _ in b], False)
        changed = []
        for tag, i, j, k, n in matcher.get_opcodes():
            changed += (a[i:j] + b[k:n]) if tag != "equal" else []
        share = sum(own for _, own in changed) / len(changed)
        self.assertLessEqual(len(changed), limit, f"{one}, {two}: {share:.0%} of them method")
        self.assertGreaterEqual(share, 0.6, f"{one}, {two}: {len(changed)} lines")

    def test_from_reinforce(self):
        self.check_diff("docs/further/microreinforce.py", "docs/further/microgrpo.py", 180)

    def test_to_ppo(self):
        self.check_diff("docs/further/microgrpo.py", "microppo.py", 350)


if __name__ == "__main__":
    unittest.main()
