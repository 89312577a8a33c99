"""Live progress: a bar on a terminal, plain lines elsewhere. Everything goes to stderr; stdout is for the result."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

BEAT = 1.0  # seconds between two looks at the clock
BAR, COUNT, TIME = 20, 20, 28  # letters that parts of a line may take
PLAIN = 160  # of a line that is no terminal's


class Reporter:
    """Students done, best so far, time left. Knows nothing of what it counts.

    It speaks by the clock, in a thread of its own until `close`, for what is counted may not move for minutes. to_do: how many students of each
    kind are to be trained; kinds differ in what a student costs. every: seconds between two lines.
    """

    def __init__(self, total: int, done: int, to_do: Mapping[Any, int], every: float = 60.0) -> None:
        self.total, self.done, self.to_do = total, done, to_do
        self.before = ""  # what is done before students, in words
        self.best = ""
        self.stopped = False
        self.work: Counter = Counter()  # by kind: students' worth of training since the start, finished or not
        self.spent: Counter = Counter()  # by kind: seconds of training
        self.start = self.last = self.updated = time.monotonic()
        self.every = every
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("students {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(BAR),
                TextColumn("{task.fields[note]}"),
                console=self.console,
            )
            self.task = self.bar.add_task("", total=total, completed=done, note="")
            self.bar.start()
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._clock.start()

    def _tick(self) -> None:
        while not self._over.wait(min(BEAT, self.every)):
            # a stderr that is gone, which the run itself will meet; or counts that change as they are looked at
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                if not self.stopped:
                    self._show()

    def _show(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=self.done, note=self.note())
        elif at_once or now - self.last > self.every:
            self.last = now
            told = f"{self.before}, {duration(now - self.start)}" if self.before else f"students {self.done}/{self.total}  {self.note()}"
            self.say(told)

    @property
    def room(self) -> int:
        """Letters that a line has for the best so far."""
        return (self.console.width - BAR if self.bar else PLAIN) - COUNT - TIME

    def expect(self, total: int, to_do: Mapping[Any, int]) -> None:
        """Other counts than at the start: students were added."""
        self.total, self.to_do = total, to_do
        if self.bar:
            self.bar.update(self.task, total=total)

    def update(
        self, done: int, work: Mapping[Any, float], spent: Mapping[Any, float], best: str
    ) -> None:
        """done: students finished in all; work, spent: since the last call, fractions of students trained and seconds of
        training, by kind; best: of all so far, in words."""
        self.done = done
        self.work.update(work)
        self.spent.update(spent)
        self.best, self.before, self.updated = best, "", time.monotonic()
        self._show(at_once=done == self.total)

    def note(self) -> str:
        """Elapsed, left (which shrinks by the clock between two updates), best so far."""
        now, left = time.monotonic(), self.left()
        rest = (self.updated - self.start) * left - (now - self.updated) if left else 0
        parts = [duration(now - self.start), f"about {duration(max(rest, 1))} left" if left else "", self.best]
        return "  ".join(filter(None, parts))

    def prepared(self, what: str, count: int, total: int) -> None:
        """What comes before students: how many of so many are there. On a terminal each is said, elsewhere one in a while."""
        self.before = f"preparing {what} {count} of {total}"
        now = time.monotonic()
        if count in (0, total) or self.bar or now - self.last > self.every:
            self.last = now
            self.say(self.before + f", {duration(now - self.start)}" * bool(count))
        if count == total:
            self.before = ""

    def left(self) -> float | None:
        """The training that is left over that done so far, in seconds of training; None while a kind that is left was not seen
        yet, or so little that the guess would be wild."""
        rest = {kind: count - self.work[kind] for kind, count in self.to_do.items() if count > self.work[kind]}
        if not rest:
            return 0.0
        measured = all(self.spent[kind] and self.work[kind] for kind in rest)  # kinds that only failed were not
        if not measured or sum(self.work.values()) <= 0.05 * sum(self.to_do.values()):
            return None
        return sum(n * self.spent[kind] / self.work[kind] for kind, n in rest.items()) / sum(self.spent.values())

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def stopping(self) -> None:
        """Says, once, that the user's wish to stop was heard; a signal's handler may call it."""
        if not self.stopped:
            self.stopped = True
            with contextlib.suppress(RuntimeError):  # the signal came amid a line to stderr
                self.say("stopping  what is done is kept")

    def restart_clock(self) -> None:
        """What went before was preparation, not training."""
        self.before, self.start = "", time.monotonic()

    def close(self) -> None:
        self._over.set()
        self._clock.join(timeout=BEAT)  # so that no line comes after the last
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
