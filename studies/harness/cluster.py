"""Whether a file of Ray's cluster launcher makes a cluster that studies can run on, before anything is started or paid for.

    python -m studies.harness.cluster cluster.yaml

One line per fault, exit code 2; one line that describes the cluster, exit code 0. Ray's own schema is asked first, then what Ray leaves
unchecked: keys of the provider, what starts it and with which token, what is copied, and whether the storage answers.
"""

from __future__ import annotations

import collections
import contextlib
import io
import itertools
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.harness.folder import filesystem
from studies.harness.study import InputError

ANY = {"type", "module", "disable_node_updaters", "disable_launch_config_check", "foreground_node_launch", "worker_liveness_check"}  # fmt: skip
CLOUD = ANY | {"region", "availability_zone", "cache_stopped_nodes", "use_internal_ips"}
KEYS = {
    "aws": CLOUD | {"security_group", "key_pair", "aws_credentials", "cloudwatch"},
    "gcp": CLOUD | {"project_id", "gcp_credentials"},
    "local": ANY | {"head_ip", "worker_ips", "external_head_ip", "coordinator_address"},
}
"""What Ray 2.60 reads of `provider`, by type: its node providers say so, no document does."""
NEEDED = {"aws": ("region",), "gcp": ("region", "availability_zone", "project_id"), "local": ()}
TOKEN = ".ray/auth_token"


def faults(config: Any) -> list[str]:
    """What is wrong with a cluster file that was read, in words; nothing where a study can run on it."""
    found = [*_schema(config)]
    if found:
        return found  # what follows takes its form for granted
    checks = (_provider, _commands, _mounts, _unfilled, _storage)
    return [fault for check in checks for fault in check(config)]


def _schema(config: Any) -> Iterator[str]:
    """What Ray says itself, all of it: its own check stops at the first fault, and says some in a traceback."""
    import jsonschema
    import ray.autoscaler
    from ray.autoscaler._private import util

    if not isinstance(config, dict):
        yield "the file has no keys: it must begin with cluster_name and provider"
        return
    schema = json.loads(Path(str(ray.autoscaler.__file__)).with_name("ray-schema.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    quiet = io.StringIO()  # what Ray says it also raises, save remarks
    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            prepared = util.prepare_config(config)
        wrong = [*validator.iter_errors(prepared)]
        if not wrong:
            util.validate_config(prepared)
    except (
        Exception
    ) as error:  # ValidationError, TypeError, KeyError, AttributeError, ClickException, ValueError, NotImplementedError
        known = {key: value for key, value in config.items() if key != "min_workers"}  # which a local cluster may have
        wrong = [*validator.iter_errors(known)]
        if not wrong:
            yield str(error).strip().splitlines()[0].strip("\"'")
    for each in wrong:
        yield f"{_where(each.absolute_path)}{each.message[:200]}"


def _provider(config: Mapping[str, Any]) -> Iterator[str]:
    provider = config["provider"]
    kind = provider["type"]
    for key in sorted(set(provider) - KEYS.get(kind, set(provider))):
        yield f"provider: {key} is no key of {kind}; there are {', '.join(sorted(KEYS[kind] - ANY))}"
    for key in NEEDED.get(kind, ()):
        if not provider.get(key):
            yield f"provider: {kind} needs {key}"
    if kind == "local" and "worker_ips" in provider:
        workers = provider["worker_ips"]
        twice = [ip for ip, times in collections.Counter([provider["head_ip"], *workers]).items() if times > 1]
        for ip in twice:
            yield f"provider: {ip} stands twice among head_ip and worker_ips"
        for key in ("min_workers", "max_workers"):
            if config.get(key, 0) > len(workers):
                yield f"{key} {config[key]}: there are {len(workers)} worker_ips"
    if kind != "local" and not config.get("available_node_types"):
        yield "available_node_types: missing; Ray's own are machines without GPUs"


def _commands(config: Mapping[str, Any]) -> Iterator[str]:
    local = config["provider"]["type"] == "local"
    for who, starts in (("head", "--head"), ("worker", "--address")):
        key = f"{who}_start_ray_commands"
        commands = config.get(key, [])
        start = " ".join(command for command in commands if "ray start" in command)
        before = " ".join([*config.get("setup_commands", []), *config.get(f"{who}_setup_commands", []), *commands])
        if starts not in start:
            yield f"{key}: no `ray start {starts}`{'' if commands else '; Ray would add one that asks for no token'}"
            continue
        if "RAY_AUTH_MODE=token" not in before:
            yield f"{key}: neither it nor a setup command exports RAY_AUTH_MODE=token"
        if who == "head" and "--autoscaling-config" not in start:
            yield f"{key}: without --autoscaling-config=~/ray_bootstrap_config.yaml no worker is ever started"
        if who == "head" and local and "RAY_enable_autoscaler_v2=0" not in before:
            yield f"{key}: without RAY_enable_autoscaler_v2=0 no worker of a local cluster ever joins"


def _mounts(config: Mapping[str, Any]) -> Iterator[str]:
    mounts = config.get("file_mounts", {})
    if not any(str(there).endswith(TOKEN) for there in mounts):
        yield f"file_mounts: ~/{TOKEN} is not copied to the nodes; without it they refuse each other"
    elif not any(re.search(rf"chmod 0?600 \S*{TOKEN}", command) for command in config.get("setup_commands", [])):
        yield f"setup_commands: no chmod 600 ~/{TOKEN}: everybody on the nodes could read it"
    for there, here in mounts.items():
        if not Path(str(here)).expanduser().exists():
            how = "; ray get-auth-token --generate makes it" if str(there).endswith(TOKEN) else ""
            yield f"file_mounts: {there}: there is no {here}{how}"
    key = config.get("auth", {}).get("ssh_private_key")
    if key and not Path(key).expanduser().exists():
        yield f"auth: ssh_private_key: there is no {key}"


def _unfilled(config: Mapping[str, Any]) -> Iterator[str]:
    for word in dict.fromkeys(re.findall(r"YOUR_\w+", json.dumps(config))):
        yield f"{word} is to be filled in"


def _storage(config: Mapping[str, Any]) -> Iterator[str]:
    commands = [command for key in config if key.endswith("_commands") for command in config[key]]
    named = dict.fromkeys(re.findall(r"STILLROOM_STORAGE=([^\s;'\"]+)", " ".join(commands)))
    if not named:
        yield "no command exports STILLROOM_STORAGE: the folder that all nodes share, or s3://bucket/prefix"
    for storage in named:
        if "YOUR_" in storage:
            continue
        if "://" not in storage:
            if not storage.startswith("/"):
                yield f"STILLROOM_STORAGE={storage}: name the folder that all nodes share from its root"
            continue
        try:
            fs, root = filesystem(storage)
            if fs.get_file_info(root.split("/")[0]).type.name == "NotFound":
                yield f"STILLROOM_STORAGE={storage}: there is no {root.split('/')[0]}"
        except (InputError, OSError) as error:
            yield f"STILLROOM_STORAGE={storage} cannot be reached: {str(error).splitlines()[0][:200]}"


def _where(path: Sequence[Any]) -> str:
    return "".join(f"{key}: " for key in path)


def described(config: Mapping[str, Any]) -> str:
    """A cluster in a line."""
    kinds = config.get("available_node_types", {})
    machine = {name: k["node_config"].get("InstanceType") or k["node_config"].get("machineType") for name, k in kinds.items()}  # fmt: skip
    if not kinds:
        ips = config["provider"].get("worker_ips", [])
        return f"head {config['provider'].get('head_ip')}, {config.get('max_workers', len(ips))} workers of your own"
    head = config["head_node_type"]
    workers = [f"{kinds[n].get('min_workers', 0)} to {kinds[n].get('max_workers', config.get('max_workers'))} {machine[n]}" for n in kinds if n != head]  # fmt: skip
    return f"head {machine[head]}, workers {', '.join(workers)}"


def main(words: Sequence[str]) -> int:
    """The exit code."""
    import yaml

    if len(words) != 1:
        print("usage: python -m studies.harness.cluster FILE", file=sys.stderr)
        return 2
    try:
        config = yaml.safe_load(Path(words[0]).read_text())
        found = faults(config)
    except OSError as error:
        found = [str(error.strerror)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        found = [f"is no YAML: {' '.join(itertools.islice(str(error).split(), 40))}"]
    for fault in found:
        print(f"{words[0]}: {fault}", file=sys.stderr)
    if not found:
        print(f"{words[0]}: {config['cluster_name']}, {described(config)}: nothing wrong")
    return 2 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
