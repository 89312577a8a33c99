"""Live progress: a bar on a terminal, plain lines elsewhere. Everything goes to stderr; stdout is for the result."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class Reporter:
    """Students done, best so far, time left. Knows nothing of what it counts."""

    def __init__(self, total: int, done: int, metric: str, mode: str, every: float = 15.0) -> None:
        self.total, self.at_start, self.done, self.metric = total, done, done, metric
        self.better = max if mode == "max" else min
        self.best: float | None = None
        self.work = 0.0  # students' worth of training since the start, finished or not
        self.start = self.last = time.monotonic()
        self.every = every
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("students {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(),
                TextColumn("{task.fields[note]}"),
                console=self.console,
            )
            self.task = self.bar.add_task("", total=total, completed=done, note="")
            self.bar.start()

    def update(self, done: int, work: float, best: float | None) -> None:
        """done: students finished in all; work: fractions of students trained since the last call."""
        self.done, self.work = done, self.work + work
        if best is not None:
            self.best = best if self.best is None else self.better(self.best, best)
        if self.bar:
            self.bar.update(self.task, completed=done, note=self.note())
        elif time.monotonic() - self.last > self.every or done == self.total:
            self.last = time.monotonic()
            self.say(f"students {done}/{self.total}  {self.note()}")

    def note(self) -> str:
        parts = [] if self.best is None else [f"best {self.metric} {self.best:.4f}"]
        elapsed, left = time.monotonic() - self.start, self.total - self.at_start - self.work
        if self.work > 0.05 * (self.total - self.at_start) and left > 0:  # before that the guess would be wild
            parts.append(f"about {duration(elapsed * left / self.work)} left")
        return "  ".join(parts)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def restart_clock(self) -> None:
        """What went before was preparation, not training."""
        self.start = time.monotonic()

    def close(self) -> None:
        if self.bar:
            self.bar.stop()


def duration(seconds: float) -> str:
    """60 -> "1 min"; 5 -> "5 s"; 7300 -> "2 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
