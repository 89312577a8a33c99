import numpy as np
import pandas as pd
import pytest

from analysis.core.choice import choices, choose, choose_each, chosen_by_each_seed, framed
from analysis.core.settings import evaluations, split


def table(cells: dict[str, list[float]], students: dict[str, str] | None = None) -> pd.DataFrame:
    """One row per cell and seed; validation equals test."""
    rows = [
        {"cell": cell, "seed": seed, "val": v, "test": v, "student": f"{(students or {}).get(cell, cell)}-{seed}"}
        for cell, values in cells.items()
        for seed, v in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_a_clear_winner_stands_out_and_a_close_one_does_not():
    clear = choose(table({"a": [0.5, 0.51, 0.5], "b": [0.9, 0.91, 0.905]}), ["cell"], "val", "test")
    assert clear.best == {"cell": "b"} and clear.stands_out
    close = {"a": [0.5, 0.51, 0.5], "b": [0.9, 0.91, 0.905], "c": [0.91, 0.90, 0.9]}
    choice = choose(table(close), ["cell"], "val", "test")
    assert choice.best == {"cell": "b"} and not choice.stands_out and choice.state("open")["cell"].tolist() == ["c"]


def test_a_rival_is_as_good_where_its_interval_lies_within_the_margin():
    rows = table({"a": [0.900, 0.905, 0.91], "b": [0.899, 0.904, 0.9091], "c": [0.7, 0.7, 0.71]})
    states = [
        choose(rows, ["cell"], "val", "test", margin=margin).cells["state"].tolist() for margin in (0.1, 0.02, 1e-6)
    ]
    assert states == [["chosen", "as good", "worse"]] * 2 + [["chosen", "open", "worse"]]


def test_no_decision_reads_test():
    rng = np.random.default_rng(0)
    rows = table({str(c): rng.normal(size=4) for c in range(6)}).assign(test=rng.normal(size=24))
    rows = rows.drop(index=[3, 10])  # lost seeds, whose effect is estimated
    first = choose(rows, ["cell"], "val", "test")
    other = choose(rows.assign(test=rng.normal(size=22) * rows["cell"].astype(float)), ["cell"], "val", "test")
    assert first.best == other.best and first.cells["score"].tolist() == other.cells["score"].tolist()


def test_among_equals_hardly_a_winner_beats_any_rival():
    rng = np.random.default_rng(3)
    beaten = []
    for _ in range(150):
        rows = table({str(c): [0.0] * 3 for c in range(8)})
        noise = np.repeat(np.exp(0.5 * rng.normal(size=8)), 3)  # cells differ in it
        luck = 3 * rng.normal(size=3)[rows["seed"]] + noise * rng.normal(size=24)  # moves validation and test alike
        rows["val"], rows["test"] = luck + 0.5 * rng.normal(size=24), luck
        choice = choose(rows, ["cell"], "val", "test")
        beaten.append(len(choice.ties) < len(choice.rivals))
    assert np.mean(beaten) < 0.1  # 5 %, the choice by shared luck included, and three standard errors


def test_the_choice_is_made_on_validation_alone():
    rows = table({"a": [0.5, 0.6, 0.5], "b": [0.7, 0.8, 0.9]})
    rows["val"] = 1 - rows["test"]
    choice = choose(rows, ["cell"], "val", "test")
    assert choice.best == {"cell": "a"} and choice.rivals["difference"].iloc[0].mean < 0 and not choice.stands_out


def test_cells_of_the_same_students_do_not_rival_each_other():
    same = table({"a": [0.9, 0.9, 0.91], "b": [0.9, 0.9, 0.91], "c": [0.1, 0.1, 0.11]}, students={"b": "a"})
    choice = choose(same, ["cell"], "val", "test")
    assert len(choice.rivals) == 1 and choice.stands_out


def test_a_survivor_of_a_lucky_seed_does_not_win():
    choice = choose(table({"a": [0.9, 0.5, 0.51], "survivor": [0.85]}), ["cell"], "val", "test")
    assert choice.best == {"cell": "a"} and not choice.stands_out
    steady = choose(table({"a": [0.6, 0.5, 0.51], "b": [0.61, 0.51, 0.52], "survivor": [0.6]}), ["cell"], "val", "test")
    assert steady.cells["cell"].tolist() == ["b", "a", "survivor"] or steady.best == {"cell": "b"}


def test_a_cell_that_leads_on_its_only_seed_wins_but_does_not_stand_out():
    choice = choose(table({"a": [0.5, 0.6, 0.6], "young": [0.9]}), ["cell"], "val", "test")
    assert choice.best == {"cell": "young"} and choice.n == 1 and not choice.stands_out


def test_a_choice_says_of_every_candidate_how_it_stands():
    rows = table({"a": [0.9, 0.91, 0.905], "b": [0.5, 0.51, 0.505], "c": [0.901, 0.909, 0.906]})
    choice = choose(rows, ["cell"], "val", "test")
    assert choice.cells["cell"].tolist() == ["c", "a", "b"] and choice.cells["state"].tolist() == [
        "chosen",
        "open",
        "worse",
    ]
    assert choice.cells["score"].is_monotonic_decreasing and choice.n == 3
    b = choice.cells.iloc[2]
    assert b["difference"].mean == pytest.approx(0.4003, abs=1e-3) and b["low"] < b["difference"].mean < b["high"]
    assert choice.by_seed("test").tolist() == [0.901, 0.909, 0.906]


def test_a_second_metric_breaks_ties_of_the_first():
    rows = table({"a": [0.0, 0.0], "b": [0.0, 0.0]}).assign(bits=[0.9, 0.9, 0.5, 0.5])
    assert choose(rows, ["cell"], ("val", "-bits"), "test").best == {"cell": "b"}
    assert choose(rows, ["cell"], ("val", "bits"), "test").best == {"cell": "a"}


def test_nothing_measured_is_no_choice():
    rows = table({"a": [0.5, np.nan]}).assign(test=np.nan)
    assert (
        choose(rows, ["cell"], "val", "test") is None
        and choose_each(rows, "cell", ["seed"], by="val", report="test") == {}
    )


def test_settings_are_never_mixed_and_each_has_its_own_choice():
    rows = pd.concat([table({"a": [0.5, 0.6], "b": [0.7, 0.8]}).assign(network=n) for n in ("mlp", "cnn")])
    rows = rows.assign(status="done", step=1, student=rows["student"] + rows["network"])
    rows.loc[rows["network"] == "cnn", ["val", "test"]] *= -1
    settings = split(rows, rows, ["cell"], {"cell": ["a", "b"], "network": ["cnn", "mlp"], "seed": [0, 1]})
    assert [s.axes for s in settings] == [{"network": "cnn"}, {"network": "mlp"}]
    found = choices(settings, ["cell"], by="val", report="test")
    assert {setting.name: choice.best["cell"] for setting, choice in found.items()} == {"cnn": "a", "mlp": "b"}
    assert list(found) == settings
    framed_here = [(frame["network"], frame["cell"]) for frame in framed(found) if frame["state"] == "chosen"]
    assert framed_here == [("cnn", "a"), ("mlp", "b")] and framed([]) == []
    heard = choices(settings, ["cell"], lambda students: students[students["cell"] == "a"], by="val", report="test")
    assert {choice.best["cell"] for choice in heard.values()} == {"a"}


def test_a_student_that_failed_has_no_history_though_it_was_measured_before():
    rows = pd.DataFrame(
        [
            ("a", 0, 1, "running"),
            ("a", 0, 2, "failed"),
            ("b", 1, 1, "running"),
            ("b", 1, 2, "failed"),
            ("b", 1, 2, "done"),
        ],
        columns=["student", "seed", "step", "status"],
    )
    assert evaluations(rows)[["student", "step"]].to_numpy().tolist() == [["b", 1], ["b", 2]]


def test_each_seed_chooses_for_itself_and_takes_the_mean_of_cells_that_are_alike():
    found = table({"a": [0.5, 0.9], "b": [0.8, 0.9], "c": [0.1, 0.2]}).assign(other=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert chosen_by_each_seed(found, "val", "other").to_dict() == {0: 3.0, 1: 3.0}
