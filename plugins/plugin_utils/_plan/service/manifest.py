# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""From the text of a service manifest to a checked, complete structure.

Everything that the file alone can be wrong about is found here, all at once, and named with its place (file and
line where the manifest came as text); what depends on the hosts is found by the placement.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._errors import FleetError
from ....module_utils._machine.hardware import attached, drives, table
from ....module_utils._names import NAME_RULE, is_name
from ....module_utils._urls import public_url
from ..json_data import number
from ..json_schema import mistakes
from . import customization, machine_values, resources, scale_rules, yaml_text
from .manifest_schema import GROUP_SOURCE_RULE, MANIFEST, SOURCE_FORMS, SOURCE_RULE
from .networks import network_mistakes
from .start_order import after_mistakes
from .text_values import as_meant

GIB = 1024**3

Path = yaml_text.Path
# The manifest as it was written, or a part of it.
Document = Mapping[str, t.Any]


class ManifestError(FleetError):
    """Everything that is wrong with a manifest, each with its place."""

    kind = "invalid_manifest"

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors), errors=list(errors))


class Places:
    """Where in the manifest something stands: ``shop.yml:14: machines[0].memory_mib``."""

    def __init__(self, origin: str, lines: Mapping[Path, int]) -> None:
        self.origin = origin
        self._lines = lines

    def __call__(self, *path: str | int) -> str:
        line = next((self._lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._lines), None)
        at = f"{self.origin}:{line}" if line else self.origin
        return f"{at}: {yaml_text.dotted(path)}" if path else at


def parse_manifest(source: str | Mapping[str, t.Any], origin: str = "manifest", differencing: bool = True) -> dict[str, t.Any]:
    """A checked manifest with all defaults filled in.

    :param source: YAML text, or the parsed mapping.
    :param origin: what messages call it, usually the file's name.
    :param differencing: what disks over a base are where the manifest does not say so.
    :returns: ``format, service, tenant, origin, bases [{name, version, source {kind, …}, sha256, pool | None, place}], machines
        [{name, hosts | None, per_host | None, count | None, cpus, memory_mib, hardware {key: value}, disks [{name, base | None,
        size_bytes | None, differencing, pool | None, pool_labels, backend, place}], placement, networks,
        cloud_init | None, ignition or cloudbase (where that is used), after, health | None, seed_digest | None, place}], on_failure``;
        every ``place`` is how a message names that part.
    :raises ManifestError: with every mistake found.
    """
    document, places = _read(source, origin)
    errors = list(dict.fromkeys(_schema_errors(document, places)))
    if not errors:
        errors = [*_meaning_errors(document, places)]
    if errors:
        raise ManifestError(errors)
    return _normalised(_with_whole_numbers(document, MANIFEST), places, differencing)


def _with_whole_numbers(value: object, schema: Mapping[str, t.Any]) -> t.Any:
    """The same with whole numbers where the schema wants them: to it 2.0 is one, but it counts nothing."""
    if schema.get("type") == "integer" and isinstance(value, float):
        return int(value)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return {key: _with_whole_numbers(one, known.get(key, {})) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(one, schema.get("items", {})) for one in value]
    return value


def _read(source: str | Mapping[str, t.Any], origin: str) -> tuple[t.Any, Places]:
    """The document in plain types that JSON can hold, and where its parts stand."""
    lines: dict[Path, int] = {}
    if isinstance(source, str):
        try:
            source, lines = yaml_text.read(source, origin)
        except yaml_text.YamlMistake as mistake:
            raise ManifestError(mistake.mistakes) from mistake
        if source is None:
            raise ManifestError([f"{origin}: the manifest is empty; a mapping with format, service and machines is wanted"])
    places = Places(origin, lines)
    foreign = [f"{places(*path)}: {problem}" for path, problem in yaml_text.foreign_values(source)]
    if foreign:
        raise ManifestError(foreign)
    return as_meant(plain(source), MANIFEST), places


# What a request for one machine has beside a group's keys, and what its bases need not have.
_REQUEST_KEYS = ("bases", "tenant")
_BASE_FACTS = ("size_bytes", "virtual_size_bytes", "layers")
_NO_SOURCE = {"host": "-", "path": "-"}


def parse_request(request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A manifest of one machine, from a parsed manifest or from the machine alone.

    :param request: as parse_manifest returns it, or a group's mapping with ``bases`` (name, version, and what is known of its size).
    :raises ManifestError: with every mistake found.
    """
    if not isinstance(request, Mapping):
        raise ManifestError([f"request: {_shown(request)} is not accepted; a manifest, or one machine as a mapping, is wanted"])
    if "origin" in request and request.get("machines"):
        return dict(request)
    bases = request.get("bases", [])
    known = [base if isinstance(base, Mapping) else {} for base in bases] if isinstance(bases, list) else []
    document = {
        "format": 1,
        "service": "request",
        "tenant": request.get("tenant", "default"),
        "bases": [{"source": _NO_SOURCE, **{k: v for k, v in base.items() if k not in _BASE_FACTS}} for base in known],
        "machines": [{"name": "machine", "count": 1, **{k: v for k, v in request.items() if k not in _REQUEST_KEYS}}],
    }
    parsed = parse_manifest(document, "request")
    for base, given in zip(parsed["bases"], known, strict=True):
        base["source"]["kind"] = "url" if base["source"]["host"] == "-" else base["source"]["kind"]
        for key in ("size_bytes", "virtual_size_bytes"):
            number(f"request: {base['place']}.{key}", given.get(key) or 0)
        base.update({key: given[key] for key in _BASE_FACTS if key in given})
    return parsed


def plain(value: object) -> t.Any:
    """The value in plain dicts, lists and strings: templating engines hand over subclasses and lazy containers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    return value


# --- checking ----------------------------------------------------------------------------------


def _schema_errors(document: object, places: Places) -> Iterator[str]:
    for error in sorted(mistakes(MANIFEST, document), key=lambda e: [str(p) for p in e.absolute_path]):
        yield from _told(error, (), places)
    if not isinstance(document, dict) or not isinstance(document.get("bases"), list):
        return
    for index, base in enumerate(document["bases"]):
        source = base.get("source") if isinstance(base, dict) else None
        if not isinstance(source, dict):
            continue
        form = next((form for form in SOURCE_FORMS if form in source), None)
        path: Path = ("bases", index, "source")
        if form is None:
            known = {key for one in SOURCE_FORMS.values() for key in one["properties"]}
            hints = "".join(_hint(key, sorted(known)) for key in source if key not in known)
            yield f"{places(*path)}: {_shown(source)} is not accepted{hints}; {SOURCE_RULE}"
            continue
        for error in mistakes(SOURCE_FORMS[form], source):
            yield from _told(error, path, places, secret=bool(source.get("secret")))


def _told(error: t.Any, prefix: Path, places: Places, secret: bool = False) -> Iterator[str]:
    """One schema error as the user reads it."""
    path: Path = (*prefix, *error.absolute_path)
    schema = error.schema
    if error.validator == "additionalProperties":
        known = sorted(schema["properties"])
        for key in sorted(set(error.instance) - set(known)):
            yield f"{places(*path, key)}: unknown key{_hint(key, known)}; accepted are: {', '.join(known)}"
    elif error.validator == "required":
        missing = next((key for key in error.validator_value if key not in error.instance), "")
        only = schema.get("properties", {}).get(missing, {}).get("const")
        line = f" (write {missing}: {only})" if only is not None else ""
        yield f"{places(*path) or places()}: the key {missing} is missing{line}; needed are: {', '.join(error.validator_value)}"
    elif error.validator in ("anyOf", "oneOf") and isinstance(error.instance, dict) and _mapping_form(error) is not None:
        form = _mapping_form(error)
        for inner in error.context:
            if inner.schema_path[0] == form:
                yield from _told(inner, prefix, places)
    elif error.validator in ("anyOf", "oneOf") and all(set(option) == {"required"} for option in error.validator_value):
        keys = [key for option in error.validator_value for key in option["required"]]
        if isinstance(error.instance, dict):  # of anything else, its type is told
            how_many = "at least" if error.validator == "anyOf" else "exactly"
            yield f"{places(*path)}: {how_many} one of {', '.join(keys[:-1])} and {keys[-1]} is wanted"
    else:
        accepted = schema.get("description", error.message)
        examples = schema.get("examples") if error.validator in ("type", "oneOf", "minItems") else None
        written = f"; for example {_written(path, examples[0])}" if examples else ""
        hint = _hint(error.instance, error.validator_value) if error.validator == "enum" else ""
        yield f"{places(*path)}: {_shown(error.instance, secret, path)} is not accepted{hint}; {accepted}{written}"


def _mapping_form(error: t.Any) -> int | None:
    """Which of several forms a mapping was meant to have."""
    return next((at for at, option in enumerate(error.validator_value) if option.get("type") == "object"), None)


def _hint(given: object, accepted: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, accepted, n=1) if isinstance(given, str) else []
    return f" (did you mean {near[0]}?)" if near else ""


def _written(path: Path, example: str) -> str:
    """The example as it stands in a manifest: after its key, or as an item of a list."""
    if not path:
        return example
    return f"- {example}" if isinstance(path[-1], int) else f"{path[-1]}: {example}"


#: What machines are customised with: passwords, keys and tokens may stand anywhere in it.
_CONFIDENTIAL = frozenset(("cloud_init", "cloudbase", "ignition"))


def _shown(value: object, secret: bool = False, path: Path = ()) -> str:
    if isinstance(value, (str, list, Mapping)) and not _CONFIDENTIAL.isdisjoint(path):
        return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "a mapping"
    text = repr(_without_secrets(value, secret))
    return text if len(text) <= 80 else text[:77] + "..."


def _without_secrets(value: object, secret: bool = False) -> object:
    """The value with what is shown of the URLs in it."""
    if isinstance(value, Mapping):
        hidden = secret or bool(value.get("secret"))
        return {key: "…" if key in _CONFIDENTIAL else _without_secrets(item, hidden) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item, secret) for item in value]
    # Also of what was meant as one, such as https:/host.
    is_url = isinstance(value, str) and "/" in value and (secret or "://" in value or "?" in value or "@" in value)
    return public_url(str(value), secret) if is_url else value


def _meaning_errors(document: dict[str, t.Any], places: Places) -> Iterator[str]:
    bases = [base["name"] for base in document.get("bases", [])]
    yield from _twice(bases, ("bases",), places)
    for index, base in enumerate(document.get("bases", [])):
        yield from _source_errors(base.get("source") or {}, ("bases", index, "source"), places)
        parent = base.get("parent")
        later = [(one["name"], one["version"]) for one in document["bases"][index:]]
        if parent and (parent["name"], parent["version"]) in later:
            title = f"{parent['name']} {parent['version']}"
            yield f"{places('bases', index, 'parent')}: {title} stands at its child or after it; list a parent before its children"
    yield from _twice([group["name"] for group in document["machines"]], ("machines",), places)
    for at_group, at, problem in after_mistakes(document["machines"]):
        yield f"{places('machines', at_group, 'after', at)}: {problem}"
    for at_group, at, key, problem in network_mistakes(document["machines"]):
        yield f"{places('machines', at_group, 'networks', at, key)}: {problem}"
    for index, group in enumerate(document["machines"]):
        path: Path = ("machines", index)
        yield from _twice([disk["name"] for disk in group.get("disks", [])], (*path, "disks"), places)
        yield from _group_source_errors(group, document["service"], path, places)
        if "count" in group and "per_host" in group:
            yield f"{places(*path, 'count')}: count and per_host exclude each other; give the total or the number on each host"
        if "hosts" not in group and "count" not in group:
            yield f"{places(*path)}: say where: hosts (with per_host), or count"
        for key, problem in table.combined_mistakes(
            {"cpus": 1, "memory_mib": 1024, **group, "drives": drives.of_disks(group.get("disks", []))}
        ):
            yield f"{places(*path, 'disks' if key == 'drives' else key)}: {problem}"
        yield from (f"{places(*path, *inner)}: {problem}" for inner, problem in scale_rules.mistakes(group))
        yield from _placement_errors(document, group, (*path, "placement"), places)
        if isinstance(group.get("hosts"), list):
            for at, host in enumerate(group["hosts"]):
                if host in group["hosts"][:at]:
                    yield f"{places(*path, 'hosts', at)}: {host!r} stands twice"
        yield from (f"{places(*path, *inner)}: {problem}" for inner, problem in machine_values.hardware_mistakes(group))
        if group.get("health", {}).keys() & {"ports", "http"} and group.get("networks") == []:
            yield f"{places(*path, 'health')}: {group['name']} has no network, so nothing can connect to it; give it one, or ask a command"
        sample = machine_values.sample_of(group["name"], document)
        yield from (f"{places(*path, *inner)}: {problem}" for inner, problem in customization.errors(group, sample))
        for at, disk in enumerate(group.get("disks", [])):
            yield from _disk_errors(disk, bases, (*path, "disks", at), places)
        if "disks" in group and all(attached.kind_of(disk) for disk in group["disks"]):
            yield f"{places(*path, 'disks')}: a machine needs a disk of its own beside them; give it one with a base or size_gib"


def _group_source_errors(group: Document, service: str, path: Path, places: Places) -> Iterator[str]:
    """What a group's source can be wrong about, beside its form."""
    source = group.get("source")
    if source is None:
        return
    at = places(*path, "source")
    if "disks" in group:
        yield f"{places(*path, 'disks')}: not accepted beside source, from which the machines have their disks; leave one of them out"
    forms = [key for key in ("machine", "domain") if key in source]
    if len(forms) == 2 or not (forms or "template" in source):
        yield f"{at}: {_shown(source)} is not accepted; {GROUP_SOURCE_RULE}"
    elif forms == ["domain"] and "host" not in source:
        yield f"{at}: the key host is missing; which host has the domain {source['domain']}?"
    elif not forms and "version" not in source:
        yield f"{at}: the key version is missing; which version of the template {source['template']}?"
    for key, of in (("service", "machine"), ("host", "domain")):
        if key in source and of not in source:
            yield f"{places(*path, 'source', key)}: it is only accepted with {of}; leave it out"
    nameable = "machine" in source or "host" in source
    if len(forms) == 1 and nameable and not is_name(template_name(source, service)):
        yield f"{at}: its template has no name; give one (template: NAME), a name has {NAME_RULE}"


def template_name(source: Document, service: str) -> str:
    """What the template of a group's source is called, where the manifest does not say it.

    :param service: of the manifest, which has the machine where no other is named.
    """
    if "template" in source:
        return str(source["template"])
    if "machine" in source:
        return f"{source.get('service', service)}.{source['machine']}"
    return f"{source['host']}.{source['domain']}"


def _disk_errors(disk: Mapping[str, t.Any], bases: Sequence[str], path: Path, places: Places) -> Iterator[str]:
    if "base" in disk and disk["base"] not in bases:
        accepted = f"the bases of this manifest are: {', '.join(bases)}" if bases else "this manifest has no bases"
        yield f"{places(*path, 'base')}: {disk['base']!r} is not a base{_hint(disk['base'], bases)}; {accepted}"
    kind = attached.kind_of(disk)
    for key in ("base", "size_gib", "differencing", "pool", "backend", "device", "block", "volume") if kind else ():
        if key in disk and key != kind:
            yield f"{places(*path, key)}: it is not accepted beside {kind}, which is used as it is; leave it out"
    if kind:
        return
    if "base" not in disk and disk.get("backend") == "reflink":
        yield f"{places(*path, 'backend')}: 'reflink' is not accepted for a disk without a base"
    if disk.get("device") == drives.CDROM:
        if "base" not in disk:
            yield f"{places(*path, 'device')}: a cdrom needs a base, which is the image in it"
        for key in ("size_gib", "backend") if "base" in disk else ():
            if key in disk:
                yield f"{places(*path, key)}: it is not accepted for a cdrom, which is as large as its image; leave it out"


def _source_errors(source: Mapping[str, t.Any], path: Path, places: Places) -> Iterator[str]:
    """Keys of a URL that a file has no use for."""
    if str(source.get("url", "")).startswith("file:"):
        for key in ("mirrors", "checksum", "ca"):
            if key in source:
                yield f"{places(*path, key)}: it is not accepted with a file: URL; give sha256 with the base instead"
    if str(source.get("url", "")).startswith("oci:"):
        for key in ("mirrors", "checksum", "compression", "secret"):
            if key in source:
                yield f"{places(*path, key)}: it is not accepted with an oci:// URL, which has its digest as @sha256:… at its end"
    algorithm, _mark, digest = str(source.get("checksum") or "").partition(":")
    wanted = {"sha256": 64, "sha384": 96, "sha512": 128}.get(algorithm)
    if wanted and "://" not in digest and len(digest) != wanted:
        yield f"{places(*path, 'checksum')}: {digest!r} is not accepted; a {algorithm} checksum has {wanted} hexadecimal digits"


def _placement_errors(document: dict[str, t.Any], group: dict[str, t.Any], path: Path, places: Places) -> Iterator[str]:
    """What a group's placement can be wrong about, beside its form."""
    rules = group.get("placement") or {}
    together = rules.get("together_with")
    names = [other["name"] for other in document["machines"]]
    for other in (together["groups"] if isinstance(together, dict) else together) or []:
        if other not in names:
            yield (
                f"{places(*path, 'together_with')}: {other!r} is not a group{_hint(other, names)};"
                f" the groups of this manifest are: {', '.join(names)}"
            )
    service = (document.get("placement") or {}).get("prefer", "spread")
    if rules.get("prefer", service) != service and "soonest" in (rules["prefer"], service):
        yield (
            f"{places(*path, 'prefer')}: {rules['prefer']!r} is not accepted beside {service!r} of the service; soonest is decided for all"
            " machines at once, so give it under placement of the service and leave it out here"
        )


def _twice(names: Sequence[str], path: Path, places: Places) -> Iterator[str]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"{places(*path, index, 'name')}: {name!r} stands twice; names are unique here"


# --- filling in --------------------------------------------------------------------------------


def _normalised(document: dict[str, t.Any], places: Places, differencing: bool) -> dict[str, t.Any]:
    machines = [_group(group, ("machines", index), places, differencing) for index, group in enumerate(document["machines"])]
    _keep_apart(machines)
    return {
        "format": 1,
        "service": document["service"],
        "tenant": document.get("tenant", "default"),
        "origin": places.origin,
        "placement": _placement(document.get("placement")),
        "on_failure": document.get("on_failure", "keep"),
        "bases": [_base(base, ("bases", index), places) for index, base in enumerate(document.get("bases", []))],
        "machines": machines,
        # What hosts are asked about before a plan is made.
        **_sources(document, differencing),
        **({"resources": asked} if (asked := resources.asked_of(machines)) else {}),
        **({"xml": asked} if (asked := [_xml_of(group, document) for group in machines if "xml" in group["hardware"]]) else {}),
    }


def _keep_apart(groups: Sequence[dict[str, t.Any]]) -> None:
    """Groups that need one device are on hosts apart, unless the manifest has a set of its own: each host has the device once."""
    for names in resources.rivals(groups):
        for group in groups:
            if group["name"] in names and group["placement"].get("anti_affinity") is True:
                group["placement"]["anti_affinity"] = f"devices of {', '.join(names)}"


def _sources(document: Document, differencing: bool) -> dict[str, t.Any]:
    """What hosts are asked for of groups that are made from a machine, and what with_templates makes the whole manifest from."""
    service = document["service"]
    found = []
    for group in document["machines"]:
        source = group.get("source")
        if source is not None:
            asked = {"name": group["name"], "template": template_name(source, service), "version": source.get("version", "1")}
            if "machine" in source:
                asked.update(machine=source["machine"], service=source.get("service", service))
            if "domain" in source:
                asked.update(domain=source["domain"], host=source["host"])
            found.append(asked)
    return {"sources": found, "document": document, "differencing": differencing} if found else {}


def _xml_of(group: Mapping[str, t.Any], document: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """As it will be for some machine."""
    own = {key: value for key, value in group["hardware"].items() if key != "attached"}
    hardware = machine_values.hardware_of(own, machine_values.sample_of(group["name"], document))
    return {**{key: group[key] for key in ("name", "cpus", "memory_mib")}, "hardware": hardware}


def _base(base: dict[str, t.Any], path: Path, places: Places) -> dict[str, t.Any]:
    source = base.get("source") or {}
    kind = next((form for form in SOURCE_FORMS if form in source), "held")
    return {
        "name": base["name"],
        "version": base["version"],
        "sha256": base.get("sha256"),
        "pool": base.get("pool"),
        "parent": base.get("parent"),
        "source": {
            "kind": kind,
            "host": source.get("host"),
            "path": source.get("path") or source.get("controller"),
            "pool": source.get("pool"),
            "url": source.get("url"),
            "format": source.get("format"),
            "mirrors": source.get("mirrors", []),
            "checksum": source.get("checksum"),
            "compression": source.get("compression", "auto"),
            "secret": source.get("secret", False),
            "ca": source.get("ca"),
            **{key: source.get(key) for key in ("machine", "service", "disk", "flatten")},
        },
        "place": places(*path),
    }


def _group(group: dict[str, t.Any], path: Path, places: Places, differencing: bool) -> dict[str, t.Any]:
    hosts = group.get("hosts")
    count = group.get("count")
    customized = customization.normalised(group)
    told = customization.told(customized)
    disks = list(enumerate(group.get("disks", [])))
    given = [_given(disk, (*path, "disks", index), places) for index, disk in disks if attached.kind_of(disk)]
    return {
        "name": group["name"],
        "hosts": [hosts] if isinstance(hosts, str) else hosts,
        "per_host": None if count else group.get("per_host", 1),
        "count": count,
        "cpus": group.get("cpus", 1),
        "memory_mib": group.get("memory_mib", 1024),
        "hardware": {**table.of_group(group), **({"attached": given} if given else {})},
        # The machines have what their source has: see with_templates.
        **({"from_source": True} if "source" in group else {}),
        "disks": [_disk(disk, (*path, "disks", index), places, differencing) for index, disk in disks if not attached.kind_of(disk)],
        "networks": [_card(network) for network in group.get("networks", [{"network": "default"}])],
        **customized,
        **scale_rules.normalised(group),
        # Two machines of a host cannot have one disk.
        "placement": {**({"anti_affinity": True} if resources.are_the_same(given, group) else {}), **_placement(group.get("placement"))},
        "after": list(group.get("after", [])),
        "health": group.get("health"),
        # Not the content: user data holds passwords, and this stands in the domain's description.
        "seed_digest": None if told is None else digest_of(told),
        "place": places(*path),
        "places": {
            **{key: places(*path, key) for key in ("hosts", "memory_mib", "cpus", "per_host", "count", "networks", *table.NAMES)},
            **{f"{key}[{at}]": places(*path, key, at) for key in ("host_devices", "shares") for at, _one in enumerate(group.get(key, []))},
        },
    }


def _card(network: Document) -> dict[str, t.Any]:
    # No entry in the DNS is the same as nothing said of it.
    return {"model": "virtio", **{key: value for key, value in network.items() if (key, value) != ("dns_entry", False)}}


def _disk(disk: dict[str, t.Any], path: Path, places: Places, differencing: bool) -> dict[str, t.Any]:
    size = disk.get("size_gib")
    return {
        "name": disk["name"],
        "base": disk.get("base"),
        "size_bytes": None if size is None else round(size * GIB / 512) * 512,
        # Who names a backend wants a disk over the base, whatever is usual here.
        "differencing": bool(disk.get("base")) and disk.get("differencing", differencing or "backend" in disk),
        # None: decided by the placement, which takes the pool default where a host has one.
        "pool": disk["pool"] if isinstance(disk.get("pool"), str) else None,
        "pool_labels": _labels(disk["pool"]["labels"]) if isinstance(disk.get("pool"), dict) else [],
        "backend": disk.get("backend", "qcow2"),
        **{name: disk[name] for name in drives.NAMES if name in disk and disk[name] != drives.DISK},
        "place": places(*path),
    }


def _given(disk: dict[str, t.Any], path: Path, places: Places) -> dict[str, t.Any]:
    """A disk that the machine is given, as it is."""
    kind = str(attached.kind_of(disk))
    return {
        "name": disk["name"],
        kind: disk[kind],
        **{name: disk[name] for name in drives.NAMES if name in disk},
        "place": places(*path),
    }


def _labels(labels: list[str] | dict[str, str]) -> list[str]:
    """Labels as texts: a mapping's as ``key=value``."""
    return [f"{key}={value}" for key, value in labels.items()] if isinstance(labels, dict) else list(labels)


def _placement(rules: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """The rules that were given, in one form each."""
    found = dict(rules or {})
    if "labels" in found:
        found["labels"] = _labels(found["labels"])
    together = found.get("together_with")
    if together:
        groups = together["groups"] if isinstance(together, dict) else together
        found["together_with"] = {"groups": list(groups), "by": together.get("by", "host") if isinstance(together, dict) else "host"}
    return found


def digest_of(value: object) -> str:
    """SHA-256 of the value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()
