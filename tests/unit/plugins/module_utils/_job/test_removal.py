# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.disk_decisions import Wish as DiskWish
from ansible_collections.basecast.fleet.plugins.module_utils._disk.overlay import Disks
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job import removal as removal_module
from ansible_collections.basecast.fleet.plugins.module_utils._job.alone import ServiceBusy
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import RUNNING, Journal, this_process
from ansible_collections.basecast.fleet.plugins.module_utils._job.removal import Removal, Request
from ansible_collections.basecast.fleet.plugins.module_utils._job.undo import CannotUndo, made_by
from ansible_collections.basecast.fleet.plugins.module_utils._job.work import HostWork
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtMissing
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machines import Machines
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry, MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._machine.records import ServiceRecords
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

from .conftest import Site, give_disk, run_command


def record_of(service: str, *names: str, base: str, version: str = "1") -> dict[str, t.Any]:
    return {
        "format": 1,
        "service": service,
        "tenant": "default",
        "generation": 3,
        "assignments": {name: {"host": "kvm1", "group": name.rpartition("-")[0], "number": int(name[-1])} for name in names},
        "manifest": {
            "bases": [{"name": "tiny", "version": version, "sha256": base}],
            "machines": [
                {"name": group, "cloud_init": {"user_data": f"secret of {group}"}, "disks": [{"name": "root", "base": "tiny"}]}
                for group in sorted({name.rpartition("-")[0] for name in names})
            ],
        },
    }


def work_of(site: Site, names: t.Sequence[str], service: str, sha256: str, new: t.Sequence[str]) -> HostWork:
    """
    :param new: those that are to be made with their disks.
    """
    machines = [
        {"machine": name, "group": name.rpartition("-")[0], "number": int(name[-1]), "pool": "one", "networks": []} for name in names
    ]
    return site.work(
        service=service,
        machines=machines,
        seeds=[{"machine": name, "pool": "one"} for name in new],
        disks=[
            {"machine": name, "name": disk, "pool": pool, "base": sha256}
            for name in new
            for disk, pool in (("root", "one"), ("data", "two"))
        ],
        references=[{"sha256": sha256, "name": "tiny", "version": "1", "pin": None, "pool": "one"}],
        record=record_of(service, *names, base=sha256),
    )


def deploy(site: Site, *names: str, service: str = "shop", base: str | None = None) -> str:
    """Machines of a service, each with a disk on one base; the base's digest."""
    sha256 = base or put_base(site.stores["one"]).sha256
    work = work_of(site, names, service, sha256, names)
    told = site.job(work, run=f"run-{service}").perform()
    assert told["state"] == "done", told["msg"]
    return sha256


def remove(site: Site, machines: t.Sequence[str] | None = None, **changes: t.Any) -> dict[str, t.Any]:
    state_dir = os.path.join(site.directory, "state")
    request = Request("default", "shop", site.pools, machines, False, 0.0, "qemu:///system", state_dir, site.runtime_dir)
    return Removal(request._replace(**changes), site.stores, run_command, connect=t.cast(t.Any, site.connect)).perform()


def files(site: Site) -> set[str]:
    """Everything on the host except what jobs and locks leave."""
    found = {os.path.join(root, name) for root, _dirs, names in os.walk(site.directory) for name in names}
    return {os.path.relpath(path, site.directory) for path in found if "/run/" not in path and not path.endswith("lock")}


def record(site: Site, service: str = "shop") -> dict[str, t.Any] | None:
    return ServiceRecords(os.path.join(site.directory, "state"), "default").read(service)


def by_name(told: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {machine["machine"]: machine for machine in told["machines"]}


def test_a_service_leaves_nothing_but_its_base(site: Site) -> None:
    sha256 = deploy(site, "web-1", "web-2", "db-1")
    told = remove(site)
    assert told["changed"] and told["record"] == "removed"
    assert {tuple(machine["actions"]) for machine in told["machines"]} == {("stopped", "forced", "removed", "disks removed")}
    assert site.libvirt.known == [] and record(site) is None
    assert not [path for path in files(site) if not path.startswith("one/bases")]
    assert not os.path.exists(os.path.join(site.pools["one"], "machines", "shop"))
    assert site.stores["one"].find(sha256) is not None and site.stores["one"].references(sha256) == []


def test_files_of_another_host_s_machine_stay(site: Site) -> None:
    """They lie in a pool that this host shares; a machine that this host has is its own whatever is said."""
    deploy(site, "web-1", "web-2")
    site.libvirt.known[:] = [domain for domain in site.libvirt.known if domain.name != "shop-web-1"]
    before = {path for path in files(site) if "/web-1/" in path}
    told = remove(site, elsewhere=["web-1", "web-2"])
    assert list(by_name(told)) == ["web-2"] and by_name(told)["web-2"]["actions"]
    assert before and {path for path in files(site) if "/web-1/" in path} == before


def test_a_second_removal_changes_nothing(site: Site) -> None:
    deploy(site, "web-1")
    assert remove(site)["changed"]
    again = remove(site)
    assert (again["changed"], again["machines"], again["record"], again["recorded"]) == (False, [], "none", False)


def kinds(site: Site, sha256: str) -> list[str]:
    """Who needs the base. A disk of each machine lies in another pool."""
    return sorted({one.kind for one in site.stores["one"].references(sha256)})


def test_named_machines_leave_and_the_others_stay(site: Site) -> None:
    sha256 = deploy(site, "web-1", "web-2", "db-1")
    before = files(site)
    told = remove(site, ["web-2", "db-1", "web-9"])
    assert [name for name, machine in by_name(told).items() if machine["actions"]] == ["db-1", "web-2"]
    gone = before - files(site)
    # The other pool's store knew that db-1's disk needed its base.
    assert gone and all("/web-2/" in path or "/db-1/" in path or "/.refs/" in path for path in gone)
    assert [domain.name for domain in site.libvirt.known] == ["shop-web-1"] and site.libvirt.known[0].running()
    kept = record(site)
    assert kept is not None and (list(kept["assignments"]), kept["generation"]) == (["web-1"], 4)
    assert "secret of db" not in str(kept) and "secret of web" in str(kept)
    assert kinds(site, sha256) == ["disk", "name", "tenant"]


def test_the_last_machine_takes_the_record_along(site: Site) -> None:
    sha256 = deploy(site, "web-1")
    assert remove(site, ["web-1"])["record"] == "removed"
    assert record(site) is None and site.stores["one"].references(sha256) == []


def test_check_mode_tells_which_machines_run(site: Site) -> None:
    deploy(site, "web-1", "web-2")
    next(domain for domain in site.libvirt.known if domain.name == "shop-web-2").destroy()
    told = by_name(remove(site, check=True))
    assert {name: one["running"] for name, one in told.items()} == {"web-1": True, "web-2": False}
    assert not any(one["running"] for one in remove(site)["machines"])


def test_check_mode_tells_the_same_and_touches_nothing(site: Site) -> None:
    deploy(site, "web-1", "db-1")
    before = files(site)
    predicted = remove(site, check=True)
    assert files(site) == before and len(site.libvirt.known) == 2 and site.libvirt.known[0].running()
    done = remove(site)
    for told in (predicted, done):
        for machine in told["machines"]:
            machine["actions"] = [action for action in machine["actions"] if action != "forced"]
            assert machine.pop("running") is (told is predicted)
    assert predicted == done


def test_kept_disks_keep_their_base_known(site: Site) -> None:
    sha256 = deploy(site, "web-1")
    told = remove(site, keep_disks=True)
    assert by_name(told)["web-1"]["actions"] == ["stopped", "forced", "removed"]
    left = {path for path in files(site) if "/machines/shop/" in path}
    assert {os.path.basename(path) for path in left} == {"root.qcow2", "data.qcow2", ".owner.json"}
    assert site.libvirt.known == [] and record(site) is None
    assert kinds(site, sha256) == ["disk", "name", "tenant"]
    deploy(site, "web-1", base=sha256)  # the disks are taken up again
    assert len(site.libvirt.known) == 1


def test_a_guest_that_powers_off_is_not_forced(site: Site) -> None:
    deploy(site, "web-1")
    site.libvirt.on_shutdown = lambda domain: domain.destroy()
    assert by_name(remove(site, shutdown_timeout_s=30.0))["web-1"]["actions"] == ["stopped", "removed", "disks removed"]


def test_what_others_share_stays(site: Site) -> None:
    sha256 = deploy(site, "web-1")
    deploy(site, "blog-1", service="blog", base=sha256)
    remove(site)
    assert record(site, "blog") is not None and kinds(site, sha256) == ["disk", "name", "tenant"]
    assert [domain.name for domain in site.libvirt.known] == ["blog-blog-1"]
    assert remove(site, service="blog")["references"]


def test_names_are_kept_while_a_record_is_unreadable(site: Site) -> None:
    sha256 = deploy(site, "web-1")
    path = os.path.join(site.directory, "state", "services", "default", "other.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write("{")
    told = remove(site)
    assert "may be needed by other" in told["warnings"][0] and kinds(site, sha256) == ["name", "tenant"]


def test_an_unreadable_record_goes_with_the_service(site: Site) -> None:
    deploy(site, "web-1", "web-2")
    with open(os.path.join(site.directory, "state", "services", "default", "shop.json"), "w", encoding="utf-8") as file:
        file.write("{")
    part = remove(site, ["web-1"])
    assert part["record"] == "none" and "cannot be used" in part["problem"]
    whole = remove(site)
    assert (whole["record"], whole["problem"]) == ("removed", None) and "are not known" in whole["warnings"][0]
    assert record(site) is None


def test_a_disk_that_was_given_stays_and_is_told(site: Site) -> None:
    deploy(site, "web-1")
    give_disk(site, "/dev/sdq")
    assert by_name(remove(site))["web-1"]["left"] == ["/dev/sdq"]


def test_files_of_others_stay_and_are_told(site: Site) -> None:
    deploy(site, "web-1")
    notes = os.path.join(site.pools["one"], "machines", "shop", "web-1", "notes.txt")
    for path in (notes, os.path.join(os.path.dirname(notes), ".root.new.tmp"), os.path.join(os.path.dirname(notes), "console.log.7")):
        with open(path, "w", encoding="utf-8"):
            pass
    for check in (True, False):
        assert by_name(remove(site, check=check))["web-1"]["left"] == [notes]
    assert os.listdir(os.path.dirname(notes)) == ["notes.txt"]


STEPS = [
    (Machines, "stop"),
    (Machines, "remove"),
    (Disks, "absent"),
    (Disks, "_remove_empty"),
    (removal_module, "remove_leftovers"),
    (removal_module.ownership, "apply"),
    (ServiceRecords, "remove"),
]


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("owner, step", STEPS, ids=[step for _owner, step in STEPS])
def test_an_interrupted_removal_is_continued(owner: t.Any, step: str, late: bool, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = deploy(site, "web-1", "web-2")
    real = getattr(owner, step)

    def killed(*args: t.Any, **options: t.Any) -> t.NoReturn:
        if late:
            real(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, step, killed)
        remove(site)
    told = remove(site)
    assert not [machine for machine in told["machines"] if machine["problem"]]
    assert site.libvirt.known == [] and record(site) is None
    assert not [path for path in files(site) if not path.startswith("one/bases")]
    assert site.stores["one"].references(sha256) == []


# Refusals


def overlay(site: Site, parent: str, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    QemuImg(run_command).create_overlay(path, parent, "qcow2", 1 << 20)


def test_a_machine_whose_disk_has_a_child_is_not_touched(site: Site) -> None:
    deploy(site, "web-1", "web-2")
    root = os.path.join(site.pools["one"], "machines", "shop", "web-1", "root.qcow2")
    child = os.path.join(site.pools["two"], "machines", "blog", "x-1", "root.qcow2")
    overlay(site, root, child)
    told = by_name(remove(site))
    assert told["web-1"]["actions"] == [] and f"{root} is the parent of {child}, so web-1 was not touched" in told["web-1"]["problem"]
    assert told["web-2"]["problem"] is None and "disks removed" in told["web-2"]["actions"]
    assert [domain.name for domain in site.libvirt.known] == ["shop-web-1"] and site.libvirt.known[0].running()
    kept = record(site)
    assert kept is not None and list(kept["assignments"]) == ["web-1"]


def test_a_disk_that_a_domain_elsewhere_needs_stays(site: Site) -> None:
    deploy(site, "web-1")
    root = os.path.join(site.pools["one"], "machines", "shop", "web-1", "root.qcow2")
    child = os.path.join(site.directory, "elsewhere", "disk.qcow2")
    overlay(site, root, child)
    disk = f"<devices><disk type='file'><source file='{child}'/></disk></devices>"
    site.libvirt.define(f"<domain><name>old</name><uuid>u</uuid><memory>1</memory>{disk}</domain>", "old")
    assert f"is the parent of {child} (domain old)" in by_name(remove(site))["web-1"]["problem"]


def test_a_parent_that_cannot_go_keeps_what_it_is_based_on(site: Site) -> None:
    deploy(site, "web-1")
    folder = os.path.join(site.pools["one"], "machines", "shop")
    overlay(site, os.path.join(folder, "web-1", "root.qcow2"), os.path.join(folder, "web-2", "root.qcow2"))
    overlay(site, os.path.join(folder, "web-2", "root.qcow2"), os.path.join(site.pools["two"], "machines", "blog", "b-1", "root.qcow2"))
    told = by_name(remove(site))
    assert told["web-1"]["problem"] and told["web-2"]["problem"] and len(site.libvirt.known) == 1


def test_parent_and_child_of_one_service_go_together(site: Site) -> None:
    deploy(site, "web-1")
    folder = os.path.join(site.pools["one"], "machines", "shop")
    overlay(site, os.path.join(folder, "web-1", "root.qcow2"), os.path.join(folder, "web-2", "root.qcow2"))
    told = by_name(remove(site))
    assert not told["web-1"]["problem"] and not told["web-2"]["problem"] and not os.path.exists(folder)


def test_a_running_deployment_of_the_service_is_left_alone(site: Site) -> None:
    deploy(site, "web-1")
    journal = Journal(site.runtime_dir, "default", "shop")
    journal.write("nightly", {"format": 1, "state": RUNNING, "msg": "", **this_process()})
    before = files(site)
    with pytest.raises(ServiceBusy, match=r"shop is being deployed on this host by the run nightly; wait .*stop -e run=nightly"):
        remove(site)
    assert files(site) == before and remove(site, check=True)["jobs"] == ["nightly"]
    assert remove(site, service="blog")["jobs"] == []


def test_another_process_is_waited_for(site: Site) -> None:
    deploy(site, "web-1")
    held = Journal(site.runtime_dir, "default", "shop").lock()
    assert held.take()
    with pytest.raises(ServiceBusy, match=f"process {os.getpid()} has been at work on the machines of shop for 0 s"):
        remove(site, busy_timeout_s=0.0)
    held.release()
    assert remove(site)["changed"]


def test_another_tenants_service_of_this_name_stays(site: Site) -> None:
    deploy(site, "web-1")
    before = files(site)
    told = remove(site, tenant="blue")
    assert (told["machines"], told["changed"], files(site)) == ([], False, before)


@pytest.mark.parametrize("known", [True, False])
def test_a_host_without_libvirt(known: bool, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libvirt has definitions and does not answer, nothing is removed."""
    deploy(site, "web-1")

    def missing(_uri: str) -> t.NoReturn:
        raise LibvirtMissing("Cannot connect to libvirt.")

    monkeypatch.setattr(site, "connect", missing)
    monkeypatch.setattr(removal_module, "may_have_domains", lambda uri: known)
    before = files(site)
    if known:
        with pytest.raises(FleetError, match="Cannot connect to libvirt"):
            remove(site)
        assert files(site) == before
    else:
        assert by_name(remove(site))["web-1"]["actions"] == ["cleaned", "disks removed"]


def test_a_foreign_domain_of_the_name_keeps_its_files(site: Site) -> None:
    deploy(site, "web-1")
    site.libvirt.known.clear()
    site.libvirt.define("<domain><name>shop-web-1</name><uuid>u</uuid></domain>", "shop-web-1")
    before = files(site)
    told = by_name(remove(site))["web-1"]
    assert "was not made by this collection and is left alone" in told["problem"] and told["actions"] == []
    assert files(site) == before


def test_what_came_in_vain_stays_recorded_for_its_host(site: Site) -> None:
    """The newest record wins: one without the machine would let a deployment make a second one while its host is silent."""
    deploy(site, "web-1", "web-2")
    before = record(site)
    told = remove(site, ["web-1"], moving=True, keep_record=True)
    assert by_name(told)["web-1"]["actions"] and record(site) == before and told["record"] == "none"


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_a_machine_on_its_way_stays(side: str, check: bool, whole: bool, site: Site) -> None:
    """Also where only its files have come."""
    deploy(site, "web-1", "web-2")
    if side == "target":
        site.libvirt.known[:] = [domain for domain in site.libvirt.known if domain.name != "shop-web-1"]
    phase = "leaving" if side == "source" else "arriving"
    MoveJournal(site.state_dir, "default", "shop").write(Entry(side, phase, "r", "web-1", "b", True, True, True, "one"))
    before = {path for path in files(site) if "/web-1/" in path}
    told = by_name(remove(site, None if whole else ["web-1", "web-2"], check=check))
    assert told["web-1"]["problem"].startswith("web-1: its migration") and told["web-1"]["actions"] == []
    assert told["web-2"]["problem"] is None and told["web-2"]["actions"]
    assert before and {path for path in files(site) if "/web-1/" in path} == before
    assert ("shop-web-1" in [domain.name for domain in site.libvirt.known]) is (side == "source")
    kept = record(site)
    assert kept is not None and "web-1" in kept["assignments"]
    assert by_name(remove(site, ["web-1"], moving=True))["web-1"]["problem"] is None


@pytest.mark.parametrize("with_domain", [True, False])
def test_what_another_host_goes_on_with_stays(site: Site, with_domain: bool) -> None:
    """The pool one is the other host's as well. Its files are not this host's, whether the machine is defined here or not."""
    deploy(site, "web-1", "web-2")
    (domain,) = (one for one in site.libvirt.known if one.name == "shop-web-1")
    if not with_domain:
        site.libvirt.known.remove(domain)
    home = os.path.join(site.pools["one"], "machines", "shop", "web-1")
    before = sorted(os.listdir(home))
    told = remove(site, ["web-1"], shared=["one"], keep_record=True)
    assert by_name(told)["web-1"]["problem"] is None and sorted(os.listdir(home)) == before
    assert not os.path.exists(os.path.join(site.pools["two"], "machines", "shop", "web-1"))
    assert [one.name for one in site.libvirt.known] == ["shop-web-2"]
    assert not with_domain or site.libvirt.kept_firmware["shop-web-1"] is True


def test_a_run_takes_back_what_it_has_made_and_no_more(site: Site) -> None:
    """A disk, a machine and names that were there before stay."""
    sha256 = deploy(site, "web-1")
    data = os.path.join(site.pools["two"], "machines", "shop", "db-1", "data.qcow2")
    put = Disks(site.stores, QemuImg(run_command), "default", "shop", False)
    # That of the other pool has the name of a disk that the run makes.
    put.present([DiskWish("db-1", "data", "two", sha256)])
    put.present([DiskWish("db-1", "root", "two", sha256)])
    before = {path for path in files(site) if "web-1" in path or "bases" in path or "/two/" in path}
    record_before = record(site)
    site.libvirt.known[0].is_running = False
    told = site.job(work_of(site, ["web-1", "db-1"], "shop", sha256, ["db-1"]), run="run-2").perform()
    assert {name: one["new_disks"] for name, one in by_name(told).items()} == {
        "web-1": [],
        "db-1": [{"name": "root", "pool": "one"}],
    }
    journal = Journal(site.runtime_dir, "default", "shop")
    made = made_by(journal, "run-2")
    assert made == ("run-2", {"db-1": [("root", "one")]}, ["web-1"], ["db-1"])
    assert made_by(journal, "run-2", ["web-1"]) == ("run-2", {}, ["web-1"], [])

    taken = by_name(remove(site, list(made.machines), undo=made))
    assert taken["db-1"]["actions"] == ["stopped", "forced", "removed", "disks removed"]
    assert taken["web-1"]["actions"] == ["stopped", "forced"] and not site.libvirt.known[0].is_running
    assert [domain.name for domain in site.libvirt.known] == ["shop-web-1"] and os.path.exists(data)
    assert not os.path.exists(data.replace("two", "one").replace("data", "root"))
    assert before <= files(site)
    kept = record(site)
    assert kept is not None and record_before is not None and list(kept["assignments"]) == ["web-1"]


def test_what_another_run_may_rely_on_is_not_taken_back(site: Site) -> None:
    deploy(site, "web-1")
    journal = Journal(site.runtime_dir, "default", "shop")
    told = dict(journal.read("run-shop") or {})
    later = {"format": 1, "state": "done", **this_process(), "boot": told["boot"], "written_s": told["began_s"] + 1.0}
    journal.write("later", later)
    with pytest.raises(CannotUndo, match="the run later has been at work here since the run run-shop began"):
        made_by(journal, "run-shop")
    journal.write("run-shop", told)  # the other one has ended before it
    with pytest.raises(CannotUndo, match="the run later has been at work"):
        made_by(journal, "run-shop")
    journal.write("later", {**later, "written_s": told["began_s"] - 1.0})
    made = made_by(journal, "run-shop")
    journal.write("later", later)  # at work while the removal waited for the lock
    before = files(site)
    with pytest.raises(CannotUndo, match="the run later has been at work"):
        remove(site, list(made.machines), undo=made)
    assert files(site) >= before and [domain.name for domain in site.libvirt.known] == ["shop-web-1"]
    with pytest.raises(CannotUndo, match="the run never has left no record"):
        made_by(journal, "never")


@pytest.mark.parametrize("off_s", [-30 * 3600, 30 * 3600])
@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, True),
        ({"written_s": 0.5}, False),
        ({"written_s": 0.5, "boot": "another"}, True),
        ({"written_s": None}, True),
        ({"written_s": "0.5"}, True),
        ({"pid": "damaged"}, True),
    ],
)
def test_a_clock_that_is_set_hides_no_other_run(site: Site, off_s: float, changes: dict[str, t.Any], refused: bool) -> None:
    deploy(site, "web-1")
    journal = Journal(site.runtime_dir, "default", "shop")
    told = dict(journal.read("run-shop") or {})
    journal.write("run-shop", {**told, "began_at": told["began_at"] - off_s})
    journal.write("later", {**told, "run": "later", "written_s": told["began_s"], **changes})
    if refused:
        with pytest.raises(CannotUndo, match="the run later has been at work"):
            made_by(journal, "run-shop")
    else:
        made_by(journal, "run-shop")


def test_a_job_that_begins_while_a_removal_waits_is_not_disturbed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(site, "web-1")
    journal = Journal(site.runtime_dir, "default", "shop")

    @contextlib.contextmanager
    def waited(*_args: t.Any) -> t.Iterator[None]:
        journal.write("later", {"format": 1, "state": RUNNING, **this_process()})
        yield

    monkeypatch.setattr(removal_module, "alone", waited)
    with pytest.raises(ServiceBusy, match="by the run later"):
        remove(site)
    assert [domain.name for domain in site.libvirt.known] == ["shop-web-1"]


def changed(journal: Journal, run: str, name: str, **changes: t.Any) -> None:
    """As if the job had written something else of a machine."""
    told = dict(journal.read(run) or {})
    told["machines"] = [{**one, **changes} if one["machine"] == name else one for one in told["machines"]]
    journal.write(run, told)


@pytest.mark.parametrize(("new", "stays"), [(["root"], True), (["root", "data"], False)])
def test_a_machine_that_a_run_may_not_have_made_stays(new: list[str], stays: bool, site: Site) -> None:
    """Killed before it could write down whether it has made the domain: one that has another disk was there before."""
    deploy(site, "web-1")
    journal = Journal(site.runtime_dir, "default", "shop")
    pools = {"root": "one", "data": "two"}
    changed(journal, "run-shop", "web-1", actions=[], new_disks=[{"name": name, "pool": pools[name]} for name in new])
    made = made_by(journal, "run-shop")
    before = {path for path in files(site) if "/web-1/" in path}
    taken = by_name(remove(site, list(made.machines), undo=made))["web-1"]
    assert [domain.name for domain in site.libvirt.known] == (["shop-web-1"] if stays else [])
    assert {path for path in files(site) if "/web-1/" in path} == (before if stays else set())
    assert stays is ("which the run run-shop has not made" in str(taken["problem"]))


def test_a_machine_that_a_run_has_started_is_not_powered_off_on_its_way(site: Site) -> None:
    deploy(site, "web-1")
    journal = Journal(site.runtime_dir, "default", "shop")
    changed(journal, "run-shop", "web-1", actions=["started"], new_disks=[])
    MoveJournal(site.state_dir, "default", "shop").write(Entry("source", "leaving", "r", "web-1", "b", True, True, True, "one"))
    taken = by_name(remove(site, [], undo=made_by(journal, "run-shop")))["web-1"]
    assert taken["problem"].startswith("web-1: its migration") and site.libvirt.known[0].is_running
