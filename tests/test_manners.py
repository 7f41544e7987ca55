"""How the scripts behave as commands: alone, interrupted, piped, given bad files."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from tests import shared
from tests.helpers import fast_copy, start

# What makes a run short. The claims then fail, and the exit status is 1.
FAST = {
    "microlora": {"N_EMBD": 8, "PRETRAIN_STEPS": 10, "ADAPT_STEPS": 10},
    "microdpo": {"N_EMBD": 8, "PRETRAIN_STEPS": 10, "STEPS": 10, "PAIRS": 40, "SAMPLES": 20},
    "microppo": {
        "N_EMBD": 4,
        "PRETRAIN_STEPS": 10,
        "PAIRS": 40,
        "REWARD_STEPS": 10,
        "CRITIC_ROLLOUTS": 30,
        "CRITIC_STEPS": 10,
        "ITERATIONS": 2,
        "ROLLOUTS": 8,
        "MINIBATCH": 4,
        "SAMPLES": 20,
    },
    "micromoe": {"N_EMBD": 8, "STEPS": 10},
}


class Manners(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.copies = []
        for path in shared.scripts():
            alone = Path(folder.name) / path.stem
            alone.mkdir()
            cls.copies.append(fast_copy(path.stem, alone, FAST[path.stem]))
            alone.chmod(0o555)  # nothing may be written there

    def each(self):
        return self.copies

    def test_runs_alone_and_reproducibly(self):
        for copy in self.each():
            one = start(copy, PYTHONHASHSEED="1")
            two = start(copy, PYTHONHASHSEED="2")
            self.assertIn(one.returncode, (0, 1), one.stderr.decode())
            self.assertNotIn(b"Traceback", one.stderr)
            self.assertEqual(one.stdout, two.stdout)
            self.assertIn(b"claims, measured in this run", one.stdout)
            other = start(copy, "--seed", "7")
            self.assertNotEqual(other.stdout, one.stdout)
            lines = one.stdout.decode("utf-8").splitlines()
            self.assertLessEqual(max(map(len, lines)), 80, max(lines, key=len))
            self.assertEqual(list(copy.parent.iterdir()), [copy])

    def test_ascii_terminal(self):
        for copy in self.each():
            done = start(copy, flags=(), PYTHONIOENCODING="ascii")
            self.assertIn(done.returncode, (0, 1), done.stderr.decode())
            self.assertTrue(done.stdout.isascii())

    def test_help(self):
        for copy in self.each():
            done = start(copy, "--help")
            self.assertEqual(done.returncode, 0)
            for flag in (b"--seed", b"--names"):
                self.assertIn(flag, done.stdout)

    def test_own_names(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "names"
            letters = "áбγ나"
            file.write_text(
                "\n".join(f"{a}{b}{c}" for a in letters for b in letters for c in letters), "utf-8"
            )
            for copy in self.each():
                for encoding in ("utf-8", "ascii"):
                    done = start(copy, "--names", file, flags=(), PYTHONIOENCODING=encoding)
                    self.assertIn(done.returncode, (0, 1), done.stderr.decode())
                    self.assertNotIn(b"Traceback", done.stderr)

    def test_bad_flags_and_files_get_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            binary = Path(folder) / "binary"
            binary.write_bytes(bytes(range(256)))
            bad = [
                ["--seed", "x"],
                ["--unknown"],
                ["--names"],
                ["--names", folder],
                ["--names", f"{folder}/absent"],
                ["--names", binary],
                ["--names", ""],
            ]
            for copy in self.each():
                for arguments in bad:
                    done = start(copy, *arguments)
                    self.assertEqual(done.returncode, 2, arguments)
                    self.assertEqual(done.stdout, b"")
                    self.assertRegex(done.stderr, rb"^error: [^\n]+\n$")

    def test_reader_that_leaves(self):
        for copy in self.each():
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

    def test_interrupted(self):
        for copy in self.each():
            slow = fast_copy(copy.stem, tempfile.mkdtemp(), {"N_EMBD": 24})
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

    def test_narrow_terminal(self):
        """Progress on a terminal of 40 columns stays within its line."""
        for copy in self.each():
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
            self.assertGreater(len(lines), 20)
            self.assertLess(max(map(len, lines)), 40)


if __name__ == "__main__":
    unittest.main()
