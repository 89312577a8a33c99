"""A process of one technique: `python -m trainables.inference_speed.server PARENT`, PARENT the id of the one that starts it. It is kept alive, and answers when it is its turn.

It is told what to do by lines of JSON on its standard input and answers each by a line on its standard output. `Server` is the other
end. Threads wait without spinning: where other work shares the machine, those that spin keep their own partners from running (20
times slower, measured). What the technique's libraries print goes to a file, which says why where the process dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainables.core.cache import cache_root
from trainables.inference_speed import profiling, runtimes
from trainables.inference_speed.runtimes import Task

ROOT = Path(__file__).parents[2]
PATIENCE = 900.0  # seconds that an answer is waited for; compiling takes minutes on a busy machine
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647", "MALLOC_TOP_PAD_": "67108864"}
"""glibc keeps freed memory for the next call instead of giving it back to the kernel: the technique `allocator`."""
SLOW = 0.2  # seconds of a call from which on a turn needs no call before it to warm up
LONG, CALLS, MOST_TRACED = (
    0.8,
    3,
    2**20,
)  # seconds of a call that is not profiled; calls of a profile; bytes of a trace that is kept
BATCHES = 4  # different ones that a turn goes through


class Failed(RuntimeError):
    """A process that could not do what it was asked, in one line."""


class Server:
    """Starts a process of a task and asks it. log: what its libraries print."""

    def __init__(self, task: Task) -> None:
        self.task, self.log = task, task.file(f"log-{time.monotonic_ns()}.txt")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trainables.inference_speed.server", str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=_environment(task), cwd=task.folder,
            )  # fmt: skip
        self._send({"task": task.text()})

    def ask(self, what: str, **how: Any) -> dict[str, Any]:
        """What the process answers. Failed where it cannot, where it died, or where it takes too long."""
        self._send({"do": what, **how})
        return self.answer()

    def tell(self, what: str, **how: Any) -> None:
        """As `ask`, whose answer is fetched by `answer` later: meanwhile others may be asked."""
        self._send({"do": what, **how})

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.close()
            raise Failed(f"no answer in {PATIENCE:g} seconds")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise Failed(f"its process ended with code {code}: {self._last()}")
        found = json.loads(line)
        if "error" in found:
            raise Failed(found["error"])
        return found

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
            return
        self.process.kill()
        self.process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def _last(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[:200] if lines else "it said nothing"


def _environment(task: Task) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "OMP_", "KMP_", "GOMP_"))
    }
    return own | {
        "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(task.threads), "OMP_WAIT_POLICY": "PASSIVE",
        "TORCHINDUCTOR_CACHE_DIR": str(cache_root() / "inductor"), "STILLROOM_CACHE": str(cache_root()),
        **(KEPT if task.technique == "allocator" else {}),
    }  # fmt: skip


# The process itself


class Process:
    """What a process can do; each method answers with what JSON can hold."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.run: runtimes.Runner
        self.images: np.ndarray
        self.last: dict[int, float] = {}  # seconds of the last call, by size of batch

    def make(self) -> dict[str, Any]:
        start = time.perf_counter()
        names = runtimes.make(self.task)
        return {"files": names, "seconds": time.perf_counter() - start}

    def compile(self) -> dict[str, Any]:
        """Compiles into inductor's cache."""
        start = time.perf_counter()
        runtimes.load(self.task)
        return {"files": [], "seconds": time.perf_counter() - start}

    def train(self, network: str, how: dict[str, Any]) -> dict[str, Any]:
        """Trains a network on folder/images.npz; its state goes to folder/made.npz."""
        import torch

        from trainables.inference_speed import networks

        torch.set_num_threads(self.task.threads)
        start = time.perf_counter()
        with np.load(self.task.file("images.npz")) as arrays:
            images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]).long()
        if network != "fine_tuned":
            with np.load(self.task.file("state.npz")) as arrays:
                how["state"] = dict(arrays)
        state = getattr(networks, network)(
            **how, network=self.task.network, resolution=self.task.resolution, images=images, labels=labels
        )
        np.savez(self.task.file("made.npz"), **state)
        return {"seconds": time.perf_counter() - start}

    def load(self, images: str) -> dict[str, Any]:
        """Gets ready for turns; images: of which they are, a file in the folder above."""
        self.images = np.load(images, mmap_mode="r")
        start = time.perf_counter()
        self.run = runtimes.load(self.task)
        self.run(np.ascontiguousarray(self.images[: self.task.batch_sizes[0]]))
        return {"seconds": time.perf_counter() - start, "bytes": runtimes.size(self.task)}

    def answers(self, batch: int) -> dict[str, Any]:
        """Logits of all images, into folder/answers.npy; the last batch is as large as all others."""
        parts = [self.run(self._batch(i, batch)) for i in range(-(-len(self.images) // batch))]
        np.save(self.task.file("answers.npy"), np.concatenate(parts)[: len(self.images)])
        return {}

    def turn(self, batch: int, seconds: float) -> dict[str, Any]:
        """Calls for so many seconds, one at least: ms of each; ms of processor time of one; the most memory held meanwhile, MiB."""
        batches = [self._batch(i, batch) for i in range(BATCHES)]
        if self.last.get(batch, 0.0) < SLOW:
            self._timed(batches[-1])  # threads and caches wake up
        _forget_peak()
        used, spent = time.process_time(), [self._timed(batches[0])]
        while sum(spent) < seconds:
            spent.append(self._timed(batches[len(spent) % BATCHES]))
        self.last[batch] = spent[-1]
        used = time.process_time() - used
        return {
            "ms": [1e3 * s for s in spent],
            "cpu_ms": 1e3 * used / len(spent),
            "cpu_seconds": used,
            "memory_mib": _peak(),
        }

    def profile(self, batch: int) -> dict[str, Any]:
        """The operators of a call, the slowest first, and the file of its trace, if there is one; of a long call nothing: what is computed
        one by one makes millions of events, which take minutes to sort."""
        if self.last.get(batch, 0.0) > LONG:
            return {"operators": [], "trace": ""}
        calls = 1 if self.last.get(batch, 0.0) > SLOW else CALLS
        lines, trace = profiling.operators(self.task, self.run, self._batch(0, batch), calls)
        trace = trace if len(trace) <= MOST_TRACED else b""
        path = self.task.file(f"trace-{batch}.gz")
        path.write_bytes(trace)
        return {"operators": sorted(lines, key=lambda line: -line["ms"]), "trace": str(path) if trace else ""}

    def _batch(self, i: int, size: int) -> np.ndarray:
        places = np.arange(i * size, (i + 1) * size) % len(self.images)
        return np.ascontiguousarray(self.images[places])

    def _timed(self, images: np.ndarray) -> float:
        start = time.perf_counter()
        self.run(images)
        return time.perf_counter() - start


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # other systems have no such file
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """The most resident memory since `_forget_peak`, in MiB; since the start, where the system forgets nothing."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _end_with(parent: int) -> None:
    """Ends this process when its parent ends, also in the middle of a training, where the system can."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        raise SystemExit


def main() -> None:
    _end_with(int(sys.argv[1]))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    process: Process | None = None
    with runtimes.quiet():
        for line in sys.stdin:
            message = json.loads(line)
            if "task" in message:
                process = Process(runtimes.task(message["task"]))
                continue
            do: Callable[..., dict] = getattr(process, message.pop("do"))
            try:
                reply = do(**message)
            except Exception as error:  # whatever a library raises is this technique's failure, said to whoever asked
                traceback.print_exc()
                said = str(error).strip().splitlines()
                reply = {"error": f"{type(error).__name__}: {said[0] if said else 'it said nothing'}"}
            print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
