"""What this machine is and which code runs on it, for the plan and for run.json."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Names of the CUDA devices."""
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def gpu_memory(count: int) -> int:
    """Bytes that are free on the fullest of the first `count` CUDA devices, once this process has given back what it only keeps."""
    import torch

    torch.cuda.empty_cache()
    return min(torch.cuda.mem_get_info(i)[0] for i in range(count))


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    git, ours = ["git", "-C", str(root)], ["studies", "trainables", "analysis", "pyproject.toml"]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = [*git, "status", "--porcelain", "--", *ours]  # files that git does not know, too
        changed = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed.strip() else "")


def versions() -> dict[str, str]:
    packages = ("torch", "ray", "optuna", "numpy", "pandas", "pyarrow")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
