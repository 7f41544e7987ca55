"""Break the scripts on purpose, one line at a time, and see whether a test notices.

    python tests/tools/mutants.py

Each mutant is (script, text, changed text); "shared" changes all scripts that have the line alike, so
that the comparison of the shared blocks does not notice. For every mutant the tests run in a copy of the
project, and the first that fails is named. Prints Markdown; exit status 1 if a mutant survives.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.tools.blocks import ROOT, scripts

SCRIPTS = [path.stem for path in scripts()]

MUTANTS = [
    # autograd, model, training kit
    ("shared", "self * other**-1.0", "self * other**-2.0"),
    ("shared", "(k * self.data ** (k - 1) if k else 0.0,)", "(self.data ** (k - 1),)"),
    ("shared", "(1.0 - math.tanh(self.data) ** 2,)", "(1.0 - math.tanh(self.data),)"),
    ("shared", "else x) <= 0.0 else x", "else x) <= -1.0 else x"),
    ("shared", "on = [v != 0.0 for v in x]", "on = [v != 0.0 for v in x[::-1]]"),
    ("shared", "        if not x:\n            return [0.0] * len(weights)\n", ""),
    ("shared", "[*b_data, *a_data]", "[*a_data, *b_data]"),
    ("shared", "[*x_data, *row]", "[*row, *x_data]"),
    ("shared", "[Value(y, x, row) for y, row in zip(products, weights)] if learns(x) else products", "products"),
    ("shared", "slopes[target] -= 1.0", "slopes[target] += 1.0"),
    ("shared", "node.grad = 0.0", "pass"),
    ("shared", "child.grad += local * grad", "child.grad = local * grad"),
    ("shared", "scale = (dot(data, data) / len(x) + 1e-5) ** -0.5", "scale = dot(data, data) ** -0.5"),
    ("shared", "[-(scale**3) * v / len(x) for v in data]", "[-(scale**2) * v / len(x) for v in data]"),
    ("shared", "for v in values], d_head**0.5)", "for v in values], d_head)"),
    ("shared", "[p * (v - mean) / t for p, v", "[p * v / t for p, v"),
    ("shared", "[p * (v - mean) / t for p, v", "[p * (v - mean) for p, v"),
    ("shared", "            slopes += chances\n", "            slopes += data\n"),
    ("shared", "slopes[i][i] += p / t", "slopes[i][i] += p"),
    ("shared", "[-p * q / t for q in chances]", "[-p * q for q in chances]"),
    ("shared", "x = add(x, mlp(model, layer, rmsnorm(x)))", "x = mlp(model, layer, rmsnorm(x))"),
    ("shared", 'add(model["wte"][token], model["wpe"][position])', 'model["wte"][token]'),
    ("shared", "rate, scale = lr / (1 - b1**self.t)", "rate, scale = lr"),
    ("shared", "b1 * m[i] + c1 * g", "b1 * m[i] + g"),
    ("shared", "b2 * v[i] + c2 * g * g", "b2 * v[i] + c2 * g"),
    ("shared", "            p.grad = 0.0\n", ""),
    ("shared", "grads[i] = 0.0", "pass"),
    ("shared", "softmax(gpt(model, tokens[-1], cache), t)", "softmax(gpt(model, tokens[-1], cache))"),
    ("shared", "if tokens[-1] == EDGE:", "if False:"),
    # LoRA
    ("microlora", "scale = ALPHA / len(a)  # the rank r", "scale = ALPHA  # the rank r"),
    ("microlora", "        scale = ALPHA / len(a)\n        columns", "        scale = ALPHA\n        columns"),
    ("microlora", "b = [[0.0] * rank for _ in range(n)]", "b = [[0.1] * rank for _ in range(n)]"),
    ("microlora", "rng.gauss(0.0, m**-0.5)", "rng.gauss(0.0, m**0.5)"),
    ("microlora", "w + scale * dot(b_row, column)", "w - scale * dot(b_row, column)"),
    ("microlora", "merged, small = freeze(base), freeze(adapter)", "merged, small = base, freeze(adapter)"),
    ("microlora", "[c * y - s * x for x, y in zip(p, q)]", "[c * y + s * x for x, y in zip(p, q)]"),
    # DPO
    ("microdpo", "margin = beta * (ratio_w - ratio_l)", "margin = beta * (ratio_w + ratio_l)"),
    ("microdpo", "margin = beta * (ratio_w - ratio_l)", "margin = ratio_w - ratio_l"),
    ("microdpo", "small if m > 0.0 else 1.0", "small if m < 0.0 else 1.0"),
    ("microdpo", "chance if margin > 0.0 else 1.0 - chance", "float(margin > 0.0)"),
    ("microdpo", "zip([prompt[-1], *answer], answer)", "zip([prompt[-1], *answer], answer[:-1])"),
    ("microdpo", "return flow(name) - repeats(name)", "return flow(name)"),
    ("microdpo", "for token in prompt[:-1]:", "for token in prompt:"),
    ("microdpo", "pair.rejected) - pair.ref_rejected", "pair.rejected)"),
    ("microdpo", "turns = sum(a != b", "turns = sum(a == b"),
    ("microdpo", "rng.random() > first_wins", "rng.random() < first_wins"),
    # PPO
    ("microppo", "clipped = min(max(ratio.data, 1.0 - CLIP), 1.0 + CLIP)", "clipped = max(ratio.data, 1.0 - CLIP)"),
    ("microppo", "if ratio.data * advantage <= clipped * advantage:", "if ratio.data * advantage >= clipped * advantage:"),
    ("microppo", "- value + gamma * lam * running", "- value + gamma * running"),
    ("microppo", "following = value\n", "following = 0.0\n"),
    ("microppo", "rewards = [-kl_coef * kl", "rewards = [kl_coef * kl"),
    ("microppo", "rewards[-1] += rollout.score", "rewards[0] += rollout.score"),
    ("microppo", "(1.0 - h[j] * h[j]) / len(rows)", "(1.0 - h[j] * h[j])"),
    ("microppo", "reward_backward(net, rejected, -slope)", "pass"),
    ("microppo", "mean_of(rows[: length - 1])", "mean_of(rows)"),
    ("microppo", "return clipped_loss, 0.0", "return clipped_loss, clipped - target"),
    ("microppo", "out.g[j] += slope * z", "out.g[j] += z"),
    ("microppo", "token_losses(model, [*prompt, *answer])[len(prompt) - 1 :]", "token_losses(model, [*prompt, *answer])[len(prompt) - 1 : -1]"),
    ("microppo", "critic_backward(critic, state, slope / size)", "pass"),
    ("microppo", "        pi_old = freeze(policy)\n", "        pi_old = world.reference\n"),
    # MoE
    ("micromoe", "return chosen, [chances[i] / norm for i in chosen]", "return chosen, [chances[i] for i in chosen]"),
    ("micromoe", "            slopes.append(da)", "            slopes.append(1.0)"),
    ("micromoe", "x.grad += x_grad", "pass"),
    ("micromoe", "(0.0, 1.0)) for y_i, slot", "(0.0, 0.5)) for y_i, slot"),
    ("micromoe", "mean_chances = [total(column) / len(routes)", "mean_chances = [sum(floats(column)) / len(routes)"),
    ("micromoe", "key=lambda i: -numbers[i]", "key=lambda i: (-numbers[i], -i)"),
    ("micromoe", "return dot(choice_shares(routes), mean_chances) * len(mean_chances)", "return dot(choice_shares(routes), mean_chances)"),
    ("micromoe", "v_grad[:] = [old + h_j * g_i", "v_grad[:] = [h_j * g_i"),
    ("micromoe", "        goal = loss + total(balances) * (weight / len(balances))", "        pass"),
    # batch normalization
    ("microbatchnorm", "mean = Value(m, column, [1.0 / n] * n)", "mean = Value(m, column, [1.0] * n)"),
    ("microbatchnorm", "[-(s**3) * (x - m) / n for x in data]", "[-(s**2) * (x - m) / n for x in data]"),
    ("microbatchnorm", "slopes = (k * s, -k * s, k * d, d * s, 1.0)", "slopes = (k * s, k * s, k * d, d * s, 1.0)"),
    ("microbatchnorm", "slopes = (k * s, -k * s, k * d, d * s, 1.0)", "slopes = (k * s, -k * s, d, d * s, 1.0)"),
    ("microbatchnorm", "s = (v + EPS) ** -0.5", "s = v ** -0.5"),
    ("microbatchnorm", "column = [x if isinstance(x, Value) else Value(x) for x in column]", "pass"),
    ("microbatchnorm", "variance * n / max(1, n - 1)", "variance"),
    ("microbatchnorm", "(1.0 - MOMENTUM) * a + MOMENTUM * b", "MOMENTUM * a + (1.0 - MOMENTUM) * b"),
    ("microbatchnorm", "                if learns(gains):\n                    self.update", "                if True:\n                    self.update"),
    ("microbatchnorm", "*self.running[layer][j]))", "*self.running[0][j]))"),
    ("microbatchnorm", "noisy = [s * a_j + b_j for", "noisy = [s + b_j for"),
    ("microbatchnorm", "        if not self.training:\n            return gains, shifts\n", ""),
    ("microbatchnorm", "            norm.redraw()\n", "            pass\n"),
    ("microbatchnorm", "        norm.training = False\n", "        pass\n"),
    ("microbatchnorm", "math.sqrt(2.0 / inputs) if kaiming", "math.sqrt(1.0 / inputs) if kaiming"),
    ("microbatchnorm", "tokens[end - CONTEXT : end], target=tokens[end]", "tokens[end - CONTEXT : end], target=tokens[end - 1]"),
    ("microbatchnorm", "p.data -= lr * p.grad\n            p.grad = 0.0", "p.data -= lr * p.grad"),
    ("microbatchnorm", "drift(before[-1], seen[LAYERS // 2])", "drift(before[-1], before[-1])"),
    ("microbatchnorm", "return sorted(xs)[len(xs) // 2]", "return sorted(xs)[0]"),
    ("microbatchnorm", "return min(result.loss, task.frequencies)", "return max(result.loss, task.frequencies)"),
    # GRPO
    ("microgrpo", "return [(r - middle) / (std + 1e-4) for r in rewards]", "return [(r - middle) / std for r in rewards]"),
    ("microgrpo", "zip(group, advantages([r.reward for r in group]))", "zip(group, advantages([r.reward for g in groups for r in g]))"),
    ("microgrpo", "if ratio.data * advantage <= clipped * advantage:", "if ratio.data <= clipped:"),
    ("microgrpo", "    u = ref_log_prob - log_prob\n", "    u = log_prob - ref_log_prob\n"),
    ("microgrpo", "return u.exp() - u - 1.0", "return u.exp() - 1.0"),
    ("microgrpo", "size = len(lessons) * (divisor or len(rollout.answer))", "size = divisor or len(rollout.answer)"),
    ("microgrpo", "size = len(lessons) * (divisor or len(rollout.answer))", "size = len(lessons) * len(rollout.answer)"),
    ("microgrpo", "ref_log_probs=token_log_probs(world.reference, start, answer)", "ref_log_probs=token_log_probs(policy, start, answer)"),
    ("microgrpo", "        pi_old = freeze(policy)\n", "        pi_old = world.reference\n"),
    ("microgrpo", "PROMPTS * GROUP // size, size, rng", "PROMPTS, size, rng"),
    ("microgrpo", "- value + gamma * lam * running", "- value + gamma * running"),
    ("microgrpo", "features(tokens[:n], world.alphabet)", "features(tokens[: n + 1], world.alphabet)"),
    ("microgrpo", "slopes[i] += error * x / len(batch)", "slopes[i] += error * x"),
    ("microgrpo", "return shares[0] + shares[-1]", "return shares[-1]"),
    ("microgrpo", "constant[i] -= w.grad / (typical * len(lessons))", "constant[i] -= w.grad / typical"),
    # SPO
    ("microspo", "[(second - first) % 3]", "[(first - second) % 3]"),
    ("microspo", "        wins[j] += 1.0 - chance\n", ""),
    ("microspo", "return [w / (len(names) - 1) for w in wins]", "return [w / len(names) for w in wins]"),
    ("microspo", "if chance != 0.5:", "if True:"),
    ("microspo", "advantage=win_rate - 0.5,", "advantage=win_rate,"),
    ("microspo", "(log_q - log_p).exp() + (log_p - log_q) - 1.0", "(log_p - log_q).exp() + (log_q - log_p) - 1.0"),
    ("microspo", "-answer.advantage + drift * beta", "-answer.advantage - drift * beta"),
    ("microspo", "    optimizer.b1 = 0.0\n", ""),
    ("microspo", "average(played[rounds // 2 :])", "average(played)"),
    ("microspo", "write_group(freeze(policy), world, oracle, rng)", "write_group(world.reference, world, oracle, rng)"),
    ("microspo", "dpo_loss(chosen - pair.ref_chosen,", "dpo_loss(chosen,"),
    ("microspo", "rejected - pair.ref_rejected, DPO_BETA", "rejected - pair.ref_chosen, DPO_BETA"),
    ("microspo", "else texts[::-1]", "else texts"),
    ("microspo", "optimizer.step(LR * (1.0 - done / rounds))", "optimizer.step(LR)"),
    ("microspo", "return a + e / 2, e", "return a + e, e"),
    ("microppo", "advantages = normalize(raw)", "advantages = raw"),
    # RLAIF
    ("microrlaif", "key=gold, reverse=True)", "key=gold)"),
    ("microrlaif", "labeller = unfreeze(reference)", "labeller = unfreeze(init_model(len(alphabet), rng))"),
    ("microrlaif", 'sorted((text["chosen"], text["rejected"]))', '(text["chosen"], text["rejected"])'),
    ("microrlaif", "for model in (labeller, reference))", "for model in (reference, labeller))"),
    ("microrlaif", "lambda y: mean(y.q) - mean(y.p)", "lambda y: mean(y.q) + mean(y.p)"),
    ("microrlaif", "rejected, chosen = sorted(pair, key=score)", "chosen, rejected = sorted(pair, key=score)"),
    ("microrlaif", "known = mean(better.p) > mean(worse.p)", "known = mean(better.q) > mean(worse.q)"),
    ("microrlaif", "shorter.append(prefers(short, long))", "shorter.append(prefers(long, short))"),
    ("microrlaif", "pairs[:PAIRS], pairs[PAIRS:]", "pairs[:PAIRS], pairs[MEASURED:]"),
    ("microrlaif", "margin = beta * (ratio_w - ratio_l)", "margin = beta * (ratio_l - ratio_w)"),
    ("microrlaif", "gap(token) - gap(human)", "gap(token) - gap(ratio)"),
    ("microppo", "targets = [[a + v for a, v", "targets = [[a for a, v"),
    # distillation
    ("microdistill", "return t * t * kl\n", "return kl\n"),
    ("microdistill", "[t * (p_j - q_j) for", "[(p_j - q_j) / t for"),
    ("microdistill", "[t * (p_j - q_j) for", "[t * (q_j - p_j) for"),
    ("microdistill", "math.log(q_i) - z / t + norm", "math.log(q_i) - z + norm"),
    ("microdistill", "targets=[softmax(v, t) for v in", "targets=[softmax(v) for v in"),
    ("microdistill", "(1 - share) * q_i + share / len(q)", "(1 - share) * q_i + share"),
    ("microdistill", "others = q[:right] + q[right + 1 :]", "others = q[:]"),
    ("microdistill", "others[:right] + [q[right]] + others[right:]", "[q[right]] + others"),
    ("microdistill", "zip(lesson.targets, lesson.tokens[1:])", "zip(lesson.targets, lesson.tokens)"),
    ("microdistill", "distill_loss(z, q, lesson.t) for", "distill_loss(z, q) for"),
    ("microdistill", "return total(losses) / len(losses)\n\n\ndef study", "return total(losses)\n\n\ndef study"),
    ("microdistill", "lesson_loss(student, deck.pop()) / BATCH", "lesson_loss(student, deck.pop())"),
    ("microdistill", "deck[:] = deck or rng.sample", "deck[:] = rng.sample"),
    ("microdistill", "[soft_lesson(same, tokens, TEMPERATURE)", "[soft_lesson(task.teacher, tokens, TEMPERATURE)"),
    ("microdistill", "exams[-1].loss == min(exam.loss for exam in exams)", "exams[-1].loss == max(exam.loss for exam in exams)"),
    ("microdistill", "kls.append(distill_loss(z, q))", "kls.append(cross_entropy(z, right))"),
    ("microdistill", "d = STUDENT_EMBD\n", "d = N_EMBD\n"),
    ("microdistill", "(results[label].best.loss for label in controls)", "(results[label].end.loss for label in controls)"),
    # schedules
    ("microschedule", "step >= drop * steps", "step > drop * steps"),
    ("microschedule", "return 1.0 - step / steps", "return 1.0 - (step + 1) / steps"),
    ("microschedule", "0.5 * (1.0 + math.cos(math.pi * step / steps))", "math.cos(0.5 * math.pi * step / steps)"),
    ("microschedule", "(steps - step) / (DECAY * steps)", "(steps - step) / ((1.0 - DECAY) * steps)"),
    ("microschedule", "return (step + 1) / rise if", "return step / rise if"),
    ("microschedule", "path(step - rise, steps - rise)", "path(step, steps)"),
    ("microschedule", "old + (w - old) / n for", "old + (w - old) / (n + 1) for"),
    ("microschedule", "fold_in(averaged, trunk.model, step - begin)", "fold_in(averaged, trunk.model, step)"),
    ("microschedule", "        if step > begin:\n", "        if step >= begin + 2:\n"),
    ("microschedule", "branches[step] = copy.deepcopy(trunk)", "branches[step] = trunk"),
    ("microschedule", "run = copy.deepcopy(branches[leaves[label]])", "run = branches[leaves[label]]"),
    ("microschedule", "/ (len(tokens) - 1)\n    loss.backward()", "/ len(tokens)\n    loss.backward()"),
    ("microschedule", "update(run, order[step], peak * path(step, steps))", "update(run, order[step], peak * path(step - first, steps))"),
    ("microschedule", "follow(run, PATHS[label], peak,", "follow(run, PATHS[label], HIGH,"),
    ("microschedule", 'gap(high["constant"], low["constant"]) - gap', 'gap(high["constant"], low["constant"]) + gap'),
    ("microschedule", "return min((results[label]", "return max((results[label]"),
    ("microschedule", "path(step, steps) != 1.0), steps)", "path(step + 1, steps) != 1.0), steps)"),
    ("microschedule", "HIGH * path(0, STEPS)", "HIGH * path(1, STEPS)"),
    # dropout, weight decay, early stopping
    ("microdropout", "rng.random() < p else 1.0 / (1.0 - p)", "rng.random() < p else 1.0"),
    ("microdropout", "0.0 if rng.random() < p else", "0.0 if rng.random() < 1.0 - p else"),
    ("microdropout", "[h_i * m_i if m_i else 0.0 for", "[h_i if m_i else 0.0 for"),
    ("microdropout", "w.data *= 1.0 - lr * self.decay", "w.data *= 1.0 - self.decay"),
    ("microdropout", "w.data *= 1.0 - lr * self.decay", "w.grad += self.decay * w.data"),
    ("microdropout", "(loss / BATCH).backward()", "loss.backward()"),
    ("microdropout", "            if learns([loss]):\n                (loss", "            if True:\n                (loss"),
    ("microdropout", "switch = random.Random(seed), random.Random(seed + 1)", "switch = [random.Random(seed)] * 2"),
    ("microdropout", "        if i - best == patience:", "        if i - best > patience:"),
    ("microdropout", "        if loss < losses[best]:", "        if loss <= losses[best]:"),
    ("microdropout", "            losses = []\n", ""),
    ("microdropout", "AdamW(weights_of(model), row.decay)", "AdamW(weights_of(model), 0.0)"),
    ("microdropout", "math.sqrt(p / (1.0 - p) / draws)", "math.sqrt(p * (1.0 - p) / draws)"),
    ("microdropout", "tokens[i - CONTEXT : i]), tokens[i]", "tokens[i - CONTEXT : i]), tokens[i - 1]"),
    ("microdropout", "stopped=mean_loss(looks[best].model, task.test)", "stopped=mean_loss(looks[last].model, task.test)"),
    ("microdropout", "key=lambda t: table_loss(t, task.validation)", "key=lambda t: table_loss(t, task.test)"),
]  # fmt: skip


def check(mutant: tuple[str, str, str]) -> tuple[str, str]:
    """("killed by ..." or "survived", a line that describes the mutant)."""
    script, old, new = mutant
    names = SCRIPTS if script == "shared" else (script,)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(
            ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__")
        )
        for path in scripts():
            text = path.read_text("utf-8")
            if path.stem in names:
                text = text.replace(old, new, 1)
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        modules = ["tests.test_golden", *(f"tests.test_{n}" for n in names), "tests.test_engine"]
        verdict = "survived"
        for module in modules:  # the quick ones first
            done = subprocess.run(
                [sys.executable, "-m", "unittest", "-f", module],
                cwd=copy,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            if done.returncode:
                found = re.search(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.M)
                verdict = f"{module}: {found[1] if found else 'does not run'}"
                break
    change = f"`{old.strip()}` → `{new.strip()}`".replace("\n", " ").replace("|", "\\|")
    return verdict, f"| {script} | {change} | {verdict} |"


if __name__ == "__main__":
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(check, MUTANTS))
    print("| script | mutation | killed by |\n| --- | --- | --- |")
    for _, line in results:
        print(line)
    survived = sum(verdict == "survived" for verdict, _ in results)
    print(f"\n{len(results) - survived} killed, {survived} survived")
    sys.exit(1 if survived else 0)
