"""What is made once for a technique, and kept by its content: trained networks, exported, compiled and calibrated files.

All of it is made in processes of `server`, and timed there: networks on all cores, files on one, for several are made at once.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.core.teachers import once
from trainables.inference_speed import TECHNIQUES, cores
from trainables.inference_speed.runtimes import Task, dot_products
from trainables.inference_speed.server import Server

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "torch-pruning", "tensorrt")

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Source:
    """The network that is answered with, and the images of which it, and what is made of it, is trained."""

    network: str
    weights: str
    resolution: int
    train_size: int
    passes: int


def recipe_of(task: Task) -> dict[str, Any]:
    """All that a technique's files depend on beside the network: versions, the processor that they are compiled for."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    about = TECHNIQUES[task.technique]
    mine = {name: v for name, v in versions.items() if name == "torch" or name.replace("-", "_") in about.needs}
    how = {name: getattr(about, name) for name in ("runtime", "network", "channels_last", "fused", "precision")}
    return {
        "recipe": 1, **how, "name": task.network, "resolution": task.resolution, "device": task.device, "versions": mine,
        "processor": processor(),  # int8 and bf16 are rounded otherwise on another
    }  # fmt: skip


def processor() -> str:
    """The GPU, or the processor and the vector instructions that PyTorch finds: of one name there are many."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    vectors = f"{torch.backends.cpu.get_cpu_capability()}{', VNNI' if dot_products() else ''}"
    return f"{next(names, platform.machine())}, {vectors}"


def files(task: Task, state: Arrays, calibration: np.ndarray) -> float:
    """Leaves the technique's files in the task's folder; the seconds that it took to make them and those that they are made from, when they
    were made."""
    about = TECHNIQUES[task.technique]
    if not about.made and about.runtime != "compile":
        return 0.0
    before = files(replace(task, technique=about.made_from), state, calibration) if about.made_from else 0.0
    recipe = recipe_of(task)
    if about.compiles:  # for so many threads
        recipe |= {"threads": task.threads}
    if about.runtime in ("compile", "tensorrt"):
        recipe |= {"batches": task.batch_sizes}

    def work() -> dict[str, np.ndarray]:
        np.save(task.file("calibration.npy"), calibration)
        server = Server(task if about.compiles else replace(task, threads=1))
        try:  # what torch.compile makes lies in inductor's own cache
            done = server.ask("compile" if about.runtime == "compile" else "make")
        finally:
            server.close()
            task.file("calibration.npy").unlink()
        files = {name: np.fromfile(task.file(name), np.uint8) for name in done["files"]}
        return {"seconds": np.asarray(done["seconds"]), **files}

    made = once("inference-files", recipe, {**state, "calibration": calibration}, work)
    for name, content in made.items():
        if name != "seconds":
            content.tofile(task.file(name))
    return before + float(made["seconds"])


def trained(
    what: str, source: Source, state: Arrays, images: np.ndarray, labels: np.ndarray, **how: Any
) -> dict[str, np.ndarray]:
    """A network that `networks` trains, and the seconds of that. state: of the network that it starts from, or nothing."""
    recipe = {"recipe": 1, "what": what, "network": source.network, "resolution": source.resolution, **how}

    def work() -> dict[str, np.ndarray]:
        place = Path(tempfile.mkdtemp(prefix="stillroom-"))
        try:
            np.savez(place / "images.npz", images=images, labels=labels)
            np.savez(place / "state.npz", **dict(state))  # type: ignore[arg-type]
            # `allocator`: a step of training frees and asks for far more memory than an answer
            server = Server(Task("allocator", source.network, source.resolution, (1,), cores(), "cpu", str(place)))
            try:
                seconds = server.ask("train", network=what, how=how)["seconds"]
            finally:
                server.close()
            with np.load(place / "made.npz") as made:
                return {**made, "seconds": np.asarray(seconds)}
        finally:
            shutil.rmtree(place, ignore_errors=True)

    return once("inference-network", recipe, {"images": images, "labels": labels, **state}, work)
