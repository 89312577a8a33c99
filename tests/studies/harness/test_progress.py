"""What is said while a run is on its way."""

import time

import pytest

from studies.harness.progress import Reporter


def test_time_left_waits_for_every_kind_and_weighs_each_by_what_it_costs():
    reporter = Reporter(14, 2, {"cheap": 10, "dear": 2})
    assert reporter.left() is None
    reporter.update(12, {"cheap": 10}, {"cheap": 10.0}, "best 0.5000")
    assert reporter.left() is None  # nothing is known of the dear ones
    reporter.update(12, {"dear": 0.5}, {"dear": 50.0}, "best 0.5000")
    assert reporter.left() == pytest.approx(1.5 * 100 / 60)
    assert "left" in reporter.note() and "0.5000" in reporter.note()
    reporter.update(14, {"dear": 1.5}, {"dear": 150.0}, "best 0.5000")
    assert reporter.left() == 0 and "left" not in reporter.note() and "0.5000" in reporter.note()


def test_it_speaks_by_the_clock_where_nothing_moves_and_not_after_its_end(capsys):
    def lines(until):
        """What comes on stderr until a line begins so."""
        told, end = [], time.monotonic() + 30
        while not any(line.startswith(until) for line in told):
            assert time.monotonic() < end, told
            told += capsys.readouterr().err.splitlines()
            time.sleep(0.01)
        return told

    reporter = Reporter(4, 0, {"one": 4}, every=0.05)
    reporter.prepared("teachers", 1, 3)
    assert lines("preparing teachers 1 of 3, ")
    reporter.update(1, {"one": 1}, {"one": 1.0}, "best 0.5000")
    lines("students 1/4  ")
    first = lines("students 1/4  ")  # again, and again
    assert first and all("best 0.5000" in line for line in first)
    reporter.close()
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_the_time_left_shrinks_between_two_updates(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("studies.harness.progress.time.monotonic", lambda: clock[0])
    reporter = Reporter(10, 0, {"one": 10}, every=1e9)
    clock[0] = 100.0
    reporter.update(5, {"one": 5}, {"one": 50.0}, "")
    assert "about 2 min left" in reporter.note()
    clock[0] = 170.0
    assert "about 30 s left" in reporter.note()
    clock[0] = 300.0
    assert "about 1 s left" in reporter.note()
    reporter.close()
