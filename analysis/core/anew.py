"""One student of a run trained anew, for whoever has its notebook open: what the last code of report.ipynb calls."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.core import records
from analysis.core.report import Run, printable, with_errors

WATCHED = """import os, runpy, shutil, sys, threading
def end():
    os.read(0, 1)  # returns when the notebook's end of the pipe is closed, however that process ended
    shutil.rmtree(place, ignore_errors=True)
    os._exit(1)
place = sys.argv.pop(1)
threading.Thread(target=end, daemon=True).start()
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")"""
"""Runs a study's file as a script, which ends when the process that started it does."""

TERMINAL = ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")
"""What a kernel of Jupyter sets so that what it starts takes a notebook for a terminal."""


class Stopped(Exception):
    """Why nothing is compared, in one line, which is all that a notebook shows of it."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def trained(
    run: Run, study: str, flags: Sequence[str], data_root: str | Path | None = None
) -> tuple[pd.Series, pd.DataFrame]:
    """(the student of the run with the lowest seed, its cells as they came out anew). flags: what the study is to train; data_root: the
    folder of its data, where these are not in the cache. Stopped where nothing was trained, or on other data than the run's."""
    old = run.students.sort_values("seed", kind="stable").iloc[0]
    data = _data(run.info, old)
    if data.get("data") == "own" and not (data_root and Path(data_root).expanduser().is_dir()):
        raise Stopped(
            "This run's images are somebody's own, and not here: write their folder into DATA_ROOT, and execute this cell again."
        )
    root = Path(records.__file__).parents[2]
    where = ["--data-root", str(Path(data_root).expanduser().absolute())] if data_root else []
    with tempfile.TemporaryDirectory() as place:
        words = [f"studies/{study}.py", *flags, *where, "--address", "inline", "--no-report", "--storage", place]
        if code := _ended([sys.executable, "-c", WATCHED, place, *words], root):
            raise Stopped(
                f"Nothing is compared: the study ended with exit code {code}, for the reason that it names above."
            )
        folder = records.find_run(study, root=place)
        if differs := _other_data(data, records.info(folder)):
            raise Stopped(printable(f"Nothing is compared: {differs}"))
        new = with_errors(records.final(records.read(folder)))
    return old, new[new["seed"] == old["seed"]]


def _ended(command: Sequence[str], root: Path) -> int:
    """Runs a command without a terminal; its exit code. It ends with this process, and when this is interrupted."""
    plain = {name: value for name, value in os.environ.items() if name not in TERMINAL}
    plain |= {"TERM": "dumb", "NO_COLOR": "1", "TTY_COMPATIBLE": "0"}
    process = subprocess.Popen(command, cwd=root, env=plain, stdin=subprocess.PIPE, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        raise Stopped("Interrupted: the training has ended, and nothing is compared.") from None
    finally:
        process.kill()
        process.communicate()


def _data(info: Mapping[str, Any], student: pd.Series) -> Mapping[str, Any]:
    """What a run says of the data of one of its students: beside images of the user's own it may have published data."""
    published = info["data"] == "own" and not str(student.get("dataset", "images_")).startswith("images_")
    return {"data": "full"} if published else info


def _other_data(ours: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What is wrong with the data that a student was trained on anew; "" where they are the run's."""
    if ours["data"] != new["data"]:
        return f"the run's data are {ours['data']}, and this student was trained on data that are {new['data']}."
    if ours.get("data_digest", new.get("data_digest")) != new.get("data_digest"):
        return f"the images under {new.get('data_root')} are not those of the run (their digest is another)."
    return ""
