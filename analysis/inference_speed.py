# %% [markdown]
# # Which way to answer with a trained network is the fastest that loses nothing?

# %%
from analysis.core import report

run = report.open("inference_speed")

# %%
run.show(run.students[["technique", "batch_size", "threads", "seed", "latency_ms", "speedup", "test_accuracy", "test_agreement", "max_difference", "make_seconds", "busy_share", "memory_mib", "size_bytes"]])

# %%
run.close(["x", "y"])
