# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""This collection's relay: its modules start the nodes, its filters' code makes the plan."""

from __future__ import annotations

import collections
import hashlib
import json
import math
import os
import re
import threading
import time
import typing as t
from pathlib import Path

from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import (
    CHUNK_BYTES,
    HEADER_BYTES,
    ChunkHasher,
    ChunkList,
    chunk_count,
)
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import RelayError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.run_directory import RunDirectory
from ansible_collections.basecast.fleet.plugins.modules import relay_transfer
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fleet import Network, relay_plans
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.parts import relay_parts
from ansible_collections.basecast.fleet.tests.lab import LabError
from ansible_collections.basecast.fleet.tests.lab._linux import remove_tree

from .. import machine
from ..field import FILE, POOL, Field, Incident, fate
from ..results import Run
from ..scenarios import MIB
from .base import Tool

RUN = "bench"
RUNTIME = "/run/basecast"

IMPORT = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "basecast.fleet.base_disk_import": {
                    "pools": "{{ basecast_pools }}",
                    "src": "{{ image }}",
                    "source_dirs": ["{{ image | dirname }}"],
                    "format": "raw",
                    "name": "bench",
                    "version": "{{ version }}",
                },
                "register": "imported",
            },
            {
                "ansible.builtin.copy": {"dest": "{{ answer }}", "content": "{{ imported.base | to_json }}", "mode": "0600"},
                "delegate_to": "localhost",
            },
        ],
    }
]

LISTEN = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "basecast.fleet.relay_certificates": {"run": RUN, "hosts": "{{ ansible_play_hosts_all }}"},
                "run_once": True,
                "no_log": True,
                "register": "credentials",
            },
            {
                "basecast.fleet.relay_node": {
                    "state": "listening",
                    "run": RUN,
                    "host": "{{ inventory_hostname }}",
                    "address": "{{ basecast_address }}",
                    "credentials": "{{ credentials.certificates[inventory_hostname] }}",
                    "runtime_dir": RUNTIME,
                    "encryption": "{{ encryption }}",
                },
                "register": "listening",
            },
            {
                "ansible.builtin.copy": {
                    "dest": "{{ answer }}",
                    "content": "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, ['listening', 'node']))) | to_json }}",
                    "mode": "0600",
                },
                "run_once": True,
                "delegate_to": "localhost",
            },
        ],
    }
]


class Relay(Tool):
    """Nodes listen before the start; at the start each is given its part of the plan, through its control socket."""

    def __init__(self, name: str, mode: str, encryption: bool = True) -> None:
        self.name = name
        self.mode = mode
        self.encryption = encryption
        self.title = f"basecast.fleet, {mode.replace('_', '-')}" + ("" if encryption else ", not encrypted")
        self.note = (
            f"{'Encrypted (TLS 1.3), both' if encryption else 'Not encrypted; both'} sides known by certificates, every chunk verified "
            "before it is stored or passed on, synced to disk at the end. Nodes listen and the plan is made before the start; in the time "
            "is the giving of the plan to each node in turn."
        )

    def copies(self, receivers: int) -> float:
        return 1.0 if self.mode == "cut_through" else math.ceil(math.log2(receivers + 1))

    def run(self, field: Field, size: int, incident_s: float | None = None) -> Run:
        field.clear()
        metadata = self.imported(field, size)
        relay = self.relay(field, metadata)
        plan = self.planned(field, relay)
        try:
            nodes = self._play(field, LISTEN, encryption=self.encryption)
            return self._race(field, relay, plan, nodes, incident_s)
        finally:
            self._end(field, metadata["sha256"])

    # ---- what differs for large files

    def imported(self, field: Field, size: int) -> dict[str, t.Any]:
        """Metadata of the file as a base disk of the source."""
        sha256 = field.put_file(size)
        return self._play(field, IMPORT, "--limit", field.source, image=FILE, version=sha256[:12])

    def planned(self, field: Field, relay: dict[str, t.Any]) -> dict[str, t.Any]:
        (plan,) = relay_plans([t.cast("t.Any", relay)], Network(field.links()), mode=self.mode)
        return t.cast("dict[str, t.Any]", plan)

    def judge(self, field: Field, relay: dict[str, t.Any], where: str, dead: tuple[str, ...]) -> dict[str, str]:
        return field.judge(relay["size_bytes"], relay["sha256"], where, dead)

    # ---- before the start

    @staticmethod
    def relay(field: Field, metadata: dict[str, t.Any]) -> dict[str, t.Any]:
        """As service_plan would tell it."""
        return {
            "base": "bench",
            "sha256": metadata["sha256"],
            "size_bytes": metadata["size_bytes"],
            "metadata": metadata,
            "sources": {field.source: "default"},
            "targets": dict.fromkeys(field.receivers, "default"),
        }

    @staticmethod
    def _play(field: Field, playbook: list[dict[str, t.Any]], *options: str, **variables: t.Any) -> dict[str, t.Any]:
        path, answer = field.lab.state / "bench.yml", field.lab.state / "answer.json"
        path.write_text(json.dumps(playbook))
        done = field.lab.playbook([path, "-e", json.dumps({"answer": str(answer), **variables}), *options])
        if done.returncode:
            raise LabError(f"{done.stdout}\n{done.stderr}")
        found = json.loads(answer.read_text())
        answer.unlink()
        return t.cast("dict[str, t.Any]", found)

    # ---- the race

    def _race(
        self,
        field: Field,
        relay: dict[str, t.Any],
        plan: dict[str, t.Any],
        nodes: dict[str, t.Any],
        incident_s: float | None,
    ) -> Run:
        size, sha256 = relay["size_bytes"], relay["sha256"]
        parts = relay_parts([t.cast("t.Any", relay)], [t.cast("t.Any", plan)])
        # As the module takes it; options that are not named are not given.
        given = {
            name: relay_transfer.part(
                collections.defaultdict(lambda: None, pools={"default": POOL}, bases=parts[name], peers=nodes, mode=self.mode)
            )
            for name in field.lab.names
        }
        # Whoever is served first, and serves others, hears of it first.
        runtimes = {name: self.runtime(field, name) for name in sorted(field.lab.names, key=self._depths(plan).__getitem__)}
        victim = self._victim(field, plan)
        incident = None if incident_s is None else Incident(incident_s, victim)
        limit = field.scenario.limit_s(size) or 20.0
        deadline = time.monotonic() + 4 * self.copies(len(field.receivers)) * limit + 30
        watches = {name: Watch(runtimes[name], deadline) for name in field.receivers}

        field.take_memory(size)
        carried, processor = field.received_on_links(), machine.ProcessorTime(field.lab)
        begin = time.time()
        with fate(field, incident) as dead:
            for name, runtime in runtimes.items():
                runtime.ask("start", **given[name])
            for watch in watches.values():
                watch.start()
            for watch in watches.values():
                watch.join()
            cpu, other = processor.seconds()
        hosts = self.judge(field, relay, f"{POOL}/bases/{sha256}/disk", tuple(dead))
        living = [watch for name, watch in watches.items() if name not in dead]
        whole = set(hosts.values()) <= {"complete", "dead"} and all(watch.holding for watch in living)
        told = [base for watch in living for base in watch.node.get("bases", {}).values()]
        return Run(
            seconds=max(watch.at for watch in living) - begin if whole else None,
            hosts=hosts,
            exit=0 if all(watch.holding for watch in watches.values()) else 1,
            cpu_s=cpu,
            other_cpu_s=other,
            wire_ratio=field.wire_ratio(carried, size, dead),
            payload_ratio=max((base["received_bytes"] for base in told), default=0) / size,
            resident_mib=max(self._resident(field, name, nodes[name]["pid"]) for name in field.lab.names if name not in dead),
            said="" if whole else " | ".join(watch.said for watch in living if watch.said)[-400:],
        )

    @staticmethod
    def runtime(field: Field, name: str) -> RunDirectory:
        return RunDirectory(str(field.path(name, RUNTIME)), RUN)

    @staticmethod
    def _depths(plan: dict[str, t.Any], trees: int | None = None) -> dict[str, int]:
        """Links from the source to each host, in that of the first so many trees in which it is nearest; 0 for the source."""
        depths: dict[str, int] = {}
        for tree in plan["trees"][:trees]:
            parents = {edge["to"]: edge["from"] for edge in tree["edges"]}
            for name in {*parents, *parents.values()}:
                depth, at = 0, name
                while at in parents:
                    depth, at = depth + 1, parents[at]
                depths[name] = min(depth, depths.get(name, depth))
        return depths

    @classmethod
    def _victim(cls, field: Field, plan: dict[str, t.Any]) -> str:
        """A host that passes on, in the middle of the plan."""
        depths = cls._depths(plan, 1)
        relaying = sorted({edge["from"] for edge in plan["trees"][0]["edges"]} - {field.source}, key=lambda name: (depths[name], name))
        return relaying[len(relaying) // 2] if relaying else field.receivers[0]

    @staticmethod
    def _resident(field: Field, name: str, pid: int) -> float:
        """MiB, at the most, since the node began."""
        status = field.host(name).run(["cat", f"/proc/{pid}/status"]).stdout
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found.group(1)) / 1024 if found else 0.0

    def _end(self, field: Field, sha256: str) -> None:
        """No node, and no base but on the source."""
        for name in field.lab.names:
            if field.host(name).running:
                try:
                    self.runtime(field, name).ask("stop")
                except RelayError:
                    continue
        for name in field.receivers:
            for folder in ("bases", "bases/.partial"):
                remove_tree(Path(f"{field.path(name, POOL)}/{folder}/{sha256}"))


class LargeRelay(Relay):
    """A file that no machine could hold so often: only its begin is random, the rest are zero bytes and no blocks on disk.

    All hosts fetch from the source at once, to show what many children cost it.
    """

    def imported(self, field: Field, size: int) -> dict[str, t.Any]:
        """Into the store by its own code; the base's name is the digest of its chunk list, for hashing 200 GiB takes minutes."""
        pool = field.path(field.source, POOL)
        hasher = ChunkHasher()
        data = os.urandom(field.scenario.data_bytes)
        hasher.update(data)
        self._data_sha256, begin = hasher.finish()
        zero = hashlib.sha256(bytes(CHUNK_BYTES)).digest()
        digests = begin.to_bytes()[HEADER_BYTES:] + zero * (chunk_count(size) - begin.count)
        chunks = ChunkList.from_digests(size, CHUNK_BYTES, digests)
        metadata = {
            "format": 1, "sha256": chunks.sha256, "source_sha256": chunks.sha256, "size_bytes": size, "virtual_size_bytes": size,
            "image_format": "raw", "parent": None, "chunk_bytes": CHUNK_BYTES, "chunks_sha256": chunks.sha256,
            "imported_at": "2026-01-01T00:00:00Z", "imported_from": {"kind": "path", "name": "image", "image_format": "raw"},
            "signatures": [],
        }  # fmt: skip
        partial = Store(str(pool)).partial(chunks.sha256)
        with open(partial.disk, "wb") as file:
            file.write(data)
            file.truncate(size)
        partial.publish(metadata, chunks.to_bytes())
        return metadata

    def planned(self, field: Field, relay: dict[str, t.Any]) -> dict[str, t.Any]:
        edges = [{"from": field.source, "to": name} for name in field.receivers]
        return {
            "mode": self.mode,
            "parents": {name: [[field.source]] for name in field.receivers},
            "trees": [{"weight": 1.0, "edges": edges}],
        }

    def judge(self, field: Field, relay: dict[str, t.Any], where: str, dead: tuple[str, ...]) -> dict[str, str]:
        def look(name: str) -> str:
            path = field.path(name, where)
            if not path.exists():
                return "missing"
            found = path.stat()
            if found.st_size < relay["size_bytes"]:
                return "truncated"
            with open(path, "rb") as file:
                begin = hashlib.sha256(file.read(field.scenario.data_bytes)).hexdigest()
            # No block beyond the begin: nothing but zero bytes there.
            sparse = found.st_blocks * 512 <= field.scenario.data_bytes + MIB
            return "complete" if begin == self._data_sha256 and sparse else "wrong"

        return {name: look(name) for name in field.receivers}


class Watch(threading.Thread):
    """Waits for one node to be done, and notes when it was."""

    def __init__(self, runtime: RunDirectory, deadline: float) -> None:
        super().__init__(daemon=True)
        self._runtime = runtime
        self._deadline = deadline
        self.node: dict[str, t.Any] = {}
        self.at = 0.0
        self.said = ""

    @property
    def holding(self) -> bool:
        return bool(self.node.get("settled")) and all(base["state"] == "holding" for base in self.node["bases"].values())

    def run(self) -> None:
        try:
            while not self.node.get("settled") and time.monotonic() < self._deadline:
                self.node = self._runtime.ask("wait", timeout_s=20.0)
            self.at = time.time()
        except RelayError as error:
            self.said = error.message
            return
        if not self.holding:
            states = [f"{base['state']} {base['msg']} {base['attempts'][-3:]}" for base in self.node["bases"].values()]
            self.said = f"{self.node.get('host')}: {'; '.join(states)}"
