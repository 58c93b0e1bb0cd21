# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guest images boot by themselves, follow their NoCloud seed, and report on their second serial port."""

from __future__ import annotations

import hashlib
import json
import subprocess
import typing as t
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest
import yaml
from ansible_collections.basecast.fleet.tests.lab import images
from ansible_collections.basecast.fleet.tests.lab._pace import patience
from ansible_collections.basecast.fleet.tests.lab.images import boot

META = json.dumps({"instance-id": "i-0001", "local-hostname": "web-1"})
REPORT = images.VENDOR_SCRIPT.format(token="abc")
USER: dict[str, t.Any] = {
    "write_files": [
        {"path": "/etc/with space", "content": 'it\'s "one"\n\ttwo \\n é 😀\n', "permissions": "0600"},
        {"path": "/etc/second", "content": "no line feed at the end"},
    ],
    "runcmd": [
        "echo SUM $(cat '/etc/with space' /etc/second | sha256sum) > /dev/ttyS0",
        ["sh", "-c", "echo MODE $(stat -c %a '/etc/with space') $0 > /dev/ttyS0", "it's an argument"],
    ],
}
SUM = hashlib.sha256("".join(file["content"] for file in USER["write_files"]).encode()).hexdigest()


def report_of(line: str) -> dict[str, t.Any]:
    """The data of a report line."""
    kind, _space, data = line.partition(" ")
    assert kind == "BASECAST-REPORT"
    return dict(json.loads(data))


def multipart() -> str:
    """Vendor-data of two parts, one of them in base64, as Python's email package makes them."""
    message = MIMEMultipart()
    message.attach(MIMEText(REPORT, "x-shellscript", "us-ascii"))
    config = "#cloud-config\nwrite_files: [{path: /etc/vendor, content: é}]\nruncmd: [echo VENDOR > /dev/ttyS0]\n"
    message.attach(MIMEText(config, "cloud-config", "utf-8"))
    return message.as_string()


@pytest.mark.parametrize(
    ("user", "vendor"),
    [
        pytest.param(json.dumps(USER), REPORT, id="json"),
        pytest.param(yaml.safe_dump(USER, sort_keys=False), multipart(), id="yaml-and-multipart"),
    ],
)
def test_tiny_guest_follows_its_seed(tmp_path: Path, user: str, vendor: str) -> None:
    """Name, files and commands come from the seed, the vendor's script reports after them, the power button works."""
    seed = boot.seed(tmp_path / "seed.iso", {"meta-data": META, "user-data": f"#cloud-config\n{user}", "vendor-data": vendor})
    with boot.Guest(images.tiny(version="v7"), tmp_path, seed) as guest:
        report = report_of(guest.wait_for(guest.report, "BASECAST-REPORT", 40))
        assert report == {"token": "abc", "hostname": "web-1", "status": "done", "addresses": []}
        assert guest.wait_for(guest.console, "TINY host", 40) == "TINY hostname=web-1 instance-id=i-0001 version=v7"
        assert SUM in guest.wait_for(guest.console, "SUM", 40)
        assert guest.wait_for(guest.console, "MODE", 40) == "MODE 600 it's an argument"
        guest.wait_for(guest.console, "TINY done", 40)
        assert "VENDOR" not in guest.console.read_text()  # the user's runcmd stands in for the vendor's
        guest.power_button()
        assert guest.process.wait(timeout=15 * patience()) == 0
        assert "power button" in guest.console.read_text()


def test_tiny_guest_gets_an_address(tmp_path: Path) -> None:
    """DHCP on the first card, a fixed address on the second, and the seed as an IDE CD instead of a virtio disk."""
    network = {"version": 2, "ethernets": {"lan": {"match": {"macaddress": "52:54:00:00:00:02"}, "addresses": ["192.0.2.7/24"]}}}
    vendor = REPORT.replace("cloud-init status", "ip -o addr show > /dev/ttyS0; cloud-init status", 1)
    seed = boot.seed(tmp_path / "seed.iso", {"meta-data": META, "vendor-data": vendor, "network-config": json.dumps(network)})
    cards = ["-drive", f"file={seed},if=ide,media=cdrom",
             "-netdev", "user,id=a,restrict=on", "-device", "virtio-net-pci,netdev=a,mac=52:54:00:00:00:01",
             "-netdev", "user,id=b,restrict=on", "-device", "virtio-net-pci,netdev=b,mac=52:54:00:00:00:02"]  # fmt: skip
    with boot.Guest(images.tiny(), tmp_path, None, arguments=cards) as guest:
        report = report_of(guest.wait_for(guest.report, "BASECAST-REPORT", 40))
        assert sorted(report["addresses"]) == ["10.0.2.15", "192.0.2.7"]


def test_tiny_guest_tells_of_failed_commands(tmp_path: Path) -> None:
    """A script that fails makes the status error, as with cloud-init, and the report still comes."""
    user = "#cloud-config\nruncmd:\n- exit 3\n"
    seed = boot.seed(tmp_path / "seed.iso", {"meta-data": META, "user-data": user, "vendor-data": REPORT})
    with boot.Guest(images.tiny(), tmp_path, seed) as guest:
        assert report_of(guest.wait_for(guest.report, "BASECAST-REPORT", 40))["status"] == "error"


@pytest.mark.variant
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_debian_guest_follows_its_seed(tmp_path: Path) -> None:
    """The same seed and the same script in a guest with systemd and the real cloud-init."""
    cards = ["-netdev", "user,id=a,restrict=on", "-device", "virtio-net-pci,netdev=a"]
    # Real cloud-init reads with PyYAML, which does not join the two halves of an escaped character beyond U+FFFF.
    user = "#cloud-config\n" + json.dumps(USER, ensure_ascii=False)
    seed = boot.seed(tmp_path / "seed.iso", {"meta-data": META, "user-data": user, "vendor-data": REPORT})
    with boot.Guest(images.debian(), tmp_path, seed, memory_mib=512, arguments=cards) as guest:
        report = report_of(guest.wait_for(guest.report, "BASECAST-REPORT", 240))
        assert report == {"token": "abc", "hostname": "web-1", "status": "done", "addresses": ["10.0.2.15"]}
        assert SUM in guest.wait_for(guest.console, "SUM", 1)
        assert guest.wait_for(guest.console, "MODE", 1).endswith("MODE 600 it's an argument")
        # Above the prompt, which is a line only if somebody else writes after it.
        guest.wait_for(guest.console, "web-1 ttyS0", 60)
        guest.power_button()
        assert guest.process.wait(timeout=60 * patience()) == 0


@pytest.mark.variant
def test_builds_are_reproducible_and_versions_differ_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same recipe, same bytes; another version differs in the chunk that names it; padding does not compress."""

    def chunks(path: Path) -> list[bytes]:
        data = path.read_bytes()
        return [hashlib.sha256(data[at : at + 262144]).digest() for at in range(0, len(data), 262144)]

    first = images.tiny(version="v1", pad_mib=8)
    other = images.tiny(version="v2", pad_mib=8)
    assert images.tiny(version="v1", pad_mib=8) == first
    a, b = chunks(first), chunks(other)
    assert len(a) == len(b)
    assert 1 <= sum(x != y for x, y in zip(a, b, strict=True)) <= 4
    plain = images.tiny(version="v1").stat().st_size
    assert first.stat().st_size >= plain + 8 * 1024 * 1024
    (tmp_path / "images").mkdir()
    # The unpacked kernel is shared: only the image is built again.
    for kernel in first.parent.glob("kernel-*"):
        (tmp_path / "images" / kernel.name).symlink_to(kernel)
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path))
    again = images.tiny(version="v1", pad_mib=8)
    assert again.parent == tmp_path / "images"
    assert again.read_bytes() == first.read_bytes()
    leftovers = [path.name for path in again.parent.iterdir() if path.name.startswith(".") and not path.name.endswith(".lock")]
    assert leftovers == []


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a tool the message says which Debian package has it."""
    images.tiny()  # the kernel is there
    monkeypatch.setattr(images._build.shutil, "which", lambda name, path=None: None if name == "mformat" else f"/usr/bin/{name}")
    with pytest.raises(images.ImageError, match="mformat is not on this machine: install the Debian package mtools"):
        images.tiny(version=f"v-{tmp_path.name}")


def test_the_program_prints_the_path() -> None:
    """`tests/lab/image tiny` names the same file; a wrong value is refused in one line."""
    program = Path(images.__file__).parents[1] / "image"
    done = subprocess.run([program, "tiny"], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == images.tiny()
    wrong = subprocess.run([program, "tiny", "--version", "a b"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("image: version: 'a b' is not accepted")
