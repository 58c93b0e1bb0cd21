# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every static check, each by its own tool, over the files that git knows or would know."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from ansible_collections.basecast.fleet.tests.integration.cores import environment

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COLLECTION = "ansible_collections/basecast/fleet"


def run(*command: str, cwd: Path = ROOT, timeout: int = 600) -> str:
    """The command's output; a failed check shows it whole."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_HOME": str(ROOT / ".ansible"),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command[:3])} … exit code {done.returncode}\n{done.stdout[-12000:]}", pytrace=False)
    return done.stdout


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], cwd=ROOT, text=True, capture_output=True, check=True
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.timeout(900)
def test_ansible_test_sanity() -> None:
    output = run(str(ROOT / "tools/sanity"), timeout=900)
    assert "Running sanity test" in output
    assert "All targets skipped" not in output


def test_no_sanity_check_is_ignored() -> None:
    assert not [name for name in tracked("tests/sanity") if Path(name).read_text()]


@pytest.mark.timeout(300)
def test_ansible_lint_production() -> None:
    run("ansible-lint", "--offline", "--profile", "production", "--strict")


@pytest.mark.timeout(300)
def test_collection_docs() -> None:
    run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", ".", cwd=ROOT / ".collections" / COLLECTION)


def test_ruff() -> None:
    run("ruff", "check", *tracked("*.py"))


def test_code_is_formatted() -> None:
    run("ruff", "format", "--check", *tracked("*.py"))


@pytest.mark.parametrize(
    ("least", "folders"),
    [
        ("3.8", ["plugins/modules", "plugins/module_utils"]),
        ("3.11", ["plugins/plugin_utils", "plugins/filter", "plugins/action", "plugins/callback"]),
    ],
    ids=["hosts", "controller"],
)
def test_oldest_python(least: str, folders: list[str]) -> None:
    run("vermin", "--violations", "--no-tips", f"-t={least}-", *folders)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", ["plugins", "tests"])
def test_mypy(part: str) -> None:
    if part == "plugins":
        files = [f"{COLLECTION}/{name}" for name in tracked("plugins/**/*.py")]
        run("mypy", "--config-file", str(ROOT / "pyproject.toml"), *files, cwd=ROOT / ".collections")
    else:
        files = tracked(*(f"tests/{part}/*.py" for part in ("lab", "demo", "integration", "kills", "bench")))
        run("mypy", "--config-file", str(ROOT / "pyproject.toml"), *files)


def test_changelog() -> None:
    run("antsibull-changelog", "lint")


def test_every_file_names_its_licence() -> None:
    without = [
        name
        for name in tracked("*.py", "tools/*", "tests/lab/lab", "tests/lab/image")
        if "SPDX-License-Identifier: GPL-3.0-or-later" not in (ROOT / name).read_text()[:600]
    ]
    assert not without


# What a user's ansible.cfg would decide otherwise. Play keywords win over configuration and command line.
PLAY_KEYWORDS = {
    "gather_facts": False,
    "strategy": "ansible.builtin.linear",
    "any_errors_fatal": False,
    "timeout": 0,  # task_timeout; tasks that may hang have their own
    "debugger": "never",
}


def test_plays_set_what_they_rely_on() -> None:
    plays = [
        (name, play)
        for name in tracked("playbooks/*.yml")
        for play in yaml.safe_load((ROOT / name).read_text())
        if "hosts" in play
    ]  # fmt: skip
    assert len(plays) > 3
    wrong = [
        f"{name}: {play['name']}: {key}: {play.get(key, 'not set')}; expected {value}"
        for name, play in plays
        for key, value in PLAY_KEYWORDS.items()
        if play.get(key, "not set") != value
    ]
    assert not wrong


def test_roles_have_readmes_of_their_argument_specs() -> None:
    run(sys.executable, "tools/role-readmes", "--check")


def test_the_published_schema_is_that_of_the_manifests() -> None:
    run(sys.executable, "tools/manifest-schema", "--check")


def test_the_default_of_the_fleet_is_that_of_the_settings() -> None:
    hosts = {play["hosts"] for name in tracked("playbooks/*.yml") for play in yaml.safe_load((ROOT / name).read_text()) if "hosts" in play}
    assert all("lookup('basecast.fleet.fleet')" in pattern for pattern in hosts)


def test_the_least_ansible_core_is_the_same_everywhere() -> None:
    needed = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"].removeprefix(">=").removesuffix(".0")
    (check,) = tracked("*/check_controller.yml")
    assert f"version('{needed}', '>=')" in (ROOT / check).read_text()
    assert f"ansible-core {needed} or later" in (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, built from the files that git knows or would know."""
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "copy"
    subprocess.run(
        f"git ls-files -z -co --exclude-standard | rsync -a --from0 --ignore-missing-args --files-from=- ./ {copy}",
        shell=True, cwd=ROOT, check=True,
    )  # fmt: skip
    run("ansible-galaxy", "collection", "build", "--output-path", str(folder), cwd=copy)
    (built,) = folder.glob("basecast-fleet-*.tar.gz")
    return built


def test_the_built_collection_holds_what_users_need_and_no_more(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        built = {member.name for member in tar.getmembers() if member.isfile()}
    for_users = ("LICENSES/", "docs/", "extensions/awx/", "extensions/eda/", "meta/", "playbooks/", "plugins/", "roles/")
    wanted = set(tracked(*for_users)) | {"CHANGELOG.md", "README.md", "changelogs/config.yaml"}
    assert built - {"FILES.json", "MANIFEST.json"} == wanted


# What Galaxy's importer says of a collection that it has nothing against. ansible-lint and ansible-test have tests of their own here.
IMPORTERS_LINES = re.compile(
    r"(Importing with galaxy-importer|Getting doc strings via ansible-doc|Finding content inside collection|Loading \w+ \w"
    r"|Collection loading complete|Importer processing completed successfully)"
)
IMPORTERS_SETTINGS = """\
[galaxy-importer]
RUN_ANSIBLE_TEST = False
RUN_ANSIBLE_LINT = False
RUN_FLAKE8 = False
CHECK_REQUIRED_TAGS = True
REQUIRE_V1_OR_GREATER = False
"""


@pytest.mark.timeout(300)
def test_galaxys_importer_has_nothing_against_it(archive: Path, tmp_path: Path) -> None:
    # It needs releases of other packages than the tests do.
    bin_ = environment("galaxy-importer", sys.executable, "galaxy-importer>=0.4.44,<0.5", "ansible-core>=2.19,<2.20")
    (tmp_path / "importer.cfg").write_text(IMPORTERS_SETTINGS)
    done = subprocess.run(
        [bin_ / "python", "-m", "galaxy_importer.main", str(archive)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": f"{bin_}:/usr/bin:/bin", "GALAXY_IMPORTER_CONFIG": str(tmp_path / "importer.cfg"), "LANG": "C.UTF-8"},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=250, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line]
    assert not [line for line in lines if not IMPORTERS_LINES.match(line)]
    assert done.returncode == 0
    assert lines[-1] == "Importer processing completed successfully"


def test_the_architecture_page_shows_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = page[page.index("## The rooms") : page.index("## The base store")]
    shown = {line.split()[0].rstrip("/,") for line in tree.splitlines() if line.startswith("  ") and len(line.split()) > 1}
    rooms = {
        Path(name).parts[depth]
        for root, depth in (("roles", 1), ("plugins/module_utils/_relay", 3), ("plugins/plugin_utils/_plan", 3))
        for name in tracked(f"{root}/*/*", f"{root}/*/*/*")
    }
    assert rooms - shown == set()
