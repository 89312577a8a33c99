"""Runs studies: the command line, packing, Ray Tune or this process, rows, progress, resume. The only place with Ray."""

from studies.harness.study import Preset, Study, grid, loguniform, uniform

__all__ = ["Preset", "Study", "grid", "loguniform", "uniform"]
