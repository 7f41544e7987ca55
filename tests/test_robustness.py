"""Files of any content: either they are read, or one line says what is wrong with them."""

import io
import json
import random
import tempfile
import unittest
from contextlib import redirect_stderr
from pathlib import Path

import microdpo as m

WORDS = ["anna", "Élodie", "김", "a b", "o'neil", "x" * 40, "", "  ", "\u202e", "\u00a0z", "1e999"]
PIECES = [
    b"\n", b"\r\n", b"\xff", b"\xef\xbb\xbf", b"\x00", b"\xc3", b"\xc2\xa0", b"{", b"}", b'"',
    b"\xe2\x80\xa8", b"\x1b[31m", b"null", b"[" * 50, b"\\ud800",
]  # fmt: skip


def some_bytes(rng):
    """A file: random bytes, random pieces, names, or nearly right lines of JSON."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return b"".join(rng.choice(PIECES) for _ in range(rng.randrange(40)))
    if kind == 2:
        words = WORDS[: rng.choice((8, len(WORDS)))]  # with those that nobody may use, or without
        return "\n".join(rng.choice(words) + str(i) for i in range(rng.randrange(60))).encode()
    lines = []
    for _ in range(rng.randrange(15, 40)):
        letters = ["".join(rng.choices("abc", k=rng.randrange(1, 5))) for _ in range(3)]
        pair = dict(zip(("prompt", "chosen", "rejected"), letters))
        lines.append(json.dumps(pair).encode())
    for _ in range(rng.randrange(2)):  # one thing wrong with it, or nothing
        line = bytearray(rng.choice(lines))
        line[rng.randrange(len(line))] = rng.randrange(256)
        lines[rng.randrange(len(lines))] = bytes(line)
    return rng.choice([b"\n", b"\r\n"]).join(lines)


class AnyFile(unittest.TestCase):
    COUNT = 5000  # for each of the two readers

    def outcome(self, read):
        """What was read, or None; a refusal is one printable line and exit status 2."""
        errors = io.StringIO()
        with redirect_stderr(errors):
            try:
                return read()
            except SystemExit as end:
                self.assertEqual(end.code, 2)
                last = errors.getvalue().splitlines()[-1]
                self.assertTrue(last.startswith("error: ") and last.isprintable(), last)
                self.assertEqual(errors.getvalue().count("error: "), 1)
                return None

    def read_all(self, read, good):
        rng, counts = random.Random(20), {True: 0, False: 0}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            for _ in range(self.COUNT):
                path.write_bytes(some_bytes(rng))
                found = self.outcome(lambda: read(str(path)))
                if found is not None:
                    good(found)
                counts[found is not None] += 1
        for count in counts.values():  # neither is rare
            self.assertGreater(count, self.COUNT // 100)

    def test_names(self):
        def good(names):
            self.assertGreaterEqual(len(names), 20)
            self.assertEqual(len(set(names)), len(names))
            for name in names:
                self.assertTrue(1 <= len(name) <= 15 and name.isprintable(), name)
                self.assertEqual(name, name.strip().lower())

        self.read_all(lambda path: m.read_names(path, 15), good)

    def test_pairs(self):
        def good(pairs):
            self.assertGreaterEqual(len(pairs), 20)
            for pair in pairs:
                self.assertLessEqual(set("".join(pair.values())), set("abc"))
                self.assertNotEqual(pair["chosen"], pair["rejected"])

        self.read_all(lambda path: m.read_pairs(path, ["", *"abc"]), good)


if __name__ == "__main__":
    unittest.main()
