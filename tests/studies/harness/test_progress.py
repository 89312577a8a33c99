"""What is said while a run is on its way."""

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
