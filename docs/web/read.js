// READ: prose beside code.
import { highlight, load, scripts, text } from "./code.js";
import { escape, lineAttributes, proseToHtml } from "./prose.js";

export async function readPage(name) {
  const { url, question } = scripts.get(name);
  const script = await load(name);
  const lines = await highlight(script);
  const context = {
    settings: new Set(script.assignments.flatMap(({ names }) => names)),
    link: (word) => (script.definitions.has(word) ? `#read/${name}/def-${word}` : null),
    file(path) {
      const other = path.replace(/\.py$/, "");
      if (scripts.has(other)) return `#read/${other}`;
      return path.startsWith("docs/") ? path.slice("docs/".length) : null;
    },
  };
  const page = document.createElement("div");
  page.className = "read";
  page.innerHTML = `
    <header class="title">
      <h1>${name}</h1>
      <p class="question">${escape(question.replace(/^./, (c) => c.toUpperCase()))}</p>
      <p class="facts">${script.lines.length} lines · <a href="${url}">the file itself</a> ·
        <a href="runs/${name}.txt">what it prints</a> · <a href="#run/${name}">run it here</a></p>
    </header>
    <details class="contents" ${matchMedia("(min-width: 88rem)").matches ? "open" : ""}>
      <summary>Contents</summary>
      <nav aria-label="Contents"><ol>${script.sections.map(({ id, title, common }) =>
        `<li class="${common ? "is-common" : ""}"><a href="#read/${name}/${id}">${escape(title)}</a>
        </li>`).join("")}</ol></nav>
    </details>
    <div class="script">${script.sections.map((section) => sectionHtml(section, (row) =>
      rowHtml(row, context, code))).join("")}</div>`;
  addFigure(page, url.replace(/^\.\.\//, "").replace(/\.py$/, ".svg"));
  return page;

  /** A line of code, numbered as in the file, its calls linked to what they call. */
  function code(n) {
    const [key] = [...script.definitions].find(([, line]) => line === n) ?? [];
    const html = (lines[n] ?? "").replace(
      /<[^>]*>|((?:\w+\.)*\.?)\b([A-Za-z_]\w*)(?=\()/g, (match, owner, called) => {
        const target = owner && !script.modules.has(owner.slice(0, -1)) ? `.${called}` : called;
        const line = script.definitions.get(target), isMethod = target !== called;
        if (line === undefined || line === n || isMethod !== Boolean(owner)) return match;
        return `${owner}<a href="#read/${name}/def-${target}">${called}</a>`;
      });
    const id = key ? ` id="def-${key}" tabindex="-1"` : "";
    return `<span class="line" ${lineAttributes(script.lines[n], n + 1)}${id}>${html}</span>`;
  }
}

function sectionHtml({ id, title, common, first, last, rows }, row) {
  const said = `<span class="said">the same in every script that has it,
    ${last - first + 1} lines</span>`;
  return `<details class="section ${common ? "is-common" : ""}" id="${id}" ${common ? "" : "open"}>
    <summary><h2>${escape(title)}</h2>${common ? said : ""}</summary>
    ${rows.map(row).join("")}</details>`;
}

/** A row: prose | code. What introduces a row and is much taller than its code stands above it. */
function rowHtml({ prose, code }, context, line) {
  const about = prose.filter(({ name }) => name), leads = prose.filter(({ name }) => !name);
  const height = leads.reduce((sum, { text: told }) => sum + told.length / 38 + 2, 0); // in lines
  const apart = !code.length || (height > 8 && (about.length || prose[0].first === 0
    || height > 1.5 * code.length + 8));
  const html = (texts) => texts.map(({ name, text: told, first, last }) => `
    <div data-first="${first + 1}" data-last="${last + 1}">
      ${name ? `<p class="label" aria-hidden="true"><code>${name}</code></p>` : ""}
      ${proseToHtml(told, context)}</div>`).join("");
  const lead = apart && leads.length ? `<div class="lead prose">${html(leads)}</div>` : "";
  if (!code.length) return lead;
  return `${lead}<div class="row"><div class="prose">${html(apart ? about : prose)}</div>
    <pre class="code"><code>${code.map(line).join("")}</code></pre></div>`;
}

/** The figure stands beside the thesis. It says in its <title> what it shows. */
async function addFigure(page, url) {
  const svg = await text(url).catch(() => null);
  if (!svg) return;
  const figure = new Image();
  figure.className = "figure";
  figure.src = url;
  figure.alt = /<title>([^<]*)/.exec(svg)?.[1] ?? "What the script finds";
  page.querySelector(".section").prepend(figure);
}
