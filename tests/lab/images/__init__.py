# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guest images for the lab, the tests and the demo, built from the machine's own package sources and cached.

    images.tiny()                        # boots in a few seconds even without KVM
    images.tiny(version="v2", pad_mib=64)

Both return the path of a qcow2 file that boots by itself (BIOS, MBR), is never changed, and is the same file, byte
for byte, whenever recipe, kernel and arguments are the same. Versions of the tiny image with the same padding differ
in a few chunks only.

The tiny guest follows NoCloud seeds (a medium labelled ``cidata``): hostname, network (static addresses or DHCP),
write_files, runcmd, scripts and cloud-config in user-data and vendor-data, MIME too. It speaks on the first serial port, has
``cloud-init status [--wait] [--format json]``, obeys the power button, and forgets everything when it stops.
"""

from __future__ import annotations

from . import _build
from ._build import ImageError
from ._tiny import tiny

__all__ = ["VENDOR_SCRIPT", "ImageError", "_build", "tiny"]

VENDOR_SCRIPT = """#!/bin/sh
(
    cloud-init status --wait >/dev/null 2>&1 && status=done || status=error
    addresses=$(ip -o addr show scope global | awk '{{sub("/.*", "", $4); printf "%s\\"%s\\"", c, $4; c = ","}}')
    printf 'BASECAST-REPORT {{"token":"%s","hostname":"%s","status":"%s","addresses":[%s]}}\\n' \\
        '{token}' "$(hostname)" "$status" "$addresses" > /dev/ttyS1
) </dev/null >/dev/null 2>&1 &
"""
