# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Options and results of the modules that migrate machines."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule

from .._disk.room import checked_percent
from .._disk.store import stores_of
from .._errors import FleetError, InvalidOption
from .._job.arguments import forget
from .._job.steps import failure_of
from .._machine.backing import Layer
from .._machine.owner import Owner, checked_owner
from .._module import check_absolute, check_seconds, checked_pools, pool_path, pools_argument
from .._names import check_name, check_sha256
from .._relay.wire.tls import Contexts, contexts
from .host import Host, Numbers
from .incoming import Disk
from .source import Departure, Place
from .target import Arrival
from .tunnel import Peer

MACHINE: dict[str, t.Any] = {
    "tenant": {"type": "str", "default": "default"},
    "service": {"type": "str", "required": True},
    "machine": {"type": "str", "required": True},
}
BEGUN_BY: dict[str, t.Any] = {"begun_by": {"type": "str"}}
NUMBERS: dict[str, t.Any] = {"generation": {"type": "int"}, "assignments": {"type": "dict"}}


def host_argument() -> dict[str, t.Any]:
    return {
        **pools_argument(),
        "busy_timeout_s": {"type": "float", "default": 60},
        "uri": {"type": "str", "default": "qemu:///system"},
        "state_dir": {"type": "str", "default": "/var/lib/basecast"},
        "runtime_dir": {"type": "str", "default": "/run/basecast"},
    }


def checked_host(module: AnsibleModule, name: str) -> Host:
    params = module.params
    if not module._keep_remote_files:
        forget(name)  # the arguments hold a key
    check_absolute(params, "state_dir", "runtime_dir")
    check_seconds(params, *(option for option in ("busy_timeout_s", "shutdown_timeout_s", "timeout_s", "ttl_s") if option in params))
    pools = checked_pools(params["pools"])
    host = Host(
        pools,
        module.run_command,
        params["uri"],
        params["state_dir"],
        params["runtime_dir"],
        params["busy_timeout_s"],
    )
    if "reserve_percent" in params:
        host.stores = stores_of(pools, module.run_command, checked_percent(params["reserve_percent"]))
    return host


def checked_tls(module: AnsibleModule) -> Contexts:
    """:raises InvalidOption: none are given."""
    pem = module.params["credentials"]
    if not pem or not all(isinstance(pem.get(key), str) for key in ("ca", "certificate", "key")):
        raise InvalidOption("credentials", "(not shown)", "ca, certificate and key of the run are needed (relay_certificates)")
    return contexts(pem["ca"], pem["certificate"], pem["key"])


def owner_of(machine: t.Mapping[str, t.Any], index: int) -> Owner:
    return checked_owner(machine["tenant"], machine["service"], machine["machine"], f"machines[{index}].machine")


def begun_by(machine: t.Mapping[str, t.Any], index: int, run: str) -> str:
    """The run whose migration of the machine is meant: this one, or one that it ends."""
    return check_name(f"machines[{index}].begun_by", machine["begun_by"] or run)


def numbers_of(machine: t.Mapping[str, t.Any], index: int) -> Numbers:
    if machine["generation"] is None or machine["assignments"] is None:
        raise InvalidOption(f"machines[{index}].assignments", None, "with this state, generation and assignments are needed")
    return Numbers(machine["generation"], machine["assignments"])


def arrival_of(machine: t.Mapping[str, t.Any], index: int, run: str, pools: t.Mapping[str, str]) -> Arrival:
    option = f"machines[{index}]"
    for key in ("source", "home", "arch", "domain_type"):
        if not machine[key]:
            raise InvalidOption(f"{option}.{key}", machine[key], "with this state it is needed")
    pool_path(pools, machine["home"], f"{option}.home")
    return Arrival(
        owner=owner_of(machine, index),
        run=check_name("run", run),
        source=machine["source"],
        live=machine["live"],
        running=machine["running"],
        autostart=machine["autostart"],
        home=machine["home"],
        disks=[_disk(disk, f"{option}.disks[{number}]", pools) for number, disk in enumerate(machine["disks"])],
        arch=machine["arch"],
        machine_type=machine["machine_type"],
        domain_type=machine["domain_type"],
        cpu=machine["cpu"] or "",
        shared=_shared(machine, option, pools),
    )


def _shared(machine: t.Mapping[str, t.Any], option: str, pools: t.Mapping[str, str]) -> list[str]:
    for number, pool in enumerate(machine["shared"]):
        pool_path(pools, pool, f"{option}.shared[{number}]")
    return list(machine["shared"])


def _disk(disk: t.Mapping[str, t.Any], option: str, pools: t.Mapping[str, str]) -> Disk:
    pool_path(pools, disk["pool"], f"{option}.pool")
    check_name(f"{option}.name", disk["name"])
    if disk["base"] is not None:
        check_sha256(f"{option}.base", disk["base"])
    if disk["size_bytes"] < 0:
        raise InvalidOption(f"{option}.size_bytes", disk["size_bytes"], "a number of bytes is needed")
    return Disk(disk["name"], disk["pool"], disk["image_format"], disk["size_bytes"], disk["base"], bool(disk["shared"]))


def departure_of(machine: t.Mapping[str, t.Any], index: int, run: str, pools: t.Mapping[str, str]) -> Departure:
    option = f"machines[{index}]"
    peer, place = machine["peer"], machine["place"]
    if not peer or not place:
        raise InvalidOption(f"{option}.peer", peer, "with this state, peer and place are needed")
    if not peer.get("host") or not peer.get("address") or not isinstance(peer.get("port"), int):
        raise InvalidOption(f"{option}.peer", peer, "a peer is {host, address, port}")
    try:
        chains = {
            path: [Layer(str(layer["path"]), str(layer["image_format"])) for layer in layers] for path, layers in place["chains"].items()
        }
        there = Place(str(place["home"]), dict(place["disks"]), chains, [str(model) for model in place["security"]])
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidOption(f"{option}.place", place, "what migration_target returned is needed") from error
    return Departure(
        owner_of(machine, index),
        check_name("run", run),
        Peer(peer["host"], peer["address"], peer["port"]),
        machine["live"],
        there,
        _shared(machine, option, pools),
    )


Step = t.Callable[[int], t.Mapping[str, t.Any]]


def each(machines: t.Sequence[t.Mapping[str, t.Any]], step: Step, at_once: int = 1) -> list[dict[str, t.Any]]:
    """A step for each machine, so many side by side; one that fails holds no other up."""

    def one(index: int) -> dict[str, t.Any]:
        machine = machines[index]
        told: dict[str, t.Any] = {key: machine[key] for key in MACHINE}
        try:
            return {**told, **step(index), "problem": None}
        except (FleetError, OSError) as error:
            unknown = isinstance(error, FleetError) and bool(error.fields.get("unknown"))
            return {**told, "state": "unknown" if unknown else "failed", "problem": failure_of("", error).msg}

    with ThreadPoolExecutor(max_workers=max(1, min(at_once, len(machines)))) as workers:
        return list(workers.map(one, range(len(machines))))


def answer(module: AnsibleModule, results: t.Sequence[t.Mapping[str, t.Any]], changed: bool, **more: t.Any) -> dict[str, t.Any]:
    """The module's result. It fails where one machine has."""
    told = {"changed": changed, "machines": list(results), **more}
    failed = [one for one in results if one["problem"]]
    if failed:
        problems = "; ".join(f"{one['machine']}: {one['problem']}" for one in failed)
        module.fail_json(msg=f"Not every machine went through: {problems}", failure={"kind": "migration_failed"}, **told)
    return told
