# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every door through which comes what another party wrote, tried with anything: what is wrong is refused as such, and what is let
in can be shown on a terminal.

The doors of the relay's wire are tried by the tests of their modules, with the peers' names.
"""

from __future__ import annotations

import contextlib
import email.message
import json
import os
import pathlib
import socket
import struct
import tempfile
import threading
import types
import typing as t
import unicodedata

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format import chunk_list
from ansible_collections.basecast.fleet.plugins.module_utils._disk import (
    base,
    checksum,
    image_header,
    import_record,
    lease,
    needs,
    oci,
    qemu_img,
    references,
    survey,
    verification,
)
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._disk.web import answer_of
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job import claims
from ansible_collections.basecast.fleet.plugins.module_utils._job.claims import Claims
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import Journal
from ansible_collections.basecast.fleet.plugins.module_utils._machine import (
    domain,
    domain_disks,
    health,
    records,
    reports,
    seed_records,
    template,
    user_data,
)
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import fragments
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._move import tunnel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.measure.link_history import LinkHistory
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.run_directory import RunDirectory
from ansible_collections.basecast.fleet.plugins.module_utils._urls import check_url, public_url
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHA256 = "ab" * 32
TOKEN = "0123456789abcdef"
Json = dict[str, t.Any]


class Response:
    """An answer of a server with these headers."""

    def __init__(self, headers: t.Iterable[tuple[str, str]], status: int = 200) -> None:
        self.status = status
        self.headers = email.message.Message()
        for name, value in headers:
            self.headers[name] = value


def put(place: pathlib.Path, *parts: str, data: bytes) -> None:
    path = place.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def base_json(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "bases", SHA256, "base.json", data=data)
    put(place, "bases", SHA256, "disk", data=bytes(512))
    put(place, "bases", SHA256, "chunks", data=data)
    return survey.survey({"one": Store(str(place), pool="one")}, tenant="blue")


def reference(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "x.json", data=data)
    found = references.read(str(place))
    assert len(found) == 1, "one that cannot be read is a pin"
    return [one._asdict() for one in found]


def imports(place: pathlib.Path, data: bytes) -> t.Any:
    one = Store(str(place), pool="one")
    for subject in ("file:/x", "url:http://x", f"source:{SHA256}"):
        put(pathlib.Path(import_record._path(one, subject)), data=data)
    status = os.stat(place)
    return [
        import_record.file_digest(one, "/x", status),
        import_record.url_digest(one, "http://x"),
        import_record.base_of_source(one, SHA256),
        import_record.sources_of(one),
    ]


def leases(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "lock.lease", data=data)
    found = lease.holder(str(place / "lock.lease"))
    assert found is not None, "somebody has it"
    return found._asdict()


def verified(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "x", data=data)
    return verification.recorded(str(place / "x"))


def partial_map(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "bases", ".partial", SHA256, "map", data=data)
    put(place, "bases", ".partial", SHA256, "lock", data=data)
    return Store(str(place)).partials()


def service_record(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "services", "blue", "shop.json", data=data)
    found, unreadable = records.ServiceRecords(str(place), "blue").read_all()
    assert set(found) | set(unreadable) == {"shop"}
    return list(unreadable.values())


def seed(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "machines", "shop", "web-1", "seed.json", data=data)
    found = seed_records.read_record(str(place / "machines" / "shop" / "web-1"))
    return None if found is None else [found.digest, found.token, found.hostname, found.instance_id]


def job(place: pathlib.Path, data: bytes) -> t.Any:
    journal = Journal(str(place), "blue", "shop")
    put(pathlib.Path(journal.path("run")), data=data)
    journal.read("run")
    journal.sweep()


def links(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "links.json", data=data)
    return LinkHistory(str(place)).read(1e9)


def pidfile(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "run", "node.pid", data=data)
    put(place, "run,ended.json", data=data)
    directory = RunDirectory(str(place), "run")
    directory.process()
    directory.read_pidfile()
    directory.read_ending()


def header(place: pathlib.Path, data: bytes) -> t.Any:
    texts = data.decode("latin-1").split("\n")
    names = ["Content-Length", "Transfer-Encoding", "Content-Encoding", "ETag", "Content-Range", "Last-Modified"]
    pairs = [(names[number % len(names)], text.replace("\r", "").replace("\0", "")) for number, text in enumerate(texts[:6])]
    answer = answer_of("http://x", Response(pairs, 206 if len(texts) % 2 else 200))
    assert answer.length >= -1
    return answer._asdict()


def url(place: pathlib.Path, data: bytes) -> t.Any:
    text = "http://" + data.decode("utf-8", "surrogateescape")
    shown = public_url(text)
    assert shown.isprintable()
    check_url(text).encode("ascii")
    return shown


def checksums(place: pathlib.Path, data: bytes) -> t.Any:
    text = data.decode("utf-8", "replace")
    named = f"{text}  x\n{SHA256}  {text}\n{SHA256}  x.qcow2\n"
    return str(checksum.find(named, "x.qcow2", "SHA256SUMS"))


def layers(place: pathlib.Path, data: bytes) -> t.Any:
    document = oci._read(oci.parse_reference("oci://h/a:b"), data)
    return [oci._layer(one)._asdict() for one in document["layers"].items(128)]


def headers_of_images(place: pathlib.Path, data: bytes) -> t.Any:
    for magic in (b"QFI\xfb\0\0\0\3", b"KDMV\1\0\0\0", b"COWD", b"conectix", b"vhdxfile", b"# Disk DescriptorFile\n", b""):
        head = magic + data
        image_header.detect(head, head[-512:])
        image_header.foreign(head)
        image_header.page(head)
        image_header.vmdk_problem(head.ljust(64), "x.vmdk")
        image_header.vpc_problem(head, head)
        try:
            image_header.parse_qcow2(head)
        except image_header.HeaderError:
            continue


def qcow2_file(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "disk", data=b"QFI\xfb\0\0\0\3" + data)
    return base.record_problem(str(place / "disk"), {"image_format": "qcow2", "virtual_size_bytes": 1, "parent": None})


def chunks(place: pathlib.Path, data: bytes) -> t.Any:
    for whole in (data, b"BCCHUNK1" + data):
        try:
            found = chunk_list.ChunkList.from_bytes(whole)
        except chunk_list.BadChunkList:
            continue
        list(found.zeros())


XML = """<domain type="kvm"><name>{}</name><uuid>{}</uuid><vcpu>{}</vcpu><memory unit="{}">{}</memory><metadata>
<b:machine xmlns:b="urn:basecast:fleet:machine" format="1" tenant="{}" service="{}" machine="{}" number="{}" group="{}">
<b:spec>{}</b:spec></b:machine></metadata><devices><disk><source file="{}"/></disk><interface type="network"><mac address="{}"/>
</interface></devices></domain>"""


def definition(place: pathlib.Path, data: bytes) -> t.Any:
    text = data.decode("utf-8", "replace")
    domain.describe(text)


def fields_of_definition(place: pathlib.Path, data: bytes) -> t.Any:
    words = [word.replace("&", "").replace("<", "").replace('"', "") for word in data.decode("utf-8", "replace").split(" ")]
    domain.describe(XML.format(*(words * 13 + ["x"] * 13)[:13]))


def report(place: pathlib.Path, data: bytes) -> t.Any:
    return reports.find_report(b"junk " + reports.PREFIX.encode() + data + b"\n", TOKEN)


def console(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "console.log", data=data)
    return reports.console_tail(str(place / "console.log"))


def claims_of_host(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "claims.json", data=data)
    told = Claims(str(place), lambda: 0.0, lambda: "b").read()
    return [claims.totals(claim, "blue") for claim in told.claims]


def migration(place: pathlib.Path, data: bytes) -> t.Any:
    put(place, "migrations", "blue", "shop", "web-1.json", data=data)
    found = MoveJournal(str(place), "blue", "shop").read("web-1")
    assert found is not None, "one that cannot be read is an error"
    return [found.side, found.phase]


def message_of_peer(place: pathlib.Path, data: bytes) -> t.Any:
    mine, theirs = socket.socketpair()

    def speak() -> None:
        with theirs, contextlib.suppress(OSError):  # the listener has heard enough
            theirs.sendall(struct.pack(">I", len(data)) + data)

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        with mine:
            answer = tunnel.receive_message(mine, "the answer of kvm2")
    finally:
        speaker.join()
    error = answer.get("error")
    return None if error is None else error.cleaned(1000)


def name_of_parent(place: pathlib.Path, data: bytes) -> t.Any:
    try:
        return [*needs.files_of("/x/disk", "json:" + data.decode("utf-8", "replace").replace("\0", ""))] and None
    except needs.Unknown as unknown:
        return str(unknown)


def disks_of_domains(place: pathlib.Path, data: bytes) -> t.Any:
    text = data.decode("utf-8", "replace")
    host = types.SimpleNamespace(name="x", xml=lambda: text, running=lambda: True, living_xml=lambda: text, snapshot_xmls=lambda: [text])
    host.domains = lambda: [host]
    _found, unknown = domain_disks.domain_disks("qemu:///system", lambda _uri: contextlib.nullcontext(host))
    return unknown


def stored_template(place: pathlib.Path, data: bytes) -> t.Any:
    found = template.from_text(data.decode("utf-8", "surrogateescape"), "the template")
    return [(disk["name"] + "", disk["base"] + "") for disk in found["disks"]] and None  # what it says is cleaned where it is shown


def user_data_of_manifest(place: pathlib.Path, data: bytes) -> t.Any:
    text = data[:100_000].decode("utf-8", "replace")  # PyYAML takes 20 s for a megabyte of short values
    return user_data.user_data_problems("#cloud-config\n" + text)


def added_xml(place: pathlib.Path, data: bytes) -> t.Any:
    text = data.decode("utf-8", "surrogateescape")
    return [*fragments.fragment_mistakes({"xml": [{"path": "devices", "add": text}, {"path": ".", "add": text}]})]


# By name: how something comes in, and an example of what should.
class Agent:
    """A guest agent that gives the same answer to everything."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def agent_command(self, command: str, timeout_s: int) -> str:
        return self._data.decode("utf-8", "replace")


def guest_agent(_place: pathlib.Path, data: bytes) -> None:
    health.attempt(health.Check("command", command=("true",)), [], Agent(data), answer_s=0.0)


DOORS: dict[str, tuple[t.Callable[[pathlib.Path, bytes], t.Any], Json]] = {
    "base.json": (
        base_json,
        {
            "format": 1, "sha256": SHA256, "source_sha256": SHA256, "size_bytes": 512, "virtual_size_bytes": 512, "image_format": "raw",
            "parent": None, "chunk_bytes": 262144, "chunks_sha256": SHA256, "imported_at": "x", "signatures": [],
            "imported_from": {"kind": "url", "name": "x", "image_format": "raw", "etag": "x", "checksum": "x", "size_bytes": 1},
        },
    ),
    "guest agent": (guest_agent, {"return": {"pid": 1, "exited": True, "exitcode": 0, "out-data": "eA==", "err-data": "eA=="}, "id": "x"}),
    "reference": (reference, {"format": 1, "kind": "name", "tenant": "blue", "name": "debian", "version": "12"}),
    "record of an import": (
        imports,
        {
            "format": 1, "source_sha256": SHA256, "sha256": SHA256, "etag": "x", "last_modified": "x", "length": 1, "path": "/x",
            "device": 1, "inode": 1, "size": 1, "mtime_ns": 1, "ctime_ns": 1,
        },
    ),
    "lease": (leases, {"host": "kvm2", "boot": "b", "pid": 1, "token": "t", "beat": 3}),
    "record of a verification": (verified, {"format": 1, "size_bytes": 1, "mtime_ns": 1, "at": "x"}),
    "map of a partial": (partial_map, {}),
    "chunk list": (chunks, {}),
    "record of a service": (service_record, {"format": 1, "service": "shop", "machines": []}),
    "record of a seed": (seed, {"digest": SHA256, "token": TOKEN, "hostname": "web-1", "instance_id": "x", "outline": {}}),
    "claims of a host": (
        claims_of_host,
        {
            "format": 1, "generation": 1,
            "claims": [{
                "tenant": "blue", "service": "shop", "run": "r", "boot": "b", "until": 5.0,
                "uses": [{"name": "web-1", "cpus": 1, "memory_mib": 1, "disk_bytes": 1, "pools": {"default": {"bytes": 1}}}],
            }],
        },
    ),
    "journal of a job": (job, {"format": 1, "pid": 1, "start_time": 1, "state": "running", "msg": "x"}),
    "history of links": (
        links,
        {
            "format": 1, "disks": {"one": {"write_mbps": 1.0}}, "disks_at": 1.0,
            "links": [{"from": "a", "to": "b", "mbps": 1.0, "latency_s": 0.1, "by": "probe", "at": 1.0}],
        },
    ),
    "pidfile": (pidfile, {"pid": 1, "start_time": 1, "run": "x", "host": "a", "address": "x", "port": 1}),
    "headers of a server": (header, {}),
    "URL": (url, {}),
    "list of checksums": (checksums, {}),
    "manifest of a registry": (layers, {"schemaVersion": 2, "layers": [{"mediaType": "tar+gzip", "digest": f"sha256:{SHA256}", "size": 1}]}),
    "header of an image": (headers_of_images, {}),
    "header of a disk": (qcow2_file, {}),
    "qemu-img info": (
        lambda _place, data: qemu_img.parse_info(data.decode("utf-8", "surrogateescape"))._asdict(),
        {"format": "qcow2", "virtual-size": 1, "backing-filename": "x", "backing-filename-format": "raw"},
    ),
    "qemu-img check": (
        lambda _place, data: qemu_img.parse_check(1, data.decode("utf-8", "surrogateescape"), data.decode("latin-1")).problem,
        {"leaks": 1, "corruptions": 1, "check-errors": 1, "format": "qcow2"},
    ),
    "report of a guest": (
        report,
        {
            "token": TOKEN, "hostname": "web-1", "instance_id": "x", "status": "done", "addresses": ["192.0.2.1"],
            "result": {"v1": {"errors": ["x"]}}, "stages": {"v1": {"init": {"recoverable_errors": {"WARNING": ["x"]}}}},
        },
    ),
    "console of a guest": (console, {}),
    "journal of a migration": (
        migration,
        {
            "format": 1, "side": "source", "phase": "leaving", "run": "r", "machine": "web-1", "peer": "kvm2", "live": True, "running": True,
            "autostart": True, "home": "default",
        },
    ),
    "message of a migration": (message_of_peer, {"error": "x", "sha256": SHA256, "ready": True}),
    "name of a parent": (name_of_parent, {"driver": "qcow2", "file": {"driver": "file", "filename": "/x"}}),
    "disks of domains": (disks_of_domains, {}),
    "definition of a domain": (definition, {}),
    "fields of a definition": (fields_of_definition, {}),
    "added XML": (added_xml, {}),
    "template of a machine": (stored_template, {"cpus": 1, "disks": [{"name": "root", "base": "golden", "size_bytes": 5}], "variables": None}),
    "user data": (user_data_of_manifest, {"runcmd": ["x"], "users": []}),
}  # fmt: skip


def texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*texts(key), *texts(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)


def fit(text: str) -> bool:
    """No terminal obeys it, and it changes the order of nothing. What is merely invisible is written out where it is shown."""
    turning = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in turning for character in text)


def knock(name: str, data: bytes) -> None:
    door, _whole = DOORS[name]
    with tempfile.TemporaryDirectory() as place:
        try:
            told = door(pathlib.Path(place), data)
        except FleetError as error:
            assert fit(error.message), error.message
            return
    for text in texts(told):
        assert fit(text), text


SPECIAL = [
    "\x1b]0;owned\x07\x1b[2J", "\x9b31m", "\u202eabc", "\u2028", "\ud800", "../../etc/passwd", "/proc/self/root", "x" * 70_000, "\0",
    SHA256, SHA256.upper(), TOKEN, "NaN", "1e400", "９", "", " ", "-", "<x>", "%s{0}",
]  # fmt: skip
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(), st.text(max_size=12), st.sampled_from(SPECIAL),
        st.sampled_from([2**31, 2**32, 2**53, 2**63, 2**64, -1, 0, 1]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)  # fmt: skip
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", DOORS)
@SLOW
@given(data=st.one_of(st.binary(max_size=600), st.lists(st.sampled_from([*SPECIAL[:-9], " ", "\n", '"', "{", "[", ":", "1"])).map(
    lambda words: "".join(words).encode("utf-8", "surrogatepass"))))  # fmt: skip
def test_any_bytes(name: str, data: bytes) -> None:
    knock(name, data)


def places(value: t.Any, way: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*way, key)
        yield from places(item, (*way, key))


@pytest.mark.parametrize("name", [name for name, (_door, whole) in DOORS.items() if whole])
@SLOW
@given(data=st.data())
def test_any_value_in_any_field(name: str, data: st.DataObject) -> None:
    whole = json.loads(json.dumps(DOORS[name][1]))
    for _change in range(data.draw(st.integers(0, 2))):
        way = data.draw(st.sampled_from(list(places(whole)) or [("x",)]))
        at = whole
        for step in way[:-1]:
            at = at[step]
        if isinstance(at, dict) and data.draw(st.integers(0, 4)) == 0:
            del at[way[-1]]
        else:
            at[way[-1]] = data.draw(VALUES)
    knock(name, json.dumps(whole).encode())


HOSTILE = {
    "deep": b"[" * 100_000,
    "deep objects": b'{"format":' * 30_000,
    "deep and closed": b"[" * 60_000 + b"]" * 60_000,
    "long number": b'{"format":' + b"9" * 100_000 + b"}",
    "1e400": b'{"format":1e400}',
    "NaN": b'{"format":NaN,"token":"0123456789abcdef"}',
    "key twice": b'{"format":1,"format":1}',
    "many values": b"[" + b"1," * 400_000 + b"1]",
    "long": b'"' + b"x" * (5 << 20) + b'"',
    "not UTF-8": b'{"format":"\xff\xfe"}',
    "NUL": b'{"format":"\0"}',
    "half a character": b'{"format":"\\ud800"}',
    "deep XML": b"<a>" * 100_000,
    "entities": b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "nothing": b"",
    "blank": b" \n\t" * 1000,
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", DOORS)
def test_what_was_made_to_harm(name: str, kind: str) -> None:
    knock(name, HOSTILE[kind])


@pytest.mark.parametrize("name", [name for name, (_door, whole) in DOORS.items() if whole])
def test_what_should_come_in_does(name: str) -> None:
    knock(name, json.dumps(DOORS[name][1]).encode())


# Their tests try them with the names of peers.
ELSEWHERE = {
    "_relay/node/process.py", "_relay/node/control_socket.py", "_relay/wire/protocol.py", "_relay/wire/messages.py", "_relay/status/table.py",
    "_move/door.py", "_move/far_room.py",
}  # fmt: skip
# They hand on what comes in by another one of these.
HANDED_ON = {"_disk/file_io.py", "_machine/domain_list.py", "_machine/seed_images.py", "_machine/xml_document.py", "_untrusted.py"}
TRIED = {
    "_job/claims.py", "_disk/base.py", "_disk/references.py", "_disk/import_record.py", "_disk/qemu_img.py", "_disk/web.py", "_machine/records.py",
    "_disk/oci.py", "_machine/health.py",
    "_machine/domain.py", "_machine/seed_records.py", "_machine/reports.py", "_relay/measure/link_history.py", "_relay/node/run_directory.py",
    "_disk/needs.py", "_machine/moves.py", "_move/tunnel.py", "_machine/domain_disks.py", "_machine/hardware/fragments.py",
    "_machine/template.py",
}  # fmt: skip


def test_no_door_is_left_out() -> None:
    """A module that reads through the one door has its entry here; none reads JSON by another."""
    sources = pathlib.Path(chunk_list.__file__).parents[1]
    using = {str(path.relative_to(sources)) for path in sources.rglob("*.py") if "_untrusted import" in path.read_text()}
    assert using - HANDED_ON - ELSEWHERE - TRIED == set()
    by_themselves = {str(path.relative_to(sources)) for path in sources.rglob("*.py") if "json.load" in path.read_text()}
    # What a process of this module's own says, what the user wrote, and what the host's packages installed.
    assert by_themselves == {"_untrusted.py", "_job/questions.py", "_machine/ignition.py", "_machine/user_data.py", "_machine/shares.py"}
