"""The scripts as commands: alone, piped, interrupted, given bad files. All runs are short ones."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.helpers import edited, start
from tests.tools import sections

posix = unittest.skipUnless(os.name == "posix", "signals and pipes of another kind")


def in_pairs(function, arguments):
    """function of each argument, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, arguments))


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.copies = []
        for path in sections.scripts():
            alone = cls.folder / path.stem
            alone.mkdir()
            cls.copies.append(edited(path, alone))

    def copies_with(self, option):
        return [c for c in self.copies if f"{option}=dict(" in c.read_text("utf-8")]

    def file(self, content, name="file"):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def assert_one_clear_line(self, done, *parts):
        """Exit status 2, nothing on stdout, and a last line that names what is wrong."""
        self.assertEqual((done.returncode, done.stdout), (2, b""), done.stderr)
        self.assertNotIn(b"Traceback", done.stderr)
        last = done.stderr.decode().splitlines()[-1]
        for part in parts:
            self.assertIn(str(part), last)

    def test_alone_and_the_same_under_two_hash_seeds(self):
        runs = in_pairs(
            lambda copy: (
                start(copy, PYTHONHASHSEED="1"),
                start(copy, "--seed", "42", PYTHONHASHSEED="2"),
            ),
            self.copies,
        )
        for copy, (one, two) in zip(self.copies, runs):
            with self.subTest(copy.name):
                self.assertIn(one.returncode, (0, 1), one.stderr.decode()[-500:])
                self.assertEqual(one.stdout, two.stdout)
                text = one.stdout.decode()
                self.assertIn("\nclaims\n", text)
                self.assertEqual(one.returncode, int("\n  FAIL " in text))
                self.assertEqual(list(copy.parent.iterdir()), [copy])  # it writes no file

    def test_the_seed_matters(self):
        runs = [(copy, seed) for copy in self.copies[:4] for seed in (1, 2)]
        outputs = in_pairs(lambda run: start(run[0], "--seed", run[1]).stdout, runs)
        texts = [output.split(b"\n", 1)[1] for output in outputs]  # without the line of the seed
        for copy, one, two in zip(self.copies, texts[::2], texts[1::2]):
            self.assertNotEqual(one, two, copy.name)

    def test_help_names_the_options_and_the_question(self):
        for copy in self.copies:
            done = start(copy, "--help")
            self.assertEqual(done.returncode, 0)
            question = copy.read_text("utf-8").splitlines()[0].strip('"')
            text = " ".join(done.stdout.decode().split())
            self.assertIn(question, text)
            for option in ("seed", "names", "pairs"):
                wanted = option == "seed" or copy in self.copies_with(option)
                self.assertEqual(f"--{option}" in text, wanted, copy.name)

    def test_wrong_flags(self):
        for copy in self.copies[:2]:
            for arguments in (["--seed", "x"], ["--unknown"], ["file"]):
                self.assert_one_clear_line(start(copy, *arguments), arguments[-1])

    def test_names_of_ones_own(self):
        letters = "abcdefghijklmnopqrstuvwxyz"
        names = "".join(f"{a}{b}a\r\n" for a in letters for b in "aeiounr")
        file = self.file("\ufeff" + names.upper())  # BOM, CRLF and capitals are fine
        for copy in self.copies_with("names")[:2]:
            done = start(copy, "--names", file)
            self.assertIn(done.returncode, (0, 1), done.stderr.decode()[-500:])
            self.assertNotEqual(done.stdout, start(copy).stdout)

    def test_bad_files_of_names(self):
        bad = [
            ("anna\nüwe\n", "line 2", "üwe"),
            ("anna\n\nben\n", "line 2"),
            ("anna\nbartholomewandsons\n", "line 2", "bartholomewandsons"),
            ("anna\nben\n", "100 names"),
            (b"\xff\xfe\x00", ""),
        ]
        copy = self.copies_with("names")[0]
        for content, *parts in bad:
            file = self.file(content)
            self.assert_one_clear_line(start(copy, "--names", file), file, *parts)
        absent = self.folder / "absent"
        self.assert_one_clear_line(start(copy, "--names", absent), absent)

    def begin(self, path):
        command = [sys.executable, "-I", path.name]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=path.parent, stdout=pipe, stderr=pipe)

    @posix
    def test_ctrl_c_ends_without_a_traceback(self):
        for path in sections.scripts()[:4]:
            process = self.begin(path)  # the script itself, which takes longer
            time.sleep(1.0)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            self.assertEqual(process.returncode, -signal.SIGINT)
            self.assertNotIn(b"Traceback", errors)

    @posix
    def test_a_reader_that_leaves(self):
        for copy in self.copies[:4]:
            process = self.begin(copy)
            first = process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            process.stderr.close()
            self.assertIn(process.wait(timeout=60), (-signal.SIGPIPE, 0, 1))
            self.assertIn(copy.stem.encode(), first)
            self.assertNotIn(b"Traceback", errors)


if __name__ == "__main__":
    unittest.main()
