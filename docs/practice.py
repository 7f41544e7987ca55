"""Write the algorithms yourself: a script without the body of a function, and a check of yours.

    python docs/practice.py list                         what there is to write
    python docs/practice.py new microdpo dpo_loss        makes ./practice_microdpo.py, to fill in
    python docs/practice.py check practice_microdpo.py   says what agrees, and what does not

Expected is what the script's own function gives, or central differences, or PyTorch's numbers
(tests/golden). Known mistakes have hints. They stand below: write first, then read on.
"""

import ast
import json
import re
import sys
import traceback
from math import isclose
from pathlib import Path

# "*" a function and its scripts; "=" inputs; ">" a case, and "==" what is expected if not what the
# script gives; "-" a known mistake, an edit of the body or another body, and "#" its hint.
EXERCISES = """
* linear microlora
= ALPHA, x, w = 8, [3, -1], {"w": [[1, 2]]}
= model = w | unfreeze({"w.A": [[0.3, -0.2], [0.5, 0.4]], "w.B": [[0.7, -0.1]]})
> linear(model, "w", x)
> linear(model | {"w.bias": [[0.5]]}, "w", x)
- ALPHA / len(a) * h => h  # the factor alpha/r is missing
- ALPHA / len(a) * h => ALPHA * h  # alpha must be divided by the rank r, the number of rows of A
* merge microlora
= ALPHA, base, adapter = 8, {"w": [[1, 2]]}, unfreeze({"w.A": [[3, 2], [5, 4]], "w.B": [[7, 1]]})
> [merge(base, adapter, "w"), base]
- ALPHA / len(a) * dot => dot  # the factor alpha/r is missing
- freeze(adapter) => (adapter)  # the merged matrix is floats: freeze the adapter first
* token_log_probs microreinforce microdpo microppo microgrpo microspo microrlaif
= gpt, w = lambda w, token, cache: w[""][token], unfreeze({"": [[0, 1, 2], [2, 0, 1], [1, 3, 0]]})
> token_log_probs(w, [0, 1], [2, 1, 0])
- :]] => :-1]]  # the end token is missing: to stop is an action too
- [len(prompt) - 1 : => [len(prompt) :  # the completion's first token is missing
- [-loss for => [loss for  # the sign: these are losses, not log-probabilities
* log_prob microdpo microspo microrlaif
= gpt, w = lambda w, token, cache: w[""][token], unfreeze({"": [[0, 1, 2], [2, 0, 1], [1, 3, 0]]})
> log_prob(w, [0, 1], [2, 1, 0])
- completion)) => completion[:-1]))  # the end token is missing
- completion)) => completion)) / len(completion)  # the mean over the tokens: take their sum
- return -total(token_losses(model, prompt + completion))  # the prompt's tokens are in it
* dpo_loss microdpo microspo microrlaif
= w, l = Value(0.7), Value(-0.4)
> dpo_loss(w, l, 0.3)
> gradient(dpo_loss(w, l, 0.3), [w, l])
- return preference_loss((logratio_l - logratio_w) * beta)  # the sign: chosen minus rejected
- return preference_loss(logratio_w - logratio_l)  # beta is missing
* gae microppo
= g = golden("ppo")["gae"]; GAMMA, LAMBDA = g["gamma"], g["lambda"]
> gae([0.5, 2.0], [1.0, 3.0])
> gae(g["rewards"], g["values"]) == g["advantages"]
- [], 0.0, 0.0 => [], 0.0, values[-1]  # bootstrapped: after the last action V is 0
- GAMMA * LAMBDA * advantage => GAMMA * advantage  # lambda is missing
- GAMMA * LAMBDA * advantage => LAMBDA * advantage  # gamma is missing where A_(t+1) is added
- advantages[::-1] => advantages  # computed from the end back, they must be turned round
* clipped_surrogate microppo microgrpo
= CLIP, p = 0.2, Value(-0.9)
> [clipped_surrogate(p, old, A) for A in (2.0, -2.0) for old in (-2.0, -1.0, -0.2)]
> [gradient(clipped_surrogate(p, old, A)[0], [p]) for A in (2.0, -2.0) for old in (-2.0, -0.2)]
- advantage < ratio => advantage > ratio  # min and max are swapped: the smaller term counts
- * advantage < ratio.data * advantage => != ratio.data  # always clipped: the min is missing
- clipped * advantage < ratio.data * advantage => False  # the clip is missing
* score_gradient microppo
= net = {"left": [[.5, -1], [.2, .9]], "right": [[.3, .8], [-.7, .1]], "out": [[.7, -.4, .2]]}
= HIDDEN, x, w, f = 2, [0, 1, 1], net["out"] + net["left"] + net["right"], lambda: score(net, x)
> [descend(score_gradient(net, x), -1.0), w][1] == [add(*r) for r in zip(w, differences(f, w))]
- w * (1.0 - h_j * h_j) => w  # tanh' = 1 - tanh^2 is missing
* moe micromoe
= N_EMBD = TOP_K = 2; x, e = [Value(0.8), Value(-0.6)], [Expert(3, random.Random(i)) for i in "123"]
= model = unfreeze({"router": [[0.5, 0.1], [-0.4, 0.3], [0, 1]], "router_bias": [[0.1, 0, 0]]})
> [moe(model, e, x)[:2], sorted(moe(model, e, x)[2])]
> gradient(dot([1.0, -2.0], moe(model, e, x)[0]), [*x, *parameters(model)])
- softmax([logits[i] for => ([softmax(logits)[i] for  # softmax of the chosen logits only
- softmax([logits[i] for => ([softmax([logits[i]])[0] for  # a softmax over one gate is always 1
* Expert.backward micromoe
= N_EMBD = 2; x, g, e = [0.8, -0.6], [1.0, -2.0], Expert(4, random.Random(3))
= h, loss = e.forward(x)[0], lambda: dot(g, e.forward(x)[1])
> [e.backward(x, h, g), [e.w2_grad, e.w1_grad]][1] == [differences(loss, w) for w in (e.w2, e.w1)]
> e.backward(x, h, g) == differences(loss, [x])[0]
> [e.backward(x, h, g), e.backward(x, h, g), e.w2_grad][2]
- if h_j > 0.0 else => if True else  # relu's derivative is missing: dL/da is 0 where h is
- [old + a_i => [a_i  # add to what is there: tokens share an expert
- return matvec => matvec  # dL/dx is not returned: what is below learns by it
* balance_loss micromoe
= logits = [[Value(x) for x in row] for row in ((0.5, -0.2, 0.1), (1.0, 0.3, -0.7))]
> balance_loss(logits, [0.5, 0.25, 0.25])
> gradient(balance_loss(logits, [0.5, 0.25, 0.25]), sum(logits, []))
- softmax(z) => softmax(detach(z))  # the probabilities are detached: the router gets no gradient
- softmax(z) => [Value(p.data) for p in softmax(z)]  # the probabilities are detached: no gradient
- len(shares) / => 1.0 /  # the factor E, the number of experts, is missing
* leave_one_out microreinforce
> leave_one_out([1.0, 2.0, 6.0])
- return [r - fmean(rewards) for r in rewards]  # the baseline of r must leave r out
- / (len(rewards) - 1) => / len(rewards)  # the others are one fewer
* group_advantages microgrpo
> group_advantages(golden("group")["rewards"][0]) == golden("group")["group_advantages"][0]
- return [r - fmean(rewards) for r in rewards]  # divide by the standard deviation
- (std + 1e-8) => (std * (len(rewards) / (len(rewards) - 1)) ** 0.5)  # std divides by n here
* win_rates microspo
= majority = lambda a, b: len(a) / (len(a) + len(b))
> win_rates(["a", "bb", "cccc"])
- majority(a, b) => majority(b, a)  # these are losses: majority(a, b) is P(a wins)
* sample_mask microdropout
= HIDDEN, rng = 10000, random.Random(1)
> sorted(set(sample_mask(0.75, rng)))
> round(sample_mask(0.3, rng).count(0.0) / HIDDEN, 1)
- / (1.0 - p) => / 1.0  # the factor 1 / (1 - p) is missing: a mask's mean must be 1
* AdamW.step microdropout
= w = [Value(0.5), Value(-2.0)]; w[0].grad, w[1].grad, adam = 0.1, -3.0, AdamW(w, 0.7)
> [adam.step(0.1), [x.data for x in w]][1]
- w.data -= lr * self => w.grad += self  # decay in the gradient: Adam divides it by its size
* BatchNorm.chain_rule microbatchnorm
= x, gain, bias = [Value(0.3), Value(-1.2), Value(2.0)], Value(1.3), Value(0.2)
= y = BatchNorm(x, gain, bias, *moments(detach(x))).outputs
> gradient(dot([1.0, -2.0, 0.5], y), [gain, bias, *x])
- (g - mean_g - u * mean_gu) => g  # the mean and the variance depend on x too
* moments microbatchnorm
> moments([0.3, -1.2, 2.0, 0.7])
- fmean((x - mean) ** 2 for => 4 / 3 * fmean((x - mean) ** 2 for  # divide by n, not by n - 1
* cosine_decay microschedule
> [cosine_decay(step, 10) for step in range(10)]
- 0.5 * => 1.0 *  # the share is at most 1: halve it
* average microschedule microspo
> average([{"w": [[1.0, 2.0], [4.0, 5.0]]}, {"w": [[3.0, -2.0], [8.0, 0.0]]}])["w"]
- fmean( => fsum(  # this is the sum
* distill_loss microdistill
= z, q = [Value(0.5), Value(-1.0), Value(2.0)], [0.2, 0.3, 0.5]
> [distill_loss(z, q, 2.0), distill_loss(z, [0.0, 0.0, 1.0], 1.0)]
> gradient(distill_loss(z, q, 2.0), z)
- softmax([z / t for z in detach(logits)]) => softmax(detach(logits))  # divide the logits by T
- t * t * kl => kl  # the factor T^2 is missing
- b * math.log(b / a) => -b * math.log(a)  # the cross-entropy: subtract the entropy of q
- b * math.log(b / a) => a * math.log(a / b)  # this is KL(p || q), the other direction
* smooth microdistill
> smooth(([0, 2], [[0.0, 0.0, 1.0, 0.0]]))
- (1.0 - SMOOTHING) * x => x  # what is spread is taken from the label first
"""
ROOT = Path(__file__).resolve().parent.parent
PATHS = *sorted(ROOT.glob("micro*.py")), *sorted(ROOT.glob("docs/further/micro*.py"))
TEXTS = {path.stem: path.read_text("utf-8") for path in PATHS}
BLOCKS = {block.split()[0]: block.splitlines() for block in EXERCISES[3:].split("\n* ")}
FUNCTIONS = {s: [f for f, (head, *_) in BLOCKS.items() if s in head.split()] for s in TEXTS}
NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"


def lines(function, mark):
    """The lines of a function's exercise that start with a mark."""
    return [line[2:] for line in BLOCKS[function][1:] if line[0] == mark]


def rewrite(text, function, change):
    """A script's text with the body of a function, below its docstring, changed."""
    node = ast.parse(text)
    for name in function.split("."):
        node = next(child for child in node.body if getattr(child, "name", "") == name)
    start = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
    rows, (old, edit, new) = text.splitlines(keepends=True), change.partition(" => ")
    body = "".join(rows[start : node.end_lineno])
    body = body.replace(old, new) if edit else " " * (node.col_offset + 4) + change + "\n"
    return "".join([*rows[:start], body, *rows[node.end_lineno :]])


def differences(f, rows, h=1e-5):
    """Central differences of f() by each number in rows."""

    def f_at(row, i, x):
        old, row[i] = row[i], x
        y, row[i] = f(), old
        return y / (2.0 * h)

    return [[f_at(row, i, x + h) - f_at(row, i, x - h) for i, x in enumerate(row)] for row in rows]


def outcome(text, path, function, expression):
    """What an expression gives in a script, as JSON, or the error that it ends in."""
    names = {
        "__name__": "practice",
        "golden": lambda name: json.loads((ROOT / f"tests/golden/{name}.json").read_text("utf-8")),
        "gradient": lambda y, xs: [y.backward(), [x.grad for x in xs]][1],
        "differences": differences,
    }
    try:
        exec(compile(text, path, "exec"), names)
        exec("\n".join(lines(function, "=")), names)
        result = eval(expression, names)
        return json.dumps(result, default=lambda x: {type(x).__name__: getattr(x, "data", "?")})
    except BaseException as error:  # Ctrl-C as well, which ends an endless loop
        own = [x.lineno for x in traceback.extract_tb(error.__traceback__) if x.filename == path]
        line = getattr(error, "lineno", None) or (own or ["?"])[-1]
        return f"{type(error).__name__} in line {line} of {path}: {error}"


def same(a, b):
    pairs = zip(re.findall(NUMBER, a), re.findall(NUMBER, b))
    close = all(isclose(float(x), float(y), rel_tol=1e-6, abs_tol=1e-7) for x, y in pairs)
    return close and re.sub(NUMBER, "", a) == re.sub(NUMBER, "", b)


def check(path):
    """Compare the functions named in a practice file's first line, up to the first difference."""
    text = Path(path).read_text("utf-8")
    script, *functions = text.partition("\n")[0].removeprefix("# Practice: ").split() or [""]
    if not functions or not {*functions} <= {*FUNCTIONS.get(script, [])}:
        return f"{path}: its first line must say, as it did, what there is to check"
    for function, case in ((f, case) for f in functions for case in lines(f, ">")):
        expression, _, expected = case.partition(" == ")
        want = outcome(TEXTS[script], script, function, expected or expression)
        got = outcome(text, path, function, expression)
        print("ok  " if same(want, got) else "FAIL", expression)
        if not same(want, got):
            rows = [*lines(function, "="), f"expected {want}", f"got      {got}"]
            print(re.sub(NUMBER, lambda x: f"{float(x[0]):.6g}", "\n".join(rows)))
            for change, hint in (line.split("  # ") for line in lines(function, "-")):
                mistaken = rewrite(TEXTS[script], function, change)
                if same(outcome(mistaken, script, function, expression), got):
                    print("hint    ", hint)
            return 1


def new(script, functions):
    text = f"# Practice: {script} {' '.join(functions)}\n" + TEXTS[script]
    for function in functions:
        text = rewrite(text, function, "raise NotImplementedError")
    with open(f"practice_{script}.py", "x", encoding="utf-8") as file:
        file.write(text)
    print(f"wrote practice_{script}.py: write {', '.join(functions)} in it, then check it")


def main(arguments):
    match arguments:
        case ["list"]:
            for script, functions in FUNCTIONS.items():
                print(f"{script:14}", *functions)
        case ["new", script, _, *_] if {*arguments[2:]} <= {*FUNCTIONS.get(script, [])}:
            new(script, arguments[2:])
        case ["check", path]:
            return check(path)
        case _:
            return __doc__


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as error:
        sys.exit(f"practice.py: {error}")
