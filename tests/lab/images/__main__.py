# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program `tests/lab/image`: builds an image if need be and prints its path."""

from __future__ import annotations

import argparse
import sys

from . import ImageError, debian, tiny
from ._debian import VARIANTS


def main() -> int:
    """Exit status of the program."""
    parser = argparse.ArgumentParser(prog="image", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    small = kinds.add_parser("tiny", help="kernel, busybox and a NoCloud reader; boots in seconds")
    small.add_argument("--version", default="v1", help="a marker that the guest prints (default: %(default)s)")
    small.add_argument("--pad-mib", type=int, default=0, help="add this much incompressible data")
    small.add_argument("--pad-seed", type=int, default=0, help="which data that is")
    small.add_argument("--ssh", action="store_true", help="with sshd and Python, for 256 MiB of memory")
    large = kinds.add_parser("debian", help="Debian with systemd and cloud-init")
    large.add_argument("--variant", default="base", choices=sorted(VARIANTS), help="what is installed (default: %(default)s)")
    arguments = vars(parser.parse_args())
    kind = arguments.pop("kind")
    try:
        print(tiny(**arguments) if kind == "tiny" else debian(**arguments))
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
