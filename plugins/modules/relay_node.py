#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relay_node
short_description: This host's part in relaying base disks from host to host
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Starts one process for a run on this host, the relay node. It fetches the bases that this host is to get from the
    parents that the plan names, verifies every chunk, puts the base into the pool, and serves it to other hosts.
  - The node goes on when the module has ended. It ends when it is stopped, when O(ttl_s) has passed, or when its own
    work has ended and nobody has talked to it for O(linger_s), or when a guarded run was cancelled
    (M(basecast.fleet.relay_guard)).
  - Peers know each other by certificates that exist for this run only, see M(basecast.fleet.relay_certificates).
    They are kept in memory.
  - A base that was only partly received is kept with a map of its verified chunks and is resumed by the next run.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
attributes:
  check_mode:
    support: full
    details:
      - Nothing is started, and nothing waited for.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(listening) starts the node and returns its port. A node that listens already stays, unless the run's
        certificates were made anew.
      - V(started) gives it its part of the plan; it begins at once. Given again with other parents, transfers that the
        change does not touch go on, and failed bases are tried again.
      - V(finished) waits until every base of this host is there or has failed, and fails if one has.
      - V(progress) returns the same data, without waiting unless O(wait_s) is given. Asked of any one host, it shows the
        whole fleet, see O(fleet).
      - V(limited) changes O(rate_mbps), O(links) and O(streams) of a running node, and nothing else.
      - V(stopped) ends the node and waits until it is gone. That there is none is fine.
    type: str
    choices: [listening, started, limited, finished, progress, stopped]
    default: progress
  run:
    description: Name of the run. All hosts of a run have the same.
    type: str
    required: true
  host:
    description:
      - This host's own inventory name, as it stands in its certificate and in the plan.
      - Needed with O(state=listening).
    type: str
  address:
    description:
      - The address on which to listen, and from which to connect. Usually the host variable C(basecast_address).
      - Needed with O(state=listening).
    type: str
  port_range:
    description: The first free port of this range is used.
    type: str
    default: 47700-47799
  credentials:
    description:
      - The run's certificates for this host, in PEM form.
      - Needed with O(state=listening).
    type: dict
    suboptions:
      ca:
        description: The certificate of the run's authority.
        type: str
        required: true
      certificate:
        description: This host's certificate.
        type: str
        required: true
      key:
        description: The key of this host's certificate.
        type: str
        required: true
  bases:
    description: The bases that this host fetches or serves, with O(state=started).
    type: list
    elements: dict
    default: []
    suboptions:
      metadata:
        description: The base's metadata as its holder has it.
        type: dict
        required: true
      pool:
        description: The pool, by its name in O(pools), where it is or is to be.
        type: str
        required: true
      parents:
        description:
          - Inventory names of the hosts to fetch from, best first. The first one that lives is used.
          - Or a list of such lists, one for each stripe. The chunks of the base are dealt out to the stripes by
            O(bases[].weights), and each stripe comes from its own parent.
          - Empty for a host that holds the base.
          - When none of them can serve it, every other host of O(peers) is asked.
        type: list
        elements: raw
        default: []
      weights:
        description:
          - The share of each stripe, in any unit. All alike by default.
          - All hosts of a run have the same, or parents do not have in time what their children ask for.
        type: list
        elements: float
        default: []
      expected_mbps:
        description:
          - The rate at which the plan counts on this host getting the base, in 10^6 bits per second, if it was made
            from measured links. A parent that delivers less than a third of its share is compared with the next choice.
          - Without it a parent is compared with the parents of other stripes, with itself, and, when the rest would
            take more than 20 seconds, now and then with the next choice.
        type: float
      children:
        description:
          - Inventory names of the hosts that are to be served one after the other, in this order, where the plan counts
            on that. A host that is not in the list comes last.
          - Without it all are served at once.
        type: list
        elements: str
        default: []
  peers:
    description:
      - "Where the nodes of the run listen, as C({host: {address, port}}), with O(state=started)."
    type: dict
    default: {}
  mode:
    description:
      - With V(staged) a host serves a base as soon as it has all of it.
      - With V(cut_through) it serves each chunk as soon as that is verified and stored.
      - All hosts of a run have the same.
    type: str
    choices: [staged, cut_through]
    default: cut_through
  rate_mbps:
    description:
      - The most that the node sends, and the most that it receives, in 10^6 bits per second. V(0) is no limit.
      - A new node has no limit without it. It changes a running node with O(state=listening), O(state=started) or
        O(state=limited), and without it that node's limit stays as it is. The same holds for O(links) and O(streams).
    type: float
  links:
    description:
      - "The same for single peers, in both directions, as C({host: mbps}). They count besides O(rate_mbps)."
      - The whole option is replaced when it is given again. V({}) lifts all of them.
    type: dict
  streams:
    description:
      - To how many other nodes this one sends chunks at the same time. The others wait until one asks for nothing more
        at the moment, or moves nothing for a second. V(0) is no limit.
    type: int
  nice:
    description:
      - Lowers the node's priority for the processor, 19 being the lowest, with O(state=listening) when the node is started.
      - Linux derives from it the priority for disks too, where their scheduler knows priorities (bfq, mq-deadline).
    type: int
    default: 0
  io_idle:
    description:
      - Whether the node's disk accesses wait until nobody else has any, with O(state=listening) when the node is started.
      - Needs the command C(ionice), and a disk scheduler that knows priorities. Without the command this is noted in the
        node's log, and nothing else.
    type: bool
    default: false
  compression:
    description:
      - With V(auto) a node compresses chunks for a child where that brings them there sooner, as it measures by itself. Chunks
        that do not become smaller are sent as they are. Both nodes need V(auto), with O(state=listening).
      - It helps on slow links (or with low limits) and for base disks that are not compressed already. Zstandard is used where
        both hosts have it (Python 3.14, C(backports.zstd) or C(zstandard), in Debian C(python3-zstandard)), deflate else.
        With the shared libraries of a Debian host and one core of an AMD EPYC, deflate paid below 0.5 Gbit/s and Zstandard
        below 2.5 Gbit/s.
    type: str
    choices: [none, auto]
    default: none
  encryption:
    description:
      - Whether transfers are encrypted, with O(state=listening). All nodes of a run need the same.
      - With V(false) nodes still show each other the run's certificates when they connect, and every chunk is still compared
        with its digest, so strangers get nothing from a node and wrong bytes never become a base. But B(whoever can
        listen on the way reads the bases), and whoever can change packets on the way can disturb the run.
    type: bool
    default: true
  fleet:
    description:
      - Whether to return RV(fleet), the progress of every host of the run.
      - The default is V(true) with O(state=progress) and V(false) otherwise, since a play that asks every host would get
        it from each of them.
    type: bool
  wait_s:
    description:
      - How long O(state=progress) waits for something that a watcher acts on, in seconds. It answers earlier when the fleet
        has settled, when a base of a host has failed, or when a host falls silent or is heard again.
    type: float
    default: 0
  timeout_s:
    description: How long O(state=finished) waits, in seconds.
    type: float
    default: 3600
  ttl_s:
    description: After this time the node ends, whatever it is doing, in seconds.
    type: float
    default: 14400
  linger_s:
    description:
      - After its own work the node ends when no peer and no module has talked to it for so many seconds. Until it was given its
        part (O(state=started)) O(part_timeout_s) counts instead.
      - What it knew last is kept for a day, and told by O(state=finished) and O(state=progress).
    type: float
    default: 300
  part_timeout_s:
    description:
      - How long a node waits for its part (O(state=started)) since a module last talked to it, in seconds. Then its controller is
        taken for dead.
      - By default only O(ttl_s) counts.
    type: float
  silence_s:
    description:
      - A connection on which nothing arrives for so many seconds is dead. Nodes send a sign of life more often.
    type: float
    default: 6
  patience_s:
    description: A base without any living parent for so many seconds has failed.
    type: float
    default: 60
  discard:
    description:
      - Whether, with O(state=stopped), what was received of O(bases) and is not complete is deleted, instead of kept for the
        next run to go on with.
    type: bool
    default: false
  state_dir:
    description:
      - Directory in which this host keeps, as C(links.json), what the node measured of the links that leave it. Probes and
        transfers are kept, the latter where they had the link to themselves.
    type: str
    default: /var/lib/basecast
  runtime_dir:
    description: Directory for the control socket and the log of the node. Both are removed when it ends.
    type: str
    default: /run/basecast
seealso:
  - module: basecast.fleet.relay_certificates
  - module: basecast.fleet.link_probe
"""

EXAMPLES = r"""
# kvm1 holds a base disk. Every other host of the play fetches it from kvm1.
- name: Look up the base disk
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_pools }}"
  delegate_to: kvm1
  run_once: true
  register: store

- name: Make the run's certificates
  basecast.fleet.relay_certificates:
    run: nightly
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true
  no_log: true
  register: credentials

- name: Start the nodes
  basecast.fleet.relay_node:
    state: listening
    run: nightly
    host: "{{ inventory_hostname }}"
    address: "{{ basecast_address }}"
    credentials: "{{ credentials.certificates[inventory_hostname] }}"
  register: listening

- name: Give each node its part of the plan, with which it begins
  basecast.fleet.relay_node:
    state: started
    run: nightly
    pools: "{{ basecast_pools }}"
    peers: "{{ dict(ansible_play_hosts_all | zip(nodes)) }}"
    bases:
      - metadata: "{{ store.pools.default.bases | selectattr('names', 'contains', wanted) | first }}"
        pool: default
        parents: "{{ [] if inventory_hostname == 'kvm1' else ['kvm1'] }}"
  vars:
    nodes: "{{ ansible_play_hosts_all | map('extract', hostvars, ['listening', 'node']) }}"
    wanted: {tenant: default, name: debian-12, version: "20261101"}

- name: Wait for this host's base disks
  basecast.fleet.relay_node:
    state: finished
    run: nightly
    timeout_s: 1800
  register: relayed

- name: Show how fast they came
  ansible.builtin.debug:
    msg: "{{ item.value.received_bytes | human_readable }} from {{ item.value.from }} in {{ item.value.seconds }} s"
  loop: "{{ relayed.node.bases | dict2items }}"
  loop_control:
    label: "{{ item.key }}"
  when: item.value.received_bytes > 0

- name: See how far the whole fleet is, from any one host
  basecast.fleet.relay_node:
    state: progress
    run: nightly
    wait_s: 10
  register: watched
  until: watched.fleet_settled
  retries: 180
  delay: 0
  run_once: true

- name: In working hours, send less, and least of all over the line to another site
  basecast.fleet.relay_node:
    state: limited
    run: nightly
    rate_mbps: 400
    links: {kvm9: 20}

- name: End the nodes
  basecast.fleet.relay_node:
    state: stopped
    run: nightly
"""

RETURN = r"""
node:
  description: What the node tells. Empty when there is none, or in check mode.
  returned: success, or when O(state=finished) fails
  type: dict
  contains:
    run:
      description: The run.
      type: str
      sample: nightly
    host:
      description: This host's inventory name.
      type: str
      sample: kvm3
    pid:
      description: Process id of the node.
      type: int
      sample: 4711
    authority:
      description: SHA-256 of the certificate of the run's authority.
      type: str
      sample: 9d3c...
    address:
      description: Address on which it listens.
      type: str
      sample: 10.77.0.13
    port:
      description: Port on which it listens.
      type: int
      sample: 47700
    started:
      description: Whether it was given its part of the plan.
      type: bool
      sample: true
    mode:
      description: The value of O(mode).
      type: str
      sample: cut_through
    encryption:
      description: Whether it encrypts.
      type: bool
      sample: true
    limits:
      description: The limits that hold at this moment, as O(rate_mbps), O(links) and O(streams).
      type: dict
      sample: {rate_mbps: 0.0, links: {}, streams: 0}
    ended:
      description: Why the node has ended. What is told is what it knew last.
      returned: with O(state=finished) or O(state=progress), of a node that ended by itself
      type: str
      sample: no contact for 300 s after the last work
    settled:
      description: Whether every base is holding or failed.
      type: bool
      sample: true
    bases:
      description:
        - Each base of this host, by digest.
        - C(state) is V(waiting) (for a parent), V(fetching), V(holding) (it is in the pool) or V(failed), for the reason in C(msg).
        - C(bytes) of C(size_bytes) are verified and stored; C(received_bytes) came over the network in this run.
          C(received_from) tells how much by sender. C(parents) are the hosts that it comes from at this moment, C(from)
          is the one through which it is connected to a holder. C(attempts) is what went wrong with others, with the C(mbps)
          that one delivered at last that was left for being slow, and what peers did that no peer may do. C(seconds) is how long it took.
      type: dict
      sample:
        4f1d...:
          state: holding
          pool: default
          bytes: 629145600
          size_bytes: 629145600
          received_bytes: 402801331
          sent_bytes: 402653184
          from: null
          parents: []
          received_from: {kvm1: 301990000, kvm2: 100811331}
          seconds: 12.4
          msg: ""
          attempts:
            - parent: kvm2
              error: kvm2 has been silent for 6.0 s.
              mbps: null
fleet:
  description:
    - The progress of every host of the run, by its inventory name, as this host's node knows it. The nodes tell each
      other once in a second, in fleets of more than 200 hosts once in as many seconds as there are times 200 hosts.
    - C(bases) holds, by digest, C(state), C(bytes), C(size_bytes), C(received_bytes) (over the network, in this run),
      C(rate_mbps), C(remaining_s) (V(none) where it cannot be told), C(parents) (the hosts that it comes from at this
      moment) and C(msg) (why it failed, or what it waits for). C(started) tells whether the host was given its part of the plan.
    - C(machines) is how many machines the host's job is to make, and how many have their disks, are started, have reported
      and have failed; V(none) if no job has told, see M(basecast.fleet.host_job).
    - C(age_s) is how old this is. It is V(none) for a host that has not been heard of. A host is C(stale) when nothing
      has been heard of it for 10 seconds (in a fleet of 1,000 hosts 34 seconds).
  returned: with O(state=started), O(state=finished) or O(state=progress), if O(fleet)
  type: dict
  sample:
    kvm1:
      started: true
      age_s: 0.0
      stale: false
      bases:
        4f1d...:
          state: holding
          bytes: 629145600
          size_bytes: 629145600
          received_bytes: 0
          rate_mbps: 0.0
          remaining_s: null
          parents: []
          msg: ""
    kvm2:
      started: true
      age_s: 0.7
      stale: false
      bases:
        4f1d...:
          state: fetching
          bytes: 201326592
          size_bytes: 629145600
          received_bytes: 201351168
          rate_mbps: 943.2
          remaining_s: 3.6
          parents: [kvm1]
          msg: ""
fleet_settled:
  description:
    - Whether there is nothing left to wait for, as far as this host's node knows. Every base of every host is holding or
      failed, or nothing is heard of the host any more.
  returned: with any O(state) but V(stopped), if there is a node
  type: bool
  sample: false
"""

import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._base_format.chunk_list import Listed
from ..module_utils._base_format.file_digest import FileDigest
from ..module_utils._disk.errors import StoreBusy, WrongDigest
from ..module_utils._disk.store import Partial, Store
from ..module_utils._errors import FleetError, InvalidOption
from ..module_utils._module import checked_pools, pool_path, pools_argument, run_module
from ..module_utils._names import check_sha256
from ..module_utils._relay.download.stripes import MAX_STRIPES
from ..module_utils._relay.errors import ControlFailed, PartialInUse, StorageFailed
from ..module_utils._relay.errors import WrongDigest as BytesDiffer
from ..module_utils._relay.node import process
from ..module_utils._relay.node.node import Held, Settings
from ..module_utils._relay.upload.shared_partial import Place
from ..module_utils._relay_module import checked_peers, node_of_run

CREDENTIALS = ("ca", "certificate", "key")

# How long to wait for the lock of a partial that is to be deleted.
LOCK_S = 5.0


class StoreShelf:
    """The base store, as the relay node wants to see pools."""

    def held(self, pool_path: str, sha256: str) -> Held | None:
        base = Store(pool_path).find(sha256)
        return None if base is None else Held(base.path, base.chunks_path)

    def place(self, pool_path: str, sha256: str) -> Place:
        directory = Store(pool_path).partial_directory(sha256)
        return Place(*(os.path.join(directory, name) for name in ("disk", "map", "chunks")))

    def claim(self, pool_path: str, sha256: str) -> StoreClaim:
        try:
            return StoreClaim(Store(pool_path).partial(sha256))
        except StoreBusy as error:
            who = f" (process {error.fields['pid']})" if error.fields["pid"] else ""
            raise PartialInUse(f"Another run{who} fetches this base into {pool_path}; this one waits for it.") from error
        except FleetError as error:
            raise StorageFailed(error.message) from error


class StoreClaim:
    """A partial of the store, whose failures the relay node understands."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self.disk = partial.disk
        self.map = partial.map

    def digest(self) -> FileDigest:
        return self._partial.digest()

    def publish(self, metadata: dict[str, t.Any], chunks: Listed) -> Held:
        try:
            base = self._partial.publish(metadata, chunks)
        except WrongDigest as error:
            raise BytesDiffer(error.message, found=error.fields["found"]) from error
        except FleetError as error:
            raise StorageFailed(error.message) from error
        return Held(base.path, base.chunks_path)

    def discard(self) -> None:
        self._partial.discard()

    def close(self) -> None:
        self._partial.close()


def port_range(value: str) -> tuple[int, int]:
    first, _dash, last = value.partition("-")
    try:
        ports = int(first), int(last or first)
    except ValueError:
        ports = (0, 0)
    if not 1 <= ports[0] <= ports[1] <= 65535:
        raise InvalidOption("port_range", value, "a range is FIRST-LAST with ports from 1 to 65535")
    return ports


def positive(params: t.Mapping[str, t.Any], *options: str) -> None:
    for option in options:
        if params[option] is not None and params[option] <= 0:
            raise InvalidOption(option, params[option], "it has to be greater than 0")


def limits(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The limits that are given; others stay as they are."""
    for option in ("rate_mbps", "streams"):
        if params[option] is not None and not 0 <= params[option] < float("inf"):
            raise InvalidOption(option, params[option], "it is 0 for no limit, or greater")
    given = {option: params[option] for option in ("rate_mbps", "links", "streams") if params[option] is not None}
    if "links" in given:
        given["links"] = {peer: link_rate(f"links.{peer}", mbps) for peer, mbps in given["links"].items()}
    return given


def link_rate(option: str, value: t.Any) -> float:
    try:
        mbps = float(value)
    except (TypeError, ValueError):
        mbps = -1.0
    if not 0 <= mbps < float("inf"):
        raise InvalidOption(option, value, "it is a number of 10^6 bits per second, 0 for no limit")
    return mbps


def command(params: t.Mapping[str, t.Any]) -> process.Command:
    """What the node is started with."""
    positive(params, "ttl_s", "linger_s", "silence_s", "patience_s")
    if params["part_timeout_s"] is not None:
        positive(params, "part_timeout_s")
    if not 0 <= params["nice"] <= 19:
        raise InvalidOption("nice", params["nice"], "it is 0 to 19")
    settings = Settings(
        params["ttl_s"],
        params["linger_s"],
        params["silence_s"],
        process.patience_of(params["patience_s"]),
        params["compression"] == "auto",
        part_s=params["part_timeout_s"],
    )
    return process.Command(
        params["run"],
        params["host"],
        params["address"],
        port_range(params["port_range"]),
        params["credentials"],
        settings,
        params["state_dir"],
        limits(params),
        params["encryption"],
        params["nice"],
        params["io_idle"],
    )


def bases(params: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The option O(bases), checked as far as the node relies on it, with the paths of the pools."""
    pools = checked_pools(params["pools"])
    checked = []
    for number, base in enumerate(params["bases"]):
        option = f"bases[{number}].metadata"
        metadata = base["metadata"]
        for key in ("sha256", "chunks_sha256"):
            check_sha256(f"{option}.{key}", metadata.get(key))
        for key in ("size_bytes", "chunk_bytes"):
            if not isinstance(metadata.get(key), int) or metadata[key] < (1 if key == "chunk_bytes" else 0):
                raise InvalidOption(f"{option}.{key}", metadata.get(key), "it has to be a number of bytes")
        path = pool_path(pools, base["pool"], f"bases[{number}].pool")
        check_stripes(f"bases[{number}]", base)
        hosts = {key: base[key] for key in ("parents", "weights", "expected_mbps", "children")}
        checked.append({"metadata": metadata, "pool": base["pool"], "pool_path": path, **hosts})
    return checked


def check_stripes(option: str, base: t.Mapping[str, t.Any]) -> None:
    parents, weights, expected = base["parents"], base["weights"], base["expected_mbps"]
    names = all(isinstance(host, str) for host in parents)
    lists = all(isinstance(stripe, list) and all(isinstance(host, str) for host in stripe) for stripe in parents)
    if not names and not lists:
        raise InvalidOption(f"{option}.parents", parents, "it is a list of hosts, or a list of such lists")
    stripes = 1 if names else len(parents)
    if stripes > MAX_STRIPES:
        raise InvalidOption(f"{option}.parents", f"{stripes} lists", f"at most {MAX_STRIPES} stripes are possible")
    if weights and (len(weights) != stripes or min(weights) < 0 or not 0 < sum(weights) < float("inf")):
        raise InvalidOption(
            f"{option}.weights", weights, f"it needs one number for each of the {stripes} stripes, none negative, not all 0"
        )
    if expected is not None and not 0 < expected < float("inf"):
        raise InvalidOption(f"{option}.expected_mbps", expected, "it has to be greater than 0")


def part(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The host's part of the plan, as the node takes it."""
    return {
        "bases": bases(params),
        "peers": checked_peers(params["peers"]),
        "mode": params["mode"],
        "limits": limits(params),
    }


def wants_fleet(params: t.Mapping[str, t.Any]) -> bool:
    return bool(params["state"] == "progress" if params["fleet"] is None else params["fleet"])


def answer(node: dict[str, t.Any], changed: bool = False) -> dict[str, t.Any]:
    """The module's result from what the node said of itself, and of the fleet."""
    of_fleet = {key: node.pop(key) for key in ("fleet", "fleet_settled") if key in node}
    return {"changed": changed, "node": node, **of_fleet}


def discarded(base: t.Mapping[str, t.Any]) -> bool:
    """Delete what is there of a base that is not complete; whether there was anything. Another run's is left alone."""
    store = Store(base["pool_path"])
    if not any(one["sha256"] == base["metadata"]["sha256"] for one in store.partials()):
        return False
    try:
        # Of a process that has just been ended a thread may still be in a write, and have the lock.
        store.partial(base["metadata"]["sha256"], LOCK_S).discard()
    except StoreBusy:
        return False
    return True


def finished(runtime: process.RunDirectory, timeout_s: float, fleet: bool) -> dict[str, t.Any]:
    """The node's data when everything is there. :raises FleetError: if something failed, or is not there in time"""
    deadline = time.monotonic() + timeout_s
    while True:
        left = max(0.0, deadline - time.monotonic())
        node = runtime.look("wait", timeout_s=left, fleet=fleet)
        if not node["started"]:
            raise FleetError(f"The relay node of the run {node['run']} was not given its part of the plan.")
        if node["settled"] or left <= 0 or node.get("ended"):
            break
    late = [sha256 for sha256, base in node["bases"].items() if base["state"] not in ("holding", "failed")]
    failed = [sha256 for sha256, base in node["bases"].items() if base["state"] == "failed"]
    if not failed and not late:
        return node
    sentences = [told(sha256, node["bases"][sha256]) for sha256 in failed]
    sentences += [
        f"Base {sha256} is not complete after {timeout_s:g} s "
        f"({node['bases'][sha256]['bytes']} of {node['bases'][sha256]['size_bytes']} bytes)."
        for sha256 in late
    ]
    if node.get("ended"):
        sentences.append(f"The node has ended: {node['ended']}.")
    raise FleetError(" ".join(sentences), node=node, failed=failed, late=late)


def watched(runtime: process.RunDirectory, wait_s: float, fleet: bool) -> dict[str, t.Any]:
    """The node's data once something has happened to the fleet, or after so many seconds."""
    if wait_s < 0:
        raise InvalidOption("wait_s", wait_s, "it has to be 0 or more")
    deadline = time.monotonic() + wait_s
    node = runtime.look("progress", fleet=fleet or wait_s > 0)
    before = attention(node)
    while not node["fleet_settled"] and attention(node) == before and not node.get("ended"):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        # The answer of a large fleet is large.
        time.sleep(min(left, max(0.5, len(node["fleet"]) / 500)))
        node = runtime.look("progress", fleet=True)
    if not fleet:
        node.pop("fleet", None)
    return node


def attention(node: t.Mapping[str, t.Any]) -> list[tuple[str, bool, bool]]:
    """What a watcher of the fleet may have to act on."""
    return [
        (host, told["stale"], any(base["state"] == "failed" for base in told["bases"].values()))
        for host, told in (node.get("fleet") or {}).items()
    ]


def told(sha256: str, base: t.Mapping[str, t.Any]) -> str:
    """One sentence on a base that failed, with each attempt."""
    attempts = "; ".join(attempt["error"] for attempt in base["attempts"])
    sentence = f"Base {sha256} did not arrive in the pool {base['pool']}: {base['msg']}"
    return f"{sentence} Attempts: {attempts}" if attempts and attempts not in base["msg"] else sentence


def act(module: AnsibleModule, runtime: process.RunDirectory) -> dict[str, t.Any]:
    params, state = module.params, module.params["state"]
    fleet = wants_fleet(params)
    if state == "listening":
        wanted = command(params)
        if module.check_mode:
            try:
                return answer(runtime.ask("progress", fleet=fleet))
            except ControlFailed:
                return {"changed": True, "node": {}}
        if not wanted.encryption:
            module.warn(f"The nodes of the run {wanted.run} do not encrypt: whoever can listen between the hosts reads the base disks.")
        node, changed = process.listening(runtime, wanted, StoreShelf())
        return answer(node, changed)
    if state == "stopped":
        if module.check_mode:
            return {"changed": runtime.process() is not None, "node": {}}
        unwanted = bases(params) if params["discard"] else []
        return {"changed": any([process.stopped(runtime), *(discarded(base) for base in unwanted)]), "node": {}}
    if state == "started":
        given = part(params)
        if module.check_mode:
            return {"changed": True, "node": {}}
        node = runtime.ask("start", fleet=fleet, **given)
        return answer(node, node.pop("changed"))
    if state == "limited":
        wanted_limits = limits(params)
        if module.check_mode:
            node = runtime.ask("progress", fleet=fleet)
            return answer(node, any(node["limits"][key] != value for key, value in wanted_limits.items()))
        node = runtime.ask("limit", fleet=fleet, limits=wanted_limits)
        return answer(node, node.pop("changed"))
    if module.check_mode:
        try:
            return answer(runtime.ask("progress", fleet=fleet))
        except ControlFailed:
            return {"changed": False, "node": {}}
    if state == "finished":
        try:
            return answer(finished(runtime, params["timeout_s"], fleet))
        except ControlFailed:
            raise  # what became of the node is told where all modules tell it
        except FleetError as error:
            # The reader wants the same data, whether it went well or not.
            node = answer(error.fields.pop("node", {}))
            module.fail_json(msg=error.message, failure=error.fields, **{**node, "changed": False})
    return answer(watched(runtime, params["wait_s"], fleet))


def work(module: AnsibleModule) -> dict[str, t.Any]:
    with node_of_run(module.params["runtime_dir"], module.params["run"]) as runtime:
        return act(module, runtime)


def main() -> None:
    secret = {name: {"type": "str", "required": True, "no_log": name == "key"} for name in CREDENTIALS}
    base = {
        "metadata": {"type": "dict", "required": True},
        "pool": {"type": "str", "required": True},
        "parents": {"type": "list", "elements": "raw", "default": []},
        "weights": {"type": "list", "elements": "float", "default": []},
        "expected_mbps": {"type": "float"},
        "children": {"type": "list", "elements": "str", "default": []},
    }
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            "state": {
                "type": "str",
                "choices": ["listening", "started", "limited", "finished", "progress", "stopped"],
                "default": "progress",
            },
            "run": {"type": "str", "required": True},
            "host": {"type": "str"},
            "address": {"type": "str"},
            "port_range": {"type": "str", "default": "47700-47799"},
            "credentials": {"type": "dict", "no_log": True, "options": secret},
            "bases": {"type": "list", "elements": "dict", "default": [], "options": base},
            "peers": {"type": "dict", "default": {}},
            "mode": {"type": "str", "choices": ["staged", "cut_through"], "default": "cut_through"},
            "rate_mbps": {"type": "float"},
            "links": {"type": "dict"},
            "streams": {"type": "int"},
            "nice": {"type": "int", "default": 0},
            "io_idle": {"type": "bool", "default": False},
            "compression": {"type": "str", "choices": ["none", "auto"], "default": "none"},
            "encryption": {"type": "bool", "default": True},
            "fleet": {"type": "bool"},
            "wait_s": {"type": "float", "default": 0},
            "timeout_s": {"type": "float", "default": 3600},
            "ttl_s": {"type": "float", "default": 14400},
            "linger_s": {"type": "float", "default": 300},
            "part_timeout_s": {"type": "float"},
            "silence_s": {"type": "float", "default": 6},
            "patience_s": {"type": "float", "default": 60},
            "discard": {"type": "bool", "default": False},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        required_if=[("state", "listening", ("host", "address", "credentials"))],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
