# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where images come from: files that hosts have already, sources that have changed, and servers with passwords."""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import re
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.lab import Lab, images
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.web_server import File, Server

from .test_deploy import PAD_MIB, POOL, Outcome, bases, deploy, give, manifest, nothing_changed_by


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    return lab_factory(hosts=3, rate_mbps=200, libvirt=True)


def service(name: str, version: str, *hosts: str, **base: t.Any) -> dict[str, t.Any]:
    """Machines without cloud-init: nothing is waited for."""
    made = manifest(hosts=list(hosts), memory_mib=96)
    made["service"] = name
    del made["machines"][0]["cloud_init"]
    made["bases"][0].update(version=version, **base)
    return made


def image(version: str) -> bytes:
    return images.tiny(version=version, pad_mib=PAD_MIB).read_bytes()


def relayed(done: Outcome) -> set[str]:
    return {name for name, host in done.report["hosts"].items() if (host["relay"] or {}).get("bases")}


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_files_of_other_names_are_adopted(lab: Lab) -> None:
    digest = hashlib.sha256(image("v1")).hexdigest()
    give(lab.hosts["kvm1"])
    give(lab.hosts["kvm2"], name="an old name.qcow2")
    lab.hosts["kvm3"].run(["mkdir", "-p", "/srv/templates"])
    lab.hosts["kvm3"].put(images.tiny(version="v1", pad_mib=PAD_MIB), "/srv/templates/x")
    wanted = service("one", "1", "kvm1", "kvm2", "kvm3", sha256=digest)
    options = ("-e", '{"basecast_source_dirs": ["/srv/templates", "."]}')
    shown = nothing_changed_by(lab, lambda: deploy(lab, wanted, *options, playbook="plan"))
    assert shown.code == 0, shown
    flat = re.sub(r"\s+", " ", shown.out.replace('",', "").replace('"', ""))
    assert f"would be adopted from {POOL}/images/an old name.qcow2 on kvm2" in flat
    assert "would be adopted from /srv/templates/x on kvm3" in flat
    assert "would be relayed" not in flat
    assert [bases(host) for host in lab.hosts.values()] == [[], [], []]
    predicted = nothing_changed_by(lab, lambda: deploy(lab, wanted, *options, "--check"))
    assert predicted.code == 0, predicted
    done = deploy(lab, wanted, *options)
    assert done.code == 0, done
    assert [bases(host) for host in lab.hosts.values()] == [[digest]] * 3
    assert "Relay plan" not in done.out and relayed(done) == set()
    again = deploy(lab, wanted, *options)
    assert (again.code, set(again.changed.values())) == (0, {0}), again


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_what_was_imported_is_looked_for_and_what_is_gone_is_fetched(lab: Lab) -> None:
    """Without a digest in the manifest it is known after the import; kvm3 has a file of the size only."""
    digest = hashlib.sha256(image("v2")).hexdigest()
    give(lab.hosts["kvm1"], "v2", "second.qcow2")
    give(lab.hosts["kvm2"], "v2", "same.qcow2")
    give(lab.hosts["kvm3"], "v2", "other.qcow2")
    with open(lab.hosts["kvm3"].path(f"{POOL}/images/other.qcow2"), "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    wanted = service("two", "2", "kvm1", "kvm2", "kvm3", source={"host": "kvm1", "path": "images/second.qcow2"})
    done = deploy(lab, wanted)
    assert done.code == 0, done
    assert all(digest in bases(host) for host in lab.hosts.values())
    assert relayed(done) - {"kvm1", "kvm2"} == {"kvm3"}, done
    assert done.out.count(": Adopt files that hosts have already]") == 1, done
    arrived = [base for name in ("kvm1", "kvm2") for base in ((done.report["hosts"][name]["relay"] or {}).get("bases") or {}).values()]
    assert not any(base.get("received_bytes") for base in arrived)


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_changed_source_needs_another_version(lab: Lab) -> None:
    """Of a host and of the controller, by size and by digest; a time alone is settled by reading the file."""
    give(lab.hosts["kvm1"], "v3", "third.qcow2")
    wanted = service("three", "3", "kvm1", source={"host": "kvm1", "path": "images/third.qcow2"})
    assert deploy(lab, wanted).code == 0
    lab.hosts["kvm1"].run(["touch", "-d", "2020-01-01", f"{POOL}/images/third.qcow2"])
    touched = deploy(lab, wanted)
    assert (touched.code, set(touched.changed.values())) == (0, {0}), touched
    path = lab.hosts["kvm1"].path(f"{POOL}/images/third.qcow2")
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    for playbook in ("plan", "deploy"):
        refused = deploy(lab, wanted, playbook=playbook)
        assert refused.code != 0
        assert "images/third.qcow2 on kvm1 is " in refused.out and "another content needs another version" in refused.out
    # Another manifest gives another file of the controller the same name and version.
    shutil.copy(images.tiny(version="v4", pad_mib=PAD_MIB), lab.state / "third.qcow2")
    other = service("four", "3", "kvm1", "kvm2", source={"controller": "third.qcow2"})
    refused = nothing_changed_by(lab, lambda: deploy(lab, other))
    assert refused.code != 0
    assert "third.qcow2 of the controller" in refused.out and "another content needs another version" in refused.out


PLACE, QUERY = "/0123456789abcdef", "?sig=topsecret"
PASSWORD = "open-sesame"


def vaulted(lab: Lab, variables: dict[str, t.Any]) -> list[str]:
    """Options of ansible-playbook for variables that only a password opens."""
    password, file = lab.state / "vault-password", lab.state / "vaulted.yml"
    password.write_text("a password")
    file.write_text(json.dumps(variables))
    subprocess.run(["ansible-vault", "encrypt", "--vault-password-file", password, file], check=True, capture_output=True)
    return ["-e", f"@{file}", "--vault-password-file", str(password)]


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_packed_image_of_a_server_with_a_password(lab: Lab) -> None:
    """The whole way: mirror, list of checksums, vaulted password, hidden path; then the list tells another file."""
    content = image("v5")
    digest, packed = hashlib.sha256(content).hexdigest(), lzma.compress(content, preset=0)
    controller = lab.exec_in_controller(["ip", "-4", "-o", "addr", "show", "scope", "global"]).stdout.split("inet ")[1].split("/")[0]
    basic = "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    auth = [{"host": controller, "username": "alice", "password": PASSWORD, "plain_http": True}]
    options = [*vaulted(lab, {"basecast_source_auth": auth}), "-vvv"]
    with lab.in_controller(lambda: Server(wants=basic, address=controller)) as server:
        listed = f"{PLACE}/SHA256SUMS{QUERY}"
        server.files |= {
            f"{PLACE}/tiny.qcow2.xz{QUERY}": File(packed),
            listed: File(f"{hashlib.sha256(packed).hexdigest()}  tiny.qcow2.xz\n".encode()),
        }
        source = {
            "url": f"{server.url}{PLACE}/gone/tiny.qcow2.xz{QUERY}",
            "mirrors": [f"{server.url}{PLACE}/tiny.qcow2.xz{QUERY}"],
            "checksum": f"{server.url}{listed}",
            "secret": True,
        }
        wanted = service("five", "5", "kvm1", "kvm2", source=source)
        refused = nothing_changed_by(lab, lambda: deploy(lab, wanted))
        assert refused.code != 0
        assert "give credentials with auth (basecast_source_auth)" in re.sub(r"\s+", " ", refused.out)
        runs = [refused, nothing_changed_by(lab, lambda: deploy(lab, wanted, *options, playbook="plan"))]
        assert f"imported on kvm1, pool default, from http://{controller}:" in re.sub(r"\s+", " ", runs[1].out), runs[1]
        runs.append(deploy(lab, wanted, *options))
        assert runs[-1].code == 0, runs[-1]
        assert digest in bases(lab.hosts["kvm1"]) and digest in bases(lab.hosts["kvm2"])
        assert [asked.path for asked in server.asked if asked.method == "GET" and "gone" not in asked.path].count(
            f"{PLACE}/tiny.qcow2.xz{QUERY}"
        ) == 1
        server.files[listed] = File(f"{'ab' * 32}  tiny.qcow2.xz\n".encode())
        runs.append(deploy(lab, wanted, *options))
        assert (runs[-1].code, set(runs[-1].changed.values())) == (0, {0}), runs[-1]
        assert f"tells sha256:{'ab' * 32} now, but tiny 5 was imported from sha256:" in re.sub(r"\s+", " ", runs[-1].out), runs[-1]
    for hidden in (PLACE[1:], "topsecret", PASSWORD, basic.partition(" ")[2]):
        shown = [line for run in runs for line in [*run.out.splitlines(), json.dumps(run.report)] if hidden in line]
        assert [line[max(0, line.index(hidden) - 200) :][:300] for line in shown] == []
        for host in lab.hosts.values():
            found = host.run(["grep", "-rl", hidden, f"{POOL}/bases", "/var/lib/basecast"], check=False).stdout
            assert found == ""
