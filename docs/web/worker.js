// One run of one script, in a worker of its own: stopping it is terminating the worker.
// in:  {base, integrity, file, source, changes, argv, files}     files: more of them, {name: bytes}
// out: {state, ...}, {out: text}, {err: text}

const RUNNER = `
import ast, platform, runpy, sys, traceback

def refusal(changes):
    """Why an edited setting is not accepted: it must be a literal, never code to be run."""
    for name, value in changes.items():
        try:
            ast.literal_eval(value)
        except Exception:
            return f"{name} = {value}: give a number, a text, or a list of these."

def run_script(file, argv):
    sys.argv = [file, *argv]
    code = 0
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as exit:
        code = exit.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)
`;

self.onmessage = async ({ data }) => {
  const { base, integrity, file, source, changes, argv, files } = data;
  try {
    let start = performance.now();
    const seconds = () => (performance.now() - start) / 1000;
    const python = await loadPython(base, integrity);
    python.runPython(RUNNER);
    const call = (name, ...given) => python.globals.get(name)(...given.map((x) => python.toPy(x)));
    const refused = call("refusal", changes);
    if (refused) return postMessage({ state: "refused", message: refused });
    const stream = (name, isatty) => {
      const decoder = new TextDecoder();
      return {
        isatty, // stderr is a terminal: the scripts draw one moving line there
        write(bytes) {
          postMessage({ [name]: decoder.decode(bytes, { stream: true }) });
          return bytes.length;
        },
      };
    };
    python.setStdout(stream("out", false));
    python.setStderr(stream("err", true));
    for (const [name, content] of Object.entries({ ...files, [file]: source })) {
      python.FS.writeFile(name, content);
    }
    const version = python.runPython("platform.python_version()");
    postMessage({ state: "running", version, pyodide: python.version, loading: seconds() });
    start = performance.now();
    const code = call("run_script", file, argv);
    postMessage({ state: "done", code, seconds: seconds() });
  } catch (error) {
    postMessage({ state: "broken", message: String(error.message ?? error) });
  }
};

/** Pyodide; every file of it has to match its hash. */
async function loadPython(base, integrity) {
  const unchecked = self.fetch;
  self.fetch = (url, options) => {
    const hash = integrity[String(url)];
    if (!hash) throw new Error(`${url} has no integrity hash in index.html`);
    return unchecked(url, { ...options, integrity: hash });
  };
  const module = async (name) => {
    const response = await self.fetch(base + name);
    if (!response.ok) throw new Error(`${base + name}: ${response.status}`);
    const blob = new Blob([await response.text()], { type: "text/javascript" });
    return import(URL.createObjectURL(blob));
  };
  const [{ loadPyodide }, { default: createPyodideModule }] =
    await Promise.all([module("pyodide.mjs"), module("pyodide.asm.mjs")]);
  return loadPyodide({ indexURL: base, createPyodideModule });
}
