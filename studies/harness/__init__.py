"""Runs studies: the command line, packing, Ray Tune or this process, rows, progress, resume. The only place with Ray."""

from studies.harness.command import main
from studies.harness.study import Preset, Study, grid, loguniform, uniform
from trainables.core.limits import above, at_least, between, count_or_all, one_of

__all__ = [
    "Preset", "Study", "above", "at_least", "between", "count_or_all", "grid", "loguniform", "main", "one_of", "uniform",
]  # fmt: skip
