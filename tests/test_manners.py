"""How the scripts behave as commands: alone, interrupted, piped, given bad files, edited."""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from tests.helpers import ROOT, edited, start
from tests.tools import blocks

try:
    import pty
except ImportError:  # Windows
    pty = None  # type: ignore[assignment]

posix = unittest.skipUnless(os.name == "posix", "signals, pipes and shells of another kind")
FULL = os.path.exists("/dev/full")

ERROR = rb"^error: [^\n]+\n$"


class Manners(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.everyone = []
        for path in blocks.scripts():
            alone = Path(folder.name) / path.stem
            alone.mkdir()
            cls.everyone.append(edited(path, alone))
            alone.chmod(0o555)  # nothing may be written there
        # what is shared text is tried on the four at the top level
        cls.copies = [copy for copy in cls.everyone if (ROOT / copy.name).exists()]

    def shell(self, copy, line):
        """(exit status, stdout, stderr) of a line for the shell, in which $RUN runs the script."""
        command = f"RUN='{sys.executable} -I {copy.name}'; {line}"
        done = subprocess.run(["bash", "-c", command], cwd=copy.parent, capture_output=True)
        return done.returncode, done.stdout, done.stderr

    def test_runs_alone_and_reproducibly(self):
        for copy in self.everyone:
            one = start(copy, PYTHONHASHSEED="1")
            two = start(copy, PYTHONHASHSEED="2")
            self.assertIn(one.returncode, (0, 1), one.stderr.decode())
            self.assertNotIn(b"Traceback", one.stderr)
            self.assertEqual(one.stdout, two.stdout)
            text = one.stdout.decode("utf-8")
            self.assertIn("claims, measured in this run", text)
            failed = "\n  FAIL " in text
            self.assertEqual(one.returncode, int(failed))  # 1 if and only if a claim fails
            lines = text.splitlines()
            self.assertLessEqual(max(map(len, lines)), 80, max(lines, key=len))
            self.assertEqual(list(copy.parent.iterdir()), [copy])
            # neither a closed stderr nor a full one changes the result
            streams = ["2>&-"] * (os.name == "posix") + ["2>/dev/full"] * FULL
            for where in streams if copy in self.copies else ():
                status, output, _ = self.shell(copy, f"$RUN {where}")
                self.assertEqual((status, output), (one.returncode, one.stdout), where)

    @unittest.skipUnless(FULL, "no /dev/full")
    def test_a_full_disk_gets_one_line(self):
        for copy in self.copies:
            status, _, errors = self.shell(copy, "$RUN >/dev/full")
            self.assertEqual(status, 2, errors)
            self.assertEqual(errors.count(b"error: stdout: "), 1)
            self.assertNotRegex(errors, b"Traceback|Exception")

    def test_own_names_on_an_ascii_terminal(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "names"
            letters = "áбγ나"
            file.write_text(
                "\n".join(f"{a}{b}{c}" for a in letters for b in letters for c in letters), "utf-8"
            )
            for copy in self.copies:
                arguments = ("--seed", "7", "--names", file)
                done = start(copy, *arguments, flags=(), PYTHONIOENCODING="ascii")
                self.assertIn(done.returncode, (0, 1), done.stderr.decode())
                self.assertNotIn(b"Traceback", done.stderr)
                self.assertTrue(done.stdout.isascii())

    def test_names_that_nobody_can_judge(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "names"
            file.write_text("\n".join(f"им{a}{b}" for a in "абвгд" for b in "абвгд"), "utf-8")
            for copy in self.copies:
                if "def flow(" in copy.read_text("utf-8"):
                    done = start(copy, "--names", file)
                    self.assertEqual((done.returncode, done.stdout), (2, b""))
                    self.assertRegex(done.stderr, ERROR)

    def test_help(self):
        for copy in self.copies:
            done = start(copy, "--help")
            self.assertEqual(done.returncode, 0)
            for flag in (b"--seed", b"--names"):
                self.assertIn(flag, done.stdout)

    def test_bad_flags_and_files_get_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            binary = Path(folder) / "binary"
            binary.write_bytes(bytes(range(256)))
            bad = [
                ["--seed", "x"],
                ["--unknown"],
                ["--names"],
                ["--names", folder],
                ["--names", f"{folder}/absent\nfile"],
                ["--names", binary],
                ["--names", ""],
            ]
            for copy in self.copies:
                for arguments in bad:
                    done = start(copy, *arguments)
                    self.assertEqual(done.returncode, 2, arguments)
                    self.assertEqual(done.stdout, b"")
                    self.assertRegex(done.stderr, ERROR)

    @posix
    def test_reader_that_leaves(self):
        for copy in self.copies:
            process = subprocess.Popen(
                [sys.executable, "-I", copy.name],
                cwd=copy.parent,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            process.stderr.close()
            self.assertNotEqual(process.wait(60), 0)
            self.assertNotRegex(errors, b"Traceback|Exception|Broken")

    @posix
    def test_interrupted(self):
        for copy in self.copies:
            with tempfile.TemporaryDirectory() as folder:
                slow = edited(ROOT / copy.name, folder, fast=False)
                process = subprocess.Popen(
                    [sys.executable, "-I", slow.name],
                    cwd=slow.parent,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    # a shell's background jobs ignore SIGINT, and their children would inherit that
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                )
                process.stderr.readline()  # training has begun
                process.send_signal(signal.SIGINT)
                errors = process.stderr.read()
                process.stderr.close()
                self.assertEqual(process.wait(60), 130)
            self.assertTrue(errors.endswith(b"\ninterrupted\n"), errors)
            self.assertNotIn(b"Traceback", errors)

    @posix
    def test_narrow_terminal(self):
        """Progress on a terminal of 40 columns stays within its line."""
        for copy in self.copies:
            master, slave = pty.openpty()
            process = subprocess.Popen(
                [sys.executable, "-I", copy.name],
                cwd=copy.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=slave,
                env={**os.environ, "COLUMNS": "40"},
            )
            os.close(slave)
            output, limit = b"", time.monotonic() + 60
            while time.monotonic() < limit:
                if select.select([master], [], [], 0.1)[0]:
                    try:
                        output += os.read(master, 65536)
                    except OSError:  # Linux: the other end is closed
                        break
                elif process.poll() is not None:
                    break
            process.wait(60)
            os.close(master)
            lines = re.split(rb"[\r\n]+", output)
            self.assertGreater(len(lines), 10)
            self.assertLess(max(map(len, lines)), 40)


# An edit either works or ends, before any training, with one clear line. In the first table the
# words of that line; in the second the edits that have to work, in runs with few steps.
ALL = [path.stem for path in blocks.scripts() if path.parent == ROOT]
REFUSED = [
    (ALL, {"N_HEAD": 3, "N_EMBD": 8}, "N_EMBD = 8 is no multiple of N_HEAD = 3"),
    (ALL, {"N_HEAD": 0}, "N_HEAD = 0"),
    (ALL, {"N_LAYER": 0}, "N_LAYER = 0"),
    (ALL, {"BLOCK_SIZE": 1}, "BLOCK_SIZE = 1"),
    (ALL, {"N_EMBD": 8.0}, "N_EMBD = 8.0: give a whole number"),
    (["microlora"], {"ADAPT_STEPS": 0}, "ADAPT_STEPS = 0"),
    (["microlora"], {"PRETRAIN_STEPS": -1}, "PRETRAIN_STEPS = -1"),
    (["microlora"], {"HEADLINE": 'Row(places="wo lm_haed", rank=1, lr=0.02)'}, "'lm_haed' is none"),
    (["microlora"], {"HEADLINE": 'Row(places="wo", rank=0, lr=0.02)'}, "rank = 0"),
    (["microlora"], {"HEADLINE": 'Row(places="", rank=1, lr=0.02)'}, "'' is none of"),
    (["microlora"], {"BLOCK_SIZE": 5}, "too few of the target's names fit"),
    (["microdpo", "microppo"], {"SAMPLES": 1}, "SAMPLES = 1"),
    (["microdpo", "microppo"], {"PAIRS": 0}, "PAIRS = 0"),
    (["microdpo", "microppo"], {"TASTE": "float('inf')"}, "TASTE = inf"),
    (["microdpo"], {"STEPS": 0}, "STEPS = 0"),
    (["microdpo"], {"BETA": 0.7}, "BETA = 0.7 is not among BETAS"),
    (["microdpo"], {"BETAS": "[0.3, 0.0]"}, "beta = 0.0"),
    (["microdpo"], {"BETAS": "[0.3 + i for i in range(17)]"}, "up to 16"),
    (["microdpo"], {"CHOSEN_LRS": "[]"}, "one to three different rates"),
    (["microppo"], {"ROUNDS": 0}, "ROUNDS = 0"),
    (["microppo"], {"MINIBATCH": 0}, "MINIBATCH = 0"),
    (["microppo"], {"GAMMA": 1.5}, "from 0 to 1"),
    (["micromoe"], {"TOP_K": 5}, "TOP_K = 5 is more than EXPERTS = 4"),
    (["micromoe"], {"EXPERTS": 1}, "EXPERTS = 1"),
    (["micromoe"], {"CODES": 1001}, "CODES = 1001"),
    (["micromoe"], {"LETTERS": 30}, "LETTERS = 30"),
    (["microreinforce"], {"GROUP": 1}, "GROUP = 1"),
    (["microreinforce"], {"UPDATES": 0}, "UPDATES = 0"),
    (["microreinforce"], {"SHIFT": "float('nan')"}, "SHIFT = nan"),
    (["microdistill"], {"STUDENT_EMBD": 3}, "STUDENT_EMBD = 3 is no multiple of N_HEAD = 2"),
    (["microdistill"], {"FEWER": 7}, "FEWER = 7 is more than FEW = 6"),
    (["microdistill"], {"TEMPERATURE": 0.0}, "TEMPERATURE = 0.0"),
    (["microdistill"], {"SMOOTHING": 1.5}, "a share from 0 to 1"),
    (["microschedule"], {"STEPS": 9}, "STEPS = 9: give a whole number from 10 on"),
    (["microschedule"], {"LOW": 0.04}, "LOW = 0.04 is not below HIGH = 0.04"),
    (["microschedule"], {"WARMUP": 1.5}, "WARMUP = 1.5: a share of the steps is at most 1"),
    (["microschedule"], {"DECAY": 0.0}, "DECAY = 0.0"),
    (["microdropout"], {"DROPOUT": 1.0}, "DROPOUT = 1.0: give a share above 0 and below 1"),
    (["microdropout"], {"MORE_DROPOUT": 0.0}, "MORE_DROPOUT = 0.0: give a share above 0"),
    (["microdropout"], {"DECAY": 101.0}, "LR * DECAY = 1.01 of each weight"),
    (["microdropout"], {"PATIENCE": 0}, "PATIENCE = 0"),
    (["microbatchnorm"], {"LAYERS": 0}, "LAYERS = 0"),
    (["microbatchnorm"], {"BATCH": 1}, "BATCH = 1: give a whole number from 2 on"),
    (["microbatchnorm"], {"EPS": 0.0}, "EPS = 0.0"),
    (["microbatchnorm"], {"MOMENTUM": 1.5}, "MOMENTUM = 1.5: give a share from 0 to 1"),
    (["microgrpo"], {"GROUP": 1}, "GROUP = 1"),
    (["microgrpo"], {"LOOKS": 3}, "LOOKS = 3"),
    (["microgrpo"], {"LAMBDA": 1.01}, "from 0 to 1"),
    (["microgrpo"], {"BETA": -0.1}, "BETA = -0.1"),
    (["microrlaif"], {"EXEMPLARY": 1.5}, "EXEMPLARY = 1.5"),
    (["microrlaif"], {"TEACH_STEPS": 0}, "TEACH_STEPS = 0"),
    (["microrlaif"], {"BETA": 0.0}, "BETA = 0.0"),
    (["microrlaif"], {"MEASURED": 0}, "MEASURED = 0"),
    (["microspo"], {"GROUP": 1}, "GROUP = 1"),
    (["microspo"], {"DPO_STEPS": 0}, "DPO_STEPS = 0"),
    (["microspo"], {"ROUNDS": 3}, "ROUNDS = 3"),
    (["microspo"], {"STAGES": 10}, "up to 9"),
]
ACCEPTED = [
    ("microlora", {"N_LAYER": 2, "ADAPT_STEPS": 1, "HELD_OUT": 1, "LOOK_EVERY": 1000}),
    ("microdpo", {"BETAS": "[0.3]", "CHOSEN_LRS": "[0.01]", "STEPS": 1, "N_LAYER": 2}),
    ("microdpo", {"BETAS": "[0.3, *(0.01 * i for i in range(1, 9))]", "TASTE": 1000.0, "STEPS": 1}),
    ("microppo", {"EPOCHS": 1, "MINIBATCH": 99, "ROUNDS": 1, "N_LAYER": 2, "TASTE": 1000.0}),
    ("micromoe", {"N_LAYER": 2, "TOP_K": 4, "STEPS": 1}),
    ("microreinforce", {"GROUP": 2, "PROMPTS": 1, "N_LAYER": 2}),
    ("microgrpo", {"ROUNDS": 1, "EPOCHS": 1, "MINIBATCH": 99, "N_LAYER": 2, "BETA": 0.0}),
    ("microrlaif", {"PAIRS": 1, "MEASURED": 1, "N_LAYER": 2, "TASTE": 1000.0}),
    ("microspo", {"GROUP": 2, "BETA": 0.0, "TASTE": 1000.0, "N_LAYER": 2}),
    ("microspo", {"DPO_PAIRS": 1, "STAGES": 2, "LOOK_NAMES": 1, "PLAIN_ROUNDS": 2, "ROUNDS": 4}),
    ("micromoe", {"CODES": 40, "LETTERS": 1, "BALANCE": 0.0, "STEPS": 1}),
    ("microdistill", {"STEPS": 1, "FEW": 1000, "BATCH": 2, "LOOK_EVERY": 99}),
    (
        "microdistill",
        {"STUDENT_EMBD": 8, "TEMPERATURE": 0.01, "SMOOTHING": 1, "SAME_STEPS": 1, "N_LAYER": 2},
    ),
    ("microschedule", {"STEPS": 10, "DROPS": "[]", "AVERAGED": 0.01, "LOOKS": 99, "N_LAYER": 2}),
    ("microschedule", {"WARMUP": 1.0, "DECAY": 1.0, "AVERAGED": 1.0, "GAMMA": 0.0}),
    ("microdropout", {"CONTEXT": 1, "STEPS": 1, "LOOK_EVERY": 1000, "DECAY": 0.0, "BATCH": 1}),
    ("microdropout", {"CONTEXT": 8, "INIT_STD": 0.0, "LEARN_NAMES": 9999, "DROPOUT": 0.99}),
    ("microbatchnorm", {"LAYERS": 1, "WIDTH": 1, "CONTEXT": 1, "STEPS": 1, "BATCH": 2}),
    ("microbatchnorm", {"LR": 1e9, "INIT_STD": 0.0, "NOISE": 3.0, "STEPS": 12}),
]


class Edits(unittest.TestCase):
    def test_refused_with_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            for scripts, settings, words in REFUSED:
                for name in scripts:
                    with self.subTest(name, **settings):
                        path = next(p for p in blocks.scripts() if p.stem == name)
                        done = start(edited(path, folder, **settings))
                        self.assertEqual(done.returncode, 2, done.stderr)
                        self.assertEqual(done.stdout, b"")
                        self.assertRegex(done.stderr, ERROR)
                        self.assertIn(words, done.stderr.decode())

    def test_accepted(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, settings in ACCEPTED:
                with self.subTest(name, **settings):
                    path = next(p for p in blocks.scripts() if p.stem == name)
                    done = start(edited(path, folder, **settings))
                    self.assertIn(done.returncode, (0, 1), done.stderr.decode())
                    self.assertNotIn(b"Traceback", done.stderr)

    def test_no_other_adapters(self):
        """The headline row stands alone."""
        with tempfile.TemporaryDirectory() as folder:
            copy = edited(ROOT / "microlora.py", folder)
            text = re.sub(r"^OTHERS = \[.*?^\]", "OTHERS: list[Row] = []", copy.read_text("utf-8"),
                          flags=re.M | re.S)  # fmt: skip
            copy.write_text(text, "utf-8")
            done = start(copy)
            self.assertIn(done.returncode, (0, 1), done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
