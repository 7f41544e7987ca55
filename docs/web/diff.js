// DIFF: two scripts side by side, section by section.
import { highlight, load, scripts } from "./code.js";
import { escape, lineAttributes } from "./prose.js";

const CONTEXT = 3; // equal lines shown around a change

export async function diffPage(leftName, rightName) {
  const names = [leftName, rightName];
  const [left, right] = await Promise.all(names.map(load));
  const html = [await highlight(left), await highlight(right)];
  const pairs = pairSections(left.sections, right.sections);
  const same = pairs.filter(([l, r]) => l && l.text === r?.text);
  const lines = same.reduce((sum, [l]) => sum + l.last - l.first + 1, 0);
  const known = document.querySelector(`#diffs a[href="#diff/${leftName}/${rightName}"]`);
  const options = (chosen) => [...scripts.keys()].map((name) =>
    `<option ${name === chosen ? "selected" : ""}>${name}</option>`).join("");
  const page = document.createElement("div");
  page.className = "diff";
  page.innerHTML = `
    <h1 class="unseen">${leftName} and ${rightName}</h1>
    <form class="choose">
      <label>from <select name="left">${options(leftName)}</select></label>
      <a class="button" href="#diff/${rightName}/${leftName}" aria-label="Exchange the two">⇄</a>
      <label>to <select name="right">${options(rightName)}</select></label>
    </form>
    ${known ? `<p class="look">${known.nextElementSibling.innerHTML}</p>` : ""}
    <p class="facts">${same.length} sections are the same to the letter, ${lines} lines.
      <span class="key"><del>only in ${leftName}</del> <ins>only in ${rightName}</ins></span></p>
    ${pairs.map((pair) => sectionHtml(pair, names, left, right, html)).join("")}`;
  page.querySelector("form").addEventListener("change", ({ currentTarget: form }) => {
    location.hash = `diff/${form.left.value}/${form.right.value}`;
  });
  return page;
}

/** Pairs [left, right] of sections, by their titles, wherever they stand: what was moved is no
 * difference. The order is the left script's; what only the right one has comes after the section
 * that it follows there. Of two scripts' own sections between, those that are alike make a pair. */
function pairSections(left, right) {
  const pairs = left.map((l) => [l, right.find((r) => r.title === l.title)]);
  right.forEach((r, i) => {
    if (pairs.some((pair) => pair[1] === r)) return;
    const before = pairs.findIndex((pair) => i && pair[1] === right[i - 1]);
    pairs.splice(before + 1, 0, [undefined, r]);
  });
  for (let i = 0; i < pairs.length; i++) {
    const [l, r] = pairs[i];
    if (!l || r || l.common) continue;
    const alike = pairs.map(([other, candidate]) =>
      (other || candidate.common ? 0 : sharedLines(l, candidate)));
    const best = alike.indexOf(Math.max(...alike));
    if (alike[best] < 0.1) continue;
    pairs[i] = [l, pairs[best][1]];
    pairs.splice(best, 1);
    if (best < i) i--;
  }
  return pairs;
}

/** 0 .. 1: the share of the lines of two sections that both have. */
function sharedLines(l, r) {
  const [a, b] = [l, r].map(({ text }) => text.split("\n").filter((line) => line.trim()));
  const both = new Set(b);
  return a.filter((line) => both.has(line)).length / Math.max(a.length, b.length);
}

function sectionHtml([l, r], names, left, right, html) {
  const title = [...new Set([l?.title, r?.title])].filter(Boolean).map(escape).join(" / ");
  const cut = (all, section) => (section ? all.slice(section.first, section.last + 1) : []);
  const [a, b] = [cut(left.lines, l), cut(right.lines, r)];
  const same = l?.text === r?.text, only = l && r ? null : l ?? r;
  const said = same ? `the same, ${a.length} lines`
    : only ? `<${l ? "del" : "ins"}>only in ${names[l ? 0 : 1]}</${l ? "del" : "ins"}>,
      ${a.length + b.length} lines${only.common ? ", common to several scripts" : ""}` : "";
  const folded = same || only?.common || title === "Thesis";
  return `<details class="section ${same ? "is-common" : ""}" ${folded ? "" : "open"}>
    <summary><h2>${title}</h2> <span class="said">${said}</span></summary>
    ${rowsHtml(a, b, cut(html[0], l), cut(html[1], r), (l?.first ?? 0) + 1, (r?.first ?? 0) + 1)}
    </details>`;
}

/** Lines a and b beside each other: their HTML, and the numbers of the first ones. */
export function rowsHtml(a, b, htmlA, htmlB, numberA = 1, numberB = 1) {
  const rows = [];
  let lefts = [], rights = []; // lines without a partner: one row
  for (const [i, j] of [...align(a, b, likeness), [a.length, b.length]]) {
    if (i !== undefined && j === undefined) lefts.push(i);
    else if (i === undefined) rights.push(j);
    else {
      if (lefts.length || rights.length) rows.push({ kind: "alone", lefts, rights });
      [lefts, rights] = [[], []];
      if (i < a.length) {
        rows.push({ kind: a[i] === b[j] ? "equal" : "changed", lefts: [i], rights: [j] });
      }
    }
  }
  const html = rows.map(({ kind, lefts: own, rights: others }) => {
    let [left, right] = [own.map((i) => htmlA[i]), others.map((j) => htmlB[j])];
    if (kind === "changed") [left, right] = markWords(a[own[0]], b[others[0]], left, right);
    const side = (all, numbers, texts, first, mark) => {
      const tag = kind === "equal" ? "span" : mark;
      return `<pre>${texts.map((text, k) => `<${tag} class="line" ${
        lineAttributes(all[numbers[k]], first + numbers[k])}>${text}</${tag}>`).join("")}</pre>`;
    };
    return `<div class="beside ${kind}">${side(a, own, left, numberA, "del")}${
      side(b, others, right, numberB, "ins")}</div>`;
  });
  const parts = [];
  for (let i = 0, end; i < rows.length; i = Math.max(end, i + 1)) {
    end = i;
    while (rows[end]?.kind === "equal") end++;
    const from = i ? i + CONTEXT : i, to = end < rows.length ? end - CONTEXT : end;
    if (to - from < 3 || to - from === rows.length) {
      parts.push(...html.slice(i, Math.max(end, i + 1)));
    } else {
      parts.push(...html.slice(i, from), `<details class="fold"><summary>${to - from} equal lines
        </summary>${html.slice(from, to).join("")}</details>`, ...html.slice(to, end));
    }
  }
  return parts.join("");
}

/** The alignment of two sequences with the greatest sum of likenesses: [i, j] for two elements
 * beside each other, [i, undefined] and [undefined, j] for those without a partner. */
function align(a, b, like) {
  const likes = a.map((x) => b.map((y) => like(x, y)));
  const best = Array.from({ length: a.length + 1 }, () => new Float64Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i][j] = Math.max(best[i + 1][j], best[i][j + 1], likes[i][j] + best[i + 1][j + 1]);
    }
  }
  const steps = [];
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    const [here, down, right] = [best[i][j], best[i + 1]?.[j] ?? -1, best[i][j + 1] ?? -1];
    if (i < a.length && j < b.length && likes[i][j] && here > Math.max(down, right)) {
      steps.push([i++, j++]);
    } else if (down >= right) steps.push([i++, undefined]);
    else steps.push([undefined, j++]);
  }
  return steps;
}

const words = (text) => text.replace(/(\S.*?) {2}#.*/, "$1").match(/[\w.]+/g) ?? [];

/** 1 for equal lines, less for those that share at least half of their names and numbers, comments
 * aside; 0 for others. Equal empty lines count little. */
function likeness(x, y) {
  if (x === y) return x.trim() ? 1 : 0.1;
  const [xs, ys] = [words(x), words(y)];
  const rest = [...ys];
  const common = xs.filter((w) => rest.includes(w) && rest.splice(rest.indexOf(w), 1)).length;
  const weight = xs[0] === ys[0] ? 0.9 : 0.7; // A = 1 did not become B = 1
  const share = (weight * 2 * common) / (xs.length + ys.length || 1);
  return share >= 0.45 ? share : 0;
}

/** The HTML of a changed pair of lines, with marks around what differs. */
function markWords(a, b, [htmlA], [htmlB]) {
  const tokens = [a, b].map((text) => text.match(/\w+|\s+|[^\w\s]/g) ?? []);
  const changed = [[], []]; // for each character
  for (const pair of align(...tokens, (x, y) => (x === y ? x.trim().length + 0.1 : 0))) {
    pair.forEach((at, side) => {
      if (at === undefined) return;
      const alone = pair[1 - side] === undefined;
      changed[side].push(...Array(tokens[side][at].length).fill(alone));
    });
  }
  return [[marked(htmlA, changed[0])], [marked(htmlB, changed[1])]];
}

function marked(html, changed) {
  let at = 0, open = false, result = "";
  const mark = (on) => {
    if (on !== open) result += on ? "<mark>" : "</mark>";
    open = on;
  };
  for (const [piece] of html.matchAll(/<[^>]*>|&[#\w]+;|[^<]/g)) {
    mark(piece[0] === "<" ? false : changed[at++]);
    result += piece;
  }
  mark(false);
  return result;
}
