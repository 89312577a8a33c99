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


def test_a_student_is_named_by_what_the_file_says(tmp_path):
    file = written(tmp_path / "mine.csv", *GOOD)
    config = {name: axis.values[0] for name, axis in STUDY.axes.items()} | {"task": "pvalue", "judgements": file}
    first = STUDY.canonical(config)
    assert first["judgements"].startswith(file) and j.read(first["judgements"]) == j.read(file)
    written(tmp_path / "mine.csv", *GOOD[:1], "q,yandex,1,https://b.example,1,ann")
    assert STUDY.canonical(config) != first
    with pytest.raises(j.JudgementsError, match="has changed since the run began"):
        j.read(first["judgements"])
    assert STUDY.canonical({**config, "task": "metrics"})["judgements"] == "example"  # of another task it plays no part


def test_the_form_is_empty_and_once_filled_in_is_read(tmp_path, capsys):
    path = tmp_path / "form.csv"
    assert run(STUDY, ["--form", str(path)]) == 0
    assert run(STUDY, ["--form", str(path)]) == 2  # what is there is not written over
    capsys.readouterr()
    text = path.read_text()
    with pytest.raises(j.JudgementsError, match="line 4: query is blank"):
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
