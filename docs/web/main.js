// Addresses: #read/NAME, #read/NAME/SECTION, #diff/NAME/NAME, #run/NAME?seed=7&SETTING=VALUE.
import { scripts } from "./code.js";
import { diffPage } from "./diff.js";
import { escape } from "./prose.js";
import { readPage } from "./read.js";
import { runPage } from "./run.js";

const $ = (selector) => document.querySelector(selector);
const names = [...scripts.keys()];
const scrolls = new Map(); // where each page was left
let shown = ""; // the page that is shown
let turns = 0;

async function route() {
  const turn = ++turns;
  const [path, query] = location.hash.slice(1).split("?");
  const [mode, name, third] = path.split("/");
  const known = ["read", "diff", "run"].includes(mode) && scripts.has(name)
    && (mode !== "diff" || scripts.has(third));
  const key = known ? [mode, name, { diff: third, run: query }[mode]].join() : "";
  scrolls.set(shown, scrollY);
  if (key !== shown || !key) {
    const page = known ? await pageOf(mode, name, third, query) : null;
    if (turn !== turns) return; // the reader has gone elsewhere meanwhile
    $("#home").hidden = known;
    $("#page").replaceChildren(...(page ? [page] : []));
    tabs(known ? mode : "", known ? name : names[0], third);
    const title = known && [name, mode === "diff" ? `and ${third}` : ""].join(" ").trim();
    document.title = title ? `${title} · microalign` : "microalign";
    scrollTo({ top: scrolls.get(key) ?? 0, behavior: "instant" });
    if (turn > 1) focus($(known ? "#page h1" : "#home h1"));
  }
  shown = key;
  if (mode === "read" && third) reveal(document.getElementById(third));
}

async function pageOf(mode, name, third, query) {
  try {
    if (mode === "read") return await readPage(name);
    return await (mode === "diff" ? diffPage(name, third) : runPage(name, query));
  } catch (error) {
    console.error(error);
    const page = document.createElement("div");
    page.innerHTML = `<h1>Something is missing</h1><p>${escape(error.message)}</p>`;
    return page;
  }
}

function focus(target) {
  if (!target.hasAttribute("tabindex")) target.tabIndex = -1;
  target.focus({ preventScroll: true });
}

function reveal(target) {
  if (!target) return;
  for (let d = target.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
  target.scrollIntoView();
  focus(target.querySelector("summary") ?? target);
}

function tabs(current, name, other) {
  const right = scripts.has(other) ? other : names.find((candidate) => candidate !== name);
  const targets = { read: `#read/${name}`, diff: `#diff/${name}/${right}`, run: `#run/${name}` };
  for (const [mode, href] of Object.entries(targets)) {
    const tab = $(`#tab-${mode}`);
    tab.href = href;
    if (mode === current) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  $(".which").hidden = !current || current === "diff"; // the diff has its own two
  $("#which").value = name;
  $("#which").dataset.mode = current;
}

for (const part of document.querySelectorAll(".bar > [hidden]")) part.hidden = false;
$("#which").innerHTML = names.map((name) => `<option>${name}</option>`).join("");
$("#which").addEventListener("change", ({ target: { value, dataset } }) => {
  location.hash = `${dataset.mode}/${value}`;
});
$("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  localStorage.theme = (localStorage.theme ?? system) === "dark" ? "light" : "dark";
  root.style.colorScheme = localStorage.theme;
});
// Links to the files become links to their pages, now that there are any.
for (const a of document.querySelectorAll("#scripts a")) a.href = `#read/${a.textContent}`;
addEventListener("hashchange", route);
route();
