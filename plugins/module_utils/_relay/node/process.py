# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The node as a process: how a module starts and ends it, and what it answers at its control socket."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
import socket
import sys
import threading
import time
import typing as t

from ..._base_format.chunk_list import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES
from ..._untrusted import Value
from ..download.parent_selection import Patience, route_of
from ..errors import ControlFailed, RelayError
from ..measure import prober
from ..measure.link_history import LinkHistory
from ..states import MACHINES
from ..status.table import machine_counts
from ..upload.link_meter import rows_of
from ..wire import protocol
from ..wire.socket_stream import listen
from ..wire.tls import contexts
from ..wire.transport import Address
from . import control_socket
from .base_store import BaseRequest, BaseStore
from .daemon import Process, spawn, start_time, stay_small, yield_to_others
from .node import STOPPED, THREAD_STACK_BYTES, Identity, Node
from .run_directory import Json, RunDirectory
from .settings import CUT_THROUGH, STAGED, Settings

# How long a node has to end by itself before it is killed.
STOP_S = 10.0

MAX_FILES = 16384

# What a request may hold.
MAX_POOLS = 1024
MAX_TURNS = 65536
MAX_STRIPES = 256
MAX_SECONDS = 1e7
MAX_MBPS = 1e9


class Command(t.NamedTuple):
    """What a node is started with.

    :param state_dir: where this host keeps what is measured.
    :param limits: as Limits.set takes them.
    :param encryption: False: peers know each other by their certificates, and what follows is plain.
    :param nice: of the process; idle_io: whether its I/O waits for everybody else's.
    """

    run: str
    host: str
    address: str
    ports: tuple[int, int]
    credentials: Json
    settings: Settings
    state_dir: str
    limits: t.Mapping[str, t.Any] = {}
    encryption: bool = True
    nice: int = 0
    idle_io: bool = False


def listening(runtime: RunDirectory, command: Command, shelf: BaseStore) -> tuple[Json, bool]:
    """A node that listens: the one that is there, or a new one. (its data, whether it is new)"""
    authority = authority_of(command.credentials)
    while True:
        with runtime.locked() as is_current:
            try:
                node = runtime.ask("progress", timeout=5.0)
                # Certificates that were made anew belong to a repeated run: the old node could not talk to its peers.
                if node["authority"] == authority and node["encryption"] == command.encryption:
                    node = runtime.ask("limit", limits=dict(command.limits))
                    return node, bool(node.pop("changed"))
            except ControlFailed:
                pass
            noted = runtime.read_pidfile()
            _end(runtime)
            if is_current():
                if runtime.is_given_up:  # while the lock was another's
                    runtime.remove()
                runtime.refuse_given_up()
                return _start(runtime, command, shelf, authority, noted.get("port")), True


def _start(runtime: RunDirectory, command: Command, shelf: BaseStore, authority: str, port: int | None) -> Json:
    """:param port: of a node that is gone: peers that were told of it know it."""
    runtime.forget_endings()
    for path in (runtime.socket, runtime.pidfile, runtime.log, runtime.ending):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    # Errors of credentials, address and ports belong to the module, so all that happens before the fork.
    pem = command.credentials
    tls_contexts = contexts(pem["ca"], pem["certificate"], pem["key"], command.encryption)
    listener = listen(command.address, *command.ports, preferred=port)
    server = control_socket.listen(runtime.socket)

    def main() -> None:
        threading.stack_size(THREAD_STACK_BYTES)
        stay_small()
        try:
            yield_to_others(command.nice, command.idle_io)
        except OSError as error:
            _log(f"the priority of the process stays as it is: {error}")
        node = Node(
            Identity(command.run, command.host, int(time.time() * 1000)),
            listener,
            tls_contexts,
            shelf,
            time.monotonic,
            command.settings,
            _log,
        )
        node.limits.set(**command.limits)
        told = {"authority": authority, "encryption": command.encryption}
        _run(node, runtime, server, told, LinkHistory(command.state_dir))

    process = spawn(main, {listener.fileno(), server.fileno()}, runtime.log)
    listener.close()
    server.close()
    try:
        return runtime.ask("progress", timeout=10.0)
    except ControlFailed as error:
        process.signal(signal.SIGKILL)
        raise RelayError(f"The relay node did not start: {runtime.log_tail() or error.message}")


def stopped(runtime: RunDirectory) -> bool:
    """No node, no port, no directory; whether there was something to end."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(runtime.ending)
    if not os.path.isdir(runtime.directory):
        return False
    with runtime.locked():
        _end(runtime)
        runtime.remove()
    return True


def _end(runtime: RunDirectory) -> None:
    process = runtime.process()
    try:
        answer = runtime.ask("stop", timeout=5.0)
        process = Process(int(answer["pid"]), int(answer["start_time"]))
    except (RelayError, KeyError):
        if process is not None:
            process.signal(signal.SIGTERM)
    if process is not None and not process.wait(STOP_S):
        process.signal(signal.SIGKILL)
        if not process.wait(STOP_S):
            raise RelayError(f"The relay node, process {process.pid}, cannot be ended.")


def _log(line: str) -> None:
    # Standard output is the log file by then.
    sys.stdout.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def _run(node: Node, runtime: RunDirectory, server: socket.socket, told: Json, history: LinkHistory) -> None:
    """The life of the process.

    :param told: what each answer says of how it was started.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: node.stop_soon())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Three descriptors for a child, and many children at the source of a large fleet.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MAX_FILES)), hard))
    runtime.write_pidfile(node)
    agent = _Agent(node, told)
    threading.Thread(target=control_socket.serve, args=(server, agent.handle, node.stopping), daemon=True).start()
    node.open()
    _log(f"node of run {node.run_id} on {node.host} listens at {node.address}:{node.port}")
    reason = "an error of its own, see the log"
    try:
        reason = node.live()
        _log(f"ends: {reason}")
    finally:
        node.close()
        server.close()
        keep_measured(node, history)
        if reason != STOPPED:
            keep_ending(runtime, {**agent.last_words(), "ended": reason})
        runtime.remove()


def keep_ending(runtime: RunDirectory, last: Json) -> None:
    """What the node would still answer is kept for a controller that comes later than the node could wait."""
    try:
        runtime.write_ending(last)
    except OSError as error:
        _log(f"what became of the bases could not be kept: {error}")


def keep_measured(node: Node, history: LinkHistory) -> None:
    """Probes first: what a transfer of the same run tells of a link is newer, and of more bytes."""
    probed, now = node.prober.result(), time.time()
    try:
        history.note(probed["links"], "probe", now, probed["disks"])
        # Chunk by chunk a child may have several parents, and each only a part of its link.
        history.note(rows_of(node.host, node.meter.rates()), "transfer", now, at_least=node.mode != STAGED)
    except OSError as error:
        node.log(f"what was measured could not be kept: {error}")


class _Agent:
    """Answers the control socket."""

    def __init__(self, node: Node, told: Json) -> None:
        self._node = node
        self._process = {"pid": os.getpid(), "start_time": start_time(os.getpid()), **told}

    def handle(self, message: Value) -> Json:
        """:raises FleetError: Malformed: a request that cannot be fulfilled, or read."""
        node = self._node
        command = message["command"].text(32)
        # A guard outlives a controller that is killed: it must not keep the node alive.
        if command != "guard":
            node.touch()
        settled = all(base["state"] in ("holding", "failed") for base in node.progress()["bases"].values())
        if command == "guard":
            node.guard()
            return {"run": node.run_id}
        if command == "machines":
            node.note_machines(machine_counts(message["counts"].items(len(MACHINES))))
            return {"run": node.run_id}
        if command == "probe_start":
            return {"changed": self._start_probe(message)}
        if command == "probe_wait":
            node.prober.wait(_poll_s(message))
            node.touch()
            return node.prober.result()
        if command == "start":
            bases = [request_of(base) for base in message["bases"].items(protocol.MAX_ITEMS)]
            peers, mode = addresses_of(message["peers"]), message["mode"].choice(STAGED, CUT_THROUGH)
            limited = node.limits.set(**limits_of(message["limits"]))
            changed = node.start(bases, peers, mode)
            return {**self._answer(message), "changed": changed or limited}
        if command == "limit":
            changed = node.limits.set(**limits_of(message["limits"]))
            return {**self._answer(message), "settled": settled, "changed": changed}
        if command == "wait":
            settled = node.wait(_poll_s(message))
            node.touch()
        elif command == "stop":
            # After the answer: the process takes its sockets with it.
            threading.Timer(0.05, node.stop).start()
        elif command != "progress":
            raise RelayError(f"The node does not know the command {command!r}.")
        return {**self._answer(message), "settled": settled}

    def last_words(self) -> Json:
        bases = self._node.progress()["bases"].values()
        return {**self._answer(Value({"fleet": True}, "message")), "settled": all(base["state"] in ("holding", "failed") for base in bases)}

    def _start_probe(self, message: Value) -> bool:
        node, size = self._node, message["disk_bytes"].integer()
        pools = {name: path.text(4096) for name, path in message["pools"].entries(MAX_POOLS).items()}

        def disks() -> prober.Disks:
            measured = {name: prober.disk_rates(path, size, node.clock) for name, path in pools.items() if size}
            return {name: rates for name, rates in measured.items() if rates}

        peers = addresses_of(message["peers"])
        turns = [turn_of(turn) for turn in message["turns"].items(MAX_TURNS)]
        settings = prober.Settings(
            message["payload_bytes"].integer(),
            message["max_s"].number(0.0, MAX_SECONDS),
            message["deadline_s"].number(0.0, MAX_SECONDS),
        )
        node.set_peers(peers)
        # A run that is cancelled while it measures has to be heard of.
        node.news.begin(())
        return node.prober.start(turns, settings, disks)

    def _answer(self, message: Value) -> Json:
        news, wanted = self._node.news, message.get("fleet")
        fleet = {"fleet": news.view()} if wanted is not None and wanted.flag() else {}
        return {**self._node.progress(), **self._process, **fleet, "fleet_settled": news.settled()}


def authority_of(credentials: Json) -> str:
    """Digest of the certificate of the run's authority, which is no secret."""
    return hashlib.sha256(str(credentials["ca"]).encode()).hexdigest()


def _poll_s(message: Value) -> float:
    return max(0.0, min(message["timeout_s"].number(-MAX_SECONDS, MAX_SECONDS), control_socket.LONG_POLL_S))


def limits_of(limits: Value) -> dict[str, t.Any]:
    """What Limits.set takes; what is absent, or null, stays as it is."""
    rate, links, streams = limits.get("rate_mbps"), limits.get("links"), limits.get("streams")
    return {
        "rate_mbps": None if rate is None else rate.number(0.0, MAX_MBPS),
        "links": None if links is None else {peer: mbps.number(0.0, MAX_MBPS) for peer, mbps in links.entries(protocol.MAX_ITEMS).items()},
        "streams": None if streams is None else streams.integer(0, protocol.MAX_ITEMS),
    }


def turn_of(turn: Value) -> prober.Turn:
    fields = turn.items(3)
    if len(fields) != 3:
        raise turn.wrong("a round, a partner and who connects")
    return prober.Turn(fields[0].integer(), fields[1].text(), fields[2].flag())


def addresses_of(peers: Value) -> dict[str, Address]:
    return {host: Address(at["address"].text(), at["port"].integer(1, 65535)) for host, at in peers.entries(protocol.MAX_ITEMS).items()}


def request_of(base: Value) -> BaseRequest:
    parents, weights, mbps = base["parents"], base.get("weights"), base.get("expected_mbps")
    route = route_of(
        _parents_of(parents),
        None if weights is None else [weight.number(0.0, 1e9) for weight in weights.items(MAX_STRIPES)],
        None if mbps is None else mbps.number(0.0, MAX_MBPS),
    )
    return BaseRequest(
        metadata_of(base["metadata"]),
        base["pool"].text(),
        base["pool_path"].text(4096),
        route,
        [host.text() for host in base["children"].items(protocol.MAX_ITEMS)],
    )


def _parents_of(parents: Value) -> list[t.Any]:
    """Hosts, or a list of hosts for each stripe."""
    choices = parents.items(protocol.MAX_ITEMS)
    if choices and not isinstance(choices[0].raw, str):
        return [[host.text() for host in stripe.items(protocol.MAX_ITEMS)] for stripe in choices]
    return [host.text() for host in choices]


def metadata_of(metadata: Value) -> Json:
    """A base's record, of which the node needs these fields; the others are published as they are."""
    metadata["sha256"].digest()
    metadata["chunks_sha256"].digest()
    metadata["size_bytes"].integer()
    metadata["chunk_bytes"].integer(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
    parent = metadata.get("parent")
    if parent is not None:
        parent.digest()
    return metadata.mapping()


def patience_of(alone: float) -> Patience:
    """The waits that follow from how long a host may be without any living parent."""
    usual = Patience()
    return Patience(min(usual.pending, alone), min(usual.lost, alone / 4), alone)
