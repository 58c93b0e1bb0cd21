# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import peer_record
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import Patience
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.faulty import FaultyEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.files import boot_identity
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node import node as node_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.settings import Settings
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.transport import Address

CHUNK = 16 * 1024
QUICK = Settings(ttl_s=60, linger_s=30, silence_s=0.9, patience=Patience(pending=3.0, lost=0.5, alone=3.0))


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_chain_and_a_tree_end_with_the_right_bytes_everywhere(fleet: t.Any, content: t.Any, mode: str) -> None:
    content.put(fleet.pool("S"))
    plan = {"S": [], "A": ["S"], "B": ["A", "S"], "C": ["B", "A", "S"], "D": ["A", "S"]}
    for host in plan:
        fleet.add(host)
    fleet.start(content, plan, mode)
    fleet.wait(*plan)
    for host in plan:
        base = fleet.base(host, content)
        assert base["state"] == "holding", base
        assert base["attempts"] == []
        assert fleet.holds(host, content)
    assert fleet.base("C", content)["received_bytes"] < 1.01 * content.wire_bytes + 3000
    fleet.until(lambda: fleet.base("S", content)["sent_bytes"] == content.wire_bytes)
    fleet.until(lambda: fleet.base("A", content)["sent_bytes"] == 2 * content.wire_bytes)


def test_cut_through_passes_chunks_on_before_the_base_is_whole(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(content, {"S": []}, "cut_through", rate_mbps=4.0)
    fleet.start(content, {"A": ["S"], "B": ["A"]}, "cut_through")
    fleet.until(lambda: fleet.base("B", content)["received_bytes"] > 5 * CHUNK)
    assert fleet.base("A", content)["state"] == "fetching"
    fleet.nodes["S"].limits.set(rate_mbps=0)
    fleet.wait("A", "B")
    assert fleet.holds("B", content)


def test_staged_serves_nothing_of_a_part(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(content, {"S": []}, rate_mbps=4.0)
    fleet.start(content, {"A": ["S"], "B": ["A"]})
    fleet.until(lambda: fleet.base("A", content)["bytes"] > 20 * CHUNK)
    assert fleet.base("A", content)["state"] == "fetching"
    assert fleet.base("B", content)["bytes"] == 0
    assert fleet.base("B", content)["from"] == "A"
    fleet.nodes["S"].limits.set(rate_mbps=0)
    fleet.wait("A", "B")


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_parent_that_dies_is_replaced_and_nothing_is_fetched_twice(fleet: t.Any, content: t.Any, mode: str) -> None:
    content.put(fleet.pool("S"))
    content.put(fleet.pool("T"))
    fleet.certify(*"STAB")
    for host in "STAB":
        fleet.add(host)
    fleet.start(content, {"T": []}, mode)
    fleet.start(content, {"S": []}, mode, rate_mbps=4.0)
    fleet.start(content, {"A": ["S", "T"], "B": ["A", "T"]}, mode)
    fleet.until(lambda: fleet.base("A", content)["received_bytes"] > 5 * CHUNK)
    fleet.kill("S")
    fleet.wait("A", "B")
    base = fleet.base("A", content)
    assert base["state"] == "holding"
    assert [attempt["parent"] for attempt in base["attempts"]] == ["S"]
    assert base["received_bytes"] < content.wire_bytes + 2 * CHUNK
    assert fleet.base("B", content)["attempts"] == []
    assert fleet.holds("A", content)
    assert fleet.holds("B", content)


class Stuck:
    """An endpoint whose reads hang from the sixth on: the host lives, and says nothing."""

    def __init__(self, inner: t.Any, event: threading.Event) -> None:
        self._inner = inner
        self._event = event
        self._reads = 0

    def read_into(self, offset: int, view: memoryview) -> None:
        self._reads += 1
        if self._reads > 5:
            self._event.wait(20)
        self._inner.read_into(offset, view)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._inner, name)


def test_a_parent_that_falls_silent_is_left(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    content.put(fleet.pool("A"))
    release = threading.Event()
    fleet.add("S", wrap_endpoint=lambda endpoint: Stuck(endpoint, release))
    fleet.add("A")
    fleet.add("B")
    try:
        fleet.start(content, {"S": [], "A": [], "B": ["S", "A"]})
        fleet.wait("B", seconds=8)
    finally:
        release.set()
    base = fleet.base("B", content)
    assert base["state"] == "holding"
    assert base["seconds"] < 4
    assert len(base["attempts"]) == 1
    assert "S has been silent for" in base["attempts"][0]["error"]
    assert fleet.holds("B", content)


def test_a_wrong_byte_is_refetched_elsewhere_and_its_sender_named(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    content.put(fleet.pool("A"))
    fleet.add("S", wrap_endpoint=lambda endpoint: FaultyEndpoint(endpoint, wrong_reads={8 * CHUNK: -1}))
    fleet.add("A")
    fleet.add("B")
    fleet.start(content, {"S": [], "A": [], "B": ["S", "A"]})
    fleet.wait("B")
    base = fleet.base("B", content)
    assert base["state"] == "holding"
    assert base["attempts"] == [{"parent": "S", "error": f"S sent wrong bytes for chunk 8 (offset {8 * CHUNK}).", "mbps": None}]
    # Counted after the last byte has left, which the receiver does not wait for.
    fleet.until(lambda: fleet.base("A", content)["sent_bytes"] == CHUNK)
    assert fleet.base("S", content)["sent_bytes"] == content.wire_bytes, "it was asked for the same chunk again"
    assert fleet.holds("B", content)


def test_a_base_damaged_at_its_only_holder_is_an_error_and_never_a_file(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    fleet.add("S", wrap_endpoint=lambda endpoint: FaultyEndpoint(endpoint, wrong_reads={8 * CHUNK: -1}))
    fleet.add("A")
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("A")
    base = fleet.base("A", content)
    assert base["state"] == "failed"
    assert "No parent can serve this base: S sent wrong bytes for chunk 8" in base["msg"]
    assert not (fleet.pool("A") / content.sha256).exists()
    assert (fleet.pool("A") / "partial" / content.sha256 / "map").read_bytes()[16 + 8] == 0


@pytest.mark.parametrize("fault", ["another list", "cut short"])
def test_a_base_in_the_pool_that_is_not_the_runs_is_served_to_nobody(fleet: t.Any, content: t.Any, content_of: t.Any, fault: str) -> None:
    content.put(fleet.pool("S"))
    directory = fleet.pool("S") / content.sha256
    if fault == "another list":
        (directory / "chunks").write_bytes(content_of(os.urandom(len(content.data))).chunks.to_bytes())
    else:
        os.truncate(directory / "disk", len(content.data) - 1)
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("S", "A")
    message = {
        "another list": "is not the chunk list of this run",
        "cut short": f"has {len(content.data) - 1} bytes, the base {len(content.data)}. Run basecast.fleet.verify",
    }
    assert message[fault] in fleet.base("S", content)["msg"]
    assert [fleet.base(host, content)["state"] for host in "SA"] == ["failed", "failed"]
    assert fleet.base("S", content)["sent_bytes"] == 0


@pytest.mark.parametrize("fault", ["disk", "map"])
def test_a_partial_that_does_not_fit_is_begun_anew(fleet: t.Any, content: t.Any, fault: str) -> None:
    content.put(fleet.pool("S"))
    content.put_partial(fleet.pool("A"), range(20), boot_identity())
    directory = fleet.pool("A") / "partial" / content.sha256
    # Zero chunks are not written: what stood in their places has to go.
    (directory / "disk").write_bytes(b"x" * (5 * CHUNK if fault == "disk" else len(content.data)))
    if fault == "map":
        data = bytearray((directory / "map").read_bytes())
        data[16 + 3] = 7
        (directory / "map").write_bytes(data)
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("A")
    assert fleet.holds("A", content)
    fleet.until(lambda: fleet.base("S", content)["sent_bytes"] == content.wire_bytes)


@pytest.mark.parametrize("name", ["disk", "map"])
def test_a_link_in_place_of_a_partial_is_not_followed(fleet: t.Any, content: t.Any, name: str) -> None:
    directory = fleet.pool("A") / "partial" / content.sha256
    directory.mkdir(parents=True)
    target = fleet.directory / "target"
    target.write_bytes(b"mine")
    (directory / name).symlink_to(target)
    fleet.add("A")
    fleet.start(content, {"A": ["S"]})
    fleet.wait("A")
    assert f"The pool cannot take the base: {directory / name} is not a regular file" in fleet.base("A", content)["msg"]
    assert target.read_bytes() == b"mine"


def test_a_partial_that_was_verified_again_is_believed_from_then_on(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    content.put_partial(fleet.pool("A"), range(20), "another")
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": []}, rate_mbps=1.0)
    fleet.start(content, {"A": ["S"]})
    fleet.until(lambda: fleet.base("A", content)["bytes"] > 0)
    marks = (fleet.pool("A") / "partial" / content.sha256 / "map").read_bytes()
    assert marks[-36:].decode().strip() == boot_identity()
    fleet.nodes["S"].limits.set(rate_mbps=0)
    fleet.wait("A")
    assert fleet.holds("A", content)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_a_pool_that_fails_fails_that_host_only_and_is_resumed_later(fleet: t.Any, content: t.Any, error: int) -> None:
    content.put(fleet.pool("S"))
    failing = [10]
    fleet.add("S")
    fleet.add("A", wrap_endpoint=lambda endpoint: FaultyEndpoint(endpoint, failing_write=failing[0], error=error))
    fleet.add("B")
    fleet.start(content, {"S": [], "A": ["S"], "B": ["A", "S"]}, "cut_through")
    fleet.wait("A", "B")
    assert fleet.base("A", content)["state"] == "failed"
    assert os.strerror(error) in fleet.base("A", content)["msg"]
    assert not (fleet.pool("A") / content.sha256).exists()
    assert fleet.base("B", content)["state"] == "holding"
    assert fleet.holds("B", content)
    failing[0] = 1000
    fleet.start(content, {"A": ["S"]}, "cut_through")
    fleet.wait("A")
    assert fleet.holds("A", content)
    assert fleet.base("A", content)["received_bytes"] < content.wire_bytes - 9 * CHUNK


@pytest.mark.parametrize("same_boot", [True, False], ids=["same boot", "after a power cut"])
def test_a_partial_is_resumed_and_after_a_power_cut_verified_again(fleet: t.Any, content: t.Any, same_boot: bool) -> None:
    content.put(fleet.pool("S"))
    content.put_partial(fleet.pool("A"), range(20), boot_identity() if same_boot else "another")
    if not same_boot:
        disk = fleet.pool("A") / "partial" / content.sha256 / "disk"
        data = bytearray(disk.read_bytes())
        data[6 * CHUNK + 5] ^= 1
        data[7 * CHUNK + 5] ^= 1  # a chunk of zero bytes
        disk.write_bytes(data)
    fleet.add("S")
    fleet.add("A")
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("A")
    assert fleet.base("A", content)["state"] == "holding"
    assert fleet.holds("A", content)
    sent = content.wire_bytes - 15 * CHUNK + (0 if same_boot else CHUNK)
    fleet.until(lambda: fleet.base("S", content)["sent_bytes"] == sent)


def test_nothing_verified_means_nothing_left(fleet: t.Any, content: t.Any) -> None:
    fleet.add("S")
    fleet.add("A")
    fleet.kill("S")
    fleet.start(content, {"A": ["S"]})
    fleet.wait("A")
    base = fleet.base("A", content)
    assert base["state"] == "failed"
    assert "No living parent for 3 s (tried: S)" in base["msg"]
    assert "Connection refused" in base["msg"]
    assert not (fleet.pool("A") / "partial" / content.sha256).exists()


def test_a_base_that_is_not_where_the_plan_says_is_an_error_for_all_below(fleet: t.Any, content: t.Any) -> None:
    fleet.add("S")
    fleet.add("A")
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("S", "A")
    assert "is not in the pool default" in fleet.base("S", content)["msg"]
    assert fleet.base("A", content)["state"] == "failed"
    assert "S has no such base" in fleet.base("A", content)["msg"]


def test_two_hosts_that_wait_for_each_other_find_the_holder(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(content, {"S": []})
    peers = {host: Address("127.0.0.1", fleet.nodes[host].port) for host in "SAB"}
    # A's link to the holder is cut.
    fleet.start(content, {"B": ["A", "S"]})
    broken = {**peers, "S": Address("127.0.0.1", 1)}
    fleet.nodes["A"].start([fleet.request(content, "A", ["S", "B"])], broken)
    fleet.wait("A", "B", seconds=10)
    assert fleet.holds("A", content)
    assert fleet.holds("B", content)


def test_a_new_plan_moves_a_transfer_and_revives_a_failed_one(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    content.put(fleet.pool("B"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(content, {"S": []}, rate_mbps=2.0)
    fleet.start(content, {"B": []})
    fleet.start(content, {"A": ["S"]})
    fleet.until(lambda: fleet.base("A", content)["received_bytes"] > 3 * CHUNK)
    fleet.start(content, {"A": ["B", "S"]})
    fleet.wait("A")
    assert fleet.base("A", content)["attempts"] == []
    assert fleet.base("A", content)["received_bytes"] < content.wire_bytes + 2 * CHUNK
    assert fleet.base("B", content)["sent_bytes"] > 0
    assert fleet.holds("A", content)


def test_a_partial_of_another_process_is_waited_for_and_then_used(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    lock = fleet.pool("A") / f"{content.sha256}.lock"
    lock.touch()
    fleet.add("S")
    fleet.add("A")
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.until(lambda: "another process" in fleet.base("A", content)["msg"])
    content.put(fleet.pool("A"))
    lock.unlink()
    fleet.wait("A")
    assert fleet.base("A", content)["state"] == "holding"
    assert fleet.base("S", content)["sent_bytes"] == 0


def test_a_partial_whose_writer_died_is_taken_over(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    content.put_partial(fleet.pool("A"), range(20), boot_identity())
    lock = fleet.pool("A") / f"{content.sha256}.lock"
    lock.touch()
    fleet.add("S")
    fleet.add("A")
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.until(lambda: "another process" in fleet.base("A", content)["msg"])
    lock.unlink()
    fleet.wait("A")
    assert fleet.holds("A", content)
    assert fleet.base("S", content)["sent_bytes"] < content.wire_bytes - 14 * CHUNK


def test_an_empty_base_arrives_too(fleet: t.Any, content_of: t.Any) -> None:
    empty = content_of(b"")
    empty.put(fleet.pool("S"))
    fleet.add("S")
    fleet.add("A")
    fleet.start(empty, {"S": [], "A": ["S"]})
    fleet.wait("A")
    assert fleet.holds("A", empty)


def test_a_node_ends_after_its_work_when_nobody_talks_to_it(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    node = fleet.add("S", settings=QUICK._replace(linger_s=0.4))
    child = fleet.add("A", settings=QUICK._replace(ttl_s=1.0))
    fleet.start(content, {"S": []})
    fleet.wait("S")
    held = fleet.nodes["A"].connect
    fleet.start(content, {"A": ["S"]})
    fleet.wait("A")
    channel = held("S")
    channel.send_message(protocol.OPEN, {"base": content.sha256, "chunks_sha256": content.chunks.sha256})
    ended: list[str] = []
    life = threading.Thread(target=lambda: ended.append(node.live()))
    life.start()
    begin = time.monotonic()
    while time.monotonic() < begin + 0.8:
        channel.beat()
        assert not ended
        time.sleep(0.1)
    channel.close()
    life.join(5)
    assert "no contact for 0.4 s" in ended[0]
    assert "time to live" in child.live()


def test_a_base_appears_after_its_parent(fleet: t.Any, content_of: t.Any) -> None:
    parent = content_of(b"p" * 40 * CHUNK)
    child = content_of(b"c" * CHUNK)
    child.metadata["parent"] = parent.sha256
    for base in (parent, child):
        base.put(fleet.pool("S"))
    for host in "SA":
        fleet.add(host)
    fleet.start(parent, {"S": []}, rate_mbps=8.0)
    fleet.start(child, {"S": []})
    fleet.start(parent, {"A": ["S"]})
    fleet.start(child, {"A": ["S"]})
    fleet.until(lambda: fleet.base("A", child)["bytes"] == CHUNK)
    assert fleet.base("A", parent)["state"] == "fetching"
    assert fleet.base("A", child)["state"] == "fetching"
    fleet.wait("A")
    assert fleet.holds("A", child)
    assert (fleet.pool("A") / parent.sha256).stat().st_ctime_ns <= (fleet.pool("A") / child.sha256).stat().st_ctime_ns


def test_a_parent_that_never_begins_is_not_waited_for_for_ever(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its controller died before it was told its part."""
    monkeypatch.setattr(peer_record, "BACKOFF_LAST_S", 0.3)
    content.put(fleet.pool("T"))
    fleet.certify(*"STAB")
    quick = QUICK._replace(patience=Patience(pending=0.5, lost=0.2, alone=4.0))
    for host in "STAB":
        fleet.add(host, settings=quick)
    fleet.start(content, {"A": ["S"]})
    fleet.wait("A", seconds=20)
    assert fleet.base("A", content)["state"] == "failed"
    assert "S has not begun after 0.5 s" in fleet.base("A", content)["msg"] + str(fleet.base("A", content)["attempts"])
    fleet.start(content, {"B": ["S", "T"], "T": []})
    fleet.wait("B", seconds=20)
    assert fleet.base("B", content)["state"] == "holding"


def test_children_are_served_one_after_the_other_where_the_plan_says_so(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SABC":
        fleet.add(host)
    for host in "ABC":
        fleet.start(content, {host: ["S"]})
    fleet.until(lambda: all(fleet.base(host, content)["from"] == "S" for host in "ABC"))
    peers = {host: Address("127.0.0.1", node.port) for host, node in fleet.nodes.items()}
    request = fleet.request(content, "S", [])._replace(children=["C", "A"])
    fleet.nodes["S"].limits.set(rate_mbps=16.0)
    fleet.nodes["S"].start([request], peers)
    fleet.wait("C")
    assert fleet.base("A", content)["bytes"] < 24 * CHUNK  # ten of them are zero and were not asked for
    fleet.wait("A")
    assert fleet.base("B", content)["bytes"] < 24 * CHUNK
    fleet.wait("B")
    assert all(fleet.holds(host, content) for host in "ABC")


def flip(path: t.Any, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        four = file.read(4)
        file.seek(offset)
        file.write(bytes(byte ^ 0x10 for byte in four))


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
@pytest.mark.parametrize("index", [0, 1, 3, 8])  # chunk 3 is zero
def test_bytes_that_change_in_a_partial_are_fetched_again(fleet: t.Any, content: t.Any, mode: str, index: int) -> None:
    content.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(content, {"S": []}, mode, rate_mbps=4.0)
    fleet.start(content, {"A": ["S"], "B": ["A", "S"]}, mode)
    fleet.until(lambda: fleet.base("A", content)["bytes"] > 22 * CHUNK)
    flip(fleet.pool("A") / "partial" / content.sha256 / "disk", index * CHUNK + 100)
    fleet.nodes["S"].limits.set(rate_mbps=0)
    fleet.wait("A", "B")
    assert fleet.holds("A", content)
    assert fleet.holds("B", content)
    told = [attempt["error"] for attempt in fleet.base("A", content)["attempts"] if attempt["parent"] == "A"]
    assert told == ["A: chunks changed on this host's disk after they were stored, and fetched again: 1."]


@pytest.mark.parametrize("complete", [False, True])
def test_bytes_that_changed_before_a_resume_are_found(fleet: t.Any, content: t.Any, complete: bool) -> None:
    content.put(fleet.pool("S"))
    content.put_partial(fleet.pool("A"), range(content.chunks.count if complete else 20), fleet.boot())
    flip(fleet.pool("A") / "partial" / content.sha256 / "disk", 5 * CHUNK)
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("A")
    assert fleet.base("A", content)["state"] == "holding", fleet.base("A", content)
    assert fleet.holds("A", content)


class Lossy:
    """An endpoint of a disk that keeps other bytes than it was given."""

    def __init__(self, inner: t.Any, lies: list[int]) -> None:
        self._inner = inner
        self._lies = lies

    def write(self, offset: int, view: memoryview) -> None:
        if offset == 2 * CHUNK and self._lies:
            self._lies.pop()
            view = memoryview(bytes(len(view)))
        self._inner.write(offset, view)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize(("lies", "state"), [(1, "holding"), (2, "holding"), (9, "failed")])
def test_a_disk_that_keeps_other_bytes_is_found(fleet: t.Any, content: t.Any, lies: int, state: str) -> None:
    left = list(range(lies))
    content.put(fleet.pool("S"))
    fleet.add("S")
    fleet.add("A", wrap_endpoint=lambda endpoint: Lossy(endpoint, left))
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("A")
    base = fleet.base("A", content)
    assert base["state"] == state, base
    assert fleet.holds("A", content) is (state == "holding")
    if state == "failed":
        assert "does not keep what is written to it" in base["msg"]


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_list_that_is_not_the_base_s_publishes_nothing(fleet: t.Any, content_of: t.Any, content: t.Any, mode: str) -> None:
    other = content_of(content.data[: 3 * CHUNK] + b"other".ljust(CHUNK) + content.data[4 * CHUNK :])
    # The holder's root has put other bytes, and their list, under the base's name.
    other.sha256 = other.metadata["sha256"] = content.sha256
    other.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(other, {"S": [], "A": ["S"], "B": ["A", "S"]}, mode)
    fleet.wait("A", "B")
    for host in "AB":
        base = fleet.base(host, other)
        assert base["state"] == "failed", base
        assert f"is not that of the base {content.sha256}" in base["msg"]
        assert hashlib.sha256(other.data).hexdigest() in base["msg"]
        assert "S" in base["msg"]
        assert not (fleet.pool(host) / content.sha256).exists()
        assert not (fleet.pool(host) / "partial" / content.sha256).exists()


def life_of(node: t.Any) -> tuple[threading.Thread, list[str]]:
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(node.live()))
    thread.start()
    return thread, ended


def test_a_node_without_its_part_waits_for_it(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    node = fleet.add("S", settings=QUICK._replace(linger_s=0.2))
    thread, ended = life_of(node)
    time.sleep(1.0)
    assert ended == []
    fleet.start(content, {"S": []})
    thread.join(5)
    assert "no contact for 0.2 s" in ended[0]


def test_a_node_whose_controller_has_died_gives_up(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    node = fleet.add("S", settings=QUICK._replace(linger_s=0.2, part_s=1.0))
    thread, ended = life_of(node)
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        node.touch()  # a slow controller is not a dead one
        assert ended == []
        time.sleep(0.1)
    thread.join(5)
    assert ended == ["the controller gave it no part of a plan within 1 s"]


def test_a_guarded_run_ends_without_its_guard(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "GUARD_SILENT_S", 0.4)
    content.put(fleet.pool("S"))
    lives = []
    for host in "SA":
        lives.append(life_of(fleet.add(host, settings=QUICK._replace(lease_s=1.0, linger_s=0.8))))
    fleet.nodes["A"].limits.set(rate_mbps=0.1)
    fleet.start(content, {"S": []}, rate_mbps=0.1)
    fleet.start(content, {"A": ["S"]})
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        fleet.nodes["S"].guard()
        assert [ended for _thread, ended in lives] == [[], []]
        time.sleep(0.1)
    for thread, ended in lives:
        thread.join(6)
        assert ended == [node_module.CANCELLED]


def test_how_far_machines_are_is_told_to_all(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": []})
    fleet.start(content, {"A": ["S"]})
    fleet.nodes["A"].note_machines((3, 2, 1, 0, 0))
    deadline = time.monotonic() + 10
    while not (seen := fleet.nodes["S"].news.view()["A"]["machines"]) or seen["wanted"] != 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert seen == {"wanted": 3, "disks": 2, "started": 1, "reported": 0, "failed": 0}


def test_a_run_that_was_never_guarded_goes_on(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    fleet.add("S")
    fleet.add("A", settings=QUICK._replace(lease_s=0.2))
    thread, ended = life_of(fleet.nodes["A"])
    fleet.start(content, {"S": []}, rate_mbps=1.0)
    fleet.start(content, {"A": ["S"]})
    time.sleep(1.5)
    assert ended == []
    fleet.nodes["A"].stop()
    thread.join(5)
