# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hosts publish when holders lie, and when disks do not keep what was written: nothing but what the name says."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import hash_file
from ansible_collections.basecast.fleet.plugins.module_utils._disk import attributes
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.tests.integration.relay_site import Site, wait_until

SIZE = 16 * 1024 * 1024


def flip(path: Path, offset: int) -> None:
    """Four bytes become others; the file's times are set back."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(offset)
        four = file.read(4)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in four))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def falsify(pool: Path, metadata: dict[str, t.Any], offset: int) -> dict[str, t.Any]:
    """What root can do on its own host: other bytes, and chunk list and record to match them; the record."""
    directory = pool / "bases" / metadata["sha256"]
    disk = directory / "disk"
    attributes.set_immutable(str(disk), False)
    os.chmod(disk, 0o600)
    flip(disk, offset)
    os.chmod(disk, 0o444)
    chunks = hash_file(str(disk))[1]
    changed = {**metadata, "chunks_sha256": chunks.sha256}
    for name, data in (("chunks", chunks.to_bytes()), ("base.json", json.dumps(changed).encode())):
        os.unlink(directory / name)
        (directory / name).write_bytes(data)
    return changed


def published(site: Site, host: str, sha256: str) -> bool:
    found = Store(str(site.pool(host))).find(sha256)
    assert found is None or hash_file(found.path)[0] == sha256
    return found is not None


@pytest.mark.parametrize("mode", [pytest.param("staged", marks=pytest.mark.variant), "cut_through"])
def test_a_holder_that_rebuilt_its_list_spreads_nothing(site: Site, mode: str) -> None:
    metadata = site.put_base("kvm1", SIZE)
    changed = falsify(site.pool("kvm1"), metadata, SIZE // 3)
    for host in ("kvm1", "kvm 2", "kvm3"):
        site.listen(host)
    site.start("kvm1", changed, [], mode=mode)
    site.start("kvm 2", changed, ["kvm1"], mode=mode)
    site.start("kvm3", changed, ["kvm 2", "kvm1"], mode=mode)
    for host in ("kvm 2", "kvm3"):
        done = site.call(host, state="finished", timeout_s=30)
        assert done["failed"], done
        for word in (metadata["sha256"], changed["chunks_sha256"], "The list came from", "kvm1", "basecast.fleet.verify"):
            assert word in done["msg"], done["msg"]
        assert not published(site, host, metadata["sha256"])
        assert Store(str(site.pool(host))).partials() == []


def test_four_bytes_of_a_partial_flipped_on_the_way(site: Site) -> None:
    metadata = site.put_base("kvm1", SIZE)
    site.listen("kvm1", rate_mbps=16)
    site.listen("kvm3")
    site.start("kvm1", metadata, [])
    site.start("kvm3", metadata, ["kvm1"])
    wait_until(lambda: site.base("kvm3")["received_bytes"] > 2 * 1024 * 1024)
    flip(site.pool("kvm3") / "bases" / ".partial" / metadata["sha256"] / "disk", 300_000)
    done = site.call("kvm3", state="finished", timeout_s=30)
    (base,) = done["node"]["bases"].values()
    assert base["state"] == "holding", done
    assert any("changed on this host's disk" in attempt["error"] for attempt in base["attempts"])
    assert published(site, "kvm3", metadata["sha256"])


def test_four_bytes_of_a_partial_flipped_between_two_nodes(site: Site) -> None:
    metadata = site.put_base("kvm1", SIZE)
    site.listen("kvm1", rate_mbps=16)
    site.listen("kvm3")
    site.start("kvm1", metadata, [])
    site.start("kvm3", metadata, ["kvm1"])
    wait_until(lambda: site.base("kvm3")["received_bytes"] > 2 * 1024 * 1024)
    site.kill("kvm3")
    flip(site.pool("kvm3") / "bases" / ".partial" / metadata["sha256"] / "disk", 700_000)
    site.listen("kvm3")
    site.start("kvm3", metadata, ["kvm1"])
    done = site.call("kvm3", state="finished", timeout_s=30)
    (base,) = done["node"]["bases"].values()
    assert base["state"] == "holding", done
    # One chunk of what had come was fetched once more, not all of it.
    assert base["received_bytes"] < SIZE // 2 - 1024 * 1024
    assert published(site, "kvm3", metadata["sha256"])
