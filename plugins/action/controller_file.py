# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible import constants, context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..plugin_utils import _controller_files as files


def _memory() -> str:
    """Where digests of the controller's files are kept."""
    home = constants.config.get_config_value("ANSIBLE_HOME")
    return os.path.join(os.path.expanduser(home), "basecast", "digests")


class ActionModule(ActionBase):
    """Looks a file up on the controller, and contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        del tmp
        _result, arguments = self.validate_argument_spec(
            argument_spec={
                "path": {"type": "str", "required": True},
                "option": {"type": "str", "required": True},
                "directories": {"type": "list", "elements": "str"},
                "within": {"type": "list", "elements": "str", "default": []},
                "state": {"type": "str", "choices": ["info", "read", "writable", "written"], "default": "read"},
                "content": {"type": "str"},
                "before": {"type": "str"},
                "public": {"type": "bool", "default": False},
                "checksum": {"type": "bool", "default": False},
                "size_bytes": {"type": "int"},
            }
        )
        option, state = arguments["option"], arguments["state"]
        if state in ("writable", "written"):
            path = os.path.abspath(os.path.expanduser(arguments["path"]))
            why = files.why_not_writable(path)
            if why:
                raise AnsibleActionFail(f"{option}: {why}")
            outcome = self._write(path, arguments, option) if state == "written" else {"changed": False}
            return {**result, **outcome, "file": {"path": path}}
        # Not playbook_dir: of an imported playbook that is a directory of this collection.
        called = [path for path in context.CLIARGS.get("args") or () if os.path.isfile(path)]
        places = arguments["directories"] or files.directories(os.getcwd(), called)
        found = files.find(arguments["path"], places, arguments["within"])
        if not found.isreg and found.outside:
            allowed = ", ".join(arguments["within"])
            raise AnsibleActionFail(
                f"{option}: {', '.join(found.outside)} is outside of the directories from which files of the controller are taken"
                f" ({allowed}); move the file there, or have its directory added to basecast_controller_dirs"
            )
        file = {**found._asdict(), "exists": found.isreg, "directory": os.path.dirname(found.path)}
        try:
            if found.isreg and arguments["checksum"] and arguments["size_bytes"] in (None, found.size):
                file["checksum"] = files.sha256_of(found.path, None if self._task.check_mode else _memory())
            content = self._content(found, option) if state == "read" else None
        except OSError as error:
            raise AnsibleActionFail(f"{option}: {found.path} cannot be read: {error.strerror}") from None
        # Manifests hold passwords and signed URLs. no_log of the task would hide as well why a file cannot be read.
        hidden = {} if content is None else {"_ansible_no_log": True}
        return {**result, "changed": False, "file": file, "content": content, **hidden}

    def _write(self, path: str, arguments: t.Mapping[str, t.Any], option: str) -> dict[str, t.Any]:
        """Whether the file was another one before; in check mode it stays that. Nor is it changed when it is not the one to replace."""
        content, before = arguments["content"], arguments["before"]
        if content is None:
            raise AnsibleActionFail("content: it is missing; with state=written it is what the file is to hold")
        try:
            if files.holds(path, content):
                return {"changed": False, "late": False}
            if self._task.check_mode:
                return {"changed": True, "late": False}
            late = not files.write(path, content, arguments["public"], before)
            return {"changed": not late, "late": late}
        except OSError as error:
            raise AnsibleActionFail(f"{option}: {path} cannot be written: {error.strerror}; name another file") from None

    @staticmethod
    def _content(found: files.Found, option: str) -> str:
        if found.other:
            raise AnsibleActionFail(f"{option}: {found.other}; expected a file")
        if not found.isreg:
            raise AnsibleActionFail(f"{option}: there is no such file on the controller; looked for {' and '.join(found.tried)}")
        with open(found.path, "rb") as file:
            data = file.read()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise AnsibleActionFail(f"{option}: {found.path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
