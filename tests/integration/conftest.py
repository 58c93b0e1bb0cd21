# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Labs, and hosts that are all this machine, for the integration tests."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.integration.relay_site import Site
from ansible_collections.basecast.fleet.tests.lab import Lab, _linux

LabFactory = Callable[..., Lab]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell ignores Ctrl-C for what it runs in the background, and so would all programs of the tests."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def lab_factory() -> Iterator[LabFactory]:
    """Starts labs (the arguments are Lab's) that live until the end of the module."""
    with contextlib.ExitStack() as stack:
        yield lambda **arguments: stack.enter_context(Lab(**arguments))


@pytest.fixture
def fresh_lab_factory() -> Iterator[LabFactory]:
    """Starts labs that live until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **arguments: stack.enter_context(Lab(**arguments))


@pytest.fixture
def site() -> Iterator[Site]:
    # A short path: that of a unix socket has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="relay-"))
    site = Site(directory)
    yield site
    site.end()
    subprocess.run(["chattr", "-R", "-i", str(directory)], capture_output=True, check=False)
    shutil.rmtree(directory)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, outside those that labs make."""
    # Short, because sockets are made in it.
    made = Path(tempfile.mkdtemp(prefix="lab-", dir="/var/tmp"))
    yield made
    _linux.remove_tree(made)
