"""How each technique makes its files of a network, and how it answers with them.

`make` and `load` run in processes of their own (`server`), which import no more than their technique needs. A runner takes
images as they lie in memory, (B, 3, H, W) float32 in [0, 1], and returns logits, (B, classes) float32: what it takes to get
there, from one layout or device to another, is part of its time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.inference_speed import TECHNIQUES, Technique

Runner = Callable[[np.ndarray], np.ndarray]
MOST = 1024  # images of a batch that files for any size of batch must take
CALIBRATION = 256  # images that int8 ranges are found on
QUANTISED_BATCH = 16


def dot_products() -> bool:
    """Whether the processor sums products of 8 bits in 32 (VNNI). Without it an x86 sums two of them in 16 bits, where they may overflow
    unless one factor has 7 bits. True of other processors."""
    known = Path("/proc/cpuinfo")
    flags = known.read_text() if known.exists() else ""
    return "vnni" in flags or "avx" not in flags


@dataclass(frozen=True)
class Task:
    """What a process is for. network: its name; the state lies in folder/state.npz, images to calibrate on in
    folder/calibration.npy, (N, 3, H, W) float32, and the technique's files beside them. batch_sizes: those that it will be asked for."""

    technique: str
    network: str
    resolution: int
    batch_sizes: tuple[int, ...]
    threads: int
    device: str
    folder: str

    @property
    def about(self) -> Technique:
        return TECHNIQUES[self.technique]

    def file(self, name: str) -> Path:
        return Path(self.folder, name)

    def text(self) -> str:
        return json.dumps(asdict(self))


def task(text: str) -> Task:
    values = json.loads(text)
    return Task(**{**values, "batch_sizes": tuple(values["batch_sizes"])})


def make(t: Task) -> list[str]:
    """Makes the technique's files in the task's folder, where those lie that they are made from; their names."""
    about = t.about
    if about.runtime == "onnx" and about.made_from:
        return _quantise_onnx(t)
    if about.runtime == "openvino" and about.made_from:
        return _quantise_openvino(t) if about.precision == "int8" else ["model.xml", "model.bin"]
    makers = {
        "aot": _make_aot,
        "fx": _make_fx,
        "onnx": _make_onnx,
        "tensorrt": _make_tensorrt,
        "openvino": _make_openvino,
    }
    return makers[about.runtime](t) if about.runtime in makers else ["model.onnx"]


def load(t: Task, profiled: str = "") -> Runner:
    """A runner ready for its first call. profiled: where a runtime that profiles itself leaves what it found; see `profiling`."""
    makers: dict[str, Callable[..., Runner]] = {
        "torch": _eager, "dynamic": _dynamic, "jit": _jit, "compile": _compiled, "aot": _aot, "fx": _fx,
        "onnx": _onnx, "onnx_cuda": _onnx, "openvino": _openvino, "tensorrt": _tensorrt,
    }  # fmt: skip
    runtime = t.about.runtime
    return makers[runtime](t, profiled) if runtime in ("onnx", "onnx_cuda", "openvino") else makers[runtime](t)


# PyTorch


def _network(t: Task, settle: bool = False) -> Any:
    """The network as a technique has it, on the CPU in fp32."""
    import torch

    from trainables.inference_speed import networks

    with np.load(t.file("state.npz")) as state:
        model: Any = networks.rebuilt(networks.SMALL if t.about.network == "small" else t.network, state)
    about = t.about
    if about.fused or settle:
        model = networks.settled(model, t.resolution)
    if about.fused:
        model = networks.fused(model)
    return model.requires_grad_(False).to(
        memory_format=torch.channels_last if about.channels_last else torch.contiguous_format
    )


def _runner(t: Task, model: Callable[[Any], Any], dtype: str = "float32") -> Runner:
    import torch

    layout = torch.channels_last if t.about.channels_last else torch.contiguous_format
    kind = getattr(torch, dtype)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(images).to(t.device, kind, memory_format=layout)
            return model(x).float().cpu().numpy()  # .cpu() waits for a GPU

    return run


def _eager(t: Task) -> Runner:
    dtype = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[t.about.precision]
    import torch

    return _runner(t, _network(t).to(t.device, getattr(torch, dtype)), dtype)


def _dynamic(t: Task) -> Runner:
    import torch
    from torch.ao.quantization import quantize_dynamic

    return _runner(t, quantize_dynamic(_network(t), {torch.nn.Linear}, torch.qint8))


def _jit(t: Task) -> Runner:
    import torch

    layout = torch.channels_last if t.about.channels_last else torch.contiguous_format
    example = torch.zeros(t.batch_sizes[0], 3, t.resolution, t.resolution).to(memory_format=layout)
    with torch.inference_mode():
        return _runner(t, torch.jit.freeze(torch.jit.trace(_network(t), example)))


def _compiled(t: Task) -> Runner:
    """Compiled anew for every size of batch; what an earlier process compiled is found in inductor's own cache."""
    import torch
    from torch._inductor import config

    config.freezing = True
    run = _runner(t, torch.compile(_network(t).to(t.device), dynamic=False))
    for size in t.batch_sizes:
        run(np.zeros((size, 3, t.resolution, t.resolution), np.float32))
    return run


def _make_aot(t: Task) -> list[str]:
    import torch

    model, x = _network(t), torch.zeros(2, 3, t.resolution, t.resolution).to(memory_format=torch.channels_last)
    with torch.no_grad():
        program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("b", min=1, max=MOST)},))
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(t.file("model.pt2")), inductor_configs={"freezing": True}
        )
    return ["model.pt2"]


def _aot(t: Task) -> Runner:
    import torch

    return _runner(t, torch._inductor.aoti_load_package(str(t.file("model.pt2"))))


def _quantised(t: Task, calibrate: bool) -> Any:
    import torch
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    example = torch.zeros(1, 3, t.resolution, t.resolution)
    model = prepare_fx(_network(t, settle=True), get_default_qconfig_mapping("x86"), (example,))
    if calibrate:
        with torch.inference_mode():
            for part in torch.from_numpy(np.load(t.file("calibration.npy"))).split(QUANTISED_BATCH):
                model(part)
    else:
        model(example)
    return convert_fx(model)


def _make_fx(t: Task) -> list[str]:
    import torch

    torch.jit.save(
        torch.jit.trace(_quantised(t, True), torch.zeros(1, 3, t.resolution, t.resolution)), str(t.file("model.ts"))
    )
    return ["model.ts"]


def _fx(t: Task) -> Runner:
    import torch

    return _runner(t, torch.jit.load(str(t.file("model.ts"))))


# ONNX Runtime, TensorRT


def _make_onnx(t: Task) -> list[str]:
    import torch

    x = torch.zeros(2, 3, t.resolution, t.resolution)
    size = torch.export.Dim("b", min=1, max=MOST)
    torch.onnx.export(
        _network(t), (x,), str(t.file("model.onnx")), dynamo=True, input_names=["x"], output_names=["y"], dynamic_shapes=({0: size},),
        external_data=False, verbose=False,
    )  # fmt: skip
    return ["model.onnx"]


def _quantise_onnx(t: Task) -> list[str]:
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path, before = t.file("model.onnx"), t.file("plain.onnx")
    quant_pre_process(str(path), str(before), skip_symbolic_shape=False)
    if t.about.precision == "dynamic":
        q.quantize_dynamic(str(before), str(path))
        return ["model.onnx"]
    batches = np.split(
        images := np.load(t.file("calibration.npy")), range(QUANTISED_BATCH, len(images), QUANTISED_BATCH)
    )

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter([{"x": batch} for batch in batches])

        def get_next(self) -> Any:
            return next(self.left, None)

    q.quantize_static(  # activations without a sign: with one they are two to three times slower on x86
        str(before), str(path), Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
        activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8, reduce_range=not dot_products(),
    )  # fmt: skip
    return ["model.onnx"]


def _onnx(t: Task, profiled: str) -> Runner:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = t.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # see `server.ENVIRONMENT`
    if profiled:
        options.enable_profiling, options.profile_file_prefix = True, profiled
    provider = "CUDAExecutionProvider" if t.about.runtime == "onnx_cuda" else "CPUExecutionProvider"
    session = onnxruntime.InferenceSession(str(t.file("model.onnx")), options, providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError("onnxruntime has no CUDA here: pip install onnxruntime-gpu in place of onnxruntime")

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(None, {"x": images})[0]

    run.close = session.end_profiling  # type: ignore[attr-defined]
    return run


def _make_tensorrt(t: Task) -> list[str]:
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(t.file("model.onnx").read_bytes()):
        raise RuntimeError(f"TensorRT does not read the network: {parser.get_error(0)}")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    sizes = [(size, 3, t.resolution, t.resolution) for size in (1, max(t.batch_sizes), max(t.batch_sizes))]
    profile.set_shape("x", *sizes)
    config.add_optimization_profile(profile)
    config.set_flag(trt.BuilderFlag.FP16)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT built no engine")
    t.file("model.plan").write_bytes(bytes(plan))
    return ["model.plan"]


def _tensorrt(t: Task) -> Runner:
    import tensorrt as trt
    import torch

    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(t.file("model.plan").read_bytes())
    context, classes = engine.create_execution_context(), engine.get_tensor_shape("y")[-1]
    stream = torch.cuda.Stream()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.cuda.stream(stream):
            x = torch.from_numpy(images).to("cuda")
            y = torch.empty(len(images), classes, device="cuda")
            context.set_input_shape("x", tuple(x.shape))
            context.set_tensor_address("x", x.data_ptr())
            context.set_tensor_address("y", y.data_ptr())
            if not context.execute_async_v3(stream.cuda_stream):
                raise RuntimeError("TensorRT did not run")
            stream.synchronize()
            return y.cpu().numpy()

    return run


# OpenVINO


def _make_openvino(t: Task) -> list[str]:
    import openvino as ov
    import torch

    x = torch.zeros(1, 3, t.resolution, t.resolution)
    model = ov.convert_model(_network(t), example_input=x, input=[-1, 3, t.resolution, t.resolution])
    ov.save_model(model, str(t.file("model.xml")), compress_to_fp16=False)
    return ["model.xml", "model.bin"]


def _quantise_openvino(t: Task) -> list[str]:
    import nncf
    import openvino as ov

    images = np.load(t.file("calibration.npy"))
    batches = [images[i : i + QUANTISED_BATCH] for i in range(0, len(images), QUANTISED_BATCH)]
    # sums and linear bottlenecks are of both signs: activations without a zero point of their own lose three times as much
    preset = nncf.QuantizationPreset.MIXED
    model = ov.Core().read_model(str(t.file("model.xml")))
    narrow = nncf.OverflowFix.FIRST_LAYER if dot_products() else nncf.OverflowFix.ENABLE
    how = nncf.AdvancedQuantizationParameters(overflow_fix=narrow)
    model = nncf.quantize(
        model, nncf.Dataset(batches), subset_size=len(batches), preset=preset, advanced_parameters=how
    )
    ov.save_model(model, str(t.file("int8.xml")), compress_to_fp16=False)  # the first is read while it is in use
    for end in ("xml", "bin"):
        t.file(f"int8.{end}").replace(t.file(f"model.{end}"))
    return ["model.xml", "model.bin"]


def _openvino(t: Task, profiled: str) -> Runner:
    import openvino as ov

    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": t.threads, "PERFORMANCE_HINT": "LATENCY"}
    if t.about.precision == "fp32":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if profiled:
        settings["PERF_COUNT"] = True
    core = ov.Core()
    request = core.compile_model(core.read_model(str(t.file("model.xml"))), "CPU", settings).create_infer_request()

    def run(images: np.ndarray) -> np.ndarray:
        return next(iter(request.infer([images]).values()))

    run.request = request  # type: ignore[attr-defined]
    return run


# What a file weighs


def size(t: Task) -> int:
    """Bytes of what has to be kept to answer: the technique's files, or the weights as it holds them."""
    made = [
        p
        for name in ("model.onnx", "model.xml", "model.bin", "model.pt2", "model.ts", "model.plan")
        if (p := t.file(name)).exists()
    ]
    if t.about.runtime == "tensorrt":
        made = [t.file("model.plan")]
    if made:
        return sum(path.stat().st_size for path in made)
    halved = 2 if t.about.precision in ("bf16", "fp16") else 1
    with np.load(t.file("state.npz")) as state:
        return sum(a.nbytes // (halved if a.dtype == np.float32 else 1) for a in state.values())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, libraries say nothing; what goes wrong is an exception."""
    import warnings

    logging.disable(logging.WARNING)
    os.environ.setdefault("OPENVINO_TELEMETRY", "0")
    with warnings.catch_warnings(action="ignore"):
        yield
