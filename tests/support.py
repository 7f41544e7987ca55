"""What several test files use."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def slope(f, x, h=1e-5):
    """The central difference of a function of one float."""
    return (f(x + h) - f(x - h)) / (2 * h)


def fresh(name, **settings):
    """A script as a new module object, with settings changed."""
    sys.modules.pop(name, None)
    module = importlib.import_module(name)
    for setting, value in settings.items():
        assert hasattr(module, setting), setting
        setattr(module, setting, value)
    return module


def fast_copy(name, folder, settings):
    """A copy of a script with some of its settings' lines edited."""
    text = (ROOT / f"{name}.py").read_text("utf-8")
    for setting, value in settings.items():
        text, count = re.subn(rf"^{setting} = .*$", f"{setting} = {value}", text, flags=re.M)
        assert count == 1, f"{setting} is set {count} times"
    path = Path(folder) / f"{name}.py"
    path.write_text(text, "utf-8")
    return path


def start(path, *arguments, flags=("-I",), **environment):
    """Run a script alone, in its own folder, and wait; bytes of both streams."""
    return subprocess.run(
        [sys.executable, "-W", "error", *flags, path.name, *arguments],
        cwd=path.parent,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        timeout=300,
    )
