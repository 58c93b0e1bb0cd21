# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.migrate and evacuate on lab hosts, with a guest that counts. The tests build on each other."""

from __future__ import annotations

import json
import re
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, bases, deploy, give
from ansible_collections.basecast.fleet.tests.integration.variants import few
from ansible_collections.basecast.fleet.tests.lab import Lab
from ansible_collections.basecast.fleet.tests.lab._pace import patience

HOME = f"{POOL}/machines/shop/web-1"
COUNT = "(i=0; while :; do i=$((i+1)); echo CNT $i > /dev/ttyS0; sleep 0.2; done) &"
SHOP: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [
        {
            "name": "web",
            "count": 1,
            "hosts": ["kvm1", "kvm2", "kvm3"],
            "memory_mib": 128,
            "disks": [{"name": "root", "base": "tiny", "size_gib": 1}, {"name": "data", "size_gib": 1}],
            "networks": [],
            "cloud_init": {"user_data": {"runcmd": [COUNT]}},
        }
    ],
}
CRASHED = re.compile(r"Kernel panic|kernel BUG|BUG: |Oops: |corruption")
SETTINGS = ["-e", "basecast_shutdown_timeout_s=20"]
WEB = ["-e", "service=shop", "-e", "machine=web-1"]


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=3, rate_mbps=200, libvirt="debian")
    give(made.hosts["kvm1"])
    done = deploy(made, SHOP)
    assert done.code == 0, done
    assert where(made) == {"kvm1": "running"}
    return made


def migrate(lab: Lab, *options: str, playbook: str = "migrate") -> Outcome:
    report = lab.state / "migration.json"
    report.unlink(missing_ok=True)
    arguments = [f"basecast.fleet.{playbook}", "-e", f"basecast_report_file={report}", *SETTINGS, *options]
    return Outcome(lab.playbook(arguments, timeout=300), report)


def where(lab: Lab) -> dict[str, str]:
    """State of the machine on each host that has it."""
    found = {}
    for name, host in lab.hosts.items():
        listed = host.run("virsh -q list --all").stdout
        for line in listed.splitlines():
            if " shop-web-1 " in f"{line} ":
                found[name] = " ".join(line.split()[2:])
    return found


def traces(lab: Lab, name: str) -> list[str]:
    """What a host still has of the machine."""
    found = lab.hosts[name].run(
        f"find {POOL}/machines /var/lib/basecast/migrations /run/basecast/.migrations -type f 2>/dev/null; "
        "grep -l web-1 -r /var/lib/basecast/services /etc/libvirt/qemu 2>/dev/null || true"
    )
    return found.stdout.split()


def counted(lab: Lab, name: str) -> list[int]:
    """What the guest has counted up to now, in the order of its console."""
    text = "".join(lab.hosts[name].run(f"cat {HOME}/{log} 2>/dev/null || true").stdout for log in ("console.log.0", "console.log"))
    return [int(number) for number in re.findall(r"CNT (\d+)\s", text)]


def crashed(lab: Lab, name: str) -> bool:
    """Whether the guest's own kernel says so."""
    return bool(CRASHED.search(lab.hosts[name].run(f"cat {HOME}/console.log 2>/dev/null || true").stdout))


def goes_on(lab: Lab, name: str) -> bool:
    """Wait until the guest counts; whether it does so without having crashed.

    The lab has no KVM, and a guest that QEMU 7.2 emulates can crash after a live migration: one did after the fourth between
    two QEMUs, without libvirt and without this collection. A guest whose kernel reports a crash is reset; one that only stands
    still is a failure.
    """
    limit = 30 * patience()
    before, deadline, whole = len(counted(lab, name)), time.monotonic() + limit, True
    while len(counted(lab, name)) <= before:
        if whole and crashed(lab, name):
            lab.hosts[name].run("virsh reset shop-web-1")
            whole, deadline = False, time.monotonic() + limit
        assert time.monotonic() < deadline, "the guest stands still"
        time.sleep(0.2)
    return whole and not crashed(lab, name)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("options", "words"),
    few(
        [
            (["-e", "service=shop"], "machine: none given; expected the name of a machine"),
            ([*WEB, "-e", "to=kvm1", "-e", "to_pool=fast"], "web-1: kvm1: it has no usable pool 'fast'"),
            ([*WEB, "-e", "tenant=other"], "machine: web-1 of service shop (tenant other) is on no host that was asked"),
            ([*WEB, "-e", "to=kvm2", "-e", "to_pool=fast"], "kvm2: it has no usable pool 'fast'"),
            ([*WEB, "--skip-tags", "all"], "Nothing was done, or not all of it"),
        ],
        1,
    ),
    ids=["no-machine", "same-host", "tenant", "pool", "tags"],
)
def test_what_cannot_be_meant_moves_nothing(lab: Lab, options: list[str], words: str) -> None:
    done = nothing_changed_by_move(lab, lambda: migrate(lab, *options))
    assert done.code != 0 and words in done.out, done
    assert "Traceback" not in done.out and where(lab) == {"kvm1": "running"}


def nothing_changed_by_move(lab: Lab, action: t.Callable[[], Outcome]) -> Outcome:
    """The running guest may write; nothing else changes."""
    before = {name: traces(lab, name) for name in lab.hosts}
    result = action()
    assert {name: traces(lab, name) for name in lab.hosts} == before
    return result


@pytest.mark.timeout(300)
def test_what_keeps_a_machine_is_named(lab: Lab) -> None:
    host = lab.hosts["kvm1"]
    child = f"{POOL}/child.qcow2"
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", f"{HOME}/root.qcow2", child, "1G"])
    try:
        done = migrate(lab, *WEB, "-e", "to=kvm2")
    finally:
        host.run(["rm", child])
    assert done.code != 0 and f"root.qcow2 is the parent of {child}; flatten those first" in done.out, done
    other = "<domain type='qemu'><name>shop-web-1</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    lab.hosts["kvm2"].run("cat > /tmp/other.xml && virsh define /tmp/other.xml", stdin=other)
    try:
        done = migrate(lab, *WEB, "-e", "to=kvm2")
    finally:
        lab.hosts["kvm2"].run("virsh undefine shop-web-1")
    assert done.code != 0 and "kvm2 has a domain shop-web-1" in done.out, done
    assert where(lab) == {"kvm1": "running"}


@pytest.mark.timeout(400)
def test_off_to_a_host_without_the_base(lab: Lab) -> None:
    predicted = nothing_changed_by_move(lab, lambda: migrate(lab, *WEB, "-e", "to=kvm2", "-e", "live=false", "--check", "--diff"))
    assert "changed=1 " in predicted.out, predicted
    assert predicted.code == 0 and "1 of 1 machines would be moved" in predicted.out, predicted
    assert "the base tiny 1 goes first to kvm2" in predicted.out and bases(lab.hosts["kvm2"]) == []
    done = migrate(lab, *WEB, "-e", "to=kvm2", "-e", "live=false")
    assert done.code == 0 and where(lab) == {"kvm2": "running"}, done
    assert bases(lab.hosts["kvm2"]) == bases(lab.hosts["kvm1"]) != []
    assert traces(lab, "kvm1") == []
    assert done.report["machines"][0]["bytes"] < 2**21, done.report
    second = nothing_changed_by_move(lab, lambda: migrate(lab, *WEB, "-e", "to=kvm2"))
    assert second.code == 0 and "stays: web-1 on kvm2, where it is to be" in second.out and set(second.changed.values()) == {0}, second
    again = nothing_changed_by_move(lab, lambda: deploy(lab, SHOP))
    assert again.code == 0 and again.states == {"web-1": "present"} and set(again.changed.values()) == {0}, again


@pytest.mark.timeout(400)
def test_live_without_a_gap_in_what_the_guest_counts(lab: Lab) -> None:
    """To the host that placement chooses; the figures are those of the docs."""
    reset = False
    for _attempt in range(3):
        (source,) = list(where(lab))
        goes_on(lab, source)
        last, sent = counted(lab, source)[-1], _sent(lab, source)
        done = migrate(lab, *WEB)
        assert done.code == 0, done
        (moved,) = done.report["machines"]
        assert moved["live"] and moved["state"] == "moved" and where(lab) == {moved["target"]: "running"}, moved
        if goes_on(lab, moved["target"]):
            break
        reset = True
    else:
        pytest.fail("The guest's kernel crashed after each of three migrations.")
    numbers = counted(lab, moved["target"])
    if reset:  # what came before the reset does not count
        numbers = numbers[len(numbers) - 1 - numbers[::-1].index(last) :]
    assert numbers[-1] > last and numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
    assert traces(lab, source) == []
    beyond = _sent(lab, source) - sent - moved["memory_bytes"] - moved["disk_bytes"] - moved["bytes"]
    print(f"downtime {moved['downtime_ms']} ms, memory {moved['memory_bytes']}, beyond it {beyond} bytes")
    assert beyond < 0.02 * moved["memory_bytes"], (beyond, moved)
    again = deploy(lab, SHOP)
    assert again.code == 0 and again.states == {"web-1": "present"} and set(again.changed.values()) == {0}, again


def _sent(lab: Lab, name: str) -> int:
    return int(lab.hosts[name].run("cat /sys/class/net/eth0/statistics/tx_bytes").stdout)


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_link_that_breaks_leaves_the_guest_where_it_was(lab: Lab) -> None:
    """Silence, no answer: the deadline ends the migration, the guest has not noticed anything."""
    (source,) = list(where(lab))
    target = next(name for name in lab.hosts if name != source)
    began = lab.popen_playbook(["basecast.fleet.migrate", *WEB, *SETTINGS, "-e", f"to={target}", "-e", "basecast_migration_timeout_s=8"])
    _await_move(lab, source)
    pair = lab.pair(source, target)
    pair.cut()
    try:
        out, _err = began.communicate(timeout=300)
    finally:
        pair.restore()
    assert began.returncode != 0 and "It took longer than 8 s and was ended" in out, out[-5000:]
    assert where(lab) == {source: "running"}
    goes_on(lab, source)
    numbers = counted(lab, source)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert traces(lab, target) == []


def _await_move(lab: Lab, source: str) -> None:
    deadline = time.monotonic() + 200
    while "Unbounded" not in lab.hosts[source].run("virsh domjobinfo shop-web-1 || true").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.variant
@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", ["sent", "handed_over"])
def test_the_next_run_ends_what_a_killed_one_began(lab: Lab, step: str) -> None:
    """Killed as soon as the step begins. The module on the host may go on; the machine never runs on both."""
    (source,) = list(where(lab))
    target = next(name for name in lab.hosts if name != source)
    began = lab.popen_playbook(["basecast.fleet.migrate", *WEB, *SETTINGS, "-e", f"to={target}"])
    assert began.stdout is not None
    for line in began.stdout:
        if f"Let machines leave: {step}" in line:
            break
    began.kill()
    began.wait()
    if step == "handed_over":  # it is not known yet which host has the machine
        _nobody_else_touches_it(lab)
    deadline = time.monotonic() + 120
    while True:
        done = migrate(lab, *WEB, "-e", f"to={target}")
        assert list(where(lab).values()).count("running") <= 1
        if done.code == 0 or time.monotonic() > deadline:
            break
        assert "is still at work on it" in done.out or "has been at work" in done.out or "on kvm" in done.out, done
    assert done.code == 0 and where(lab) == {target: "running"}, done
    goes_on(lab, target)
    assert traces(lab, source) == []


def _nobody_else_touches_it(lab: Lab) -> None:
    before = where(lab)
    told = "has not ended"
    done = nothing_changed_by_move(lab, lambda: deploy(lab, SHOP))
    assert done.code != 0 and "machine web-1: its migration from kvm" in done.out and told in done.out, done
    done = nothing_changed_by_move(lab, lambda: migrate(lab, "-e", "service=shop", "-e", "machines=web-1", playbook="remove"))
    assert done.code != 0 and "web-1: its migration" in done.out and told in done.out, done
    done = nothing_changed_by_move(lab, lambda: migrate(lab, playbook="status"))
    assert "web-1: its migration" in done.out and told in done.out, done
    assert where(lab) == before


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_another_pool_of_the_host_live_killed_and_off(lab: Lab) -> None:
    (source,) = list(where(lab))
    host = lab.hosts[source]
    host.add_pool("fast", "dir")
    there = [*WEB, "-e", f"to={source}", "-e", "to_pool=fast"]
    predicted = nothing_changed_by_move(lab, lambda: migrate(lab, *there, "--check", "--diff"))
    assert predicted.code == 0 and "the base tiny 1 is copied first to the pool fast" in predicted.out, predicted
    began = lab.popen_playbook(["basecast.fleet.migrate", *there, *SETTINGS])
    assert began.stdout is not None
    for line in began.stdout:
        if "Let machines move to another pool" in line:
            break
    began.kill()
    began.wait()
    deadline = time.monotonic() + 180
    while (done := migrate(lab, *there)).code != 0:
        assert "at work on" in " ".join(done.out.split()) and time.monotonic() < deadline, done
    assert where(lab) == {source: "running"} and set(disks_of(host)) == {f"{POOLS['fast']}/machines/shop/web-1"}, done
    goes_on(lab, source)
    numbers = counted(lab, source)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    again = deploy(lab, SHOP)
    assert again.code == 0 and again.states == {"web-1": "present"} and set(again.changed.values()) == {0}, again
    done = migrate(lab, *WEB, "-e", f"to={source}", "-e", "to_pool=default", "-e", "live=false")
    assert done.code == 0 and set(disks_of(host)) == {HOME} and where(lab) == {source: "running"}, done
    assert host.run("find /srv/pools/fast/machines -type f").stdout == "" and "migrations" not in " ".join(traces(lab, source))


POOLS = {"fast": "/srv/pools/fast"}


def disks_of(host: t.Any) -> list[str]:
    listed = host.run("virsh domblklist --inactive shop-web-1").stdout
    return [line.split()[1].rpartition("/")[0] for line in listed.splitlines() if ".qcow2" in line]


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_evacuate_moves_all_and_names_what_stays(lab: Lab) -> None:
    (source,) = list(where(lab))
    host = lab.hosts[source]
    other = "<domain type='qemu'><name>alien</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    host.run("cat > /tmp/other.xml && virsh define /tmp/other.xml", stdin=other)
    grown = json.loads(json.dumps(SHOP))
    grown["machines"][0].update(count=3, hosts=[source])
    assert deploy(lab, grown).code == 0
    try:
        done = migrate(lab, "-e", f"host={source}", playbook="evacuate")
    finally:
        host.run("virsh undefine alien")
    assert done.code == 0 and f"stays: alien on {source}" in done.out, done
    assert {one["machine"] for one in done.report["machines"]} == {"web-1", "web-2", "web-3"}
    assert host.run("virsh -q list --all --name").stdout.split() == []
    grown["machines"][0].update(hosts=["kvm1", "kvm2", "kvm3"])
    again = deploy(lab, grown)
    assert again.code == 0 and set(again.states.values()) == {"present"} and len(again.states) == 3, again
    nothing = migrate(lab, "-e", f"host={source}", playbook="evacuate")
    assert nothing.code == 0 and "0 of 0 machines were moved" in nothing.out, nothing
