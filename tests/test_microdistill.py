"""Section 6 and 7 of microdistill.py: the loss, the lessons, what is measured."""

import io
import json
import math
import random
import string
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import DEFAULT, patch

import microdistill as m
from microdistill import Value
from tests.helpers import ROOT, slope

LETTERS = 6  # EDGE and a to e
SMALL = {"N_EMBD": 4, "STUDENT_EMBD": 2, "N_HEAD": 2}
SHORT = {
    "PRETRAIN_STEPS": 2,
    "STEPS": 3,
    "SAME_STEPS": 2,
    "FEW": 4,
    "FEWER": 2,
    "LOOK_EVERY": 2,
    "HELD_OUT_NAMES": 3,
}
KEPT = {name: getattr(m, name) for name in (*SMALL, *SHORT, "TEMPERATURE", "BATCH")}


def setUpModule():
    for name, value in {**SMALL, **SHORT}.items():
        setattr(m, name, value)


def tearDownModule():
    for name, value in KEPT.items():
        setattr(m, name, value)


def soften(z, t):
    """softmax(z / t), without subtracting anything."""
    exps = [math.exp(x / t) for x in z]
    return [e / sum(exps) for e in exps]


def task_of(teacher, names=("abc", "de"), held_out=("ab", "c"), seed=3):
    alphabet = ["", *"abcde"]
    unseen = [m.encode(name, alphabet) for name in held_out]
    return m.Task(
        seed=seed,
        alphabet=alphabet,
        teacher=teacher,
        taught=[m.encode(name, alphabet) for name in names],
        held_out=unseen,
        doubts=[[m.softmax(v) for v in m.logits_of(teacher, tokens)] for tokens in unseen],
    )


def quietly(function, *arguments):
    """(result, what was printed)."""
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()):
        result = function(*arguments)
    return result, output.getvalue()


class Loss(unittest.TestCase):
    Z, V = [0.3, -1.2, 2.0, 0.1], [1.0, 0.5, -0.7, 0.2]

    def test_value_is_the_definition(self):
        for t in (0.7, 1.0, 3.0):
            q, p = soften(self.V, t), soften(self.Z, t)
            want = t * t * sum(a * math.log(a / b) for a, b in zip(q, p))
            self.assertAlmostEqual(m.distill_loss(self.Z, q, t), want, 12)
            learning = m.distill_loss([Value(x) for x in self.Z], q, t)
            self.assertAlmostEqual(learning.data, want, 12)

    def test_gradient(self):
        for t in (0.7, 1.0, 3.0):
            q = soften(self.V, t)
            logits = [Value(x) for x in self.Z]
            m.distill_loss(logits, q, t).backward()
            for i, x in enumerate(self.Z):

                def f(y, i=i, t=t, q=q):
                    return m.distill_loss([*self.Z[:i], y, *self.Z[i + 1 :]], q, t)

                self.assertAlmostEqual(logits[i].grad, slope(f, x), 8)
            self.assertAlmostEqual(sum(x.grad for x in logits), 0.0, 12)

    def test_zero_only_where_the_student_is_the_target(self):
        for t in (1.0, 2.0):
            q = soften(self.V, t)
            logits = [Value(x + 5.0) for x in self.V]  # logits have no zero point
            loss = m.distill_loss(logits, q, t)
            loss.backward()
            self.assertAlmostEqual(loss.data, 0.0, 12)
            for x in logits:
                self.assertAlmostEqual(x.grad, 0.0, 12)
            self.assertGreater(m.distill_loss(self.Z, q, t), 0.01)

    def test_is_not_symmetric(self):
        """KL(q || p), not KL(p || q): a letter of q = 0 costs nothing, one of p near 0 a lot."""
        self.assertAlmostEqual(m.distill_loss([0.0, 0.0], [1.0, 0.0]), math.log(2), 12)
        self.assertAlmostEqual(m.distill_loss([50.0, 0.0], [0.5, 0.5]), 25.0 - math.log(2), 9)

    def test_a_hard_label_is_the_cross_entropy(self):
        one, other = [Value(x) for x in self.Z], [Value(x) for x in self.Z]
        soft, hard = m.distill_loss(one, [0.0, 0.0, 1.0, 0.0]), m.cross_entropy(other, 2)
        self.assertAlmostEqual(soft.data, hard.data, 12)
        soft.backward()
        hard.backward()
        for a, b in zip(one, other):
            self.assertAlmostEqual(a.grad, b.grad, 12)

    def test_no_overflow(self):
        for z in ([1000.0, 0.0], [-1000.0, 0.0]):
            for t in (0.5, 1.0, 2.0):
                want = t * t * (500.0 / t - math.log(2))
                self.assertAlmostEqual(m.distill_loss(z, [0.5, 0.5], t) / want, 1.0, 9)

    def test_t_squared_keeps_the_gradients_size(self):
        """At a high temperature the slope is (z_j - v_j) / n, for logits of mean 0."""
        z, v = [0.3, -0.5, 0.2], [0.1, 0.4, -0.5]
        for t in (200.0, 400.0):
            logits = [Value(x) for x in z]
            m.distill_loss(logits, soften(v, t), t).backward()
            for x, a, b in zip(logits, z, v):
                self.assertAlmostEqual(x.grad, (a - b) / 3, 3)

    def test_entropy(self):
        self.assertEqual(m.entropy([0.0, 1.0, 0.0]), 0.0)
        self.assertAlmostEqual(m.entropy([0.25] * 4), math.log(4), 12)
        self.assertAlmostEqual(m.entropy([0.5, 0.25, 0.25]), 1.5 * math.log(2), 12)


class Golden(unittest.TestCase):
    """PyTorch's kl_div and cross_entropy (tests/golden/generate_distill.py)."""

    def setUp(self):
        text = (ROOT / "tests" / "golden" / "distill.json").read_text("utf-8")
        self.golden = json.loads(text)

    def close(self, got, want):
        scale = max(1e-3, *(abs(x) for x in want))
        self.assertEqual(len(got), len(want))
        for a, b in zip(got, want):
            self.assertLessEqual(abs(a - b) / scale, 1e-9)

    def test_soft_targets(self):
        for case in self.golden["soft"]:
            t = case["t"]
            q = m.softmax(case["v"], t)
            self.close(q, case["q"])
            self.close([m.entropy(q)], [case["entropy"]])
            logits = [Value(x) for x in case["z"]]
            loss = m.distill_loss(logits, q, t)
            loss.backward()
            self.close([loss.data], [case["kl"]])
            self.close([x.grad for x in logits], case["grads"])
            # the cross-entropy with probabilities differs by the entropy, not in its gradient
            self.close([loss.data + t * t * m.entropy(q)], [case["cross entropy"]])
            self.close([x.grad for x in logits], case["cross entropy's grads"])

    def test_label_smoothing(self):
        for case in self.golden["smoothed"]:
            lesson = m.hard_lesson([0, case["right"]], len(case["z"]))
            (q,) = m.smoothed(lesson, case["share"]).targets
            logits = [Value(x) for x in case["z"]]
            loss = m.distill_loss(logits, q)
            loss.backward()
            self.close([loss.data + m.entropy(q)], [case["loss"]])
            self.close([x.grad for x in logits], case["grads"])


class Lessons(unittest.TestCase):
    def setUp(self):
        self.teacher = m.init_model(LETTERS, random.Random(1))
        for row in self.teacher["lm_head"]:  # of strong opinions
            row[:] = [8 * x for x in row]
        self.tokens = [0, 2, 3, 5, 0]

    def test_hard(self):
        lesson = m.hard_lesson(self.tokens, LETTERS)
        self.assertEqual((lesson.tokens, lesson.t), (self.tokens, 1.0))
        self.assertEqual(len(lesson.targets), 4)
        for q, right in zip(lesson.targets, [2, 3, 5, 0]):
            self.assertEqual(q, [1.0 if i == right else 0.0 for i in range(LETTERS)])

    def test_soft_is_what_the_teacher_says_at_each_prefix(self):
        lesson = m.soft_lesson(self.teacher, self.tokens, 3.0)
        self.assertEqual((lesson.tokens, lesson.t), (self.tokens, 3.0))
        self.assertEqual(len(lesson.targets), 4)
        for i, q in enumerate(lesson.targets):
            cache = m.new_cache()
            for token in self.tokens[: i + 1]:
                logits = m.gpt(self.teacher, token, cache)
            for a, b in zip(q, soften(logits, 3.0)):
                self.assertAlmostEqual(a, b, 12)

    def test_soft_does_not_know_the_label(self):
        """The last token is never read: only the probabilities before it are."""
        one = m.soft_lesson(self.teacher, self.tokens, 2.0)
        other = m.soft_lesson(self.teacher, [*self.tokens[:-1], 4], 2.0)
        self.assertEqual(one.targets, other.targets)

    def test_smoothed(self):
        lesson = m.smoothed(m.hard_lesson(self.tokens, LETTERS), 0.3)
        for q, right in zip(lesson.targets, self.tokens[1:]):
            self.assertAlmostEqual(sum(q), 1.0, 12)
            self.assertAlmostEqual(q[right], 0.7 + 0.05, 12)
            self.assertAlmostEqual(min(q), 0.05, 12)
        self.assertEqual(lesson.t, 1.0)

    def test_permuted(self):
        lesson = m.soft_lesson(self.teacher, self.tokens, 2.0)
        before = [q[:] for q in lesson.targets]
        moved = 0
        for seed in range(20):
            wrong = m.permuted(lesson, random.Random(seed))
            self.assertEqual((wrong.tokens, wrong.t), (lesson.tokens, 2.0))
            self.assertEqual(len(wrong.targets), len(lesson.targets))
            for old, new, right in zip(lesson.targets, wrong.targets, self.tokens[1:]):
                self.assertEqual(new[right], old[right])
                self.assertEqual(sorted(new), sorted(old))
                moved += sum(a != b for a, b in zip(old, new))
        self.assertEqual(lesson.targets, before)  # a copy
        # a shuffle of the other five leaves one of them in its place, on average
        self.assertAlmostEqual(moved / (20 * 4), 4.0, delta=0.5)

    def test_written_by_the_teacher(self):
        lesson = m.written_lesson(self.teacher, LETTERS, random.Random(4))
        name = m.sample(self.teacher, [m.EDGE], random.Random(4))
        self.assertEqual(lesson, m.hard_lesson([m.EDGE, *name], LETTERS))
        full = {"lm_head": [[0.0] * 4, *([[9.0, 0.0, 0.0, 0.0]] * 5)], "wte": [[1.0] * 4] * 6}
        lesson = m.written_lesson({**self.teacher, **full}, LETTERS, random.Random(4))
        self.assertLessEqual(len(lesson.tokens), m.BLOCK_SIZE + 1)
        m.lesson_loss(self.teacher, lesson)  # it fits the context


class Learning(unittest.TestCase):
    def setUp(self):
        self.model = m.student_model(LETTERS, random.Random(2))
        self.teacher = m.init_model(LETTERS, random.Random(1))

    def test_student_is_init_model_at_its_width(self):
        with patch.object(m, "N_LAYER", 2):
            student = m.student_model(LETTERS, random.Random(5))
            with patch.object(m, "N_EMBD", m.STUDENT_EMBD):
                self.assertEqual(student, m.init_model(LETTERS, random.Random(5)))

    def test_lesson_loss_is_the_mean_over_the_letters(self):
        lesson = m.soft_lesson(self.teacher, [0, 1, 4, 0], 2.0)
        cache, losses = m.new_cache(), []
        for token, q in zip(lesson.tokens, lesson.targets):
            p = soften(m.gpt(self.model, token, cache), 2.0)
            losses.append(4.0 * sum(a * math.log(a / b) for a, b in zip(q, p)))
        self.assertEqual(len(losses), 3)
        self.assertAlmostEqual(m.lesson_loss(self.model, lesson), sum(losses) / 3, 12)

    def test_gradient_of_a_whole_lesson(self):
        lesson = m.soft_lesson(self.teacher, [0, 1, 4, 0], 2.0)
        student = m.unfreeze(self.model)
        m.lesson_loss(student, lesson).backward()
        for name, matrix in self.model.items():

            def f(x, matrix=matrix):
                kept, matrix[1][1] = matrix[1][1], x
                loss = m.lesson_loss(self.model, lesson)
                matrix[1][1] = kept
                return loss

            self.assertAlmostEqual(student[name][1][1].grad, slope(f, matrix[1][1]), 7, name)

    def test_hard_lessons_are_the_shared_next_letter(self):
        student, twin = m.unfreeze(self.model), m.unfreeze(self.model)
        with patch.object(m, "BATCH", 1):
            lesson = m.hard_lesson([0, 1, 2, 0], LETTERS)
            one = m.study(student, [lesson], random.Random(1))()
            other = m.next_letter(twin, ["ab"], ["", *"abcde"], random.Random(1))()
        self.assertAlmostEqual(one, other, 12)
        for a, b in zip(m.weights_of(student), m.weights_of(twin)):
            self.assertAlmostEqual(a.grad, b.grad, 12)

    def test_study_is_the_mean_of_a_batch_and_sees_every_lesson(self):
        lessons = [m.hard_lesson([0, i, 0], LETTERS) for i in range(1, 5)]
        seen = []
        with patch.object(m, "BATCH", 2), patch.object(m, "lesson_loss") as loss:
            loss.side_effect = lambda model, lesson: seen.append(lesson) or Value(6.0)
            learn = m.study(self.model, lessons, random.Random(1))
            self.assertEqual([learn() for _ in range(4)], [6.0] * 4)
        for half in (seen[:4], seen[4:]):
            self.assertEqual(sorted(x.tokens for x in half), [x.tokens for x in lessons])
        self.assertNotEqual([x.tokens for x in seen[:4]], [x.tokens for x in lessons])
        # the gradient is the mean of both lessons' gradients
        student, twin = m.unfreeze(self.model), m.unfreeze(self.model)
        with patch.object(m, "BATCH", 2):
            m.study(student, lessons[:2], random.Random(1))()
        (m.total([m.lesson_loss(twin, x) for x in lessons[:2]]) / 2).backward()
        for a, b in zip(m.weights_of(student), m.weights_of(twin)):
            self.assertAlmostEqual(a.grad, b.grad, 12)

    def test_students_come_to_say_what_the_teacher_says(self):
        teacher = m.freeze(self.teacher)
        for row in teacher["lm_head"]:
            row[:] = [8 * x for x in row]
        tokens = [0, 1, 2, 3, 4, 5, 0]
        for t in (1.0, 2.0):
            student = m.unfreeze(m.init_model(LETTERS, random.Random(7)))
            learn = m.study(student, [m.soft_lesson(teacher, tokens, t)], random.Random(1))
            first, adam = learn(), m.Adam(m.weights_of(student))
            adam.step(0.0)
            for _ in range(60):
                last = learn()
                adam.step(0.03)
            self.assertLess(last, 0.1 * first)
            # at T = 1 as well, where it is used
            exam = m.examine(m.freeze(student), task_of(teacher, held_out=("abcde",)), 0)
            self.assertLess(exam.kl, 0.1 * first)


class Measures(unittest.TestCase):
    def setUp(self):
        self.teacher = m.init_model(LETTERS, random.Random(1))
        for row in self.teacher["lm_head"]:
            row[:] = [8 * x for x in row]
        self.task = task_of(self.teacher)

    def test_examine(self):
        model = m.init_model(LETTERS, random.Random(8))
        exam = m.examine(model, self.task, 7)
        self.assertEqual(exam.step, 7)
        names = ["ab", "c"]
        self.assertAlmostEqual(exam.loss, m.mean_loss(model, names, self.task.alphabet), 12)
        kls = []
        for name in names:
            tokens = m.encode(name, self.task.alphabet)
            for z, v in zip(m.logits_of(model, tokens), m.logits_of(self.teacher, tokens)):
                q, p = soften(v, 1.0), soften(z, 1.0)
                kls.append(sum(a * math.log(a / b) for a, b in zip(q, p)))
        self.assertAlmostEqual(exam.kl, sum(kls) / 5, 12)
        self.assertAlmostEqual(m.examine(self.teacher, self.task, 0).kl, 0.0, 12)

    def test_a_watched_row_is_kept_at_its_best(self):
        start = m.student_model(LETTERS, random.Random(2))
        losses = {2: 1.0, 4: 2.0, 5: 2.5}
        seen = {}

        def exam(model, task, step):
            seen[step] = m.freeze(model)
            return m.Exam(step=step, loss=losses[step], kl=0.1 * step)

        lessons = [m.hard_lesson([0, 1, 0], LETTERS)]
        for watch, steps, kept in ((True, [2, 4, 5], 2), (False, [5], 5)):
            row = m.Row(label="x", lessons=lessons, lr=0.1, steps=5, watch=watch)
            with patch.object(m, "examine", side_effect=exam):
                result, _ = quietly(m.fit, self.task, row, start)
            self.assertEqual([x.step for x in result.exams], steps)
            self.assertEqual((result.best.step, result.end.step), (kept, 5))
            self.assertEqual(result.model, seen[kept])
        self.assertEqual(start, m.student_model(LETTERS, random.Random(2)))  # a copy was trained
        self.assertNotEqual(seen[2], seen[5])

    def test_steps_and_rate_reach_training(self):
        start = m.student_model(LETTERS, random.Random(2))
        row = m.Row(
            label="x", lessons=[m.hard_lesson([0, 1, 0], LETTERS)], lr=0.3, steps=4, watch=False
        )
        with patch.object(m, "train", wraps=m.train) as train:
            quietly(m.fit, self.task, row, start)
        label, _, adam, steps, lr, _ = train.call_args.args
        self.assertEqual((label, steps, lr), ("x", 4, 0.3))
        self.assertEqual(len(adam.values), len(m.weights_of(start)))

    def rows(self):
        hard = [m.hard_lesson(tokens, LETTERS) for tokens in self.task.taught]
        same = m.init_model(LETTERS, random.Random(5))
        rows = m.make_rows(self.task, hard, same, random.Random(6))
        return same, hard, {row.label: row for row in rows}

    def test_rows_differ_in_what_they_say(self):
        with patch.multiple(m, FEWER=1, BATCH=2):
            same, hard, rows = self.rows()
        few, t = self.task.taught, m.TEMPERATURE
        lessons = {label: list(row.lessons) for label, row in rows.items()}
        soft = [m.soft_lesson(self.teacher, tokens, t) for tokens in few]
        self.assertEqual(lessons["hard labels"], hard)
        self.assertEqual(lessons["hard, smoothed"], [m.smoothed(x, m.SMOOTHING) for x in hard])
        self.assertEqual(lessons["soft targets"], soft)
        self.assertEqual(lessons["soft, fewer names"], soft[:1])
        self.assertEqual(lessons["soft, 2nd teacher"], [m.soft_lesson(same, x, t) for x in few])
        self.assertEqual(lessons["hard, all names"], hard)
        self.assertEqual(len(lessons["teacher's names"]), m.STEPS * 2)  # each is used once
        for right, wrong in zip(soft, lessons["soft, permuted"]):
            self.assertNotEqual(right.targets, wrong.targets)
            for q, p in zip(right.targets, wrong.targets):
                self.assertAlmostEqual(m.entropy(q), m.entropy(p), 12)
        watched = {label for label, row in rows.items() if row.watch}
        controls = {"hard labels", "hard, smoothed", "soft, permuted", "soft, 2nd teacher"}
        self.assertEqual(watched, controls | {"soft targets"})
        self.assertEqual({row.steps for row in rows.values()}, {m.STEPS})

    def test_the_temperature_reaches_targets_and_students(self):
        with patch.object(m, "TEMPERATURE", 5.0):
            _, _, rows = self.rows()
        for label in ("soft targets", "soft, fewer names", "soft, permuted", "soft, 2nd teacher"):
            self.assertEqual({lesson.t for lesson in rows[label].lessons}, {5.0})
        for label in ("hard labels", "hard, smoothed", "teacher's names", "hard, all names"):
            self.assertEqual({lesson.t for lesson in rows[label].lessons}, {1.0})


class Wiring(unittest.TestCase):
    """make_task() and experiment(): who gets what."""

    def setUp(self):
        self.fits, self.models = {}, {}

    def test_bad_settings_end_it_before_anything_is_learnt(self):
        with patch.object(m, "SMOOTHING", 1.5), patch.object(m, "pretrain") as pretrain:
            with self.assertRaises(SystemExit):
                quietly(m.experiment, 5, None)
        pretrain.assert_not_called()

    def test_seed_and_file_reach_the_experiment(self):
        with patch.object(m, "experiment", return_value=3) as experiment:
            self.assertEqual(m.main(["--seed", "7", "--names", "x.txt"]), 3)
        experiment.assert_called_once_with(seed=7, names="x.txt")

    def test_a_file_of_names(self):
        """Every letter has its token, those of held-out names too; the longest names just fit."""
        short = [letter * 2 for letter in string.ascii_lowercase]
        fits, too_long = "x" * 15, ["y" * 16, "z" * 17]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "names.txt"
            path.write_text("\n".join([*short, fits, *too_long]), "utf-8")
            task, output = quietly(m.make_task, 3, str(path))
        self.assertEqual(task.alphabet, ["", *string.ascii_lowercase])
        self.assertEqual(len(task.held_out), m.HELD_OUT_NAMES)
        self.assertIn("24 names to learn, 3 held out", output)
        names = [m.decode(tokens, task.alphabet) for tokens in task.taught + task.held_out]
        self.assertEqual(sorted(names), sorted([*short, fits]))
        for tokens in task.taught + task.held_out:
            self.assertEqual((tokens[0], tokens[-1]), (m.EDGE, m.EDGE))

    def fit(self, task, row, start):
        self.fits[row.label] = (row, start)
        self.models[row.label] = m.freeze(start)
        exams = [m.Exam(step=s, loss=1.0, kl=0.0) for s in (1, 2)]
        return m.Result(row=row, exams=exams, model=self.models[row.label])

    def test_who_learns_what_from_where(self):
        shows = ("show_doubts", "show_temperature", "show_courses", "show_results", "show_writing")
        with patch.multiple(m, **dict.fromkeys(shows, DEFAULT)) as shown:
            shown["show_doubts"].return_value = 1
            rows = patch.object(m, "make_rows", wraps=m.make_rows)
            with patch.object(m, "fit", self.fit), rows as make_rows:
                with patch.object(m, "check_claims"):
                    quietly(m.experiment, 5, None)
        task, hard, same, _ = make_rows.call_args.args
        # the few names are the first of the teacher's
        self.assertEqual(hard, [m.hard_lesson(x, len(task.alphabet)) for x in task.taught[:4]])
        # the second teacher: as wide as the first, the few names only, its best step
        row, wide = self.fits.pop("second teacher")
        self.assertEqual((row.lessons, row.lr, row.steps), (hard, m.HARD_LR, m.SAME_STEPS))
        self.assertTrue(row.watch)
        self.assertEqual(len(wide["wte"][0]), m.N_EMBD)
        self.assertIs(same, self.models["second teacher"])
        # all students start from the same weights
        starts = [start for _, start in self.fits.values()]
        self.assertEqual(len(starts[0]["wte"][0]), m.STUDENT_EMBD)
        for start in starts:
            self.assertIs(start, starts[0])
        # both lessons that are compared letter by letter are of one name, the first
        _, soft, wrong = shown["show_doubts"].call_args.args
        self.assertEqual(soft.tokens, task.taught[0])
        self.assertEqual(wrong.tokens, soft.tokens)
        self.assertEqual(soft.targets, m.soft_lesson(task.teacher, soft.tokens, soft.t).targets)
        self.assertNotEqual(wrong.targets, soft.targets)
        v, z = shown["show_temperature"].call_args.args  # after the letter that show_doubts chose
        self.assertEqual(v, m.logits_of(task.teacher, soft.tokens)[1])
        self.assertEqual(z, m.logits_of(starts[0], soft.tokens)[1])
        # names are shown as each model writes them
        writers, _ = shown["show_writing"].call_args.args
        students = ("hard labels", "soft targets", "soft, permuted")
        self.assertEqual(list(writers), ["teacher", *students])
        for label, model in {"teacher": task.teacher, **self.models}.items():
            self.assertIs(writers.get(label, model), model)


class Displays(unittest.TestCase):
    def setUp(self):
        self.teacher = m.init_model(LETTERS, random.Random(1))
        self.task = task_of(self.teacher)

    def test_doubts_show_the_position_they_return(self):
        for name, at in (("abc", 2), ("a", 1)):
            tokens = m.encode(name, self.task.alphabet)
            soft = m.soft_lesson(self.teacher, tokens, 2.0)
            wrong = m.permuted(soft, random.Random(1))
            shown, text = quietly(m.show_doubts, self.task, soft, wrong)
            self.assertEqual(shown, at)
            self.assertIn(f"after {name[:at]!r} in {name!r}", text)
            marked = next(line for line in text.splitlines() if "< " in line[:8])
            letter = self.task.alphabet[tokens[at + 1]] or "end"
            self.assertEqual(marked.split("<")[0].strip(), letter)
            numbers = [float(x) for x in marked.split() if x[0].isdigit()]
            q = soft.targets[at][tokens[at + 1]]
            plain = m.softmax(m.logits_of(self.teacher, tokens)[at])[tokens[at + 1]]
            for got, want in zip(numbers, (1.0, plain, q, q)):
                self.assertAlmostEqual(got, want, delta=0.006)

    def test_temperature_table(self):
        v, z = [2.0, 0.0, -1.0], [0.1, 0.0, 0.2]
        _, text = quietly(m.show_temperature, v, z)
        rows = [line.split() for line in text.splitlines()[3:7]]
        for row, t in zip(rows, (1, 2, 4, 8)):
            q, p = soften(v, t), soften(z, t)
            size = sum(abs(a - b) / t for a, b in zip(p, q))
            want = (t, m.entropy(q), size, t * t * size)
            for a, b in zip(map(float, row), want):
                self.assertAlmostEqual(a, b, delta=0.006)

    def test_results_are_measured_from_the_yardstick(self):
        exams = [m.Exam(step=s, loss=x, kl=x / 10) for s, x in ((0, 3.0), (2, 2.5), (4, 2.75))]
        lessons = [m.hard_lesson([0, 1, 0], LETTERS)] * 3
        row = m.Row(label="some row", lessons=lessons, lr=0.1, steps=4, watch=True)
        result = m.Result(row=row, exams=exams, model={})
        teacher = m.Exam(step=0, loss=2.2, kl=0.0)
        _, text = quietly(m.show_results, [result], self.task, teacher, 2.6)
        line = next(x for x in text.splitlines() if "some row" in x)
        got = [float(x) for x in line.replace("some row", "").split()]
        self.assertEqual(got, [3, 0.0, 0.275, 2.75, 0.15, 2.5, -0.1, 2])

    def test_the_claims_compare_what_they_say(self):
        """Every control at its best step, soft targets and the written names at their end."""
        losses = {  # best, end
            "hard labels": (2.0, 9.0), "hard, smoothed": (1.5, 9.0), "soft targets": (0.0, 1.0),
            "soft, fewer names": (0.0, 1.25), "soft, permuted": (2.5, 9.0),
            "soft, 2nd teacher": (1.75, 9.0), "teacher's names": (0.0, 1.125),
            "hard, all names": (0.0, 9.0), "second teacher": (2.0, 9.0),
        }  # fmt: skip

        def fit(task, row, start):
            exams = [m.Exam(step=s, loss=x, kl=0.0) for s, x in zip((1, 2), losses[row.label])]
            return m.Result(row=row, exams=exams, model=start)

        with patch.object(m, "fit", side_effect=fit), patch.object(m, "check_claims") as check:
            quietly(m.experiment, 5, None)
        (claims,) = check.call_args.args
        got = [measured for _, measured, _, _ in claims]
        self.assertEqual(got, [-1.0, -0.75, -0.5, 0.5, -0.75, 0.125])
        self.assertLessEqual(max(len(text) for text, *_ in claims), 48)


if __name__ == "__main__":
    unittest.main()
