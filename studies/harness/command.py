"""What `python studies/X.py` does: exit codes, and errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
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
    try:
        options = parse(study, words)
        return Run(study, options, words).go()
    except InputError as error:
        say(f"{study.name}: {error}")
        return 2
    except KeyboardInterrupt:
        say(f"{study.name}: interrupted before any training")
        return INTERRUPTED
