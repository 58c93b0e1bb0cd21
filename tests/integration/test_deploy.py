# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.deploy and plan on lab hosts, with guests that boot: everything from the manifest to the report."""

from __future__ import annotations

import concurrent.futures
import copy
import gzip
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, images

POOL = "/var/lib/libvirt/images"
PAD_MIB = 16

MANIFEST: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [
        {
            "name": "web",
            "hosts": ["kvm1", "kvm2", "kvm3"],
            "memory_mib": 128,
            "disks": [{"name": "root", "base": "tiny", "size_gib": 1}],
            "networks": [],
            "cloud_init": {"user_data": {"runcmd": ["echo the-seed-was-read > /dev/ttyS0"]}},
        }
    ],
}


def other_base(made: dict[str, t.Any], path: str, **more: t.Any) -> None:
    """New machines get a base that is a file of the controller."""
    made["bases"].append({"name": "other", "version": "1", "source": {"controller": path}, **more})
    made["machines"][0]["disks"][0].update(base="other")


def manifest(**group: t.Any) -> dict[str, t.Any]:
    made = copy.deepcopy(MANIFEST)
    made["machines"][0].update(group)
    return made


class Outcome:
    """One run: exit code, output, report and what Ansible's recap says."""

    def __init__(self, done: subprocess.CompletedProcess[str], report: Path) -> None:
        self.code = done.returncode
        self.out = done.stdout + done.stderr
        self.report: dict[str, t.Any] = json.loads(report.read_text()) if report.exists() else {}

    @property
    def states(self) -> dict[str, str]:
        return {m["machine"]: m["state"] for m in self.report.get("machines", [])}

    @property
    def changed(self) -> dict[str, int]:
        recap = self.out.rsplit("PLAY RECAP", 1)[-1]
        return {m[1]: int(m[2]) for m in re.finditer(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)", recap, re.M)}

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out[-7000:]}"


def deploy(lab: Lab, wanted: dict[str, t.Any], *options: str, playbook: str = "deploy", timeout: float = 240) -> Outcome:
    file = lab.state / "manifest.json"
    file.write_text(json.dumps(wanted))
    report = lab.state / "report.json"
    report.unlink(missing_ok=True)
    done = lab.playbook(
        [
            f"basecast.fleet.{playbook}",
            "-e",
            f"manifest={file}",
            "-e",
            f"basecast_report_file={report}",
            "-e",
            "basecast_boot_timeout_s=120",
            *options,
        ],
        timeout=timeout,
    )
    return Outcome(done, report)


def give(host: Host, version: str = "v1", name: str = "tiny.qcow2") -> None:
    host.run(["mkdir", "-p", f"{POOL}/images"])
    host.put(images.tiny(version=version, pad_mib=PAD_MIB), f"{POOL}/images/{name}")


def bases(host: Host) -> list[str]:
    return sorted(folder.name for folder in host.path(f"{POOL}/bases").glob("[0-9a-f]*"))


def snapshot(host: Host) -> dict[str, tuple[int, int]]:
    """Every file of the pool with its size and time: equal snapshots mean that nothing was touched.

    What a host notes of the images it has hashed is no change: it only spares the next question.
    """
    root = host.path(POOL)
    return {
        str(f.relative_to(root)): (f.stat().st_size, f.stat().st_mtime_ns)
        for f in root.rglob("*")
        if f.is_file() and not f.name.endswith(".log") and not str(f.relative_to(root)).startswith(("images/", "bases/.imports/"))
    }


def nothing_changed_by(lab: Lab, action: t.Callable[[], t.Any]) -> t.Any:
    before = {name: snapshot(host) for name, host in lab.hosts.items()}
    result = action()
    assert {name: snapshot(host) for name, host in lab.hosts.items()} == before
    return result


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=3, rate_mbps=200, libvirt=True)
    give(made.hosts["kvm1"])
    return made


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> Outcome:
    """The service as every test of this module finds it; check mode goes first, as it must not have changed anything."""
    predicted = nothing_changed_by(lab, lambda: deploy(lab, MANIFEST, "--check", "--diff"))
    assert predicted.code == 0, predicted
    assert "root.qcow2" in predicted.out
    done = deploy(lab, MANIFEST)
    assert done.code == 0, done
    assert {host for host, count in predicted.changed.items() if count} == {host for host, count in done.changed.items() if count}
    return done


@pytest.mark.timeout(400)
def test_every_machine_is_there_and_came_up_as_asked_for(lab: Lab, deployed: Outcome) -> None:
    assert deployed.states == {"web-1": "deployed", "web-2": "deployed", "web-3": "deployed"}
    for number, (_name, host) in enumerate(lab.hosts.items(), start=1):
        folder = host.path(f"{POOL}/machines/shop/web-{number}")
        token = json.loads((folder / "seed.json").read_text())["token"]
        line = next(line for line in (folder / "report.log").read_text().splitlines() if line.startswith("BASECAST-REPORT "))
        told = json.loads(line.split(" ", 1)[1])
        assert (told["token"], told["hostname"]) == (token, f"web-{number}")
        assert "the-seed-was-read" in (folder / "console.log").read_text(errors="replace")
        info = json.loads(host.run(["qemu-img", "info", "-U", "--output=json", f"{POOL}/machines/shop/web-{number}/root.qcow2"]).stdout)
        assert info["backing-filename"] == f"../../../bases/{bases(host)[0]}/disk"
        assert info["virtual-size"] == 1024**3


@pytest.mark.timeout(400)
def test_the_output_shows_what_applies_and_no_more(lab: Lab, deployed: Outcome) -> None:
    again = deploy(lab, MANIFEST)
    lines = {"cold": deployed.out.splitlines(), "warm": again.out.splitlines()}
    assert {name: len(told) for name, told in lines.items() if len(told) > {"cold": 310, "warm": 165}[name]} == {}
    for told in lines.values():
        assert sum(line.startswith("skipping:") for line in told) <= 6
        assert not [line for line in told if "no hosts matched" in line or "FAILED - RETRYING" in line or "WARNING" in line]
    assert "For a ticket:" in again.out
    (run,) = set(re.findall(r"run (\d{8}T\d{6}-\w{8})", again.out))
    assert again.report["run"] == run


@pytest.mark.timeout(400)
def test_the_base_crossed_the_network_once_per_host_and_is_the_same_everywhere(lab: Lab, deployed: Outcome) -> None:
    digest = hashlib.sha256(images.tiny(version="v1", pad_mib=PAD_MIB).read_bytes()).hexdigest()
    for host in lab.hosts.values():
        assert bases(host) == [digest]
        assert host.run(["sha256sum", f"{POOL}/bases/{digest}/disk"]).stdout.split()[0] == digest
    for name in ("kvm2", "kvm3"):
        (arrived,) = deployed.report["hosts"][name]["relay"]["bases"].values()
        assert arrived["received_bytes"] <= 1.01 * arrived["size_bytes"]


@pytest.mark.timeout(400)
def test_a_second_run_needs_few_module_runs_per_host(lab: Lab, deployed: Outcome) -> None:
    done = nothing_changed_by(lab, lambda: deploy(lab, MANIFEST, "--forks", "1", "-vvv"))
    assert done.code == 0, done
    assert set(done.changed.values()) == {0}
    assert set(done.states.values()) == {"present"}
    for address in (host.address for host in lab.hosts.values()):
        runs = len(re.findall(rf"^<{re.escape(address)}> ANSIBALLZ: |^<{re.escape(address)}> SSH: EXEC .*python3", done.out, re.M))
        assert 0 < runs <= 12, runs


@pytest.mark.timeout(400)
def test_plan_shows_what_is_there_and_changes_nothing(lab: Lab, deployed: Outcome) -> None:
    file = lab.state / "plan.json"
    wanted = manifest(per_host=2)
    done = nothing_changed_by(lab, lambda: deploy(lab, wanted, "-e", f"basecast_plan_file={file}", playbook="plan"))
    assert done.code == 0, done
    assert "web-1 on kvm1: there already" in done.out
    assert "web-4 on kvm1: to be made" in done.out
    assert json.loads(file.read_text())["service"]["machines"][3]["machine"] == "web-4"


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_place_tells_hosts_in_order_and_changes_nothing(lab: Lab, deployed: Outcome) -> None:
    file = lab.state / "place.json"
    variables = ["-e", f"basecast_place_file={file}", "-e", '{"basecast_labels": ["ssd"]}']
    done = nothing_changed_by(lab, lambda: deploy(lab, MANIFEST, *variables, playbook="place"))
    assert done.code == 0, done
    # Which of them is best depends on the load of the moment.
    assert re.search(r"web: one more machine \(web-4\), or a clone, would go to kvm[123], pool default", done.out)
    assert re.search(r"2\. kvm[123]: lost by: ", done.out)
    told = json.loads(file.read_text())["web"]
    assert sorted(rating["host"] for rating in told["ratings"]) == sorted(lab.hosts)
    best, second = (rating["host"] for rating in told["ratings"][:2])
    assert {move["machine"]: move["to"] for move in told["moves"]} == {
        f"web-{number}": second if best == f"kvm{number}" else best for number in (1, 2, 3)
    }
    wanted = {**MANIFEST, "placement": {"labels": ["nvme"]}}
    full = nothing_changed_by(lab, lambda: deploy(lab, wanted, *variables, playbook="place"))
    assert full.code != 0
    assert "No host has room for another machine of web" in full.out


@pytest.mark.timeout(400)
def test_a_saved_plan_is_run_as_long_as_it_fits(lab: Lab, deployed: Outcome) -> None:
    file = lab.state / "saved.json"
    assert deploy(lab, MANIFEST, "-e", f"basecast_plan_file={file}", playbook="plan").code == 0
    assert deploy(lab, MANIFEST, "-e", f"plan_file={file}").code == 0
    refused = nothing_changed_by(lab, lambda: deploy(lab, manifest(per_host=2), "-e", f"plan_file={file}"))
    assert refused.code != 0 and "saved.json cannot be run:" in refused.out
    assert "The machine web-4 was not planned, and is on kvm1, create now." in refused.out


@pytest.mark.timeout(400)
def test_an_edited_manifest_is_drift_and_rebuilds_nothing(lab: Lab, deployed: Outcome) -> None:
    edited = manifest(
        memory_mib=160,
        disks=[{"name": "root", "base": "tiny", "size_gib": 2}],
        cloud_init={"user_data": {"runcmd": ["echo something else"]}},
    )
    edited["bases"][0]["version"] = "2"
    uuids = {name: host.run("virsh -q list --uuid").stdout for name, host in lab.hosts.items()}
    machines = {name: {k: v for k, v in snapshot(host).items() if k.startswith("machines/")} for name, host in lab.hosts.items()}
    done = deploy(lab, edited)
    assert done.code == 0, done
    assert {name: host.run("virsh -q list --uuid").stdout for name, host in lab.hosts.items()} == uuids
    assert {name: {k: v for k, v in snapshot(host).items() if k.startswith("machines/")} for name, host in lab.hosts.items()} == machines
    drift = [line for line in done.out.splitlines() if "drift: web-1" in line]
    for words in (
        "memory 128 → 160 MiB",
        "disk root: base tiny 1 → tiny 2",
        "disk root: size ",
        "cloud-init has changed: user_data.runcmd",
    ):
        assert any(words in line for line in drift), (words, done.out)


def one_more(change: t.Callable[[t.Any], None], words: str, name: str) -> t.Any:
    return pytest.param(change, words, id=name, marks=pytest.mark.variant)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda m: m["machines"][0].update(hots=[]), "machines[0].hots: unknown key (did you mean hosts?)", id="unknown-key"),
        pytest.param(lambda m: m["bases"][0].update(sha256="0" * 64), "bases[0].sha256: the manifest says 0000", id="wrong-digest"),
        pytest.param(
            lambda m: m["machines"][0]["disks"][0].update(size_gib=0.03),
            "machines[0].disks[0].size_gib: 0.03 GiB is less than tiny 1 itself has; at least 0.047 GiB",
            id="too-small-disk",
        ),
        one_more(
            lambda m: m["machines"][0]["disks"][0].update(base="nope"), "machines[0].disks[0].base: 'nope' is not a base", "missing-base"
        ),
        one_more(lambda m: other_base(m, __file__, sha256="0" * 64), "bases[1].sha256: the manifest says 0000", "wrong-file"),
        one_more(
            lambda m: other_base(m, "nowhere.qcow2"),
            "bases[1].source.controller: there is no file nowhere.qcow2 on the controller",
            "missing-file",
        ),
        one_more(
            lambda m: m["machines"][0]["disks"][0].update(pool="fast"),
            "machines[0].disks[0].pool: 'fast' is not a pool of kvm1; its pools are: default",
            "missing-pool",
        ),
        one_more(
            lambda m: m["machines"][0].update(memory_mib=2**26),
            "machines[0].memory_mib: web-4 with 67108864 MiB does not fit on kvm1",
            "too-much-memory",
        ),
        one_more(lambda m: m["machines"][0].update(name="../web"), "machines[0].name: '../web' is not accepted", "escaping-name"),
        one_more(
            lambda m: m["machines"][0].update(hosts=["kvm1", "kvm9"]),
            "'kvm9' is neither a host nor a group of the inventory",
            "unknown-host",
        ),
    ],
)
def test_a_bad_manifest_ends_before_anything_is_changed(lab: Lab, deployed: Outcome, change: t.Callable[[t.Any], None], words: str) -> None:
    bad = manifest(per_host=2)
    change(bad)
    done = nothing_changed_by(lab, lambda: deploy(lab, bad))
    assert done.code != 0
    assert words in done.out
    assert "Traceback" not in done.out
    assert set(done.changed.values()) == {0}


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_of_a_file_that_cannot_be_imported_no_upload_is_left(lab: Lab, deployed: Outcome, tmp_path: Path) -> None:
    image = tmp_path / "half.qcow2"
    whole = images.tiny(version="v1", pad_mib=PAD_MIB).read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    bad = manifest(per_host=2)
    other_base(bad, str(image))
    done = deploy(lab, bad)
    assert done.code != 0
    assert "bases[1]: Import the base on kvm1" in done.out
    assert not list(lab.hosts["kvm1"].path(f"{POOL}/bases/.incoming").glob("*"))


@pytest.mark.timeout(400)
def test_what_the_hosts_lack_is_told_for_all_of_them_at_once_before_anything_is_changed(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=3, pools={"default": ("ext4", 96)})
    give(lab.hosts["kvm1"])
    imported = lab.exec_in_controller(
        ["ansible", "kvm1", "-m", "basecast.fleet.base_disk_import", "-a", "src=images/tiny.qcow2 name=tiny version=1"]
    )
    assert imported.returncode == 0, imported.stdout
    lab.hosts["kvm1"].run("rm -f /usr/bin/xorriso /usr/bin/genisoimage /usr/bin/mkisofs")
    lab.hosts["kvm2"].fill_pool("default", leave_bytes=8 * 2**20)
    lab.hosts["kvm3"].run("mount -o remount,ro /var/lib/libvirt/images")
    taken = {"basecast_port_range": "22-22"}  # sshd's
    done = nothing_changed_by(lab, lambda: deploy(lab, MANIFEST, "-e", json.dumps(taken)))
    assert done.code != 0
    for words in (
        "kvm1: a program that writes ISO images (xorriso, genisoimage, mkisofs) is missing; install the package xorriso",
        "kvm2: the pool 'default', /var/lib/libvirt/images, has ",
        "'default' of kvm3, /var/lib/libvirt/images, cannot be written to",
        *(f"{host.name}: every port of 22-22 on {host.address} is taken; set basecast_port_range to others" for host in lab.hosts.values()),
    ):
        assert words in done.out, done
    assert set(done.changed.values()) == {0}


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_hosts_outside_the_limit_are_missing_and_make_the_exit_code_say_so(lab: Lab, deployed: Outcome) -> None:
    done = deploy(lab, MANIFEST, "--limit", "kvm2,kvm3")
    assert done.code != 0 and "The result above says why." in done.out
    assert done.states == {"web-1": "outside", "web-2": "present", "web-3": "present"}


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_dead_host_is_a_result_and_everybody_else_is_served(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True)
    give(lab.hosts["kvm1"])
    lab.hosts["kvm2"].power_cut()
    done = deploy(lab, MANIFEST)
    assert done.code != 0
    assert done.states == {"web-1": "deployed", "web-2": "unreachable", "web-3": "deployed"}
    lab.hosts["kvm2"].revive()
    again = deploy(lab, MANIFEST)
    assert again.code == 0, again
    assert again.states == {"web-1": "present", "web-2": "deployed", "web-3": "present"}
    assert again.changed["kvm3"] == 0


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_hosts_that_mount_the_same_pool_get_a_base_once(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=4, libvirt=True)
    lab.share_pool("default", ["kvm2", "kvm3"])
    give(lab.hosts["kvm1"])
    wanted = manifest(hosts=["kvm2", "kvm3", "kvm4"])
    file = lab.state / "plan.json"
    planned = deploy(lab, wanted, "-e", f"basecast_plan_file={file}", playbook="plan")
    assert planned.code == 0, planned
    assert "kvm3 has the same pool as kvm2, and the base when that has it" in planned.out
    done = deploy(lab, wanted)
    assert done.code == 0, done
    assert set(done.states.values()) == {"deployed"}
    told = [base for name in ("kvm2", "kvm3") for base in done.report["hosts"][name]["relay"]["bases"].values()]
    received = sorted(base["received_bytes"] for base in told)
    # Whichever of them began first fetched it; the other saw it come.
    assert received[0] == 0
    assert told[0]["size_bytes"] <= received[1] < 1.02 * told[0]["size_bytes"]
    assert deploy(lab, wanted).changed == dict.fromkeys(lab.hosts, 0)


class WebServer:
    """Serves a folder from the controller's side of a lab; ``asked`` are the requests."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
                super().__init__(*args, directory=str(folder), **kwargs)

            def log_message(self, format: str, *args: t.Any) -> None:
                asked.append(format % args)

        self._server = lab.in_controller(lambda: http.server.ThreadingHTTPServer(("", 0), Handler))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        controller = lab.exec_in_controller(["ip", "-4", "-o", "addr", "show", "scope", "global"]).stdout.split("inet ")[1].split("/")[0]
        self.url = f"http://{controller}:{self._server.server_port}"

    def __enter__(self) -> t.Self:
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_plan_foresees_the_relay_of_bases_that_are_still_to_be_imported(fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True)
    image = images.tiny(version="v1", pad_mib=PAD_MIB)
    give(lab.hosts["kvm1"])
    (tmp_path / "link.qcow2").symlink_to(image)
    wanted = manifest()
    wanted["machines"][0]["disks"] = [{"name": f"disk-{name}", "base": name} for name in ("tiny", "url", "controller", "secret")]
    file = lab.state / "plan.json"
    with WebServer(lab, tmp_path) as server:
        for name, source in {
            "url": {"url": f"{server.url}/link.qcow2"},
            "controller": {"controller": str(tmp_path / "link.qcow2")},
            "secret": {"url": f"{server.url}/absent.qcow2"},  # its size cannot be told
        }.items():
            wanted["bases"].append({"name": name, "version": "1", "source": source})
        shown = nothing_changed_by(lab, lambda: deploy(lab, wanted, "-e", f"basecast_plan_file={file}", playbook="plan"))
        assert [line.split()[0] for line in server.asked if "/link" in line] == ['"HEAD']
        assert not [line for line in server.asked if "GET" in line]
    assert shown.code == 0, shown
    plans = json.loads(file.read_text())["relay"]
    size = image.stat().st_size
    assert [(plan["base"], plan["size_bytes"], plan["sources"], sorted(plan["arrivals"])) for plan in plans] == [
        (f"{name} 1", size, ["kvm1"], ["kvm2", "kvm3"]) for name in ("tiny", "url", "controller")
    ]
    lines = [line.strip(' ",') for line in shown.out.splitlines()]
    assert "Relay plan of tiny 1: cut_through, strategy best, contention port" in lines
    assert len([line for line in lines if re.fullmatch(r"kvm1 > kvm2 .* yes +- +\S+", line)]) == 3
    assert "would be relayed to kvm2, kvm3 (pool default); the order is planned once its size is known" in lines
    wanted["bases"][0]["source"]["path"] = "images/none.qcow2"
    refused = nothing_changed_by(lab, lambda: deploy(lab, wanted))
    assert refused.code != 0
    assert "there is no file images/none.qcow2 on kvm1" in refused.out
    wanted["bases"][0]["source"]["pool"] = "nope"
    refused = nothing_changed_by(lab, lambda: deploy(lab, wanted))
    assert "'nope' is not a pool of kvm1; these are: default" in refused.out
    assert refused.out.count("[ERROR]") == 1, refused


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_url_is_fetched_once_and_a_wrong_digest_leaves_nothing(fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path) -> None:
    lab = fresh_lab_factory(hosts=2, libvirt=True)
    image = images.tiny(version="v1", pad_mib=PAD_MIB)
    shutil.copy(image, tmp_path / "tiny.qcow2")
    with WebServer(lab, tmp_path) as server:
        wanted = manifest(hosts=["kvm1", "kvm2"])
        wanted["bases"][0]["source"] = {"url": f"{server.url}/tiny.qcow2"}
        wanted["bases"][0]["sha256"] = "0" * 64
        wrong = deploy(lab, wanted)
        assert wrong.code != 0
        assert "0" * 64 in wrong.out
        assert hashlib.sha256(image.read_bytes()).hexdigest() in wrong.out
        for host in lab.hosts.values():
            assert bases(host) == []
            assert not [f for f in host.path(f"{POOL}/bases").rglob("*") if f.is_file() and f.stat().st_size > 1000]
        server.asked.clear()
        wanted["bases"][0]["sha256"] = hashlib.sha256(image.read_bytes()).hexdigest()
        done = deploy(lab, wanted, "--forks", "1")
        assert done.code == 0, done
        assert len([line for line in server.asked if "GET" in line]) == 1


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_file_of_the_controller_goes_to_one_host_and_copies_and_clones_work_without_guests(
    fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path
) -> None:
    lab = fresh_lab_factory(hosts=2, libvirt=True, pools={"default": "dir", "fast": ("xfs", 512)})
    shutil.copy(images.tiny(version="v1", pad_mib=PAD_MIB), lab.state / "tiny.qcow2")
    wanted = manifest(
        hosts=["kvm1", "kvm2"],
        disks=[
            {"name": "root", "base": "tiny", "differencing": False},
            {"name": "clone", "base": "tiny", "backend": "reflink", "pool": "fast"},
            {"name": "far", "base": "tiny", "pool": "fast"},
        ],
    )
    wanted["bases"][0]["source"] = {"controller": "tiny.qcow2"}
    del wanted["machines"][0]["cloud_init"]
    done = deploy(lab, wanted)
    assert done.code == 0, done
    for number, host in enumerate(lab.hosts.values(), start=1):
        root = json.loads(host.run(["qemu-img", "info", "-U", "--output=json", f"{POOL}/machines/shop/web-{number}/root.qcow2"]).stdout)
        assert "backing-filename" not in root
        assert not list(host.path(f"{POOL}/bases/.incoming").glob("*"))
    again = deploy(lab, wanted)
    assert (again.code, set(again.changed.values())) == (0, {0}), again


def verified_chunks(host: Host) -> int:
    """How many chunks of a base have arrived on a host."""
    for found in host.path(POOL).glob("bases/.partial/*/map"):
        data = found.read_bytes()
        if len(data) > 16:
            return data[16 : 16 + int.from_bytes(data[8:16], "big")].count(1)
    return 0


CHAIN = [
    {"from": "kvm1", "to": "kvm2", "mbps": 100},
    {"from": "kvm2", "to": "kvm3", "mbps": 100},
    {"from": "kvm1", "to": "kvm3", "mbps": 1},
]


@pytest.mark.variant
@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_relaying_host_dies_and_its_child_goes_on_with_the_source(fresh_lab_factory: t.Callable[..., Lab], mode: str) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True, rate_mbps=60)
    give(lab.hosts["kvm1"])
    wanted = manifest()
    file, report = lab.state / "shop.json", lab.state / "report.json"
    file.write_text(json.dumps(wanted))
    process = lab.popen_playbook(
        [
            "basecast.fleet.deploy",
            "-e", f"manifest={file}",
            "-e", f"basecast_report_file={report}",
            "-e", f"basecast_relay_mode={mode}",
            "-e", json.dumps({"basecast_links": CHAIN}),
        ],
    )  # fmt: skip
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.extend(process.stdout or []), daemon=True)
    reader.start()
    try:
        wait_for(lambda: verified_chunks(lab.hosts["kvm3"]) > 20 or process.poll() is not None, 120, "kvm3 got nothing")
        lab.hosts["kvm2"].power_cut()
        code = process.wait(240)
    finally:
        process.kill()
        reader.join(10)
    said = "".join(output)
    assert code != 0, said[-5000:]
    states = {m["machine"]: m["state"] for m in json.loads(report.read_text())["machines"]}
    assert states == {"web-1": "deployed", "web-2": "unreachable", "web-3": "deployed"}, said[-5000:]
    (arrived,) = json.loads(report.read_text())["hosts"]["kvm3"]["relay"]["bases"].values()
    # What had come from the dead host was kept.
    assert arrived["received_bytes"] <= 1.05 * arrived["size_bytes"]
    assert [attempt["parent"] for attempt in arrived["attempts"]][:1] == ["kvm2"]


@pytest.mark.timeout(400)
def test_another_host_imports_when_one_dies_at_it(fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True, rate_mbps=20)
    wanted, image = manifest(per_host=1), tmp_path / "other.qcow2"
    shutil.copy(images.tiny(version="v1", pad_mib=PAD_MIB), image)
    other_base(wanted, str(image))
    coming = lab.hosts["kvm1"].path("/root/.ansible/tmp")
    died = threading.Event()

    def kill() -> None:
        wait_for(lambda: any(file.stat().st_size for file in coming.glob("*/.source*")), 120, "nothing came to kvm1")
        lab.hosts["kvm1"].crash()
        died.set()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        done = deploy(lab, wanted)
        killing.result()
    assert died.is_set() and done.code != 0
    assert done.states == {"web-1": "unreachable", "web-2": "deployed", "web-3": "deployed"}, done
    assert re.search(r"Not imported: .*bases\[1\]: Import the base on kvm1: .* The plan is made again\.", done.out)
    assert [bases(lab.hosts[name]) for name in ("kvm2", "kvm3")] == [[hashlib.sha256(image.read_bytes()).hexdigest()]] * 2


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_another_host_imports_when_one_has_no_room(fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True, pools={"default": ("ext4", 160)})
    packed, saved = tmp_path / "text.raw.gz", tmp_path / "plan.json"
    packed.write_bytes(gzip.compress(b"basecast" * (5 << 20)))  # its size shows as it is unpacked
    disk = {"name": "root", "base": "text", "differencing": True}
    wanted = {
        "format": 1,
        "service": "room",
        "bases": [{"name": "text", "version": "1", "source": {"controller": str(packed)}}],
        "machines": [{"name": "web", "hosts": list(lab.hosts), "per_host": 1, "memory_mib": 32, "networks": [], "disks": [disk]}],
    }
    lab.hosts["kvm1"].fill_pool("default", leave_bytes=30 << 20)
    assert deploy(lab, wanted, "-e", f"basecast_plan_file={saved}", playbook="plan").code == 0
    done = deploy(lab, wanted, "-e", f"plan_file={saved}")
    assert (done.code, done.states) == (2, {"web-1": "unfit", "web-2": "deployed", "web-3": "deployed"}), done
    assert re.search(r"Not imported: .*bases\[0\]: Import the base on kvm1: .* The plan is made again\.", done.out)
    assert "is run, except for hosts that cannot be used now:" in done.out
    assert [bases(lab.hosts[name]) for name in ("kvm2", "kvm3")] == [[hashlib.sha256(gzip.decompress(packed.read_bytes())).hexdigest()]] * 2
    assert bases(lab.hosts["kvm1"]) == []


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_the_source_dies_before_anything_was_delivered(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=2, libvirt=True, rate_mbps=20)
    give(lab.hosts["kvm1"])
    wanted = manifest(hosts=["kvm1", "kvm2"])
    file, report = lab.state / "shop.json", lab.state / "report.json"
    file.write_text(json.dumps(wanted))
    process = lab.popen_playbook(
        ["basecast.fleet.deploy", "-e", f"manifest={file}", "-e", f"basecast_report_file={report}", "-e", "basecast_relay_patience_s=5"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: verified_chunks(lab.hosts["kvm2"]) > 2 or process.poll() is not None, 120, "kvm2 got nothing")
        lab.hosts["kvm1"].power_cut()
        assert process.wait(240) != 0
    finally:
        process.kill()
    told = {m["machine"]: (m["state"], m["reason"]) for m in json.loads(report.read_text())["machines"]}
    assert told["web-1"][0] == "unreachable"
    assert told["web-2"][0] == "failed"
    assert "kvm1" in told["web-2"][1]
    assert bases(lab.hosts["kvm2"]) == []


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_two_controllers_at_once_share_what_they_bring(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=2, libvirt=True, rate_mbps=60)
    give(lab.hosts["kvm1"])
    runs = []
    for service in ("shop", "blog"):
        wanted = manifest(hosts=["kvm1", "kvm2"])
        wanted["service"] = service
        file = lab.state / f"{service}.json"
        file.write_text(json.dumps(wanted))
        runs.append(
            lab.popen_playbook(
                ["basecast.fleet.deploy", "-e", f"manifest={file}", "-e", f"basecast_report_file={lab.state}/{service}-report.json"]
            )
        )
    for run in runs:
        said = run.communicate(timeout=300)[0]
        assert run.returncode == 0, said[-5000:]
    received = [
        base["received_bytes"]
        for service in ("shop", "blog")
        for base in (
            (json.loads((lab.state / f"{service}-report.json").read_text())["hosts"]["kvm2"]["relay"] or {}).get("bases") or {}
        ).values()
    ]
    size = images.tiny(version="v1", pad_mib=PAD_MIB).stat().st_size
    assert 0.9 * size < sum(received) <= 1.05 * size
    assert sorted(lab.hosts["kvm2"].run("virsh -q list --name").stdout.split()) == ["blog-web-2", "shop-web-2"]


def wait_for(what: t.Callable[[], t.Any], timeout_s: float, name: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, name
        time.sleep(0.02)
