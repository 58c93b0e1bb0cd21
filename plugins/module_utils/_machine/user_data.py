# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.


"""Whether cloud-init will understand user data: its first line, its YAML, and the types of the keys that people use most.

cloud-init itself takes what it does not understand in silence and calls the machine done.
"""

from __future__ import annotations

import difflib
import json
import re
import typing as t
from email import message_from_string
from email.message import Message

from .._text import clean, shown

try:
    import yaml
except ImportError:  # a host without PyYAML checks what needs no parser; the controller has parsed it before
    yaml = None  # type: ignore[assignment]

#: First characters of a text, and what cloud-init calls it. Longer ones first.
KINDS = (
    ("#cloud-config-archive", "cloud-config-archive"),
    ("#cloud-config-jsonp", "cloud-config-jsonp"),
    ("#cloud-config", "cloud-config"),
    ("#cloud-boothook", "cloud-boothook"),
    ("#part-handler", "part-handler"),
    ("#include-once", "x-include-once-url"),
    ("#include", "x-include-url"),
    ("## template: jinja", "jinja2"),
    ("#!", "x-shellscript"),
)
_MIME_TYPES = {f"text/{kind}" for _start, kind in KINDS} | {"text/upstart-job", "text/plain"}
_MIME_START = re.compile(r"(content-type|mime-version)[ \t]*:", re.IGNORECASE)
_ALMOST_CONFIG = re.compile(r"#?\s*cloud[-_ ]?config", re.IGNORECASE)
_MOST = 10
_DEPTH = 8

_FLAG = (bool, str)
_TYPES: dict[str, tuple[type, ...]] = {
    "apt": (dict,),
    "bootcmd": (list,),
    "ca_certs": (dict,),
    "chpasswd": (dict, str),
    "disable_root": _FLAG,
    "disk_setup": (dict,),
    "final_message": (str,),
    "fqdn": (str,),
    "fs_setup": (list,),
    "groups": (list, dict, str),
    "growpart": (dict,),
    "hostname": (str,),
    "keyboard": (dict,),
    "locale": (str, bool),
    "manage_etc_hosts": _FLAG,
    "mounts": (list,),
    "ntp": (dict, type(None)),
    "package_reboot_if_required": _FLAG,
    "package_update": _FLAG,
    "package_upgrade": _FLAG,
    "packages": (list,),
    "password": (str,),
    "phone_home": (dict,),
    "power_state": (dict,),
    "preserve_hostname": _FLAG,
    "resolv_conf": (dict,),
    "runcmd": (list,),
    "ssh_authorized_keys": (list,),
    "ssh_import_id": (list,),
    "ssh_keys": (dict,),
    "ssh_pwauth": _FLAG,
    "swap": (dict,),
    "timezone": (str,),
    "users": (list, dict, str),
    "write_files": (list,),
    "yum_repos": (dict,),
}
# Keys of the top level, of cloud-init's own modules.
_OTHER_KEYS = """
allow_public_ssh_keys ansible apk_repos apt_pipelining autoinstall byobu_by_default ca-certs chef cloud_config_modules
cloud_final_modules cloud_init_modules create_hostname_file datasource datasource_list debug device_aliases
disable_ec2_metadata disable_root_opts drivers fan grub-dpkg grub_dpkg hostname keyboard landscape launch-index
locale_configfile lxd manage-resolv-conf manage_resolv_conf mcollective merge_how merge_type mount_default_fields
network no_ssh_fingerprints output package_reboot_if_required prefer_fqdn_over_hostname puppet random_seed raspberry_pi
reporting resize_rootfs rh_subscription rpi rsyslog salt_minion snap spacewalk ssh ssh_deletekeys
ssh_fp_console_blacklist ssh_genkeytypes ssh_key_console_blacklist ssh_publish_hostkeys ssh_quiet_keygen swap
system_info ubuntu_advantage ubuntu_pro updates user vendor_data version wireguard yum_repo_dir zypper
"""
_KEYS = frozenset([*_TYPES, *re.findall(r"\S+", _OTHER_KEYS)])
#: The hashes that guests take for such; cloud-init takes other texts for the password itself.
_HASH = re.compile(r"\$(1|2[abxy]?|5|6|7|y|gy|sha1|argon2\w*)(\$[^\s:$]+){2,}|[!*]+(\$[^\s:]+)?")
_HOW_TO_HASH = "'openssl passwd -6' asks for the password and prints its hash"
_WORDS = {dict: "a mapping", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


def kind_of(text: str) -> str | None:
    """What cloud-init takes a text for, by its first characters; blank lines and case do not matter to it."""
    begin = text[:200].lstrip().lower()
    return next((kind for start, kind in KINDS if begin.startswith(start)), None)


def user_data_problems(value: t.Any) -> list[str]:
    """What cloud-init will not understand, as parts of sentences; empty when nothing was found.

    :param value: a mapping, which becomes cloud-config, or a text. Contents may be secret: only names of keys are told.
    """
    if value is None:
        return []
    if isinstance(value, dict):
        return list(_config(value))[:_MOST]
    if isinstance(value, str):
        return list(_text(value, 0))[:_MOST]
    return [f"{_word(value)} is not accepted; a mapping (cloud-config) or a text is expected"]


def strange_characters(text: str) -> str:
    """What is wrong with a text that cannot be written as UTF-8, or has NUL in it; empty for others."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return "it holds characters that are not text (NUL or half of a character)"
    return ""


def mime_parts(text: str) -> list[tuple[str, str]]:
    """Content type and content of each part; none where the text is not MIME."""
    if not _MIME_START.match(text):
        return []
    return [(part.get_content_type(), _content(part)) for part in message_from_string(text).walk() if not part.is_multipart()]


def _text(text: str, depth: int) -> t.Iterator[str]:
    if not text.strip():
        return
    if text.startswith("\ufeff"):
        yield "it begins with a byte order mark (BOM), so cloud-init does not know its first line; save it as UTF-8 without BOM"
        return
    strange = strange_characters(text)
    if strange:
        yield strange
        return
    kind = kind_of(text)
    if kind is None and _MIME_START.match(text):
        yield from _mime(message_from_string(text), depth)
    elif kind is None:
        line = text.lstrip().splitlines()[0]
        hint = "; #cloud-config is to be written exactly so" if _ALMOST_CONFIG.match(line) else ""
        yield (
            "its first line is not one that cloud-init knows (such as #cloud-config or #!/bin/sh), and it is not a MIME"
            f" multipart message{hint}"
        )
    else:
        yield from _of_kind(kind, text, depth)


def _of_kind(kind: str, text: str, depth: int) -> t.Iterator[str]:
    if depth > _DEPTH:
        yield f"it is nested more than {_DEPTH} deep"
    elif kind == "x-shellscript":
        yield from _script(text)
    elif kind == "cloud-config":
        yield from _cloud_config(text)
    elif kind == "cloud-config-archive":
        yield from _archive(text, depth)
    elif kind == "jinja2":
        rest = text.lstrip().partition("\n")[2]
        if kind_of(rest) in (None, "jinja2"):
            yield "its second line is not one that cloud-init knows; after the line of the template the usual first line is expected"
    elif kind in ("x-include-url", "x-include-once-url"):
        for number, line in enumerate(text.splitlines()[1:], 2):
            if line.strip() and not line.startswith("#") and not re.match(r"/|[a-z][a-z0-9+.-]*:/", line.strip(), re.IGNORECASE):
                yield f"line {number}: {_word(line)} is not a URL or an absolute path"


def _script(text: str) -> t.Iterator[str]:
    first = text.lstrip().split("\n", 1)[0]
    if first.endswith("\r"):
        yield "its first line ends with a carriage return, so the guest does not find the interpreter; use Unix line ends"
    elif not first[2:].strip().startswith("/"):
        yield "its first line names no interpreter by an absolute path, such as #!/bin/sh"


def _cloud_config(text: str) -> t.Iterator[str]:
    config, problem = _load(text)
    if problem:
        yield problem
    elif isinstance(config, dict):
        yield from _config(config)
    elif config is not None and config is not _UNPARSED:
        yield f"its cloud-config is {_word(config)}; a mapping is expected"


def _archive(text: str, depth: int) -> t.Iterator[str]:
    parts, problem = _load(text)
    if problem:
        yield problem
    elif parts is _UNPARSED:
        return
    elif not isinstance(parts, list):
        yield f"its archive is {_word(parts)}; a list is expected"
    else:
        for number, part in enumerate(parts):
            content = part.get("content") if isinstance(part, dict) else part
            kind = part.get("type") if isinstance(part, dict) else None
            if not isinstance(content, str):
                yield f"[{number}]: {_word(content)} is not accepted; a text, or a mapping with type and content, is expected"
            elif not kind and kind_of(content) is None:  # cloud-init's default within an archive
                yield from (f"[{number}]: {problem}" for problem in _of_kind("cloud-config", content, depth + 1))
            elif not kind or kind == "text/plain":
                yield from (f"[{number}]: {problem}" for problem in _text(content, depth + 1))
            elif kind not in _MIME_TYPES:
                yield f"[{number}].type: {shown(kind)} is not a type that cloud-init knows"
            else:
                yield from (f"[{number}]: {problem}" for problem in _of_kind(str(kind)[len("text/") :], content, depth + 1))


def _mime(message: Message, depth: int) -> t.Iterator[str]:
    if not message.is_multipart():
        yield from _mime_part(message, depth)
        return
    for number, part in enumerate(message.walk()):
        if not part.is_multipart():
            yield from (f"part {number}: {problem}" for problem in _mime_part(part, depth + 1))


def _mime_part(part: Message, depth: int) -> t.Iterator[str]:
    kind, content = part.get_content_type(), _content(part)
    if kind not in _MIME_TYPES:
        yield f"{clean(kind, 80)} is not a type that cloud-init knows"
    elif kind == "text/plain":
        yield from _text(content, depth)
    else:
        yield from _of_kind(kind[len("text/") :], content, depth)


def _content(part: Message) -> str:
    payload = part.get_payload(decode=True)
    return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""


# -- cloud-config


_UNPARSED: t.Any = object()


def _load(text: str) -> tuple[t.Any, str]:
    """The YAML of a text and what is wrong with it; ``_UNPARSED`` where this host has no parser."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("\t") and line.strip() and not line.strip().startswith("#"):
            return None, f"line {number}: it begins with a tab; YAML is indented with spaces"
    if yaml is None:
        return _load_json(text)
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:  # of a character that YAML does not have
        return None, f"it is not YAML: {clean(str(error).split(chr(10), 1)[0], 200)}"
    try:
        node = loader.get_single_node()
        repeated = _repeated(node)
        if repeated:
            return None, repeated
        return (None if node is None else loader.construct_document(node)), ""
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"line {mark.line + 1}: " if mark else ""
        what = yaml_problem(error)
        tab = "; YAML is indented with spaces" if "\\t" in what else ""
        return None, f"{at}it is not YAML: {clean(what, 200)}{tab}"
    except (ValueError, TypeError, RecursionError) as error:
        return None, f"it is not YAML that cloud-init reads: {clean(error, 200)}"
    finally:
        loader.dispose()


def cloud_config_of(text: str) -> tuple[t.Any, str]:
    """What a text of cloud-config says, and what is wrong with it; no mapping where it says nothing or this host has no parser."""
    config, problem = _load(text)
    return (None if config is _UNPARSED else config), problem


def yaml_problem(error: Exception) -> str:
    """What the parser says; its sentence may begin in what it calls the context."""
    problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
    context = getattr(error, "context", None)
    return f"{context}, {problem}" if context and problem.startswith("but ") else str(problem)


def unknown_keys(value: t.Any) -> list[str]:
    """Keys of cloud-config that are most likely misspelt, as parts of sentences: cloud-init passes over what it does not know."""
    config = value
    if isinstance(value, str):
        config = _load(value)[0] if kind_of(value) == "cloud-config" else None
    if not isinstance(config, dict):
        return []
    near = {key: difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8) for key in config if isinstance(key, str) and key not in _KEYS}
    return [f"{shown(key)} is not a key that cloud-init knows; is {found[0]} meant?" for key, found in near.items() if found]


def _load_json(text: str) -> tuple[t.Any, str]:
    body = text.lstrip().partition("\n")[2].strip()
    if not body.startswith("{"):
        return _UNPARSED, ""
    try:
        return json.loads(body), ""
    except (ValueError, RecursionError):  # YAML in braces is more than JSON
        return _UNPARSED, ""


def _repeated(node: t.Any) -> str:
    """A key of the top level that is there twice: cloud-init takes the last and drops the others."""
    if not isinstance(node, yaml.MappingNode):
        return ""
    seen: dict[str, int] = {}
    for key, _value in node.value:
        line = key.start_mark.line + 1
        name = str(key.value)
        if name in seen and name != "<<":
            return f"line {line}: the key {shown(name)} is there twice, first in line {seen[name]}; cloud-init drops the first"
        seen[name] = line
    return ""


def _config(config: t.Mapping[t.Any, t.Any]) -> t.Iterator[str]:
    for key, value in config.items():
        if not isinstance(key, str):
            yield f"{shown(key)}: keys are strings"
            continue
        accepted = _TYPES.get(key)
        if accepted is not None and not isinstance(value, accepted):
            yield f"{key}: {_word(value)} is not accepted; {' or '.join(_WORDS[kind] for kind in accepted)} is expected"
        elif key in _CHECKS:
            yield from _CHECKS[key](key, value)


def _strings(key: str, value: t.Sequence[t.Any]) -> t.Iterator[str]:
    kinds = (str, list, dict) if key == "packages" else (str,)
    for number, item in enumerate(value):
        if not isinstance(item, kinds):
            yield f"{key}[{number}]: {_word(item)} is not accepted; a string is expected"


def _commands(key: str, commands: t.Sequence[t.Any]) -> t.Iterator[str]:
    for number, command in enumerate(commands):
        if isinstance(command, dict):
            yield f"{key}[{number}]: a mapping is not accepted; a string or a list is expected. Quote a command that holds ': '"
        elif not isinstance(command, (str, list)):
            yield f"{key}[{number}]: {_word(command)} is not accepted; a string or a list is expected"
        elif isinstance(command, list) and not all(isinstance(word, (str, int, float)) for word in command):
            yield f"{key}[{number}]: the words of a command are strings"


def _files(_key: str, files: t.Sequence[t.Any]) -> t.Iterator[str]:
    for number, file in enumerate(files):
        if not isinstance(file, dict):
            yield f"write_files[{number}]: {_word(file)} is not accepted; a mapping is expected"
        elif not isinstance(file.get("path"), str) or not file["path"]:
            yield f"write_files[{number}].path: missing, or not a string"
        elif not isinstance(file.get("permissions", ""), str):
            yield f"write_files[{number}].permissions: {_word(file['permissions'])} is not accepted; quote it, as in '0644'"
        elif not isinstance(file.get("content", ""), (str, bytes, type(None))):
            yield f"write_files[{number}].content: {_word(file['content'])} is not accepted; a string is expected"


def _users(_key: str, users: str | t.Sequence[t.Any] | t.Mapping[t.Any, t.Any]) -> t.Iterator[str]:
    if isinstance(users, dict):
        for name, user in users.items():
            yield from _user_passwords(f"users.{clean(name, 40)}", user)
        return
    for number, user in enumerate([] if isinstance(users, str) else users):
        if isinstance(user, dict):
            if not isinstance(user.get("name", user.get("snapuser")), str):
                yield f"users[{number}].name: missing, or not a string"
            yield from _user_passwords(f"users[{number}]", user)
        elif not isinstance(user, (str, list)):
            yield f"users[{number}]: {_word(user)} is not accepted; a name or a mapping is expected"


# -- passwords


def password_problems(place: str, value: t.Any) -> t.Iterator[str]:
    """A password that is not hashed: it would stand readable on the medium, in the host's record and in the guest's own files.

    :param value: none is as if the key were not there.
    """
    if value is not None and not (isinstance(value, str) and _HASH.fullmatch(value)):
        yield f"{place}: a password that is not hashed is not accepted; {_HOW_TO_HASH}"


def _user_passwords(place: str, user: t.Any) -> t.Iterator[str]:
    if not isinstance(user, dict):
        return
    if user.get("plain_text_passwd") is not None:
        yield f"{place}.plain_text_passwd: a password that is not hashed is not accepted; give its hash as passwd: {_HOW_TO_HASH}"
    for key in ("passwd", "hashed_passwd"):
        yield from password_problems(f"{place}.{key}", user.get(key))


def _changed_passwords(_key: str, value: str | t.Mapping[t.Any, t.Any]) -> t.Iterator[str]:
    """``chpasswd``: lines of ``name:password``, or users, whose passwords are hashes unless their type says otherwise."""
    lines = value if isinstance(value, str) else value.get("list")
    if isinstance(lines, str):
        lines = [line for line in lines.splitlines() if line.strip()]
    for number, line in enumerate(lines if isinstance(lines, list) else ()):
        yield from _password_or_random(f"chpasswd.list[{number}]", str(line).strip().partition(":")[2])
    users = None if isinstance(value, str) else value.get("users")
    for number, user in enumerate(users if isinstance(users, list) else ()):
        if isinstance(user, dict):
            kind = str(user.get("type", "hash"))
            place = f"chpasswd.users[{number}]"
            if kind == "text":
                yield f"{place}.type: a password that is not hashed is not accepted; give its hash and leave the type out: {_HOW_TO_HASH}"
            else:
                yield from _password_or_random(f"{place}.password", "RANDOM" if kind == "RANDOM" else user.get("password"))


def _password_or_random(place: str, password: t.Any) -> t.Iterator[str]:
    if password in ("R", "RANDOM"):
        yield f"{place}: a random password is not accepted, as cloud-init prints it on the console; {_HOW_TO_HASH}"
    else:
        yield from password_problems(place, password)


#: Of a value whose type is right, what else may be wrong with it.
_CHECKS: dict[str, t.Callable[[str, t.Any], t.Iterator[str]]] = {
    "bootcmd": _commands,
    "chpasswd": _changed_passwords,
    "packages": _strings,
    "password": password_problems,
    "runcmd": _commands,
    "ssh_authorized_keys": _strings,
    "user": _user_passwords,
    "users": _users,
    "write_files": _files,
}


def _word(value: t.Any) -> str:
    """What a value is, never what it says."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return _WORDS.get(type(value), f"a value of the type {type(value).__name__}")
