# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import drift_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan as any_service_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.update_plan import update_plan

from .test_service_plan import held, host, manifest

service_plan = functools.partial(any_service_plan, skip_bad_hosts=False)

ROOT = {"name": "root", "base": "tiny"}
DEVICE = {"name": "data", "block": "/dev/disk/by-id/data"}
EACH = {"name": "data", "block": "/dev/disk/by-id/data-{{ machine.number }}"}
VOLUME = {"name": "archive", "volume": {"path": "{{ machine.name }}.qcow2"}, "cache": "none"}


def there(name: str, kind: str = "block", **more: t.Any) -> dict[str, t.Any]:
    pool = None if kind == "block" else "default"
    return {"kind": kind, "name": name, "pool": pool, "path": name, "size_bytes": 1, "problem": "", "used_by": [], **more}


def wanted(*disks: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return manifest(**{"hosts": ["a"], "disks": [ROOT, *disks], **more})


def problems(asked: dict[str, t.Any], found: t.Any, **facts: t.Any) -> list[str]:
    return list(service_plan(asked, {"a": host(held(), resources=found, **facts)})["problems"])


@pytest.mark.parametrize(
    ("disk", "found", "told"),
    [
        (DEVICE, [there(DEVICE["block"])], None),
        (EACH, [there("/dev/disk/by-id/data-1")], None),
        (VOLUME, [there("web-1.qcow2", "volume")], None),
        (DEVICE, None, "a did not tell whether it has the block device /dev/disk/by-id/data"),
        (DEVICE, [], "a has no block device /dev/disk/by-id/data that machines may use; attach it, and permit it (basecast_block_devices)"),
        (VOLUME, [there("web-2.qcow2", "volume")], "a has no volume web-1.qcow2 of the pool default that machines may use; put it there"),
        (VOLUME, [there("web-1.qcow2", "volume", pool="fast")], "a has no volume web-1.qcow2 of the pool default"),
        (DEVICE, [there(DEVICE["block"], problem="is in use by the host itself")],
         "a cannot give the block device /dev/disk/by-id/data to web-1: it is in use by the host itself"),
        (DEVICE, [there(DEVICE["block"], used_by=["domain shop-web-9"])], "to web-1: it is in use by domain shop-web-9"),
    ],
)  # fmt: skip
def test_a_disk_is_there_permitted_and_free(disk: t.Any, found: t.Any, told: str | None) -> None:
    place = "shop.yml: machines[0].disks[1]: "
    assert [one.startswith(place) and (told or "") in one for one in problems(wanted(disk), found)] == ([True] if told else [])


def test_a_file_of_a_shared_pool_is_one_on_all_hosts() -> None:
    asked = wanted({"name": "archive", "volume": {"path": "x.raw"}}, hosts=["a", "b"])
    hosts = {name: host(held(), resources=[there("x.raw", "volume")]) for name in "ab"}
    assert service_plan(asked, hosts)["problems"] == []
    for facts in hosts.values():
        facts["pools"]["default"]["storage"] = "nfs"
    (told,) = service_plan(asked, hosts)["problems"]
    assert told == (
        "shop.yml: machines[0].disks[1]: a and b have the volume x.raw of the pool default on one storage, and web-1 and web-2 would both write"
        " it; give each machine a volume of its own"
    )
    assert service_plan(wanted(VOLUME, hosts=["a", "b"]), hosts)["problems"][0].startswith(
        "shop.yml: machines[0].disks[1]: a has no volume"
    )


def test_a_machine_may_have_what_it_has_already() -> None:
    found = [there(DEVICE["block"], used_by=["domain shop-web-1"])]
    hosts = {"a": host(held(), resources=[there(DEVICE["block"])])}
    made = service_plan(wanted(DEVICE), hosts)["hosts"]["a"]["machines"]
    assert made[0]["attached"] == [{"name": "data", "kind": "block", "path": DEVICE["block"], "image_format": "raw"}]
    standing = [{**made[0], "running": True, "domain": "shop-web-1"}]
    hosts = {"a": host(held(), resources=found, machines=standing)}
    assert service_plan(wanted(DEVICE), hosts)["problems"] == []
    (machine,) = service_plan(wanted(EACH), hosts)["machines"]
    assert drift_text([machine]) == [f"drift: web-1: disk data: block {DEVICE['block']} → {EACH['block']}"]
    (machine,) = service_plan(wanted(), hosts)["machines"]
    assert drift_text([machine]) == ["drift: web-1: disk data is no longer in the manifest"]


def test_an_updated_machine_gets_back_what_it_had() -> None:
    hosts = {"a": host(held(), resources=[there(DEVICE["block"])])}
    made = service_plan(wanted(DEVICE), hosts)["hosts"]["a"]["machines"]
    used = [there(DEVICE["block"], used_by=["domain shop-web-1", "another machine or program"])]
    hosts = {"a": host(held(), resources=used, machines=[{**made[0], "running": True, "domain": "shop-web-1"}])}
    seen = update_plan(wanted(DEVICE, memory_mib=600), hosts, {})["seen"]
    assert seen["a"]["machines"] == [] and seen["a"]["resources"][0]["used_by"] == ["another machine or program"]


def test_each_machine_has_one_of_its_own() -> None:
    found = [there(f"/dev/disk/by-id/data-{number}") for number in (1, 2)]
    work = service_plan(wanted(EACH, per_host=2), {"a": host(held(), resources=found)})["hosts"]["a"]["machines"]
    assert [one["attached"][0]["path"] for one in work] == [one["path"] for one in found]
    same = [there(f"/dev/disk/by-id/data-{number}", path="/dev/sdb") for number in (1, 2)]
    (told,) = problems(wanted(EACH, per_host=2), same)
    assert "to web-1: data and to web-2: data; it is one disk of one machine" in told


def test_how_it_is_connected_reaches_the_host() -> None:
    hosts = {"a": host(held(), resources=[there("web-1.qcow2", "volume", path="/srv/web-1.qcow2")])}
    (machine,) = service_plan(wanted(VOLUME), hosts)["hosts"]["a"]["machines"]
    assert machine["drives"] == [{"name": "archive", "cache": "none"}]
    assert machine["attached"] == [{"name": "archive", "kind": "volume", "path": "/srv/web-1.qcow2", "image_format": "qcow2"}]


def test_a_host_without_it_gets_no_machine_and_others_one_each() -> None:
    asked = wanted(DEVICE, hosts=["a", "b", "c"], count=2)
    hosts = {name: host(held(), resources=[there(DEVICE["block"])] if name != "b" else []) for name in "abc"}
    plan = service_plan(asked, hosts)
    assert plan["problems"] == [] and {machine["host"] for machine in plan["machines"]} == {"a", "c"}


def test_hosts_are_asked_with_a_star_for_the_machine() -> None:
    assert wanted(EACH, VOLUME)["resources"] == [
        {"kind": "block", "name": "/dev/disk/by-id/data-*", "pool": None, "format": "raw"},
        {"kind": "volume", "name": "*.qcow2", "pool": "default", "format": "qcow2"},
    ]
    assert "resources" not in wanted()


@pytest.mark.parametrize(
    ("disk", "place", "words"),
    [
        ({"name": "d", "block": "/etc/passwd"}, "block", "a path below /dev"),
        ({"name": "d", "block": "/dev/../etc"}, "block", "without .., * and ?"),
        ({"name": "d", "block": "/dev/sd*"}, "block", "without .., * and ?"),
        ({"name": "d", "block": "/dev/sdb", "size_gib": 1}, "size_gib", "it is not accepted beside block, which is used as it is"),
        ({"name": "d", "block": "/dev/sdb", "device": "cdrom"}, "device", "not accepted beside block"),
        ({"name": "d", "block": "/dev/sdb", "pool": "fast"}, "pool", "not accepted beside block"),
        ({"name": "d", "block": "/dev/{{ host }}"}, "block", "'{{ host }}' is not accepted"),
        ({"name": "d", "block": "/dev/a", "volume": {"path": "b"}}, "volume", "not accepted beside block"),
        ({"name": "d", "volume": {"path": "/etc/x"}}, "volume.path", "the path of a file below its pool"),
        ({"name": "d", "volume": {"path": "a/../../x"}}, "volume.path", "the path of a file below its pool"),
        ({"name": "d", "volume": {"pool": "fast"}}, "volume", "the key path is missing"),
        ({"name": "d", "volume": "x.qcow2"}, "volume", "a volume is a mapping of pool, path and format"),
    ],
)
def test_mistakes_are_told_with_their_place(disk: t.Any, place: str, words: str) -> None:
    group = {"name": "web", "count": 1, "disks": [{"name": "root", "size_gib": 1}, disk]}
    with pytest.raises(ManifestError) as caught:
        parse_manifest({"format": 1, "service": "s", "machines": [group]}, "s.yml")
    (told,) = caught.value.message.split("\n")
    assert told.startswith(f"s.yml: machines[0].disks[1].{place}: ") and words in told, told


def test_a_machine_has_a_disk_of_its_own() -> None:
    group = {"name": "web", "count": 1, "disks": [DEVICE]}
    with pytest.raises(ManifestError, match="a machine needs a disk of its own beside them; give it one with a base or size_gib"):
        parse_manifest({"format": 1, "service": "s", "machines": [group]})


# --- devices of the host -----------------------------------------------------------------------

CARD, SOUND = {"pci": "0000:65:00.0"}, {"pci": "0000:65:00.1"}


def device(name: str, **more: t.Any) -> dict[str, t.Any]:
    return there(name, "device", **{"pool": None, "path": f"/sys/{name}", **more})


def with_devices(*devices: dict[str, str], **more: t.Any) -> dict[str, t.Any]:
    return wanted(host_devices=list(devices), **more)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([device("pci/0000:65:00.0")], None),
        (None, "a did not tell whether it has the PCI device 0000:65:00.0"),
        ([], "a has no PCI device 0000:65:00.0 that machines may use; attach it, and permit it (basecast_host_devices)"),
        ([device("pci/0000:65:00.0", problem="has no IOMMU group")],
         "a cannot give the PCI device 0000:65:00.0 to web-1: it has no IOMMU group"),
        ([device("pci/0000:65:00.0", used_by=["domain shop-old-1"])],
         "a cannot give the PCI device 0000:65:00.0 to web-1: it is in use by domain shop-old-1"),
        ([device("pci/0000:65:00.0", beside=["0000:65:00.1"])],
         "a cannot give the PCI device 0000:65:00.0 to a machine: it is in one IOMMU group with 0000:65:00.1, which the host uses"),
    ],
)  # fmt: skip
def test_a_device_is_there_permitted_and_free(found: t.Any, told: str | None) -> None:
    place = "shop.yml: machines[0].host_devices[0]: "
    assert [one.startswith(place) and (told or "") in one for one in problems(with_devices(CARD), found)] == ([True] if told else [])


def test_a_machine_that_gets_the_whole_group_may_have_it() -> None:
    found = [device("pci/0000:65:00.0", beside=["0000:65:00.1"]), device("pci/0000:65:00.1", beside=["0000:65:00.0"])]
    assert problems(with_devices(CARD, SOUND), found) == []


def test_machines_go_where_their_device_is_free() -> None:
    asked = with_devices(CARD, hosts=["a", "b", "c", "d"], count=2)
    free, taken = device("pci/0000:65:00.0"), device("pci/0000:65:00.0", used_by=["another machine or program"])
    hosts = {name: host(held(), resources=found) for name, found in (("a", []), ("b", [free]), ("c", [taken]), ("d", [free]))}
    plan = service_plan(asked, hosts)
    assert plan["problems"] == [] and {machine["host"] for machine in plan["machines"]} == {"b", "d"}
    plan = service_plan(with_devices(CARD, hosts=["a", "b", "c", "d"], count=3), hosts)
    assert "it cannot give the PCI device 0000:65:00.0 to a machine: it is in use by another machine" in "\n".join(plan["problems"])


def two_groups(**rules: t.Any) -> dict[str, t.Any]:
    group = {"count": 1, "hosts": ["a", "b"], "memory_mib": 64, "disks": [{"name": "root", "size_gib": 1}], "host_devices": [CARD]}
    groups = [{**group, "name": name, **({"placement": rules} if rules else {})} for name in ("web", "db")]
    return parse_manifest({"format": 1, "service": "shop", "machines": groups}, "shop.yml")


def test_each_device_is_promised_once() -> None:
    hosts = {name: host(held(), resources=[device("pci/0000:65:00.0")]) for name in "ab"}
    plan = service_plan(two_groups(prefer="pack"), hosts)
    assert plan["problems"] == [] and sorted(machine["host"] for machine in plan["machines"]) == ["a", "b"]
    assert service_plan(two_groups(), {"a": hosts["a"]})["problems"] != []


def test_two_machines_of_a_host_do_not_get_one_device() -> None:
    group = {
        "count": 1,
        "hosts": ["a"],
        "memory_mib": 64,
        "disks": [{"name": "root", "size_gib": 1}],
        "placement": {"anti_affinity": False},
    }
    stick, port = {"host_devices": [{"usb": "0951:1666"}]}, {"host_devices": [{"usb": "3/7"}]}
    asked = parse_manifest(
        {"format": 1, "service": "shop", "machines": [{**group, "name": "web", **stick}, {**group, "name": "db", **port}]}, "shop.yml"
    )
    (told,) = problems(asked, [device(name, path="/sys/1-4") for name in ("usb/0951:1666", "usb/3/7")])
    assert "would give the USB device 3/7 to web-1: USB device 0951:1666 and to db-1: USB device 3/7" in told
    assert told.endswith("it is one device of one machine")


def test_each_machine_gets_a_function_of_its_own() -> None:
    asked = with_devices({"pci": "0000:3b:02.{{ machine.number }}"}, per_host=2)
    assert asked["resources"] == [{"kind": "device", "name": "pci/0000:3b:02.*", "pool": None, "format": "raw"}]
    found = [device(f"pci/0000:3b:02.{number}") for number in (1, 2)]
    work = service_plan(asked, {"a": host(held(), resources=found)})["hosts"]["a"]["machines"]
    assert [one["host_devices"] for one in work] == [[{"pci": "0000:3b:02.1"}], [{"pci": "0000:3b:02.2"}]]
    (told,) = problems(asked, found[:1])
    assert "a has no PCI device 0000:3b:02.2 that machines may use" in told


def test_another_device_is_told_as_drift() -> None:
    hosts = {"a": host(held(), resources=[device("pci/0000:65:00.0")])}
    made = service_plan(with_devices(CARD), hosts)["hosts"]["a"]["machines"]
    hosts = {"a": host(held(), resources=[], machines=[{**made[0], "running": True, "domain": "shop-web-1"}])}
    (machine,) = service_plan(with_devices(SOUND), hosts)["machines"]
    assert drift_text([machine]) == ["drift: web-1: host devices [{pci: 0000:65:00.0}] → [{pci: 0000:65:00.1}]"]
    (machine,) = service_plan(wanted(), hosts)["machines"]
    assert drift_text([machine]) == ["drift: web-1: host devices [{pci: 0000:65:00.0}] → none"]


@pytest.mark.parametrize(
    ("devices", "place", "words"),
    [
        ([{"pci": "65:00.0"}], "host_devices[0].pci", "a PCI address such as '0000:65:00.0' (in quotes"),
        ([{"pci": "0000:65:00.{{ machine.name }}"}], "host_devices[0].pci", "a PCI address such as '0000:65:00.0' (in quotes"),
        ([{"pcie": "0000:65:00.0"}], "host_devices[0].pcie", "did you mean pci"),
        ([{**CARD, "usb": "0951:1666"}], "host_devices: [0]", "a device has one of pci, usb, mediated"),
        ([], "host_devices", "host_devices is a list of devices of the host"),
    ],
)
def test_mistakes_of_devices_are_told_with_their_place(devices: t.Any, place: str, words: str) -> None:
    group = {"name": "web", "count": 1, "disks": [{"name": "root", "size_gib": 1}], "host_devices": devices}
    with pytest.raises(ManifestError) as caught:
        parse_manifest({"format": 1, "service": "s", "machines": [group]}, "s.yml")
    (told,) = caught.value.message.split("\n")
    assert told.startswith(f"s.yml: machines[0].{place}") and words in told, told


# --- directories of the host -------------------------------------------------------------------

MEDIA = {"name": "media", "source": "/srv/media"}


def share(path: str, **more: t.Any) -> dict[str, t.Any]:
    return there(path, "share", pool=None, **more) | {"path": path}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([share("/srv/media")], None),
        (None, "a did not tell whether it has the directory /srv/media"),
        ([], "a has no directory /srv/media that machines may use; make it, and permit it (basecast_shares)"),
        ([share("/srv/media", problem="needs virtiofsd on the host")],
         "a cannot give the directory /srv/media to web-1: it needs virtiofsd on the host"),
    ],
)  # fmt: skip
def test_a_directory_is_there_and_permitted(found: t.Any, told: str | None) -> None:
    place = "shop.yml: machines[0].shares[0]: "
    assert [one.startswith(place) and (told or "") in one for one in problems(wanted(shares=[MEDIA]), found)] == ([True] if told else [])


def test_machines_of_a_host_share_one_directory() -> None:
    plan = service_plan(wanted(shares=[MEDIA], per_host=2), {"a": host(held(), resources=[share("/srv/media")])})
    assert plan["problems"] == [] and [one["shares"] for one in plan["hosts"]["a"]["machines"]] == [[MEDIA]] * 2


def test_directories_of_machines_are_filled_in_and_lie_apart() -> None:
    asked = wanted(shares=[{"name": "own", "source": "/srv/{{ machine.name }}"}], per_host=2)
    assert asked["resources"] == [{"kind": "share", "name": "/srv/*", "pool": None, "format": "raw"}]
    found = [share("/srv/web-1"), share("/srv/web-2")]
    work = service_plan(asked, {"a": host(held(), resources=found)})["hosts"]["a"]["machines"]
    assert [one["shares"][0]["source"] for one in work] == ["/srv/web-1", "/srv/web-2"]
    (told,) = problems(asked, [found[0], {**found[1], "path": "/srv/web-1/x"}])
    assert "a would share /srv/web-2 and /srv/web-1, which lie in one another; share directories that lie side by side" in told


def test_another_share_is_told_as_drift() -> None:
    hosts = {"a": host(held(), resources=[share("/srv/media")])}
    made = service_plan(wanted(shares=[MEDIA]), hosts)["hosts"]["a"]["machines"]
    hosts = {"a": host(held(), resources=[], machines=[{**made[0], "running": True, "domain": "shop-web-1"}])}
    (machine,) = service_plan(wanted(), hosts)["machines"]
    assert drift_text([machine]) == ["drift: web-1: shares [{name: media, source: /srv/media}] → none"]


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ([{"name": "m", "source": "srv"}], "shares[0].source", "the absolute path of a directory of the host"),
        ([{"name": "m", "source": "/srv/{{ host }}"}], "shares[0].source", "'{{ host }}' is not accepted"),
        ([{"name": "m"}], "shares[0]", "the key source is missing"),
        ([MEDIA, MEDIA], "shares: [1].name", "'media' stands twice"),
    ],
)
def test_mistakes_of_shares_are_told_with_their_place(given: t.Any, place: str, words: str) -> None:
    group = {"name": "web", "count": 1, "disks": [{"name": "root", "size_gib": 1}], "shares": given}
    with pytest.raises(ManifestError) as caught:
        parse_manifest({"format": 1, "service": "s", "machines": [group]}, "s.yml")
    (told,) = caught.value.message.split("\n")
    assert told.startswith(f"s.yml: machines[0].{place}") and words in told, told
