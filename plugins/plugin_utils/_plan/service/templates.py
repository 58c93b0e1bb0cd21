# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Groups of machines that are copies of a machine: what hosts tell of its template becomes their disks and their hardware.

A template that a host has stands, whatever its machine has become since. Without one, the machine's host makes it, when bases are
imported. The manifest's own keys stand over those of the template.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ....module_utils._machine.hardware import drives, table
from ..placement import Observed, answers
from .machine_search import maybe_elsewhere
from .manifest import GIB, ManifestError, parse_manifest
from .report import one_line

Manifest = dict[str, t.Any]
# One of the manifest's ``sources``, a template's content, a group as the manifest has it, and a disk of a template.
Asked = Mapping[str, t.Any]
Content = Mapping[str, t.Any]
Group = Mapping[str, t.Any]
Disk = Mapping[str, t.Any]
# What each host tells of a source.
Told = Mapping[str, Mapping[str, t.Any]]

# What a host's answer cannot bring into another host's machines: XML of any kind, and where on a host they are.
_HARDWARE = [name for name in table.NAMES if name not in ("attached", "xml", "drives", "description", "host_devices", "shares")]
_SMALLEST = 0.001  # GiB; see the manifest's schema


def with_templates(manifest: Manifest, hosts: Observed) -> Manifest:
    """The manifest with the disks, hardware and networks of the groups' sources; the same where no group has one.

    :param hosts: what survey_info returned of each, asked with the manifest's ``sources``.
    :returns: groups from a source have ``template`` besides: ``{"name", "version", "content", "variables"}``.
    :raises ManifestError: what is wrong, of all groups.
    """
    if not manifest.get("sources"):
        return manifest
    places = {group["name"]: group["place"] for group in manifest["machines"]}
    problems: list[str] = []
    found = {asked["name"]: _find(asked, hosts, places[asked["name"]], problems) for asked in manifest["sources"]}
    if problems:
        raise ManifestError(problems)
    document = manifest["document"]
    bases: dict[str, dict[str, t.Any]] = {}
    groups = []
    for group in document["machines"]:
        template = found.get(group["name"])
        if template is None:
            groups.append(group)
            continue
        version = template.asked["version"]
        for disk in template.content["disks"]:
            base = bases.setdefault(disk["base"], {"name": disk["base"], "version": version})
            if base["version"] != version:
                problems.append(
                    f"{places[group['name']]}.source: version {version} of the base {disk['base']} is wanted here, and version "
                    f"{base['version']} by another group; a manifest has one version of a base, so give each its own manifest"
                )
        groups.append(_group(group, template.content))
    if problems:
        raise ManifestError(problems)
    whole = {**document, "bases": [*document.get("bases", []), *bases.values()], "machines": groups}
    parsed = parse_manifest(whole, manifest["origin"], manifest["differencing"])
    _say_where(parsed, found, places)
    return {**parsed, "sources": manifest["sources"]}


class _Found(t.NamedTuple):
    """:param live: whether the template is still to be made."""

    asked: Asked
    content: Content
    live: bool


def _find(asked: Asked, hosts: Observed, place: str, problems: list[str]) -> _Found | None:
    told = {host: (facts.get("sources") or {}).get(asked["name"]) or {} for host, facts in hosts.items()}
    title = f"{asked['template']} {asked['version']}"
    stored = {host: one["stored"] for host, one in told.items() if one.get("stored")}
    different = [host for host, content in stored.items() if content != next(iter(stored.values()))]
    if different:
        first = next(iter(stored))
        problems.append(f"{place}.source: the template {title} on {first} is not that on {', '.join(different)}; give another version")
        return None
    if stored:
        return _Found(asked, next(iter(stored.values())), False)
    return _live(asked, hosts, told, place, problems)


def _live(asked: Asked, hosts: Observed, told: Told, place: str, problems: list[str]) -> _Found | None:
    """The machine of which the template is to be made."""
    silent = [host for host, facts in hosts.items() if not answers(facts) or facts.get("sources") is None]
    unknown = f"; not asked: {', '.join(silent)}" if silent else ""
    meant = {host: one for host, one in told.items() if asked.get("host") in (None, host)}
    if asked.get("host") and asked["host"] not in hosts:
        problems.append(f"{place}.source.host: {asked['host']!r} is not a host of this run; these are: {', '.join(hosts)}")
        return None
    refused = [f"{host}: {one_line(one['problem'])}" for host, one in meant.items() if one.get("problem")]
    live = {host: one["live"] for host, one in meant.items() if one.get("live")}
    if refused:
        problems.append(f"{place}.source: {'; '.join(refused)}")
    elif len(live) == 1 and silent:
        title = f"the template {asked['template']} {asked['version']}"
        problems.append(f"{place}.source: {maybe_elsewhere(title, silent)}")
    elif len(live) == 1:
        return _Found(asked, next(iter(live.values())), True)
    elif live:
        problems.append(f"{place}.source.machine: {asked['machine']} is on {' and on '.join(live)}; remove the wrong one first")
    else:
        what = (
            f"the template {asked['template']} {asked['version']} is on no host that could be asked"
            if not (asked.get("machine") or asked.get("domain"))
            else f"{asked.get('machine') or asked.get('domain')} is on no host that could be asked, and neither is its template"
            f" {asked['template']} {asked['version']}"
        )
        problems.append(f"{place}.source: {what}{unknown}")
    return None


def _group(group: Group, content: Content) -> dict[str, t.Any]:
    own = {key: value for key, value in group.items() if key != "source"}
    hardware = {key: value for key, value in content["hardware"].items() if key in _HARDWARE}
    template = {key: content[key] for key in ("cpus", "memory_mib", "networks")}
    customized = any(key in own for key in ("customize", "cloud_init", "ignition", "cloudbase"))
    seeded: dict[str, t.Any] = {"cloud_init": {}} if content.get("seeded") and not customized else {}
    return {**template, **hardware, **seeded, "disks": [_disk(disk) for disk in content["disks"]], **own}


def _disk(disk: Disk) -> dict[str, t.Any]:
    size = disk["size_bytes"] / GIB
    connected = {name: disk[name] for name in drives.NAMES if name in disk}
    return {"name": disk["name"], "base": disk["base"], **({"size_gib": size} if size >= _SMALLEST else {}), **connected}


def _say_where(parsed: Manifest, found: Mapping[str, _Found | None], places: Mapping[str, str]) -> None:
    """What a manifest has no words for: of which machine bases are captured, and what else machines get."""
    bases = {base["name"]: base for base in parsed["bases"]}
    for group in parsed["machines"]:
        template = found.get(group["name"])
        if template is None:
            continue
        asked, content = template.asked, template.content
        firmware = group["hardware"].get("firmware")
        fits = firmware == content["hardware"].get("firmware")
        group["template"] = {
            "name": asked["template"],
            "version": asked["version"],
            "content": dict(content),
            "variables": content.get("variables") if fits else None,
        }
        for disk in content["disks"] if template.live else ():
            base = bases[disk["base"]]
            base["place"] = places[group["name"]]
            base["source"].update(
                kind="machine",
                machine=asked.get("machine"),
                service=asked.get("service"),
                domain=asked.get("domain"),
                host=asked.get("host"),
                disk=disk["name"],
                template=asked["template"],
            )
