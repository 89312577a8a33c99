"""The registry of studies: limits are the trainables' own, and students keep their names."""

import hashlib
import importlib
import itertools
from pathlib import Path

import pytest

from analysis.core.records import NO_TABLES
from studies.harness.plan import cells_of
from trainables.core import data as sources
from trainables.core.contract import Trainable
from trainables.core.limits import limits
from trainables.core.nets import summary
from trainables.inference_speed.networks import rebuilt

ROOT = Path(__file__).parents[2]
STUDIES = sorted(p.stem for p in (ROOT / "studies").glob("*.py") if p.stem != "__init__")
# Of the students of all presets, with either data. Earlier runs are resumed and extended by these names: a study that
# changes them loses its runs. A new preset, or a new value in one, adds students, and so changes its digest on purpose.
STUDENTS = {
    "cifar10_transfer": "4f4773e626944923",
    "combined_distillation": "dafe238ca9645144",
    "dataset_distillation": "a06d4920e5a7465a",
    "finetuning": "ad6164e5187bc24f",
    "forgetting": "8ede016f58b83f3d",
    "inference_speed": "cffc889c44789a78",
    "kd_gradients": "d60048e841c4aaa3",
    "metric_imbalance": "f4f259026119f6cd",
    "missing_digit": "78aab2a8651d1424",
    "mnist_kd": "f74c654dba59ff07",
    "mnistm_kd": "3d2e06e9c84cc610",
    "pairwise_logreg": "f16283d9d5010671",
    "pseudo_labels": "1be55b02a949642a",
    "repeat_copy": "237e9dd65e3bbe46",
    "scalar_quantization": "a8e05adadc4c4955",
    "search_quality": "c52791e9ed10e492",
    "two_teachers_kd": "5324334104dc63d4",
}

UNTRAINED = {"metric_imbalance", "search_quality"}  # whose students train nothing: they judge


def study_of(name):
    return importlib.import_module(f"studies.{name}").STUDY


@pytest.mark.parametrize("name", STUDIES)
def test_an_axis_has_the_very_limit_of_its_field(name):
    study = study_of(name)
    stated = limits(study.load().config_type)
    assert {axis: a.limit for axis, a in study.axes.items() if a.limit} == stated
    free = set(study.axes) - set(stated)
    assert free <= {"seed", "weights", "judgements"}, "a seed is any whole number; the others are a path or a name"


@pytest.mark.parametrize("name", STUDIES)
def test_the_values_of_a_study_are_within_its_limits(name):
    study = study_of(name)
    for preset, data in itertools.product(study.presets, ("sample", "full")):
        for axis, values in study.chosen(preset, data, {}).items():
            assert study.axes[axis].parse(axis, [str(v) for v in values]) == values


@pytest.mark.parametrize("name", STUDIES)
def test_a_trainable_keeps_the_contract(name):
    cls = study_of(name).load()
    assert issubclass(cls, Trainable) and not cls.__abstractmethods__
    assert set(study_of(name).students) - {"seed"} <= cls.may_differ, (
        "student axes are what students of a pack differ in"
    )
    assert cls.keeps_networks == (cls.networks is not Trainable.networks)


def parameters(pack):
    """How many one student of a pack trains, where all of it is trained."""
    pack = getattr(pack, "pack", pack)
    if hasattr(pack, "weights") and hasattr(pack, "newton_steps"):
        return pack.weights.shape[-1]  # of one of 45 models
    if hasattr(pack, "techniques"):
        return sum(p.numel() for p in rebuilt(pack.common.network, pack.state).parameters())
    if hasattr(pack, "database"):
        return pack.codebook(pack.configs[0]).levels.size
    students = pack.students
    if hasattr(students, "nets"):
        return sum(p.numel() for p in students.trained[0])
    if hasattr(students, "model"):
        return sum(p.numel() for p in students.model.parameters())
    return sum(p[0].numel() for p in students.parameters)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_how_its_networks_are_made_and_trained(name):
    study = study_of(name)
    cls, short = study.load(), {"teacher_steps": (1,), "generator_steps": (1,)}
    short["features"] = ("pca",)  # which drops no constant pixels
    short = {axis: values for axis, values in short.items() if axis in study.axes}
    assert {"initialisation", "loss", "optimiser", "split"} <= set(cls.method) and all(cls.method.values())
    *_, last = study.grids("smoke", "sample", short)
    config = cls.config_type(**study.canonical(cells_of(study, last)[0].config))
    assert all(text.splitlines()[-1].startswith("total ") for text in cls.described(config).values())
    if name in UNTRAINED:
        return
    datasets = {dataset: sources.load(dataset, "sample", None) for dataset in study.datasets}
    answers, _ = cls.prepare(cls.artifact(config), datasets, "cpu")
    total = next(iter(cls.described(config).values())).split()[-1]
    assert int(total.replace(",", "")) == parameters(cls([config], datasets, answers, "cpu"))


@pytest.mark.parametrize("name", STUDIES)
def test_no_table_of_a_study_stays_behind_when_a_run_is_copied_or_handed_in(name):
    assert not {*study_of(name).tables, study_of(name).artifact_table} & {*NO_TABLES}


@pytest.mark.parametrize("name", [name for name in STUDIES if any(axis.auto for axis in study_of(name).axes.values())])
def test_a_study_whose_precision_is_found_out_says_which_network_to_time(name):
    study = study_of(name)
    cls = study.load()
    assert [axis for axis, about in study.axes.items() if about.auto] == ["precision"] and "batch_size" in study.axes
    assert study.presets["smoke"].axes["precision"] == ("fp32",), "so that tests are the same on every machine"
    for cell in cells_of(study, study.chosen("smoke", "sample", {})):
        config = cls.config_type(**study.canonical(cell.config))
        assert next(iter(cls.described(config).values())) == summary(*cls.architecture(config))


@pytest.mark.parametrize("name", STUDIES)
def test_an_axis_says_what_it_means(name):
    assert all(axis.help for axis in study_of(name).axes.values())


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_part_of_a_preset_has_no_student_that_it_has_not(name):
    study = study_of(name)
    for part, preset in study.presets.items():
        for data in ("sample", "full") if preset.part_of else ():
            some, all_of_them = (
                {cell.student for grid in study.grids(which, data, {}) for cell in cells_of(study, grid)}
                for which in (part, preset.part_of)
            )
            assert some < all_of_them


@pytest.mark.parametrize("name", STUDIES)
def test_students_keep_their_names(name):
    study = study_of(name)
    students = {
        f"{preset} {data} {cell.student}"
        for preset, data in itertools.product(study.presets, ("sample", "full"))
        for grid in study.grids(preset, data, {})
        for cell in cells_of(study, grid)
    }
    digest = hashlib.sha256("\n".join(sorted(students)).encode()).hexdigest()[:16]
    assert STUDENTS.get(name) == digest, f'a new study goes into STUDENTS as "{name}": "{digest}"'
