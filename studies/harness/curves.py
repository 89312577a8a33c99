"""Curves for TensorBoard: a run of its own for each student, named after its config, with its hyperparameters. Copies of what the rows
say, for whoever likes to look at them there; nothing reads them back."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Any

from studies.harness.folder import RunFolder
from studies.harness.plan import Plan
from studies.harness.students import called
from studies.harness.study import Config


class Curves:
    """tensorboard/<config>/ in a run folder on this machine; an object store, in which a file cannot grow, gets none."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self.study, self.folder = plan.study, folder
        self.named = plan.telling
        self.file = f"events.out.tfevents.{int(time.time())}.stillroom"  # of this session
        self.begun: set[str] = set()

    def add(self, config: Config, row: Mapping[str, Any]) -> None:
        """One evaluation of a student. FolderError where it cannot be written."""
        if not self.folder.local:
            return
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import Event

        run = called(config, self.named)
        events, now = [], time.time()
        if run not in self.begun:
            types = {name: axis.type() for name, axis in self.study.axes.items()}
            experiment, _, _ = summary.hparams(types, dict.fromkeys(self.study.metrics, 0.0))
            _, start, _ = summary.hparams(config, {})
            events = [Event(wall_time=now, file_version="brain.Event:2")]
            events += [Event(wall_time=now, summary=about) for about in (experiment, start)]
            self.begun.add(run)
        measured = {name: row[name] for name in self.study.metrics if row.get(name) is not None}
        for name, value in measured.items():
            scalar = summary.Summary(value=[summary.Summary.Value(tag=name, simple_value=value)])
            events.append(Event(wall_time=now, step=row["step"], summary=scalar))
        if row["status"] == "done":
            events.append(Event(wall_time=now, summary=summary.hparams({}, {})[2]))
        self.folder.append(f"tensorboard/{run}/{self.file}", b"".join(_framed(e.SerializeToString()) for e in events))


def _framed(content: bytes) -> bytes:
    """A record of a TFRecord file: its length and itself, each with a masked checksum."""
    from tensorboardX.crc32c import crc32c

    def masked(part: bytes) -> bytes:
        crc = crc32c(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(content))
    return length + masked(length) + content + masked(content)
