"""Mutants that change nothing that matters, for mutations.py.

By script, or "shared": the changed line, as it is in the script, without what surrounds it, and the
kind of mutant; and why no test can notice. An entry excuses every mutant of that kind on that line.
"""

ORDER = "the larger or the smaller of two numbers is the same in either order"
CLOCK = "only the progress line shows the time"
SUM = "a sum has no order"

EQUIVALENT: dict[str, dict[tuple[str, str], str]] = {
    "microlora": {
        ("return add(y, linear(b, hidden))", "arguments swapped"): "a sum of two, in another order",
        ("n, m = len(base[name]), len(base[name][0])", "constant"): "all rows are equally long",
        (
            "[w + scale * dot(b_row, column) for w, column in zip(w_row, columns)]",
            "arguments swapped",
        ): "a dot product is symmetric",
        (
            "for _ in range(12):  # rounds over all pairs; 8 reach rounding error, even for a"
            " larger matrix",
            "constant",
        ): "one more round, when nothing moves any more",
        (
            "angle = 0.5 * math.atan2(2 * dot(p, q), dot(p, p) - dot(q, q))",
            "arguments swapped",
        ): "a dot product is symmetric",
        (
            "return next(n for n in range(len(rows) + 1)"
            " if sum(squares[:n]) >= 0.9 * sum(squares))",
            "constant",
        ): "one number more than next() ever gets to",
        (
            "names = [decode(sample(model, [EDGE], draw), task.alphabet) for _ in range(5)]",
            "constant",
        ): "only shown, as many as fit into the line",
    },
    "microdpo": {
        (
            "right = 0.5 if margin == 0.0 else chance if margin > 0.0 else 1.0 - chance",
            "> to >=",
        ): "a margin of zero was dealt with before",
        (
            "return sum(max(c, 1.0 - c) for c in chances) / len(chances)",
            "arguments swapped",
        ): "the larger of two, in any order",
        (
            "return (a.gold - b.gold) / (math.hypot(a.gold_se, b.gold_se) or 1e-9)",
            "arguments swapped",
        ): "hypot() is symmetric",
        (
            "return (a.gold - b.gold) / (math.hypot(a.gold_se, b.gold_se) or 1e-9)",
            "constant",
        ): "only keeps errors of zero from a division by zero",
        (
            "if step % max(1, STEPS // 5) == 0 or step == STEPS:",
            "arguments swapped",
        ): "the larger of two, in any order",
    },
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
    "micromoe": {
        ("super().__init__(0.0, x)", "constant"): "nobody reads the number of a bridge",
        (
            "self.inbox = [Value(0.0) for _ in x]  # one slot for each y_i",
            "constant",
        ): "nobody reads the number of a slot",
        (
            "return [Value(y_i, (bridge, slot), (0.0, 1.0)) for y_i, slot in zip(y, bridge.inbox)]",
            "constant",
        ): "a bridge reads its inbox, not the gradient that comes to itself",
        (
            "return dot(choice_shares(routes), mean_chances) * len(mean_chances)",
            "arguments swapped",
        ): "a dot product is symmetric",
        (
            "return [dot(weights, column) for column in zip(*outputs)]",
            "arguments swapped",
        ): "a dot product is symmetric",
        (
            "codes = {tag: dict(zip(letters, rng.sample(letters, len(letters)))) for tag in tags}",
            "arguments swapped",
        ): "the inverse of a random permutation is as random",
        (
            "if len(deck) < LETTERS:",
            "< to <=",
        ): "the next pass is shuffled a step earlier; the letters asked come in the same passes",
        (
            "balance=sum(map(balance_loss, routed)) / (len(routed) or 1),",
            "constant",
        ): "zero, over any number, where there is no router",
        (
            "if step == STEPS or (row.experts > 1 and step % max(1, STEPS // 9) == 0):",
            "arguments swapped",
        ): "the larger of two, in any order",
        (
            "met = in_experts * min(TOP_K, row.experts) // row.experts  # weights that one token"
            " meets",
            "arguments swapped",
        ): "the smaller of two, in any order",
        (
            'return "".join(marks[min(4, int(4 * share))] for share in shares)',
            "arguments swapped",
        ): "the smaller of two, in any order",
    },
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
    "microdropout": {
        (
            "sums = add(sums, dropout(h, new_mask(len(h), p, rng)))",
            "arguments swapped",
        ): "sums and products of floats have no order"
    },
    "microbatchnorm": {
        (
            "new, old = (mean, variance * n / max(1, n - 1)), self.running[layer][j]",
            "arguments swapped",
        ): ORDER,
        (
            "return [[self.rng.uniform(low, high) for _ in range(WIDTH)] for _ in range(LAYERS)]",
            "arguments swapped",
        ): "from high to low is the same distribution",
        ("phase = step % max(2, STEPS // 10)", "arguments swapped"): ORDER,
        (
            "return max(gaps), lengths[1] / (lengths[0] or 1.0)",
            "constant",
        ): "a gradient that has vanished, over anything: 0",
        (
            "gaps = [abs(a - b) for before, after in zip(*logits) for a, b in zip(before, after)]",
            "arguments swapped",
        ): "a distance is the same from either end",
        ("return min(result.loss, task.frequencies)", "arguments swapped"): ORDER,
    },
    "microschedule": {
        ("return min(1.0, (steps - step) / (DECAY * steps))", "arguments swapped"): ORDER,
        ("seconds = time.perf_counter() - begin", "term dropped"): CLOCK,
        ("seconds = time.perf_counter() - begin", "- to +"): CLOCK,
        ("apart = max(1, round(LAST * steps / LOOKS))", "arguments swapped"): ORDER,
        (
            "averaged, begin = freeze(task.start), STEPS - max(1, round(AVERAGED * STEPS))",
            "arguments swapped",
        ): ORDER,
        ("count = min(count, len(xs))", "arguments swapped"): ORDER,
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
    "shared": {
        ("position = len(cache[0][0])", "constant"): "there are as many values as keys",
        ("safe = max(self.data, 1e-12)", "arguments swapped"): ORDER,
        (
            "return Value(max(self.data, 0.0), (self,), (1.0 if self.data > 0.0 else 0.0,))",
            "arguments swapped",
        ): ORDER,
        ('x = rmsnorm(add(model["wte"][token], model["wpe"][position]))', "arguments swapped"): SUM,
        ('x = add(x, project(model, f"{layer}.wo", heads))', "arguments swapped"): SUM,
        ("x = add(x, mlp(model, layer, rmsnorm(x)))", "arguments swapped"): SUM,
        ("optimizer.step(lr * min(rise, fall, 1.0))", "arguments swapped"): ORDER,
        (
            "turns = sum(a != b for a, b in zip(vowel, vowel[1:])) / max(1, len(name) - 1)",
            "arguments swapped",
        ): "two neighbours differ in either order; " + ORDER,
        (
            "return turns - sum(letter in HARD for letter in name) / max(1, len(name))",
            "arguments swapped",
        ): ORDER,
        (
            "if rng.random() > first_wins(prompt + a, prompt + b):",
            "> to >=",
        ): "a draw of exactly this number, one of 2^53, does not come",
        ("loss = max(-m, 0.0) + math.log1p(small)", "arguments swapped"): ORDER,
        (
            "return Value(loss, (margin,), (-(small if m > 0.0 else 1.0) / (1.0 + small),))",
            "> to >=",
        ): "at 0 small is 1",
    },
}
