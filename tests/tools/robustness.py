"""Bad files, closed and full streams, interrupts: what a script does, as a table.

    python tests/tools/robustness.py [PYTHON ...]    writes docs/results/robustness.md; some minutes

With the interpreters named, or this one. Commands run in a shell, in a folder with a copy of
microdpo.py whose settings are short. A row is as expected if the exit status is, if there is no
traceback, and, where it is 2, if stderr is one line that starts with "error: " (progress aside).
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.helpers import edited
from tests.tools.blocks import ROOT

PAIR = {"prompt": "a", "chosen": "bel", "rejected": "dam"}
LINE = json.dumps(PAIR)


def names(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def good(count: int) -> str:
    return "\n".join(f"{a}{b}{c}" for a in "abcdefgh" for b in "aeiou" for c in "lmnrstv")[
        : 4 * count
    ]


BAD_NAMES: dict[str, bytes] = {
    "empty": b"",
    "one name": b"anna\n",
    "19 names": names(good(19)),
    "one name many times": b"anna\n" * 100,
    "only blank lines": b"\n \n\t\n" * 40,
    "every byte": bytes(range(256)),
    "UTF-16": ("\n".join(good(60).split())).encode("utf-16"),
    "Latin-1": (good(40) + "\nZo\xeb").encode("latin-1"),
    "a null byte": names(good(40)) + b"\nan\x00na\n",
    "an escape sequence": names(good(40)) + b"\n\x1b[31mred\n",
    "a right-to-left mark": names(good(40) + "\nan\u202ena"),
    "a no-break space": names(good(40) + "\nan\u00a0na"),
    "a zero-width joiner": names(good(40) + "\nan\u200dna"),
    "a byte order mark inside": names(good(40) + "\nan\ufeffna"),
    "a private letter": names(good(40) + "\nan\ue000na"),
    "a lone surrogate's bytes": names(good(40)) + b"\n\xed\xa0\x80\n",
    "a cut UTF-8 letter": names(good(40)) + b"\n\xc3\n",
    "only long names": b"\n".join(b"a" * 20 + str(i).encode() for i in range(50)),
    "no vowel that is known": "\n".join(f"бв{a}{b}" for a in "гджзкл" for b in "мнпрст").encode(),
    "vowels only": "\n".join(f"{a}{b}{c}" for a in "aeiou" for b in "aeiou" for c in "ae").encode(),
}
BAD_PAIRS: dict[str, bytes] = {
    "empty": b"",
    "19 pairs": (LINE + "\n").encode() * 19,
    "no JSON": (LINE + "\n").encode() * 20 + b"prompt,chosen,rejected\n",
    "a list": (LINE + "\n").encode() * 20 + b'["a", "b", "c"]\n',
    "a number": (LINE + "\n").encode() * 20 + b"7\n",
    "null": (LINE + "\n").encode() * 20 + b"null\n",
    "a key missing": (LINE + "\n").encode() * 20 + b'{"prompt": "a", "chosen": "b"}\n',
    "a key that is no string": (LINE + "\n").encode() * 20
    + b'{"prompt": "a", "chosen": "b", "rejected": 3}\n',
    "equal answers": (LINE + "\n").encode() * 20
    + b'{"prompt": "a", "chosen": "b", "rejected": "b"}\n',
    "an unknown letter": (LINE + "\n").encode() * 20
    + '{"prompt": "a", "chosen": "ж", "rejected": "b"}\n'.encode(),
    "a tab in an answer": (LINE + "\n").encode() * 20
    + b'{"prompt": "a", "chosen": "b\\t", "rejected": "b"}\n',
    "too long": (LINE + "\n").encode() * 20
    + json.dumps({**PAIR, "chosen": "a" * 15}).encode(),
    "nested a thousand deep": (LINE + "\n").encode() * 20 + b"[" * 100000 + b"\n",
    "a huge number": (LINE + "\n").encode() * 20 + b'{"prompt": 1e999}\n',
    "binary": bytes(range(256)) * 4,
    "UTF-16": ((LINE + "\n") * 30).encode("utf-16"),
    "an escaped surrogate": (LINE + "\n").encode() * 20
    + b'{"prompt": "a", "chosen": "\\ud800", "rejected": "b"}\n',
    "a control letter": (LINE + "\n").encode() * 20
    + b'{"prompt": "a", "chosen": "\\u0007", "rejected": "b"}\n',
    "Windows line ends, too few": (LINE + "\r\n").encode() * 10,
    "one object over many lines": json.dumps([PAIR] * 30, indent=1).encode(),
}  # fmt: skip
STREAMS: list[tuple[str, str, tuple[int, ...]]] = [
    ("stderr closed", "$RUN 2>&-", (0, 1)),
    ("stderr full", "$RUN 2>/dev/full", (0, 1)),
    ("stdout full", "$RUN >/dev/full", (2,)),
    ("stdout closed", "$RUN >&-", (0, 1, 2)),
    ("stdin closed", "$RUN <&-", (0, 1)),
    ("the reader leaves at once", "$RUN | true; (exit ${PIPESTATUS[0]})", (141,)),
    ("the reader leaves after a line", "$RUN | head -1 >/dev/null; (exit ${PIPESTATUS[0]})", (0, 1, 141)),
    ("a slow reader", "$RUN | (sleep 3; cat >/dev/null); (exit ${PIPESTATUS[0]})", (0, 1)),
    ("a read-only folder", "chmod 555 .; $RUN", (0, 1)),
    ("no HOME", "env -u HOME $RUN", (0, 1)),
    ("TERM unset", "env -u TERM $RUN", (0, 1)),
    ("20 columns", "COLUMNS=20 $RUN", (0, 1)),
    ("an empty environment", "env -i $RUN", (0, 1)),
    ("ASCII only", "PYTHONIOENCODING=ascii ${RUN/ -I/}", (0, 1)),
    ("two at once", "$RUN >/dev/null & $RUN; a=$?; wait $!; (exit $a)", (0, 1)),
    ("two hash seeds, same output",
     "cmp <(PYTHONHASHSEED=1 ${RUN/ -I/}) <(PYTHONHASHSEED=2 ${RUN/ -I/})", (0,)),
    ("a huge seed", "$RUN --seed 99999999999999999999", (0, 1)),
    ("a negative seed", "$RUN --seed -1", (0, 1)),
    ("a seed that is no number", "$RUN --seed x", (2,)),
    ("an unknown flag", "$RUN --nams x", (2,)),
    ("a flag without its file", "$RUN --names", (2,)),
    ("a file that is not there", "$RUN --names absent", (2,)),
    ("a folder for a file", "$RUN --names .", (2,)),
    ("a million names", "seq 1000000 | sed 's/^/ab/' > many; $RUN --names many", (0, 1)),
]  # fmt: skip


def judge(status: int, errors: str, wanted: tuple[int, ...]) -> str:
    """ "as it should", or what is wrong."""
    if status not in wanted:
        return f"exit status {status}"
    if re.search(r"Traceback|Exception ignored", errors):
        return "a traceback"
    if status == 2 and errors.count("error: ") != 1:
        return "not one line of error"
    return "as it should"


def shell(folder: Path, command: str, script: str) -> tuple[int, str]:
    line = f"RUN='{sys.executable} -W error -X dev -I {script}'; {command}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, check=False)
    return done.returncode, done.stderr.decode("utf-8", "replace")


def interrupted(folder: Path, script: str, seconds: float) -> tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-I", script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    return process.returncode, errors.decode("utf-8", "replace")


def rows(folder: Path, interpreters: list[str]) -> list[tuple[str, str, str]]:
    """(what, command, verdict)."""
    found = []
    copy = edited(ROOT / "microdpo.py", folder)
    for kind, files in (("names", BAD_NAMES), ("pairs", BAD_PAIRS)):
        for what, content in files.items():
            (folder / "file").write_bytes(content)
            status, errors = shell(folder, f"$RUN --{kind} file", copy.name)
            message = errors.strip().splitlines()[-1] if errors.strip() else ""
            verdict = judge(status, errors, (2,))
            found.append((f"{kind}: {what}", f"--{kind} file", f"{verdict}: `{message[:90]}`"))
            print(*found[-1], sep=" | ", flush=True)
    for what, command, wanted in STREAMS:
        status, errors = shell(folder, command, copy.name)
        found.append((what, f"`{command}`".replace("|", "\\|"), judge(status, errors, wanted)))
        print(*found[-1], sep=" | ", flush=True)
    folder.chmod(0o755)
    slow = folder / "slow"
    slow.mkdir()
    edited(ROOT / "microdpo.py", slow, fast=False)
    for i in range(10):
        seconds = 0.4 + 0.8 * i
        status, errors = interrupted(slow, copy.name, seconds)
        found.append(
            (f"interrupted after {seconds:.1f} s", "SIGINT", judge(status, errors, (130, -2)))
        )
        print(*found[-1], sep=" | ", flush=True)
    for path in interpreters:
        asked = [path, "-c", "import platform; print(platform.python_version())"]
        version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        done = subprocess.run(
            [path, "-W", "error", "-X", "dev", "-I", copy.name], cwd=folder,
            capture_output=True, check=False,
        )  # fmt: skip
        verdict = judge(done.returncode, done.stderr.decode(), (0, 1))
        found.append((f"CPython {version}", "`python -W error -X dev -I`", verdict))
        print(*found[-1], sep=" | ", flush=True)
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        table = rows(Path(place), sys.argv[1:] or [sys.executable])
    bad = [row for row in table if not row[2].startswith("as it should")]
    text = [
        "# Robustness",
        "",
        "Made by `python tests/tools/robustness.py`, with a short microdpo.py; `$RUN` is",
        "`python -W error -X dev -I microdpo.py`. Every line of a bad file's row is what the user sees.",
        "",
        f"{len(table)} rows, {len(table) - len(bad)} as they should be.",
        "",
        "| what | command | outcome |",
        "| --- | --- | --- |",
        *(f"| {what} | {command} | {verdict} |" for what, command, verdict in table),
    ]
    (ROOT / "docs" / "results" / "robustness.md").write_text("\n".join(text) + "\n", "utf-8")
    sys.exit(1 if bad else 0)
