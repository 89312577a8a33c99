"""The plan: axes, cells, students, packs. An arithmetic toy stands in for training."""

import dataclasses
import importlib
import itertools
import json

import pytest
import toys
from toys import students_of

from studies.harness import machine, ray_adapter
from studies.harness import run as runs
from studies.harness.arguments import parse
from studies.harness.earlier import Earlier
from studies.harness.plan import Plan, cells_of, config_trials, grid_trials, packs_of
from studies.harness.students import Cell, student_hash, trial_of
from studies.harness.study import InputError, Preset, Study, grid, loguniform, uniform
from trainables.core.limits import above, one_of


def canonical(config):
    return {**config, "temperature": 1.0} if config["kd_weight"] == 0 else config


TOY = Study(
    name="toy", question="A toy.", trainable="nowhere:Nothing", metric="val_accuracy", mode="max", metrics=("val_accuracy",),
    trials={"view": grid("a", "b", limit=one_of("a", "b"))},
    students={
        "temperature": grid(1.0, 2.0, 4.0, limit=above(0), search=loguniform(1, 8)),
        "kd_weight": grid(0.0, 0.5, 1.0, search=uniform(0, 1)),
        "seed": grid(0, 1),
    },
    presets={"course": Preset("all"), "smoke": Preset("few", axes={"seed": (0,)}, sample={"temperature": (2.0,)})},
    canonical=canonical,
)  # fmt: skip
VALUES = TOY.chosen("course", "full", {})


def after(plan, **known):
    """What is known of a run of this plan, from its run.json and its tables."""
    info = {"axes": plan.values, "grids": plan.grids, "overrides": plan.overrides}
    return Earlier(json.loads(json.dumps(info)), **known)


def test_every_cell_has_a_student_and_equal_cells_share_theirs():
    cells = cells_of(TOY, VALUES)
    assert len(cells) == 2 * 3 * 3 * 2
    for a, b in itertools.combinations(cells, 2):
        assert (a.student == b.student) == (canonical(a.config) == canonical(b.config))


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_packs_hold_each_student_once_and_mix_no_trial_axis_and_no_seed(most):
    cells = cells_of(TOY, VALUES)
    packs = packs_of(TOY, students_of(TOY, cells).values(), most)
    members = [student_hash(c) for pack in packs for c in pack]
    assert sorted(members) == sorted({c.student for c in cells})
    for pack in packs:
        assert len(pack) <= most and len({(c["view"], c["seed"]) for c in pack}) == 1
    assert [len(p) for p in packs] == sorted(map(len, packs), reverse=True)


def test_an_interrupted_plan_trains_what_is_missing_and_reuses_no_name_for_other_students():
    cells = cells_of(TOY, VALUES)
    students = students_of(TOY, cells).values()
    whole = grid_trials(TOY, students, 4, set())
    done = {student_hash(c) for c in whole[0].students} | {student_hash(whole[1].students[0])}
    left = grid_trials(TOY, students, 4, done)
    assert {student_hash(c) for t in left for c in t.students} == {c.student for c in cells} - done
    names = {t.name: t for t in whole}
    assert whole[0].name not in {t.name for t in left}
    for trial in left:
        assert trial.name not in names or names[trial.name] == trial
    assert whole[1].name not in {t.name for t in left}, "a pack that lost a member is another pack"


def test_a_scheduler_gets_one_trial_per_config_with_its_seeds():
    trials = config_trials(students_of(TOY, cells_of(TOY, VALUES)).values(), set())
    for trial in trials:
        assert len(trial.packs) == 2 and len({str({**c, "seed": None}) for c in trial.students}) == 1
    assert len(trials) == len({str({**canonical(c.config), "seed": None}) for c in cells_of(TOY, VALUES)})


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with eight cores and two GPUs, 40 and 24 GiB of which are free. A student takes 1 GiB, with the view b twice that."""
    monkeypatch.setattr("studies.harness.machine.gpus", lambda: ["one", "two"])
    monkeypatch.setattr("studies.harness.machine.available_cores", lambda: 8)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda i: ((40, 24)[i] * 2**30, 80 * 2**30))
    monkeypatch.setattr(
        toys.Toy, "student_bytes", staticmethod(lambda config: (2 if config.view == "b" else 1) * 2**30)
    )
    return lambda *words: Plan(TOYS, parse(TOYS, ["--data", "full", *words]), "full")


TOYS = toys.study(seeds=40)


def test_workers_may_share_gpus(two_gpus):
    words = ["--num-gpus", "2", "--per-gpu", "3", "--pack", "1"]
    assert two_gpus(*words).workers == 6
    assert two_gpus("--num-gpus", "2").workers == 2
    with pytest.raises(InputError, match="--per-gpu 0: must be at least 1"):
        parse(TOYS, ["--per-gpu", "0"])
    for words in (["--per-gpu", "5"], ["--per-gpu", "3", "--num-cpus", "5"]):
        with pytest.raises(InputError, match="workers need a core each"):
            two_gpus("--num-gpus", "2", *words)


@pytest.mark.parametrize(
    ("per_gpu", "views", "most"), [(1, ["a"], 14), (1, ["a", "b"], 7), (3, ["a"], 4), (4, ["b"], 1)]
)
def test_a_pack_is_what_the_fullest_gpu_holds_of_the_largest_students(two_gpus, per_gpu, views, most):
    plan = two_gpus("--num-gpus", "2", "--per-gpu", str(per_gpu), "--view", *views)
    assert plan.pack == most == max(1, int(0.6 * 24 / per_gpu / (1 + ("b" in views))))
    assert any("GiB for a student" in line for line in plan.lines())
    alone = two_gpus("--num-gpus", "1", "--view", *views)  # the other GPU, which is emptier
    assert alone.pack == int(0.6 * 40 / (1 + ("b" in views)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--pack", "25"],
            "--pack 25: 25 students of the largest network take about 50 GiB, and 24 GiB of GPU memory are free",
        ),
        (["--pack", "13", "--view", "b"], "--pack 13: 13 students of the largest network take about 26 GiB"),
        (
            ["--per-gpu", "4", "--view", "b", "--pack", "4"],
            "--pack 4: 4 students .* about 8 GiB, and 6 GiB of GPU memory are free for a worker",
        ),
    ],
)
def test_what_no_gpu_holds_is_refused_before_any_work(two_gpus, monkeypatch, words, said):
    with pytest.raises(InputError, match=said):
        two_gpus("--num-gpus", "2", *words)
    monkeypatch.setattr(toys.Toy, "student_bytes", staticmethod(lambda config: 7 * 2**30))
    with pytest.raises(InputError, match="--per-gpu 4: 1 student of the largest network take"):
        two_gpus("--num-gpus", "2", "--per-gpu", "4")


def test_trials_lie_on_gpus_as_evenly_as_they_can():
    """Ray gives a trial the first GPU that has room for it."""
    for gpus, per_gpu, trials in itertools.product((1, 2, 3), (1, 2, 3, 4), range(1, 14)):
        share, load = ray_adapter.resources(gpus, per_gpu, trials)["gpu"], [0] * gpus
        for _ in range(min(trials, gpus * per_gpu)):
            first = next((i for i in range(gpus) if (load[i] + 1) * share < 1 + 1e-6), None)
            if first is not None:
                load[first] += 1
        assert max(load) == min(per_gpu, -(-trials // gpus)) and sum(load) == min(trials, gpus * max(load))


def test_names_come_from_the_students():
    assert trial_of((({"seed": 1, "x": 2},),)).name == trial_of((({"x": 2, "seed": 1},),)).name
    assert trial_of((({"seed": 1, "x": 2},),)).name != trial_of((({"seed": 1, "x": 3},),)).name


def test_presets_and_the_sample_and_the_command_line_override_in_this_order():
    assert TOY.chosen("smoke", "full", {})["seed"] == (0,)
    assert TOY.chosen("smoke", "full", {})["temperature"] == (1.0, 2.0, 4.0)
    assert TOY.chosen("smoke", "sample", {})["temperature"] == (2.0,)
    assert TOY.chosen("smoke", "sample", {"temperature": (8.0,)})["temperature"] == (8.0,)


@pytest.mark.parametrize("words", [["0"], ["-1"], ["cold"], ["inf"], ["nan"], []])
def test_a_wrong_axis_value_is_one_line_that_names_it(words):
    with pytest.raises(InputError, match="--temperature") as error:
        TOY.axes["temperature"].parse("temperature", words)
    assert "\n" not in str(error.value)


def test_axis_values_given_on_the_command_line_bound_the_search():
    assert set(TOY.searched({})) == {"temperature", "kd_weight"}
    assert TOY.searched({"temperature": (2.0, 4.0)})["temperature"].low == 2
    assert set(TOY.searched({"temperature": (2.0,)})) == {"kd_weight"}


def test_a_plan_is_the_union_of_its_grids_and_a_resumed_one_is_the_same():
    study = dataclasses.replace(
        TOY, presets={"course": Preset("two", grids=({}, {"view": ("b",), "temperature": (0.5, 1.0)}))}
    )
    options = parse(study, ["--address", "inline"])
    plan = Plan(study, options, "full")
    points = {(c.config["view"], c.config["temperature"]) for c in plan.cells}
    assert points == {(v, t) for v in "ab" for t in (1.0, 2.0, 4.0)} | {("b", 0.5)}
    assert len(plan.cells) == len(points) * 3 * 2, "no cell twice, though (b, 1) is in both grids"
    earlier = after(plan)
    resumed = Plan(TOY, parse(TOY, ["--resume", "latest"]), "full", earlier)
    assert resumed.cells == plan.cells
    extended = Plan(TOY, parse(TOY, ["--extend", "latest", "--seeds", "3"]), "full", earlier)
    assert {(c.config["view"], c.config["temperature"], c.config["seed"]) for c in extended.cells} == {
        (*point, seed) for point in points for seed in range(3)
    }


def test_extending_by_nothing_adds_what_the_preset_has_gained():
    plan = Plan(TOY, parse(TOY, ["--seeds", "1"]), "full")
    earlier = after(plan)
    grown = dataclasses.replace(TOY, presets={"course": Preset("all", grids=({}, {"temperature": (9.0,)}))})
    for study, more in ((TOY, set()), (grown, {9.0})):
        cells = Plan(study, parse(study, ["--extend", "latest"]), "full", earlier).cells
        assert {c.config["temperature"] for c in cells} == {1.0, 2.0, 4.0} | more
        assert {c.config["seed"] for c in cells} == {0}
    wider = Plan(TOY, parse(TOY, ["--extend", "latest", "--kd-weight", "0.3"]), "full", earlier)
    assert wider.overrides == {"seed": (0,)}, "what was given first still holds"
    again = Plan(grown, parse(grown, ["--extend", "latest"]), "full", after(wider))
    gained = {(c.config["view"], c.config["kd_weight"]) for c in again.cells if c.config["temperature"] == 9}
    assert gained == set(itertools.product("ab", (0.0, 0.5, 1.0))), (
        "the preset's own, not what an extension added to it"
    )
    assert {c.student for c in wider.cells} < {c.student for c in again.cells}


def test_a_preset_of_several_grids_is_their_union_and_an_override_holds_in_each():
    presets = {
        "two": Preset(
            "two grids", grids=({"view": ("a",), "temperature": (1.0,)}, {"view": ("b",), "kd_weight": (0.5,)})
        )
    }
    study = dataclasses.replace(TOY, presets=presets)
    grids = study.grids("two", "full", {"seed": (7,)})
    cells = [cell.config for values in grids for cell in cells_of(study, values)]
    assert {(c["view"], c["temperature"], c["kd_weight"], c["seed"]) for c in cells} == {
        *(("a", 1.0, w, 7) for w in (0.0, 0.5, 1.0)),
        *(("b", t, 0.5, 7) for t in (1.0, 2.0, 4.0)),
    }
    assert study.chosen("two", "full", {})["view"] == ("a", "b")


def test_students_that_train_alone_have_packs_of_one():
    study = dataclasses.replace(TOY, trains_alone=lambda config: config["view"] == "a")
    packs = packs_of(study, students_of(study, cells_of(study, VALUES)).values(), 100)
    assert {len(pack) for pack in packs if pack[0]["view"] == "a"} == {1}
    assert min(len(pack) for pack in packs if pack[0]["view"] == "b") > 1


@pytest.mark.parametrize("where", ["local", "inline", "auto"])
def test_trials_that_time_run_one_at_a_time_on_all_cores_with_all_their_students(where, monkeypatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 6)
    timed = dataclasses.replace(TOY, timed=True)
    words = ["--address", where, *(["--num-cpus", "6"] if where == "auto" else [])]
    for study, workers, cores in ((timed, 1, 6), (TOY, {"inline": 1}.get(where, 6), 1)):
        plan = Plan(study, parse(study, words), "full")
        assert (plan.workers, plan.cores) == (workers, cores)
    plan = Plan(timed, parse(timed, ["--address", where, "--num-cpus", "2"]), "full")
    assert plan.cores == 2 and plan.workers == 1
    apart = {(config["view"], config["seed"]) for config in plan.students.values()}
    assert len(plan.trials) == len(apart), "a pack for each combination of trial axes and seed"


def test_a_plan_hands_out_each_trial_once_and_then_what_was_appended():
    plan = Plan(TOY, parse(TOY, ["--seeds", "1", "--address", "inline"]), "full")
    first = plan.more()
    assert first == plan.trials and not plan.more()
    plan.add(cells_of(TOY, {**plan.values, "seed": (0, 1)}))
    second = plan.more()
    assert {c["seed"] for t in second for c in t.students} == {1} and not plan.more(), "seed 0 was there"
    names = [student_hash(c) for t in first + second for c in t.students]
    assert len(names) == len(set(names)) == plan.total and set(names) == set(plan.cells_of) == set(plan.students)
    (pack,) = first[0].packs
    halves = [trial_of((pack[:1],)), trial_of((pack[1:],))]
    plan.append(halves)
    assert plan.more() == halves and plan.total == len(names), "a pack that was split is of the same students"


def test_a_search_has_a_subspace_for_each_combination_of_what_is_not_drawn_and_plans_no_cell_before():
    plan = Plan(TOY, parse(TOY, ["--search", "optuna", "--samples", "3"]), "full")
    assert plan.subspaces() == [{"view": "a"}, {"view": "b"}] and not plan.cells and not plan.more()
    assert plan.total == 2 * 3 * 2
    for search in plan.searches():
        trial = search.trial(TOY, {"temperature": 3.0, "kd_weight": 0.0})
        assert trial.students == [{"temperature": 1.0, "kd_weight": 0.0, "seed": s, **search.fixed} for s in (0, 1)]


def test_a_run_that_goes_on_keeps_the_cells_and_students_that_its_tables_name():
    plan = Plan(TOY, parse(TOY, ["--seeds", "1"]), "full")
    raced = cells_of(TOY, {**plan.values, "temperature": (9.0,)})
    plan.add(raced)
    tables = {"cells": plan.cells, "students": plan.students}
    resumed = Plan(TOY, parse(TOY, ["--resume", "latest"]), "full", after(plan, **tables))
    assert resumed.cells == plan.cells and resumed.students == plan.students
    extended = Plan(TOY, parse(TOY, ["--extend", "latest", "--seeds", "2"]), "full", after(plan, **tables))
    assert {c.student for c in plan.cells} < {c.student for c in extended.cells}
    assert {tuple(c.config.values()) for c in raced} < {tuple(c.config.values()) for c in extended.cells}
    other = dataclasses.replace(TOY, canonical=lambda config: config)  # a version that shares no students
    resumed = Plan(other, parse(other, ["--resume", "latest"]), "full", after(plan, **tables))
    assert resumed.cells == plan.cells, "students are those of the run, not of the version"
    assert isinstance(resumed.cells[0], Cell) and {student_hash(c) for t in resumed.trials for c in t.students} == set(
        plan.students
    )


def test_options_are_what_was_typed_and_stay_so():
    options = parse(TOY, ["--seeds", "3", "--temperature", "2"])
    assert options.axes == {"temperature": (2.0,), "seed": (0, 1, 2)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.pack = 3


def mnist_plan(*words):
    study = importlib.import_module("studies.mnist_kd").STUDY
    return Plan(study, parse(study, words), "sample")


def test_a_run_says_what_its_networks_are_whoever_chooses_its_points(monkeypatch):
    wide = runs.how_made(mnist_plan("--preset", "widths"))
    assert list(wide["networks"]) == ["student: mlp_30", "teacher: mlp_1200", "student: mlp_300", "student: mlp_600"]
    assert wide["method"]["loss"].startswith("CE(y, softmax(z)) + kd_weight T^2 KL")
    convex = "--preset", "smoke", "--convention", "convex", "--search"  # where a kd_weight is at most 1
    for search in (["optuna"], ["random", "--kd-weight", "0.1", "0.9"]):
        said = runs.how_made(mnist_plan(*convex, *search))
        assert list(said["networks"]) == ["student: mlp_600", "teacher: mlp_1200"]
    monkeypatch.setattr(runs, "MOST_NETWORKS", 1)
    few = runs.how_made(mnist_plan("--preset", "widths"))["networks"]
    assert few["student: mlp_30"] == wide["networks"]["student: mlp_30"]
    assert few["3 more"].splitlines() == list(wide["networks"])[1:]
