"""What a call is made of, as each runtime's own profiler tells it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from trainables.inference_speed.runtimes import Runner, Task, load

WARM = 2  # calls of a new session that are not counted


def operators(t: Task, run: Runner, images: np.ndarray, calls: int) -> tuple[list[dict], bytes]:
    """The operators of a call: name, calls and ms of each, in ms of one call; and a trace that Perfetto opens, as gzip, empty where the
    runtime leaves none."""
    runtime = t.about.runtime
    if runtime == "openvino":
        return _openvino_operators(load(t, "profiled"), images, calls), b""
    if runtime in ("onnx", "onnx_cuda"):
        return _onnx_operators(t, images, calls)
    if runtime == "tensorrt":
        return [], b""
    return _torch_operators(t, run, images, calls)


def _torch_operators(t: Task, run: Runner, images: np.ndarray, calls: int) -> tuple[list[dict], bytes]:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (t.device == "cuda")
    with profile(activities=activities) as profiler:
        for _ in range(calls):
            run(images)
    path = t.file("trace.json.gz")
    profiler.export_chrome_trace(str(path))
    on_gpu = t.device == "cuda"
    lines = [
        {
            "operator": event.key, "calls": event.count / calls,
            "ms": (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e3 / calls,
        }
        for event in profiler.key_averages()
    ]  # fmt: skip
    return [line for line in lines if line["ms"] > 0], path.read_bytes()


def _onnx_operators(t: Task, images: np.ndarray, calls: int) -> tuple[list[dict], bytes]:
    run = load(t, str(t.file("profile")))
    for _ in range(WARM + calls):
        run(images)
    text = Path(run.close()).read_bytes()  # type: ignore[attr-defined]
    found: dict[str, list[float]] = {}
    events = json.loads(text)
    warm = sorted(event["ts"] for event in events if event["name"] == "model_run")[WARM]
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= warm:
            found.setdefault(event["args"]["op_name"], []).append(event["dur"] / 1e3)
    lines = [{"operator": name, "calls": len(ms) / calls, "ms": sum(ms) / calls} for name, ms in found.items()]
    return lines, gzip.compress(text)


def _openvino_operators(run: Runner, images: np.ndarray, calls: int) -> list[dict]:
    found: dict[str, list[float]] = {}
    for _ in range(calls):
        run(images)
        for node in run.request.get_profiling_info():  # type: ignore[attr-defined]
            if node.real_time.total_seconds() > 0:
                found.setdefault(node.node_type, []).append(1e3 * node.real_time.total_seconds())
    return [{"operator": name, "calls": len(ms) / calls, "ms": sum(ms) / calls} for name, ms in found.items()]
