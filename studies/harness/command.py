"""What `python studies/X.py` does: exit codes, and errors in one line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from studies.harness.arguments import parse
from studies.harness.progress import say
from studies.harness.run import INTERRUPTED, Run
from studies.harness.study import InputError, Study


def main(study: Study, words: Sequence[str] | None = None) -> NoReturn:
    """The last line of a study's file. Ends the process with its exit code."""
    try:
        raise SystemExit(run(study, sys.argv[1:] if words is None else words))
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def run(study: Study, words: Sequence[str]) -> int:
    """Does what the words of the command line ask; the exit code."""
    with interruptible():
        try:
            options = parse(study, words)
            if study.writes_form and options.form:
                return written(study.writes_form, options.form)
            return Run(study, options, words).go()
        except InputError as error:
            say(f"{study.name}: {error}")
            return 2
        except KeyboardInterrupt:
            say(f"{study.name}: interrupted before any training")
            return INTERRUPTED


def written(write: Callable[[Path], str], path: Path) -> int:
    """Writes an empty form; the exit code."""
    try:
        say(write(path.expanduser()))
        return 0
    except (ValueError, RuntimeError) as error:
        raise InputError(str(error)) from None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, what ends a job in good order does what Ctrl-C does: SIGTERM, SIGHUP of a terminal that is closed, and SIGUSR1, which
    batch schedulers send before the end of a job's time. What was ignored before, as SIGHUP is under nohup, stays ignored."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
