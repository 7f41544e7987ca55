// A script, taken apart for reading: sections, rows of prose beside code, settings, definitions.
// Pure functions on text, without a DOM. Line numbers count from 0.

const HEADING = /^# (---|===) (\S.*?) [-=]{3,}$/;
const DEFINITION = /^( *)(def|class) (\w+)/;
const COMMA = /,\s*(?![^([{]*[)\]}])/; // outside of brackets
const SETTING = /^([A-Z][A-Z0-9_]*(?:, [A-Z][A-Z0-9_]*)*) = /;

/** What one pass over the source tells of each line: does it begin inside a string (inside) and end
 * inside one (open), how many brackets are open before and after it (depth, depthAfter), where does
 * its comment start (comment, -1 if there is none), and what does it define: a function or a class
 * by its name, a method by "." and its name. */
function scan(source) {
  let quote = "", depth = 0, inClass = false;
  return source.replace(/\n$/, "").split("\n").map((text) => {
    const line = { text, inside: quote !== "", depth, comment: -1 };
    for (let i = 0; i < text.length && line.comment < 0; i++) {
      const c = text[i];
      if (quote) {
        if (c === "\\") i++;
        else if (text.startsWith(quote, i)) {
          i += quote.length - 1;
          quote = "";
        }
      } else if (c === "#") line.comment = i;
      else if (c === '"' || c === "'") {
        quote = text.startsWith(c.repeat(3), i) ? c.repeat(3) : c;
        i += quote.length - 1;
      } else if ("([{".includes(c)) depth++;
      else if (")]}".includes(c)) depth--;
    }
    if (quote.length === 1) quote = ""; // a plain string ends with its line
    const [, indent, kind, name] = (!line.inside && DEFINITION.exec(text)) || [];
    if (indent === "") inClass = kind === "class";
    const isMethod = inClass && indent?.length === 4;
    const defines = indent === "" ? name : isMethod ? `.${name}` : "";
    return Object.assign(line, { open: quote !== "", depthAfter: depth, defines });
  });
}

/** The last line of the statement that begins on line i. */
function endOf(lines, i) {
  while (i + 1 < lines.length && (lines[i].depthAfter > 0 || lines[i].open)) i++;
  return i;
}

const isBlank = ({ text }) => !text.trim();

/** "# --- Title ---" begins a section that is common to scripts, "# === Title ===" one of this
 * script's own. Before the first of them stand the docstring and, after it, the settings. */
function sectionsOf(lines) {
  const end = endOf(lines, 0) + 1; // of the docstring
  const marks = [{ at: 0, first: 0, title: "Thesis" }, { at: end, first: end, title: "Settings" }];
  lines.forEach(({ text, inside }, at) => {
    const [, rule, title] = (!inside && HEADING.exec(text)) || [];
    if (title) marks.push({ at, first: at + 1, title, common: rule === "---" });
  });
  return marks.map(({ first, title, common }, i) => {
    let last = (marks[i + 1]?.at ?? lines.length) - 1;
    while (last > first && isBlank(lines[last])) last--;
    while (first < last && isBlank(lines[first])) first++;
    const id = title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-");
    const text = lines.slice(first, last + 1).map((line) => line.text).join("\n");
    return { id, title, common, first, last, text, rows: rowsOf(lines, first, last) };
  });
}

/** Lines first..last of a docstring or a comment, without its marks and its indentation. */
function plain(lines, first, last) {
  const texts = lines.slice(first, last + 1).map(({ text }) => text);
  if (texts[0].startsWith("#")) return texts.map((text) => text.replace(/^# ?/, "")).join("\n");
  const indent = texts[0].search(/\S/);
  return texts.map((text) => (text.slice(0, indent).trim() ? text : text.slice(indent)))
    .join("\n").replace(/^"""|"""\s*$/g, "").trimEnd();
}

/** Cut a section into rows of prose and code. What becomes prose: the docstrings of the module, of
 * its functions and classes, and of their methods; comments at the margin. The rest is code. */
function rowsOf(lines, first, last) {
  const rows = [];
  let row;
  const begin = () => rows.push((row = { prose: [], code: [] }));
  const hasCode = () => row.code.some((n) => !isBlank(lines[n]));
  const code = (from, to) => {
    for (let n = from; n <= to; n++) row.code.push(n);
  };
  begin();
  for (let i = first, end; i <= last; i = end + 1) {
    end = i;
    const { text, inside, depth } = lines[i];
    if (text.startsWith('"""') && i === 0) {
      end = endOf(lines, 0);
      row.prose.push({ text: plain(lines, 0, end).replace(/^.*\n+/, ""), first: 0, last: end });
      continue;
    }
    if (text.startsWith("#") && !inside) {
      while (end < last && lines[end + 1].text.startsWith("#")) end++;
      if (hasCode()) begin();
      row.prose.push({ text: plain(lines, i, end), first: i, last: end });
      continue;
    }
    const documented = row.prose.some(({ name }) => name);
    if (documented && /^\S/.test(text) && !inside && depth === 0) begin();
    if (lines[i].defines) {
      const from = endOf(lines, i) + 1; // after the header
      const doc = /^ *"""/.test(lines[from]?.text) && lines[from - 1].text.endsWith(":");
      if (doc) {
        if (hasCode()) begin();
        code(i, from - 1);
        end = endOf(lines, from);
        const name = lines[i].defines.replace(".", "");
        row.prose.push({ name, text: plain(lines, from, end), first: from, last: end });
        continue;
      }
    }
    code(i, end);
  }
  for (const { code: numbers } of rows) {
    while (numbers.length && isBlank(lines[numbers.at(-1)])) numbers.pop();
    while (numbers.length && isBlank(lines[numbers[0]])) numbers.shift();
  }
  return rows.filter(({ prose, code: numbers }) => prose.length || numbers.length);
}

/** The assignments of the settings. One may set several names: A, B = 1, 2  # meaning */
function assignmentsOf(lines, { first, last }) {
  const found = [];
  for (let at = first; at <= last; at++) {
    const { text, comment, depthAfter } = lines[at];
    const match = SETTING.exec(text);
    if (!match || depthAfter) continue; // what takes several lines is no field
    const names = match[1].split(", "), end = comment < 0 ? text.length : comment;
    const value = text.slice(match[0].length, end).trim();
    const values = names.length > 1 ? value.split(COMMA) : [value];
    let above = at; // a comment above belongs to the meaning
    while (lines[above - 1].text.startsWith("#")) above--;
    const meaning = [...lines.slice(above, at).map((line) => line.text), text.slice(end)]
      .map((part) => part.replace(/^# ?/, "")).join(" ").trim();
    if (names.length === values.length) {
      found.push({ at, names, values, meaning, comment: text.slice(end) });
    }
  }
  return found;
}

/** Everything the pages need to know of a script. */
export function parse(source) {
  const lines = scan(source);
  const sections = sectionsOf(lines);
  return {
    source,
    lines: lines.map(({ text }) => text),
    sections,
    definitions: new Map(lines.flatMap(({ defines }, n) => (defines ? [[defines, n]] : []))),
    modules: new Set(lines.flatMap(({ text }) => /^(?:import|from) (\w+)/.exec(text)?.[1] ?? [])),
    assignments: assignmentsOf(lines, sections[1]),
  };
}

/** The source with other settings: changes is {NAME: "value"}. */
export function edit({ lines, assignments }, changes) {
  const edited = [...lines];
  for (const { at, names, values, comment } of assignments) {
    if (!names.some((name) => name in changes)) continue;
    const value = names.map((name, i) => changes[name] ?? values[i]).join(", ");
    edited[at] = `${names.join(", ")} = ${value}  ${comment}`.trimEnd();
  }
  return `${edited.join("\n")}\n`;
}

/** A case of docs/debugging.md: its title, the script and the edit to be planted in it. */
export function caseOf(page, id) {
  const section = page.split(/^### /m).find((text) => text.startsWith(`${id}. `)) ?? "";
  const fence = /^```diff (\S*?(\w+)\.py)\n(.*?)^```/ms.exec(section);
  if (!fence) throw new Error(`docs/debugging.md has no case ${id} with an edit`);
  const [, path, name, diff] = fence;
  return { title: section.split("\n")[0], path, name, diff };
}

/** Apply the hunks of a case to a source. */
export function plant(source, diff) {
  return diff.split(/^@@\n/m).reduce((text, hunk) => {
    const lines = hunk.replace(/\n$/, "").split("\n");
    const side = (marks) => lines.filter((line) => marks.includes(line[0] ?? " "))
      .map((line) => `${line.slice(1)}\n`).join("");
    const before = side(" -"), parts = text.split(before);
    if (parts.length !== 2) throw new Error(`This edit does not apply:\n${hunk}`);
    return parts.join(side(" +"));
  }, source);
}
