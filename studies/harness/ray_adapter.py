"""Ray Tune as the engine: a class trainable for trials, rows through a callback, grids, Optuna and ASHA.

Imported only when a study runs on Ray.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import secrets
import shlex
import shutil
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.core.cache import cache_root

os.environ.setdefault("RAY_AUTH_MODE", "token")  # see `_keep_token`
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX", "Raylet is terminated|has been marked dead"
)  # fifty lines; see `_watch`
os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", "120")  # a busy machine is slow, not dead
os.environ.setdefault("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")  # nobody serves; SIGTERM amid its start would wait for 30
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = (
    "1"  # rows are the record, and what TensorBoard reads is written beside them
)
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = (
    "inf"  # of Tune's state of all trials, which nobody reads: it grows with every trial
)
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # see `stoppable`
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
try:
    Path.home()
except RuntimeError:  # a user whom the system does not know, as in some containers: Ray wants a home all the same
    os.environ["HOME"] = str(cache_root())

import ray
from ray import tune

from studies.harness.engine import (
    TRAINING_ERRORS,
    Answers,
    TrialRunner,
    artifacts,
    evaluations_before,
    failed_rows,
    prepare_process,
    record_failure,
)
from studies.harness.folder import FolderError, RunFolder
from studies.harness.ledger import Ledger
from studies.harness.plan import Plan, Search
from studies.harness.progress import say
from studies.harness.students import Trial
from studies.harness.study import InputError, Study

TOLD = ("STILLROOM_RESULTS", "STILLROOM_PATIENCE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
"""What workers on other machines are told of our environment. Credentials are not: every node has its own."""
OF_ONE_STUDY = "one_study"  # a resource that marks the Ray that a run has started for itself; `auto` would find it
OWN_TOKEN = secrets.token_hex(32)  # where the user has none
RETRIES = 3  # of a trial whose worker died; an error of training itself is not retried


@dataclass(frozen=True)
class Shared:
    """What every worker needs, through the object store. Arrays arrive read-only and without a copy."""

    study: Study
    trials: Mapping[str, Trial]
    searched: Search | None
    datasets: ray.ObjectRef
    answers: Answers
    device: str
    folder: RunFolder
    kept: tuple[str, ...] | None  # the axes that kept networks are named after
    cores: int


class StudyTrial(tune.Trainable):
    """Tune's class API over `TrialRunner`. One iteration is one evaluation of every student of the trial."""

    def setup(self, config: dict, shared: Shared) -> None:  # type: ignore[override]  # tune.with_parameters passes it
        self.shared = s = shared
        prepare_process(s.cores)
        self.plan = s.searched.trial(s.study, config) if s.searched else s.trials[config["trial"]]
        keep = functools.partial(s.folder.write_weights, s.kept) if s.kept else None
        self.runner = TrialRunner(s.study, self.plan, ray.get(s.datasets), s.answers, s.device, keep)
        self.said = self.runner.go_on(s.folder)  # from what an interrupted run left

    def reset_config(self, new_config: dict) -> bool:
        self.setup(new_config)  # type: ignore[call-arg]
        return True

    def step(self) -> dict:
        try:
            if self.runner.evaluations:  # whose rows the driver has, for it asks for the next
                self.shared.folder.write_checkpoint(self.plan.name, self.runner.save())
        except FolderError as fault:  # no fault of the trial: the run ends, as where the driver meets it
            return self.result([], self.runner.evaluations, finished=False) | {"fault": str(fault)}
        try:
            rows = self.runner.step()
        except TRAINING_ERRORS as error:
            return self.result(failed_rows(self.plan, error), self.runner.evaluations + 1, finished=True)
        return self.result(rows, self.runner.evaluations, self.runner.finished)

    def result(self, rows: list[dict], evaluation: int, finished: bool) -> dict:
        """What Tune gets. A searcher sees the mean over seeds; a failed student counts as the worst there and stays a
        hole in the rows."""
        metric, mode = self.shared.study.metric_of(self.plan.students[0]), self.shared.study.mode
        worst, best = (0.0, max) if mode == "max" else (1e9, min)
        values = [row.get(metric, worst) for row in rows] or [worst]
        said, self.said, self.runner.said = [*self.said, *self.runner.said], [], []
        return {
            "rows": rows,
            "said": said,
            "evaluation": evaluation,
            "percent": 100 * min((row.get("fraction", 1.0) for row in rows), default=0.0),
            metric: sum(values) / len(values),
            f"best_{metric}": best(values),
            "finished": finished,
            "node": ray.get_runtime_context().get_node_id(),
            "done": finished,
        }

    # For schedulers that pause trials. A trial whose worker died goes on from what `step` wrote, as one of a resumed run does.

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "state.pt").write_bytes(self.runner.save())

    def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]  # Tune passes a folder
        self.runner.load(Path(checkpoint_dir, "state.pt").read_bytes())


class Recorder(tune.Callback):
    """Hands every result's rows to the ledger, in the driver. Not pickled: Tune saves its callbacks with the experiment."""

    def __init__(self, ledger: Ledger, plan_of: Callable[[Any], Trial], searched: bool) -> None:
        self.ledger, self.plan_of, self.searched = ledger, plan_of, searched
        self.stopping = self.armed = False
        self.ended = 0  # trials
        self.places: dict[str, str] = {}  # the node that each trial was last heard of from
        self.fault: FolderError | None = None

    def __getstate__(self) -> dict:
        return {}

    def record(self, trial, evaluation: int, rows: list[dict]) -> None:
        with self.faults():
            self.ledger.record(self.plan_of(trial), evaluation, rows)

    @contextmanager
    def faults(self):
        try:
            yield
        except FolderError as fault:
            self.fault = fault
            raise

    def on_step_begin(self, iteration, trials, **info) -> None:
        if self.armed:
            return
        self.armed, tunes = True, signal.getsignal(signal.SIGUSR1)  # on which Tune stops its trials and returns

        def stop(number, frame):
            self.heard()
            tunes(number, frame)  # type: ignore[operator, misc]

        signal.signal(signal.SIGUSR1, stop)

    def heard(self) -> None:
        """The user wants the run to stop, and is told at once, for workers may take a while to end."""
        self.stopping = True
        if self.ledger:
            self.ledger.progress.stopping()

    def on_trial_start(self, iteration, trials, trial, **info) -> None:
        if self.searched:
            with self.faults():
                self.ledger.suggested(self.plan_of(trial))

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        if "fault" in result:
            with self.faults():
                raise FolderError(result["fault"])
        for line in result["said"]:
            self.ledger.progress.say(line)
        name, here = self.plan_of(trial).name, result["node"]
        if self.places.get(name, here) != here:
            self.ledger.progress.say(
                f"moved     {name} to {nodes()[here]['address']}, evaluation {result['evaluation']}"
            )
        self.places[name] = here
        self.record(trial, result["evaluation"], result["rows"])

    def on_trial_complete(self, iteration, trials, trial, **info) -> None:
        result = trial.last_result
        self.ended += 1
        if not self.stopping and result and not result.get("finished"):  # a scheduler's word
            stopped = [{**row, "status": "stopped"} if row["status"] == "running" else row for row in result["rows"]]
            self.record(trial, result["evaluation"], stopped)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        error = trial.get_pickled_error()
        self.ended += 1
        if self.stopping:  # by a signal that its worker had too; errors of training are rows
            return
        dead = isinstance(error, ray.exceptions.RayActorError)
        died = error is None or (dead and "creation task" not in str(error))  # which is `setup`
        reason = f"its worker died {RETRIES + 1} times" if died else str(error).strip().splitlines()[-1]
        plan, last = self.plan_of(trial), trial.last_result or {}
        before = last.get("evaluation") or evaluations_before(self.ledger.folder, plan.name)
        self.record(trial, before + 1, failed_rows(plan, reason))


@contextmanager
def cluster(
    address: str,
    num_cpus: int | None,
    num_gpus: int,
    dashboard: bool,
    fell: Callable[[], int] = lambda: 1,
    per_gpu: int = 1,
    minutes: float = 0.0,
):
    """Ray on this machine, or a cluster's; checked against what was asked for. fell: called where a Ray of this machine dies, on
    which this process ends with the exit code that it returns, for Ray would end it a little later. minutes: how long the nodes of a cluster may take
    to join."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in (
        "ray.tune",
        "ray.train",
    ):  # what befalls a trial is told by its rows and our last lines, without tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address != "local":  # workers of this machine's own Ray have our environment
        common["runtime_env"] = {"env_vars": {name: os.environ[name] for name in TOLD if name in os.environ}}
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    leftovers: list[str] = []
    over = threading.Event()
    _keep_token()
    if address == "local":
        marked = {OF_ONE_STUDY: 1.0}  # a plain init would join a cluster that happens to run here
        common |= {"num_cpus": num_cpus, "num_gpus": num_gpus, "include_dashboard": dashboard, "resources": marked}
    try:
        context = _started(address, common)
        for number, handler in before.items():  # Ray has its own, which ends this process at once
            signal.signal(number, handler)
        have = ray.cluster_resources()
        if address != "local" and OF_ONE_STUDY in have:
            raise InputError(
                f"--address {address}: that is the Ray of another study's run on this machine; start a cluster, or leave --address out"
            )
        if address != "local":
            _wait_for_nodes(address, num_cpus or 0, num_gpus, per_gpu, minutes)
        if address == "local":
            threading.Thread(target=_watch, args=(ray._private.worker._global_node, over, fell), daemon=True).start()
        leftovers += [context.address_info["session_dir"]] * (address == "local")
        yield context
    except Exception:
        leftovers.clear()  # the logs may say why
        raise
    finally:
        over.set()
        ray.shutdown()
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)


def nodes() -> dict[str, dict[str, Any]]:
    """The machines of the cluster by Ray's id, those that were lost too: address, host, cores, GPUs, whether it is the head, and alive."""
    found = {}
    for node in ray.nodes():
        have = node["Resources"]
        found[node["NodeID"]] = {
            "address": node["NodeManagerAddress"],
            "host": node["NodeManagerHostname"],
            "cores": int(have.get("CPU", 0)),
            "gpus": int(have.get("GPU", 0)),
            "head": "node:__internal_head__" in have,
            "alive": node["Alive"],
        }
    return found


def _wait_for_nodes(address: str, num_cpus: int, num_gpus: int, per_gpu: int, minutes: float) -> None:
    """Until the cluster has what was asked for; InputError after so many minutes. A placement group asks the autoscaler for it: unlike a
    request to the autoscaler itself it ends with this process, however that ends, and so do the machines."""
    asked = {"CPU": float(max(num_cpus, num_gpus * per_gpu)), "GPU": float(num_gpus)}
    bundles = [{"CPU": float(per_gpu), "GPU": 1.0}] * num_gpus or [{"CPU": 1.0}] * num_cpus
    group, until = None, time.monotonic() + 60 * minutes
    try:
        while any(ray.cluster_resources().get(name, 0) < number for name, number in asked.items()):
            have = _summary(nodes())
            if time.monotonic() > until:
                what = f"--num-gpus {num_gpus}" if num_gpus else f"--num-cpus {num_cpus}"
                raise InputError(f"{what}: the cluster at {address} has {have}, after {minutes:g} minutes (--wait)")
            if group is None:
                say(f"waiting   for {asked['CPU']:g} cores and {num_gpus} GPUs; there are {have}")
                group = ray.util.placement_group(bundles)
            time.sleep(1)
    finally:
        if group is not None:
            ray.util.remove_placement_group(group)
    found = nodes()
    say(f"cluster   {_summary(found)}")
    if not any(node["cores"] for node in found.values() if node["alive"] and not node["head"]):
        say("NOTE      only the head has cores: everything runs there")


def _summary(found: Mapping[str, Mapping[str, Any]]) -> str:
    alive = (node for node in found.values() if node["alive"])
    each = (f"{n['address']}{' (head)' * n['head']} {n['cores']} cores {n['gpus']} GPUs" for n in alive)
    return "; ".join(each)


def _started(address: str, options: Mapping[str, Any]):
    """Ray's context. On this machine it is tried twice: a busy one may take longer than Ray waits for itself."""
    for last in (address != "local", True):
        try:
            return ray.init(address, **options)
        except SystemExit:  # how Ray answers SIGTERM while it begins
            raise KeyboardInterrupt from None
        except Exception as error:  # of any kind, also bare ones
            if "Maybe you called ray.init twice" in str(error):
                raise
            ray.shutdown()
            if last or "AF_UNIX" in str(error):
                why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                remedy = ""
                if "AF_UNIX" in why:
                    why, remedy = "the path of its sockets is too long", "; set TMPDIR to a short one, such as /tmp"
                elif address == "local":
                    remedy = "; if this machine is busy, try again; or --address inline, which does without Ray"
                else:
                    remedy = "; is it up, and is ~/.ray/auth_token here the one of its nodes?"
                raise InputError(f"--address {address}: Ray did not start: {why}{remedy}") from None


def _watch(node, over: threading.Event, fell: Callable[[], int]) -> None:
    while not over.wait(0.3):
        if {"raylet", "gcs_server"} & {kind for kind, _ in node.dead_processes()}:
            if over.wait(2):  # a signal to the whole group: this process hears it, and ends in order, a little later than Ray
                return
            code = fell()
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            os._exit(code)


def _keep_token() -> None:
    """Raylet and GCS listen on every interface, so they ask for a token: in the user's home, which nobody else can read, or, where
    there is none that can be written, in the environment of this run alone."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    try:
        path = Path.home() / ".ray" / "auth_token"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.exists():
            path.chmod(0o600)
        else:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(OWN_TOKEN)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        os.environ["RAY_AUTH_TOKEN"] = OWN_TOKEN


def token_from() -> str:
    """How a user gets the token that Ray's dashboard asks for: a command that prints it; itself, where it is this run's alone."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token if token == OWN_TOKEN else "echo $RAY_AUTH_TOKEN"
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return f"cat {shlex.quote(path) if path else '~/.ray/auth_token'}"


@contextmanager
def stoppable(recorder: Recorder):
    """Inside, Ctrl-C and its like end Tune's loop in order; whether they came is in `recorder.stopping`."""

    def stop(number, frame):
        recorder.heard()
        os.kill(os.getpid(), signal.SIGUSR1)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    before[signal.SIGUSR1] = signal.getsignal(signal.SIGUSR1)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resources(num_gpus: int, per_gpu: int = 1, trials: int | None = None, cores: int = 1) -> dict[str, float]:
    """What one worker takes: its cores, and its share of a GPU where there are any. Ray fills one GPU before it takes the next, so that
    of few trials each takes more."""
    if not num_gpus:
        return {"cpu": cores}
    return {"cpu": cores, "gpu": 1 / (per_gpu if trials is None else min(per_gpu, max(1, math.ceil(trials / num_gpus))))}


class Tuning:
    """Trials and searches through Ray Tune, on the cluster that this process has joined."""

    def __init__(self, plan: Plan, datasets: Mapping[str, Any], ledger: Ledger) -> None:
        self.plan, self.study, self.options, self.ledger = plan, plan.study, plan.options, ledger
        self.datasets = ray.put(datasets)  # into the object store, once
        self.device = "cuda" if self.options.num_gpus else "cpu"
        self.answers: Answers = {}
        self.products: set[str] = set()
        self.places: dict[str, str] = {}  # of trials, see `Recorder`

    def nodes(self) -> list[dict[str, Any]]:
        """The machines of the cluster, see `nodes`, and how many trials ended on each."""
        ended = Counter(self.places.values())
        return [{**node, "trials": ended[name]} for name, node in nodes().items()]

    def train(self, trials: Sequence[Trial]) -> bool:
        """Trials side by side; True where the user stopped it."""
        failures = self._prepare(trials)
        named = {}
        for trial in trials:
            if reasons := [failures[a] for a in artifacts(self.study, [trial]) if a in failures]:
                record_failure(self.ledger, trial, reasons[0])
            else:
                named[trial.name] = trial
        return self._fit(named) if named else False

    def search(self, searches: Sequence[Search]) -> bool:
        """Searches one after another; True where the user stopped them. One whose artifacts cannot be prepared asks for the middle
        of its ranges, which fails and is asked for again when the run goes on."""
        middles = [searched.trial(self.study, searched.middle()) for searched in searches]
        failures = self._prepare(middles)
        for searched, middle in zip(searches, middles, strict=True):
            if reasons := [failures[a] for a in artifacts(self.study, [middle]) if a in failures]:
                known, _ = _asked(self.study, searched, self.ledger.folder)
                known.enqueue_trial(searched.middle(), skip_if_exists=True)
                self.ledger.suggested(middle)
                record_failure(self.ledger, middle, reasons[0])
            elif self._fit({}, searched):
                return True
        return False

    def _prepare(self, trials: Sequence[Trial]) -> dict[Any, str]:
        """The artifacts that are not there yet, all at once, one worker each; those that cannot be prepared, and why."""
        new = [artifact for artifact in artifacts(self.study, trials) if artifact not in self.answers]
        failures: dict[Any, str] = {}
        if not new:
            return failures
        cores = self.plan.cores
        need, study, device = resources(self.options.num_gpus, cores=cores), self.study, self.device

        @ray.remote(num_cpus=need["cpu"], num_gpus=need.get("gpu", 0), max_retries=RETRIES)
        def work(artifact, datasets):
            products = prepare_process(cores)
            return *study.load().prepare(artifact, datasets, device), products

        told = any(artifact is not None for artifact in new)
        for count, (artifact, future) in enumerate([(a, work.remote(a, self.datasets)) for a in new]):
            if told:
                self.ledger.progress.prepared(study.artifact_table, count, len(new))
            try:
                self.answers[artifact], row, products = ray.get(future)
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, TRAINING_ERRORS):
                    raise
                failures[artifact] = f"{type(error.cause).__name__}: {error.cause}"
                continue
            except (
                ray.exceptions.WorkerCrashedError,
                ray.exceptions.OutOfMemoryError,
                ray.exceptions.NodeDiedError,
            ):
                failures[artifact] = f"its worker died {RETRIES + 1} times"
                continue
            self.products.add(products)
            self.ledger.record_artifact(row)
        if not self.ledger.trained:  # what went before was preparation, not training
            self.ledger.progress.restart_clock()
        return failures

    def _fit(self, named: Mapping[str, Trial], searched: Search | None = None) -> bool:
        study, folder, o = self.study, self.ledger.folder, self.options
        asha = o.scheduler == "asha"
        plan_of, name_of = _naming(study, named, searched)
        recorder = Recorder(self.ledger, plan_of, searched is not None)
        chosen = searched is not None or asha
        metric = study.metric_of(searched.fixed if searched else next(iter(named.values())).students[0])
        searcher, samples = _optuna(study, searched, folder) if searched else (None, 1)
        if samples == 0:
            return False
        kept = self.plan.telling if o.keep_weights else None
        shared = Shared(
            study, named, searched, self.datasets, self.answers, self.device, folder, kept, self.plan.cores
        )
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(StudyTrial, shared=shared),
                resources(o.num_gpus, o.per_gpu, samples if searched else len(named), self.plan.cores),
            ),
            param_space=None if searched else {"trial": tune.grid_search(list(named))},
            tune_config=tune.TuneConfig(
                metric=metric if chosen else None,
                mode=study.mode if chosen else None,
                search_alg=searcher,
                num_samples=samples,
                scheduler=_asha() if asha else None,
                max_concurrent_trials=self.plan.workers,
                reuse_actors=True,
                trial_name_creator=name_of,
                trial_dirname_creator=name_of,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder.path,
                storage_filesystem=None if folder.local else folder.fs,
                callbacks=[recorder],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                verbose=0,
            ),
        )
        with stoppable(recorder):
            try:
                tuner.fit()
            except tune.TuneError:
                if recorder.fault:  # Tune wraps what its callbacks raise into a traceback
                    raise recorder.fault from None
                raise
        self.places |= recorder.places
        # Tune heeds signals before its first step, which the recorder does not see; then trials are left
        return recorder.stopping or recorder.ended < (samples if searched else len(named))


def _naming(study: Study, plans: Mapping[str, Trial], searched: Search | None):
    """Tune's trial -> ours, and -> its name: made from its students, so that a resumed run meets its folder again.

    Tune pickles the second once for every trial: that of a grid is a function of this module, which takes nothing along.
    """
    if not searched:
        return lambda trial: plans[trial.config["trial"]], _given_name

    def plan_of(trial) -> Trial:
        return searched.trial(study, trial.config)

    return plan_of, lambda trial: plan_of(trial).name


def _given_name(trial) -> str:
    return trial.config["trial"]


def _asha():
    from ray.tune.schedulers import ASHAScheduler

    # judged at a quarter and at half of the training, however often a study looks
    return ASHAScheduler(time_attr="percent", max_t=100, grace_period=25, reduction_factor=2)


def _asked(study: Study, searched: Search, folder: RunFolder):
    """Optuna's study of a search, with what was asked so far, and its storage, which lies in the run folder, where a resumed run and
    optuna-dashboard find it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # through a connection of our own, for in a URL ? and % are no characters of a path
    connect = functools.partial(sqlite3.connect, f"{folder.path}/optuna.db", check_same_thread=False)
    storage = optuna.storages.RDBStorage("sqlite:///optuna.db", engine_kwargs={"creator": connect})
    direction = optuna.study.StudyDirection.MAXIMIZE if study.mode == "max" else optuna.study.StudyDirection.MINIMIZE
    known = optuna.create_study(storage=storage, study_name=searched.name, load_if_exists=True, direction=direction)
    return known, storage


def _optuna(study: Study, searched: Search, folder: RunFolder):
    """TPE over the ranges, and how many suggestions are left. What an interrupted session had asked and not finished is asked
    again first."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    (known, storage), states = _asked(study, searched, folder), optuna.trial.TrialState
    waiting = [trial.system_attrs.get("fixed_params") for trial in known.get_trials(states=(states.WAITING,))]
    for trial in known.get_trials(states=(states.RUNNING,)):
        if trial.params not in waiting:  # as it is where a session was ended between these two steps
            known.enqueue_trial(trial.params)
        known.tell(trial.number, state=states.FAIL)
    samples = max(searched.samples - len(known.get_trials(states=(states.COMPLETE, states.PRUNED))), 0)
    asked = len(known.trials)
    space: dict[str, Any] = {
        name: optuna.distributions.FloatDistribution(r.low, r.high, log=r.log) for name, r in searched.ranges.items()
    }
    searcher = OptunaSearch(
        space,
        metric=study.metric_of(searched.fixed),
        mode=study.mode,
        # a resumed search must not draw the points of its first session again
        sampler=optuna.samplers.TPESampler(seed=asked, multivariate=True, constant_liar=True),
        study_name=searched.name,
        storage=storage,
    )
    return searcher, samples
