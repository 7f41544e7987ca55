"""Sections 6 and 7 of microschedule.py, the bowl that section 6 argues with, and golden values."""

import copy
import io
import json
import math
import random
import string
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import microschedule as m
from tests.helpers import ROOT, slope

SMALL = {"N_EMBD": 4, "STEPS": 20, "HELD_OUT_NAMES": 5, "LOOKS": 3}
BRANCHES = ["step", "linear", "cosine", "WSD", "warmup, linear"]


def setUpModule():
    global KEPT
    KEPT = {name: getattr(m, name) for name in SMALL}
    for name, value in SMALL.items():
        setattr(m, name, value)


def tearDownModule():
    for name, value in KEPT.items():
        setattr(m, name, value)


def small_task(steps=20, seed=3):
    rng = random.Random(seed)
    names = [[0, *(rng.randrange(1, 5) for _ in range(rng.randrange(1, 5))), 0] for _ in range(30)]
    return m.Task(start=m.init_model(5, rng), order=names[:steps], held_out=names[25:])


def quietly(function, *arguments):
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()) as out:
        result = function(*arguments)
    return result, out.getvalue()


def rates(path, steps):
    return [path(step, steps) for step in range(steps)]


def made_up(**held_out):
    """Results with these held-out losses and training losses that do not matter."""
    return {k: m.Result(losses=[2.0] * 20, held_out=xs) for k, xs in held_out.items()}


class Paths(unittest.TestCase):
    def assertClose(self, got, want, places=12):
        self.assertEqual(len(got), len(want))
        for a, b in zip(got, want):
            self.assertAlmostEqual(a, b, places)

    def test_golden_schedulers_of_torch(self):
        text = (ROOT / "tests" / "golden" / "schedule.json").read_text("utf-8")
        golden = json.loads(text)
        paths = {**m.PATHS, "warmup, cosine": m.warmed(m.cosine_decay)}
        self.assertEqual(set(golden["paths"]), set(paths))
        for label, want in golden["paths"].items():
            with self.subTest(label):
                got = rates(paths[label], golden["steps"])
                self.assertEqual(len(got), len(want))
                for a, b in zip(got, want):
                    self.assertLessEqual(abs(a - b), 1e-9 * max(abs(b), 1e-3))

    def test_golden_averaged_model_of_torch(self):
        text = (ROOT / "tests" / "golden" / "schedule.json").read_text("utf-8")
        golden = json.loads(text)["average"]
        mean = {"w": [[9.0] * 4]}
        for n, (weights, want) in enumerate(zip(golden["weights"], golden["means"]), 1):
            m.fold_in(mean, {"w": [weights]}, n)
            for a, b in zip(mean["w"][0], want):
                self.assertLessEqual(abs(a - b), 1e-12 * max(1.0, abs(b)))

    def test_by_hand(self):
        self.assertClose(rates(m.constant, 3), [1, 1, 1])
        self.assertClose(rates(m.linear_decay, 4), [1, 0.75, 0.5, 0.25])
        self.assertClose(rates(m.cosine_decay, 4), [1, 0.5 + 8**-0.5, 0.5, 0.5 - 8**-0.5])
        self.assertClose(rates(m.stable_decay, 10), [1] * 9 + [0.5])
        self.assertClose(rates(m.step_decay, 8), [1] * 4 + [0.3] * 2 + [0.09] * 2)
        with patch.multiple(m, DROPS=[0.25], GAMMA=0.5):
            self.assertClose(rates(m.step_decay, 8), [1] * 2 + [0.5] * 6)
        with patch.multiple(m, DECAY=0.5, WARMUP=0.25):
            self.assertClose(rates(m.stable_decay, 8), [1] * 5 + [0.75, 0.5, 0.25])
            want = [0.5, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
            self.assertClose(rates(m.warmed(m.linear_decay), 8), want)

    def test_no_warmup_leaves_the_path_alone(self):
        with patch.multiple(m, WARMUP=0.0):
            self.assertEqual(rates(m.warmed(m.cosine_decay), 7), rates(m.cosine_decay, 7))

    def test_the_warmed_line_is_the_path_of_train(self):
        class Recorder:
            def step(self, lr):
                seen.append(lr)

        for steps in (10, 60):
            seen = []
            quietly(m.train, "x", lambda: 1.0, Recorder(), steps, 0.5)
            self.assertClose(seen, [0.5 * x for x in rates(m.PATHS["warmup, linear"], steps)])

    def test_paths_stay_between_0_and_their_peak(self):
        for label, path in m.PATHS.items():
            for steps in (20, 37, 400):
                shares = rates(path, steps)
                self.assertGreater(min(shares), 0.0, label)
                self.assertEqual(max(shares), 1.0, label)

    def test_where_a_path_leaves_the_constant_run(self):
        wanted = {"constant": 40, "step": 20, "linear": 1, "cosine": 1, "WSD": 33}
        for label, step in {**wanted, "warmup, linear": 0}.items():
            self.assertEqual(m.leaves_at(m.PATHS[label], 40), step, label)


class Bowl(unittest.TestCase):
    """What section 6 derives, tried on the model of one parameter."""

    def walk(self, lr, h=0.5, s=2.0, steps=200_000, start=0.0):
        rng, w, path, noise = random.Random(5), start, [start], []
        for _ in range(steps):
            noise.append(rng.gauss(0.0, s))
            w -= lr * (h * w + noise[-1])
            path.append(w)
        return path, noise

    def test_the_floor(self):
        for lr in (0.1, 0.4):
            path, _ = self.walk(lr)
            loss = sum(0.5 * w * w / 2 for w in path) / len(path)
            self.assertAlmostEqual(loss / (lr * 4.0 / (4 - 2 * lr * 0.5)), 1.0, delta=0.05)

    def test_the_mean_of_the_path(self):
        lr, h, n = 0.3, 0.5, 50
        path, noise = self.walk(lr, h, steps=n, start=3.0)
        want = -sum(noise) / n / h - (path[n] - path[0]) / (lr * h * n)
        self.assertAlmostEqual(sum(path[:n]) / n, want, 12)


class Steps(unittest.TestCase):
    def setUp(self):
        self.task = small_task()

    def losses(self, model, tokens):
        return sum(m.token_losses(model, tokens)) / (len(tokens) - 1)

    def test_an_update_descends_the_mean_loss_of_its_name(self):
        tokens, seen = [0, 2, 3, 1, 0], []

        def step(optimizer, rate):
            seen.append(rate)
            for name, matrix in run.model.items():

                def f(x, row=self.task.start[name][1]):
                    kept, row[2] = row[2], x
                    loss = self.losses(self.task.start, tokens)
                    row[2] = kept
                    return loss

                want = slope(f, self.task.start[name][1][2])
                self.assertAlmostEqual(matrix[1][2].grad, want, 7, name)

        run = m.new_run(self.task.start)
        with patch.object(m.Adam, "step", step):
            m.update(run, tokens, 0.7)
        self.assertEqual(seen, [0.7])
        self.assertAlmostEqual(run.losses[0], self.losses(self.task.start, tokens), 12)

    def test_a_new_run_holds_a_copy(self):
        run = m.new_run(self.task.start)
        m.update(run, self.task.order[0], 0.1)
        self.assertEqual(small_task().start, self.task.start)
        self.assertNotEqual(m.freeze(run.model), self.task.start)

    def test_every_step_gets_its_name_and_its_rate(self):
        seen, looks = [], []

        def note(run, tokens, rate):
            seen.append((tokens, rate))
            run.losses.append(0.0)

        run, order = m.new_run(self.task.start), self.task.order
        run.losses[:] = [0.0] * 6  # six steps have been made
        with patch.object(m, "update", note):
            quietly(m.follow, run, m.linear_decay, 0.5, order, "x", looks.append)
        self.assertEqual(looks, list(range(6, 21)))
        self.assertEqual([tokens for tokens, _ in seen], order[6:])
        for step, (_, rate) in enumerate(seen, 6):
            self.assertAlmostEqual(rate, 0.5 * (20 - step) / 20, 12)

    def test_a_copy_goes_on_as_the_run_itself_would(self):
        order, copies = self.task.order, []
        whole = m.new_run(self.task.start)

        def look(step):
            if step == 7:
                copies.append(copy.deepcopy(whole))

        quietly(m.follow, whole, m.constant, 0.1, order, "x", look)
        self.assertEqual(len(copies[0].losses), 7)
        quietly(m.follow, copies[0], m.constant, 0.1, order, "x")
        self.assertEqual(copies[0].losses, whole.losses)
        self.assertEqual(m.freeze(copies[0].model), m.freeze(whole.model))

    def test_fold_in_makes_the_plain_mean(self):
        rng = random.Random(1)
        models = [{"w": [[rng.gauss(0, 1) for _ in range(3)] for _ in range(2)]} for _ in range(5)]
        mean = m.freeze(models[3])  # what it holds before the first is forgotten
        for n, model in enumerate(models, 1):
            before = copy.deepcopy(model)
            m.fold_in(mean, m.unfreeze(model) if n == 2 else model, n)
            self.assertEqual(model, before)
        for i in range(2):
            for j in range(3):
                want = sum(model["w"][i][j] for model in models) / 5
                self.assertAlmostEqual(mean["w"][i][j], want, 12)


class Compare(unittest.TestCase):
    """All branches against runs made alone, from the first step to the last."""

    @classmethod
    def setUpClass(cls):
        cls.task = small_task()
        cls.before = copy.deepcopy(cls.task)
        cls.results, _ = quietly(m.compare, cls.task, 0.1, BRANCHES)
        cls.weights = []  # of the constant run, after every step
        run = m.new_run(cls.task.start)
        for tokens in cls.task.order:
            m.update(run, tokens, 0.1)
            cls.weights.append(m.freeze(run.model))

    def test_the_task_is_as_it_was(self):
        self.assertEqual(self.task, self.before)

    def test_branches_are_runs_along_their_paths(self):
        self.assertEqual(list(self.results), ["constant", "averaged", *BRANCHES])
        for label in BRANCHES:
            run = m.new_run(self.task.start)
            for step, tokens in enumerate(self.task.order):
                m.update(run, tokens, 0.1 * m.PATHS[label](step, 20))
            self.assertEqual(self.results[label].losses, run.losses, label)
            want = [m.held_out_loss(run.model, self.task)]
            self.assertEqual(self.results[label].held_out, want, label)

    def test_the_constant_run_is_looked_at_in_its_last_steps(self):
        want = [m.held_out_loss(self.weights[i - 1], self.task) for i in (18, 19, 20)]
        self.assertEqual(self.results["constant"].held_out, want)

    def test_averaged_is_the_mean_of_the_weights_after_the_last_steps(self):
        tail = self.weights[10:]
        mean = {
            name: [
                [sum(w[name][i][j] for w in tail) / 10 for j in range(len(row))]
                for i, row in enumerate(matrix)
            ]
            for name, matrix in self.task.start.items()
        }
        got = self.results["averaged"]
        self.assertAlmostEqual(got.held_out[0], m.held_out_loss(mean, self.task), 12)
        self.assertEqual(got.losses, self.results["constant"].losses)

    def test_a_share_too_small_averages_the_last_weights(self):
        with patch.multiple(m, AVERAGED=0.01):
            results, _ = quietly(m.compare, self.task, 0.1, [])
        self.assertEqual(results["averaged"].held_out[0], results["constant"].held_out[-1])

    def test_a_path_that_never_leaves_is_the_constant_run(self):
        with patch.multiple(m, DROPS=[]):
            results, _ = quietly(m.compare, self.task, 0.1, ["step"])
        self.assertEqual(results["step"].held_out[0], results["constant"].held_out[-1])


class Measures(unittest.TestCase):
    def test_look_steps(self):
        self.assertEqual(m.look_steps(20), {18, 19, 20})  # 4 / 3 of a step apart, rounded
        self.assertEqual(m.look_steps(300), {260, 280, 300})
        with patch.multiple(m, LAST=0.1):
            self.assertEqual(m.look_steps(300), {280, 290, 300})
        with patch.multiple(m, LOOKS=1):
            self.assertEqual(m.look_steps(300), {300})

    def test_held_out_loss_is_a_mean_over_tokens(self):
        task = small_task()
        names = task.held_out
        self.assertGreater(len({len(tokens) for tokens in names}), 1)
        losses = [sum(m.token_losses(task.start, tokens)) for tokens in names]
        want = sum(losses) / sum(len(tokens) - 1 for tokens in names)
        self.assertAlmostEqual(m.held_out_loss(task.start, task), want, 12)
        self.assertAlmostEqual(m.held_out_loss(m.unfreeze(task.start), task), want, 12)

    def test_task(self):
        task, out = quietly(m.make_task, 3, None)
        same, _ = quietly(m.make_task, 3, None)
        self.assertEqual(task, same)
        self.assertNotEqual(task, quietly(m.make_task, 4, None)[0])
        self.assertEqual((len(task.order), len(task.held_out)), (20, 5))
        self.assertFalse([tokens for tokens in task.order if tokens in task.held_out])
        self.assertIn("558 names to learn, 5 held out", out)

    def test_the_task_of_a_file(self):
        """Every letter has its token, and every name of 15 letters its place."""
        short = [letter * 2 for letter in string.ascii_lowercase]
        fits, too_long = ["x" * 15, "y" * 15], ["y" * 16, "z" * 17]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "names.txt"
            path.write_text("\n".join([*short, *fits, *too_long]), "utf-8")
            with patch.multiple(m, HELD_OUT_NAMES=9, STEPS=500):
                task, out = quietly(m.make_task, 3, str(path))
        self.assertIn("19 names to learn, 9 held out", out)
        alphabet = ["", *string.ascii_lowercase]
        self.assertEqual(len(task.start["wte"]), 27)
        order, held_out = (
            [m.decode(tokens[1:-1], alphabet) for tokens in part]
            for part in (task.order, task.held_out)
        )
        self.assertEqual((len(order), len(held_out)), (500, 9))
        # all of the 19 come up in 500 steps
        self.assertEqual(sorted({*order, *held_out}), sorted([*short, *fits]))
        for tokens in task.order + task.held_out:
            self.assertEqual((tokens[0], tokens[-1]), (m.EDGE, m.EDGE))

    def test_parts(self):
        self.assertEqual(m.parts([1.0, 3.0, 5.0, 7.0], 2), [2.0, 6.0])
        self.assertEqual(m.parts([1.0, 2.0, 3.0], 2), [1.0, 2.5])
        self.assertEqual(m.parts([1.0, 2.0], 5), [1.0, 2.0])

    def test_strip(self):
        shares = [0.0, 0.125, 0.5, 1.0, -3.0, 7.0]
        with patch.object(m, "blocks", lambda marks, ascii_marks: marks):
            self.assertEqual(m.strip(shares), " ▁▄█ █")
        with patch.object(m, "blocks", lambda marks, ascii_marks: ascii_marks):
            self.assertEqual(m.strip(shares), " _-# #")

    def test_moved(self):
        before, after = {"a": [[3.0, 0.0]], "b": [[4.0]]}, {"a": [[3.0, 2.0]], "b": [[4.0]]}
        self.assertAlmostEqual(m.moved(before, after), 2.0 / 5.0, 12)
        self.assertAlmostEqual(m.moved(before, m.unfreeze(after)), 2.0 / 5.0, 12)

    def test_the_first_update_is_the_rate_times_the_gradients_sign(self):
        task = small_task()
        run = m.new_run(task.start)
        tokens = task.order[0]
        (m.total(m.token_losses(run.model, tokens)) / (len(tokens) - 1)).backward()
        hit = sum(w.grad != 0.0 for w in m.weights_of(run.model))
        norm = math.hypot(*m.weights_of(task.start))
        self.assertLess(hit, len(m.weights_of(task.start)))
        for label, share in (("linear", 1.0), ("warmup, linear", 0.5)):
            got = m.first_update(task, m.PATHS[label])
            self.assertAlmostEqual(got / (share * m.HIGH * hit**0.5 / norm), 1.0, 2)

    def test_gap_best_and_forgiveness(self):
        high = made_up(constant=[2.4, 2.8], linear=[2.3])
        low = made_up(constant=[2.5, 2.5], linear=[2.35])
        self.assertAlmostEqual(m.gap(high["constant"], high["linear"]), 0.3)
        self.assertAlmostEqual(m.gap(high["linear"], high["constant"]), -0.3)
        self.assertIs(m.best("constant", high, low), low["constant"])
        self.assertIs(m.best("linear", high, low), high["linear"])
        # constant: 2.6 at the high peak, 2.5 at the low one; linear 2.3 and 2.35
        self.assertAlmostEqual(m.forgiveness(high, low), 0.1 + 0.05)


class Experiment(unittest.TestCase):
    HIGH = {
        "constant": [2.5, 2.7], "averaged": [2.45], "step": [2.41], "linear": [2.42],
        "cosine": [2.43], "WSD": [2.44], "warmup, linear": [2.47],
    }  # fmt: skip
    LOW = {"constant": [2.5], "averaged": [2.48], "linear": [2.46]}

    def test_bad_settings_end_it_before_anything_is_learnt(self):
        with patch.object(m, "LOW", m.HIGH), patch.object(m, "compare") as compare:
            with self.assertRaises(SystemExit):
                quietly(m.experiment, 5, None)
        compare.assert_not_called()

    def test_seed_and_file_reach_the_experiment(self):
        with patch.object(m, "experiment", return_value=3) as experiment:
            self.assertEqual(m.main(["--seed", "7", "--names", "x.txt"]), 3)
        experiment.assert_called_once_with(seed=7, names="x.txt")

    def test_claims_and_tables(self):
        calls = []

        def compare(task, peak, labels):
            calls.append((peak, list(labels)))
            return made_up(**(self.HIGH if peak == m.HIGH else self.LOW))

        with patch.object(m, "compare", compare), patch.object(m, "check_claims") as check:
            check.return_value = 0
            _, out = quietly(m.experiment, 5, None)
        self.assertEqual(calls, [(m.HIGH, BRANCHES), (m.LOW, ["linear"])])
        got = [(relation, round(x, 9)) for _, x, relation, _ in check.call_args[0][0]]
        want = [-0.19, -0.18, -0.17, -0.16, -0.15, -0.08, -0.05]
        self.assertEqual(got, [("<=", x) for x in want] + [(">=", 0.14)])
        self.assertRegex(out, r"\n  constant +2\.600 +0\.000 +2\.500 +0\.000\n")
        self.assertRegex(out, r"\n  averaged +2\.450 +-0\.150 +2\.480 +-0\.020\n")
        self.assertRegex(out, r"\n  linear +2\.420 +-0\.180 +2\.460 +-0\.040\n")
        self.assertIn("            2.50 2.70\n", out)
        self.assertIn("0.050 higher", out)

    def test_pictures_of_made_up_losses(self):
        """The linear run 0.4 below the constant one in the second half, the others like it."""
        results = made_up(**{label: [2.0] for label in m.PATHS})
        results["linear"].losses[10:] = [1.6] * 10
        results["step"].losses[:] = [2.5] * 20  # above it
        with patch.object(m, "blocks", lambda marks, ascii_marks: marks):
            _, out = quietly(m.show_paths, results)
        rows = dict(zip(m.PATHS, out.splitlines()[2:]))
        self.assertTrue(rows["constant"].endswith(f"|{'█' * 20}|    |{' ' * 20}|"))
        self.assertTrue(rows["linear"].endswith(f"|{' ' * 10}{'█' * 10}|"))
        self.assertTrue(rows["step"].endswith(f"|{' ' * 20}|"))
        self.assertIn("a full mark is 0.40 nats", out)
        _, out = quietly(m.show_tenths, results)
        lines = out.splitlines()[3:]
        self.assertEqual(lines[0].split(), "2 2.000 0.500 0.000 0.000 0.000 0.000".split())
        self.assertEqual(lines[9].split(), "20 2.000 0.500 -0.400 0.000 0.000 0.000".split())


if __name__ == "__main__":
    unittest.main()
