# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a seed contains, a NoCloud image or an Ignition configuration: pure, from the user's wish to the bytes of its files."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from dataclasses import dataclass, field
from email import message_from_string
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from .._errors import FleetError, InvalidOption
from .cloudbase import cloudbase_problems, meta_data_problems
from .ignition import ignition_problems
from .media import CLOUD_INIT, CLOUDBASE, IGNITION, IMAGES
from .owner import Owner
from .report_script import report_script
from .user_data import kind_of, user_data_problems

_NARROW = re.compile("[\x7f-\uffff]")


@dataclass(frozen=True)
class SeedWish:
    """One machine's seed as the user wants it. Contents may be secret: never part of a message.

    :param kind: of ``media.KINDS``.
    :param config: for Ignition, which takes nothing else.
    :param network_data: for cloudbase-init, as OpenStack tells it, beside ``meta_data`` and ``user_data``.
    """

    owner: Owner
    pool_path: str
    meta_data: t.Mapping[str, t.Any] = field(default_factory=dict)
    user_data: t.Any = None
    vendor_data: t.Any = None
    network_config: t.Mapping[str, t.Any] | None = None
    report: bool = True
    kind: str = CLOUD_INIT
    config: t.Any = None
    network_data: t.Mapping[str, t.Any] | None = None

    @property
    def image(self) -> str:
        """The name of its file."""
        return IMAGES[self.kind]

    @property
    def reports(self) -> bool:
        """Whether the guest is asked to say that it has come up; cloud-init alone runs the script for it."""
        return self.report and self.kind == CLOUD_INIT

    @property
    def hostname(self) -> str:
        """The name that the guest is expected to report."""
        name = self.meta_data.get("local-hostname", self.owner.machine)
        if isinstance(self.user_data, dict):
            name = self.user_data.get("hostname", self.user_data.get("fqdn", name))
        elif isinstance(self.user_data, str):
            # No YAML parser may be assumed here; these keys stand at the beginning of a line of cloud-config.
            said = dict(_NAMES_IN_TEXT.findall(self.user_data))
            name = said.get("hostname", said.get("fqdn", name))
        return str(name)


_NAMES_IN_TEXT = re.compile(r"^(hostname|fqdn):[ \t]*[\"']?([A-Za-z0-9.-]+)", re.MULTILINE)


class NotUnderstood(InvalidOption):
    """User data that cloud-init will not understand. Its value may be secret, so only what is wrong with it is told."""

    def __init__(self, option: str, problems: t.Sequence[str]) -> None:
        FleetError.__init__(self, f"{option}: {'; '.join(problems)}", option=option)


def check_seed(wish: SeedWish, option: str) -> None:
    """Raise InvalidOption for what no guest could use."""
    if wish.kind == IGNITION:
        _check_parts(wish, option, ("config",))
        problems = ignition_problems(wish.config)
        if problems:
            raise NotUnderstood(f"{option}.config", problems)
        return
    if wish.kind == CLOUDBASE:
        _check_cloudbase(wish, option)
        return
    _check_parts(wish, option, ("meta_data", "user_data", "vendor_data", "network_config"))
    if "instance-id" in wish.meta_data:
        raise InvalidOption(
            f"{option}.meta_data",
            "instance-id",
            "this key is derived from tenant, service and machine and cannot be chosen",
        )
    for name in ("user_data", "vendor_data"):
        problems = user_data_problems(getattr(wish, name))
        if problems:
            raise NotUnderstood(f"{option}.{name}", problems)
    if wish.network_config is not None and not {"version", "network"} & set(wish.network_config):
        raise InvalidOption(
            f"{option}.network_config",
            sorted(wish.network_config),
            "a mapping with the key version (network configuration version 2) is needed",
        )


def _check_cloudbase(wish: SeedWish, option: str) -> None:
    _check_parts(wish, option, ("meta_data", "user_data", "network_data"))
    if "uuid" in wish.meta_data:
        raise NotUnderstood(f"{option}.meta_data", ["uuid is derived from tenant, service and machine and cannot be chosen"])
    for name, problems in (("meta_data", meta_data_problems(wish.meta_data)), ("user_data", cloudbase_problems(wish.user_data))):
        if problems:
            raise NotUnderstood(f"{option}.{name}", problems)


_PARTS = ("meta_data", "user_data", "vendor_data", "network_config", "config", "network_data")


def _check_parts(wish: SeedWish, option: str, accepted: t.Sequence[str]) -> None:
    for name in _PARTS:
        if name not in accepted and getattr(wish, name):
            raise NotUnderstood(f"{option}.{name}", [f"customize {wish.kind} takes {', '.join(accepted)}; leave it out"])


def seed_files(wish: SeedWish, token: str) -> dict[str, bytes]:
    """Content of the medium, by file name.

    :param token: what the guest's report must contain.
    """
    if wish.kind == IGNITION:
        return {wish.image: wish.config.encode() if isinstance(wish.config, str) else _json(wish.config)}
    if wish.kind == CLOUDBASE:
        return _config_drive(wish)
    meta_data = {"local-hostname": wish.owner.machine, **wish.meta_data, "instance-id": wish.owner.instance_id}
    files = {"meta-data": _json(meta_data), "user-data": _text(wish.user_data)}
    vendor_data = _vendor_data(wish, token)
    if vendor_data:
        files["vendor-data"] = vendor_data.encode()
    if wish.network_config is not None:
        files["network-config"] = _json(wish.network_config)
    return files


def _config_drive(wish: SeedWish) -> dict[str, bytes]:
    """As OpenStack's configuration drive has it."""
    machine = wish.owner.machine
    files = {"meta_data.json": _json({"hostname": machine, "name": machine, **wish.meta_data, "uuid": wish.owner.instance_id})}
    if wish.user_data:
        files["user_data"] = _text(wish.user_data)
    if wish.network_data is not None:
        files["network_data.json"] = _json(wish.network_data)
    return {f"openstack/latest/{name}": content for name, content in files.items()}


def seed_digest(wish: SeedWish) -> str:
    """SHA-256 of all content except the token: equal digests mean equal wishes."""
    digest = hashlib.sha256()
    for name, content in sorted(seed_files(wish, "").items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def seed_outline(wish: SeedWish) -> dict[str, t.Any]:
    """What may be shown of a seed: names of keys and kinds of text, no values."""
    outline: dict[str, t.Any] = {"hostname": wish.hostname, "report": wish.reports}
    if wish.kind != CLOUD_INIT:
        outline["customize"] = wish.kind
    for name in _PARTS:
        value = getattr(wish, name)
        if wish.kind == IGNITION and name != "config":
            continue
        if isinstance(value, str) and wish.kind != CLOUD_INIT:
            outline[name] = "text"
        elif isinstance(value, str):
            outline[name] = f"text ({kind_of(value) or 'multipart'})"
        elif value is not None:
            outline[name] = sorted(value)
    return outline


def _json(value: t.Any) -> bytes:
    """JSON is YAML, and hosts need no YAML library for it.

    Almost: PyYAML does not join the pairs in which JSON escapes characters beyond 16 bits, so these stay as they are.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _NARROW.sub(lambda found: f"\\u{ord(found.group()):04x}", text).encode() + b"\n"


def _text(value: t.Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return b"#cloud-config\n" + _json(value or {})


def _vendor_data(wish: SeedWish, token: str) -> str:
    script = report_script(token, wish.owner.instance_id) if wish.reports else ""
    if wish.vendor_data is None:
        return script
    users = _text(wish.vendor_data).decode()
    if not script:
        return users
    # Not random: equal content must give equal bytes.
    both = MIMEMultipart(boundary=f"=={hashlib.sha256(users.encode()).hexdigest()[:32]}==")
    both.attach(_part(users))
    both.attach(_part(script))
    return both.as_string()


def _part(text: str) -> Message:
    kind = kind_of(text)
    if kind is None:
        message = message_from_string(text)
        if not message.is_multipart():
            raise FleetError(
                "vendor_data: the text's first line is none that cloud-init knows (such as #cloud-config or #!/bin/sh), "
                "and it is no MIME multipart message",
                option="vendor_data",
            )
        return message
    return MIMEText(text, kind, "us-ascii" if all(ord(c) < 128 for c in text) else "utf-8")
