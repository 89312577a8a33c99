"""Which way to answer with a trained network is the fastest that loses nothing?

A network that was fine-tuned on CIFAR-10 answers by some twenty techniques: PyTorch as it comes, other memory layouts,
fused layers, bf16, compiled, pruned, distilled into a small one, ONNX Runtime, OpenVINO, int8. Asked: latency, memory,
size and accuracy of each, by size of batch and threads, and what is lost of the answers; and which of them do not pay.

Expected (3 seeds, intervals of 95 %, a processor with AVX-512 VNNI and bf16, one thread): ONNX Runtime int8 is the
fastest that loses no accuracy on validation, 21.61 times as fast as eager (20.03 to 23.33) for one image and 8.72 times
(7.53 to 10.10) for 32, 96.2 % of the answers the same; ONNX Runtime in fp32, whose answers are all the same, 11.25 and
3.84 times. fp16 is ten times slower, for want of instructions. 9 minutes on two cores, most of them once: what is made
is kept.

    python studies/inference_speed.py
    python studies/inference_speed.py --weights run:RUN/STUDENT     # a network of finetuning or cifar10_transfer
    python studies/inference_speed.py --network resnet18 --technique eager bf16 onnx openvino
"""

from studies.harness import Preset, Study, above, at_least, between, grid, main, one_of
from trainables.core.nets import PRETRAINED
from trainables.inference_speed import TECHNIQUES

CPU = tuple(name for name, technique in TECHNIQUES.items() if not technique.gpu)
FEW = (
    *("eager", "channels_last", "fused", "pruned", "small"),
    *("onnx", "onnx_int8", "openvino", "openvino_default", "openvino_int8", "pruned_onnx", "pruned_onnx_int8"),
)

STUDY = Study(
    name="inference_speed",
    question=__doc__,
    trainable="trainables.inference_speed.pack:InferenceSpeed",
    datasets=("cifar10",),
    metric="images_per_second",
    mode="max",
    metrics=(
        *("latency_ms", "p95_ms", "cpu_ms", "images_per_second", "speedup", "calls", "memory_mib", "busy_share"),
        *("val_accuracy", "test_accuracy", "val_agreement", "test_agreement", "max_difference"),
        *("size_bytes", "make_seconds"),
    ),
    artifact_table="models",
    among=("technique",),
    timed=True,
    tables={"rounds": ("round",), "operators": ("operator",), "traces": ()},
    trials={
        "network": grid("efficientnet_lite0", limit=one_of(*PRETRAINED), help="The network that answers."),
        "weights": grid(
            "imagenet",
            help=(
                "What it is fine-tuned from on CIFAR-10 here, once: imagenet, random or the path of a checkpoint; or "
                "run:RUN/STUDENT, a trained network of a run with --keep-weights, taken as it is."
            ),
        ),
        "resolution": grid(64, limit=at_least(32), help="Side of the images as the network sees them, in pixels."),
        "train_size": grid(3000, limit=above(0), help="Images that fine-tune, prune, distil and calibrate."),
        "val_size": grid(400, limit=above(0), help="Images to choose by."),
        "test_size": grid(800, limit=above(0), help="Images to report; 10000 are all."),
        "passes": grid(2, limit=above(0), help="Over the training images, of each training."),
        "kept": grid(0.7, limit=between(0, 1, "(]"), help="Share of the channels that pruning leaves."),
        "threads": grid(1, limit=above(0), help="Of each technique's process."),
        "rounds": grid(4, limit=above(0), help="In each of which every technique has a turn."),
    },
    students={
        "technique": grid(*CPU, limit=one_of(*TECHNIQUES), help="How the network answers."),
        "batch_size": grid(1, 32, limit=above(0), help="Images of one call."),
        "seed": grid(0, 1, 2, help="Fresh processes, and the order of their turns."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works: random weights, no extra",
            core_seconds=1.0,
            prepare_seconds=10.0,
            axes={
                "network": ("mobilenet_v3_small",),
                "weights": ("random",),
                "resolution": (32,),
                "train_size": (128,),
                "val_size": (40,),
                "test_size": (60,),
                "passes": (1,),
                "threads": (1,),
                "rounds": (2,),
                "technique": ("eager", "channels_last", "fused", "jit"),
                "batch_size": (1, 4),
                "seed": (0,),
            },
        ),
        "course": Preset(
            "what the assignment asks; needs the extras lite and inference, and a C++ compiler",
            core_seconds=2.0,
            prepare_seconds=300.0,
            worker_mib=9000,
            grids=({}, {"threads": (2,), "technique": FEW}),
        ),
        "gpu": Preset(
            "the same on an NVIDIA GPU (--num-gpus 1); TensorRT and onnxruntime-gpu are installed apart",
            core_seconds=2.0,
            prepare_seconds=200.0,
            worker_mib=9000,
            axes={
                "resolution": (224,),
                "threads": (1,),
                "technique": (
                    *("eager", "channels_last", "fused", "bf16", "fp16", "compile", "pruned", "small"),
                    *("onnx_cuda", "tensorrt"),
                ),
                "batch_size": (1, 32, 256),
            },
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
