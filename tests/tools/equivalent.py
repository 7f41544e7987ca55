"""Mutants that change nothing that matters, for mutations.py.

By script, or "shared": the changed line, as it is in the script, without what surrounds it, and the
kind of mutant; and why no test can notice. An entry excuses every mutant of that kind on that line.
"""

EQUIVALENT: dict[str, dict[tuple[str, str], str]] = {
    "microlora": {},
    "microdpo": {},
    "microppo": {
        (
            "[math.tanh(x + y + z) for x, y, z in zip(left[a].w, right[b].w, bias.w)]",
            "arguments swapped",
        ): "a sum of three, in another order",
        (
            "return [math.tanh(x + y + z) for x, y, z in zip(mixed, last, size)]",
            "arguments swapped",
        ): "a sum of three, in another order",
        (
            'return dot(net["out"][0].w, mean_of(features(net, tokens)))',
            "arguments swapped",
        ): "a dot product is symmetric",
        (
            'mixed = [dot(row.w, state.mean) for row in net["mix"]]',
            "arguments swapped",
        ): "a dot product is symmetric",
        (
            'return dot(net["out"][0].w, critic_features(net, state)) + net["shift"][0].w[0]',
            "arguments swapped",
        ): "a dot product is symmetric",
        (
            "clipped = min(max(value, old_value - VALUE_CLIP), old_value + VALUE_CLIP)",
            "arguments swapped",
        ): "the smaller and the larger of two, in any order",
        (
            "targets = [[a + v for a, v in zip(*rows)] for rows in zip(raw, values)]",
            "arguments swapped",
        ): "a sum of two, in another order",
        (
            "return 1.0 - variance([t - v for t, v in zip(targets, values)])"
            " / (variance(targets) or 1.0)",
            "arguments swapped",
        ): "a variance does not see the sign",
        (
            "return 1.0 - variance([t - v for t, v in zip(targets, values)])"
            " / (variance(targets) or 1.0)",
            "constant",
        ): "only keeps targets that are all equal from a division by zero",
        (
            "left = range(len(answer) - 1, -1, -1)  # tokens that follow",
            "constant",
        ): "one number more than there are states, which zip() drops",
        (
            "limit = mean([max(c, 1.0 - c) for _, _, c in held_out])",
            "arguments swapped",
        ): "the larger of two, in any order",
    },
    "micromoe": {},
    "microreinforce": {
        ("direction = unit(rows[0])", "constant"): "power iteration may start anywhere"
    },
    "microgrpo": {},
    "microspo": {},
    "microrlaif": {},
    "microdropout": {},
    "microbatchnorm": {},
    "microschedule": {},
    "microdistill": {},
    "shared": {},
}
