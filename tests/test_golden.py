"""The scripts against PyTorch, PEFT, TRL and transformers, on numbers those libraries produced.

`python -m tests.test_golden` also prints the worst relative deviation of every comparison.
"""

import json
import unittest
from pathlib import Path

import microdpo
import microlora
import micromoe
import microppo
from microppo import Value
from tests.golden import generate

GOLDEN = Path(__file__).resolve().parent / "golden"
WORST: dict[str, float] = {}
TOLERANCE = 1e-9


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))


def flat(x):
    if isinstance(x, dict):
        return [v for key in x for v in flat(x[key])]
    return [v for part in x for v in flat(part)] if isinstance(x, list | tuple) else [x]


def settings(module, **values):
    """Change a module's settings for one test; returns what puts them back."""
    kept = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    return lambda: [setattr(module, name, value) for name, value in kept.items()]


def turned(rows):
    return [list(column) for column in zip(*rows)]


def expert_of(w1, w2):
    """Our expert keeps W2 by columns, one for each hidden unit."""
    zeros = [[[0.0] * len(w1[0]) for _ in w1] for _ in range(2)]
    return micromoe.Expert(u=w1, v=turned(w2), u_grad=zeros[0], v_grad=zeros[1])


class Golden(unittest.TestCase):
    def compare(self, what, got, want):
        """Every number to 1e-9 of the largest in its array, but at least of 1e-3."""
        got, want = flat(got), flat(want)
        self.assertEqual(len(got), len(want), what)
        scale = max(1e-3, *(abs(x) for x in want)) if want else 1.0
        worst = max(abs(a - b) for a, b in zip(got, want)) / scale
        WORST[what] = max(WORST.get(what, 0.0), worst)
        self.assertLessEqual(worst, TOLERANCE, what)

    def test_files_and_the_generators_cases_agree(self):
        further = {p.stem.removeprefix("generate_") for p in GOLDEN.glob("generate_*.py")}
        self.assertEqual(
            {path.stem for path in GOLDEN.glob("*.json")}, set(generate.CASES) | further
        )
        covered = {name.removeprefix("test_golden_") for name in dir(self)}
        self.assertLessEqual(set(generate.CASES), covered)

    def test_golden_operations(self):
        counting = [0.0, 1.0, 2.0, 3.0, 4.0]
        m = microppo
        functions = {
            "neg": lambda x: -x,
            "exp": lambda x: x.exp(),
            "log": lambda x: x.log(),
            "tanh": lambda x: x.tanh(),
            "relu": lambda x: x.relu(),
            "square": lambda x: x**2,
            "cube": lambda x: x**3,
            "inverse root": lambda x: x**-0.5,
            "number minus": lambda x: 1.5 - x,
            "number over": lambda x: 1.5 / x,
            "add": lambda a, b: a + b,
            "sub": lambda a, b: a - b,
            "mul": lambda a, b: a * b,
            "div": lambda a, b: a / b,
            "total": lambda *xs: m.total(xs),
            "dot with itself": lambda *xs: m.dot(xs, xs),
            "softmax, weighted": lambda *xs: m.dot(m.softmax(xs), counting),
            "rmsnorm, weighted": lambda *xs: m.dot(m.rmsnorm(xs), counting),
            "cross entropy": lambda *xs: m.cross_entropy(xs, 3),
            "softmax at 2.5": lambda *xs: m.dot(m.softmax(xs, 2.5), counting),
            "attention": lambda *xs: m.dot(
                m.attend([xs[0] * x for x in xs[:3]], list(zip(xs[1:4], xs[2:5])), 2.5), [1.0, 2.0]
            ),
        }
        seen = set()
        for case in golden("operations")["cases"]:
            values = [Value(x) for x in case["x"]]
            y = functions[case["op"]](*values)
            y.backward()
            self.compare("operations: values", y.data, case["y"])
            self.compare("operations: gradients", [v.grad for v in values], case["grad"])
            seen.add(case["op"])
        self.assertEqual(seen, set(functions))

    def test_golden_gpt(self):
        m = microlora
        for case in golden("gpt")["cases"]:
            d, heads, layers = case["sizes"]
            self.addCleanup(settings(m, N_EMBD=d, N_HEAD=heads, N_LAYER=layers, BLOCK_SIZE=6))
            tokens = case["tokens"]
            self.compare("GPT: logits", self.logits(case["weights"], tokens), case["logits"])
            model = m.unfreeze(case["weights"])
            loss = m.total(m.token_losses(model, tokens)) / (len(tokens) - 1)
            loss.backward()
            self.compare("GPT: loss", loss.data, case["loss"])
            for name, matrix in model.items():
                got = [[p.grad for p in row] for row in matrix]
                self.compare("GPT: gradients", got, case["grads"][name])

    def logits(self, weights, tokens):
        """With the cache growing, and again with a new cache for every position."""
        m, cache = microlora, microlora.new_cache()
        grown = [m.gpt(weights, token, cache) for token in tokens[:-1]]
        for end in range(1, len(tokens)):
            cache = m.new_cache()
            for token in tokens[:end]:
                again = m.gpt(weights, token, cache)
            self.assertEqual(again, grown[end - 1])
        return grown

    def test_golden_adam(self):
        case = golden("adam")
        values, array = [Value(x) for x in case["start"]], list(case["start"])
        grads = [0.0] * len(array)
        adam = microlora.Adam(values, [(array, grads)])
        for g, rate, want in zip(case["grads"], case["rates"], case["path"]):
            grads[:] = g
            for v, slope in zip(values, g):
                v.grad = slope
            adam.step(rate)
            self.compare("Adam: Values", [v.data for v in values], want)
            self.compare("Adam: arrays", array, want)

    def test_golden_lora(self):
        m = microlora
        for case in golden("lora")["cases"]:
            self.addCleanup(settings(m, ALPHA=float(case["alpha"])))
            base = {"w": case["weight"]}
            self.compare("LoRA: base", m.project(base, "w", case["x"]), case["plain"])
            self.assertEqual(case["at_start"], case["plain"])  # PEFT starts with B = 0, as we do
            self.assertEqual(case["scaling"], case["alpha"] / len(case["a"]))
            adapter = m.unfreeze({"w.A": case["a"], "w.B": case["b"]})
            x = [m.Value(v) for v in case["x"]]
            y = m.project({**base, **adapter}, "w", x)
            self.compare("LoRA: output", [v.data for v in y], case["y"])
            m.dot(y, case["g"]).backward()
            for name, key in (("w.A", "a_grad"), ("w.B", "b_grad")):
                got = [[p.grad for p in row] for row in adapter[name]]
                self.compare("LoRA: gradients", got, case[key])
            self.compare("LoRA: gradients", [v.grad for v in x], case["x_grad"])
            self.compare("LoRA: merged weight", m.merge(base, adapter)["w"], case["merged"])

    def test_golden_dpo(self):
        m, case = microdpo, golden("dpo")
        d, heads, layers = case["sizes"]
        self.addCleanup(settings(m, N_EMBD=d, N_HEAD=heads, N_LAYER=layers, BLOCK_SIZE=8))
        x, chosen, rejected = case["prompt"], case["chosen"], case["rejected"]
        reference, model = case["reference"], m.unfreeze(case["weights"])
        pair = m.Pair(
            x,
            chosen,
            rejected,
            m.log_prob(reference, x, chosen),
            m.log_prob(reference, x, rejected),
            1.0,
        )
        ratios = m.log_ratios(model, pair)
        loss = m.dpo_loss(*ratios, case["beta"])
        loss.backward()
        logged, beta = case["logged"], case["beta"]
        self.compare("DPO: loss", loss.data, case["loss"])
        got = [beta * ratio.data for ratio in ratios]
        self.compare("DPO: rewards", got, [logged["rewards_chosen"], logged["rewards_rejected"]])
        self.compare("DPO: margin", got[0] - got[1], logged["rewards_margins"])
        self.assertEqual(float(got[0] > got[1]), logged["rewards_accuracies"])
        log_probs = [m.log_prob(case["weights"], x, y) for y in (chosen, rejected)]
        self.compare(
            "DPO: log-probs", log_probs, [logged["logps_chosen"], logged["logps_rejected"]]
        )
        for name, matrix in model.items():
            got = [[p.grad for p in row] for row in matrix]
            self.compare("DPO: gradients", got, case["grads"][name])

    def test_golden_ppo(self):
        m, case = microppo, golden("ppo")
        part = case["gae"]
        got = m.gae(part["rewards"], part["values"], part["gamma"], part["lam"])
        self.compare("PPO: GAE", got, part["advantages"])
        part = case["surrogate"]
        self.assertEqual((m.CLIP, m.VALUE_CLIP), (part["clip"], case["value"]["clip"]))
        for i, new in enumerate(part["new"]):
            log_prob = Value(new)
            loss = m.surrogate_loss(log_prob, part["old"][i], part["advantages"][i])
            loss.backward()
            self.compare("PPO: surrogate", loss.data, part["losses"][i])
            self.compare("PPO: surrogate's gradient", log_prob.grad, part["grads"][i])
        rollout = m.Rollout([], [], part["new"], part["kl"], 2.0, [])
        rewards = m.rewards_of(rollout, 0.3)
        want = [-0.3 * (p - q) for p, q in zip(part["new"], part["old"])]
        want[-1] += 2.0
        self.compare("PPO: per-token KL reward", rewards, want)
        part = case["value"]
        for i, new in enumerate(part["new"]):
            loss, slope = m.value_loss(new, part["old"][i], part["targets"][i])
            self.compare("PPO: value loss", [loss, slope], [part["losses"][i], part["grads"][i]])
        part = case["pairs"]
        margins = [a - b for a, b in zip(part["chosen"], part["rejected"])]
        loss = sum(m.cross_entropy([x, 0.0], 0) for x in margins) / 3
        self.compare("PPO: reward loss", loss, part["loss"])
        slopes = [(m.softmax([x, 0.0])[0] - 1.0) / 3 for x in margins]
        self.compare("PPO: reward loss", [*slopes, *(-s for s in slopes)], part["grads"])

    def test_golden_nets(self):
        def arrays(weights):
            return {
                k: [m.Array(list(row), [0.0] * len(row)) for row in rows]
                for k, rows in weights.items()
            }

        def grads(net):
            return {k: [g for _, g in rows] for k, rows in net.items()}

        m, cases = microppo, golden("nets")
        part = cases["reward"]
        net = arrays(part["weights"])
        self.compare("reward model: score", m.reward(net, part["tokens"]), part["y"])
        m.reward_backward(net, part["tokens"], 1.0)
        self.compare("reward model: gradients", grads(net), part["grads"])
        part = cases["critic"]
        net, state = arrays(part["weights"]), m.State(*part["state"])
        self.compare("critic: value", m.value_of(net, state), part["y"])
        m.critic_backward(net, state, 1.0)
        self.compare("critic: gradients", grads(net), part["grads"])
        m, part = micromoe, cases["expert"]
        self.addCleanup(settings(m, N_EMBD=5))
        expert = expert_of(part["weights"]["w1"], part["weights"]["w2"])
        hidden, y = m.expert_forward(expert, part["x"])
        self.compare("expert: output", y, part["y"])
        x_grad = m.expert_backward(expert, part["x"], hidden, part["g"])
        self.compare("expert: gradients", x_grad, part["x_grad"])
        self.compare("expert: gradients", expert.u_grad, part["grads"]["w1"])
        self.compare("expert: gradients", turned(expert.v_grad), part["grads"]["w2"])

    def test_golden_moe(self):
        m, case = micromoe, golden("moe")
        k, count = case["k"], len(case["router"])
        d = len(case["x"][0])
        self.addCleanup(settings(m, N_EMBD=d, TOP_K=k, EXPERTS=count, N_LAYER=1))
        experts = list(map(expert_of, case["w1"], case["w2"]))
        values = m.unfreeze({"0.router": case["router"]})
        mixture = m.Mixture([experts])
        rows = [[m.Value(v) for v in x] for x in case["x"]]
        outputs = [mixture.mlp(values, 0, x) for x in rows]
        for route, want, shares in zip(mixture.routes[0], case["chosen"], case["shares"]):
            self.assertEqual(route.chosen, want)
            self.compare("MoE: weights", [w.data for w in m.top_k(route.chances)[1]], shares)
        self.compare("MoE: block output", [[v.data for v in y] for y in outputs], case["y"])
        m.total([m.dot(y, g) for y, g in zip(outputs, case["g"])]).backward()
        got = [[p.grad for p in row] for row in values["0.router"]]
        self.compare("MoE: router's gradient", got, case["router_grad"])
        self.compare("MoE: experts' gradients", [e.u_grad for e in experts], case["w1_grad"])
        got = [turned(e.v_grad) for e in experts]
        self.compare("MoE: experts' gradients", got, case["w2_grad"])
        got = [[v.grad for v in x] for x in rows]
        self.compare("MoE: gradient for the input", got, case["x_grad"])

        # transformers counts each of the k choices fully, so its shares sum to k: k times our loss
        logits = [[m.Value(z) for z in row] for row in case["logits"]]
        chances = [m.softmax(row) for row in logits]
        balance = m.balance_loss([m.Route(p, m.top_k(p)[0]) for p in chances]) * k
        balance.backward()
        self.compare("MoE: balance loss", balance.data, case["balance"])
        got = [[z.grad for z in row] for row in logits]
        self.compare("MoE: balance loss's gradient", got, case["balance_grad"])


def report():
    """The table of worst deviations, in Markdown."""
    lines = ["| compared | worst relative deviation |", "| --- | --- |"]
    lines += [f"| {what} | {worst:.1e} |" for what, worst in WORST.items()]
    print("\n".join(lines))


if __name__ == "__main__":
    unittest.main(exit=False)
    report()
