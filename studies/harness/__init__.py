"""Runs studies: the command line, packing, Ray Tune or this process, rows, progress, resume. The only place with Ray."""

from studies.harness.command import main
from studies.harness.study import Preset, Study, count_or_all, grid, loguniform, positive, uniform

__all__ = ["Preset", "Study", "count_or_all", "grid", "loguniform", "main", "positive", "uniform"]
