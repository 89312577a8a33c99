"""`--precision auto`: a new run finds out once which precision pays, and keeps it; a stopwatch is put in place of the machine's."""

import importlib
import json
from itertools import product

import pytest

from analysis.core import records
from studies.harness import needs
from studies.harness import precise as precisely
from studies.harness.arguments import parse
from studies.harness.command import run
from studies.harness.earlier import Earlier
from studies.harness.plan import Plan, cells_of
from studies.harness.run import Run
from studies.harness.study import AUTO
from trainables.core import precision
from trainables.core.nets import NETWORKS, graph

STUDIES = ("missing_digit", "mnist_kd", "mnistm_kd", "pseudo_labels", "two_teachers_kd")
TINY = [
    *("--data", "sample", "--preset", "smoke", "--precision", "auto", "--network", "mlp_30", "--temperature", "1", "--steps", "4"),
    *("--teacher-steps", "2", "--seeds", "1", "--num-cpus", "1"),
]  # fmt: skip
INLINE = ["--address", "inline", "--no-report"]


def study_of(name):
    return importlib.import_module(f"studies.{name}").STUDY


@pytest.fixture
def faster(monkeypatch):
    """Networks that bf16 makes twice as fast here, all unless it is emptied or filled; the others it makes twice as slow. All are as accurate."""
    found = set(NETWORKS)
    layers_of = {graph(name, 10): name for name in NETWORKS}

    def step_seconds(layers, shape, batch, ways, device):
        seconds = {"fp32": 0.002, "bf16": 0.001 if layers_of[tuple(layers)] in found else 0.004}
        return [seconds[name] for name, _ in ways]

    monkeypatch.setattr(precision, "instructions", lambda device: True)
    monkeypatch.setattr(precision, "EQUAL", frozenset(product(STUDIES, NETWORKS)))
    monkeypatch.setattr(precision, "step_seconds", step_seconds)
    monkeypatch.setattr(precisely, "prepare_process", lambda threads: "")
    return found


def precise(study, *words):
    """The options of a new run, and what it says of its precision."""
    options, found = timed(study, *words)
    return options, found.why


def timed(study, *words):
    options = parse(study, ["--data", "sample", *words])
    return precisely.precise(study, options, needs.data_of(study, options, {}))


def planned(study, *words):
    return Plan(study, precise(study, *words)[0], "sample")


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("pays", [True, False])
def test_the_word_is_in_no_plan_and_what_it_comes_to_is_what_the_user_might_have_named(name, pays, faster):
    study = study_of(name)
    if not pays:
        faster.clear()
    value, words = ("bf16" if pays else "fp32"), ("--seeds", "1", "--precision")
    plan = planned(study, "--seeds", "1")
    assert AUTO not in str([plan.values, plan.grids, plan.overrides, list(plan.students.values())])
    assert plan.cells == planned(study, *words, value).cells == planned(study, *words, "auto").cells
    both = planned(study, *words, "auto", "fp32").values["precision"]
    assert both == (("bf16", "fp32") if pays else ("fp32",))


def test_a_precision_that_a_preset_or_the_command_line_names_is_that(faster):
    study = study_of("mnistm_kd")
    for words in (["--precision", "fp32"], ["--preset", "smoke"]):
        assert planned(study, *words).values["precision"] == ("fp32",) and not precise(study, *words)[1]
    faster.clear()
    unlabelled = "--preset", "unlabelled"
    assert planned(study, *unlabelled).values["precision"] == ("bf16",) and not precise(study, *unlabelled)[1]
    assert planned(study, *unlabelled, "--precision", "auto").values["precision"] == ("fp32",)


@pytest.mark.parametrize("network", [["cnn_small"], ["cnn_small", "cnn"]])
def test_networks_that_disagree_or_were_not_compared_are_trained_in_fp32(network, faster, monkeypatch):
    study = study_of("mnistm_kd")
    assert planned(study, "--network", *network).values["precision"] == ("bf16",)
    faster.remove(network[-1])
    options, why = precise(study, "--network", *network)
    assert options.axes["precision"] == ("fp32",) and why.startswith("fp32: ") and all(name in why for name in network)
    faster.add(network[-1])
    monkeypatch.setattr(precision, "EQUAL", precision.EQUAL - {("mnistm_kd", network[-1])})
    options, why = precise(study, "--network", *network)
    assert options.axes["precision"] == ("fp32",) and why.endswith(f"for {network[-1]})")


def test_a_cluster_and_a_processor_without_bf16_train_in_fp32_and_nothing_is_timed(faster, monkeypatch):
    study = study_of("mnistm_kd")
    monkeypatch.setattr(precision, "step_seconds", lambda *about: pytest.fail("steps were timed"))
    options, why = precise(study, "--address", "auto", "--num-cpus", "2")
    assert options.axes["precision"] == ("fp32",) and "other machines" in why
    monkeypatch.setattr(precision, "instructions", lambda device: False)
    options, why = precise(study)
    assert options.axes["precision"] == ("fp32",) and why == "fp32 (this processor has no bf16)"


def test_the_estimate_follows_the_steps_that_were_timed(faster):
    study, seconds = study_of("mnistm_kd"), {"bf16": 0.001, "fp32": 0.002}
    for pays, value in ((True, "bf16"), (False, "fp32")):
        faster.update(NETWORKS) if pays else faster.clear()
        for words, steps in (((), 400), (("--steps", "1000"), 1000)):  # 400: the sample's
            assert timed(study, *words)[1].seconds == pytest.approx(precisely.BESIDE * steps * seconds[value])
    assert timed(study, "--precision", "fp32")[1].seconds is None
    assert timed(study_of("pseudo_labels"))[1].seconds is None, "a step of FixMatch is more than a step"
    options, found = timed(study)
    lines = Plan(study, options, "sample", seconds=found.seconds).lines()
    assert sum("from the steps timed here" in line for line in lines) == 1


def test_steps_are_timed_as_workers_take_them(faster, monkeypatch):
    study, threads, asked = study_of("mnistm_kd"), [], []
    monkeypatch.setattr(precisely, "prepare_process", threads.append)
    monkeypatch.setattr(precisely.machine, "available_cores", lambda: 6)
    monkeypatch.setattr(precision, "step_seconds", lambda *about: asked.append(about) or [1, 1])
    for words in ([], ["--address", "inline"], ["--pack", "3", "--batch-size", "64"], ["--search", "optuna"]):
        precise(study, *words)
    assert threads == [1, 6, 1, 1]
    widest = max(len(pack) for trial in planned(study, "--precision", "fp32").trials for pack in trial.packs)
    sizes = [(128, widest), (64, 3), (128, 1)]
    assert [about[2:4] for about in asked[:1] + asked[2:]] == [(b, [("fp32", n), ("bf16", n)]) for b, n in sizes]
    assert all(about[:2] == (graph("cnn_small", 10), (3, 28, 28)) for about in asked)


@pytest.mark.parametrize("pays", [True, False])
def test_a_run_has_what_was_found_in_all_it_writes_and_keeps_it_on_another_machine(pays, faster, tmp_path, capsys):
    study, where = study_of("mnist_kd"), ["--storage", str(tmp_path)]
    value = "bf16" if pays else "fp32"
    if not pays:
        faster.clear()
    assert run(study, [*TINY, *INLINE, *where]) == 0
    assert f"\nprecision {value}: mlp_30, " in capsys.readouterr().err
    faster.symmetric_difference_update(NETWORKS)
    assert run(study, ["--extend", "latest", "--seeds", "2", *INLINE, *where]) == 0
    assert run(study, ["--extend", "latest", "--precision", "auto", "--kd-weight", "0.2", *INLINE, *where]) == 0
    assert "\nprecision " not in capsys.readouterr().err
    folder = records.find_run("mnist_kd", root=tmp_path)
    rows, info = records.read(folder), json.loads((folder / "run.json").read_text())
    assert set(rows.precision) == {value} and set(rows.seed) == {0, 1} and set(rows.kd_weight) == {0.0, 0.2, 0.5}
    assert info["axes"]["precision"] == info["overrides"]["precision"] == [value] and info["status"] == "done"
    cells = {cell.student for cell in cells_of(study, {k: tuple(v) for k, v in info["axes"].items()})}
    assert set(rows.student) == cells, "named by their configs, of which the precision is one"
    assert AUTO not in str({k: v for k, v in info.items() if k not in ("axes_help", "command", "sessions")})
    resumed = Run(study, parse(study, ["--resume", "latest", *where]), [])
    assert set(resumed.plan.students) == cells and not resumed.plan.trials and not resumed.found_out


@pytest.mark.parametrize("before", ["bf16", "fp32", "older"])
def test_a_tour_is_extended_to_the_course_in_its_own_precision(before, faster):
    study = study_of("mnistm_kd")
    if before != "bf16":
        faster.clear()
    tour = planned(study, "--preset", "tour")
    info = {"axes": tour.values, "grids": tour.grids, "overrides": {} if before == "older" else tour.overrides}
    faster.symmetric_difference_update(NETWORKS)
    options = parse(study, ["--data", "sample", "--extend", "latest", "--preset", "course"])
    course = Plan(study, options, "sample", Earlier(json.loads(json.dumps(info))))
    assert {config["precision"] for config in course.students.values()} == {before if before == "bf16" else "fp32"}
    assert set(tour.students) < set(course.students)


@pytest.mark.parametrize("pays", ["large", "small", "little", "neither"])
def test_of_two_packs_on_a_gpu_the_faster_is_taken(pays, faster, monkeypatch):
    """The machine's GPU and its stopwatch are played here; what a pack asks of a real one is in tests marked gpu."""
    study, asked = study_of("mnistm_kd"), []

    def step_seconds(layers, shape, batch, ways, device):
        asked.extend(ways)
        if pays == "neither":
            raise RuntimeError("CUDA out of memory.\nA long story")
        of_small = {"large": 2, "small": 0.5, "little": 0.95}[pays]
        return [0.001, 0.001 * of_small]

    monkeypatch.setattr(precision, "step_seconds", step_seconds)
    monkeypatch.setattr(precisely.machine, "gpus", lambda: ["one"])
    monkeypatch.setattr(precisely.machine, "gpu_memory", lambda count: 100 * 2**30)
    words = ["--num-gpus", "1", "--precision", "fp32", "bf16"]
    options = parse(study, ["--data", "sample", *words])
    found = needs.data_of(study, options, {})
    most = max(len(pack) for trial in Plan(study, options, "sample").trials for pack in trial.packs)
    after, why = precisely.packed(study, options, found)
    asked_of = asked[:2] if pays == "neither" else asked
    assert asked_of == [(name, n) for name in ("fp32", "bf16") for n in (most, most // 4)][: len(asked_of)] and most > 8
    assert after.pack == (most // 4 if pays == "small" else None)
    assert why.startswith(f"of up to {after.pack or most} students") and ("CUDA out of memory." in why) == (pays == "neither")
    for more in (["--pack", "5"], ["--dry-run"], ["--per-gpu", "2"]):
        assert precisely.packed(study, parse(study, ["--data", "sample", *words, *more]), found)[1] == ""
    assert precisely.packed(study, parse(study, ["--data", "sample"]), found)[1] == "", "on CPUs the preset says it"
