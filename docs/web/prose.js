// Plain text of docstrings and comments, as HTML. Pure functions on text, without a DOM.

export const escape = (text) => text.replace(/[&<>"]/g,
  (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

/** Of a line of code: its number, and how far it is indented. */
export const lineAttributes = (text, number) =>
  `data-n="${number}" style="--indent: ${text.search(/\S|$/)}"`;

/** context: link (from a name in the text to an address, or null), settings (a set of names),
 * file (from a path to an address, or null). */
export function proseToHtml(text, context) {
  return blocksOf(text).map(({ kind, lines }) => (kind === "pre"
    ? `<pre>${escape(lines.join("\n"))}</pre>`
    : `<p class="${kind}">${inline(lines.join(" "), context)}</p>`)).join("\n");
}

/** Paragraphs, list items, and what keeps its line breaks: indented lines and aligned equations. */
function blocksOf(text) {
  const blocks = [], lines = text.split("\n");
  let block = null;
  lines.forEach((line, n) => {
    const indent = line.search(/\S/);
    const opens = /^ {4}[A-Z][a-z]+ [a-z]/.test(line) && /^\S/.test(lines[n + 1]); // a paragraph
    const stands = (indent >= 4 && !opens) || / = .*\S {2,}\S|\S {2,}\S.* = /.test(line);
    const kind = stands ? "pre" : line.startsWith("- ") ? "item" : "text";
    if (indent < 0) {
      if (block?.kind === "pre") block.lines.push("");
      else block = null;
      return;
    }
    if (!block || opens || kind === "item" || (kind === "pre") !== (block.kind === "pre")) {
      blocks.push((block = { kind, lines: [] }));
    }
    block.lines.push(kind === "pre" ? line.replace(/^ {4}/, "") : line.trim());
  });
  for (const { lines: own } of blocks) while (own.at(-1) === "") own.pop();
  return blocks;
}

const OPERATOR = /^(=|<=|>=|<|>|\+|-|\*|\/|~)$/;
const FUNCTION = /^\(?-?(log|exp|sqrt|tanh|sigmoid|softmax|sum|grad|pi|beta|gamma|lambda|rho)$/;
const LINK = /^(.*?)(arXiv:\d{4}\.\d{4,5}|(?:docs\/)?[\w/]+\.(?:py|md))\b(.*)$/;

/** One paragraph. Formulas are found by their looks, word by word, and set as code. */
function inline(text, context) {
  const words = text.split(" ");
  const math = words.map((w) => /\w_|\^|\w\(|\w\[/.test(w) && !LINK.test(w));
  words.forEach((w, i) => { // an operator takes the words on both sides
    if (OPERATOR.test(w) && i && i < words.length - 1) math[i - 1] = math[i] = math[i + 1] = true;
  });
  for (let i = words.length - 2; i >= 0; i--) { // log pi(y), gamma V(s)
    if (math[i + 1] && FUNCTION.test(words[i])) math[i] = true;
  }
  const html = [];
  for (let i = 0, end; i < words.length; i = end) {
    end = i + 1;
    if (!math[i]) html.push(word(words[i], context));
    else {
      const goesOn = () => (math[end] && !/[.,;:]$/.test(words[end - 1]))
        || brackets(words.slice(i, end).join(" ").replace(/^\(+/, "")) > 0;
      while (end < words.length && goesOn()) end++;
      html.push(formula(words.slice(i, end).join(" "), context));
    }
  }
  return html.join(" ");
}

const brackets = (text) => text.split(/[([]/).length - text.split(/[)\]]/).length;

/** A formula, without the sentence's own brackets and full stops. */
function formula(text, context) {
  let [, core, after] = /^(.*?)([.,;:?]*)$/.exec(text), before = "";
  while (core.startsWith("(") && brackets(core) > 0) [before, core] = [`${before}(`, core.slice(1)];
  while (core.endsWith(")") && brackets(core) < 0) [core, after] = [core.slice(0, -1), `)${after}`];
  return escape(before) + named(core, /^(\w+)(\(\))?$/.exec(core)?.[1], context) + escape(after);
}

function named(text, name, context) {
  const href = name && context.link(name);
  const code = `<code>${escape(text)}</code>`;
  return href ? `<a href="${href}">${code}</a>` : code;
}

/** A word of prose: a link, a name from the code, or just a word. */
function word(text, context) {
  const [, before, target, after] = LINK.exec(text) ?? [];
  const href = target && (target.startsWith("arXiv:")
    ? `https://arxiv.org/abs/${target.slice("arXiv:".length)}` : context.file(target));
  if (href) return `${escape(before)}<a href="${href}">${target}</a>${escape(after)}`;
  return escape(text).replace(/[A-Za-z_]\w+/g, (name) => (
    context.settings.has(name) || (/^[A-Z]|_/.test(name) && context.link(name))
      ? named(name, name, context) : name));
}
