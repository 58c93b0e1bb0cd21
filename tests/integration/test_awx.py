# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""extensions/awx: the project's playbooks can be read, and ansible-builder takes the execution environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.basecast.fleet.tests.integration.cores import environment
from ansible_collections.basecast.fleet.tests.lab._lab import CHECKOUT
from ansible_collections.basecast.fleet.tests.lab._pace import limit_s

AWX = CHECKOUT / "extensions/awx"
BUILDER = ("ansible-builder~=3.1",)


def run(*argv: str | Path, cwd: Path, **given: str) -> str:
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    variables = {**path, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"), **given}
    done = subprocess.run(argv, cwd=cwd, env=variables, text=True, capture_output=True, timeout=limit_s(120), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(120)
def test_the_playbooks_of_the_project_can_be_read() -> None:
    books = sorted(path.name for path in (AWX / "project").glob("*.yml"))
    assert len(books) > 5
    assert run("ansible-playbook", "--syntax-check", *books, cwd=AWX / "project").count("playbook: ") == len(books)


@pytest.mark.timeout(300)
def test_ansible_builder_takes_the_environment(tmp_path: Path) -> None:
    builder = environment("builder", sys.executable, *BUILDER) / "ansible-builder"
    options: list[str | Path] = ["-f", AWX / "execution-environment.yml", "-c", tmp_path / "context", "--output-filename", "Containerfile"]
    run(builder, "create", *options, cwd=AWX)
    made = {path.name: path for path in (tmp_path / "context").rglob("*") if path.is_file()}
    assert {"Containerfile", "requirements.yml", "requirements.txt", "bindep.txt", "warm-up.yml"} <= set(made)
    asked = yaml.safe_load(made["requirements.yml"].read_text())
    assert asked == yaml.safe_load((AWX / "project/collections/requirements.yml").read_text())
    # What the collection itself needs comes with it, from its own meta/execution-environment.yml.
    own = yaml.safe_load((CHECKOUT / "meta/execution-environment.yml").read_text())
    assert (CHECKOUT / own["dependencies"]["python"]).exists()


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_what_the_environment_compiles_is_there_for_a_job(tmp_path: Path) -> None:
    """A job's first plans compile nothing more."""
    steps = yaml.safe_load((AWX / "execution-environment.yml").read_text())["additional_build_steps"]["append_final"]
    (settings,) = [step.removeprefix("ENV ") for step in steps if step.startswith("ENV ")]
    given = {**dict(setting.partition("=")[::2] for setting in settings.split()), "NUMBA_CACHE_DIR": str(tmp_path)}

    def compiled() -> set[str]:
        run("ansible-playbook", "warm-up.yml", cwd=AWX, **given)
        return {path.name for path in tmp_path.rglob("*.nb?")}

    first = compiled()
    assert {"annealing", "simulator", "kernels"} <= {name.partition(".")[0] for name in first}
    assert compiled() == first


@pytest.mark.variant
@pytest.mark.timeout(300)
def test_the_packages_of_the_environment_resolve() -> None:
    wanted = yaml.safe_load((AWX / "execution-environment.yml").read_text())["dependencies"]
    packages = [wanted[key]["package_pip"] for key in ("ansible_core", "ansible_runner")]
    pip = environment("builder", sys.executable, *BUILDER) / "pip"
    requirements: list[str | Path] = ["-r", CHECKOUT / "meta/ee-requirements.txt", *packages, *wanted["python"]]
    said = run(pip, "install", "--dry-run", "--ignore-installed", *requirements, cwd=CHECKOUT)
    assert "Would install" in said and "ansible-core-2." in said and "jsonschema-4" in said
