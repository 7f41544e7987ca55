"""The scripts against numbers that PyTorch, PEFT, TRL and transformers produced.

`python -m tests.test_golden` also prints the worst relative deviation of every comparison.
"""

import io
import math
import random
import unittest
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest.mock import patch

import microbatchnorm
import microdistill
import microdpo
import microdropout
import microgrpo
import microlora
import micromoe
import microppo
import microreinforce
import microschedule
import microspo
from tests.golden import read

WORST: dict[str, float] = {}
TOLERANCE = 1e-9


def flat(x, what="data"):
    """The numbers of nested dicts and lists; of Values, their data or their gradients."""
    if isinstance(x, dict):
        return [v for key in sorted(x) for v in flat(x[key], what)]
    if isinstance(x, list | tuple):
        return [v for part in x for v in flat(part, what)]
    return [getattr(x, what, x)]


def values(m, x):
    """The nested lists x in a module's Values."""
    return [values(m, part) for part in x] if isinstance(x, list) else m.Value(x)


def sizes(m, case, **more):
    d, n_head, n_layer = case["sizes"]
    return patch.multiple(m, N_EMBD=d, N_HEAD=n_head, N_LAYER=n_layer, **more)


@contextmanager
def replay(m, case, **more):
    """Run with a case's settings; its prompts and completions are "sampled" in turn."""
    group = more.get("GROUP", 1)
    prompts = iter([x for data in case["rounds"] for x in data["prompts"][::group]])
    completions = iter([y for data in case["rounds"] for y in data["completions"]])
    given = {"sample_prompt": lambda *_: next(prompts), "sample": lambda *_: next(completions)}
    settings = {name: x for name, x in (case["settings"] | more).items() if hasattr(m, name)}
    with patch.multiple(m, **settings, **given), redirect_stdout(io.StringIO()):
        yield
    assert next(completions, None) is None, "a round is missing"


def rewards(m, case):
    """The reward as a function of the text."""
    rounds = [zip(r["prompts"], r["completions"], r["rewards"]) for r in case["rounds"]]
    table = {m.decode(x + y): reward for data in rounds for x, y, reward in data}
    assert len(table) == len(flat([r["rewards"] for r in case["rounds"]])), "a text twice"
    return table.__getitem__


class Golden(unittest.TestCase):
    def compare(self, what, got, want):
        """Every number to TOLERANCE of the largest in its array, or of 0.001 if that is larger."""
        got, want = flat(got), flat(want)
        self.assertEqual(len(got), len(want), what)
        worst = max(abs(a - b) for a, b in zip(got, want)) / max(1e-3, *map(abs, want))
        WORST[what] = max(WORST.get(what, 0.0), worst)
        self.assertLessEqual(worst, TOLERANCE, what)

    def check(self, what, y, want, *pairs):
        """A number, if it is known, and its gradient by each x of the pairs (x, gradient)."""
        if want is not None:
            self.compare(what, y, want)
        y.backward()
        for x, gradient in pairs:
            for key in x if isinstance(x, dict) else [slice(None)]:  # each matrix on its own
                self.compare(f"{what}, gradient", flat(x[key], "grad"), gradient[key])


class Core(Golden):
    def test_operations(self):
        for case in read("operations"):
            xs = values(microppo, case["x"])
            y = eval(case["expression"], vars(microppo) | {"xs": xs, "a": xs[0], "b": xs[1]})
            self.check("operations", y, case["y"], (xs, case["grad"]))

    def test_gpt(self):
        for m in (microppo, microdpo, microlora):
            for case in read("gpt"):
                with sizes(m, case):
                    tokens, model = case["tokens"], m.unfreeze(case["weights"])
                    cache = [([], []) for _ in range(m.N_LAYER)]
                    logits = [m.gpt(case["weights"], token, cache) for token in tokens[:-1]]
                    self.compare("GPT, logits", logits, case["logits"])
                    losses = m.token_losses(model, tokens)
                    loss = m.total(losses) * (1.0 / len(losses))
                    self.check("GPT, loss", loss, case["loss"], (model, case["grads"]))

    def test_optimizers(self):
        case = read("adam")
        for what, m, *decay in ("Adam", microppo), ("AdamW", microdropout, case["decay"]):
            params = values(m, case["start"])
            optimizer = getattr(m, what)(params, *decay)
            for gradient, lr, want in zip(case["grads"], case["rates"], case[what]):
                for p, g in zip(params, gradient):
                    p.grad = g
                optimizer.step(lr)
                self.compare(what, params, want)


class LoRA(Golden):
    def test_layer(self):
        m = microlora
        for case in read("lora")["layers"]:
            with patch.object(m, "ALPHA", case["alpha"]):
                base, adapter = {"w": case["weight"]}, {"w.A": case["a"], "w.B": case["b"]}
                adapter, x = m.unfreeze(adapter), values(m, case["x"])
                y = m.linear({**base, **adapter}, "w", x)
                self.compare("LoRA, output", y, case["y"])
                pairs = zip((adapter["w.A"], adapter["w.B"], x), ("a grad", "b grad", "x grad"))
                pairs = [(p, case[key]) for p, key in pairs]
                self.check("LoRA", m.dot(y, case["g"]), None, *pairs)
                self.compare("LoRA, merged", m.merge(base, adapter, "w")["w"], case["merged"])

    def test_gpt_with_adapters(self):
        m, case = microlora, read("lora")["gpt"]
        with sizes(m, case, ALPHA=case["alpha"]):
            adapter, merged = m.unfreeze(case["adapter"]), case["weights"]
            losses = m.token_losses({**case["weights"], **adapter}, case["tokens"])
            for name in ("0.wq", "lm_head"):
                merged = m.merge(merged, adapter, name)
            after = m.token_losses(merged, case["tokens"])
        self.compare("LoRA, a merged GPT's loss", math.fsum(after) / len(after), case["loss"])
        loss = m.total(losses) * (1.0 / len(losses))
        self.check("LoRA, a GPT's loss", loss, case["loss"], (adapter, case["grads"]))


class Preferences(Golden):
    def test_dpo(self):
        m, case = microdpo, read("dpo")
        x, beta, completions = case["prompt"], case["beta"], (case["chosen"], case["rejected"])
        with sizes(m, case):
            model = m.unfreeze(case["weights"])
            refs = [m.log_prob(case["reference"], x, y) for y in completions]
            log_probs = [m.log_prob(model, x, y) for y in completions]
        want = case["ref log probs"] + case["log probs"]
        self.compare("DPO, log-probs", refs + log_probs, want)
        ratios = [p - ref for p, ref in zip(log_probs, refs)]
        self.compare("DPO, implicit rewards", [beta * r.data for r in ratios], case["rewards"])
        loss = m.dpo_loss(*ratios, beta)
        self.check("DPO, loss", loss, case["loss"], (model, case["grads"]))

    def test_reward_model(self):
        m, case = microppo, read("score")
        net = case["weights"]
        self.compare("reward model, score", m.score(net, case["tokens"]), case["score"])
        got = {name: [[0.0] * len(row) for row in w] for name, w in net.items()}
        where = {id(row): got[name][i] for name, w in net.items() for i, row in enumerate(w)}
        for row, gradient in m.score_gradient(net, case["tokens"]):
            where[id(row)][:] = m.add(where[id(row)], gradient)
        self.compare("reward model, gradient", got, case["grads"])
        case = read("reward")
        pairs = values(m, [case["chosen"], case["rejected"]])
        losses = [m.preference_loss(a - b) for a, b in zip(*pairs)]
        loss = m.total(losses) * (1.0 / len(losses))
        self.check("reward model, loss", loss, case["loss"], (pairs[0] + pairs[1], case["grad"]))


class PolicyGradients(Golden):
    def test_parts_of_ppo(self):
        m, case = microppo, read("ppo")["gae"]
        with patch.multiple(m, GAMMA=case["gamma"], LAMBDA=case["lambda"]):
            self.compare("GAE", m.gae(case["rewards"], case["values"]), case["advantages"])
        case = read("ppo")["surrogate"]
        with patch.object(m, "CLIP", case["clip"]):
            for i, x in enumerate(values(m, case["new"])):
                loss, clipped = m.clipped_surrogate(x, case["old"][i], case["advantages"][i])
                pair = ([x], [case["grad"][i]])
                self.check("clipped surrogate", loss, case["losses"][i], pair)
                self.assertEqual(clipped, x.grad == 0.0)
        case = read("ppo")["value"]
        with patch.object(m, "VALUE_CLIP", case["clip"]):
            got = map(m.value_gradient, case["new"], case["old"], case["targets"])
            self.compare("value clip, gradient", list(got), case["grad"])

    def test_ppo(self):
        """Advantages, minibatches, policy and critic, all in one, on samples that are given."""
        m, case, critics = microppo, read("run_ppo"), []

        def freeze(net, freeze=m.freeze):  # the critic is not returned, but copied at the start
            critics.append(freeze(net))
            return critics[-1]

        with replay(m, case), patch.object(m, "freeze", freeze):
            start = case["reference"], rewards(m, case), case["settings"]["KL_COEF"], case["critic"]
            policy = m.ppo(*start, None, case["seed"])
        self.compare("ppo(), the policy after 6 rounds", policy, case["end"])
        (critic,) = (net for net in critics if "left" in net)
        self.compare("ppo(), the critic after 6 rounds", critic, case["end critic"])

    def test_groups(self):
        group = read("group")
        for m, train, what, *epochs in (
            (microreinforce, "reinforce", "leave_one_out"),
            (microgrpo, "grpo", "group_advantages", 3),
        ):
            case, function = read(f"run_{train}"), getattr(m, what)
            self.compare(what, list(map(function, group["rewards"])), group[what])
            with replay(m, case, GROUP=4, PROMPTS=2):
                start = case["reference"], rewards(m, case), function
                more = *epochs, case["settings"]["POLICY_LR"], None, case["seed"]
                policy = getattr(m, train)(*start, *more)
            self.compare(f"{train}(), the policy after 4 rounds", policy, case["end"])
        pairs = zip(values(microspo, flat(group["log probs"])), flat(group["ref log probs"]))
        xs, losses = zip(*((x, microspo.k3(x, ref)) for x, ref in pairs))
        pair = (list(xs), flat(group["k3 grad"]))
        self.check("k3", microspo.total(losses), group["k3"], pair)


class MoE(Golden):
    def experts(self, case):
        for w1, w2 in zip(case["w1"], case["w2"]):
            expert = micromoe.Expert(len(w1), random.Random(0))
            for row, numbers in zip(expert.w1 + expert.w2, w1 + w2):
                row[:] = numbers
            yield expert

    def test_block(self):
        m, case = micromoe, read("moe")
        with patch.multiple(m, N_EMBD=len(case["x"][0]), TOP_K=case["k"]):
            experts, rows = list(self.experts(case)), values(m, case["x"])
            no_bias = [[0.0] * len(experts)]
            model = m.unfreeze({"router": case["router"], "router_bias": no_bias})
            ys, logits, chosen = zip(*(m.moe(model, experts, x) for x in rows))
        self.assertEqual([set(c) for c in chosen], [set(c) for c in case["chosen"]])
        self.compare("MoE, output", ys, case["y"])
        self.compare("MoE, router's logits", logits, case["logits"])
        pairs = (rows, case["x grad"]), (model["router"], case["router grad"])
        self.check("MoE", m.total(list(map(m.dot, ys, case["g"]))), None, *pairs)
        got = [e.w1_grad for e in experts], [e.w2_grad for e in experts]
        self.compare("MoE, experts' gradients", got, [case["w1 grad"], case["w2 grad"]])
        logits, choices = values(m, case["logits"]), flat(chosen)
        shares = [choices.count(i) / len(choices) for i in range(len(experts))]
        balance, pair = m.balance_loss(logits, shares), (logits, case["balance grad"])
        self.check("load-balancing loss", balance, case["balance loss"], pair)

    def test_run(self):
        m, case = micromoe, read("run_moe")
        with patch.multiple(m, **case["settings"], SNAPSHOTS=()):
            model, experts = m.unfreeze(case["weights"]), list(self.experts(case))
            made, args = iter(experts), (case["balance"], case["lr"], case["facts"], case["seed"])
            given = {"init_model": lambda *_: model, "Expert": lambda *_: next(made)}
            with patch.multiple(m, **given), redirect_stderr(io.StringIO()):
                (row,) = m.train("", len(experts), None, *args).values()
        self.compare("train() of micromoe, all but experts", model, case["end"])
        got = [e.w1 for e in experts], [e.w2 for e in experts]
        self.compare("train() of micromoe, experts", got, [case["end w1"], case["end w2"]])
        for name in ("loss", "B", "gradient"):
            self.compare("evaluate() of micromoe", row[name], case[name])


class Further(Golden):
    def test_schedules(self):
        m, case = microschedule, read("schedule")
        self.assertEqual(set(m.SCHEDULES), set(case["rates"]))
        for name, rates in case["rates"].items():
            got = [m.SCHEDULES[name](step, len(rates)) for step in range(len(rates))]
            self.compare("learning-rate schedules", got, rates)
        got = m.average([{"w": w} for w in case["models"]])
        self.compare("averaged weights", got["w"], case["mean"])

    def test_distillation(self):
        m, case = microdistill, read("distill")
        for row in case["soft"]:
            q, z = m.softmax([v / row["t"] for v in row["v"]]), values(m, row["z"])
            self.compare("distillation, soft targets", q, row["q"])
            loss = m.distill_loss(z, q, row["t"])
            self.check("distillation, loss", loss, row["loss"], (z, row["grad"]))
        for row in case["smooth"]:
            with patch.multiple(m, SMOOTHING=row["share"], ALPHABET="abcde"):
                _, (q,) = m.smooth(m.hard([0, row["label"]]))
            z, entropy = values(m, row["z"]), -sum(p * math.log(p) for p in q)
            loss = m.distill_loss(z, q, 1.0) + entropy
            self.check("label smoothing", loss, row["loss"], (z, row["grad"]))

    def test_batch_norm(self):
        m = microbatchnorm
        for case in read("batchnorm"):
            zeros, ones = ([x] * len(case["gain"]) for x in (0.0, 1.0))
            model = {"0.gain": [case["gain"]], "0.bias": [case["bias"]], "0.mean": [zeros]}
            model = m.unfreeze(model | {"0.variance": [ones]})
            for batch in case["batches"]:
                rows = values(m, batch["x"])
                ys = m.batch_norm(model, 0, rows)
                self.compare("batch norm", ys, batch["y"])
                pairs = [(model[f"0.{x}"][0], batch[f"{x} grad"]) for x in ("gain", "bias")]
                y = m.total(list(map(m.dot, ys, batch["g"])))
                self.check("batch norm", y, None, (rows, batch["x grad"]), *pairs)
                for p in m.parameters(model):
                    p.grad = 0.0
                for x in ("mean", "variance"):
                    self.compare("batch norm, running", model[f"0.{x}"][0], batch[f"running {x}"])
            ys = m.batch_norm(m.freeze(model), 0, case["batches"][0]["x"])
            self.compare("batch norm, evaluated", ys, case["evaluated"])

    def test_dropout(self):
        m, case = microdropout, read("dropout")
        model = m.unfreeze(case["weights"])
        logits = m.mlp(model, case["context"], case["mask"])
        self.compare("dropout in a network, logits", logits, case["logits"])
        loss = m.cross_entropy(logits, case["target"])
        self.check("dropout in a network, loss", loss, case["loss"], (model, case["grads"]))


def report():
    """The table of worst deviations, in Markdown."""
    print("| compared | worst relative deviation |", "| --- | --- |", sep="\n")
    for what, worst in sorted(WORST.items()):
        print(f"| {what} | {worst:.1e} |")


if __name__ == "__main__":
    unittest.main(exit=False)
    report()
