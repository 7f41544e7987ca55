"""Plant a bug, or an exercise's edit, in a script and see what it prints.

The pages debugging.md and exercises.md are the data: a section "### ID. Title" holds the edit, a
fence ```diff micro….py whose lines "-" and " " stand in that script exactly once, and what it
changes, fences ```diff seed N PATTERN: the lines of the output that match the regular expression,
unedited "-" and edited "+". A fence ```text case ID seed N PATTERN shows the edited lines alone.

    python docs/debugging.py                  all cases
    python docs/debugging.py 12 [--seed N]    plant case 12 and run it; an exercise: microdpo 1
    python docs/debugging.py check [ID ...]   does every edit apply? do these print what is shown?
    python docs/debugging.py write [ID ...]   run what the pages show, and write it into them
"""

import argparse
import difflib
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PAGES = [DOCS / "debugging.md", DOCS / "exercises.md"]
CACHE = Path(tempfile.gettempdir()) / "microalign-runs"  # outputs, by the text of the script
CASE = re.compile(r"### (\d+|micro\w+ \d+)\. (.+)")
EDIT = re.compile(r"^```diff (\S*micro\w+\.py)\n(.*?)^```$", re.M | re.S)
RESULT = re.compile(r"^```(diff|text case .+?) seed (\d+) (.+)\n(?:.*\n)*?```$", re.M)


def split(page):
    """A page's sections, each with its heading."""
    return re.split(r"(?=^##)", page.read_text("utf-8"), flags=re.M)


def read_cases():
    """{ID: (title, script, edit)} of the pages."""
    cases = {}
    for page in PAGES:
        for section in split(page):
            if heading := CASE.match(section):
                edit = EDIT.search(section)
                assert heading[1] not in cases, f"{page.name}: two cases {heading[1]}"
                assert edit, f"{page.name}: case {heading[1]} has no edit"
                cases[heading[1]] = (heading[2], edit[1], edit[2])
    return cases


def plant(text, edit):
    """The script's text with the edit made. ValueError where a hunk does not stand in it once."""
    text = "\n" + text
    for hunk in re.split(r"^@@.*\n", edit, flags=re.M):
        lines = [line or " " for line in hunk.splitlines()]
        old = "\n".join(["", *(line[1:] for line in lines if line[0] in "- "), ""])
        new = "\n".join(["", *(line[1:] for line in lines if line[0] in "+ "), ""])
        places = re.findall(f"(?={re.escape(old)})", text)
        if len(places) != 1:
            raise ValueError(f"stands {len(places)} times in the script:{old}")
        text = text.replace(old, new)
    return text[1:]


def output(script, edit, seed):
    """The lines that a script prints; the last line of stderr where it stops by an error."""
    text = (DOCS.parent / script).read_text("utf-8")
    text = plant(text, edit) if edit else text
    cached = CACHE / hashlib.sha256(f"{seed} {text}".encode()).hexdigest()[:24]
    if not cached.exists():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(script).name
            path.write_text(text, "utf-8")
            command = [sys.executable, path, "--seed", str(seed)]
            run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if "Traceback" in run.stderr:
            run.stdout += f"stderr: {run.stderr.rstrip().splitlines()[-1]}\n"
        print(f"{script} seed {seed}: exit status {run.returncode}", file=sys.stderr)
        CACHE.mkdir(exist_ok=True)
        cached.with_suffix(f".{os.getpid()}").write_text(run.stdout, "utf-8")
        cached.with_suffix(f".{os.getpid()}").replace(cached)
    return cached.read_text("utf-8").splitlines()


def results(section, cases, only):
    """The fences of a section that show a case in only (all where it is empty): (the fence, the
    case's script, its edit, the seed)."""
    heading = CASE.match(section)
    for fence in RESULT.finditer(section):
        case = heading[1] if fence[1] == "diff" else fence[1].removeprefix("text case ")
        if not only or case in only:
            yield fence, *cases[case][1:], int(fence[2])


def filled(fence, script, edit, seed):
    """A result's fence with the lines that its runs print."""
    heading, pattern = fence[0].split("\n")[0], fence[3]
    edited = [line for line in output(script, edit, seed) if re.search(pattern, line)]
    if fence[1] == "diff":
        unedited = [line for line in output(script, "", seed) if re.search(pattern, line)]
        lines = difflib.ndiff(unedited, edited)
        edited = [line[0] + line[2:] for line in lines if line[0] != "?"]
    return "\n".join([heading, *edited, "```"])


def shown(only):
    """The results of all pages, run two at a time."""
    cases = read_cases()
    found = [r for page in PAGES for section in split(page) for r in results(section, cases, only)]
    runs = [(script, edit, seed) for _, script, edit, seed in found]
    runs += [(script, "", seed) for fence, script, _, seed in found if fence[1] == "diff"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda run: output(*run), dict.fromkeys(runs)))
    return found


def write(only):
    """Run what the pages show, and write it into them."""
    cases = read_cases()
    shown(only)
    for page in PAGES:
        sections = split(page)  # again: a run takes long enough to edit a page
        for n, section in enumerate(sections):
            for result in results(section, cases, only):
                sections[n] = sections[n].replace(result[0][0], filled(*result))
        if sections != split(page):
            page.write_text("".join(sections), "utf-8")


def check(only):
    """Print the cases whose edit does not apply or is no Python, and those of only that print
    something else than is shown; their number."""
    failed = 0
    for case, (_, script, edit) in read_cases().items():
        try:
            compile(plant((DOCS.parent / script).read_text("utf-8"), edit), script, "exec")
        except (ValueError, SyntaxError) as error:
            failed += 1
            print(f"case {case}: {error}")
    for result in shown(only) if only else []:
        if filled(*result) != result[0][0]:
            failed += 1
            print(f"{result[1]} prints something else now:\n{filled(*result)}")
    return failed


def run(case, seed):
    """Plant a case, show its edit, and run it as the script itself would."""
    title, script, edit = read_cases()[case]
    text = plant((DOCS.parent / script).read_text("utf-8"), edit)
    print(f"{case}. {title} ({script})\n\n{edit}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(script).name
        path.write_text(text, "utf-8")
        return subprocess.run([sys.executable, path, "--seed", str(seed)]).returncode


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="ID", help="a case, or check or write")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="default: 42")
    arguments = parser.parse_args()
    words, cases = arguments.words, read_cases()
    if not words:
        for case, (title, script, _) in cases.items():
            print(f"{case}. {title} ({script})")
    elif words[0] in ("check", "write"):
        only = re.findall(r"(?:micro\w+ )?\d+", " ".join(words[1:]))  # "microdpo 1" is one ID
        return check(only) > 0 if words[0] == "check" else write(only)
    elif " ".join(words) in cases:
        return run(" ".join(words), arguments.seed)
    else:
        parser.error(f"no case {' '.join(words)}; without arguments all are listed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
