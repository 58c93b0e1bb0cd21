# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guest images for the lab, the tests and the demo, built from the machine's own package sources and cached.

    images.tiny()                        # boots in a few seconds even without KVM
    images.tiny(version="v2", pad_mib=64)
    images.tiny(ssh=True)                # with sshd and Python: a guest that a role can configure
    images.debian()                      # systemd and the real cloud-init: under a minute without KVM
    images.debian(variant="vm_host")     # with sshd and qemu-img: a host that is a machine

They return the path of a qcow2 file that boots by itself (BIOS, MBR), is never changed, and is the same file, byte
for byte, whenever recipe, kernel and arguments are the same. Versions of the tiny image with the same padding differ
in a few chunks only. (Debian's image is not promised to be the same bytes twice; its cache key holds the versions.)

The tiny guest follows NoCloud seeds (a medium labelled ``cidata``): hostname, network (static addresses or DHCP),
write_files, runcmd, scripts and cloud-config in user-data and vendor-data, MIME too. It speaks on the first serial port, has
``cloud-init status [--wait] [--format json]``, obeys the power button, and forgets everything when it stops.
Its shell answers `hostname -I` with an error (busybox): scripts that run in both guests ask `ip -o addr`.

How a guest reports, as verified in both (Debian 12, cloud-init 22.4): VENDOR_SCRIPT as vendor-data. It runs in the final
stage, whose end `cloud-init status --wait` awaits, so the waiting must happen in the background with all three
standard streams closed or redirected (cloud-init reads the script's output until its end). The background process survives
cloud-final.service because that unit has KillMode=process (with control-group systemd would kill it).
Exit status of `cloud-init status --wait` in 22.4: 0 done, 1 error. /dev/ttyS1 is writable at that time, no getty is on it.

A trap in user-data written as JSON: PyYAML does not join surrogate pairs (``\\ud83d\\ude00``), and real cloud-init then fails to
write the file. Write such text with ``ensure_ascii=False``.
"""

from __future__ import annotations

from . import _build
from ._build import ImageError
from ._debian import debian
from ._tiny import tiny

__all__ = ["VENDOR_SCRIPT", "ImageError", "_build", "debian", "tiny"]

VENDOR_SCRIPT = """#!/bin/sh
(
    cloud-init status --wait >/dev/null 2>&1 && status=done || status=error
    addresses=$(ip -o addr show scope global | awk '{{sub("/.*", "", $4); printf "%s\\"%s\\"", c, $4; c = ","}}')
    printf 'BASECAST-REPORT {{"token":"%s","hostname":"%s","status":"%s","addresses":[%s]}}\\n' \\
        '{token}' "$(hostname)" "$status" "$addresses" > /dev/ttyS1
) </dev/null >/dev/null 2>&1 &
"""
