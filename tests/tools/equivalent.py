"""Mutants that change nothing that matters, for mutations.py.

By script, or "shared": the changed line, as it is in the script, without what surrounds it, and the
kind of mutant; and why no test can notice. An entry excuses every mutant of that kind on that line.
"""

ORDER = "the larger or the smaller of two numbers is the same in either order"

EQUIVALENT: dict[str, dict[tuple[str, str], str]] = {
    "microlora": {},
    "microdpo": {},
    "microppo": {},
    "micromoe": {},
    "microreinforce": {
        ("direction = unit(rows[0])", "constant"): "power iteration may start anywhere"
    },
    "microgrpo": {},
    "microspo": {},
    "microrlaif": {},
    "microdropout": {},
    "microbatchnorm": {},
    "microschedule": {
        ("apart = max(1, round(LAST * steps / LOOKS))", "arguments swapped"): ORDER,
        (
            'return "".join(marks[round(8 * min(max(share, 0.0), 1.0))] for share in shares)',
            "arguments swapped",
        ): ORDER,
    },
    "microdistill": {
        (
            "teacher, letters, rng = examine(task.teacher, task, 0), len(task.alphabet),"
            " random.Random(seed)",
            "constant",
        ): "the number of the teacher's step is shown nowhere"
    },
    "shared": {},
}
