# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees, holds, last_use, references, uploads
from ansible_collections.basecast.fleet.plugins.module_utils._job import prune
from ansible_collections.basecast.fleet.plugins.module_utils._job.prune import Prune, Request
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain_disks import DomainDisk
from ansible_collections.basecast.fleet.plugins.module_utils._machine.records import ServiceRecords
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base, qcow2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Site
from .test_survey import put_disk

NAMED = [references.name_of("default", "tiny", "1"), references.tenant_of("default")]


class Fleet:
    """A host, and what libvirt tells of it."""

    def __init__(self, site: Site) -> None:
        self.site, self.domains, self.unknown = site, [], []  # type: ignore[var-annotated]
        self.state_dir = os.path.join(site.directory, "state")

    def prune(self, *bases: str, check: bool = False, left: t.Sequence[str] = (), **changes: t.Any) -> Prune:
        asked = Request(
            self.site.pools, "test:///", self.state_dir, self.site.runtime_dir, {"one": bases}, {"one": left}, 3600.0, check
        )._replace(**changes)
        return Prune(asked, self.site.stores, lambda uri: (list(self.domains), list(self.unknown)))

    def kept(self, sha256: str) -> list[str]:
        told = self.prune(check=True).look()
        (base,) = [one for one in told["pools"]["one"]["bases"] if one["sha256"] == sha256]
        return [*base["kept"], *told["unknown"]]

    def states(self, *bases: str, **options: t.Any) -> list[str]:
        return [f"{one['state']} {one['reason']}".strip() for one in self.prune(*bases, **options).perform()["results"]]


@pytest.fixture
def fleet(site: Site) -> Fleet:
    return Fleet(site)


@pytest.mark.parametrize("check", [True, False])
def test_what_nothing_needs_goes_with_its_names(check: bool, fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    base = put_base(store, refer=NAMED)
    assert fleet.kept(base.sha256) == []
    assert fleet.states(base.sha256, "0" * 64, check=check) == ["absent", "removed"]
    assert (store.ids() == [base.sha256], bool(store.references(base.sha256))) == (check, check)
    assert check or fleet.states(base.sha256) == ["absent"]


def _disk(fleet: Fleet, base: t.Any) -> None:
    put_disk(fleet.site.pools["two"], "shop", base.path, tenant="other")


def _foreign(fleet: Fleet, base: t.Any) -> None:
    path = pathlib.Path(fleet.site.directory) / "else.qcow2"
    path.write_bytes(qcow2(backing=base.path, backing_format="raw"))
    fleet.domains.append(DomainDisk("theirs", str(path), "qcow2"))


def _record(fleet: Fleet, base: t.Any) -> None:
    ServiceRecords(fleet.state_dir, "other").write("blog", {"manifest": {"bases": [{"sha256": base.sha256}, {"sha256": None}]}})


def _pin(fleet: Fleet, base: t.Any) -> None:
    fleet.site.stores["one"].refer(base.sha256, [references.pin_of("golden")])


def _elsewhere(fleet: Fleet, base: t.Any) -> None:
    """The record that another host has left of a disk in a pool of its own."""
    fleet.site.stores["one"].refer(base.sha256, [references.disk_of("default", "/ssd/machines/x/y/root.qcow2", "kvm9", "0" * 32)])


def _tenant(fleet: Fleet, base: t.Any) -> None:
    fleet.site.stores["one"].refer(base.sha256, [references.tenant_of("other")])


def _hold(fleet: Fleet, base: t.Any) -> None:
    holds.hold([fleet.site.stores["one"]], "run-7", [base.sha256], 60.0)


def _strange_reference(fleet: Fleet, base: t.Any) -> None:
    path = pathlib.Path(fleet.site.stores["one"].references_directory(base.sha256))
    path.mkdir(parents=True, exist_ok=True)
    (path / "strange.json").write_text("{")


def _libvirt(fleet: Fleet, _base: t.Any) -> None:
    fleet.unknown.append("libvirt does not answer")


def _image(fleet: Fleet, _base: t.Any) -> None:
    (pathlib.Path(fleet.site.pools["two"]) / "x.qcow2").write_bytes(qcow2(backing="nbd:host:1"))


def _strange_record(fleet: Fleet, _base: t.Any) -> None:
    ServiceRecords(fleet.state_dir, "other").write("blog", {})
    (pathlib.Path(fleet.state_dir) / "services/other/blog.json").write_text("{")


def _strange_hold(fleet: Fleet, base: t.Any) -> None:
    _hold(fleet, base)
    (pathlib.Path(fleet.site.stores["one"].directory) / ".held/run-7.json").write_text("{")


def _pool(fleet: Fleet, _base: t.Any) -> None:
    file_trees.remove_tree(fleet.site.pools["two"])


def _damaged(fleet: Fleet, _base: t.Any) -> None:
    child = pathlib.Path(fleet.site.stores["one"].directory) / ("7" * 64)
    child.mkdir()
    (child / "disk").write_bytes(qcow2(cluster_bits=40))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_disk, "needed by"),
        (_foreign, "needed by the domain theirs"),
        (_record, "needed by the service blog (tenant other)"),
        (_pin, "the pin golden keeps it"),
        (_elsewhere, "needed by /ssd/machines/x/y/root.qcow2 on kvm9"),
        (_tenant, "the tenant other has a reference to it"),
        (_hold, "the run run-7 is about to use it"),
        (_strange_reference, "the pin unreadable:strange.json keeps it"),
        (_libvirt, "libvirt does not answer"),
        (_image, "what is behind that is not known"),
        (_strange_record, "cannot be used"),
        (_strange_hold, "cannot be known"),
        (_pool, "the pool two is not there"),
        (_damaged, "cannot be read as qcow2"),
    ],
)
def test_what_keeps_a_base(change: t.Callable[[Fleet, t.Any], None], words: str, fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    base = put_base(store, refer=NAMED)
    change(fleet, base)
    assert words in " ".join(fleet.kept(base.sha256))
    (state,) = fleet.states(base.sha256)
    assert state.startswith("kept ") and words in state
    assert store.find(base.sha256) is not None


def test_a_base_in_use_is_kept(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(fleet.site.stores["one"])

    def refuse(_directory: str, _attempt: str) -> t.NoReturn:
        raise prune.DiskBusy("The disk is in use by domain x.")

    monkeypatch.setattr(prune.in_use, "refuse_entry", refuse)
    assert fleet.states(base.sha256) == ["kept The disk is in use by domain x."]


def test_parents_go_after_their_children_and_not_without(fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    root = put_base(store, data=b"root".ljust(4096, b"\0"))
    child = put_base(store, parent=root.sha256)
    assert fleet.states(root.sha256) == [f"kept the base disk {child.sha256} is based on it"]
    assert fleet.states(root.sha256, child.sha256, check=True) == ["removed", "removed"]
    assert fleet.states(root.sha256, child.sha256) == ["removed", "removed"]
    assert store.ids() == []


def test_a_child_that_is_kept_keeps_its_parent(fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    root = put_base(store, data=b"root".ljust(4096, b"\0"))
    child = put_base(store, parent=root.sha256, refer=[references.pin_of("x")])
    assert all(state.startswith("kept") for state in fleet.states(root.sha256, child.sha256))
    assert sorted(store.ids()) == sorted([root.sha256, child.sha256])


def test_a_damaged_child_still_keeps_its_parent(fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    root = put_base(store, data=b"root".ljust(4096, b"\0"))
    child = put_base(store, parent=root.sha256)
    os.unlink(os.path.join(child.directory, "base.json"))
    assert fleet.states(root.sha256) == [f"kept the base disk {child.sha256} is based on it"]


def test_it_is_looked_again_under_the_lock(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that appears after the plan, and before the lock was had, keeps its base."""
    store = fleet.site.stores["one"]
    base = put_base(store)
    real = store.changing

    def changing(*args: t.Any, **options: t.Any) -> t.Any:
        put_disk(fleet.site.pools["one"], "shop", base.path)
        return real(*args, **options)

    monkeypatch.setattr(store, "changing", changing)
    assert "needed by" in fleet.states(base.sha256)[0] and store.find(base.sha256) is not None


@pytest.mark.parametrize("told", [{"started": True, "bases": {}}, {"started": False, "bases": {}}, None])
def test_a_relay_node_keeps_what_it_may_be_asked_for(told: t.Any, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(fleet.site.stores["one"])
    os.makedirs(os.path.join(fleet.site.runtime_dir, "run-9"))

    def ask(*_args: t.Any, **_options: t.Any) -> t.Any:
        if told is None:
            raise OSError("no answer")
        return told

    monkeypatch.setattr(prune.RunDirectory, "process", lambda self: object())
    monkeypatch.setattr(prune.RunDirectory, "ask", ask)
    if told and told["started"]:
        assert fleet.kept(base.sha256) == []
        told["bases"][base.sha256] = {}
    assert fleet.kept(base.sha256) == ["the relay of the run run-9 is at work"]


def test_leftovers_go_when_nobody_is_at_work_on_them(fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    held = store.partial("3" * 64)
    store.partial("4" * 64).close()
    upload = os.path.dirname(uploads.make(store, "disk.img"))
    what = ["3" * 64, "4" * 64, upload, "/nothing"]
    fresh = fleet.states(left=what)
    assert [state.split()[0] for state in fresh] == ["kept", "kept", "kept", "absent"] and "s ago" in fresh[1]
    for check in (True, False):
        done = fleet.states(left=what, check=check, left_age_s=0.0)
        assert done == ["kept a run is fetching it", "removed", "removed", "absent"]
        assert (os.path.exists(upload), len(store.partials())) == ((True, 2) if check else (False, 1))
    held.close()


GONE = "5" * 64


def _needed(fleet: Fleet) -> None:
    put_disk(fleet.site.pools["two"], "shop", os.path.join(fleet.site.stores["one"].base_directory(GONE), "disk"), tenant="other")


def _wanted(fleet: Fleet) -> None:
    ServiceRecords(fleet.state_dir, "other").write("blog", {"manifest": {"bases": [{"sha256": GONE}]}})


def _pinned(fleet: Fleet) -> None:
    fleet.site.stores["one"].refer(GONE, [references.pin_of("golden")])


def _recorded(fleet: Fleet) -> None:
    fleet.site.stores["one"].refer(GONE, [references.disk_of("default", "/ssd/machines/x/y/root.qcow2", "kvm9", "0" * 32)])


def _unknown(fleet: Fleet) -> None:
    fleet.unknown.append("libvirt does not answer")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, ""),
        (_needed, "needed by /"),
        (_wanted, "needed by the service blog"),
        (_pinned, "the pin golden keeps it"),
        (_recorded, "needed by /ssd/machines/x/y/root.qcow2 on kvm9"),
        (_unknown, "not everything is known: libvirt does not answer"),
    ],
)
def test_names_of_a_base_that_is_gone(change: t.Callable[[Fleet], None] | None, words: str, fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    store.refer(GONE, NAMED)
    if change is not None:
        change(fleet)
    (left,) = fleet.prune(check=True).look()["pools"]["one"]["left"]
    assert (left["kind"], left["title"], bool(left["kept"])) == ("reference", "tiny 1", change is not None)
    assert words in "; ".join(left["kept"])
    assert fleet.states(left=[left["path"]])[0].startswith("kept ")  # it may have been written for a base that is on its way
    for check in (True, False):
        (state,) = fleet.states(left=[left["path"]], left_age_s=0.0, check=check)
        assert state.startswith("removed" if change is None else f"kept {words}"[:20])
        assert bool(store.references(GONE)) == (check or change is not None)


def test_names_of_a_base_that_is_coming_are_none_left(fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    store.refer(GONE, NAMED)
    (left,) = fleet.prune(check=True).look()["pools"]["one"]["left"]
    with store.partial(GONE):
        assert fleet.states(left=[left["path"]], left_age_s=0.0) == ["absent"]
    assert store.references(GONE)


@pytest.mark.parametrize(
    ("etab", "exported"),
    [
        ("", False),
        ("/srv *(rw)\n", False),
        ("{pool} *(rw)\n", True),
        ("{above}\t*(rw)\n", True),
        ("{pool}/bases host(ro)\n", True),
        ("/ *(ro)\n", True),
    ],
)
def test_a_pool_that_others_mount_is_shared(
    etab: str, exported: bool, fleet: Fleet, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = fleet.site.pools["one"]
    (tmp_path / "etab").write_text(etab.format(pool=pool, above=os.path.dirname(pool)))
    monkeypatch.setattr(prune, "_EXPORTS", str(tmp_path / "etab"))
    assert fleet.prune(check=True).look()["pools"]["one"]["shared"] is exported


def test_what_is_needed_now_was_of_use_now(fleet: Fleet) -> None:
    store = fleet.site.stores["one"]
    needed, other = put_base(store, refer=[references.pin_of("x")]), put_base(store, data=b"o".ljust(4096, b"\0"))
    fleet.prune().perform()
    stamps = os.listdir(os.path.join(store.directory, ".used"))
    assert stamps == [needed.sha256] and other.sha256 in store.ids()


def test_a_base_that_was_of_use_since_the_plan_is_kept(fleet: Fleet) -> None:
    """On shared storage the disk that was made from it may lie where only another host sees it."""
    store = fleet.site.stores["one"]
    base = put_base(store)
    (seen,) = fleet.prune(check=True).look()["pools"]["one"]["bases"]
    os.makedirs(os.path.join(store.directory, ".used"))
    last_use.note(store.directory, [base.sha256])
    planned = {base.sha256: seen["used_at"]}
    assert fleet.states(base.sha256, used_at=planned) == ["kept it was of use after the plan was made"]
    (again,) = fleet.prune(check=True).look()["pools"]["one"]["bases"]
    assert fleet.states(base.sha256, used_at={base.sha256: again["used_at"]}) == ["removed"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["base", "child", "disk", "drop", "pin", "hold", "name", "prune"]), st.integers(0, 7)),
    min_size=3,
    max_size=25,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_order_of_steps_loses_what_is_needed(steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bases, chains, disks, pins and holds come and go in any order, and everything is asked to go in between."""
    site = Site(str(tmp_path_factory.mktemp("order")))
    fleet, store = Fleet(site), site.stores["one"]
    parents: dict[str, str | None] = {}
    disks: dict[str, str] = {}
    kept: set[str] = set()
    for number, (step, choice) in enumerate(steps):
        there = [sha256 for sha256 in parents if store.find(sha256) is not None]
        chosen = there[choice % len(there)] if there else None
        if step == "base" or (step == "child" and chosen is None):
            parents[put_base(store, data=b"%d" % number + bytes(4096)).sha256] = None
        elif step == "child" and chosen:
            parents[put_base(store, data=b"%d" % number, parent=chosen).sha256] = chosen
        elif step == "disk" and chosen:
            disks[put_disk(site.pools[("one", "two")[choice % 2]], f"s{number}", os.path.join(store.base_directory(chosen), "disk"))] = (
                chosen
            )
        elif step == "drop" and disks:
            path = sorted(disks)[choice % len(disks)]
            os.unlink(path)
            del disks[path]
        elif step == "name" and chosen:
            store.refer(chosen, NAMED)
        elif step == "pin" and chosen:
            store.refer(chosen, [references.pin_of("x")])
            kept.add(chosen)
        elif step == "hold" and chosen:
            holds.hold([store], f"run-{number}", [chosen], 600.0)
            kept.add(chosen)
        elif step == "prune":
            fleet.prune(*parents, check=choice == 0).perform()
        needed = {*disks.values(), *kept}
        for sha256 in list(needed):
            above = parents[sha256]
            while above is not None:
                needed.add(above)
                above = parents[above]
        assert all(store.find(sha256) is not None for sha256 in needed)
        if step == "prune" and choice:
            assert {sha256 for sha256 in parents if store.find(sha256) is not None} == needed
    file_trees.remove_tree(site.directory)
