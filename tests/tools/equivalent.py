"""Mutants that change nothing that matters, for mutations.py.

By script, or "shared": the changed line, as it is in the script, without what surrounds it, and the
kind of mutant; and why no test can notice. An entry excuses every mutant of that kind on that line.
"""

EQUIVALENT: dict[str, dict[tuple[str, str], str]] = {
    "microlora": {},
    "microdpo": {},
    "microppo": {},
    "micromoe": {},
    "microreinforce": {
        ("direction = unit(rows[0])", "constant"): "power iteration may start anywhere",
        ("for _ in range(10):", "constant"): "one round of power iteration more",
        ("sums = [dot(row, direction) for row in rows]", "arguments swapped"): "a.b is b.a",
        (
            "direction = [dot(sums, column) for column in zip(*rows)]",
            "arguments swapped",
        ): "a.b is b.a",
        ("along = dot(direction, across)", "arguments swapped"): "a.b is b.a",
        (
            "(cross_entropy(logits, token) * -chance).backward()",
            "sign dropped",
        ): "the largest entry, whatever its sign, is returned",
        (
            "return dot(middle, middle) / ((scatter(groups) / len(groups)) or 1.0)",
            "constant",
        ): "guards against 0 / 0: without scatter, the mean is 0 too",
    },
    "microgrpo": {
        (
            "rewards = [[0.0] * (len(r.answer) - 1) + [r.reward] for r in rollouts]",
            "term dropped",
        ): "gae() starts at the end, and does not read a zero too many in front",
        (
            "rewards = [[0.0] * (len(r.answer) - 1) + [r.reward] for r in rollouts]",
            "- to +",
        ): "gae() starts at the end, and does not read a zero too many in front",
        (
            "return [sum(squares[a:b]) / (sum(squares) or 1.0) for a, b in zip(cuts, cuts[1:])]",
            "constant",
        ): "guards against 0 / 0",
        (
            "gained = (group - start) / max(critic - start, 1e-9)",
            "constant",
        ): "guards against division by 0",
        (
            "gained = (group - start) / max(critic - start, 1e-9)",
            "arguments swapped",
        ): "max(a, b) is max(b, a)",
    },
    "microspo": {
        (
            "return (0.5, 1.0, 0.0)[(second - first) % 3]",
            "term dropped",
        ): "a negative place counts from the end of the three, as % 3 does",
        (
            "chosen, rejected = texts if rng.random() < chance else texts[::-1]",
            "< to <=",
        ): "random() hardly ever draws the very number",
        (
            "if step in {DPO_STEPS * stage // STAGES for stage in range(1, STAGES + 1)}:",
            "constant",
        ): "a stage more would lie after the last step",
    },
    "microrlaif": {
        (
            "return sorted(names, key=gold, reverse=True)[: max(1, round(EXEMPLARY * len(names)))]",
            "arguments swapped",
        ): "max(a, b) is max(b, a)"
    },
    "microdropout": {},
    "microbatchnorm": {},
    "microschedule": {},
    "microdistill": {},
    "shared": {},
}
