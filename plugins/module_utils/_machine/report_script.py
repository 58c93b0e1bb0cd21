# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The script by which a guest says that it has come up: one line to its second serial port.

It runs as vendor-data once per instance, under any POSIX shell (dash, busybox). cloud-init counts it as a part of
its own work, so the waiting must happen in the background (cloud-final.service leaves such processes alone:
KillMode=process). What it prints is read by ``reports``.
"""

from __future__ import annotations

import json

PREFIX = "BASECAST-REPORT "

_SCRIPT = r"""#!/bin/sh
# Tells the host that this machine has come up. Changes nothing in the machine.
port=/dev/ttyS1
[ -c "$port" ] || exit 0

keep() { tr -cd "$1"; }

addresses() {
    separator=
    ip addr 2>/dev/null | while read -r kind address rest; do
        case "$kind $rest" in
            inet*"scope global"*)
                printf '%s"%s"' "$separator" "$(printf %s "${address%%/*}" | keep '0-9a-fA-F.:')"
                separator=,
                ;;
        esac
    done
}

has_card() {
    for card in /sys/class/net/*; do
        [ "${card##*/}" = lo ] || return 0
    done
    return 1
}

# Not every guest waits for DHCP before it calls itself up.
wait_for_address() {
    tries=10
    while [ "$tries" -gt 0 ] && has_card && [ -z "$(addresses)" ]; do
        sleep 1
        tries=$((tries - 1))
    done
}

# A file of cloud-init's in one line.
content() {
    if [ -s "$1" ]; then tr '\n\t' '  ' <"$1"; else printf null; fi
}

report() {
    cloud-init status --wait >/dev/null 2>&1
    case $? in
        0) status='done' ;;
        2) status=degraded ;;
        *) status=error ;;
    esac
    wait_for_address
    result=null stages=null
    if [ "$status" != 'done' ]; then
        stages=$(content /run/cloud-init/status.json)
        result=$(content /run/cloud-init/result.json)
    fi
    instance=$(keep 'A-Za-z0-9._-' </var/lib/cloud/data/instance-id)
    name=$(keep 'A-Za-z0-9._-' </proc/sys/kernel/hostname)
    if command -v stty >/dev/null 2>&1; then
        stty -F "$port" raw -echo 115200 2>/dev/null
    fi
    printf '\n%s{"token":%s,"hostname":"%s","instance_id":"%s","status":"%s","addresses":[%s],"result":%s,"stages":%s}\n' \
        '@PREFIX@' '@TOKEN@' "$name" "${instance:-@INSTANCE@}" "$status" "$(addresses)" "$result" "$stages" >"$port"
}

(trap '' HUP; report) </dev/null >/dev/null 2>&1 &
exit 0
"""


def report_script(token: str, instance_id: str) -> str:
    """
    :param token: proves that the report is this machine's; hexadecimal digits.
    """
    script = _SCRIPT.replace("@PREFIX@", PREFIX).replace("@INSTANCE@", instance_id)
    return script.replace("@TOKEN@", json.dumps(token))
