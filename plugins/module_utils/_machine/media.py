# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The media by which a guest is told what it is to be: their kinds, and the file of each in the machine's directory."""

from __future__ import annotations

import os

CLOUD_INIT = "cloud_init"  # NoCloud: an image with the volume name cidata
IGNITION = "ignition"  # a file that QEMU hands to the guest by its fw_cfg device
CLOUDBASE = "cloudbase"  # a configuration drive, an image with the volume name config-2, as a CD
KINDS = (CLOUD_INIT, IGNITION, CLOUDBASE)

IMAGES = {CLOUD_INIT: "seed.iso", IGNITION: "seed.ign", CLOUDBASE: "seed-cloudbase.iso"}
RECORD = "seed.json"
FILES = (*IMAGES.values(), RECORD)

#: Under which Ignition looks for its configuration.
FW_CFG_NAME = "opt/com.coreos/config"


def kind_of_image(path: str) -> str:
    """By its name, which ``IMAGES`` gives it; what has another one is a NoCloud image of the user's own."""
    return next((kind for kind, name in IMAGES.items() if os.path.basename(path) == name), CLOUD_INIT)
