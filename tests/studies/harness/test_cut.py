"""Pages of runs that were cut: every study's smoke run with the rows of some of its students only, drawn again.

`pytest -m faults tests/studies/harness/test_cut.py`
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.core import records

ROOT = Path(__file__).parents[3]
STUDIES = sorted(p.stem for p in (ROOT / "studies").glob("*.py") if p.stem != "__init__")
PLAN = ("students", "cells")  # what is planned stays whole


def cut(run, kept):
    """Leaves the rows of `kept` students, in every table that has them, and says that the run was interrupted."""
    for path in run.glob("*/*.parquet"):
        table = pq.read_table(path)
        if path.parent.name not in PLAN and "student" in table.column_names:
            left = table.filter(pc.is_in(table["student"], pa.array(kept)))
            pq.write_table(left.replace_schema_metadata({**(table.schema.metadata or {}), b"digest": records.digest(left).encode()}), path)
    for name in ("figures", "report.html", "report.ipynb"):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink(missing_ok=True)
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(records.sealed({**info, "status": "interrupted"})))


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("study", STUDIES)
def test_a_page_of_a_run_that_was_cut_is_drawn(study, tmp_path, cache):
    words = ["--preset", "smoke", "--data", "sample", "--address", "inline", "--num-cpus", "1", "--storage", str(tmp_path), "--no-report"]
    train = [sys.executable, str(ROOT / "studies" / f"{study}.py"), *words]
    subprocess.run(train, check=True, capture_output=True, timeout=280)
    whole = records.find_run(study, "latest", root=tmp_path)
    students = records.final(records.read(whole))["student"].drop_duplicates().tolist()
    said = {}
    for name, count in {"one": 1, "half": max(len(students) // 2, 1)}.items():
        run = shutil.copytree(whole, tmp_path / name / study / whole.name)
        cut(run, students[:count])
        page = [sys.executable, str(ROOT / "analysis" / f"{study}.py"), str(run)]
        done = subprocess.run(page, capture_output=True, text=True, timeout=120)
        drawn = (run / "report.html").exists() and f"{count} of {len(students)} students have results" in done.stdout
        said[name] = "" if done.returncode == 0 and drawn else f"exit {done.returncode}: {done.stdout[:300]} {done.stderr[-600:]}"
    assert said == {"one": "", "half": ""}
