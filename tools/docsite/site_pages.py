# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages of the documentation site: in which order they stand, and what each is for."""

from __future__ import annotations

# Section: (page, what it is for). Pages are files of docs/, or made by the build (see build.py).
SECTIONS: dict[str, list[tuple[str, str]]] = {
    "Begin": [
        ("readme", "what it does, in ten lines"),
        ("first-deployment", "from an empty directory to running machines"),
        ("how-it-works", "the floors, a relay and a plan, as pictures"),
        ("second-day", "a walk through the life of a service"),
        ("examples/three-tiers/README", "a database, pages and a proxy, in a lab, with one command"),
    ],
    "Deploy": [
        ("deploy", "the manifest, bad hosts, whole runs, the result"),
        ("sources", "a host, a URL, a registry, Glance; checksums, and servers that want credentials"),
        ("manifest", "every key of the manifest"),
        ("customize", "names, users, networks inside of guests"),
        ("hardware", "firmware, processors, networks, devices"),
        ("appliances", "machines that start after others, health, and failing as a whole"),
        ("plan", "what a plan says, line by line"),
        ("placement", "which host and pool, and why"),
        ("progress", "the live view"),
        ("report", "the page of a plan or run"),
    ],
    "Live with it": [
        ("status", "machines, hosts, bases, and what differs from the manifest"),
        ("update", "new versions, other hardware"),
        ("scale", "more machines, or fewer, by hand or by a rule"),
        ("clone", "beside it on its host, with what it has written, and an identity of its own"),
        ("capture", "a machine on other hosts, or kept as it is"),
        ("migrate", "live or powered off; a whole host for maintenance"),
        ("remove", "with their disks, or without; what stays"),
        ("prune", "a policy, and what keeps a base"),
        ("verify", "what is damaged or does not belong together"),
    ],
    "Run it well": [
        ("tuning", "what it does, and its default"),
        ("molecule", "machines for the tests of your own roles"),
        ("awx", "templates, surveys, a workflow and schedules as code"),
        ("measuring", "probes, and a relay that changes while it runs"),
        ("planning", "how relays are planned, and how good the plans are"),
        ("scaling", "what grows, and which settings help"),
        ("failures", "what you see, what it means, what to do"),
    ],
    "Trust it": [
        ("security", "who can do what, on one page"),
        ("relay-security", "threats, limits and the tests that show them"),
        ("store-security", "what the base store believes"),
    ],
    "Compare": [
        ("comparison", "beside rsync, BitTorrent, multicast and others"),
        ("bench", "how that was measured"),
        ("other-tools", "names of Terraform, kcli, virt-lightning, OneFlow and oVirt, and ours"),
    ],
    "Change it": [
        ("contributing", "tests, rooms, style"),
        ("architecture", "the house on one page"),
        ("relay", "how bytes travel"),
        ("jobs", "one job for each host"),
        ("lab", "hosts made of namespaces"),
    ],
}
# What links between files of the repository are on the site.
PLACES = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "roles/settings/README.md": "tuning.md",
    "plugins/filter/fleet_status.py": "reference/fleet_status_filter.rst",
    "LICENSES/GPL-3.0-or-later.txt": "GPL-3.0-or-later.txt",
}
