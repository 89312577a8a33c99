"""Whole runs through the command line: real Ray, real training, on the shipped sample."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.dataset as ds
import pytest
import toys

from analysis.core import records

SCRIPT = Path(__file__).parents[3] / "studies" / "mnistm_kd.py"
TINY = [
    *("--data", "sample", "--preset", "smoke", "--no-report", "--seeds", "2", "--target-labels", "500"),
    *(
        "--pack",
        "3",
        "--temperature",
        "1",
        "8",
        "--kd-weight",
        "0",
        "0.5",
        "1",
        "--teacher-steps",
        "8",
        "--batch-size",
        "32",
    ),
]
SHORT, LONG = ["--steps", "8"], ["--steps", "400"]


def instead(flag, value):
    """TINY with another value of a flag."""
    return [value if before == flag else word for before, word in itertools.pairwise(["", *TINY])]


SLOWLY_TAUGHT = instead("--teacher-steps", "80")
CELL = ["student", "seed", "teacher_view", "target_labels", "temperature", "kd_weight", "steps", "step"]
METRICS = ["train_loss", "val_accuracy", "test_accuracy", "source_accuracy"]


def command(storage, *words):
    return [sys.executable, str(SCRIPT), "--storage", str(storage), *words]


def run(storage, *words):
    return subprocess.run(command(storage, *words), capture_output=True, text=True, timeout=240)


def rows(storage):
    """All rows as they lie in the files, without the reader's own removal of repetitions."""
    table = ds.dataset(records.find_run("mnistm_kd", "latest", root=storage) / "rows").to_table().to_pandas()
    assert not table.duplicated(CELL).any(), "a row is there twice"
    return table.sort_values(CELL).reset_index(drop=True)


def assert_same_rows(a, b, tolerance=1e-5):
    """Same students at the same steps, same metrics to float32 noise."""
    assert a[[*CELL, "status"]].equals(b[[*CELL, "status"]])
    for metric in METRICS:
        assert a[metric].isna().equals(b[metric].isna())
        assert ((a[metric] - b[metric]).abs().fillna(0) <= tolerance).all(), metric


def planned(storage):
    """The tables of what was planned, as they lie in the files: each student once, each cell once."""
    folder = records.find_run("mnistm_kd", "latest", root=storage)
    students, cells = (ds.dataset(folder / table).to_table().to_pandas() for table in ("students", "cells"))
    axes = [name for name in cells if name != "student"]
    assert not students.student.duplicated().any() and not cells.duplicated(axes).any()
    assert set(cells.student) == set(students.student)
    return students, cells


def start_and_wait_for_rows(storage, *words, apart=False):
    """A run under way: the process and its folder, once the first rows are there and long before the last. apart: in a session of
    its own."""
    process = subprocess.Popen(
        command(storage, *words), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=toys.hear, start_new_session=apart
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if written := list(Path(storage).glob("*/*/rows/*.parquet")):
            return process, written[0].parents[1]
        time.sleep(0.2)
    process.kill()
    pytest.fail(f"no rows: {process.communicate()[1]}")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache):
    """The rows of the long tiny run in one process, nobody disturbing it."""
    storage = tmp_path_factory.mktemp("whole")
    done = run(storage, *TINY, *LONG, "--address", "inline", "--num-cpus", "1")
    assert done.returncode == 0, done.stderr
    return rows(storage)


@pytest.mark.faults
def test_a_killed_driver_is_resumed_to_the_rows_of_an_uninterrupted_run_on_ray(uninterrupted, tmp_path):
    """Two properties in one, to start Ray once less: kill -9 loses and doubles nothing; Ray's rows are inline's rows."""
    process, folder = start_and_wait_for_rows(tmp_path, *TINY, *LONG)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    psutil.wait_procs(family, timeout=30)
    before = len(records.read(folder))
    assert 0 < before < len(uninterrupted)
    done = run(tmp_path, "--resume", "latest", "--no-report")
    assert done.returncode == 0, done.stderr
    assert_same_rows(rows(tmp_path), uninterrupted)
    assert len(planned(tmp_path)[1]) == uninterrupted[uninterrupted.status == "done"].shape[0]
    assert not list(folder.glob("tune/*/checkpoint_*")), "a finished run keeps no checkpoints"


def ended_by(number, process, folder, kill=os.kill):
    """Sends a signal; what the run said. It ends in good order, and says so in run.json."""
    kill(process.pid, number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert f"--resume {folder.name}" in said and "Traceback" not in said and "***" not in said
    assert said.count("stopping  ") == 1 and said.index("stopping  ") < said.index("interrupted ") < said.index("to go on: ")
    assert records.info(folder)["status"] == "interrupted"


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
ENGINES = {"inline": ["--address", "inline", "--num-cpus", "1"], "local": []}
IN_TRAINING = [(number, engine) for number in SIGNALS for engine in ENGINES]


@pytest.mark.parametrize(
    ("number", "engine"),
    [pytest.param(*case, marks=[pytest.mark.faults] * (case != (signal.SIGUSR1, "inline"))) for case in IN_TRAINING],
)
def test_a_signal_in_training_keeps_rows_and_the_run_goes_on_to_the_same_ones(uninterrupted, tmp_path, number, engine):
    process, folder = start_and_wait_for_rows(tmp_path, *TINY, *LONG, *ENGINES[engine])
    ended_by(number, process, folder)
    assert len(records.read(folder)) > 0
    done = run(tmp_path, "--resume", folder.name, "--no-report")
    assert done.returncode == 0, done.stderr
    assert_same_rows(rows(tmp_path), uninterrupted)


@pytest.mark.faults
def test_a_signal_to_all_processes_of_a_run_stops_it_though_ray_dies_of_it(uninterrupted, tmp_path):
    """As batch systems and `timeout` send it."""
    process, folder = start_and_wait_for_rows(tmp_path, *TINY, *LONG, apart=True)
    ended_by(signal.SIGTERM, process, folder, os.killpg)
    assert "failed" not in set(rows(tmp_path).status)
    done = run(tmp_path, "--resume", folder.name, "--no-report")
    assert done.returncode == 0, done.stderr
    assert_same_rows(rows(tmp_path), uninterrupted)


@pytest.fixture(scope="module")
def taught_for_long(tmp_path_factory):
    """The rows of a short run with teachers that take some seconds."""
    storage = tmp_path_factory.mktemp("taught")
    done = run(storage, *SLOWLY_TAUGHT, *SHORT, "--address", "inline", "--num-cpus", "1")
    assert done.returncode == 0, done.stderr
    return rows(storage)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "engine"), IN_TRAINING)
def test_a_signal_while_teachers_are_prepared_ends_in_good_order(
    taught_for_long, tmp_path, monkeypatch, number, engine
):
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))
    words = command(tmp_path, *SLOWLY_TAUGHT, *SHORT, *ENGINES[engine])
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=toys.hear
    )
    mark = {"inline": "run  ", "local": "preparing"}[engine]
    assert any(line.startswith(mark) for line in process.stderr)
    (folder,) = tmp_path.glob("mnistm_kd/*")
    time.sleep(1.5)
    ended_by(number, process, folder)
    assert not list(folder.glob("rows/*.parquet"))
    done = run(tmp_path, "--resume", folder.name, "--no-report")
    assert done.returncode == 0, done.stderr
    assert_same_rows(rows(tmp_path), taught_for_long)


BETWEEN = """
import os
import sys
from dataclasses import replace

import toys
from studies.harness import engine, ray_adapter  # before Ray itself, which it tells how to begin
from studies.harness.command import run
from studies.harness.study import uniform

import ray.tune.tune

moment, number, *words = sys.argv[1:]
toy = toys.study(seeds=2)
searched = {"temperature": uniform(1, 4), "kd_weight": uniform(0, 1)}
toy = replace(toy, students={k: replace(axis, search=searched.get(k)) for k, axis in toy.students.items()})


def hit(owner, name, call, after):
    plain, calls = getattr(owner, name), iter(range(100))

    def instead(*given, **named):
        now = next(calls) == call
        if now and not after:
            os.kill(os.getpid(), int(number))
        result = plain(*given, **named)
        if now and after:
            os.kill(os.getpid(), int(number))
        return result

    setattr(owner, name, instead)


moments = {
    "Tune begins": (ray_adapter.tune.Tuner, "fit", 1, False), "Tune listens": (ray.tune.tune, "_setup_signal_catching", 1, True),
    "Tune ends": (ray_adapter.tune.Tuner, "fit", 0, True), "between Tuners": (ray_adapter.Tuning, "_fit", 1, False),
    "between rounds": (engine.Inline, "train", 1, False),
}
if moment in moments:
    hit(*moments[moment])
sys.exit(run(toy, ["--no-report", "--num-cpus", "1", *words]))
"""
SEARCHES = ["--search", "optuna", "--samples", "3", "--scheduler", "asha"]
RACE_ON = {engine: ["--decide", "--budget", "8", "--address", engine] for engine in ENGINES}


def between(storage, moment, number, *words, **environment):
    """A run of the toy, to which a signal comes at a moment between two trainings, if any; what it wrote, sorted."""
    env = {
        **os.environ,
        **environment,
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), str(Path(__file__).parents[2])]),
    }
    command = [sys.executable, "-c", BETWEEN, moment, str(int(number)), "--storage", str(storage), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=env, preexec_fn=toys.hear)
    assert "Traceback" not in done.stderr, done.stderr
    (folder,) = Path(storage).glob("toy/*")
    key = ["view", "temperature", "kd_weight", "seed", "step"]
    table = records.read(folder)[[*key, "student", "status", "val_accuracy", "test_accuracy"]]
    return done, folder, table.sort_values(key, ignore_index=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same runs without a signal, each once."""
    known = {}

    def of(*words):
        if words not in known:
            done, _, known[words] = between(tmp_path_factory.mktemp("whole"), "never", 0, *words)
            assert done.returncode == 0, done.stderr
        return known[words]

    return of


@pytest.mark.faults
@pytest.mark.parametrize(
    ("words", "moment", "number"),
    [
        (SEARCHES, "Tune begins", signal.SIGTERM), (SEARCHES, "Tune listens", signal.SIGUSR1),
        (SEARCHES, "Tune ends", signal.SIGINT), (SEARCHES, "between Tuners", signal.SIGHUP),
        (RACE_ON["local"], "between Tuners", signal.SIGUSR1), (RACE_ON["inline"], "between rounds", signal.SIGUSR1),
        (RACE_ON["inline"], "between rounds", signal.SIGTERM),
    ],
)  # fmt: skip
@pytest.mark.timeout(900)
def test_a_signal_between_two_searches_or_rounds_ends_in_good_order(undisturbed, tmp_path, words, moment, number):
    """The handlers are now ours, now Tune's: each has its turn."""
    whole = undisturbed(*words)
    done, folder, part = between(tmp_path, moment, number, *words)
    assert done.returncode == 130 and f"--resume {folder.name}" in done.stderr, done.stderr
    assert records.info(folder)["status"] == "interrupted" and 0 < len(part) < len(whole)
    done, _, resumed = between(tmp_path, "never", 0, "--resume", folder.name)
    assert done.returncode == 0 and resumed.equals(whole), done.stderr


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_search_whose_teacher_fails_has_rows_that_say_why_and_the_others_go_on(undisturbed, tmp_path):
    done, folder, part = between(tmp_path, "never", 0, *SEARCHES, TOY_WITHOUT="b")
    assert done.returncode == 1 and "ValueError: no teacher" in done.stderr and f"--resume {folder.name}" in done.stderr
    whole, (middle,) = (
        undisturbed(*SEARCHES),
        part.loc[part["view"] == "b", ["temperature", "kd_weight"]].drop_duplicates().to_numpy(),
    )
    assert part[part["view"] == "a"].equals(whole[whole["view"] == "a"].reset_index(drop=True))
    assert set(part.loc[part["view"] == "b", "status"]) == {"failed"} and list(middle) == [2.5, 0.5]
    again, _, part = between(tmp_path, "never", 0, "--resume", folder.name, TOY_WITHOUT="b")
    assert again.returncode == 1 and len(part[part["view"] == "b"]) == 2, "asked twice is one hole"
    done, _, resumed = between(tmp_path, "never", 0, "--resume", folder.name)
    ended = resumed[resumed["status"].isin(["done", "stopped"]) & (resumed["view"] == "b")]
    assert done.returncode == 0 and ended["student"].nunique() == 6 and (ended["temperature"] == 2.5).any(), done.stderr


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_worker_that_dies_of_what_it_prepares_fails_its_students_alone(tmp_path):
    done, folder, rows = between(tmp_path, "never", 0, TOY_DEADLY="b")
    assert done.returncode == 1 and f"--resume {folder.name}" in done.stderr, done.stderr
    assert "its worker died 4 times" in done.stderr
    assert set(rows.loc[rows["view"] == "b", "status"]) == {"failed"} and "failed" not in set(
        rows.loc[rows["view"] == "a", "status"]
    )


@pytest.mark.faults
def test_damaged_checkpoints_are_set_aside_by_workers_too(uninterrupted, tmp_path):
    process, folder = start_and_wait_for_rows(tmp_path, *TINY, *LONG)
    ended_by(signal.SIGINT, process, folder)
    states = list(folder.glob("tune/*/checkpoint_*/state.pt"))
    for state in states:
        content = state.read_bytes()
        middle = len(content) // 2
        state.write_bytes(content[:middle] + bytes(16) + content[middle + 16 :])
    done = run(tmp_path, "--resume", folder.name, "--no-report")
    trials = {state.parents[1] for state in states}  # each has its last two
    assert done.returncode == 0 and trials and done.stderr.count("set aside") == len(trials), done.stderr
    assert_same_rows(rows(tmp_path), uninterrupted)


@pytest.mark.faults
def test_a_killed_worker_is_replaced_and_its_trial_goes_on(uninterrupted, tmp_path):
    process, folder = start_and_wait_for_rows(tmp_path, *TINY, *LONG)
    deadline = time.monotonic() + 60
    while not (second := list(folder.glob("rows/*-002.parquet"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    first = ds.dataset([str(path).replace("-002", "-001") for path in second]).to_table().to_pandas()
    workers = [
        p for p in psutil.Process(process.pid).children(recursive=True) if p.is_running() and "Trainable" in _title(p)
    ]
    assert workers
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    said = process.communicate(timeout=180)[1]
    assert process.returncode == 0, said
    assert_same_rows(rows(tmp_path), uninterrupted)
    clock = ["student", "step", "seconds"]
    again = rows(tmp_path)[clock].drop_duplicates().merge(first[clock].drop_duplicates(), how="inner")
    assert len(first) and len(again) == first["student"].nunique(), "trained from the start again"


def _title(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_extend_adds_seeds_and_grid_points_and_trains_only_those(tmp_path):
    inline = ["--address", "inline", "--num-cpus", "1", "--no-report"]
    assert run(tmp_path, *TINY, *SHORT, *inline).returncode == 0
    first = rows(tmp_path)
    done = run(tmp_path, "--extend", "latest", "--seeds", "3", "--temperature", "4", *inline)
    assert done.returncode == 0, done.stderr
    both = rows(tmp_path)
    assert set(both.seed) == {0, 1, 2} and set(both.temperature) == {1.0, 4.0, 8.0}
    kept = both.merge(first[["trial", *CELL]], on=["trial", *CELL])
    assert len(kept) == len(first), "what was trained is as it was"
    whole = both[both.status == "done"]
    assert len(whole) == 3 * 2 * 3 * 3, "seeds x views x temperatures x weights"


RACE = """
import sys
from studies.harness.command import run
from studies.harness.plan import Plan, cells_of
from studies.mnistm_kd import STUDY

more = Plan.more

def race(self):
    trials = more(self)
    if not trials and {cell.config["seed"] for cell in self.cells} == {0}:
        self.add(cells_of(self.study, {**self.values, "seed": (1,)}))
        trials = more(self)
    return trials

Plan.more = race
sys.exit(run(STUDY, sys.argv[1:]))
"""


def test_ray_trains_what_is_appended_to_the_plan_when_the_rest_has_ended(tmp_path):
    one_view = [*SHORT, "--teacher-view", "source"]
    race = [sys.executable, "-c", RACE, *instead("--seeds", "1"), *one_view, "--storage", str(tmp_path / "race")]
    done = subprocess.run(race, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert run(tmp_path / "whole", *TINY, *one_view, "--address", "inline", "--num-cpus", "1").returncode == 0
    assert_same_rows(rows(tmp_path / "race"), rows(tmp_path / "whole"))
    for raced, whole in zip(planned(tmp_path / "race"), planned(tmp_path / "whole"), strict=True):
        assert set(raced.student) == set(whole.student) and len(raced) == len(whole)


def test_optuna_averages_seeds_keeps_its_storage_and_resumes(tmp_path):
    import optuna

    storage = tmp_path / "a?b #c%20d=1 лампы"  # whatever a path may have
    words = [*TINY, *SHORT, "--teacher-view", "source", "--search", "optuna", "--samples", "4"]
    done = run(storage, *words)
    assert done.returncode == 0, done.stderr
    folder = records.find_run("mnistm_kd", "latest", root=storage)
    assert [path.name for path in tmp_path.iterdir()] == [storage.name], "nothing lies beside"
    url = f"sqlite:///{shutil.copy(folder / 'optuna.db', tmp_path / 'copy.db')}"
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    final = records.final(records.read(folder))
    assert len(study.trials) == 4 and len(final) == 8
    means = final.groupby(["temperature", "kd_weight"]).val_accuracy.mean()
    for trial in study.trials:
        assert trial.value == pytest.approx(means[trial.params["temperature"], trial.params["kd_weight"]])
        assert 1 <= trial.params["temperature"] <= 8 and 0 <= trial.params["kd_weight"] <= 1
    students, cells = planned(storage)
    assert set(students.student) == set(final.student) and len(cells) == len(students) == 8
    again = run(storage, "--resume", "latest", "--no-report")
    assert again.returncode == 0, again.stderr
    shutil.copy(folder / "optuna.db", tmp_path / "copy.db")
    assert len(optuna.load_study(study_name=name, storage=url).trials) == 4, "nothing was left to do"


@pytest.mark.faults
def test_an_interrupted_search_goes_on_with_other_points(tmp_path):
    import optuna

    words = [*TINY, "--steps", "200", "--teacher-view", "source", "--search", "optuna", "--samples", "6"]
    process, folder = start_and_wait_for_rows(tmp_path, *words)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=90)[1]
    assert process.returncode == 130, said
    done = run(tmp_path, "--resume", "latest", "--no-report")
    assert done.returncode == 0, done.stderr
    url = f"sqlite:///{folder}/optuna.db"
    (name,) = optuna.get_all_study_names(url)
    trials = optuna.load_study(study_name=name, storage=url).get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert len(trials) >= 6 and len({tuple(t.params.values()) for t in trials}) >= 6, "no point is paid for twice"
    final = records.final(records.read(folder))
    assert len(final[["temperature", "kd_weight"]].drop_duplicates()) >= 6
    assert set(planned(tmp_path)[0].student) >= set(final.student)


def test_asha_stops_some_configs_and_every_student_has_rows(tmp_path):
    done = run(tmp_path, *TINY, "--steps", "64", "--lr", "3e-3", "1e-5", "--scheduler", "asha")
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path)
    last = table.sort_values("step").groupby("student").last()
    assert set(last.status) <= {"done", "stopped"} and (last.status == "stopped").any()
    weak, strong = (last[last.lr == lr].step.mean() for lr in (1e-5, 3e-3))
    assert weak < strong, "the weak learning rate is stopped earlier"


def test_a_failed_student_is_listed_and_the_rest_is_kept(tmp_path):
    words = ["--address", "inline", "--num-cpus", "1", "--teacher-view", "target", "--lr", "3e-3", "1e30"]
    done = run(tmp_path, *TINY, *SHORT, *words)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    table = rows(tmp_path)
    last = table.sort_values("step").groupby([*CELL[:-1], "lr"]).last()
    assert set(last.xs(1e30, level="lr").status) == {"failed"} and set(last.xs(3e-3, level="lr").status) == {"done"}
    failed = table[table.status == "failed"]
    assert failed[METRICS].isna().all(axis=None) and failed.error.str.contains("loss").all()
    assert "failed    student" in done.stderr


@pytest.mark.faults
@pytest.mark.parametrize("engine", ["inline", "local"])
@pytest.mark.skipif(os.geteuid() != 0 or not Path("/bin/mount").exists(), reason="needs root to mount a file system")
def test_a_full_disk_is_one_line_and_the_rows_so_far_are_whole(tmp_path, engine):
    small = tmp_path / "small"
    small.mkdir()
    size = {"inline": "300k", "local": "600k"}[engine]
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)], capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        done = run(small, *TINY, *SHORT, "--address", engine)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert "the disk is full" in done.stderr and "--resume" in done.stderr
        for file in small.glob("*/*/rows/*.parquet"):
            assert records.read(file.parents[1]).shape[0] > 0
    finally:
        subprocess.run(["umount", str(small)], check=True)
