// RUN: a script in the browser, by Pyodide in a worker.
import { load, text } from "./code.js";
import { rowsHtml } from "./diff.js";
import { caseOf, edit, parse, plant } from "./parse.js";
import { escape } from "./prose.js";

const cdn = JSON.parse(document.querySelector("script[type=importmap]").textContent);
const panels = new Map(); // a panel stays, and its run goes on, while others are shown

/** query: case=12 plants the edit of a case of debugging.md; seed and settings fill the fields. */
export async function runPage(name, query) {
  const given = new URLSearchParams(query);
  const id = given.get("case");
  const key = `${name} ${id}`;
  if (!panels.has(key)) {
    const found = id && caseOf(await text("debugging.md"), id);
    if (found && found.name !== name) throw new Error(`Case ${id} is of ${found.name}.`);
    const script = await load(name);
    const edited = found ? parse(plant(script.source, found.diff)) : script;
    panels.set(key, new Panel(name, edited, id, found));
  }
  const panel = panels.get(key);
  if (query !== undefined) panel.fill(given);
  return panel.root;
}

class Panel {
  constructor(name, script, id, found) {
    const [, seconds] = /^ {4}python \w+\.py .*? (\d+) s/m.exec(script.source) ?? [];
    Object.assign(this, { name, script, id, worker: null, records: [] });
    this.root = document.createElement("div");
    this.part = (selector) => this.root.querySelector(selector);
    this.root.className = "panel";
    this.root.innerHTML = `
      <header class="title">
        <h1>${found ? `Case ${id}` : `Run ${name}`}</h1>
        ${found ? caseHtml(found) : ""}
        <p class="note">Python runs in this page, by Pyodide: some 6 MB, loaded at the first run.
          ${seconds ? `Unedited, it takes ${seconds} s in CPython, about twice that here.` : ""}
          Fewer steps or rounds make it shorter; claims may fail then. exp, tanh and cos can
          differ from other systems' in the last bit, so a long run may end a little
          differently.</p>
      </header>
      <form aria-label="Settings">
        <div class="actions">
          <label>--seed <input name="seed" inputmode="numeric" pattern="-?\\d+" value="42" size="6">
          </label>
          <button type="submit" class="start">Run</button>
          <button type="button" class="stop" disabled>Stop</button>
          <button type="button" class="reset">Reset all</button>
        </div>
        ${[...new Set(script.source.match(/--\w+ FILE/g))].map((option) => `<label class="file">
          ${option} <input type="file" name="${option.slice(2, -5)}"></label>`).join("")}
        ${script.assignments.map(assignmentHtml).join("")}
      </form>
      <div class="records"></div>`;
    this.form = this.part("form");
    this.form.addEventListener("input", () => this.edited());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    this.part(".stop").addEventListener("click", () => this.heard({ state: "stopped" }));
    this.part(".reset").addEventListener("click", () => {
      this.form.reset();
      this.edited();
    });
  }

  settings() {
    return this.script.assignments.flatMap(({ names, values }) =>
      names.map((name, i) => ({ name, was: values[i], input: this.form.elements[name] })));
  }

  /** A link fills the fields; it runs nothing. */
  fill(given) {
    this.form.reset();
    this.form.elements.seed.value = given.get("seed") ?? "42";
    for (const { name, input, was } of this.settings()) input.value = given.get(name) ?? was;
    this.mark();
  }

  /** The settings that the reader changed: {NAME: "value"}. */
  changes() {
    const changed = this.settings().filter(({ was, input }) => input.value.trim() !== was);
    return Object.fromEntries(changed.map(({ name, input }) => [name, input.value.trim()]));
  }

  mark() {
    for (const { was, input } of this.settings()) {
      const changed = input.value.trim() !== was;
      input.parentElement.classList.toggle("is-changed", changed);
      input.nextElementSibling.textContent = changed ? `was ${was}` : "";
    }
  }

  /** The address is a link to these settings. */
  edited() {
    this.mark();
    const { value: seed } = this.form.elements.seed;
    const query = new URLSearchParams({
      ...(this.id && { case: this.id }), ...(seed !== "42" && { seed }), ...this.changes(),
    });
    history.replaceState(null, "", `#run/${this.name}${query.size ? `?${query}` : ""}`);
  }

  async start() {
    if (!this.form.reportValidity()) return;
    const changes = this.changes(), files = {};
    const file = `${this.name}.py`, argv = ["--seed", this.form.elements.seed.value];
    for (const { name, files: [chosen] } of this.form.querySelectorAll("[type=file]")) {
      if (!chosen) continue;
      files[chosen.name] = new Uint8Array(await chosen.arrayBuffer());
      argv.push(`--${name}`, chosen.name);
    }
    if (this.worker) return; // pressed twice
    for (const { root } of this.records) root.open = false;
    this.record = new Record(this, `python ${file} ${argv.join(" ")}`, changes);
    this.records.unshift(this.record);
    this.part(".records").prepend(this.record.root);
    const { top } = this.record.root.getBoundingClientRect();
    if (top > innerHeight / 2) this.record.root.scrollIntoView(); // below the settings: a phone
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.busy();
    this.worker.onmessage = ({ data }) => this.heard(data);
    this.worker.onerror = ({ message }) => this.heard({ state: "broken", message });
    this.worker.postMessage({
      base: cdn.imports["pyodide/"], integrity: cdn.integrity,
      file, source: edit(this.script, changes), changes, argv, files,
    });
  }

  heard(data) {
    this.record.heard(data);
    if (!data.state || data.state === "running") return;
    this.worker.terminate();
    this.worker = null;
    this.busy();
  }

  busy() {
    this.part(".start").disabled = this.worker !== null;
    this.part(".stop").disabled = this.worker === null;
    const busy = [...panels.values()].some(({ worker }) => worker);
    document.documentElement.classList.toggle("is-running", busy);
  }
}

/** The title of a case may tell the solution, so it is hidden like the edit. */
function caseHtml({ title, diff, path }) {
  return `<p>An edit of a few lines is planted in ${path}. Which one? Run it, compare with the
      recorded run, and find the number that gives it away.</p>
    <details><summary>Show the edit</summary>
      <p class="question">${escape(title)}</p>
      <pre class="output" tabindex="0">${escape(diff)}</pre>
      <p>Cause, fix and reports are in <a href="debugging.md">docs/debugging.md</a>.</p></details>`;
}

function assignmentHtml({ names, values, meaning }) {
  const about = `about-${names[0]}`;
  const fields = names.map((name, i) => `<div class="setting"><label for="${name}">${name}</label>
    <input id="${name}" name="${name}" value="${escape(values[i])}" autocomplete="off"
      size="${Math.max(5, values[i].length)}" spellcheck="false" aria-describedby="${about}">
    <span class="was"></span></div>`);
  return `<div class="assignment">${fields.join("")}
    <p class="note" id="${about}">${escape(meaning)}</p></div>`;
}

/** One run: its settings and its output. */
class Record {
  constructor(panel, command, changes) {
    const count = Object.keys(changes).length;
    this.panel = panel;
    this.label = `run ${panel.records.length + 1}`;
    this.output = "";
    this.line = ""; // the last line of stderr, which may still move
    this.root = document.createElement("details");
    this.part = (selector) => this.root.querySelector(selector);
    this.root.className = "record";
    this.root.open = true;
    const source = new Blob([edit(panel.script, changes)], { type: "text/x-python" });
    this.root.innerHTML = `
      <summary>${this.label}: <code>${escape(command)}</code>
        ${count ? `<span class="said">with changed settings</span>` : ""}
        <span class="state" role="status"></span></summary>
      ${count ? `<p class="edits">${panel.settings().filter(({ name }) => name in changes)
        .map(({ name, was }) => `<code>${name} = <del>${escape(was)}</del>
          <ins>${escape(changes[name])}</ins></code>`).join("")}</p>` : ""}
      <p class="facts"><a download="${panel.name}.py" href="${URL.createObjectURL(source)}">the
        script as it is run</a> <label hidden>compare with <select></select></label></p>
      <pre class="progress" aria-hidden="true"></pre>
      <pre class="output" role="log" aria-label="Output" tabindex="0"></pre>
      <div class="comparison"></div>
      <pre class="errors"></pre>`;
    this.part("select").addEventListener("change", ({ target }) => this.compare(target.value));
    this.heard({ state: "loading" });
  }

  heard({ state, out, err, ...data }) {
    if (out !== undefined) {
      this.output += out;
      this.part(".output").append(out);
    } else if (err !== undefined) this.moving(err);
    else this.say(state, data);
  }

  /** stderr: a line with a carriage return is progress, shown until the next; others stay. */
  moving(said) {
    const lines = (this.line + said).split("\n");
    this.line = lines.pop();
    for (const line of lines) if (!line.includes("\r")) this.part(".errors").append(`${line}\n`);
    const shown = [...lines, this.line].filter((line) => line.includes("\r")).at(-1);
    if (shown) this.part(".progress").textContent = shown.split("\r").at(-1).trimEnd();
  }

  say(state, { version, pyodide, loading, code, seconds, message }) {
    if (version) this.python = `Python ${version} (Pyodide ${pyodide})`;
    const early = this.part(".errors").textContent;
    const failed = early ? "the script ended early" : "not all claims hold";
    Object.assign(this.root.dataset, { state }, loading && { loading }, seconds && { seconds });
    this.part(".state").textContent = {
      loading: "loading Python …",
      running: `running, ${this.python}`,
      done: `${code ? failed : "all claims hold"}: exit status ${code}, ${seconds?.toFixed(1)} s,
        ${this.python}`,
      stopped: "stopped",
      refused: "refused: an edited setting is no literal",
      broken: "Python cannot be run here",
    }[state];
    if (message) this.part(".errors").append(`${message}\n`);
    if (state === "broken") {
      this.part(".errors").append("Download the script and run it with any Python from 3.10 on.\n");
    }
    this.part(".progress").hidden = !["loading", "running"].includes(state);
    this.part("label").hidden = state !== "done";
    this.part("select").innerHTML = ["", ...this.panel.records.map(({ label }) => label),
      "the recorded run, seed 42"].filter((label) => label !== this.label)
      .map((label) => `<option>${label}</option>`).join("");
  }

  /** The output compared with that of another run, or with the one recorded in docs/runs. */
  async compare(label) {
    const { panel } = this;
    const other = panel.records.find((record) => record.label === label)?.output
      ?? (label && await text(`runs/${panel.name}.txt`));
    const [a, b] = [other, this.output].map((output) => output.trimEnd().split("\n"));
    this.part(".output").hidden = Boolean(label);
    this.part(".comparison").innerHTML = label && rowsHtml(a, b, a.map(escape), b.map(escape));
  }
}
