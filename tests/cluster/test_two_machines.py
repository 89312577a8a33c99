"""A cluster of two machines that this machine pretends to be: `ray up`, a study, one machine lost on the way, results in S3, `ray down`.

Each machine is a network namespace on a bridge with processes, host name, home, /run and /dev/shm of its own, and an sshd. The cluster file is
clusters/onpremises.yaml as its user fills it in; only the installation is another: a link to this interpreter. Repeat it as root:

    python -m pytest -m faults -s tests/cluster/test_two_machines.py
"""

import os
import shlex
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest
import yaml

from analysis.core import records

ROOT = Path(__file__).parents[2]
NET = "10.99.73"
HERE, HEAD, WORKER = f"{NET}.1", f"{NET}.2", f"{NET}.3"
STUDY = [
    *("--data", "sample", "--preset", "smoke", "--seeds", "2", "--target-labels", "500", "--pack", "3", "--temperature", "1", "8"),
    *("--kd-weight", "0", "0.5", "1", "--teacher-steps", "8", "--batch-size", "32", "--steps", "400", "--no-report"),
]  # fmt: skip
CELL = ["student", "seed", "teacher_view", "target_labels", "temperature", "kd_weight", "steps", "step"]
METRICS = ["train_loss", "val_accuracy", "test_accuracy", "source_accuracy"]
NEEDED = ("ip", "unshare", "sshd", "ssh", "ssh-keygen", "rsync")


def why_not():
    """Why machines cannot be made here; None where they can."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if os.geteuid():
        return "needs root to make network namespaces"
    if missing := [name for name in NEEDED if not shutil.which(name, path=path)]:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run(["ip", "netns", "add", f"try{os.getpid()}"], capture_output=True, text=True)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", f"try{os.getpid()}"], check=True)
    return None


pytestmark = [pytest.mark.faults, pytest.mark.skipif(bool(why_not()), reason=str(why_not())), pytest.mark.timeout(900)]

BOOT = """
set -e
hostname {name}
ip link set lo up
mount -t tmpfs tmpfs /run; mkdir /run/sshd
mount -t tmpfs -o size=2g tmpfs /dev/shm
mkdir -p /tmp/ray; mount --bind {home}/tmp /tmp/ray
mount --bind {home}/passwd /etc/passwd
exec /usr/sbin/sshd -D -e -h {home}/.ssh/host -o AuthorizedKeysFile={home}/.ssh/key.pub -o UsePAM=no -o StrictModes=no -o PidFile=none
"""
INSTALL = """
mkdir -p ~/stillroom/.venv/bin && cd ~/stillroom/.venv/bin
printf '#!/bin/sh\\nPYTHONPATH=%s exec {python} "$@"\\n' ~/stillroom > python
printf '#!/bin/sh\\nexec %s -c "from ray.scripts.scripts import main; main()" "$@"\\n' ~/stillroom/.venv/bin/python > ray
chmod +x python ray
"""


class Machine:
    """One of the machines; `lose` ends it as a power cut does."""

    def __init__(self, folder, address, key):
        self.address, self.name, self.key = address, f"sr{address.rsplit('.', 1)[-1]}-{os.getpid()}", key
        self.home = folder / self.name
        self.outer = None

    def boot(self):
        for inner in (".ssh", "tmp", ".ray"):
            (self.home / inner).mkdir(parents=True, exist_ok=True)  # a disk outlives a power cut
        (self.home / "passwd").write_text(
            "".join(
                f"root:x:0:0:root:{self.home}:/bin/bash\n" if line.startswith("root:") else line
                for line in Path("/etc/passwd").read_text().splitlines(keepends=True)
            )
        )
        shutil.copy(f"{self.key}.pub", self.home / ".ssh" / "key.pub")
        shutil.copy(self.key, self.home / ".ssh" / "host")
        ip("netns", "add", self.name)
        inside, outside = f"i{self.name}"[:15], f"o{self.name}"[:15]
        ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        ip("link", "set", inside, "netns", self.name)
        ip("link", "set", outside, "master", bridge(), "up")
        for words in (["addr", "add", f"{self.address}/24", "dev", inside], ["link", "set", inside, "up"], ["route", "add", "default", "via", HERE]):  # fmt: skip
            ip("-n", self.name, *words)
        unshare = ["unshare", "--pid", "--mount", "--uts", "--fork", "--mount-proc", "--kill-child"]
        script = BOOT.format(name=self.name.split("-")[0], home=self.home)
        with (self.home / "sshd.log").open("w") as log:
            self.outer = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *unshare, "bash", "-c", script], stdout=log, stderr=log
            )

    def processes(self):
        """Names of Ray's processes that run on it."""
        inside = psutil.Process(self.outer.pid).children(recursive=True)
        return [name for name in map(named, inside) if "ray" in name or "gcs" in name]

    def lose(self):
        """By the process that this one started: a pid file written on the machine says 1."""
        if self.outer is not None:
            self.outer.kill()
            self.outer.wait()
            self.outer = None
            subprocess.run(["ip", "netns", "del", self.name], check=False)


def named(process):
    try:
        return " ".join([process.name(), *process.cmdline()[:1]])
    except psutil.Error:
        return ""


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def bridge():
    return f"br{os.getpid()}"


@pytest.fixture
def machines(tmp_path):
    """Two machines, up, and the home of whoever uses them: with an ssh key, a token and a clone of this repository."""
    client = tmp_path / "client"
    (client / ".ssh").mkdir(parents=True)
    key = client / ".ssh" / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (client / ".ray").mkdir()
    (client / ".ray" / "auth_token").write_text("5" * 64)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(client / "stillroom")], check=True)
    for part in ("studies", "trainables", "analysis", "clusters"):  # as they lie here, committed or not
        subprocess.run(["rsync", "-a", "--delete", f"{ROOT / part}/", f"{client / 'stillroom' / part}/"], check=True)
    ip("link", "add", bridge(), "type", "bridge")
    ip("addr", "add", f"{HERE}/24", "dev", bridge())
    ip("link", "set", bridge(), "up")
    found = [Machine(tmp_path, address, key) for address in (HEAD, WORKER)]
    try:
        for machine in found:
            machine.boot()
        yield client, found
    finally:
        for machine in found:
            machine.lose()
        ip("link", "del", bridge())


def filled(client, endpoint):
    """clusters/onpremises.yaml as it is filled in; both machines train, on a core each."""
    text = (ROOT / "clusters" / "onpremises.yaml").read_text()
    words = {
        "YOUR_HEAD": HEAD,
        "[YOUR_WORKER_1, YOUR_WORKER_2]": f"[{WORKER}]",
        "YOUR_USER": "root",
        "workers: 2": "workers: 1",
    }
    words |= {"YOUR_STORAGE": f"s3://students/results AWS_ENDPOINT_URL={endpoint} AWS_REGION=us-east-1"}
    words |= {"--num-cpus=0 --num-gpus=0": "--num-cpus=1", "ray start --address": "ray start --num-cpus=1 --address"}
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    config = yaml.safe_load(text)
    config["cluster_name"] = f"stillroom-{os.getpid()}"
    config["auth"]["ssh_private_key"] = str(client / ".ssh" / "id_ed25519")  # ~ is for ssh the home that passwd names
    config["file_mounts"]["~/.aws/credentials"] = str(client / "credentials")
    (client / "credentials").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    (client / "install.sh").write_text(INSTALL.format(python=sys.executable))
    config["file_mounts"]["~/install.sh"] = str(client / "install.sh")
    kept = [command for command in config["setup_commands"] if ".venv/bin/pip" not in command]
    config["setup_commands"] = [*kept, "bash ~/install.sh"]
    return config


def rows(folder):
    table = ds.dataset(Path(folder) / "rows").to_table().to_pandas()
    assert not table.duplicated(CELL).any(), "a row is there twice"
    return table.sort_values(CELL).reset_index(drop=True)


def within(seconds, true):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.5)
    return False


@pytest.mark.parametrize("s3", [HERE], indirect=True)
def test_a_study_on_two_machines_outlives_one_and_nothing_is_left(machines, s3, tmp_path):
    client, (head, worker) = machines
    endpoint = f"http://{HERE}:{s3.port}"
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "STILLROOM_"))}
    env = {
        **mine,
        "HOME": str(client),
        "PYTHONPATH": str(client / "stillroom"),
        "RAY_AUTH_MODE": "token",
        "TERM": "dumb",
    }
    reader = {**env, **{k: v for k, v in os.environ.items() if k.startswith("AWS_")}, "AWS_ENDPOINT_URL": endpoint}
    config = client / "machines.yaml"
    config.write_text(yaml.safe_dump(filled(client, endpoint), sort_keys=False, width=1000))

    def ran(*words, timeout=300, **more):
        print(f"$ {' '.join(words)}", flush=True)
        known = {"cwd": client / "stillroom", "env": env, "text": True, "capture_output": True, "timeout": timeout}
        done = subprocess.run([sys.executable, *words], **{**known, **more})
        print(done.stdout[-3000:], done.stderr[-3000:], flush=True)
        return done

    ray = ("-c", "from ray.scripts.scripts import main; main()")
    assert within(20, lambda: "Server listening" in (worker.home / "sshd.log").read_text())
    assert ran("-m", "studies.harness.cluster", str(config), env=reader).returncode == 0
    start = time.monotonic()
    up = ran(*ray, "up", "-y", "--no-config-cache", str(config))
    assert up.returncode == 0
    print(f"up after {time.monotonic() - start:.0f} s", flush=True)
    for machine in (head, worker):
        assert within(60, lambda m=machine: "raylet" in " ".join(m.processes())), "the worker has not joined"
        assert stat.S_IMODE((machine.home / ".ray" / "auth_token").stat().st_mode) == 0o600

    stranger = {**env, "RAY_AUTH_TOKEN": "6" * 64}
    driver = ran("-c", f"import ray; ray.init('{HEAD}:6379'); print('joined')", env=stranger)
    node = ran(*ray, "start", f"--address={HEAD}:6379", "--num-cpus=1", env=stranger)
    for refused in (driver, node):
        assert (
            refused.returncode
            and "joined" not in refused.stdout
            and "auth" in (refused.stderr + refused.stdout).lower()
        )

    words = [sys.executable, *ray, "submit", "--no-config-cache", str(config), "studies/mnistm_kd.py", "--address", "auto", "--num-cpus", "2", *STUDY]  # fmt: skip
    print(f"$ {' '.join(words)}", flush=True)
    study = subprocess.Popen(
        words, cwd=client / "stillroom", env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    heard = []

    def listen():
        for line in study.stdout:
            heard.append(line)
            print(f"{time.monotonic() - start:6.1f} {line}", end="", flush=True)

    listener = threading.Thread(target=listen)
    listener.start()
    rows_of = pafs.FileSelector("students/results/mnistm_kd", recursive=True, allow_not_found=True)
    assert within(240, lambda: any("/rows/" in file.path for file in s3.fs.get_file_info(rows_of) if file.is_file))
    worker.lose()
    print(f"{time.monotonic() - start:6.1f} lost the worker", flush=True)
    assert study.wait(timeout=400) == 0
    listener.join()
    study.stdout.close()
    said = "".join(heard)
    assert "18 of 18 students have results" in said
    assert f"{HEAD} (sr2): 8 trials" in said and f"{WORKER} (sr3, lost): 0 trials" in said
    run = said.partition("run       ")[2].partition("\n")[0].strip()
    assert run.startswith("s3://students/results/mnistm_kd/")
    drawn = ran("analysis/mnistm_kd.py", run, "--out", str(tmp_path / "drawn"), env=reader)
    folder = tmp_path / "drawn" / run.rsplit("/", 1)[1]
    assert drawn.returncode == 0 and (folder / "report.html").exists() and list(folder.glob("figures/*.png"))
    assert records.info(folder)["git_commit"].startswith(
        subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    )
    alone = ran(
        "studies/mnistm_kd.py", "--storage", str(tmp_path / "alone"), "--address", "inline", "--num-cpus", "1", *STUDY
    )
    assert alone.returncode == 0
    ours, whole = rows(folder), rows(records.find_run("mnistm_kd", root=tmp_path / "alone"))
    assert ours[[*CELL, "status"]].equals(whole[[*CELL, "status"]])
    for metric in METRICS:
        assert ((ours[metric] - whole[metric]).abs().fillna(0) <= 1e-5).all(), metric

    worker.boot()  # by hand: after several minutes the autoscaler had not started Ray on a machine that was back
    assert within(20, lambda: (worker.home / "sshd.log").read_text().startswith("Server listening"))
    options = ["-i", str(worker.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    commands = yaml.safe_load(config.read_text())["worker_start_ray_commands"]
    again = f"source ~/.bashrc; export RAY_HEAD_IP={HEAD}; {'; '.join(commands)}"
    ssh = ["ssh", *options, f"root@{WORKER}", f"bash --login -i -c {shlex.quote(again)}"]
    assert within(
        180, lambda: subprocess.run(ssh, capture_output=True, timeout=120).returncode == 0
    )  # Ray waits 30 s for itself
    assert within(60, lambda: "raylet" in " ".join(worker.processes()))
    down = ran(*ray, "down", "-y", str(config))
    assert down.returncode == 0
    ended = time.monotonic()
    assert within(180, lambda: not head.processes() + worker.processes()), (head.processes(), worker.processes())
    print(f"nothing of Ray runs {time.monotonic() - ended:.0f} s after ray down", flush=True)
