# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controllers as users have them: each release of ansible-core, with jsonschema and nothing else, on a Python that it supports."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

PYTHONS = {
    "2.16": ("3.12", "3.11", "3.10"),
    "2.17": ("3.12", "3.11", "3.10"),
    "2.18": ("3.13", "3.12", "3.11"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.14", "3.13", "3.12"),
    "2.21": ("3.14", "3.13", "3.12"),
}
"""Of each release, the Pythons it runs on, the one to take first."""


def python(version: str) -> Path | None:
    """That Python, as the distribution or pyenv has installed it."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [
        *sorted((pyenv / "versions").glob(f"{version}.*/bin/python{version}")),
        *(Path(folder) / f"python{version}" for folder in ("/usr/bin", "/usr/local/bin")),
    ]
    return next((path for path in found if path.exists()), None)


def core(release: str) -> Path | None:
    """The `bin` of an environment with that ansible-core, made on first use; None if no Python here can run it."""
    interpreter = next(filter(None, map(python, PYTHONS[release])), None)
    if interpreter is None:
        return None
    return environment(f"cores/{release}-{interpreter.name}", interpreter, f"ansible-core~={release}.0", "jsonschema")


def environment(name: str, interpreter: str | Path, *packages: str) -> Path:
    """The `bin` of an environment of its own with these packages, made on first use."""
    made = _cache() / name
    with _making(made) as wanted:
        if wanted:
            subprocess.run([interpreter, "-m", "venv", made], check=True)
            subprocess.run([made / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
    return made / "bin"


def wheels(interpreter: str | Path, *packages: str) -> Path:
    """A folder of these packages and of what they need, for a pip without a network; fetched on first use."""
    pip = environment("wheels-pip", interpreter, "pip") / "pip"
    made = _cache() / "wheels"
    with _making(made) as wanted:
        if wanted:
            subprocess.run([pip, "download", "--quiet", "--disable-pip-version-check", "--dest", made, *packages], check=True)
    return made


def _cache() -> Path:
    return Path(os.environ.get("BASECAST_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "basecast-fleet")


@contextlib.contextmanager
def _making(made: Path) -> Iterator[bool]:
    """Whether the folder has to be filled; other processes wait until it is."""
    made.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{made}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = not (made / ".complete").exists()
        if wanted:
            shutil.rmtree(made, ignore_errors=True)
        yield wanted
        (made / ".complete").touch()
