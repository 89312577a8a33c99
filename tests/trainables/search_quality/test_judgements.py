"""The user's own judgements: what is wrong in a file is said with its line, and a student is named by what the file says."""

import numpy as np
import pytest

from studies.harness.command import run
from studies.search_quality import STUDY
from trainables.search_quality import judgements as j

HEAD = "query,engine,rank,url,grade,assessor"
GOOD = ["q,google,1,https://a.example,3,ann", "q,yandex,1,https://b.example,2,ann"]


def written(path, *lines, head=HEAD):
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return str(path)


BAD = {
    "line 1: no column grade": ("query,engine,rank,url,assessor", ["q,google,1,u,ann"]),
    "line 3: unknown engine 'bing'; allowed: google and yandex": (HEAD, [GOOD[0], "q,bing,1,u,1,ann"]),
    "line 4: a second grade of 'ann' for google rank 1": (HEAD, [*GOOD, GOOD[0]]),
    "line 4: google rank 1 of 'q' has another url than in line 2: duplicate rank": (
        HEAD,
        [*GOOD, "q,google,1,c,3,ben"],
    ),
    "has results of one engine only: none of yandex": (HEAD, GOOD[:1]),
    "line 2: grade '5' is off the scale; allowed: 0 to 4": (HEAD, ["q,google,1,u,5,ann"]),
    "line 2: grade '2.5' is off the scale": (HEAD, ["q,google,1,u,2.5,ann"]),
    "line 2: rank 'first'; allowed: a whole number from 1": (HEAD, ["q,google,first,u,3,ann"]),
    "line 3: url is blank": (HEAD, [GOOD[0], "q,yandex,1, ,3,ann"]),
    "line 2: 5 fields, not the 6": (HEAD, ["q,google,1,u,3"]),
    "yandex has no rank 1, but later ones": (HEAD, [GOOD[0], "q,yandex,2,u,3,ann"]),
    "has no judgement": (HEAD, []),
    "is no line of a CSV file": (HEAD, ['q,google,1,"u,3,ann']),
}


@pytest.mark.parametrize("said", BAD)
def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path, capsys, said):
    head, lines = BAD[said]
    file = written(tmp_path / "mine.csv", *lines, head=head)
    assert run(STUDY, ["--task", "pvalue", "--judgements", file, "--dry-run"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and said in error[0] and f"--judgements {file}" in error[0]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\n\n#only a comment\n", None])
def test_what_is_no_text_is_one_line(tmp_path, capsys, content):
    file = tmp_path / "mine.csv"
    if content is not None:
        file.write_bytes(content)
    assert run(STUDY, ["--task", "pvalue", "--judgements", str(file), "--dry-run"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_grades_stand_where_they_belong_whatever_the_order_of_lines_and_columns(tmp_path):
    lines = [*GOOD, "q,google,2,https://c.example,0,ben", "r,Yandex,1,d,4,ben", "r,GOOGLE,1,e,1,ben"]
    found = j.read(written(tmp_path / "a.csv", *lines))
    assert found.queries == ("q", "r") and found.assessors == ("ann", "ben")
    assert found.grades[0, 0, 0, 0] == 3 and found.grades[1, 1, 0, 1] == 4 and np.isnan(found.grades[0, 0, 0, 1])
    assert np.isnan(found.grades[0, :, 1]).all()  # yandex has no second result of q: it is not compared
    turned = [",".join(reversed(line.split(","))) for line in reversed(lines)]
    other = j.read(written(tmp_path / "b.csv", "# a comment", *turned, head=",".join(reversed(HEAD.split(",")))))
    assert sorted(map(str, other.lines())) == sorted(map(str, found.lines()))


def test_a_file_is_called_by_its_name_and_what_it_says_and_a_run_keeps_what_it_said(tmp_path, cache):
    def stamp(folder, *lines):
        (tmp_path / folder).mkdir(exist_ok=True)
        return STUDY.axes["judgements"].parse("judgements", [written(tmp_path / folder / "mine.csv", *lines)])

    (first,) = stamp("here", *GOOD)
    assert stamp("there", *GOOD) == (first,) and first.startswith("mine.csv@") and str(tmp_path) not in first
    assert j.stamped(first) == first
    before = j.read(first).lines()
    (changed,) = stamp("here", GOOD[0], "q,yandex,1,https://b.example,1,ann")
    assert changed != first and j.read(first).lines() == before != j.read(changed).lines()
    config = {name: axis.values[0] for name, axis in STUDY.axes.items()} | {"judgements": first}
    assert STUDY.canonical({**config, "task": "pvalue"})["judgements"] == first
    assert STUDY.canonical({**config, "task": "metrics"})["judgements"] == "example"  # of another task it plays no part
    kept = j._kept(first[-12:])
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(j.JudgementsError, match="is damaged"):
        j.read(first)
    kept.unlink()
    with pytest.raises(j.JudgementsError, match="not in the cache any more"):
        j.read(first)


def test_what_would_not_fit_into_memory_and_homes_that_nobody_has_are_refused_in_one_line(tmp_path):
    crowd = [f"q{n},google,1,https://a.example,1,a{n}" for n in range(4000)]
    with pytest.raises(j.JudgementsError, match="more than 20,000,000"):
        j.read(written(tmp_path / "crowd.csv", *crowd))
    with pytest.raises(j.JudgementsError, match="no such path"):
        j.read("~nobody-at-all/mine.csv")


def test_a_task_takes_its_own_grids_alone():
    for task in STUDY.goals:
        grids = STUDY.grids("course", "full", {"task": (task,)})
        assert grids == [g for g in STUDY.grids("course", "full", {}) if g["task"] == (task,)] and grids
    both = STUDY.grids("course", "full", {"task": ("labels", "pvalue"), "seed": (0,)})
    assert {g["task"] for g in both} == {("labels",), ("pvalue",)} and {g["seed"] for g in both} == {(0,)}


def test_the_form_is_empty_and_once_filled_in_is_read(tmp_path, capsys):
    path = tmp_path / "form.csv"
    assert run(STUDY, ["--form", str(path)]) == 0
    assert run(STUDY, ["--form", str(path)]) == 2  # what is there is not written over
    capsys.readouterr()
    text = path.read_text()
    with pytest.raises(j.JudgementsError, match="line 5: query is blank"):
        j.read(str(path))
    filled = [
        f"cats{line[:-2]}https://{n}.example,{n % 5},ann" if line.startswith(",") else line
        for n, line in enumerate(text.splitlines())
    ]
    path.write_text("\n".join(filled))
    assert j.read(str(path)).grades.shape == (1, 2, 10, 1)


def test_the_example_says_that_it_is_one():
    assert j._content(j.EXAMPLE).decode().startswith("# EXAMPLE, made up")
    found = j.read(j.EXAMPLE)
    assert len(found.queries) > 1 and len(found.assessors) > 1 and np.isfinite(found.grades).all()
    assert all(".example/" in line["url"] for line in found.lines())  # addresses that cannot exist
