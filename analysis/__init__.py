"""What came out: figures and the sentences that read them. Needs a run's Parquet files, neither torch nor Ray."""

import sys
from pathlib import Path

# `python analysis/X.py` puts this folder first on sys.path, where statistics.py would hide the standard library's.
if sys.path and sys.path[0] and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]
