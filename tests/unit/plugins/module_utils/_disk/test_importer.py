# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import (
    attributes,
    file_trees,
    import_record,
    references,
    sparse_copy,
    transfer,
)
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import (
    BaseMissing,
    DamagedImage,
    DigestMismatch,
    NameTaken,
    NoSpace,
    UnsafeImage,
    UnsafePath,
)
from ansible_collections.basecast.fleet.plugins.module_utils._disk.importer import Importer, Request, Result
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._disk.sources import Rules
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import FakeQemu, put_base, qcow2

Run = t.Callable[..., Result]
EVERYTHING = Rules(("/",), ("127.0.0.1",))


@pytest.fixture
def run(pools: dict[str, Store], qemu_runner: FakeQemu) -> Run:
    def import_(check_mode: bool = False, pool: str = "one", **request: t.Any) -> Result:
        if request.get("src") is not None:
            request["src"] = str(request["src"])
        return Importer(pools, pool, QemuImg(qemu_runner), check_mode, EVERYTHING).run(Request(**{"tenant": "default", **request}))

    return import_


@pytest.fixture
def image(tmp_path: t.Any) -> t.Any:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"image".ljust(300 * 1024, b"\0"))
    os.utime(path, (1, 1))
    return path


def digest(path: t.Any) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(store: Store) -> list[str]:
    return os.listdir(os.path.join(store.directory, ".partial")) if os.path.isdir(store.directory) else []


def test_a_raw_file_is_stored_as_it_is(run: Run, image: t.Any, store: Store) -> None:
    result = run(src=image, name="debian", version="12")
    assert result.changed
    assert result.base is not None
    assert result.base.sha256 == digest(image)
    origin = {"kind": "path", "name": str(image), "image_format": "raw", "size_bytes": os.path.getsize(image), "tenant": "default"}
    assert result.base.metadata["imported_from"] == origin
    assert transfer.verify(result.base) == ""
    assert result.base.names() == [{"tenant": "default", "name": "debian", "version": "12"}]
    assert leftovers(store) == []


def test_the_second_import_reads_nothing(run: Run, image: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run(src=image, name="debian", version="12")
    monkeypatch.setattr(sparse_copy, "read_all", lambda *_arguments: pytest.fail("the file was read again"))
    for check_mode in (False, True):
        again = run(check_mode, src=image, name="debian", version="12")
        assert not again.changed
        assert again.base is not None


def test_a_changed_file_is_read_again(run: Run, image: t.Any) -> None:
    first = run(src=image)
    image.write_bytes(b"other".ljust(300 * 1024, b"\0"))
    second = run(src=image)
    assert first.base is not None
    assert second.base is not None
    assert second.base.sha256 == digest(image) != first.base.sha256


def test_a_file_just_written_is_not_trusted_to_its_stamp(run: Run, image: t.Any, store: Store) -> None:
    os.utime(image)
    run(src=image)
    assert not os.path.isdir(os.path.join(store.directory, ".imports"))


def test_check_mode_predicts_and_changes_nothing(run: Run, image: t.Any, store: Store) -> None:
    predicted = run(True, src=image, name="debian", version="12")
    assert predicted.changed
    assert not os.path.exists(store.directory)
    real = run(src=image, name="debian", version="12")
    assert (predicted.actions, predicted.before, predicted.after) == (real.actions, real.before, real.after)


def test_a_further_name_is_a_change_without_copying(run: Run, image: t.Any) -> None:
    run(src=image)
    for check_mode in (True, False):
        result = run(check_mode, src=image, tenant="blue", name="b", version="1")
        assert result.actions == [
            f"add reference of tenant blue to base disk {digest(image)}",
            f"add name b 1 of tenant blue to base disk {digest(image)}",
        ]
    assert result.base is not None
    assert result.base.tenants() == ["blue", "default"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_name_for_other_bytes_is_an_error_with_both_digests(run: Run, image: t.Any, pools: dict[str, Store], check_mode: bool) -> None:
    taken = put_base(pools["two"], refer=[references.name_of("default", "debian", "12")])
    with pytest.raises(NameTaken) as error:
        run(check_mode, src=image, name="debian", version="12")
    assert taken.sha256 in error.value.message
    assert digest(image) in error.value.message
    assert pools["one"].ids() == []
    assert pools["one"].referred_ids() == []
    assert leftovers(pools["one"]) == []


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("consume", [True, False])
def test_another_digest_is_an_error_and_leaves_nothing(run: Run, image: t.Any, store: Store, check_mode: bool, consume: bool) -> None:
    with pytest.raises(DigestMismatch) as error:
        run(check_mode, src=image, sha256="0" * 64, consume=consume)
    assert "0" * 64 in error.value.message
    assert digest(image) in error.value.message
    assert store.ids() == store.referred_ids() == leftovers(store) == []
    assert image.exists()


def test_a_known_digest_needs_no_source(run: Run, image: t.Any) -> None:
    base = run(src=image).base
    assert base is not None
    result = run(src=image.parent / "gone.raw", sha256=base.sha256)
    assert not result.changed
    assert not run(url="https://203.0.113.1/x", sha256=base.sha256).changed


def test_what_another_pool_has_is_cloned(run: Run, image: t.Any, pools: dict[str, Store], qemu_runner: FakeQemu) -> None:
    base = run(src=image, name="debian", version="12").base
    assert base is not None
    image.unlink()
    result = run(pool="two", src=image, sha256=base.sha256, name="debian", version="12")
    assert result.actions == [f"clone base disk {base.sha256} from pool one to pool two"]
    assert result.base is not None
    assert result.base.metadata == base.metadata
    assert result.base.pool == "two"
    assert transfer.verify(result.base) == ""


def test_other_formats_are_converted_once(run: Run, tmp_path: t.Any, qemu_runner: FakeQemu) -> None:
    source = tmp_path / "a.vhdx"
    source.write_bytes(b"vhdxfile".ljust(4096, b"\0"))
    os.utime(source, (1, 1))
    first = run(src=source)
    assert first.base is not None
    assert first.base.metadata["source_sha256"] == digest(source)
    assert first.base.metadata["imported_from"]["image_format"] == "vhdx"
    assert first.base.image_format == "qcow2"
    second = tmp_path / "b.vhdx"
    second.write_bytes(source.read_bytes())
    for again in (run(src=source), run(src=second), run(src="x", sha256=digest(source))):
        assert not again.changed
    assert qemu_runner.commands().count("convert") == 1


def test_two_sources_that_convert_to_the_same_are_both_remembered(run: Run, tmp_path: t.Any, qemu_runner: FakeQemu, store: Store) -> None:
    for number in (1, 2, 2):
        source = tmp_path / f"{number}.vhdx"
        source.write_bytes(b"vhdxfile%d".ljust(4096, b"\0") % number)
        base = run(src=source).base
    assert qemu_runner.commands().count("convert") == 2
    assert base is not None and import_record.sources_of(store) == {base.sha256: [digest(source)]}


def test_a_source_others_can_write_is_converted_from_a_copy(run: Run, tmp_path: t.Any, qemu_runner: FakeQemu) -> None:
    source = tmp_path / "a.vhdx"
    source.write_bytes(b"vhdxfile".ljust(4096, b"\0"))
    source.chmod(0o666)
    run(src=source)
    (convert,) = [call for call in qemu_runner.calls if call[0] == "convert"]
    assert str(source) not in " ".join(convert)
    assert ".import-" in " ".join(convert)


@pytest.mark.parametrize("command", ["check", "convert"])
def test_a_failed_conversion_leaves_nothing(run: Run, tmp_path: t.Any, store: Store, qemu_runner: FakeQemu, command: str) -> None:
    source = tmp_path / "a.vhdx"
    source.write_bytes(b"vhdxfile".ljust(4096, b"\0"))
    qemu_runner.fail = (command, 1, "qemu-img: Could not open: broken")
    with pytest.raises(FleetError, match="broken"):
        run(src=source)
    assert store.ids() == store.referred_ids() == leftovers(store) == []


def test_a_damaged_qcow2_is_refused(run: Run, tmp_path: t.Any, store: Store, qemu_runner: FakeQemu) -> None:
    (tmp_path / "a.qcow2").write_bytes(qcow2())
    qemu_runner.check_answer = (2, '{"corruptions": 5}', "ERROR beyond the end\n")
    for check_mode in (True, False):
        with pytest.raises(
            DamagedImage, match=r"is damaged or cut off: qemu-img check finds 5 corruptions: ERROR beyond the end. Get it again"
        ):
            run(check_mode, src=tmp_path / "a.qcow2")
    assert store.ids() == leftovers(store) == []


def test_hostile_images_never_reach_qemu(run: Run, tmp_path: t.Any, qemu_runner: FakeQemu) -> None:
    for number, data in enumerate((qcow2(backing="/etc/shadow"), qcow2(data_file="/etc/shadow", features=4))):
        path = tmp_path / f"{number}.qcow2"
        path.write_bytes(data)
        for check_mode in (True, False):
            with pytest.raises(UnsafeImage):
                run(check_mode, src=path)
    assert qemu_runner.calls == []


def test_a_child_gets_its_parent_in_the_store(run: Run, tmp_path: t.Any, store: Store, qemu_runner: FakeQemu) -> None:
    root = put_base(store)
    child = tmp_path / "child.qcow2"
    child.write_bytes(qcow2(backing="/etc/shadow", backing_format="raw"))
    result = run(src=child, parent=root.sha256)
    assert result.base is not None
    assert result.base.chain == (root.sha256, result.base.sha256)
    with open(result.base.path, "rb") as file:
        head = file.read()
    assert f"../{root.sha256}/disk".encode() in head
    assert b"/etc/shadow" not in head
    assert qemu_runner.commands() == ["rebase", "check"]
    assert not run(src=child, parent=root.sha256).changed
    with pytest.raises(BaseMissing):
        run(src=child, parent="0" * 64)


def test_consumed_sources_are_gone_after_success_only(run: Run, image: t.Any, store: Store, qemu_runner: FakeQemu) -> None:
    inode = os.stat(image).st_ino
    result = run(src=image, consume=True)
    assert result.base is not None
    assert not image.exists()
    assert os.stat(result.base.path).st_ino == inode


def test_a_moved_source_comes_back_when_it_is_refused(run: Run, tmp_path: t.Any, qemu_runner: FakeQemu) -> None:
    (tmp_path / "a.qcow2").write_bytes(qcow2())
    qemu_runner.check_answer = (2, "", "broken\n")
    with pytest.raises(DamagedImage):
        run(src=tmp_path / "a.qcow2", consume=True)
    assert (tmp_path / "a.qcow2").read_bytes() == qcow2()


def test_hard_link_only_when_asked(run: Run, image: t.Any, tmp_path: t.Any) -> None:
    base = run(src=image).base
    assert base is not None
    assert os.stat(base.path).st_nlink == 1
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(1024))
    linked = run(src=other, method="hard_link").base
    assert linked is not None
    assert os.stat(linked.path).st_ino == os.stat(other).st_ino
    attributes.set_immutable(str(other), False)


def test_adoption(run: Run, image: t.Any, tmp_path: t.Any, store: Store) -> None:
    assert run(src=tmp_path / "none.raw", sha256=digest(image), adopt=True).base is None
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(1024))
    for check_mode in (True, False):
        result = run(check_mode, src=other, sha256=digest(image), adopt=True)
        assert (result.base, result.changed) == (None, False)
    assert store.ids() == store.referred_ids() == leftovers(store) == []
    original = run(src=image, pool="two").base
    assert original is not None
    file_trees.remove_tree(os.path.dirname(original.directory))
    record = {**original.metadata, "imported_at": "2020-01-01T00:00:00Z"}
    adopted = run(src=image, sha256=digest(image), adopt=True, metadata=record)
    assert adopted.base is not None
    assert adopted.base.metadata == record


def test_a_full_disk_leaves_nothing(run: Run, image: t.Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sparse_copy, "write_at", full)
    with pytest.raises(NoSpace):
        run(src=image)
    assert store.ids() == store.referred_ids() == leftovers(store) == []


def test_a_failure_while_publishing_leaves_nothing(run: Run, image: t.Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(attributes, "protect", full)
    with pytest.raises(NoSpace):
        run(src=image, consume=True)
    assert store.ids() == store.referred_ids() == leftovers(store) == []
    assert image.exists()


def test_references_come_before_the_base(run: Run, image: t.Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def watched(source: str, target: str) -> None:
        if target == store.base_directory(digest(image)):
            assert [item.kind for item in store.references(digest(image))] == ["name", "tenant"]
            seen.append(target)
        rename(source, target)

    seen: list[str] = []
    monkeypatch.setattr(os, "rename", watched)
    run(src=image, name="a", version="1")
    assert len(seen) == 1


def test_two_imports_at_once_copy_once(run: Run, image: t.Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    original = transfer.copy_digested
    started, go_on = threading.Event(), threading.Event()

    def counted(*arguments: t.Any) -> t.Any:
        copies.append(arguments)
        started.set()
        go_on.wait(10)
        return original(*arguments)

    monkeypatch.setattr(transfer, "copy_digested", counted)
    results: list[Result] = []
    threads = [threading.Thread(target=lambda: results.append(run(src=image, sha256=digest(image)))) for _run in range(2)]
    threads[0].start()
    assert started.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(copies) == 1
    assert sorted(result.changed for result in results) == [False, True]


def test_remains_of_a_killed_import_are_swept(run: Run, image: t.Any, store: Store) -> None:
    store.prepare()
    for name in (".import-" + "0" * 32, ".discarded-1-1"):
        os.mkdir(os.path.join(store.directory, ".partial", name))
        with open(os.path.join(store.directory, ".partial", name, "disk"), "wb") as file:
            file.write(b"x")
    run(src=image)
    assert leftovers(store) == []


@pytest.mark.parametrize("src", ["../disk.raw", "a/../../disk.raw", "link/disk.raw"])
def test_a_relative_source_stays_in_the_pool(run: Run, image: t.Any, store: Store, src: str) -> None:
    os.symlink(image.parent, os.path.join(store.pool_path, "link"))
    with pytest.raises(InvalidOption):
        run(src=src)


def test_a_relative_source_is_meant_from_the_pool(run: Run, store: Store) -> None:
    with open(os.path.join(store.pool_path, "a.raw"), "wb") as file:
        file.write(bytes(512))
    assert run(src="a.raw").base is not None


def test_only_regular_files(run: Run, tmp_path: t.Any) -> None:
    os.mkfifo(tmp_path / "fifo.raw")
    with pytest.raises(UnsafePath):
        run(src=tmp_path / "fifo.raw")
    with pytest.raises(FleetError, match="does not exist"):
        run(src=tmp_path / "none.raw")


@pytest.mark.parametrize("more", [{"mirrors": ("https://h/x",)}, {"checksum": "a" * 64}])
def test_what_a_file_url_goes_without(run: Run, image: t.Any, more: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidOption, match=r"url: .* mirrors and checksum belong to http and https; of a file give sha256"):
        run(url=f"file://{image}", **more)


METHODS = {
    "hard_link": (os, "link", "disk.raw cannot be hard linked into pool one .Invalid cross-device link.; that needs one file system"),
    "reflink": (fcntl, "ioctl", "cannot be reflinked into pool one .file system .*.; set method to auto or copy, or use XFS or Btrfs"),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_the_storage_cannot(run: Run, image: t.Any, store: Store, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    module, name, told = METHODS[method]

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(module, name, refuse)
    with pytest.raises(FleetError, match=told):
        run(src=image, method=method)
    assert store.ids() == leftovers(store) == []


def test_a_source_that_is_exchanged_is_not_taken(run: Run, image: t.Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def exchange(source: str, target: str, **options: t.Any) -> None:
        os.rename(source, f"{source}.old")
        image.write_bytes(b"other".ljust(300 * 1024, b"\0"))
        link(source, target, **options)

    monkeypatch.setattr(os, "link", exchange)
    with pytest.raises(UnsafePath, match=r"disk.raw was replaced while it was imported"):
        run(src=image, method="hard_link")
    assert store.ids() == leftovers(store) == []


def test_a_source_that_changes_meanwhile_is_refused(run: Run, image: t.Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.preadv

    def change(descriptor: int, *rest: t.Any) -> int:
        with open(image, "r+b") as file:
            file.write(b"other")
        return read(descriptor, *rest)

    monkeypatch.setattr(os, "preadv", change)
    with pytest.raises(DamagedImage, match=r"disk.raw changed while it was read; import it when no program writes it"):
        run(src=image)
    assert store.ids() == leftovers(store) == []
