"""Section 4's network, section 6 and section 7 of microdropout.py."""

import io
import json
import math
import random
import string
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import microdropout as m
from microdropout import Value
from tests.helpers import slope

GOLDEN = json.loads((Path(__file__).resolve().parent / "golden" / "dropout.json").read_text())
SETTINGS = {"N_EMBD": 2, "HIDDEN": 7, "INIT_STD": 1.0, "BATCH": 3}


def setUpModule():
    for name, value in SETTINGS.items():
        patcher = patch.object(m, name, value)
        patcher.start()
        unittest.addModuleCleanup(patcher.stop)


def flat(x):
    return [v for part in x for v in flat(part)] if isinstance(x, list | tuple) else [x]


class Close(unittest.TestCase):
    def close(self, got, want, tolerance=1e-9):
        got, want = flat(got), flat(want)
        self.assertEqual(len(got), len(want))
        scale = max(1e-3, *(abs(x) for x in want))
        for a, b in zip(got, want):
            self.assertLessEqual(abs(a - b), tolerance * scale)


class Golden(Close):
    """Against PyTorch."""

    def test_dropout(self):
        for case in GOLDEN["dropout"]:
            x = [Value(v) for v in case["x"]]
            mask = [kept / (1.0 - case["p"]) for kept in case["kept"]]
            y = m.dropout(x, mask)
            m.total([v * g for v, g in zip(y, case["g"]) if isinstance(v, Value)]).backward()
            self.close([v.data if isinstance(v, Value) else v for v in y], case["y"])
            self.close([v.grad for v in x], case["grad"])
            self.close(m.dropout(case["x"], mask), case["y"])

    def test_mlp(self):
        for case in GOLDEN["mlp"]:
            model = m.unfreeze(case["weights"])
            mask = case["mask"] if 0.0 in case["mask"] else None
            logits = m.mlp(model, case["context"], mask)
            loss = m.cross_entropy(logits, case["target"])
            loss.backward()
            self.close(m.floats(logits), case["logits"])
            self.close(loss.data, case["loss"])
            self.close(m.mlp(case["weights"], case["context"], mask), case["logits"])
            for name, matrix in model.items():
                self.close([[w.grad for w in row] for row in matrix], case["grads"][name])

    def test_adamw(self):
        case = GOLDEN["adamw"]
        values = [Value(x) for x in case["start"]]
        optimizer = m.AdamW(values, case["decay"])
        for grads, want in zip(case["grads"], case["path"]):
            for value, grad in zip(values, grads):
                value.grad = grad
            optimizer.step(case["lr"])
            self.close([v.data for v in values], want)
            self.assertEqual({v.grad for v in values}, {0.0})


class Network(Close):
    def test_examples(self):
        alphabet = ["", "a", "b"]
        with patch.object(m, "CONTEXT", 3):
            want = [((0, 0, 0), 1), ((0, 0, 1), 2), ((0, 1, 2), 0)]
            self.assertEqual(m.examples_of(["ab"], alphabet), want)
            self.assertEqual(m.examples_of(["ab", "b"], alphabet)[3:],
                             [((0, 0, 0), 2), ((0, 0, 2), 0)])  # fmt: skip
        with patch.object(m, "CONTEXT", 1):
            self.assertEqual(m.examples_of(["ab"], alphabet), [((0,), 1), ((1,), 2), ((2,), 0)])

    def test_sizes(self):
        model = m.new_mlp(27, random.Random(1))
        sizes = {name: (len(w), len(w[0])) for name, w in model.items()}
        self.assertEqual(sizes, {"wte": (27, 2), "w1": (7, 6), "w2": (27, 7)})

    def test_gradients(self):
        """Of a masked network, against central differences of the same in floats."""
        frozen = m.new_mlp(5, random.Random(8))
        mask = [0.0, 2.0, 2.0, 0.0, 2.0, 2.0, 2.0]
        model = m.unfreeze(frozen)
        m.cross_entropy(m.mlp(model, (2, 0, 4), mask), 1).backward()
        for name, matrix in frozen.items():
            for i, row in enumerate(matrix):
                for j, kept in enumerate(row):

                    def f(x, row=row, j=j, kept=kept):
                        row[j] = x
                        loss = m.cross_entropy(m.mlp(frozen, (2, 0, 4), mask), 1)
                        row[j] = kept
                        return loss

                    self.assertAlmostEqual(model[name][i][j].grad, slope(f, kept), 7)

    def test_mean_loss(self):
        model = m.new_mlp(5, random.Random(8))
        examples = [((0, 0, 1), 2), ((0, 0, 1), 3), ((0, 0, 1), 3), ((1, 2, 3), 4)]
        losses = []
        for (a, b, c), target in examples:
            x = model["wte"][a] + model["wte"][b] + model["wte"][c]
            h = [max(0.0, sum(w * v for w, v in zip(row, x))) for row in model["w1"]]
            e = [math.exp(sum(w * v for w, v in zip(row, h))) for row in model["w2"]]
            losses.append(-math.log(e[target] / sum(e)))
        self.close(m.mean_loss(model, examples), sum(losses) / 4)


class Dropout(Close):
    def test_masks(self):
        rng = random.Random(2)
        for p in (0.2, 0.75):
            mask = m.new_mask(40000, p, rng)
            self.assertEqual(set(mask), {0.0, 1.0 / (1.0 - p)})
            self.assertAlmostEqual(mask.count(0.0) / len(mask), p, delta=0.01)
        self.assertEqual(set(m.new_mask(50, 0.0, rng)), {1.0})

    def test_no_unit_is_off_at_a_share_of_0_whatever_is_drawn(self):
        with patch.object(random.Random, "random", lambda rng: 0.0):
            self.assertEqual(m.new_mask(3, 0.0, random.Random(1)), [1.0] * 3)

    def test_what_is_off_is_left_out_of_the_graph(self):
        """By relu or the mask: children of a logit are the units that are on and their weights."""
        model = m.unfreeze(m.new_mlp(5, random.Random(8)))
        lit = [isinstance(h, Value) for h in m.hidden_units(model, (1, 2, 3))]
        for mask in (None, [0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0]):
            on = sum(a and b != 0.0 for a, b in zip(lit, mask or [1.0] * 7))
            for z in m.mlp(model, (1, 2, 3), mask):
                self.assertEqual(len(z.children), 2 * on)
        self.assertLess(0, on)
        self.assertLess(on, sum(lit))

    def test_what_is_off_is_a_constant(self):
        h = [Value(1.0), Value(2.0), 0.0, 0.0]
        y = m.dropout(h, [0.0, 2.0, 2.0, 0.0])
        self.assertEqual((y[0], y[1].data, y[2], y[3]), (0.0, 4.0, 0.0, 0.0))
        self.assertIsInstance(y[0], float)

    def test_all_masks_logits_average_to_the_logits_of_all_units(self):
        """Exactly: every mask, weighted by its probability."""
        model, p = m.new_mlp(5, random.Random(8)), 0.3
        sums = [0.0] * 5
        for bits in range(2**7):
            kept = [bits >> i & 1 for i in range(7)]
            chance = math.prod(1.0 - p if k else p for k in kept)
            logits = m.mlp(model, (1, 2, 3), [k / (1.0 - p) for k in kept])
            sums = [s + chance * z for s, z in zip(sums, logits)]
        self.close(sums, m.mlp(model, (1, 2, 3)))

    def test_surprises(self):
        """Of a fair coin, as many standard deviations as the draws' own count is off."""
        h, p, draws = [3.0, 0.0, 0.5], 0.25, 400
        counts, rng = [0] * 3, random.Random(5)
        for _ in range(draws):
            counts = [c + (rng.random() >= p) for c in counts]
        spread = math.sqrt(draws * p * (1.0 - p))
        want = [(counts[i] - draws * (1.0 - p)) / spread for i in (0, 2)]
        self.close(m.surprises(h, p, draws, random.Random(5)), want)
        with patch.object(m, "new_mask", lambda n, *_: [1.1] * n):  # a mask of the wrong mean
            self.close(m.surprises([2.0], 0.5, 400, random.Random(1)), [0.1 * 20])


class Learning(Close):
    examples = [((0, 0, i), j) for i in range(5) for j in range(5)]

    def batch(self, p, seed):
        """What a step adds up, once by the script and once written out."""
        model, twin = (m.unfreeze(m.new_mlp(5, random.Random(8))) for _ in range(2))
        loss = m.next_letter(model, self.examples, p, seed)()
        drawn = random.Random(seed).choices(self.examples, k=m.BATCH)
        switch = random.Random(seed + 1)
        terms = []
        for context, target in drawn:
            mask = [(switch.random() >= p) / (1.0 - p) for _ in range(7)] if p else None
            terms.append(m.cross_entropy(m.mlp(twin, context, mask), target))
        whole = sum(terms) / len(terms)
        whole.backward()
        self.close(loss, whole.data)
        grads = [[w.grad for w in m.weights_of(x)] for x in (model, twin)]
        self.close(*grads)
        return grads[0], drawn

    def test_a_step_is_the_mean_over_a_batch_a_mask_for_each(self):
        self.assertNotEqual(self.batch(0.0, 7)[0], self.batch(0.5, 7)[0])

    def test_every_share_sees_the_same_examples(self):
        seen = {0.0: [], 0.5: []}
        for p, contexts in seen.items():

            def note(model, context, mask=None, real=m.mlp, contexts=contexts, p=p):
                self.assertEqual(mask is None, p == 0.0)
                contexts.append(context)
                return real(model, context, mask)

            with patch.object(m, "mlp", note):
                learn = m.next_letter(
                    m.unfreeze(m.new_mlp(5, random.Random(8))), self.examples, p, 4
                )
                for _ in range(6):
                    learn()
        self.assertEqual(seen[0.0], seen[0.5])
        self.assertGreater(len(set(seen[0.0])), 3)

    def test_a_mask_that_leaves_nothing_on(self):
        model = m.unfreeze(m.new_mlp(5, random.Random(8)))
        with patch.object(m, "new_mask", lambda n, *_: [0.0] * n):
            loss = m.next_letter(model, self.examples, 0.5, 1)()
        self.close(loss, math.log(5))
        self.assertEqual({w.grad for w in m.weights_of(model)}, {0.0})

    def test_adamw_shrinks_by_the_same_share_and_decays_outside_the_moments(self):
        values = [Value(4.0), Value(-0.01)]
        optimizer = m.AdamW(values, 2.0)
        for _ in range(3):
            optimizer.step(0.1)
        self.close([v.data for v in values], [4.0 * 0.8**3, -0.01 * 0.8**3])
        self.assertEqual(set(flat([list(x) for x in optimizer.moments])), {0.0})

    def test_fit(self):
        """Looks when they are due, what they hold, and the row's p and decay reach training."""
        vocabulary, asked, decays = 5, [], []

        class Spy(m.AdamW):
            def __init__(self, values, decay):
                decays.append(decay)
                super().__init__(values, decay)

        def note(model, examples, p, seed, real=m.next_letter):
            asked.append((p, seed))
            return real(model, examples, p, seed)

        row = m.Row(label="x", p=0.5, decay=0.3)
        with patch.multiple(m, STEPS=7, LOOK_EVERY=3, LR=0.1, AdamW=Spy, next_letter=note):
            with redirect_stderr(io.StringIO()):
                looks = m.fit(row, self.examples, self.examples[:6], vocabulary, 9)
        self.assertEqual((asked, decays), ([(0.5, 9)], [0.3]))
        self.assertEqual([look.step for look in looks], [3, 6, 7])
        # the same by hand
        model = m.unfreeze(m.new_mlp(vocabulary, random.Random(9)))
        learn, optimizer = m.next_letter(model, self.examples, 0.5, 9), m.Adam(m.weights_of(model))
        batch = []
        for step in range(1, 8):
            batch.append(learn())
            for w in optimizer.values:
                w.data -= 0.1 * 0.3 * w.data
            optimizer.step(0.1)
            if step in (3, 6, 7):
                look = looks[(3, 6, 7).index(step)]
                self.close(m.weights_of(look.model), m.floats(m.weights_of(model)))
                self.close(look.batch, sum(batch) / len(batch))
                self.close(look.validation, m.mean_loss(m.freeze(model), self.examples[:6]))
                batch = []

    def test_stopping(self):
        for losses, patience, want in (
            ([5, 4, 3, 4, 5, 6, 1], 3, (2, 5)),  # the 1 comes too late
            ([5, 4, 3, 4, 5, 6, 1], 4, (6, 6)),
            ([5, 4, 3], 1, (2, 2)),
            ([3, 4, 5], 1, (0, 1)),
            ([3, 3, 3, 3], 2, (0, 2)),  # as good as the best is no new best
            ([3, 4, 2, 4, 1, 5], 2, (4, 5)),
            ([1], 1, (0, 0)),
        ):
            self.assertEqual(m.stopping(losses, patience), want, losses)


def task_of(rng):
    alphabet = ["", *"abcd"]
    parts = [["".join(rng.choices("abcd", k=4)) for _ in range(6)] for _ in range(3)]
    learnt, validation, test = (m.examples_of(part, alphabet) for part in parts)
    return m.Task(
        alphabet=alphabet, learnt=learnt, validation=validation, test=test, shown=parts[2][0]
    )


class Measuring(Close):
    def test_make_task(self):
        with redirect_stdout(io.StringIO()) as out:
            task = m.make_task(m.NAMES, random.Random(1))
        self.assertEqual(out.getvalue(), "50 names to learn, 80 to stop by, 180 to test\n")
        start = (0,) * m.CONTEXT
        counts = [sum(c == start for c, _ in p) for p in (task.learnt, task.validation, task.test)]
        self.assertEqual(counts, [50, 80, 180])
        self.assertEqual(len(task.alphabet), 27)

        def words(part):  # the names, put together again
            found, word = set(), ""
            for _, target in part:
                word += task.alphabet[target]
                if target == 0:
                    found.add(word)
                    word = ""
            return found

        a, b, c = (words(part) for part in (task.learnt, task.validation, task.test))
        self.assertEqual((a & b, a & c, b & c), (set(), set(), set()))
        self.assertEqual(len(a | b | c), 310)

    def test_the_name_to_look_at_is_the_longest_of_twenty(self):
        """Of test names; the first twenty are looked through."""
        names = [a + b for a in "abcdefgh" for b in "stuvwxyz"]
        for place, want in ((0, "x" * 5), (19, "x" * 5), (20, "y" * 4)):
            parts = iter([(["ab"] * 60, ["ab"] * 30), (["ab"] * 50, ["ab"] * 10)])

            def split(items, rng, held_out, place=place, parts=parts):
                rest, test = next(parts)
                if len(test) == 30:
                    test[7], test[place] = "y" * 4, "x" * 5
                return rest, test

            with patch.object(m, "split", split), redirect_stdout(io.StringIO()):
                self.assertEqual(m.make_task(names, random.Random(1)).shown, want)

    def test_a_row_is_learnt_on_names_to_learn_and_looked_at_on_names_to_stop_by(self):
        task, row = task_of(random.Random(1)), m.Row(label="x", p=0.5, decay=0.3)
        with patch.multiple(m, STEPS=4, LOOK_EVERY=2), redirect_stderr(io.StringIO()):
            result = m.measure(row, task, 9)
            looks = m.fit(row, task.learnt, task.validation, 5, 9)
        self.assertEqual(result.looks, looks)
        self.assertEqual(len(looks[0].model["wte"]), len(task.alphabet))

    def test_norm(self):
        self.assertEqual(m.norm_of({"a": [[1.0, 2.0]], "b": [[-2.0], [4.0]]}), 5.0)

    def test_measure(self):
        """Made-up looks: what is taken from which of them."""
        task = task_of(random.Random(1))
        models = [m.new_mlp(5, random.Random(i)) for i in range(5)]
        looks = [
            m.Look(step=10 * (i + 1), model=model, batch=0.0, validation=loss)
            for i, (model, loss) in enumerate(zip(models, (4.0, 2.0, 3.0, 3.0, 1.0)))
        ]
        row = m.Row(label="x", p=0.0, decay=0.0)
        with patch.object(m, "fit", lambda *_: looks), patch.object(m, "PATIENCE", 2):
            result = m.measure(row, task, 1)
        self.assertEqual((result.row, result.looks), (row, looks))
        self.assertEqual((result.kept, result.last), (20, 40))
        self.assertEqual(result.stopped, m.mean_loss(models[1], task.test))
        self.assertEqual(result.end, m.mean_loss(models[4], task.test))
        self.assertEqual(result.train, m.mean_loss(models[4], task.learnt))
        self.assertEqual(result.norm, m.norm_of(models[4]))

    def test_table_of_pairs(self):
        examples = [((2, 2, 0), 1), ((2, 2, 1), 2), ((2, 2, 1), 2), ((2, 2, 1), 0)]
        # singles, each one more: 2, 2, 3 of 7; token 1 was followed by 0 once and by 2 twice
        table = m.pair_table(examples, 3, 2.0)
        self.close(table[1], [(1 + 4 / 7) / 5, (4 / 7) / 5, (2 + 6 / 7) / 5])
        self.close(table[2], [2 / 7, 2 / 7, 3 / 7])
        self.close([sum(row) for row in table], [1.0] * 3)
        want = -(math.log(table[1][2]) + math.log(table[2][0])) / 2
        self.close(m.table_loss(table, [((0, 0, 1), 2), ((1, 1, 2), 0)]), want)

    def test_the_tables_weight_is_chosen_on_validation_and_graded_on_test(self):
        task = task_of(random.Random(4))
        tables = [m.pair_table(task.learnt, 5, weight) for weight in (3, 10, 30)]
        losses = [(m.table_loss(t, task.validation), m.table_loss(t, task.test)) for t in tables]
        self.assertEqual(m.count_pairs(task), min(losses)[1])
        self.assertEqual(m.count_pairs(task._replace(validation=task.learnt)), losses[0][1])

    def test_each_weight_of_the_table_has_its_turn(self):
        """The less the pairs that were learnt say of other names, the larger the weight."""
        chosen = set()
        for seed in range(12):
            task = task_of(random.Random(seed))
            tables = [m.pair_table(task.learnt, 5, weight) for weight in (3, 10, 30)]
            losses = [m.table_loss(table, task.validation) for table in tables]
            best = losses.index(min(losses))
            chosen.add(best)
            self.assertEqual(m.count_pairs(task), m.table_loss(tables[best], task.test))
        self.assertEqual(chosen, {0, 1, 2})

    def test_use(self):
        model, p = m.new_mlp(5, random.Random(8)), 0.6
        examples = [((0, 0, 1), 2), ((1, 2, 3), 4), ((0, 0, 1), 3)]
        with patch.object(m, "MASKS", 4):
            got = m.use(model, examples, p, random.Random(8))
        rng, chances = random.Random(8), {}
        for context in ((0, 0, 1), (1, 2, 3)):
            masks = [[(rng.random() >= p) / (1.0 - p) for _ in range(7)] for _ in range(4)]
            chances[context] = [m.softmax(m.mlp(model, context, mask)) for mask in masks]
        off, on, averaged, unscaled = [], [], [], []
        for context, target in examples:
            hits = [chance[target] for chance in chances[context]]
            on.append(sum(-math.log(hit) for hit in hits) / 4)
            averaged.append(-math.log(sum(hits) / 4))
            logits = m.mlp(model, context)
            off.append(m.cross_entropy(logits, target))
            unscaled.append(m.cross_entropy([z / 0.4 for z in logits], target))
        want = [sum(xs) / 3 for xs in (off, on, averaged, unscaled)]
        self.close([got.off, got.on, got.averaged, got.unscaled], want)

    def test_use_without_underflow(self):
        model = {"wte": [[1.0, 0.0]] * 2, "w1": [[1.0] * 6] * 7, "w2": [[0.0] * 7, [300.0] * 7]}
        modes = m.use(model, [((0, 0, 0), 0)], 0.5, random.Random(1))
        self.assertTrue(all(map(math.isfinite, modes)))

    def test_masks_are_shown(self):
        task, model = task_of(random.Random(1)), m.new_mlp(5, random.Random(2))
        with redirect_stdout(io.StringIO()) as out, patch.object(m, "DRAWS", 10):
            m.show_masks(model, task, random.Random(3))
        lines = out.getvalue().splitlines()
        self.assertIn(f"after '{task.shown[:3]}'", lines[1])
        context = m.encode(task.shown, task.alphabet)[1:4]
        h, rng = m.hidden_units(model, context), random.Random(3)
        self.assertEqual([c == " " for c in lines[2][9:16]], [not x for x in h])
        for line in lines[3:6]:
            mask = m.new_mask(7, m.DROPOUT, rng)
            self.assertEqual([c == "x" for c in line[9:16]], [not x for x in mask])
            chances = m.softmax(m.mlp(model, context, mask))
            self.assertIn(f"{max(chances):4.0%}", line)


class Claims(unittest.TestCase):
    def test_seed_and_file_reach_the_experiment(self):
        with patch.object(m, "experiment", return_value=3) as experiment:
            self.assertEqual(m.main(["--seed", "7", "--names", "x.txt"]), 3)
        experiment.assert_called_once_with(seed=7, names="x.txt")

    def test_bad_settings_end_it_before_anything_is_learnt(self):
        with patch.object(m, "DROPOUT", 1.0), patch.object(m, "measure") as measure:
            with redirect_stderr(io.StringIO()), self.assertRaises(SystemExit):
                m.experiment(5, None)
        measure.assert_not_called()

    def test_a_file_of_names(self):
        """Up to 50 letters each; every letter has its token, those of test names too."""
        names = [letter * 2 for letter in string.ascii_lowercase] + ["y" * 50]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "names.txt"
            path.write_text("\n".join([*names, "z" * 51]), "utf-8")
            with patch.object(m, "measure", side_effect=KeyboardInterrupt) as measure:
                with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
                    self.assertRaises(KeyboardInterrupt, m.experiment, 5, str(path))
        _, task, seed = measure.call_args.args
        self.assertEqual(seed, 5)
        self.assertEqual(task.alphabet, ["", *string.ascii_lowercase])
        self.assertEqual(len(task.learnt + task.validation + task.test), 26 * 3 + 51)
        self.assertIn("12 names to learn, 6 to stop by, 9 to test", out.getvalue())

    def test_each_claim_compares_what_it_says(self):
        """Results with made-up numbers, whose differences are all different."""
        ends = {"plain": (4.0, 2.8), "0.5": (3.1, 2.75), "0.8": (2.9, 2.7), "decay": (2.6, 2.59)}
        seen, tasks, models = [], [], {}

        def measure(row, task, seed):
            key = next(k for k in ends if k in row.label)
            looks = [
                m.Look(step=i, model=m.new_mlp(27, random.Random(1)), batch=1.0, validation=1.0)
                for i in (1, 2, 3)
            ]
            seen.append((row.p, row.decay))
            tasks.append((task, seed))
            models[key] = looks[-1].model
            return m.Result(
                row=row, looks=looks, train=1.0, end=ends[key][0], stopped=ends[key][1],
                kept=1, last=1, norm=1.0,
            )  # fmt: skip

        used = []

        def use(model, examples, p, rng):
            used.append((model, examples, p))
            return m.Modes(off=3.1, on=3.3, averaged=2.95, unscaled=5.0)

        caught = []
        with patch.multiple(m, measure=measure, use=use, count_pairs=lambda task: 2.7, DRAWS=5):
            with patch.object(m, "check_claims", lambda claims: caught.extend(claims) or 0):
                with redirect_stdout(io.StringIO()):
                    self.assertEqual(m.experiment(1, None), 0)
        more = (m.MORE_DROPOUT, 0.0)
        self.assertEqual(seen, [(0.0, 0.0), (m.DROPOUT, 0.0), more, (0.0, m.DECAY)])
        for task, seed in tasks:  # the same for all
            self.assertIs(task, tasks[0][0])
            self.assertEqual(seed, 1)
        [(model, examples, p)] = used  # the network at its end, on test names
        self.assertIs(model, models["0.5"])
        self.assertIs(examples, tasks[0][0].test)
        self.assertEqual(p, m.DROPOUT)
        want = [1.2, 1.3, -0.9, 0.3, -1.4, 0.01, 0.2, -0.15]
        for (text, measured, *_), value in zip(caught, want, strict=True):
            self.assertAlmostEqual(measured, value, 12, text)


if __name__ == "__main__":
    unittest.main()
