"""One trained network, answered with by many techniques: how fast, how large, how right. Needs no torch.

networks   what is trained: the network itself, a pruned one, a smaller distilled one
runtimes   how a technique makes its files of a network, and answers with them
profiling  what a call is made of
server     a process of one technique that is kept alive and answers when it is its turn
making     what is made once, and kept by content
pack       the study's trainable: lets the techniques take turns
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from trainables.core.files import DataError
from trainables.core.limits import above, at_least, between, checked, one_of
from trainables.core.nets import PRETRAINED

EXTRA = "inference"


@dataclass(frozen=True)
class Technique:
    """How a network answers. runtime: who computes. network: "whole", "pruned" or "small", see `networks`. memory_format: of its
    weights and images. fused: batch normalisation folded into convolutions. needs: packages beside torch, by the names of their
    modules. compiles: whether it calls a C++ compiler. gpu: whether it needs an NVIDIA GPU. made: whether it has files to make; made_from: the
    technique whose files they are made from."""

    words: str
    runtime: str
    network: str = "whole"
    channels_last: bool = False
    fused: bool = False
    precision: str = "fp32"
    needs: tuple[str, ...] = ()
    compiles: bool = False
    gpu: bool = False
    made: bool = False
    made_from: str = ""


ONNX = ("onnx", "onnxscript", "onnxruntime")
OPENVINO = ("openvino",)
TECHNIQUES: dict[str, Technique] = {
    "eager": Technique("PyTorch eager", "torch"),
    "allocator": Technique("freed memory kept", "torch"),
    "channels_last": Technique("channels last", "torch", channels_last=True),
    "fused": Technique("conv-bn fused + channels last", "torch", channels_last=True, fused=True),
    "jit": Technique("traced and frozen", "jit", channels_last=True),
    "bf16": Technique("bf16 + fused + channels last", "torch", channels_last=True, fused=True, precision="bf16"),
    "compile": Technique("torch.compile, frozen", "compile", channels_last=True, compiles=True),
    "aot": Technique("AOTInductor package", "aot", channels_last=True, compiles=True, made=True),
    "pruned": Technique(
        "pruned + fused + channels last", "torch", "pruned", channels_last=True, fused=True, needs=("torch_pruning",)
    ),
    "small": Technique("small distilled network", "torch", "small", channels_last=True),
    "onnx": Technique("ONNX Runtime", "onnx", needs=ONNX, made=True),
    "onnx_int8": Technique("ONNX Runtime int8", "onnx", precision="int8", needs=ONNX, made=True, made_from="onnx"),
    "openvino": Technique("OpenVINO fp32", "openvino", needs=OPENVINO, made=True),
    "openvino_default": Technique(
        "OpenVINO default", "openvino", precision="default", needs=OPENVINO, made=True, made_from="openvino"
    ),
    "openvino_int8": Technique(
        "OpenVINO int8", "openvino", precision="int8", needs=(*OPENVINO, "nncf"), made=True, made_from="openvino"
    ),
    "pruned_onnx": Technique("pruned + ONNX Runtime", "onnx", "pruned", needs=(*ONNX, "torch_pruning"), made=True),
    "pruned_onnx_int8": Technique(
        "pruned + ONNX Runtime int8",
        "onnx",
        "pruned",
        precision="int8",
        needs=(*ONNX, "torch_pruning"),
        made=True,
        made_from="pruned_onnx",
    ),
    "fp16": Technique("fp16 + fused + channels last", "torch", channels_last=True, fused=True, precision="fp16"),
    "dynamic_int8": Technique("PyTorch dynamic int8", "dynamic"),
    "fx_int8": Technique("PyTorch FX static int8", "fx", precision="int8", made=True),
    "onnx_dynamic_int8": Technique(
        "ONNX Runtime dynamic int8", "onnx", precision="dynamic", needs=ONNX, made=True, made_from="onnx"
    ),
    "onnx_cuda": Technique("ONNX Runtime CUDA", "onnx_cuda", needs=ONNX, gpu=True, made=True, made_from="onnx"),
    "tensorrt": Technique(
        "TensorRT fp16",
        "tensorrt",
        precision="fp16",
        needs=("onnx", "onnxscript", "tensorrt"),
        gpu=True,
        made=True,
        made_from="onnx",
    ),
}
BASELINE = "eager"
ON_CPU_ALONE = ("allocator", "jit", "aot", "onnx", "openvino", "dynamic", "fx")  # runtimes, and allocator


def needs_cpu(technique: str) -> bool:
    """Whether a technique is one of a CPU, and not of a GPU."""
    t = TECHNIQUES[technique]
    return technique in ON_CPU_ALONE or t.runtime in ON_CPU_ALONE


@dataclass(frozen=True)
class Config:
    """One technique at one size of batch.

    network, weights: as `core.pretrained.build` has them; run:RUN/STUDENT is a network that is trained already and taken as it is,
    any other weights are what fine-tuning starts from. resolution: side of the images in pixels. train_size: images that
    fine-tuning, distillation and calibration see; val_size, test_size: images that choose and report. passes: of fine-tuning over
    them. kept: share of the channels that pruning leaves. technique: of TECHNIQUES. batch_size: images of one call. threads: of the
    process. rounds: turns of each technique. seed: the order in which techniques take their turns; 0 is profiled too.
    """

    network: Annotated[str, one_of(*PRETRAINED)]
    weights: str
    resolution: Annotated[int, at_least(32)]
    train_size: Annotated[int, above(0)]
    val_size: Annotated[int, above(0)]
    test_size: Annotated[int, above(0)]
    passes: Annotated[int, above(0)]
    kept: Annotated[float, between(0, 1, "(]")]
    threads: Annotated[int, above(0)]
    rounds: Annotated[int, above(0)]
    technique: Annotated[str, one_of(*TECHNIQUES)]
    batch_size: Annotated[int, above(0)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler() -> str | None:
    """The C++ compiler that torch's inductor would call, as far as one is there."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


def check(configs: Iterable[Config], gpu: bool) -> None:
    """DataError, in one line, where this machine lacks what a technique needs. gpu: whether torch sees an NVIDIA GPU."""
    configs = list(configs)
    asked = list(dict.fromkeys(c.technique for c in configs))
    absent = {name: [p for p in TECHNIQUES[name].needs if importlib.util.find_spec(p) is None] for name in asked}
    on_gpu = [name for name in asked if TECHNIQUES[name].gpu]
    compiled = [name for name in asked if TECHNIQUES[name].compiles]
    if on_gpu and not gpu:
        left = [name for name in asked if name not in on_gpu]
        raise DataError(f"{_both(on_gpu)} an NVIDIA GPU, and torch sees none here{_without(left)}")
    if lacking := [name for name in asked if absent[name]]:
        packages = ", ".join(dict.fromkeys(p for name in lacking for p in absent[name]))
        left = [name for name in asked if name not in lacking]
        extra = (
            f"pip install 'stillroom[{EXTRA}]'"
            if any(p != "tensorrt" for n in lacking for p in absent[n])
            else "pip install tensorrt"
        )
        raise DataError(f"{_both(lacking)} an extra ({packages}): {extra}{_without(left)}")
    if compiled and compiler() is None:
        left = [name for name in asked if name not in compiled]
        raise DataError(
            f"{_both(compiled)} a C++ compiler, and there is neither g++ nor clang++: install one{_without(left)}"
        )
    most = max((c.threads for c in configs), default=1)
    if most > cores():
        raise DataError(
            f"threads {most}: this machine has {cores()} for this process; give --threads {cores()} or less"
        )


def _both(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]} need" if len(names) > 1 else f"{names[0]} needs"


def _without(left: list[str]) -> str:
    return f"; or --technique {' '.join(left)}" if left else ""
