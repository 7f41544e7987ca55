"""The exercises: edits of the scripts, what they do, and solutions of those that ask for code.

    python tests/tools/exercises.py run FOLDER [NAME ...]    run the edited scripts, keep what they print
    python tests/tools/exercises.py write FOLDER             docs/exercises.md, with the measured answers

Two runs at a time, one to three minutes each. An answer's numbers are taken from these runs and
from docs/runs; its words are here, and are to be read again when the numbers change.
"""

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.blocks import ROOT


class Exercise(NamedTuple):
    name: str
    script: str
    question: str
    edits: list[tuple[str, str]]  # text of the script, and what is to stand there
    lines: str  # a regular expression: which of the printed lines are the answer
    why: str


EXERCISES = [
    Exercise(
        name="lora-alpha",
        script="microlora",
        question="`ALPHA` is 8. What happens at 80? (The rates of the rows were tuned for 8.)",
        edits=[("ALPHA = 8.0", "ALPHA = 80.0")],
        lines=r"^(adapted|full, rate 0.01|wo lm_head  |wq w|  ok|  FAIL)",
        why="alpha/r scales what the adapter adds and its gradient alike, so that ten times alpha "
        "acts like a higher learning rate: every adapter gains less. Adam, which divides by the "
        "gradient's size, forgives the rest: nothing diverges, and the claims hold.",
    ),
    Exercise(
        name="lora-zeros",
        script="microlora",
        question="`new_adapter()` draws A at random and sets B to zero. Set both to zero: what is "
        "the gain of each adapter?",
        edits=[("rng.gauss(0.0, m**-0.5) for _ in range(m)", "0.0 for _ in range(m)")],
        lines=r"^(adapted|wo lm_head  |wq w)",
        why="The gradient of A contains B, and that of B contains A x: where both are zero, neither "
        "ever leaves it.",
    ),
    Exercise(
        name="lora-rank",
        script="microlora",
        question="The headline adapts `wo` and `lm_head` at rank 1. Does rank 8, eight times the "
        "parameters, give eight times the gain?",
        edits=[('HEADLINE = Row(places="wo lm_head", rank=1', 'HEADLINE = Row(places="wo lm_head", rank=8')],
        lines=r"^(adapted|wo lm_head  |wq w)",
        why="Not eight times, but nearly twice: more than any other row gains, and the English is "
        "forgotten as after full fine-tuning. At this size these two matrices are almost enough; "
        "rank 1 was what held them back.",
    ),
    Exercise(
        name="lora-gentle",
        script="microlora",
        question="Full fine-tuning forgot less at a gentle rate of 0.002. At 0.0005 even less: is that "
        "better?",
        edits=[("GENTLE_LR = 0.002", "GENTLE_LR = 0.0005")],
        lines=r"^(adapted|full,|wo lm_head  |  g at)",
        why="Forgetting is to be compared at equal learning. The two paths nearly lie on each other: "
        "where the run at 0.002 had come as far, it had forgotten as little. The gentler one only "
        "stops earlier on the way.",
    ),
    Exercise(
        name="dpo-beta",
        script="microdpo",
        question="Between beta 0.1 and 0.01 gold falls. Add 0.03: where does it lie, in gold and in "
        "KL? Is KL monotone in beta?",
        edits=[("BETAS = [1.0, 0.3, 0.1, 0.01]", "BETAS = [1.0, 0.3, 0.1, 0.03, 0.01]")],
        lines=r"^(  reference  |  beta|                      gold)",
        why="Gold lies between; KL hardly grows any more, though beta falls tenfold from 0.1 on. beta "
        "sets the slope of a pull towards the reference, not a distance: below 0.1 policies do not "
        "go further, they go astray (repeats).",
    ),
    Exercise(
        name="dpo-taste",
        script="microdpo",
        question="Make the annotator unsure of its taste: `TASTE = 3.0`. What becomes of the accuracy, "
        "of its share of the noise's limit, of gold?",
        edits=[("TASTE = 12.0", "TASTE = 3.0")],
        lines=r"^(  Who knows|  reference  |  beta|  ok|  FAIL)",
        why="The limit falls with the annotator's sureness, and the share of it that DPO reaches hardly "
        "does. Gold loses a third of its gain. The claim on the held-out loss fails: an annotator "
        "who nearly tosses a coin cannot be foretold, and the loss stays near ln 2.",
    ),
    Exercise(
        name="dpo-end",
        script="microdpo",
        question="Leave the end token out of log pi(y|x): in `log_prob()`, `zip([prompt[-1], *answer], "
        "answer[:-1] or answer)` (an answer that is nothing but the end keeps it). What do the "
        "policies unlearn?",
        edits=[("zip([prompt[-1], *answer], answer):", "zip([prompt[-1], *answer], answer[:-1] or answer):")],
        lines=r"^(  reference  |  beta|  chosen only|                      gold)",
        why="To stop. Every letter of a chosen answer is made likelier, at the cost of all else that "
        "might stand there, the end among it; the end itself never is. Even the control, which does "
        "no more than imitate finished names, forgets to finish its own.",
    ),
    Exercise(
        name="dpo-few",
        script="microdpo",
        question="Take 60 comparisons to learn from instead of 400: `PAIRS = 260`. Each is then seen more "
        "than six times. Which beta is best now?",
        edits=[("PAIRS = 600", "PAIRS = 260")],
        lines=r"^(  reference  |  beta|  chosen only|  ok|  FAIL|    (400|  0) )",
        why="The same beta, and as good: the taste of this annotator can be learnt from 60 comparisons. "
        "What they cannot do is hold a policy whose pull is weak: at 0.01 it falls below the "
        "reference. (With fewer pairs to draw, the reference is another one, too.)",
    ),
    Exercise(
        name="ppo-kl",
        script="microppo",
        question="`KL_COEF` is 0.2. Try 0.02: does a tenth of the penalty do?",
        edits=[("KL_COEF = 0.2", "KL_COEF = 0.02")],
        lines=r"^(               proxy|  reference  |  with|  ok|  FAIL)",
        why="No: the proxy rises to most of what it reaches without any penalty, and gold "
        "falls. The policy has begun to repeat itself; it is the same way, gone more slowly.",
    ),
    Exercise(
        name="ppo-epochs",
        script="microppo",
        question="Learn from every answer twelve times instead of three: `EPOCHS = 12`. It costs no "
        "answers. What do the clip and the KL say?",
        edits=[("EPOCHS = 3", "EPOCHS = 12")],
        lines=r"^(  round|      1 |     11 |     20 |  reference  |  with)",
        why="Twice as many ratios lie beyond the clip, some of them far: it takes the gain out of moving "
        "a ratio further, it does not hold it. Four times the learning from the same answers buys no "
        "gold here.",
    ),
    Exercise(
        name="ppo-peek",
        script="microppo",
        question="Let the critic see the finished text: in `states_of()`, `mean_of(rows)` in place of "
        "`mean_of(rows[: length - 1])`. Its explained variance rises. And gold?",
        edits=[("mean_of(rows[: length - 1])", "mean_of(rows)")],
        lines=r"^(  explained|  reference  |  with|  round|      1 |     11 |     20 )",
        why="A forecast that knows the outcome leaves nothing to praise: advantages are what the "
        "critic does not foresee. It foresees nearly all, and the policy hardly moves.",
    ),
    Exercise(
        name="ppo-lambda",
        script="microppo",
        question="`LAMBDA = 0.0` asks the critic after every token, and never waits for the answer. What "
        "does it do here?",
        edits=[("LAMBDA = 0.95", "LAMBDA = 0.0")],
        lines=r"^(  reference  |  with|  ok|  FAIL)",
        why="The advantage is then what the critic thinks of one token: little noise, and all of the "
        "critic's errors. The policy gets nearly as far; without the penalty it goes astray later, "
        "too late for the claim that its gold ends below the reference's.",
    ),
    Exercise(
        name="moe-top1",
        script="micromoe",
        question="`TOP_K = 1`: the one weight of a token, renormalized, is 1 whatever the router says. "
        "Which gradient does the router still get?",
        edits=[("TOP_K = 2", "TOP_K = 1")],
        lines=r"^( +params|  MoE|  dense|  of the|  ok|  FAIL)",
        why="Only that of the balance loss: the loss on the answer no longer depends on its chances, and "
        "the mixture falls behind the dense model of equal work. "
        "(Switch, which takes the top 1, multiplies by the chance itself.)",
    ),
    Exercise(
        name="moe-four",
        script="micromoe",
        question="Four experts of 128 hidden units instead of sixteen of 32 (equal size): `EXPERTS = 4`, "
        "`EXPERT_WIDTH = 128`. What does the run without the balance loss do now?",
        edits=[("EXPERTS = 16", "EXPERTS = 4"), ("EXPERT_WIDTH = 32", "EXPERT_WIDTH = 128")],
        lines=r"^( +params|  MoE|  dense|  The bal|  ok|  FAIL)",
        why="Nobody starves, though one expert does three times as much as another, and the loss still "
        "gains from the balance. Two of four are half of everything: a token costs nearly four times "
        "what it did, for the same facts.",
    ),
    Exercise(
        name="moe-few",
        script="micromoe",
        question="Capacity is for those who need it: `CODES = 4`, 104 facts instead of 364. Who wins?",
        edits=[("CODES = 14", "CODES = 4")],
        lines=r"^( +params|  MoE|  dense|  ok|  FAIL)",
        why="Nobody, by facts: 104 of them fit into the dense model of equal work, in as many steps.",
    ),
    Exercise(
        name="moe-small",
        script="micromoe",
        question="Experts of 4 hidden units instead of 32: `EXPERT_WIDTH = 4`. What share of the work is "
        "the router's then?",
        edits=[("EXPERT_WIDTH = 32", "EXPERT_WIDTH = 4")],
        lines=r"^( +params|  MoE|  dense|  ok|  FAIL)",
        why="The router costs 16 x 8 = 128 multiply-adds a token whatever the experts do, which two "
        "experts of 4 hidden units cost as well (2 x 2 x 4 x 8 = 128): half of the work is choosing. "
        "The lead over the dense model of equal work shrinks from 86 facts to 19.",
    ),
]  # fmt: skip


class Task(NamedTuple):
    """An exercise that asks for code. test_exercises.py runs the solution."""

    script: str
    question: str
    solution: str


TASKS = [
    Task(
        script="microlora",
        question="**QLoRA-style rounding.** Write `rounded(base)`, the base with every row of every matrix "
        "rounded to 16 evenly spaced levels between its least and its greatest number (4 bits), and "
        "adapt that. How much of the gain is left?",
        solution='''\
def rounded(base: Model) -> Model:
    """Each row on 16 levels between its least and its greatest number."""

    def levels(row: Sequence[float]) -> list[float]:
        low = min(row)
        step = (max(row) - low) / 15 or 1.0
        return [low + step * round((x - low) / step) for x in row]

    return {name: [levels(row) for row in matrix] for name, matrix in base.items()}
''',
    ),
    Task(
        script="microdpo",
        question="**IPO** (Azar et al. 2023, arXiv:2310.12036). Write `ipo_loss(ratio_w, ratio_l, beta)`, the "
        "square of the difference of the ratios from 1 / (2 beta): it wants that margin, and no more.",
        solution='''\
def ipo_loss(ratio_w: Any, ratio_l: Any, beta: float) -> Any:
    """(ratio_w - ratio_l - 1 / (2 beta))^2: the paper's equation 17, for one comparison."""
    return (ratio_w - ratio_l - 1.0 / (2.0 * beta)) ** 2
''',
    ),
    Task(
        script="microppo",
        question="**The k3 estimate of the KL** (Schulman 2020): with x = log pi_ref - log pi, e^x - x - 1. "
        "Write `k3(log_prob, ref_log_prob)` for one token. It is never negative; is its mean over the "
        "policy's own tokens the same as that of log pi - log pi_ref?",
        solution='''\
def k3(log_prob: float, ref_log_prob: float) -> float:
    """An estimate of KL(pi || pi_ref) from one token of pi's: e^x - x - 1, x = log pi_ref/pi."""
    x = ref_log_prob - log_prob
    return math.exp(x) - x - 1.0
''',
    ),
    Task(
        script="micromoe",
        question="**A shared expert** (DeepSeekMoE). Write a subclass `Shared(Mixture)` whose first expert "
        "sees every token, and whose router chooses among the others (`row.router` has a row less).",
        solution='''\
class Shared(Mixture):
    """Expert 0 works for every token, beside those that the router chooses."""

    def mlp(self, model: Model, layer: int, x: Vector) -> list[Any]:
        first, *others = self.experts[layer]
        chances = softmax(linear(model[f"{layer}.router"], x))
        chosen, weights = top_k(chances)
        self.routes[layer].append(Route(chances=chances, chosen=chosen))
        outputs = [ask(others[i], x) for i in chosen]
        routed = [dot(weights, column) for column in zip(*outputs)]
        return add(ask(first, x), routed)
''',
    ),
]  # fmt: skip


def edited(exercise: Exercise) -> str:
    text = (ROOT / f"{exercise.script}.py").read_text("utf-8")
    for old, new in exercise.edits:
        assert text.count(old) == 1, (exercise.name, old)
        text = text.replace(old, new)
    return text


def run(folder: Path, exercise: Exercise) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f"{exercise.script}.py"
        path.write_text(edited(exercise), "utf-8")
        command = [sys.executable, "-I", "-X", "utf8", path.name]
        done = subprocess.run(command, cwd=place, capture_output=True, check=False)
    (folder / f"{exercise.name}.txt").write_bytes(done.stdout)
    print(f"{exercise.name}: exit status {done.returncode}", flush=True)


def answer(exercise: Exercise, output: str) -> str:
    kept = (ROOT / "docs" / "runs" / f"{exercise.script}.txt").read_text("utf-8")
    rows = {}
    for label, text in (("as it is", kept), ("edited", output)):
        chosen = [line for line in text.splitlines() if re.search(exercise.lines, line)]
        rows[label] = "\n".join(line.rstrip() for line in chosen)
    return (
        f"<details><summary>Measured</summary>\n\nAs it is:\n\n```\n{rows['as it is']}\n```\n\n"
        f"Edited:\n\n```\n{rows['edited']}\n```\n\n{exercise.why}\n\n</details>"
    )


def page(folder: Path) -> str:
    lines = [
        "# Exercises",
        "",
        "Predict, then run. Each of the first kind is an edit of a line or two; the answer, folded",
        "away, was measured by making the edit and running the script at the default seed",
        "(`python tests/tools/exercises.py`). Where a claim of the script fails after an edit, that is",
        "the answer. The last of each script asks for code; its solution is run by a test.",
    ]
    for script in dict.fromkeys(exercise.script for exercise in EXERCISES):
        lines += ["", f"## {script}.py"]
        number = 0
        for exercise in EXERCISES:
            if exercise.script == script:
                number += 1
                output = (folder / f"{exercise.name}.txt").read_text("utf-8")
                lines += ["", f"**{number}.** {exercise.question}", "", answer(exercise, output)]
        for task in TASKS:
            if task.script == script:
                number += 1
                lines += ["", f"**{number}.** {task.question}", ""]
                lines.append("<details><summary>A solution</summary>\n")
                lines.append(f"```py\n{task.solution}```\n\n</details>")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"] and len(sys.argv) > 2:
        folder = Path(sys.argv[2])
        folder.mkdir(exist_ok=True)
        wanted = [e for e in EXERCISES if not sys.argv[3:] or e.name in sys.argv[3:]]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda exercise: run(folder, exercise), wanted))
    elif sys.argv[1:2] == ["write"] and len(sys.argv) == 3:
        (ROOT / "docs" / "exercises.md").write_text(page(Path(sys.argv[2])), "utf-8")
        print("wrote docs/exercises.md")
    else:
        sys.exit(__doc__)
