// The pages of docs/index.html in a real browser. Start it by ./run, which brings what it needs.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { caseOf, plant } from "../../docs/web/parse.js";
import { CDN, PACKAGES, ROOT, close, newestPython, open } from "./browser.mjs";

const index = readFileSync(`${ROOT}docs/index.html`, "utf8");
const scripts = [...index.matchAll(/<li><a href="([^"]+\/(\w+)\.py)">\w+<\/a> <span>(.*?)</g)].map(
  ([, href, name, question]) => {
    const source = readFileSync(join(ROOT, "docs", href), "utf8");
    return { name, question, source, lines: source.trimEnd().split("\n") };
  });
const diffs = [...index.matchAll(/href="#diff\/(\w+)\/(\w+)"/g)].map(([, l, r]) => [l, r]);
const script = (name) => scripts.find((candidate) => candidate.name === name);
const isHeading = (text) => /^# (---|===) .*[-=]{3}$/.test(text);
const squeezed = (text) => text.replace(/\s+/g, "");
const PHONE = { width: 390, height: 844 };
const PAGES = ["", "#read/microppo", "#diff/microgrpo/microppo", "#run/microppo?ROUNDS=4"];
const SHORT = "PRETRAIN_STEPS=30&COMPARISONS=240&RM_STEPS=100&CRITIC_STEPS=20&SAMPLES=12"
  + "&ROUNDS=3&ROLLOUTS=8&EPOCHS=2";

after(close);

/** The state of the newest run, once it is one of those. */
async function state(page, ...states) {
  await page.waitForFunction((wanted) =>
    wanted.includes(document.querySelector(".record")?.dataset.state), states, { timeout: 90_000 });
  return page.textContent(".record .state");
}

const text = (page, selector) => page.textContent(selector);

function unfold(page) {
  return page.$$eval("details", (all) => all.forEach((details) => { details.open = true; }));
}

/** Everything is unfolded and examined. */
async function checkAccessibility(page) {
  await unfold(page);
  await page.addScriptTag({ path: `${PACKAGES}axe-core/axe.min.js` });
  const violations = await page.evaluate(async () => {
    const result = await axe.run(document, { resultTypes: ["violations"] });
    return result.violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
  });
  assert.deepEqual(violations, [], page.url());
}

async function finish(page) {
  const { errors, requested } = page.context();
  assert.deepEqual(errors, []);
  assert.deepEqual(requested.filter((url) => !CDN.test(url)), [], "requests beside the CDN's");
  assert.deepEqual(await page.context().cookies(), []);
  await page.context().close();
}

test("versions and hashes of the import map are those of the packages", () => {
  const map = JSON.parse(/<script type="importmap">(.*?)<\/script>/s.exec(index)[1]);
  for (const [url, hash] of Object.entries(map.integrity)) {
    const [, name, version, file] = CDN.exec(url);
    const content = readFileSync(`${PACKAGES}${name}/${file}`);
    assert.equal(hash, `sha384-${createHash("sha384").update(content).digest("base64")}`, url);
    assert.equal(version, JSON.parse(readFileSync(`${PACKAGES}${name}/package.json`)).version);
  }
  for (const url of Object.values(map.imports).filter((address) => !address.endsWith("/"))) {
    assert.ok(url in map.integrity, url);
  }
});

for (const { name, question, lines } of scripts) {
  test(`read ${name}: each line is shown once`, async () => {
    const page = await open(`#read/${name}`);
    assert.equal((await text(page, "#page .question")).toLowerCase(), question.toLowerCase());
    assert.equal(lines[0], `"""${name}: ${question}`);
    const shown = await page.evaluate(() => ({
      code: [...document.querySelectorAll(".code .line")].map((e) => [+e.dataset.n, e.textContent]),
      prose: [...document.querySelectorAll("[data-first]")].map((e) => {
        e.querySelectorAll(".label").forEach((label) => label.remove());
        return [+e.dataset.first, +e.dataset.last, e.textContent];
      }),
      titles: [...document.querySelectorAll(".section h2")].map((e) => e.textContent),
      colors: document.querySelectorAll(".hljs-keyword").length,
      links: [...document.querySelectorAll("#page a[href^='#read/']")].map((a) => a.hash),
      ids: [...document.querySelectorAll("[id]")].map((e) => e.id),
    }));
    const count = new Array(lines.length).fill(0);
    for (const [n, code] of shown.code) {
      assert.equal(code, lines[n - 1]);
      count[n - 1]++;
    }
    for (const [first, last, prose] of shown.prose) {
      for (let n = first; n <= last; n++) count[n - 1]++;
      const plain = lines.slice(first - 1, last).map((line, i) => (first + i === 1 ? ""
        : line.replace(/^# ?|^ *"""|"""\s*$/g, "").replace(/"""\s*$/, ""))).join("\n");
      assert.equal(squeezed(prose), squeezed(plain));
    }
    lines.forEach((line, i) => {
      if (isHeading(line)) {
        assert.ok(shown.titles.includes(line.split(" ").slice(2, -1).join(" ")), line);
      } else if (line.trim()) assert.equal(count[i], 1, `line ${i + 1}: ${line}`);
    });
    assert.ok(shown.colors > 50);
    const targets = shown.links.map((hash) => hash.split("/"))
      .filter(([, other, id]) => other === name && id).map(([, , id]) => id);
    assert.ok(targets.filter((id) => id.startsWith("def-")).length > 50, "calls are linked");
    assert.deepEqual(targets.filter((id) => !shown.ids.includes(id)), []);
    assert.equal(new Set(shown.ids).size, shown.ids.length);
    await page.waitForFunction(() => document.querySelector(".figure")?.naturalWidth > 0);
    assert.ok((await page.getAttribute(".figure", "alt")).length > 15);
    await finish(page);
  });
}

async function checkDiff(page, names) {
  const rows = await page.$$eval(".beside", (all) => all.map((row) => ({
    kind: row.className.split(" ")[1],
    marks: row.querySelectorAll("mark").length,
    sides: [...row.children].map((side) => [...side.querySelectorAll(".line")].map((line) =>
      [+line.dataset.n, line.textContent])),
  })));
  names.forEach((name, side) => {
    const { lines } = script(name), shown = rows.flatMap(({ sides }) => sides[side]);
    for (const [n, line] of shown) assert.equal(line, lines[n - 1]);
    const wanted = lines.flatMap((line, i) => (line.trim() && !isHeading(line) ? [i + 1] : []));
    const numbers = shown.filter(([, line]) => line.trim()).map(([n]) => n);
    assert.deepEqual(numbers.sort((a, b) => a - b), wanted);
  });
  for (const { kind, marks, sides: [left, right] } of rows) {
    if (kind === "equal") assert.equal(left[0][1], right[0][1]);
    if (kind === "changed") assert.ok(left[0][1] !== right[0][1] && marks);
  }
  return rows;
}

for (const names of [...diffs, ["microlora", "micromoe"]]) {
  test(`diff ${names.join(" and ")}`, async () => {
    const page = await open(`#diff/${names.join("/")}`);
    const kinds = new Set((await checkDiff(page, names)).map(({ kind }) => kind));
    assert.deepEqual([...kinds].sort(), ["alone", "changed", "equal"]);
    assert.ok(await page.isVisible("summary:has-text('Command line')"));
    assert.equal(await page.locator(".is-common[open]").count(), 0, "what is common is folded");
    await page.selectOption("[name=right]", "microschedule");
    await page.waitForFunction(() => document.title.includes("and microschedule"));
    await finish(page);
  });
}

test("a run prints what CPython prints, to the byte", async (t) => {
  const page = await open(`#run/microppo?seed=7&${SHORT}`);
  assert.equal(await page.locator(".record").count(), 0, "a link runs nothing");
  assert.match(await text(page, ".panel .note"), /it takes \d+ s in CPython/);
  await page.click(".start");
  const said = await state(page, "done", "broken", "refused");
  const record = await page.evaluate(async () => ({
    ...document.querySelector(".record").dataset,
    output: document.querySelector(".record .output").textContent,
    errors: document.querySelector(".record .errors").textContent,
    edits: document.querySelector(".edits").innerText,
    source: await (await fetch(document.querySelector(".record [download]").href)).text(),
  }));
  const { command, version } = newestPython();
  const folder = mkdtempSync(join(tmpdir(), "microalign-"));
  writeFileSync(join(folder, "microppo.py"), record.source);
  const began = performance.now();
  const options = { cwd: folder, encoding: "utf8" };
  const native = spawnSync(command, ["microppo.py", "--seed", "7"], options);
  const seconds = (performance.now() - began) / 1000;
  rmSync(folder, { recursive: true });
  assert.equal(record.output, native.stdout);
  assert.match(said, new RegExp(`exit status ${native.status},`));
  assert.equal(record.errors, "");
  assert.match(record.edits, /ROUNDS = 18 3/);
  await page.selectOption(".record select", "the recorded run, seed 42");
  await page.waitForSelector(".comparison .changed");
  await checkAccessibility(page);
  await finish(page);
  const [loading, running] = [record.loading, record.seconds].map((s) => Number(s).toFixed(1));
  t.diagnostic(`Pyodide: ${loading} s to load, ${running} s to run;`
    + ` CPython ${version.replace(".0", ".")}: ${seconds.toFixed(1)} s`);
});

test("Stop ends a run at once; a run goes on while another page is read", async () => {
  const page = await open("#run/microlora");
  await page.click(".start");
  await page.waitForFunction(() => /step/.test(document.querySelector(".progress")?.textContent));
  await page.evaluate(() => { location.hash = "read/microlora"; });
  await page.waitForSelector(".read");
  assert.ok(await page.isVisible(".is-running"));
  await page.goBack();
  const began = Date.now();
  await page.click(".stop");
  assert.equal(await state(page, "stopped"), "stopped");
  assert.ok(Date.now() - began < 2000);
  assert.equal(await page.locator(".is-running").count(), 0);
  await page.waitForFunction(() => !document.querySelector(".start").disabled);
  await finish(page);
});

test("a setting that is no literal is refused, and so is a bad file", async () => {
  const page = await open(`#run/microreinforce?ROUNDS=${encodeURIComponent("print('x')")}`);
  await page.click(".start");
  assert.match(await state(page, "done", "broken", "refused"), /^refused/);
  assert.match(await text(page, ".errors"), /^ROUNDS = print\('x'\): give a number/);
  assert.equal(await text(page, ".record .output"), "");
  await page.click(".reset");
  const [, rounds] = /^ROUNDS,.* = (\d+),/m.exec(script("microreinforce").source);
  assert.equal(await page.inputValue("[name=ROUNDS]"), rounds);
  await page.fill("[name=ROUNDS]", "4");
  assert.match(await page.evaluate(() => location.hash), /^#run\/microreinforce\?ROUNDS=4$/);
  await page.setInputFiles("[name=names]", {
    name: "few.txt", mimeType: "text/plain", buffer: Buffer.from("anna\nb3n\n"),
  });
  await page.click(".start");
  assert.match(await state(page, "done", "broken"), /the script ended early: exit status 2/);
  assert.match(await text(page, ".errors"), /few\.txt, line 2: 'b3n'/);
  assert.equal(await page.locator(".record").count(), 2);
  await finish(page);
});

test("a case of the debugging page opens with its edit planted and hidden", async () => {
  const [line] = /^BALANCE = .*$/m.exec(script("micromoe").source);
  const files = {
    "docs/debugging.md": ["# Debugging", "### 7. Which expert?", "What is wrong?",
      `\`\`\`diff micromoe.py\n-${line}\n+BALANCE = 7.5  # planted\n\`\`\``, "### 8. Next",
    ].join("\n\n"),
  };
  const page = await open("#run/micromoe?case=7&seed=3", { files });
  assert.equal(await text(page, "#page h1"), "Case 7");
  assert.equal(await page.inputValue("[name=seed]"), "3");
  assert.equal(await page.inputValue("[name=BALANCE]"), "7.5");
  assert.equal(await page.locator(".record").count(), 0, "a link runs nothing");
  assert.ok(!await page.isVisible("text=# planted") && !await page.isVisible("text=Which expert"));
  await page.click("text=Show the edit");
  assert.ok(await page.isVisible("text=+BALANCE = 7.5  # planted"));
  assert.ok(await page.isVisible("text=7. Which expert?"));
  await checkAccessibility(page);
  await page.goto(page.url().replace("micromoe", "microlora"));
  await page.waitForSelector("text=Case 7 is of micromoe.");
  await finish(page);
});

test("every case of the debugging page can be opened", () => {
  const page = readFileSync(`${ROOT}docs/debugging.md`, "utf8");
  for (const [, id] of page.matchAll(/^### (\d+)\. /gm)) {
    const { name, diff } = caseOf(page, id);
    assert.notEqual(plant(script(name).source, diff), script(name).source);
  }
});

test("without the CDN the page reads and diffs, and says what is missing", async () => {
  const page = await open("#read/microlora", { cdn: false });
  assert.ok(await page.isVisible("#plain"));
  assert.match(await text(page, ".script"), /def dot\(a, b\):/);
  await page.evaluate(() => { location.hash = "diff/microreinforce/microgrpo"; });
  await page.waitForSelector(".diff");
  await checkDiff(page, ["microreinforce", "microgrpo"]);
  await page.evaluate(() => { location.hash = "run/microlora"; });
  await page.click(".start");
  assert.equal(await state(page, "broken", "running"), "Python cannot be run here");
  assert.match(await text(page, ".errors"), /Download the script/);
  await finish(page);
});

test("a tampered file is refused", async () => {
  const tampered = { "core.min.js": "globalThis.evil = 1", "python_stdlib.zip": "x" };
  const page = await open("#read/microlora", { tampered });
  assert.ok(await page.isVisible("#plain"));
  assert.equal(await page.evaluate(() => globalThis.evil), undefined);
  await page.evaluate(() => { location.hash = "run/microlora"; });
  await page.click(".start");
  assert.equal(await state(page, "broken", "running"), "Python cannot be run here");
  page.context().errors.length = 0; // the browser's own word on the refused file
  await finish(page);
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds no violation, ${colorScheme}`, async () => {
    for (const hash of PAGES) {
      const page = await open(hash, { colorScheme });
      await checkAccessibility(page);
      await finish(page);
    }
  });
}

test("nothing is wider than a phone", async () => {
  for (const hash of PAGES) {
    const page = await open(hash, { viewport: PHONE });
    await unfold(page);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(width, PHONE.width, hash);
    await finish(page);
  }
});

test("by the keyboard alone; the focus goes to the heading of a new page", async () => {
  const page = await open("");
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
  const press = async (key, reached) => {
    for (let n = 0; n < 60; n++) {
      await page.keyboard.press(key);
      if (await focused() === reached) return;
    }
    assert.fail(`${reached} is not reached; the focus is on ${await focused()}`);
  };
  await press("Tab", "To the text");
  await page.keyboard.press("Enter");
  await press("Tab", "microppo");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".read");
  assert.equal(await focused(), "microppo");
  await press("Tab", "Contents");
  await press("Tab", "Annotator");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#annotator[open]");
  assert.match(await focused(), /^Annotator/);
  await press("Shift+Tab", "Run");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".panel");
  assert.equal(await focused(), "Run microppo");
  await press("Tab", "Run");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".record");
  await page.waitForSelector(".stop:enabled");
  await press("Tab", "Stop");
  await page.keyboard.press("Enter");
  assert.equal(await state(page, "stopped"), "stopped");
  await finish(page);
});

test("an answer that comes late does not replace a newer page", async () => {
  const page = await open("");
  await page.route("**/micromoe.py", async (route) => {
    await new Promise((resolve) => { setTimeout(resolve, 800); });
    await route.continue();
  });
  await page.evaluate(() => { location.hash = "read/micromoe"; });
  await page.waitForTimeout(100);
  await page.evaluate(() => { location.hash = "run/microlora"; });
  await page.waitForSelector(".panel");
  await page.waitForTimeout(1200);
  assert.equal(await text(page, "#page h1"), "Run microlora");
  await finish(page);
});
