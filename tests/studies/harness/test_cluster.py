"""The cluster files are what Ray and our studies need, and each fault of a file has its line. Machines are brought up in tests/cluster."""

import copy
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from studies.harness import cluster

ROOT = Path(__file__).parents[3]
FILES = ["cluster.yaml", "clusters/gcp.yaml", "clusters/onpremises.yaml"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user with a token and a key, where the files' own paths hold."""
    for name in (".ray/auth_token", ".ssh/id_ed25519"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("0" * 64)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return tmp_path


def filled(name):
    """A file as its user has filled it in, its results in a folder that the machines share."""
    text = (ROOT / name).read_text()
    text = re.sub(r"STILLROOM_STORAGE=\S+", "STILLROOM_STORAGE=/srv/stillroom", text)
    return yaml.safe_load(re.sub(r"YOUR_(\w+)", lambda word: word[1].lower(), text))


@pytest.mark.parametrize("name", FILES)
def test_a_file_lacks_only_what_is_the_users(name, capsys):
    assert cluster.main([name]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(re.fullmatch(rf"{name}: YOUR_\w+ is to be filled in", line) for line in lines)
    assert cluster.faults(filled(name)) == []


@pytest.mark.parametrize("name", FILES)
def test_ray_itself_accepts_it(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((ROOT / name).read_text())))


@pytest.mark.parametrize("name", FILES)
def test_a_file_begins_with_its_commands_and_its_cost(name):
    head = (ROOT / name).read_text().partition("\ncluster_name")[0]
    assert [f"ray {word} {name}" in head for word in ("up", "submit", "down")] == [True] * 3
    assert "What it costs to leave it on" in head


def without(key):
    return lambda config: config.pop(key)


def put(*path):
    """Sets the last of the words under the keys before it."""
    *keys, last, value = path

    def change(config):
        for key in keys:
            config = config[key]
        config[last] = value

    return change


def renamed(config):
    config["provider"]["avaliability_zone"] = config["provider"].pop("availability_zone")


def storage(where):
    def change(config):
        config["setup_commands"] = [command.replace("/srv/stillroom", where) for command in config["setup_commands"]]

    return change


def commands(key, old, new=""):
    def change(config):
        config[key] = [command.replace(old, new) for command in config[key]]

    return change


AWS, GCP, OWN = FILES
WRONG = [
    (AWS, put("max_worker", 3), "'max_worker' was unexpected"),
    (AWS, put("max_workers", "four"), "max_workers: 'four' is not of type 'integer'"),
    (AWS, put("provider", "type", "awz"), "Unsupported node provider: awz"),
    (AWS, put("head_node_type", "boss"), "`head_node_type` must be one of `available_node_types`"),
    (AWS, renamed, "provider: avaliability_zone is no key of aws; there are availability_zone,"),
    (AWS, without("worker_start_ray_commands"), "worker_start_ray_commands: no `ray start --address`; Ray would add one that asks for no token"),
    (AWS, commands("head_start_ray_commands", "--autoscaling-config", "--config"), "without --autoscaling-config="),
    (AWS, commands("setup_commands", "RAY_AUTH_MODE=token"), "neither it nor a setup command exports RAY_AUTH_MODE=token"),
    (AWS, put("file_mounts", {"~/stillroom": "."}), "~/.ray/auth_token is not copied to the nodes"),
    (AWS, commands("setup_commands", "chmod 600", "ls -l"), "no chmod 600 ~/.ray/auth_token"),
    (AWS, put("file_mounts", "~/data", "/no/such/folder"), "file_mounts: ~/data: there is no /no/such/folder"),
    (AWS, commands("setup_commands", "STILLROOM_STORAGE", "STORAGE"), "no command exports STILLROOM_STORAGE"),
    (AWS, storage("results"), "STILLROOM_STORAGE=results: name the folder that all nodes share from its root"),
    (GCP, put("provider", "project_id", None), "provider: gcp needs project_id"),
    (OWN, commands("head_start_ray_commands", "RAY_enable_autoscaler_v2=0", "true"), "no worker of a local cluster ever joins"),
    (OWN, put("provider", "worker_ips", ["head", "b"]), "provider: head stands twice among head_ip and worker_ips"),
    (OWN, put("min_workers", 5), "min_workers 5: there are 2 worker_ips"),
    (OWN, put("auth", "ssh_private_key", "~/none"), "auth: ssh_private_key: there is no ~/none"),
    (OWN, put("provider", {"type": "local"}), "Please supply a `head_ip` and list of `worker_ips`"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "line"), WRONG)
def test_a_fault_is_one_line_that_names_it(tmp_path, capsys, name, change, line):
    config = copy.deepcopy(filled(name))
    change(config)
    file = tmp_path / "changed.yaml"
    file.write_text(yaml.safe_dump(config))
    assert cluster.main([str(file)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said and all(each.startswith(f"{file}: ") and line in each for each in said)


def test_all_faults_are_told_at_once():
    config = filled(OWN)
    for change in (put("min_workers", 5), put("auth", "ssh_private_key", "~/none"), storage("results")):
        change(config)
    assert len(cluster.faults(config)) == 3


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "a: [", "{provider: [], cluster_name: 1}", "\x00", None])
def test_what_is_no_cluster_file_is_said_in_lines(tmp_path, capsys, content):
    file = tmp_path / "c.yaml"
    if content is not None:
        file.write_text(content)
    assert cluster.main([str(file)]) == 2
    said = capsys.readouterr().err
    assert said and "Traceback" not in said and all(line.startswith(f"{file}: ") for line in said.splitlines())


def test_the_token_is_the_users_alone_on_every_node():
    """What the files do to it, on a copy that everybody may read."""
    token = Path.home() / ".ray/auth_token"
    token.chmod(0o644)
    for name in FILES:
        command = next(c for c in filled(name)["setup_commands"] if "chmod" in c)
        subprocess.run(command, shell=True, check=True)
        assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_a_storage_that_answers_is_told_from_one_that_does_not(s3, monkeypatch):
    def told(where):
        config = filled(OWN)
        storage(where)(config)
        return cluster.faults(config)

    assert told(f"s3://{s3.bucket}/prefix") == []
    assert told("s3://no-such-bucket/prefix") == [
        "STILLROOM_STORAGE=s3://no-such-bucket/prefix: there is no no-such-bucket"
    ]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (fault,) = told(f"s3://{s3.bucket}/prefix")
    assert fault.startswith(f"STILLROOM_STORAGE=s3://{s3.bucket}/prefix cannot be reached: ")
