"""What pages share: reading a run, choosing, drawing, telling. One study's mathematics, where it is large, lies here too."""

import contextlib
import importlib.util
import os
import shlex
import shutil
import sys
from pathlib import Path


def plain_matplotlib() -> dict[str, str]:
    """The environment in which matplotlib has no settings but its own, wherever it is imported that has no file of the user's."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None and found.origin is not None
    return {"MPLBACKEND": "agg", "MATPLOTLIBRC": str(Path(found.origin).with_name("mpl-data") / "matplotlibrc")}


def interpreter() -> str:
    """How this Python is called from here: python where that is it, else its path, such as .venv/bin/python."""
    here = Path(sys.executable)
    if shutil.which("python") == sys.executable:
        return "python"
    return shlex.quote(str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here))


if Path(getattr(sys.modules["__main__"], "__file__", None) or "").parent == Path(__file__).parents[1]:
    # a page drawn by hand: what its user has set for matplotlib would stop it where it is imported
    os.environ |= plain_matplotlib()
    with contextlib.chdir(Path(__file__).parent):
        import matplotlib  # noqa: F401
