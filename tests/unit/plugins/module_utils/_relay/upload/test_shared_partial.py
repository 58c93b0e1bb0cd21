# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading along in a partial that another process writes, over real files; and nodes that do."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import ChunkList
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import connection, peer_record
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import Patience
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.files import PartialFile, boot_identity
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PartialContent, StorageFailed
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.settings import Settings
from ansible_collections.basecast.fleet.plugins.module_utils._relay.states import PENDING, ROOTED, WAITING
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.offer import Offer
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.shared_partial import Place, SharedPartial, keep_list
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol

CHUNK = 16 * 1024
QUICK = Settings(ttl_s=60, linger_s=30, silence_s=0.9, patience=Patience(pending=3.0, lost=0.5, alone=3.0))


class Partial:
    """What another process has of a base, and who follows it."""

    def __init__(self, directory: Path, content: t.Any) -> None:
        self.directory = directory
        self.content = content
        self.place = Place(*(str(directory / name) for name in Place._fields))
        self.now = 100.0
        self.offer = Offer("A", content.sha256, lambda: self.now)
        self.begin()

    def begin(self) -> None:
        self.directory.mkdir()
        self.writer = PartialFile(self.place.disk, self.place.map, len(self.content.data), CHUNK)

    def follower(self, share: bool = True) -> SharedPartial:
        return SharedPartial(self.place, self.content.metadata, self.offer, lambda: self.now, share, patience_s=60.0)

    def store(self, *indexes: int) -> None:
        for index in indexes:
            self.writer.write(index * CHUNK, memoryview(self.content.data)[index * CHUNK : (index + 1) * CHUNK])
            self.writer.mark(index)

    def announced(self) -> list[int]:
        """Everything that a child that comes now is told."""
        payloads, _cursor = self.offer.news(0)
        ranges = [one for payload in payloads for one in protocol.decode_ranges(payload, self.content.chunks.count)]
        return [index for first, number in ranges for index in range(first, first + number)]

    def read(self, index: int) -> bytes:
        buffer = bytearray(CHUNK)
        length = self.offer.load(index, memoryview(buffer))
        return bytes(buffer[:length])


@pytest.fixture
def partial(tmp_path: Path, content: t.Any) -> t.Iterator[Partial]:
    partial = Partial(tmp_path / "partial", content)
    yield partial
    partial.writer.close()
    partial.offer.withdraw()


def test_what_is_verified_can_be_had_and_nothing_else(partial: Partial) -> None:
    follower = partial.follower()
    partial.store(2, 3)
    follower.look("waits")
    assert partial.announced() == []  # without the list no child could check anything
    assert follower.bytes == 2 * CHUNK
    assert partial.offer.view == (WAITING, ROOTED, (("A",),), "waits")
    keep_list(partial.place.chunks, partial.content.chunks)
    partial.writer.write(5 * CHUNK, memoryview(bytes(CHUNK)))  # and not verified
    for _twice in range(2):
        follower.look("waits")
        assert partial.announced() == [2, 3]
    partial.store(0, 40)
    follower.look("waits")
    assert partial.announced() == [0, 2, 3, 40]
    for index in partial.announced():
        assert partial.read(index) == partial.content.data[index * CHUNK : (index + 1) * CHUNK]
    follower.close()
    assert partial.read(0) == partial.content.data[:CHUNK]


def test_children_of_a_staged_run_get_nothing_of_a_part(partial: Partial) -> None:
    keep_list(partial.place.chunks, partial.content.chunks)
    partial.store(1)
    follower = partial.follower(share=False)
    follower.look("waits")
    assert (partial.announced(), follower.bytes, partial.offer.chunks) == ([], CHUNK, None)
    follower.close()


@pytest.mark.parametrize("fault", ["another boot", "another map", "another list", "half a list", "half a disk", "no partial"])
def test_what_cannot_be_believed_is_not_offered(partial: Partial, content_of: t.Any, fault: str) -> None:
    partial.store(1)
    keep_list(partial.place.chunks, partial.content.chunks)
    path = Path(partial.place.map)
    if fault == "another boot":
        path.write_bytes(path.read_bytes()[:-36] + b"another".ljust(36))
    elif fault == "another map":
        path.write_bytes(path.read_bytes()[1:])
    elif fault == "another list":
        keep_list(partial.place.chunks, content_of(os.urandom(len(partial.content.data)), CHUNK).chunks)
    elif fault == "half a list":
        Path(partial.place.chunks).write_bytes(partial.content.chunks.to_bytes()[:-5])
    elif fault == "half a disk":
        os.truncate(partial.place.disk, len(partial.content.data) // 2)
    else:
        shutil.rmtree(partial.directory)
    follower = partial.follower()
    follower.look("waits")
    follower.look("waits")
    assert partial.announced() == []
    assert partial.offer.chunks is None
    assert partial.offer.view.state == WAITING
    follower.close()


@pytest.mark.parametrize("name", Place._fields)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_was_planted_is_offered_to_nobody(partial: Partial, tmp_path: Path, name: str, kind: str) -> None:
    """A link to a file of this host, or a pipe that keeps its reader waiting for ever."""
    partial.store(1)
    keep_list(partial.place.chunks, partial.content.chunks)
    path = getattr(partial.place, name)
    if kind == "link":
        os.rename(path, tmp_path / "elsewhere")
        os.symlink(tmp_path / "elsewhere", path)
    else:
        os.unlink(path)
        os.mkfifo(path)
    follower = partial.follower()
    follower.look("waits")
    assert (partial.announced(), partial.offer.chunks) == ([], None)
    follower.close()


def test_keeping_the_list_writes_to_no_file_of_others(tmp_path: Path, content: t.Any) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    os.link(tmp_path / "victim", tmp_path / "chunks.new")
    keep_list(str(tmp_path / "chunks"), content.chunks)
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_what_was_offered_outlives_the_names(partial: Partial) -> None:
    keep_list(partial.place.chunks, partial.content.chunks)
    partial.store(1)
    follower = partial.follower()
    follower.look("waits")
    partial.directory.rename(partial.directory.parent / "published")
    os.unlink(partial.directory.parent / "published" / "map")
    follower.look("waits")
    assert partial.announced() == [1]
    assert partial.read(1) == partial.content.data[CHUNK : 2 * CHUNK]
    assert partial.offer.retractions == 0
    follower.close()


def test_a_partial_that_was_begun_anew_is_followed_from_its_begin(partial: Partial) -> None:
    keep_list(partial.place.chunks, partial.content.chunks)
    partial.store(1, 2)
    follower = partial.follower()
    follower.look("waits")
    partial.writer.close()
    shutil.rmtree(partial.directory)
    partial.begin()
    partial.store(7)
    follower.look("waits")
    assert (partial.announced(), partial.offer.retractions) == ([], 1)
    with pytest.raises(PartialContent):
        partial.read(1)
    keep_list(partial.place.chunks, partial.content.chunks)
    follower.look("waits")
    assert (partial.announced(), partial.offer.retractions) == ([7], 1)
    assert partial.read(7) == partial.content.data[7 * CHUNK : 8 * CHUNK]
    follower.close()


def test_who_goes_on_with_it_has_to_have_what_was_announced(partial: Partial) -> None:
    keep_list(partial.place.chunks, partial.content.chunks)
    partial.store(1, 2)
    follower = partial.follower()
    follower.look("waits")
    partial.store(3)
    follower.hand_over(partial.writer.marks())
    assert (partial.announced(), partial.offer.retractions) == ([1, 2], 0)
    partial.writer.mark(2, 0)
    follower.hand_over(partial.writer.marks())
    assert (partial.announced(), partial.offer.retractions) == ([], 1)


def test_a_slow_run_counts_as_long_as_anything_comes(partial: Partial) -> None:
    follower = partial.follower()
    for seconds, grows, feeds in ((50, True, ROOTED), (50, False, ROOTED), (20, False, PENDING), (5, True, ROOTED)):
        partial.now += seconds
        if grows:
            partial.store(int(partial.now) % 40)
        follower.look("waits")
        assert partial.offer.view.feed == feeds, partial.now
    follower.close()


def test_the_list_that_others_read_appears_in_one_piece(tmp_path: Path, content: t.Any) -> None:
    path = tmp_path / "chunks"
    keep_list(str(path), content.chunks)
    keep_list(str(path), content.chunks)
    assert ChunkList.open(str(path)).sha256 == content.chunks.sha256
    assert os.listdir(tmp_path) == ["chunks"]


# -- nodes: A and B have the same pool, as two runs on one host ---------------------------------------------------------


def share_pool(fleet: t.Any) -> None:
    (fleet.directory / "B").symlink_to(fleet.pool("A"))


@pytest.mark.parametrize("dies", [False, True])
def test_a_node_that_waits_serves_its_children_what_the_other_one_has(fleet: t.Any, content: t.Any, dies: bool) -> None:
    content.put(fleet.pool("S"))
    share_pool(fleet)
    for host in "SABC":
        fleet.add(host)
    fleet.start(content, {"S": []}, "cut_through", rate_mbps=2.0)
    fleet.start(content, {"A": ["S"]}, "cut_through")
    fleet.until(lambda: fleet.base("A", content)["received_bytes"] > 0)
    fleet.start(content, {"B": ["S"], "C": ["B"]}, "cut_through")
    fleet.until(lambda: fleet.base("C", content)["received_bytes"] > 3 * CHUNK)
    waiting = fleet.base("B", content)
    assert (waiting["state"], waiting["received_bytes"]) == ("waiting", 0)
    assert waiting["bytes"] > 3 * CHUNK
    assert "another process" in waiting["msg"]
    assert fleet.base("A", content)["state"] == "fetching"
    received = 0
    if dies:
        received = fleet.base("A", content)["received_bytes"]
        fleet.kill("A")
    fleet.nodes["S"].limits.set(rate_mbps=0)
    fleet.wait("B", "C")
    base = fleet.base("B", content)
    assert (base["state"], base["msg"]) == ("holding", "")
    if dies:
        # What was on its way when A died is lost, and nothing that was verified.
        assert 0 < base["received_bytes"] < content.wire_bytes - received + 6 * CHUNK
    else:
        assert base["received_bytes"] == 0
    child = fleet.base("C", content)
    assert (child["state"], child["attempts"], list(child["received_from"])) == ("holding", [], ["B"])
    assert child["received_bytes"] < 1.02 * content.wire_bytes + 3000
    assert fleet.holds("B", content)
    assert fleet.holds("C", content)
    assert not list((fleet.pool("A") / "partial").iterdir())


def test_a_base_that_appears_before_the_lock_is_free_leaves_no_partial(
    fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run publishes between our look at the store and our lock, which is on a partial that is made by that."""
    content.put(fleet.pool("A"))
    shelf = fleet.add("A").shelf
    looks = iter([None])
    held = shelf.held
    monkeypatch.setattr(shelf, "held", lambda *where: next(looks, held(*where)))
    fleet.start(content, {"A": ["S"]}, "cut_through")
    fleet.wait("A")
    assert fleet.base("A", content)["state"] == "holding"
    assert not list((fleet.pool("A") / "partial").iterdir())


def test_who_fails_while_it_waits_offers_nothing_any_more(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content.put_partial(fleet.pool("A"), range(20), boot_identity())
    keep_list(str(fleet.pool("A") / "partial" / content.sha256 / "chunks"), content.chunks)
    (fleet.pool("A") / f"{content.sha256}.lock").touch()
    shelf = fleet.add("A").shelf
    fleet.start(content, {"A": ["S"]}, "cut_through")
    offer = fleet.nodes["A"]._offers[content.sha256]
    fleet.until(lambda: bool(offer.news(0)[0]))

    def gone(*_where: str) -> t.NoReturn:
        raise StorageFailed("The pool is gone.")

    monkeypatch.setattr(shelf, "claim", gone)
    fleet.wait("A")
    assert (offer.view.state, offer.view.msg) == ("failed", "The pool is gone.")
    assert (offer.chunks, offer.news(0)[0]) == (None, [])


def test_a_slow_run_does_not_exhaust_the_patience_of_children(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only parent waits, and what it waits for takes many times as long as a host may be without any parent."""
    monkeypatch.setattr(connection, "OTHER_RUN_S", 0.4)
    monkeypatch.setattr(peer_record, "BACKOFF_LAST_S", 0.3)
    content.put_partial(fleet.pool("A"), [], boot_identity())
    folder = fleet.pool("A") / "partial" / content.sha256
    keep_list(str(folder / "chunks"), content.chunks)
    lock = fleet.pool("A") / f"{content.sha256}.lock"
    lock.touch()
    hasty = QUICK._replace(patience=Patience(pending=1.5, lost=0.2, alone=0.9))
    fleet.add("A", settings=hasty)
    fleet.add("C", settings=hasty)
    fleet.start(content, {"A": ["C"], "C": ["A"]}, "cut_through")
    writer = PartialFile(str(folder / "disk"), str(folder / "map"), len(content.data), CHUNK)
    for index in range(5):
        writer.mark(index)
        wanted = sum(content.chunks.length(one) for one in range(index + 1) if not content.chunks.is_zero(one))
        fleet.until(lambda at_least=wanted: fleet.base("C", content)["received_bytes"] >= at_least)
        assert not fleet.nodes["C"].stopping.wait(1.0)
        assert fleet.base("C", content)["state"] == "fetching", fleet.base("C", content)
    writer.close()
    content.put(fleet.pool("A"))
    lock.unlink()
    fleet.wait("A", "C")
    assert fleet.holds("C", content)


def test_children_leave_a_parent_whose_other_run_brings_nothing(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs may wait for each other over several hosts."""
    monkeypatch.setattr(connection, "OTHER_RUN_S", 0.5)
    content.put(fleet.pool("S"))
    lock = fleet.pool("A") / f"{content.sha256}.lock"
    lock.touch()
    for host in "SAC":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"], "C": ["A", "S"]}, "cut_through")
    fleet.wait("C", seconds=2.5)  # sooner than a parent is left that has not begun
    child = fleet.base("C", content)
    assert [(one["parent"], one["error"]) for one in child["attempts"]] == [("A", "A waits for another run, which has got nothing new.")]
    assert fleet.base("A", content)["state"] == "waiting"
    lock.unlink()
    fleet.wait("A")


def test_runs_that_wait_for_each_other_do_so_for_seconds(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run has A and B, the other C and D on the same hosts. A's parent B waits for D, whose parent C waits for A."""
    monkeypatch.setattr(connection, "OTHER_RUN_S", 0.6)
    content.put(fleet.pool("S"))
    for host, other in (("A", "C"), ("B", "D")):
        (fleet.directory / other).symlink_to(fleet.pool(host))
    for host in "SABCD":
        fleet.add(host)
    fleet.start(content, {"A": ["B", "S"], "D": ["C", "S"]}, "cut_through")
    fleet.until(lambda: all(fleet.base(host, content)["state"] == "fetching" for host in "AD"))
    fleet.start(content, {"B": ["S"], "C": ["S"]}, "cut_through")
    fleet.until(lambda: all("another process" in fleet.base(host, content)["msg"] for host in "BC"))
    fleet.start(content, {"S": []}, "cut_through")
    fleet.wait(*"ABCD", seconds=2.5)
    assert [fleet.base(host, content)["state"] for host in "ABCD"] == ["holding"] * 4
    assert [fleet.base(host, content)["received_bytes"] for host in "BC"] == [0, 0]
    fleet.until(lambda: fleet.base("S", content)["sent_bytes"] >= 2 * content.wire_bytes)
    assert fleet.base("S", content)["sent_bytes"] == 2 * content.wire_bytes


def test_children_forget_what_is_gone(fleet: t.Any, content: t.Any) -> None:
    """The other run's partial is deleted: this host begins anew, and its child asks again for nothing but what is there."""
    content.put(fleet.pool("S"))
    content.put_partial(fleet.pool("A"), range(20), boot_identity())
    folder = fleet.pool("A") / "partial" / content.sha256
    keep_list(str(folder / "chunks"), content.chunks)
    lock = fleet.pool("A") / f"{content.sha256}.lock"
    lock.touch()
    for host in "SAC":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"]}, "cut_through", rate_mbps=0)
    fleet.nodes["A"].limits.set(rate_mbps=1.0)
    fleet.start(content, {"C": ["A"]}, "cut_through")
    fleet.until(lambda: fleet.base("C", content)["received_bytes"] > 2 * CHUNK)
    shutil.rmtree(folder)
    lock.unlink()
    fleet.until(lambda: fleet.base("A", content)["state"] != "waiting")
    fleet.nodes["A"].limits.set(rate_mbps=0)
    fleet.wait("A", "C")
    assert fleet.holds("A", content)
    assert fleet.holds("C", content)
    attempts = [one["error"] for one in fleet.base("C", content)["attempts"]]
    assert attempts == ["A: what this host had of the base is gone"], attempts
