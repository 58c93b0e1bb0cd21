# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils._errors import FleetError
from ..module_utils._names import check_name
from ..plugin_utils import _certificates


class ActionModule(ActionBase):
    """Makes the certificates on the controller, in memory, and contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        del tmp
        if _certificates.CRYPTOGRAPHY_ERROR is not None:
            raise AnsibleActionFail(
                "relay_certificates needs the Python library cryptography on the controller: "
                f"{_certificates.CRYPTOGRAPHY_ERROR}. Install it into the environment that runs Ansible."
            )
        _result, arguments = self.validate_argument_spec(
            argument_spec={
                "run": {"type": "str", "required": True},
                "hosts": {"type": "list", "elements": "str", "required": True},
                "valid_s": {"type": "float", "default": 86400.0},
            }
        )
        try:
            check_name("run", arguments["run"])
        except FleetError as error:
            raise AnsibleActionFail(error.message) from None
        if arguments["valid_s"] <= 0:
            raise AnsibleActionFail(f"valid_s: {arguments['valid_s']!r} is not accepted; it has to be greater than 0")
        now = datetime.datetime.now(datetime.UTC)
        hosts = [str(host) for host in arguments["hosts"]]
        result["changed"] = False
        result["certificates"] = _certificates.make_certificates(str(arguments["run"]), hosts, arguments["valid_s"], now)
        return result
