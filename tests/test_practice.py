"""docs/practice.py: the scripts pass their own checks, and each known mistake gets its hint."""

import io
import os
import subprocess
import sys
import tempfile
import unittest
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from tests.helpers import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import practice  # noqa: E402

EXERCISES = [(script, f) for script, functions in practice.FUNCTIONS.items() for f in functions]


@contextmanager
def practice_file(script, function, change):
    """A practice file whose function has another body."""
    text = practice.rewrite(practice.TEXTS[script], function, change)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"practice_{script}.py"
        path.write_text(f"# Practice: {script} {function}\n{text}", "utf-8")
        yield path


def check(path):
    out = io.StringIO()
    with redirect_stdout(out):
        failed = practice.check(str(path))
    return failed, out.getvalue().splitlines()


def written(script, function, *lines):
    """The check of a function with these lines as its body."""
    with practice_file(script, function, "\n    ".join(lines)) as path:
        return check(path)


class Exercises(unittest.TestCase):
    def test_at_least_two_in_every_script(self):
        self.assertEqual(len(practice.FUNCTIONS), 12)
        for script, functions in practice.FUNCTIONS.items():
            self.assertGreaterEqual(len(functions), 2, script)

    def test_the_scripts_pass(self):
        for script, function in EXERCISES:
            with self.subTest(f"{script} {function}"):
                failed, lines = written(script, function, " => ")  # an edit that changes nothing
                self.assertIsNone(failed, lines)
                self.assertEqual(len(lines), len(practice.lines(function, ">")))

    def test_each_mistake_gets_its_hint_and_no_other(self):
        for function in practice.BLOCKS:
            script = next(s for s, f in EXERCISES if f == function)
            for line in practice.lines(function, "-"):
                change, hint = line.split("  # ")
                with practice_file(script, function, change) as path, self.subTest(line):
                    failed, lines = check(path)
                    self.assertEqual(failed, 1)
                    self.assertEqual([x[9:] for x in lines if x.startswith("hint")], [hint])


class Learner(unittest.TestCase):
    def test_other_ways_to_write_it_agree(self):
        loss = "return (((logratio_l - logratio_w) * beta).exp() + 1.0).log()"
        self.assertIsNone(written("microdpo", "dpo_loss", loss)[0])
        surrogate = (
            "ratio = math.e ** (log_prob.data - old_log_prob)",
            "low, high = ratio < 1.0 - CLIP, ratio > 1.0 + CLIP",
            "if advantage > 0.0 and high or advantage < 0.0 and low:",
            "    return Value(-advantage * (1.0 + CLIP if high else 1.0 - CLIP)), True",
            "return -((log_prob - old_log_prob).exp() * advantage), False",
        )
        self.assertIsNone(written("microgrpo", "clipped_surrogate", *surrogate)[0])

    def test_what_goes_wrong_makes_one_clear_line(self):
        loss = "preference_loss((logratio_w - logratio_l) * beta)"
        for body, got in (
            ("raise NotImplementedError", "NotImplementedError in line "),
            ("return dpo_loss(logratio_w, logratio_l, beta)", "RecursionError in line "),
            ("return logratio", "NameError in line "),
            ("return (", "SyntaxError in line "),
            ("exit()", "SystemExit in line "),
            (loss, "null"),
            (f"return {loss}.data", "0.541698"),
            (f"return [{loss}]", '[{"Value": 0.541698}]'),
        ):
            with self.subTest(body):
                failed, lines = written("microdpo", "dpo_loss", body)
                self.assertEqual(failed, 1)
                self.assertTrue(lines[-1].startswith(f"got      {got}"), lines)

    def test_commands(self):
        with tempfile.TemporaryDirectory() as folder:

            def run(*arguments):
                command = [sys.executable, "-B", ROOT / "docs" / "practice.py", *arguments]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
                self.assertNotIn("Traceback", done.stderr)
                return done.returncode, done.stdout + done.stderr

            self.assertIn("microdpo       token_log_probs log_prob dpo_loss\n", run("list")[1])
            self.assertEqual(run("new", "micromoe", "Expert.backward")[0], 0)
            self.assertEqual(os.listdir(folder), ["practice_micromoe.py"])
            status, out = run("check", "practice_micromoe.py")
            self.assertEqual((status, out.count("NotImplementedError")), (1, 1))
            self.assertIn("File exists", run("new", "micromoe", "moe")[1])
            self.assertIn("first line", run("check", ROOT / "micromoe.py")[1])
            for wrong in ((), ("new", "micromoe"), ("new", "micromoe", "gae"), ("check",)):
                self.assertEqual(run(*wrong)[0], 1, wrong)
