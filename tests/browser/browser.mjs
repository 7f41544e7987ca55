// Chromium on the project's pages, served by python -m http.server as README says. What the pages
// take from the CDN is answered from the npm packages of the same name and version.
import { execFileSync, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const PACKAGES = fileURLToPath(new URL("node_modules/", import.meta.url));
export const CDN = /^https:\/\/cdn\.jsdelivr\.net\/npm\/((?:@[^/]+\/)?[^@/]+)@([^/]+)\/(.*)$/;
const TYPES = {
  js: "text/javascript", mjs: "text/javascript", wasm: "application/wasm", json: "application/json",
};

const server = spawn("python3", [
  "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", ROOT,
], { stdio: ["ignore", "pipe", "ignore"] });
const port = await new Promise((resolve) => {
  let said = "";
  server.stdout.on("data", (data) => {
    said += data;
    const [, number] = /port (\d+) /.exec(said) ?? [];
    if (number) resolve(number);
  });
});
export const URL_OF_PAGE = `http://127.0.0.1:${port}/docs/index.html`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

process.on("exit", () => server.kill());

export async function close() {
  await browser.close();
  server.kill();
}

/** A page in a context of its own. tampered: {part of a CDN address: other content}. */
export async function open(hash, { cdn = true, tampered = {}, files = {}, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  context.requested = [];
  context.errors = [];
  await context.route(/^https:/, (route) => {
    const url = route.request().url();
    context.requested.push(url);
    const [, name, , file] = CDN.exec(url) ?? [];
    if (!cdn || !name) return route.abort();
    const other = Object.keys(tampered).find((part) => url.includes(part));
    return route.fulfill({
      ...(other ? { body: tampered[other] } : { path: `${PACKAGES}${name}/${file}` }),
      contentType: TYPES[file.split(".").pop()],
      headers: { "access-control-allow-origin": "*" },
    });
  });
  for (const [path, body] of Object.entries(files)) { // files of the project, replaced
    await context.route(`**/${path}`, (route) => route.fulfill({ body }));
  }
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on("pageerror", ({ message }) => context.errors.push(message));
  await page.goto(URL_OF_PAGE + hash);
  await page.waitForSelector(hash ? "#page h1" : "#home h1", { state: "attached" });
  return page;
}

/** The newest CPython there is: {command, version}. */
export function newestPython() {
  const script = "import sys; print('%d.%03d' % sys.version_info[:2])";
  const numbered = [10, 11, 12, 13, 14, 15].map((minor) => `python3.${minor}`);
  const found = ["python3", ...numbered, ...pyenv()].flatMap((command) => {
    try {
      const version = execFileSync(command, ["-c", script], { stdio: "pipe", encoding: "utf8" });
      return [{ command, version: version.trim() }];
    } catch {
      return [];
    }
  });
  return found.sort((a, b) => (a.version < b.version ? 1 : -1))[0];
}

/** The interpreters of pyenv, which are not on the PATH. */
function pyenv() {
  try {
    const options = { stdio: "pipe", encoding: "utf8" };
    const run = (...args) => execFileSync("pyenv", args, options).trim();
    const root = run("root");
    return run("versions", "--bare").split("\n").filter((name) => /^3\.\d+\.\d+$/.test(name))
      .map((version) => `${root}/versions/${version}/bin/python3`);
  } catch {
    return [];
  }
}
