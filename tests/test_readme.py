"""Every command of README.md and docs/: those of studies make a plan, those of make exist, those of pages are understood."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from analysis import board, compare
from analysis.core import records, report
from studies.harness.command import run

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
TOLD = [
    (page, command)
    for page in PAGES
    for text in [(ROOT / page).read_text()]
    for command in dict.fromkeys([*re.findall(r"^    (.+)$", text, re.M), *re.findall(r"`([^`\n]+)`", text)])
]
"""Indented lines and what stands between backquotes, by page."""


def commands(begins):
    found = [(page, shlex.split(command, comments=True)) for page, command in TOLD if re.match(begins, command)]
    assert found
    return [pytest.param(words, id=f"{page}: {' '.join(words)}") for page, words in found]


@pytest.mark.parametrize("words", commands(r"(python|ray submit cluster.yaml|.venv/bin/python) studies/[a-z]\w+\.py"))
def test_a_command_of_a_study_makes_a_plan(words, monkeypatch, tmp_path, capsys):
    """As on a machine with four GPUs; a run that it names is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("studies.harness.machine.gpus", lambda: ["one"] * 4)
    monkeypatch.setattr("studies.harness.machine.available_cores", lambda: 8)
    at = next(i for i, word in enumerate(words) if word.startswith("studies/"))
    study = importlib.import_module(f"studies.{Path(words[at]).stem}").STUDY
    given = [word for word in words[at + 1 :] if word != "--dry-run"]
    if "--help" in given:
        with pytest.raises(SystemExit) as end:
            run(study, given)
        assert end.value.code == 0
        return
    place = [] if "--storage" in given else ["--storage", str(tmp_path)]
    variant = [] if {"--data", "--data-root"} & {*given} else ["--data", "sample"]
    code = run(study, [*given, *variant, *place, "--dry-run"])
    told = capsys.readouterr().err
    if "--form" in given:
        assert code == 0 and "an empty form is in" in told
    elif {"--resume", "--extend"} & {*given}:
        assert code == 2 and "no run" in told
    else:
        assert code == 0 and "\nplan " in told, told


@pytest.mark.parametrize("words", commands(r"make \w+"))
def test_a_command_of_make_is_one(words):
    assert subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("words", commands(r"(python|.venv/bin/python) analysis/[a-z]\w+\.py"))
def test_a_command_of_a_page_is_understood(words, monkeypatch, tmp_path, capsys):
    """It names a run that is not there, in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "fetched", lambda *about: pytest.skip("in an object store"))
    page = ROOT / words[1]
    assert page.is_file() and report.main(page.stem, page, words[2:]) == 2
    assert "no run" in capsys.readouterr().err


@pytest.mark.parametrize("words", commands(r"python -m analysis\.\w+"))
def test_a_command_of_the_tools_is_one(words):
    assert words[2] in {tool.__name__ for tool in (board, compare)}
