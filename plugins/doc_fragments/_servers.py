# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  auth:
    description:
      - Credentials for servers, chosen by the host that a URL names. They are sent to that host only; a redirect to another host,
        port or scheme does not take them along.
      - Keep them in a variable that is encrypted with Ansible Vault. They are shown nowhere, not with C(-vvv) either.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name or address of the server as URLs have it, with C(:port) where the credentials are for that port only.
        type: str
        required: true
      username:
        description: Together with O(auth[].password).
        type: str
      password:
        description: Together with O(auth[].username).
        type: str
      token:
        description: A bearer token. Excludes O(auth[].username) and O(auth[].password).
        type: str
      plain_http:
        description: Send them with C(http) as well, where anybody on the way can read them.
        type: bool
        default: false
  ca_file:
    description: File on the host with certificates (PEM) of authorities that are trusted beside those of the host's system.
    type: str
  proxy:
    description:
      - URL of the proxy for C(http) and C(https), with user name and password where it wants them; these are shown nowhere.
      - An empty string uses none. Without it, the host's environment decides (C(http_proxy), C(https_proxy), C(no_proxy)).
        C(no_proxy) always counts.
    type: str
"""
