# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ..plugin_utils import _controller_files, _settings
from ..plugin_utils._plan.service import machine_values


class ActionModule(ActionBase):
    """Reads the host's variables on the controller, and contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        del tmp
        self.validate_argument_spec(argument_spec={})
        variables = task_vars or {}
        host = str(variables.get("inventory_hostname"))
        load = _settings.reader(self._loader)
        options = {name: self._templated(option) for name, option in _settings.options_of("settings", load).items()}
        known = _settings.known_names()
        errors = _settings.unknown_names(variables, known, options, host)
        extra = load_extra_vars(self._loader)
        errors += _settings.misspelt_names(extra, known)
        settings, wrong = _settings.read(options, lambda name: self._value(name, variables), host)
        for name in options:
            key = _settings.key_of(name)
            if name.startswith(_settings.PREFIX) and name.endswith("_file") and settings.get(key):
                # A file that the run writes at its end: whether it can is known now.
                settings[key] = os.path.abspath(os.path.expanduser(settings[key]))
                why = _controller_files.why_not_writable(settings[key])
                wrong += [f"{name}: {why}"] if why else []
        if errors + wrong:
            raise AnsibleActionFail("\n".join(errors + wrong))
        # A manifest that stands in a variable, like one in a file, may hold passwords and signed URLs.
        hidden = {"_ansible_no_log": True} if isinstance(settings.get("manifest"), Mapping) else {}
        return {**result, "changed": False, **settings, "extra_names": sorted(extra), **hidden}

    def _value(self, name: str, variables: dict[str, t.Any]) -> t.Any:
        if not isinstance(variables.get(name), Mapping) or name != "manifest":
            return self._templar.template(variables.get(name))
        # Names that the manifest fills in stand for themselves, unless Ansible has variables with these names.
        names = machine_values.as_variables()
        return self._templar.copy_with_new_env(available_variables={**names, **variables}).template(variables[name])

    def _templated(self, option: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        kept = {key: value for key, value in option.items() if key != "description"}
        return {**kept, "default": self._templar.template(kept["default"])} if "default" in kept else kept
