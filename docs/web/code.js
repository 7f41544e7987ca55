// Files: scripts are fetched once, parsed and highlighted here.
import { parse } from "./parse.js";
import { escape } from "./prose.js";

/** The scripts, as index.html lists them: name to {url, question}. */
export const scripts = new Map(
  [...document.querySelectorAll("#scripts a")].map((a) => [a.textContent, {
    url: a.getAttribute("href"),
    question: a.nextElementSibling.textContent,
  }]),
);

export async function text(url) {
  const response = await fetch(url, { cache: "no-cache" }); // an edited file is seen at once
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return response.text();
}

const loaded = new Map();

export function load(name) {
  const { url } = scripts.get(name);
  if (!loaded.has(name)) {
    loaded.set(name, text(url).then(parse).catch((error) => {
      loaded.delete(name); // so that the next attempt asks again
      throw error;
    }));
  }
  return loaded.get(name);
}

let modules; // from the CDN, by their names in index.html's import map

/** The lines of a script as HTML; plain if the highlighter cannot be had. */
export async function highlight(script) {
  modules ??= Promise.all([import("highlight"), import("highlight-python")]).catch(() => []);
  const [core, python] = await modules;
  document.querySelector("#plain").hidden = Boolean(core);
  if (!core) return script.lines.map(escape);
  core.default.registerLanguage("python", python.default);
  script.html ??= lineByLine(core.default.highlight(script.source, { language: "python" }).value);
  return script.html;
}

/** Cut highlighted HTML at its line breaks; a span that goes on is closed and opened again. */
function lineByLine(html) {
  const open = [];
  return html.split("\n").map((line) => {
    const before = open.join("");
    for (const [tag] of line.matchAll(/<span[^>]*>|<\/span>/g)) {
      if (tag === "</span>") open.pop();
      else open.push(tag);
    }
    return before + line + "</span>".repeat(open.length);
  });
}
