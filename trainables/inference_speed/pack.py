"""Techniques that take turns: A B C, C A B, ..., each in a process of its own that is kept alive, so that what else the machine does
falls on all of them alike.
"""

from __future__ import annotations

import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from trainables.core.batches import balanced, substream
from trainables.core.contract import Trainable
from trainables.core.files import DataError
from trainables.core.network import ADAMW
from trainables.core.pretrained import INITIALISATION, build, check_weights, described, load, resized
from trainables.core.splits import CLASSES, SPLIT, Splits
from trainables.core.teachers import once
from trainables.inference_speed import BASELINE, TECHNIQUES, Config, check, cores, making, needs_cpu
from trainables.inference_speed.making import Source
from trainables.inference_speed.networks import (
    BATCH,
    HEAD_STEPS,
    KD_WEIGHT,
    LR,
    PRUNED_PASSES,
    SMALL,
    SMALL_PASSES,
    SMALL_RESOLUTION,
    TEMPERATURE,
    WEIGHT_DECAY,
    state_of,
)
from trainables.inference_speed.runtimes import CALIBRATION, Task
from trainables.inference_speed.server import Failed, Server

TRAINING, VALIDATION, TEST, TURNS = range(4)  # purposes that draw random numbers
TURN = 0.1  # seconds of a turn, or one call where that takes longer
PROFILED = 0  # the seed whose techniques are profiled
OPERATORS = 12  # of a profile that have a line of their own

Arrays = Mapping[str, np.ndarray]
Made = TypeVar("Made")


class InferenceSpeed(Trainable):
    """Techniques of one network, number of threads and seed, at one or more sizes of batch. datasets: {"cifar10": its arrays}."""

    config_type = Config
    may_differ = frozenset({"technique", "batch_size"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": f"{INITIALISATION} run:RUN/STUDENT: that student's network, its head too, which is not trained any more.",
        "loss": (
            f"Fine-tuning: CE(y, softmax(z)). Pruned and small networks: (1 - w) CE + w T^2 KL(t/T || z/T), T {TEMPERATURE:g}, w {KD_WEIGHT:g}, "
            "t what the whole network answers."
        ),
        "optimiser": (
            f"The head first, on frozen features ({HEAD_STEPS} steps), then all layers: {ADAMW}, peak rate {LR:g}, weight decay "
            f"{WEIGHT_DECAY:g}, batches of {BATCH}, one cycle, images mirrored and moved; batch normalisation keeps its statistics. Pruning: the same "
            f"after the channels with the smallest norms are cut (DepGraph), statistics of the batch, {PRUNED_PASSES} times the passes. "
            f"small: {SMALL} at {SMALL_RESOLUTION} pixels, SGD with Nesterov momentum, {SMALL_PASSES} times the passes."
        ),
        "timing": (
            "A call takes images as they lie in memory (float32, NCHW, [0, 1]) and returns logits, with all copies between layouts and "
            "devices. Each technique is a process that is kept alive; in a round each has one turn, in an order drawn anew: a call to warm up, then calls "
            f"for {TURN:g} s or one. latency_ms, p95_ms: median and 95th percentile of all calls; cpu_ms: processor time of a call; speedup: "
            "eager's median in a round over the technique's, median over rounds; memory_mib: the most resident memory of the process during its turns, "
            "libraries included, a GPU's not; busy_share: what other work took of the machine's cores meanwhile. Threads wait without spinning."
        ),
        "making": (
            f"int8 ranges are found on {CALIBRATION} training images. make_seconds: of pruning and distilling on all cores, and of compiling, exporting "
            "and calibrating, as many at once as there are cores, one each; once, then kept by content; what a technique needs of another's (a pruned network) is counted in."
        ),
        "split": (
            f"{SPLIT} train_size of those that train are seen, val_size held-out ones choose (val_accuracy, val_agreement: share of eager's answers "
            "that stay the same), test_size test images report; as many of each class. max_difference: largest of a test logit from eager's."
        ),
    }

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        return {
            f"{config.network} at {config.resolution} pixels": described(config.network, CLASSES, config.resolution),
            f"small: {SMALL} at {SMALL_RESOLUTION} pixels": described(SMALL, CLASSES, SMALL_RESOLUTION),
        }

    @classmethod
    def require(cls, configs: Iterable[Config], images: int | None = None) -> None:
        """DataError where weights are absent, or where this machine has not what a technique needs."""
        configs = list(configs)
        check(configs, torch.cuda.is_available())
        check_weights((c.network, c.weights) for c in configs)
        for network, weights in {(c.network, c.weights) for c in configs if c.weights.startswith("run:")}:
            head = load(network, weights).get("head.weight")
            if head is None or len(head) != CLASSES:
                raise DataError(f"weights {weights}: it has no head of {CLASSES} classes; name a student of CIFAR-10")

    @staticmethod
    def artifact(config: Config) -> Source:
        c = config
        return Source(c.network, c.weights, c.resolution, c.train_size, c.passes)

    @classmethod
    def prepare(
        cls, artifact: Source, datasets: Mapping[str, Arrays], device: str
    ) -> tuple[dict[str, np.ndarray], dict]:
        """The state of the network by the names of its parameters and buffers, and its row for `models`: parameters, seconds, the
        processor."""
        a = artifact
        if a.weights.startswith("run:"):
            model = build(a.network, CLASSES, a.weights, 0)
            model.load_state_dict(load(a.network, a.weights))
            made: dict[str, np.ndarray] = state_of(model)
        else:
            images, labels = _training(datasets, a.train_size)
            made = making.trained(
                "fine_tuned", a, {}, images, labels, weights=a.weights, passes=a.passes, classes=CLASSES
            )
        seconds = float(made.pop("seconds", 0.0))
        model = build(a.network, CLASSES, "random", 0)
        row = {
            **asdict(a),
            "processor": making.processor(),
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": seconds,
        }
        return made, row

    @staticmethod
    def student_bytes(config: Config) -> int:
        return 1  # all techniques of a pack belong together

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        self.configs, self.device, self.state = list(configs), device, dict(answers)
        self.common, self.datasets = configs[0], datasets
        if device == "cuda" and (wrong := [c.technique for c in configs if needs_cpu(c.technique)]):
            raise ValueError(f"{wrong[0]} is a technique of CPUs: leave out --num-gpus, or it with --technique")
        if device == "cpu" and (wrong := [c.technique for c in configs if TECHNIQUES[c.technique].gpu]):
            raise ValueError(f"{wrong[0]} is a technique of GPUs: give --num-gpus 1")
        self.techniques = list(dict.fromkeys([BASELINE, *(c.technique for c in configs)]))
        self.batches = tuple(sorted({c.batch_size for c in configs}))
        self.round, self.seconds = 0, 0.0
        self.turns: dict[str, list[dict]] = {}  # of each technique and size of batch, one a round
        self.about: dict[str, dict[str, float]] = {}  # of each technique: what does not change from turn to turn
        self.failures: dict[str, str] = {}
        self.servers: dict[str, Server] = {}
        self._close = lambda: None

    @property
    def finished(self) -> bool:
        return self.round >= self.common.rounds

    def step(self) -> list[dict]:
        """A round, or all that has to be made and then the first round."""
        start = time.perf_counter()
        if not self.servers:
            self._begin()
        lines = self._round()
        self.round += 1
        found = [self._row(c, lines) for c in self.configs]
        self.seconds += time.perf_counter() - start
        if self.finished:
            self._close()
        return [row | {"seconds": self.seconds / len(self.configs)} for row in found]

    # A round

    def order(self) -> list[tuple[str, int]]:
        """Who is asked in this round, each technique once at each size of batch, in an order of its own."""
        alive = [name for name in self.techniques if name not in self.failures]
        rng = np.random.default_rng(substream(self.common.seed, TURNS, self.round))
        return [(alive[i], batch) for batch in self.batches for i in rng.permutation(len(alive))]

    def _round(self) -> dict[tuple[str, int], dict]:
        lines = {}
        for position, (name, batch) in enumerate(self.order()):
            if name in self.failures:
                continue
            before = _busy_seconds(), time.perf_counter(), time.process_time()
            try:
                turn = self.servers[name].ask("turn", batch=batch, seconds=TURN)
            except Failed as error:
                self.failures[name] = str(error)
                continue
            wall, ours = time.perf_counter() - before[1], turn.pop("cpu_seconds") + time.process_time() - before[2]
            others = _busy_seconds() - before[0] - ours
            self.turns.setdefault(_key(name, batch), []).append({**turn, "wall": wall, "others": others})
            lines[name, batch] = {
                "round": self.round,
                "position": position,
                "round_ms": float(np.median(turn["ms"])),
                "calls": len(turn["ms"]),
            }
        if BASELINE in self.failures:
            raise RuntimeError(f"the baseline {BASELINE} failed: {self.failures[BASELINE]}")
        return lines

    def _row(self, c: Config, lines: Mapping[tuple[str, int], dict]) -> dict[str, Any]:
        row: dict[str, Any] = {
            "step": self.round,
            "fraction": self.round / c.rounds,
            "status": "done" if self.finished else "running",
        }
        if c.technique in self.failures:
            return row | {"status": "failed", "error": self.failures[c.technique]}
        row |= measured(
            self.turns[_key(c.technique, c.batch_size)], self.turns[_key(BASELINE, c.batch_size)], c.batch_size
        )
        tables: dict[str, list[dict]] = {"rounds": [lines[c.technique, c.batch_size]]}
        if self.finished and c.seed == PROFILED:
            tables |= self._profile(c)
        return row | self.about[c.technique] | {"tables": tables}

    def _profile(self, c: Config) -> dict[str, list[dict]]:
        try:
            found = self.servers[c.technique].ask("profile", batch=c.batch_size)
        except Failed:  # its times stand all the same
            return {}
        lines, rest = found["operators"][:OPERATORS], found["operators"][OPERATORS:]
        if rest:
            lines.append(
                {"operator": "all others", "calls": sum(r["calls"] for r in rest), "ms": sum(r["ms"] for r in rest)}
            )
        traces = [{"trace": Path(found["trace"]).read_bytes()}] if found["trace"] else []
        return {name: table for name, table in (("operators", lines), ("traces", traces)) if table}

    # What comes before

    def _begin(self) -> None:
        """Makes what is not there yet, starts a process for each technique, and asks each for all answers, unless these are known."""
        c = self.common
        folder = tempfile.TemporaryDirectory(prefix="stillroom-")
        self._close = weakref.finalize(self, _end, self.servers, folder)
        images, labels = _training(self.datasets, c.train_size)
        networks, spent = self._networks(images, labels)
        shown = _shown(self.datasets, c)
        paths = {}
        for side in {c.resolution, SMALL_RESOLUTION}:
            paths[side] = Path(folder.name, f"images-{side}.npy")
            np.save(paths[side], resized(torch.from_numpy(shown["images"]), side).contiguous().numpy())
        calibration = resized(torch.from_numpy(images[:CALIBRATION]), c.resolution).contiguous().numpy()
        alive = [name for name in self.techniques if name not in self.failures]
        tasks = {name: self._task(name, Path(folder.name, name)) for name in alive}

        def made(name: str) -> float:
            network = networks[TECHNIQUES[name].network]
            place = Path(folder.name, name)
            place.mkdir()
            np.savez(place / "state.npz", **dict(network))  # type: ignore[arg-type]
            return spent[TECHNIQUES[name].network] + making.files(tasks[name], network, calibration)

        seconds = self._each(alive, made)
        tasks = {name: tasks[name] for name in seconds}
        for name, task in tasks.items():  # now that nothing is made any more, which is timed
            self.servers[name] = Server(task)
        answers = self._each(list(tasks), lambda name: self._answers(name, networks, shown, paths))
        for name in set(tasks) - set(answers):
            self.servers.pop(name).close()
        if BASELINE not in answers:
            raise RuntimeError(f"the baseline {BASELINE} failed: {self.failures[BASELINE]}")
        for name, own in answers.items():
            right = agreement(own["logits"], answers[BASELINE]["logits"], shown["labels"], int(shown["val"]))
            self.about[name] = {**right, "size_bytes": float(own["bytes"]), "make_seconds": seconds[name]}

    def _each(self, names: Sequence[str], do: Callable[[str], Made]) -> dict[str, Made]:
        """What was done for each technique, a few at once, for nothing of it is timed against others; those that failed are noted."""
        found: dict[str, Made] = {}
        with ThreadPoolExecutor(cores()) as several:
            for name, future in {name: several.submit(do, name) for name in names}.items():
                try:
                    found[name] = future.result()
                except Failed as error:
                    self.failures[name] = str(error)
        return found

    def _networks(self, images: np.ndarray, labels: np.ndarray) -> tuple[dict[str, Arrays], dict[str, float]]:
        """The states of the networks that the techniques need, and the seconds that each took beside the whole one."""
        c, spent = self.common, {"whole": 0.0}
        found: dict[str, Arrays] = {"whole": self.state}
        recipes: dict[str, dict] = {"pruned": {"kept": c.kept, "passes": c.passes}, "small": {"passes": c.passes}}
        for what, how in recipes.items():
            names = [name for name in self.techniques if TECHNIQUES[name].network == what]
            try:
                if names:
                    made = making.trained(what, self.artifact(c), self.state, images, labels, **how)
                    spent[what] = float(made.pop("seconds"))
                    found[what] = made
            except Failed as error:
                self.failures |= dict.fromkeys(names, str(error))
        return found, spent

    def _task(self, name: str, place: Path) -> Task:
        c = self.common
        side = SMALL_RESOLUTION if TECHNIQUES[name].network == "small" else c.resolution
        return Task(name, c.network, side, self.batches, c.threads, self.device, str(place))

    def _answers(
        self, name: str, networks: Mapping[str, Arrays], shown: Arrays, paths: Mapping[int, Path]
    ) -> dict[str, np.ndarray]:
        """The process of a technique is ready then; its logits on all images that choose or report."""
        server = self.servers[name]
        task = server.task
        path = str(paths[task.resolution])
        ready = server.ask("load", images=path)

        def answered() -> dict[str, np.ndarray]:
            server.ask("answers", batch=max(self.batches))
            return {"logits": np.load(task.file("answers.npy")), "bytes": np.asarray(ready["bytes"])}

        asked = {"images": shown["images"], **networks[TECHNIQUES[name].network]}
        return once("inference-answers", making.recipe_of(task), asked, answered)

    def state_dict(self) -> dict:
        return {"round": self.round, "seconds": self.seconds, "turns": self.turns, "failures": self.failures}

    def load_state_dict(self, state: dict) -> None:
        self.round, self.seconds, self.turns = state["round"], state["seconds"], state["turns"]
        self.failures = state["failures"]


def _end(servers: dict[str, Server], folder: tempfile.TemporaryDirectory) -> None:
    for server in servers.values():
        server.close()
    servers.clear()
    folder.cleanup()


def _key(name: str, batch: int) -> str:
    return f"{name} {batch}"


# What is measured


def measured(turns: Sequence[Mapping], baseline: Sequence[Mapping], batch: int) -> dict[str, float]:
    """Of the turns of a technique, and those of the baseline in the same rounds."""
    ms = np.concatenate([turn["ms"] for turn in turns])
    ratios = [np.median(b["ms"]) / np.median(t["ms"]) for t, b in zip(turns, baseline, strict=True)]
    latency, wall = float(np.median(ms)), sum(turn["wall"] for turn in turns)
    busy = sum(turn["others"] for turn in turns) / wall / (os.cpu_count() or 1)
    return {
        "latency_ms": latency, "p95_ms": float(np.quantile(ms, 0.95)), "cpu_ms": float(np.median([t["cpu_ms"] for t in turns])),
        "images_per_second": 1e3 * batch / latency, "speedup": float(np.median(ratios)), "calls": float(len(ms)),
        "memory_mib": max(turn["memory_mib"] for turn in turns), "busy_share": min(max(busy, 0.0), 1.0),
    }  # fmt: skip


def agreement(z: np.ndarray, baseline: np.ndarray, labels: np.ndarray, val: int) -> dict[str, float]:
    """Accuracies and agreement with the baseline, of logits (N, classes) of which the first `val` choose; NaN logits agree with nothing."""
    named, theirs = np.where(np.isnan(z).any(1), -1, z.argmax(1)), baseline.argmax(1)
    found = {}
    for split, part in (("val", slice(None, val)), ("test", slice(val, None))):
        found[f"{split}_accuracy"] = float((named[part] == labels[part]).mean())
        found[f"{split}_agreement"] = float((named[part] == theirs[part]).mean())
    return found | {"max_difference": float(np.abs(z[val:] - baseline[val:]).max())}


def _busy_seconds() -> float:
    """Processor seconds that this machine's cores were not idle, steal included, since it started; from the load where the system does
    not count them."""
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return os.getloadavg()[0] * time.perf_counter()
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


# Images


def _training(datasets: Mapping[str, Arrays], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (uint8) and labels that train."""
    sets = Splits(datasets["cifar10"], "cpu")
    index = balanced(sets.labels, sets.train, count, 0, TRAINING)
    return sets.images[index].numpy(), sets.labels[index].numpy()


def _shown(datasets: Mapping[str, Arrays], c: Config) -> dict[str, np.ndarray]:
    """Images (uint8) and labels that choose, then those that report; `val`: how many choose."""
    sets = Splits(datasets["cifar10"], "cpu")
    val = balanced(sets.labels, sets.val, c.val_size, 0, VALIDATION)
    test = balanced(sets.test_labels, torch.arange(len(sets.test_labels)), c.test_size, 0, TEST)
    return {
        "images": torch.cat([sets.images[val], sets.test_images[test]]).numpy(),
        "labels": torch.cat([sets.labels[val], sets.test_labels[test]]).numpy(), "val": np.asarray(len(val)),
    }  # fmt: skip
