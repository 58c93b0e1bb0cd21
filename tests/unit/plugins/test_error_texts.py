# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of wrong values: one row for each text that no other test reads."""

from __future__ import annotations

import email.message
import importlib
import struct
import types
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError

FLEET = "ansible_collections.basecast.fleet.plugins"
NAMES: t.Any = object()


def call(place: str, *arguments: t.Any, **options: t.Any) -> Callable[[], t.Any]:
    """The function ``module:name`` of the collection with these arguments, to be called later."""
    module, _colon, name = place.partition(":")

    def called() -> t.Any:
        found: t.Any = importlib.import_module(f"{FLEET}.{module}")
        for part in name.split("."):
            found = getattr(found, part)
        return found(*arguments, **options)

    return called


def provoked(made: Callable[[], t.Any]) -> str:
    with pytest.raises((FleetError, AnsibleError, ValueError)) as raised:
        made()
    return str(getattr(raised.value, "message", raised.value))


def read(method: str, raw: t.Any, *arguments: t.Any) -> Callable[[], t.Any]:
    """A method of the door for what others wrote."""

    def called() -> t.Any:
        module = importlib.import_module(f"{FLEET}.module_utils._untrusted")
        return getattr(module.Value({} if raw is NAMES else {"key": raw}, "base.json")["key"], method)(*arguments)

    return called


def door(place: str, raw: t.Any, *before: t.Any, key: str = "", after: t.Sequence[t.Any] = ()) -> Callable[[], t.Any]:
    """The function with something that ``kvm2`` has written, behind and before other arguments."""

    def called() -> t.Any:
        value = importlib.import_module(f"{FLEET}.module_utils._untrusted").Value(raw, "kvm2")
        return call(place, *before, value[key] if key else value, *after)()

    return called


def answer(**headers: str) -> Callable[[], t.Any]:
    """A server's answer with these headers."""
    found = email.message.Message()
    for name, value in headers.items():
        found[name.replace("_", "-")] = value
    return call("module_utils._disk.web:answer_of", "https://images", types.SimpleNamespace(headers=found, status=200))


MATRIX: dict[str, t.Any] = {"hosts": ["a", "b"], "seconds": [[0, 1], [1, 0]]}
CLASSES: dict[str, t.Any] = {"hosts": ["a", "b"], "class_of": [0, 0], "class_seconds": [[1]]}
PLAN: dict[str, t.Any] = {"stages": [], "sources": ["a"], "targets": ["b"], "mode": "staged"}
PARSE = "plugin_utils._plan.network.matrix:parse"
REPLAN = "plugin_utils._plan.relay.replan:relay_replan"

DATA: list[tuple[str, Callable[[], t.Any]]] = [
    ("base.json: key: missing; expected a list", read("items", NAMES, 1)),
    ("base.json: key: 5 is not accepted; expected a list", read("items", 5, 1)),
    ("base.json: key: it has 2 entries; at most 1 are accepted", read("items", [1, 2], 1)),
    ("base.json: key: it has 2 keys; at most 1 are accepted", read("mapping", {"a": 1, "b": 2}, 1)),
    ("base.json: key: 'AB' is not accepted; expected 64 lower-case hexadecimal digits", read("digest", "AB")),
    ("base.json: key: missing; expected 64 lower-case hexadecimal digits", read("digest", NAMES)),
    ("base.json: key: 1 is not accepted; expected true or false", read("flag", 1)),
    ("base.json: key: missing; expected true or false", read("flag", NAMES)),
    (
        "sha256: 'ab' is not accepted; a SHA-256 digest has 64 lower-case hexadecimal digits",
        call("module_utils._names:check_sha256", "sha256", "ab"),
    ),
    ("a matrix (a dictionary with hosts and seconds) or a path is wanted", call(PARSE, 5)),
    ("matrix.hosts: 'a' is not accepted; each host once is wanted", call(PARSE, {"hosts": ["a", "a"]})),
    ("either seconds, or class_of with class_seconds, is wanted", call(PARSE, {"hosts": ["a"]})),
    ("2 rows of 2 numbers or nulls are, one row per host or class", call(PARSE, {**MATRIX, "seconds": [[0, 1]]})),
    ("a row of 2 numbers or nulls is wanted, as the matrix is square", call(PARSE, {**MATRIX, "seconds": [[0], [1, 0]]})),
    ("matrix.seconds[a][b]: 'x' is not accepted; a number or null is wanted", call(PARSE, {**MATRIX, "seconds": [[0, "x"], [1, 0]]})),
    ("matrix.exceptions: ['a'] is not accepted; [from, to, seconds] is wanted", call(PARSE, {**MATRIX, "exceptions": [["a"]]})),
    ("matrix.uncertain: 'a' is not accepted; [from, to] is wanted", call(PARSE, {**MATRIX, "uncertain": ["a"]})),
    ("matrix.sites: 'x' is not accepted; {host: site} is wanted", call(PARSE, {**MATRIX, "sites": "x"})),
    ("2 class numbers are wanted", call(PARSE, {**CLASSES, "class_of": [0]})),
    ("matrix.limits.hosts: 5 is not accepted; {name: ", call(PARSE, {**MATRIX, "limits": {"hosts": 5}})),
    ("sites: 5 is not accepted; {host: site} is wanted", call("plugin_utils._plan.network.estimate:probe_rounds", ["a", "b"], 5)),
    ("a plan as relay_plan returns it is wanted", call(REPLAN, {}, {}, {})),
    ("observed: 5 is not accepted; a dictionary with any of ", call(REPLAN, PLAN, MATRIX, 5)),
    ("settings: 5 is not accepted; a dictionary with any of patience_s, ", call("plugin_utils._plan.monitor.state:settings_of", 5)),
    ("settings: 'patience' is not accepted; any of patience_s, ", call("plugin_utils._plan.monitor.state:settings_of", {"patience": 5})),
    ("{host: count} or {host: {pool: count}} is wanted", call("plugin_utils._plan.relay.plan_format:local_copies", 5, {}, {}, {})),
    ("data: 'object' is not accepted; only JSON-like data is wanted", call("plugin_utils._plan.json_data:plain", object())),
    ("address_sources: 'dns' is not accepted; some of ", call("plugin_utils._plan.service.machine_hosts:Choice", sources=["dns"])),
    (
        "address_networks: 'here' is not accepted; networks such as 192.0.2.0/24 are expected",
        call("plugin_utils._plan.service.machine_hosts:Choice", networks=["here"]),
    ),
    (
        "what kvm1 tells: node.host: kvm2 is another host",
        call("plugin_utils._plan.service.host_answers:checked_answer", {"node": {"host": "kvm2"}}, "node", "kvm1"),
    ),
]  # fmt: skip

FILTERS: list[tuple[str, Callable[[], t.Any]]] = [
    ("basecast.fleet.capture_text: not a result of machine_capture: ", call("filter.capture_text:capture_text", {}, {}, "kvm1")),
    ("basecast.fleet.clone_report: not a plan of clone_plan and its outcome: ", call("filter.clone_report:clone_report", {}, {})),
    ("basecast.fleet.deployment_matrix: ", call("filter.deployment_matrix:deployment_matrix_filter", [{"nonsense": 1}])),
    (
        "basecast.fleet.preferred_paths: the input must be a matrix or the path of one, not int",
        call("filter.preferred_paths:preferred_paths_filter", 5),
    ),
    ("basecast.fleet.preferred_paths: ", call("filter.preferred_paths:preferred_paths_filter", {})),
    ("basecast.fleet.relay_plan: the input must be a matrix or the path of one, not int", call("filter.relay_plan:relay_plan_filter", 5)),
    ("basecast.fleet.relay_plan: ", call("filter.relay_plan:relay_plan_filter", {})),
    (
        "basecast.fleet.relay_plan_text: the input must be a plan or the path of one, not int",
        call("filter.relay_plan_text:relay_plan_text_filter", 5),
    ),
    ("basecast.fleet.relay_plan_text: ", call("filter.relay_plan_text:relay_plan_text_filter", "/nowhere/plan.json")),
    (
        "basecast.fleet.relay_replan: the input must be a plan or the path of one, not int",
        call("filter.relay_replan:relay_replan_filter", 5),
    ),
    ("basecast.fleet.relay_replan: ", call("filter.relay_replan:relay_replan_filter", {}, {})),
    ("basecast.fleet.relay_rescue: ", call("filter.relay_rescue:relay_rescue", {}, {}, {}, 0)),
    ("basecast.fleet.relay_stage: ", call("filter.relay_stage:relay_stage", {"relays": 5}, 0)),
    ("basecast.fleet.relay_watch: ", call("filter.relay_watch:relay_watch", {}, {}, 0)),
    ("basecast.fleet.report_page: invalid report: ", call("filter.report_page:report_page", {})),
    ("basecast.fleet.saved_plan_changes: ", call("filter.saved_plan_changes:changes_of", "{", {})),
    ("basecast.fleet.update_report: not a plan of update_plan and its outcomes: ", call("filter.update_report:update_report", {}, {})),
    ("kind: invalid value 'moon'; expected one of ", call("filter.host_answer:host_answer", {}, "moon", "kvm1")),
    ("migration_plan: unknown options moon; expected manifest, ", call("filter.migration_plan:migration_plan", {}, {}, moon=1)),
    ("policy: unused_days is missing; expected unused_days, ", call("filter.prune_plan:prune_plan", {}, {}, [])),
    ("relay_plans: unknown options moon; expected mode, ", call("filter.relay_plans:relay_plans", [], moon=1)),
    (
        "service_plan: unknown options moon; expected imported, ",
        call("filter.service_plan:service_plan", {"service": "x", "tenant": "x", "bases": [], "machines": []}, {}, moon=1),
    ),
    (
        "settings: the key 'site' is missing; what basecast.fleet.settings returns is expected",
        call("filter.placement_facts:placement_facts", {}),
    ),
    ("moon: unknown option; expected addresses, ", call("filter.fleet_status:fleet_status", {}, moon=1)),
]  # fmt: skip


def qcow2(version: int = 3, cluster_bits: int = 16, header: int = 104, length: int = 1024) -> bytes:
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", version, 0, 0, cluster_bits, 1 << 20, 0)
    return (head + bytes(100 - len(head)) + struct.pack(">I", header) + struct.pack(">II", 1, 1 << 30) + bytes(1024))[:length]


WISH = {"sha256": None, "name": None, "version": None, "pool": None, "lost_host": None}
HEADER = "module_utils._disk.image_header:parse_qcow2"
WIRE = "module_utils._relay.wire"
HOSTS: list[tuple[str, Callable[[], t.Any]]] = [
    ("pools: {} is not accepted; at least one pool is needed, as name: /absolute/path", call("module_utils._module:checked_pools", {})),
    (
        "pools.fast: 'srv' is not accepted; a pool is an absolute path of a directory",
        call("module_utils._module:checked_pools", {"fast": "srv"}),
    ),
    ("port_range: 'high' is not accepted; a range is FIRST-LAST with ports from 1 to 65535", call("modules.relay_node:port_range", "high")),
    ("wait_s: -1 is not accepted; it has to be 0 or more", call("modules.relay_info:watched", None, -1, False)),
    ("peers.kvm2: {} is not accepted; a peer is {address, port}", call("module_utils._relay_module:checked_peers", {"kvm2": {}})),
    (
        "rate_mbps: -1 is not accepted; it is 0 for no limit, or greater",
        call("module_utils._relay_part:limits", {"rate_mbps": -1, "streams": None, "links": None}),
    ),
    (
        "bases[0].parents: '9999 lists' is not accepted; at most ",
        call("module_utils._relay_part:check_stripes", "bases[0]", {"parents": [["a"]] * 9999, "weights": None, "expected_mbps": None}),
    ),
    (
        " stripes are possible",
        call("module_utils._relay_part:check_stripes", "bases[0]", {"parents": [["a"]] * 9999, "weights": None, "expected_mbps": None}),
    ),
    (
        "machines[0].assignments: none given; with this state, generation and assignments are needed",
        call("module_utils._move.options:numbers_of", {"generation": None, "assignments": None}, 0),
    ),
    (
        "machines[0].source: none given; with this state it is needed",
        call("module_utils._move.options:arrival_of", {"source": None}, 0, "run", {}),
    ),
    (
        "machines[0].peer: none given; with this state, peer and place are needed",
        call("module_utils._move.options:departure_of", {"peer": None, "place": None}, 0, "run", {}),
    ),
    (
        "is not accepted; a peer is {host, address, port}",
        call("module_utils._move.options:departure_of", {"peer": {"host": "b"}, "place": {"home": "/x"}}, 0, "run", {}),
    ),
    (
        "disks[].name: none given; with state: present, each disk needs a name",
        call("module_utils._disk.disk_options:checked_disk", {"machine": "web-1", "name": None, "pool": None, "base_pool": None}, {"default": "/srv"}),
    ),
    ("its header is cut off", call(HEADER, qcow2(length=50))),
    ("its header is cut off", call(HEADER, qcow2(length=80))),
    ("it has clusters of 2^40 bytes", call(HEADER, qcow2(cluster_bits=40))),
    ("it has a header of 8 bytes", call(HEADER, qcow2(header=8))),
    ("a header extension lies outside of its header", call(HEADER, qcow2())),
    ("Ranges of chunks have a wrong length.", call(f"{WIRE}.protocol:decode_ranges", b"x", 5)),
    ("A range of no chunks begins at 2.", call(f"{WIRE}.protocol:decode_ranges", struct.pack(">QQ", 2, 0), 5)),
    ("Indexes of chunks have a wrong length.", call(f"{WIRE}.protocol:decode_indexes", b"x", 5)),
    (
        "A chunk has another length than it should after decompression.",
        call(f"{WIRE}.compression:_fill", memoryview(bytearray(4)), b"ab", True),
    ),
    ("A chunk list begins with ", call("module_utils._base_format.chunk_list:ChunkList", b"moon" * 20)),
    ("A message cannot be read: message: it is not JSON", call("module_utils._relay.node.control_socket:read_message", b"{")),
    (
        "service: 'x y' is not accepted; a name has ",
        call("module_utils._machine.owner:checked_owner", "default", "x y", "web-1", "machine"),
    ),
    (
        "machine: '-x' is not accepted; a machine's name has ",
        call("module_utils._machine.owner:checked_owner", "default", "shop", "-x", "machine"),
    ),
    (
        "reserve_percent: 100 is not accepted; a percentage is needed, 0 or more and less than 100",
        call("module_utils._disk.room:checked_percent", 100),
    ),
    (
        "disks[].machine: 'web-9' is not accepted; it has to be one of the option machines",
        call("module_utils._job.work:_refuse_strangers", "disks", ["web-9"], [{"machine": "web-1"}]),
    ),
    ("hello: the key moon is not known; known are host", call(f"{WIRE}.messages:fields_of", b'{"moon": 1}', "hello", "host")),
    ("kvm2: a list of 0 is not accepted; expected 6 to 8 fields", door("module_utils._relay.status.table:_report", [], "kvm2")),
    ("kvm2: 5 is not accepted; expected a text of at most ", door("module_utils._relay.status.table:_line", 5)),
    ("kvm2: '-x' is not accepted; expected a machine's name", door("plugin_utils._plan.service.observation:_machine_name", "-x")),
    (
        "kvm2: '-oProxyCommand=x' is not accepted; expected an IP address",
        door("plugin_utils._plan.service.observation:_address", "-oProxyCommand=x"),
    ),
    ("kvm2: 'md5:ab' is not accepted; expected a sha256 digest", door("module_utils._disk.oci:_digest", "md5:ab")),
    (", which this version knows,", door("module_utils._disk.base:_check_metadata", {"format": 99}, after=["a" * 64])),
    ("url: 'moon://x/y' is not accepted; a URL begins with one of http, ", call("module_utils._urls:check_url", "moon://x/y")),
    ("is not accepted; a URL has no control characters", call("module_utils._urls:check_url", "http://x/\n")),
    ("is not accepted; a URL is http://host/path", call("module_utils._urls:check_url", "http:///path")),
    (
        "The pool's directory /nowhere/pool does not exist. Create it, or mount what belongs there.",
        call("module_utils._machine.files:check_pool", "/nowhere/pool"),
    ),
    ("; a path is expected (embedded null byte)", call("module_utils._disk.sources:open_source", "a\0b", {}, None)),
    ("Transfer-Encoding: gzip is not accepted; chunked is expected", answer(Transfer_Encoding="gzip")),
    (
        "Content-Length beside Transfer-Encoding is not accepted; they may contradict each other",
        answer(Transfer_Encoding="chunked", Content_Length="5"),
    ),
    ("Content-Encoding: br is not accepted; the file itself was asked for", answer(Content_Encoding="br")),
    ("No relay node answers at /nowhere/socket: ", call("module_utils._relay.node.control_socket:ask", "/nowhere/socket", {}, 1.0)),
]  # fmt: skip

HEAD: t.Any = {  # of a sound qcow2 image
    "version": 3, "virtual_size_bytes": 1 << 20, "cluster_bytes": 1 << 16, "backing": None, "backing_format": None, "data_file": None, "external_data": False,
    "encrypted": False, "snapshots": 0, "dirty": False, "corrupt": False, "unknown_features": 0,
}  # fmt: skip


def refused(parent: str | None = None, **head: t.Any) -> Callable[[], t.Any]:
    """An image with such a header."""
    header = importlib.import_module(f"{FLEET}.module_utils._disk.image_header").Qcow2Header(**{**HEAD, **head})
    return call("module_utils._disk.inspection:_refuse", "disk.qcow2", header, parent)


def raising(place: str, *arguments: t.Any) -> Callable[[], t.Any]:
    """The error that the function makes."""

    def called() -> t.NoReturn:
        raise call(place, *arguments)()

    return called


def qemu_img(code: int, told: str) -> Callable[[], t.Any]:
    """What is made of the end of qemu-img."""
    return raising("module_utils._disk.qemu_img:_failure", "Converting disk.qcow2", code, told)


def work(place: str, **params: t.Any) -> Callable[[], t.Any]:
    """A module's work with these parameters, of which the first wrong one ends it."""
    return call(place, types.SimpleNamespace(params=params))


SUM = "a" * 64
LIST = f"{SUM}  disk.qcow2\n{'b' * 64}  disk.qcow2\n"
PLACES = {"state_dir": "/var/lib/x", "runtime_dir": "/run/x"}
SECONDS = {"ttl_s": 1, "linger_s": 1, "silence_s": 1, "patience_s": 1, "part_timeout_s": None}
OWNER = {"tenant": "default", "service": "shop", "machine": "web-1", "name": "web-1", "copy_timeout_s": 1, "busy_timeout_s": 1}
MORE: list[tuple[str, Callable[[], t.Any]]] = [
    ("disk.qcow2 is encrypted; decrypt it first (qemu-img convert).", refused(encrypted=True)),
    ("disk.qcow2 is marked as corrupt; repair the original with qemu-img check -r all first.", refused(corrupt=True)),
    ("disk.qcow2 claims a size of 9223372036854775807 bytes.", refused(virtual_size_bytes=(1 << 63) - 1)),
    ("disk.qcow2 claims a size of 513 bytes, no whole sectors.", refused(virtual_size_bytes=513)),
    ("disk.qcow2 names no parent, so it cannot be the child of ", refused(parent=SUM)),
    (
        "disk.qcow2 is not a sound qcow2 image: its header is cut off.",
        call("module_utils._disk.inspection:_qcow2", "disk.qcow2", 50, qcow2(length=50), None),
    ),
    ("Converting disk.qcow2: no space left; nothing incomplete was kept. Free some in the pool", qemu_img(1, "No space left on device")),
    ("was ended by a signal (-9), probably by the limits set for hostile images. Check the image (qemu-img check)", qemu_img(-9, "")),
    (
        "checksum: the list tells 2 different sha256 checksums of disk.qcow2.",
        call("module_utils._disk.checksum:find", LIST, "disk.qcow2", "the list"),
    ),
    (
        "part_timeout_s: 0 is not accepted; a number of seconds up to 3600 is needed",
        work("modules.host_status_info:_work", part_timeout_s=0, **PLACES),
    ),
    ("series: -1 is not accepted; it is 0 or greater", work("modules.link_probe:work", series=-1)),
    ("nice: 20 is not accepted; it is 0 to 19", call("modules.relay_node:command", {**SECONDS, "nice": 20})),
    ("port_range: 'x' is not accepted; two ports are needed, as 47700-47799", call("modules.migration_target:_ports", "x")),
    (
        "name: 'web-1' is not accepted; a clone needs another name than its machine",
        call("modules.machine_clone:_request", {**PLACES, **OWNER}, False),
    ),
    ("flatten_mbps: -1 is not accepted; at most 1000000 is accepted, and 0 for no limit", call("modules.machine_clone:_mbps", -1)),
    (
        "background: True is not accepted; disks lose their bases either before the clone starts (flatten) or afterwards",
        call("modules.machine_clone:_request", {**PLACES, **OWNER, "name": "web-2", "flatten": True, "background": True}, False),
    ),
    (
        "adopt: True is not accepted; adoption needs src and sha256",
        call("modules.base_disk_import:checked_request", {"name": None, "version": None, "sha256": None, "parent": None, "adopt": True, "src": None}),
    ),
    (
        "--skip-tags always: the check whether everything was done would be skipped; leave that tag out",
        call("lookup.fleet:LookupModule._refuse", {"skip_tags": ["always"]}, {}),
    ),
    (
        'observed.progress: 5 is not accepted; {host: {"bytes": n, "from": host}} is',
        call("plugin_utils._plan.relay.replan:_progress", PLAN, {"progress": 5}, 0.0, None),
    ),
    ("A chunk cannot be decompressed: damaged", raising("module_utils._relay.wire.compression:_damaged", ValueError("damaged"))),
]  # fmt: skip

ROWS = [*DATA, *FILTERS, *HOSTS, *MORE]


@pytest.mark.parametrize(("text", "made"), ROWS, ids=[text[:70] for text, _made in ROWS])
def test_what_is_wrong_is_said(text: str, made: Callable[[], t.Any]) -> None:
    assert text in provoked(made)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "matrix.json").write_text("{")
    assert "the file must hold JSON (" in provoked(call("plugin_utils._plan.json_data:read_input", "matrix", str(tmp_path / "matrix.json")))


def test_certificates_of_servers(tmp_path: Path) -> None:
    (tmp_path / "large.pem").write_bytes(bytes(1 << 24))
    access = importlib.import_module(f"{FLEET}.module_utils._disk.server_access").Access
    assert "ca_file: " in provoked(lambda: access(ca_file=str(tmp_path / "large.pem")).tls())
    assert "certificates have at most " in provoked(lambda: access(ca_file=str(tmp_path / "large.pem")).tls())
    assert "the text of certificates in PEM form is expected" in provoked(lambda: access(ca="moon").tls())
