"""What came out: the pages of the studies. Needs a run's Parquet files, neither torch nor Ray."""
