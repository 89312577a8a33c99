"""Runs that lie in an object store are drawn where no Ray and no torch are."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from analysis.core import records, report

PAGE = Path(__file__).parents[3] / "analysis" / "mnistm_kd.py"


@pytest.fixture
def stored(made_up_run, tmp_path, s3):
    """A run and its copy in an object store: (folder, URI)."""
    run = made_up_run(tmp_path / "here", lambda view, labels, t, w, seed: 0.6 + 0.1 * w + 0.01 * seed)
    pafs.copy_files(str(run), f"{s3.bucket}/results/mnistm_kd/made-up", pafs.LocalFileSystem(), s3.fs)
    return run, f"{s3.uri}/mnistm_kd/made-up"


def test_what_is_fetched_reads_as_what_lies_there(stored, tmp_path, s3):
    run, uri = stored
    for key in ("tune/x/checkpoint_0/state.pt", "weights/a.pt", "../rows/evil.parquet", ".hidden/x.parquet"):
        with s3.fs.open_output_stream(f"{s3.bucket}/results/mnistm_kd/made-up/{key}") as stream:
            stream.write(b"no table")
    outside = tmp_path / "outside"
    outside.write_text("mine")
    to = tmp_path / "copy" / "made-up"
    to.mkdir(parents=True)
    (to / "run.json").symlink_to(outside)
    copy = records.fetched(uri, to)
    assert records.read(copy).equals(records.read(run)) and records.info(copy) == records.info(run)
    assert records.students(copy).equals(records.students(run))
    assert outside.read_text() == "mine", "a link in the copy's place is not followed"
    assert {path.name for path in copy.iterdir()} == {path.name for path in run.iterdir()}
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["made-up"]


@pytest.mark.parametrize("uri", ["s3://students/results/mnistm_kd/none", "s3://no-such-bucket/a", "nonsense://a/b"])
def test_what_is_no_run_is_one_line(stored, tmp_path, capsys, uri):
    assert report.main("mnistm_kd", PAGE, [uri, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.faults
def test_a_page_of_a_run_in_a_store_lies_beside_its_rows(stored, s3, capsys):
    _, uri = stored
    assert report.main("mnistm_kd", PAGE, [uri]) == 0
    assert f"Report: {uri}/report.html" in capsys.readouterr().out
    found = {f.path: f.size for f in s3.fs.get_file_info(pafs.FileSelector(uri[5:], recursive=True)) if f.is_file}
    assert found[f"{uri[5:]}/report.html"] > 10**5 and found[f"{uri[5:]}/report.ipynb"] > 0
    assert sum(path.endswith(".png") for path in found) > 2
