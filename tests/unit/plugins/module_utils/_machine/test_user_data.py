# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine import user_data
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed import SeedWish, check_seed
from ansible_collections.basecast.fleet.plugins.module_utils._machine.user_data import unknown_keys, user_data_problems

MIME = (
    "Content-Type: multipart/mixed; boundary=X\nMIME-Version: 1.0\n\n"
    "--X\nContent-Type: text/cloud-config\n\n{}\n--X\nContent-Type: {}\n\n#!/bin/sh\n--X--\n"
)

UNDERSTOOD: list[t.Any] = [
    None,
    "",
    {},
    {"runcmd": ["true", ["echo", 1]], "users": ["default", {"name": "a"}], "unknown_module": 5},
    "#cloud-config\npackages: [vim]\n",
    "#cloud-config\r\npackages: [vim]\r\n",
    "\n#Cloud-Config\npackages: [vim]\n",
    "#cloud-config\n",
    "#cloud-config\nwrite_files:\n  - path: /Makefile\n    content: |\n      all:\n      \ttrue\n",
    '#cloud-config\n{"packages": ["vim"]}\n',
    "#!/bin/sh\necho a\n",
    "#!/usr/bin/env python3\n\tprint(1)\n",
    "#include\nhttps://192.0.2.1/x\n# a comment\n",
    "#include-once\nfile:/etc/x\n",
    "#cloud-boothook\n#!/bin/sh\n",
    "#part-handler\ndef list_types(): pass\n",
    "## template: jinja\n#cloud-config\nruncmd:\n{% for x in [1] %}\n- a: {{ b }}\n{% endfor %}\n",
    "#cloud-config-archive\n- type: text/cloud-config\n  content: 'packages: [vim]'\n- '#!/bin/sh'\n",
    MIME.format("packages: [vim]", "text/x-shellscript"),
    MIME.format("packages: [vim]", "text/plain"),
]

REFUSED = [
    (5, "a number is not accepted; a mapping (cloud-config) or a text is expected"),
    (["packages"], "a list is not accepted"),
    ("packages: [vim]\n", "its first line is not one that cloud-init knows"),
    ("# cloud-config\npackages: [vim]\n", "#cloud-config is to be written exactly so"),
    ("#cloud_config\n", "#cloud-config is to be written exactly so"),
    ("echo hello\n", "its first line is not one that cloud-init knows"),
    ("H4sIAAAAAAAAA1NOzskvTdFNzs9Lz0zn\n", "its first line is not one that cloud-init knows"),
    ("\ufeff#cloud-config\n", "byte order mark"),
    ("#cloud-config\n\ufeff\x00", "characters that are not text"),
    ("#cloud-config\nx: \ud800\n", "characters that are not text"),
    ("#cloud-config\npackages:\n\t- vim\n", "line 3: it begins with a tab"),
    ("#cloud-config\npackages:\n  \t- vim\n", "line 3: it is not YAML"),
    ("#cloud-config\nruncmd: [echo\n", "it is not YAML"),
    ("#cloud-config\na: b: c\n", "line 2: it is not YAML"),
    ("#cloud-config\na: 'x\n", "it is not YAML"),
    ("#cloud-config\na: *b\n", "it is not YAML"),
    ("#cloud-config\na: !!python/object:os.system x\n", "it is not YAML"),
    ("#cloud-config\na: 1\n---\nb: 2\n", "it is not YAML"),
    ("#cloud-config\n- packages\n", "its cloud-config is a list; a mapping is expected"),
    ("#cloud-config\npackages\n", "its cloud-config is a string; a mapping is expected"),
    ("#cloud-config\nruncmd: [a]\nruncmd: [b]\n", "line 3: the key 'runcmd' is there twice, first in line 2"),
    ("#cloud-config\n1: 2\n", "1: keys are strings"),
    ("#cloud-config\n? [a]\n: 2\n", "it is not YAML"),
    ("#cloud-config\n" + "[" * 3000 + "\n", "it is not YAML"),
    ({"packages": "vim"}, "packages: a string is not accepted; a list is expected"),
    ({"runcmd": "true"}, "runcmd: a string is not accepted; a list is expected"),
    ({"runcmd": None}, "runcmd: null is not accepted"),
    ({"runcmd": [{"echo a": "b"}]}, "runcmd[0]: a mapping is not accepted; a string or a list is expected. Quote a command"),
    ({"bootcmd": [5]}, "bootcmd[0]: a number is not accepted"),
    ({"runcmd": [["a", {}]]}, "runcmd[0]: the words of a command are strings"),
    ({"users": 5}, "users: a number is not accepted; a list or a mapping or a string is expected"),
    ({"users": [{"gecos": "x"}]}, "users[0].name: missing, or not a string"),
    ({"write_files": [{"content": "x"}]}, "write_files[0].path: missing"),
    ({"write_files": [{"path": "/x", "permissions": 420}]}, "write_files[0].permissions: a number is not accepted; quote it"),
    ({"write_files": {"path": "/x"}}, "write_files: a mapping is not accepted; a list is expected"),
    ({"ssh_authorized_keys": "ssh-ed25519 A"}, "ssh_authorized_keys: a string is not accepted"),
    ({"ssh_authorized_keys": [{}]}, "ssh_authorized_keys[0]: a mapping is not accepted"),
    ({"hostname": 5}, "hostname: a number is not accepted; a string is expected"),
    ({"timezone": ["UTC"]}, "timezone: a list is not accepted"),
    ({5: 1}, "5: keys are strings"),
    ("#!/bin/sh\r\necho a\r\n", "its first line ends with a carriage return"),
    ("#! sh\n", "names no interpreter by an absolute path"),
    ("#!\n", "names no interpreter by an absolute path"),
    ("#include\nnot a url\n", "line 2: a string is not a URL"),
    ("## template: jinja\npackages: [vim]\n", "its second line is not one that cloud-init knows"),
    ("#cloud-config-archive\na: b\n", "its archive is a mapping; a list is expected"),
    ("#cloud-config-archive\n- {type: text/x-what, content: x}\n", "[0].type: 'text/x-what' is not a type that cloud-init knows"),
    ("#cloud-config-archive\n- {type: text/cloud-config, content: 'packages: vim'}\n", "[0]: packages: a string is not accepted"),
    ("#cloud-config-archive\n- 5\n", "[0]: a number is not accepted"),
    (MIME.format("packages: vim", "text/x-shellscript"), "part 1: packages: a string is not accepted"),
    (MIME.format("", "text/x-nothing"), "part 2: text/x-nothing is not a type that cloud-init knows"),
    (MIME.format("a: b: c", "text/x-shellscript"), "part 1: line 1: it is not YAML"),
]


HASH = "$6$saltsalt$" + "x" * 86

HASHED: list[t.Any] = [
    {"password": HASH},
    {"password": "$2b$05$" + "x" * 53},
    {"password": "$y$j9T$salt$" + "x" * 43},
    {"users": [{"name": "a", "passwd": HASH}, {"name": "b", "hashed_passwd": HASH, "lock_passwd": False}, {"name": "c", "passwd": "*"}]},
    {"users": [{"name": "a", "passwd": "!" + HASH}, {"name": "b", "passwd": None}]},
    {"user": {"name": "a", "passwd": HASH}},
    {"chpasswd": {"expire": False, "list": f"root:{HASH}\na:{HASH}\n"}},
    {"chpasswd": {"list": [f"root:{HASH}"]}},
    {"chpasswd": {"users": [{"name": "root", "password": HASH}, {"name": "a", "type": "hash", "password": HASH}]}},
    f"#cloud-config\npassword: {HASH}\n",
]
HOW = "'openssl passwd -6' asks for the password and prints its hash"
UNHASHED = [
    ({"password": "hunter2"}, f"password: a password that is not hashed is not accepted; {HOW}"),
    ({"password": ""}, f"password: a password that is not hashed is not accepted; {HOW}"),
    ({"password": "$6$hunter2"}, "password: a password that is not hashed"),
    ({"password": "$hunter2$hunter2$x"}, "password: a password that is not hashed"),
    ({"users": ["default", {"name": "a", "plain_text_passwd": "hunter2"}]}, "users[1].plain_text_passwd: a password that is not hashed"),
    ({"users": [{"name": "a", "passwd": "hunter2"}]}, f"users[0].passwd: a password that is not hashed is not accepted; {HOW}"),
    ({"users": [{"name": "a", "hashed_passwd": "hunter2"}]}, "users[0].hashed_passwd: a password that is not hashed"),
    ({"users": [{"name": "a", "passwd": 4711}]}, "users[0].passwd: a password that is not hashed"),
    ({"users": {"a": {"passwd": "hunter2"}}}, "users.a.passwd: a password that is not hashed"),
    ({"user": {"name": "a", "plain_text_passwd": "hunter2"}}, "user.plain_text_passwd: a password that is not hashed"),
    ({"chpasswd": {"list": "root:hunter2\n"}}, "chpasswd.list[0]: a password that is not hashed"),
    ({"chpasswd": {"list": [f"a:{HASH}", "root:hunter2"]}}, "chpasswd.list[1]: a password that is not hashed"),
    (
        {"chpasswd": {"list": ["root:RANDOM"]}},
        "chpasswd.list[0]: a random password is not accepted, as cloud-init prints it on the console",
    ),
    ({"chpasswd": "root:hunter2"}, "chpasswd.list[0]: a password that is not hashed"),
    ({"chpasswd": {"users": [{"name": "a", "password": "hunter2"}]}}, "chpasswd.users[0].password: a password that is not hashed"),
    ({"chpasswd": {"users": [{"name": "a", "password": "hunter2", "type": "text"}]}}, "chpasswd.users[0].type: a password that is not"),
    ({"chpasswd": {"users": [{"name": "a", "type": "RANDOM"}]}}, "chpasswd.users[0].password: a random password is not accepted"),
    ("#cloud-config\npassword: hunter2\n", "password: a password that is not hashed"),
    ("#cloud-config-archive\n- 'password: hunter2'\n", "[0]: password: a password that is not hashed"),
    (MIME.format("password: hunter2", "text/x-shellscript"), "part 1: password: a password that is not hashed"),
]


@pytest.mark.parametrize("value", HASHED)
def test_hashed_passwords_are_accepted(value: t.Any) -> None:
    assert user_data_problems(value) == []


@pytest.mark.parametrize(("value", "told"), UNHASHED)
def test_passwords_that_are_not_hashed_are_refused_and_not_told(value: t.Any, told: str) -> None:
    problems = "\n".join(user_data_problems(value))
    assert told in problems and "hunter2" not in problems and "4711" not in problems


@pytest.mark.parametrize("value", UNDERSTOOD)
def test_what_cloud_init_understands(value: t.Any) -> None:
    assert user_data_problems(value) == []


@pytest.mark.parametrize(("value", "told"), REFUSED)
def test_what_cloud_init_does_not_understand(value: t.Any, told: str) -> None:
    assert told in "\n".join(user_data_problems(value))


def test_no_content_is_told() -> None:
    secrets: list[t.Any] = [
        "hunter2: [", "#cloud-config\npassword: hunter2: x\n", {"users": ["a", 5], "password": ["hunter2"]},
        "#include\nhunter2\n", "#cloud-config\n'hunter2\n", "hunter2",
    ]  # fmt: skip
    for value in secrets:
        assert user_data_problems(value) and "hunter2" not in "\n".join(user_data_problems(value))


def test_a_host_without_pyyaml_checks_what_needs_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_data, "yaml", None)
    assert all(user_data_problems(value) == [] for value in UNDERSTOOD)
    for value in ("\ufeff#cloud-config\n", "x", "#cloud-config\n\ta: b\n", '#cloud-config\n{"packages": "vim"}\n', {"runcmd": ""}):
        assert user_data_problems(value)


@pytest.mark.parametrize("key", ["user_data", "vendor_data"])
def test_the_seed_is_refused_with_the_name_of_the_option(key: str) -> None:
    wish = SeedWish(Owner("default", "shop", "web-1"), "/pool", **{key: "#cloud-config\n\ta: b\n"})  # type: ignore[arg-type]
    with pytest.raises(FleetError, match=rf"^seeds\[0\]\.{key}: line 2: it begins with a tab"):
        check_seed(wish, "seeds[0]")


@pytest.mark.parametrize(
    "part",
    [
        "packages: [vim]",  # no header: cloud-config by default
        {"content": "packages: [vim]"},
        {"type": "", "content": "packages: [vim]"},
        {"type": "text/cloud-config", "content": "packages: [vim]"},
        {"content": "#!/bin/sh\ntrue"},
        {"content": ""},
    ],
)
def test_a_part_of_an_archive_needs_no_first_line(part: t.Any) -> None:
    assert user_data_problems(f"#cloud-config-archive\n{json.dumps([part])}") == []


def test_a_part_without_a_first_line_is_read_as_cloud_config() -> None:
    (told,) = user_data_problems('#cloud-config-archive\n[{"content": "packages: vim"}]')
    assert told == "[0]: packages: a string is not accepted; a list is expected"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"packges": ["vim"]}, ["'packges' is not a key that cloud-init knows; is packages meant?"]),
        ("#cloud-config\nruncmds: []\nusers: []\n", ["'runcmds' is not a key that cloud-init knows; is runcmd meant?"]),
        ({"write_file": [], "ssh_authorised_keys": []}, ["write_files", "ssh_authorized_keys"]),
        ({"packages": ["vim"], "my_own_module": {}, "x": 1, 7: 1}, []),
        ("#!/bin/sh\npackges: 1\n", []),
        ("#cloud-config\n{", []),
        (None, []),
    ],
)
def test_misspelt_keys_are_told_with_the_nearest(value: t.Any, told: list[str]) -> None:
    found = unknown_keys(value)
    assert len(found) == len(told) and all(words in sentence for words, sentence in zip(told, found, strict=True))


def test_two_documents_are_told_in_a_whole_sentence() -> None:
    (told,) = user_data_problems("#cloud-config\na: 1\n---\nb: 2\n")
    assert "it is not YAML: expected a single document in the stream, but found another document" in told
