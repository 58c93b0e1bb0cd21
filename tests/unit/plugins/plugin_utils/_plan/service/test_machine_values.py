# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import time
import typing as t
from pathlib import Path

import jinja2
import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.clone_plan import clone_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import machine_spec
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.machine_values import (
    NAMES,
    as_variables,
    filled,
    mistakes,
    values_of,
)
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import held, host, manifest

VALUES = values_of("web-3", "web", {"service": "shop", "tenant": "acme"}, "kvm1.example.org")
PAGE = (Path(__file__).resolve().parents[6] / "docs" / "deploy.md").read_text()


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("{{ machine.name }}", "web-3"),
        ("{{machine.number}}", "3"),
        ("{{  machine.group\t}}/{{service}}/{{ tenant }}@{{ host }}", "web/shop/acme@kvm1.example.org"),
        ("no braces, { one }, {% if x %}", "no braces, { one }, {% if x %}"),
        ("{% raw %}{{ .Names }}{% endraw %} {{ host }}", "{{ .Names }} kvm1.example.org"),
        ("{%- raw -%}{{ machine.name }}\n{{ x{%- endraw %}", "{{ machine.name }}\n{{ x"),
        ("{% raw %}a{% endraw %}{{ host }}{% raw %}{{ b }}{% endraw %}", "akvm1.example.org{{ b }}"),
        ("%i of a unit of systemd", "%i of a unit of systemd"),
        ("", ""),
    ],
)
def test_a_text_is_filled_in(text: str, becomes: str) -> None:
    assert not list(mistakes(text))
    assert filled(text, VALUES) == becomes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ machine.nam }}", "'{{ machine.nam }}' is not accepted; did you mean machine.name? machine.name, "),
        ("{{ machine }}", "'{{ machine }}' is not accepted"),
        ("{{ hots }}", "did you mean host?"),
        ("{{ inventory_hostname }}", "'{{ inventory_hostname }}' is not accepted; "),
        ("{{ machine.name | upper }}", "what stands in '{{ }}' is not accepted"),
        ("{{ lookup('pipe', 'hunter2') }}", "what stands in '{{ }}' is not accepted"),
        ("{{ machine.name.__class__ }}", "is not accepted"),
        ("{{.Names}}", "braces for the guest stand between {% raw %} and {% endraw %}"),
        ("{{ }}", "is not accepted"),
        ("{{- machine.name -}}", "is not accepted"),
        ("{{ machine.name", "'{{' without '}}' is not accepted"),
        ("{{ machine.name }\nx }}", "is not accepted"),
        ("one\ntwo {{ three }}\n", "line 2: '{{ three }}' is not accepted"),
        ("{% raw %}{{ a }}", "'{{ a }}' is not accepted"),
        ("{{ machine.name }} {{ b }}", "'{{ b }}'"),
    ],
)
def test_whatever_is_no_name_is_a_mistake(text: str, told: str) -> None:
    (problem,) = mistakes(text)
    assert told in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("text", ["{{ ", "{% raw %}", "{{ machine.name }}", "{{ x }}\n", "{% raw %}{{ "])
def test_a_long_text_takes_no_longer_for_its_length(text: str) -> None:
    def spent(count: int) -> float:
        began = time.process_time()
        filled(text * count, VALUES)
        assert len(list(mistakes(text * count))) in (0, 1, count)
        return time.process_time() - began

    assert spent(8000) < 40 * max(spent(1000), 0.002)


def test_a_name_as_a_variable_stands_for_itself() -> None:
    variables = as_variables()
    for name in NAMES:
        assert jinja2.Template("{{ " + name + " }}").render(variables) == "{{ " + name + " }}"


def seeds_of(cloud_init: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """What the two hosts make, in the order of the machines."""
    plan = service_plan(manifest(cloud_init=cloud_init), {"a": host(held()), "b": host(held())})
    assert plan["problems"] == []
    return sorted((seed for work in plan["hosts"].values() for seed in work["seeds"]), key=lambda seed: str(seed["machine"]))


def test_each_machine_gets_its_own_values() -> None:
    cloud_init = {
        "user_data": {"fqdn": "{{ machine.name }}.{{ service }}", "write_files": [{"path": "/x", "content": "{{ host }}"}], "ntp": None},
        "vendor_data": "#!/bin/sh\necho {{ machine.number }} {{ tenant }}\n",
        "meta_data": {"local-hostname": "{{ machine.name }}"},
        "network_config": {"version": 2, "ethernets": {"eth0": {"addresses": ["192.0.2.{{ machine.number }}/24"]}}},
    }
    one, two = seeds_of(cloud_init)
    assert one["user_data"] == {"fqdn": "web-1.shop", "write_files": [{"path": "/x", "content": "a"}], "ntp": None}
    assert two["user_data"]["write_files"][0]["content"] == "b"
    assert two["vendor_data"] == "#!/bin/sh\necho 2 default\n"
    assert two["meta_data"] == {"local-hostname": "web-2"}
    assert two["network_config"]["ethernets"]["eth0"]["addresses"] == ["192.0.2.2/24"]


@pytest.mark.parametrize(
    "user_data",
    [
        {"runcmd": ["docker ps --format '{{.Names}}'"]},
        {"write_files": [{"path": "/etc/systemd/system/x@.service", "content": "ExecStart=/bin/x %i {{ item }}"}]},
        "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n",
        "#!/bin/sh\necho '{% raw %}{{ b }}{% endraw %}' {{ host }}\n",
        {"hostname": "{{ tenant }}"},
        {"{{ key }}": "x"},
    ],
)
@pytest.mark.parametrize("said", [{}, {"templates": False}])
def test_texts_that_name_no_machine_keep_their_bytes(user_data: t.Any, said: dict[str, t.Any]) -> None:
    before = parse_manifest({**BARE, "machines": [{**GROUP, "cloud_init": {"user_data": user_data}}]})["machines"][0]
    after = parse_manifest({**BARE, "machines": [{**GROUP, "cloud_init": {"user_data": user_data, **said}}]})["machines"][0]
    assert before["cloud_init"] == {"user_data": user_data} and after["seed_digest"] == before["seed_digest"]
    assert machine_spec(after, {"bases": []}) == machine_spec(before, {"bases": []})
    assert [seed["user_data"] for seed in seeds_of({"user_data": user_data, **said})] == [user_data] * 2


GROUP = {"name": "web", "count": 1, "disks": [{"name": "root", "size_gib": 1}]}
BARE = {"format": 1, "service": "shop"}


def test_what_could_have_been_filled_in_is_noted() -> None:
    asked = manifest(cloud_init={"user_data": {"runcmd": ["true", "echo {{ host }}"]}})
    notes = [note for note in service_plan(asked, {"a": host(held()), "b": host(held())})["notes"] if "guest" in note]
    assert notes == [
        "shop.yml: machines[0].cloud_init.user_data.runcmd[1]: '{{ host }}' is left to the guest; write templates: true beside it to"
        " fill it in, or templates: false"
    ]
    silent = manifest(cloud_init={"templates": False, "user_data": {"runcmd": ["echo {{ host }}"]}})
    assert not [note for note in service_plan(silent, {"a": host(held()), "b": host(held())})["notes"] if "guest" in note]


TEXT = """\
format: 1
service: shop
machines:
  - name: web
    count: 1
    disks: [{name: root, size_gib: 1}]
    DESCRIPTION
    cloud_init:
      user_data:
        hostname: "{{ machine.name }}"
        runcmd:
          - "echo OTHER"
"""


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("OTHER", "{{ machine.colour }}", "shop.yml:12: machines[0].cloud_init.user_data.runcmd[0]: '{{ machine.colour }}'"),
        ("OTHER", "{{.Names}}", "shop.yml:12: machines[0].cloud_init.user_data.runcmd[0]: what stands in '{{ }}'"),
        ("runcmd", '"{{ host }}"', "shop.yml:11: machines[0].cloud_init.user_data.{{ host }}: a key is not filled in"),
        ("DESCRIPTION", 'description: "{{ colour }}"', "shop.yml:7: machines[0].description: '{{ colour }}'"),
        ("DESCRIPTION", 'description: "{{ host }}"', "shop.yml:7: machines[0].description: '{{ host }}' is not accepted"),
        ("DESCRIPTION", "xml: [{path: devices, add: \"<a b='{{ host }}'/>\"}]", "shop.yml:7: machines[0].xml[0].add: '{{ host }}' is not"),
        *(
            (old, text.replace("..", "{% raw %}..{% endraw %}"), f"shop.yml:{place}: {{% raw %}} is not accepted in a path of the host")
            for old, text, place in [
                ("DESCRIPTION", "shares: [{name: media, source: '/srv/../etc'}]", "7: machines[0].shares[0].source"),
                ("size_gib: 1}]", "size_gib: 1}, {name: data, block: '/dev/../etc'}]", "6: machines[0].disks[1].block"),
                ("size_gib: 1}]", "size_gib: 1}, {name: data, volume: {path: '../x'}}]", "6: machines[0].disks[1].volume.path"),
            ]
        ),
        ("DESCRIPTION", 'description: "a\\nb"', "shop.yml:7: machines[0].description: 'a\\nb' is not accepted; a description is a line"),
    ],
)
def test_mistakes_have_their_places(old: str, new: str, place: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(TEXT.replace(old, new).replace("DESCRIPTION", "cpus: 1"), "shop.yml")
    assert [error for error in caught.value.fields["errors"] if error.startswith(place)], caught.value.fields["errors"]


def test_cloud_init_is_judged_as_the_guest_reads_it() -> None:
    """Unquoted braces are a mapping to YAML, and a name after that."""
    text = "#cloud-config\nhostname: {{ machine.name }}\n"
    parse_manifest({**BARE, "machines": [{**GROUP, "cloud_init": {"user_data": text}}]})
    with pytest.raises(ManifestError, match="packages: a string is not accepted"):
        parse_manifest({**BARE, "machines": [{**GROUP, "cloud_init": {"user_data": {"packages": "{{ machine.name }}"}}}]})


def test_a_machine_that_has_moved_has_not_changed() -> None:
    asked = manifest(cloud_init={"user_data": {"hostname": "{{ machine.name }}", "runcmd": ["echo {{ host }}"]}}, count=1)
    hosts = {"a": host(held()), "b": host(held())}
    first = service_plan(asked, hosts)
    (made,) = [one for work in first["hosts"].values() for one in work["machines"]]
    for other in ("a", "b"):
        there = {name: host(held(), machines=[{**made, "running": True}] if name == other else ()) for name in hosts}
        (machine,) = service_plan(asked, there)["machines"]
        assert (machine["host"], machine["state"], machine["drift"]) == (other, "exists", [])


def test_a_description_is_filled_in_for_the_host_alone() -> None:
    plan = service_plan(manifest(description="{{ machine.name }} of {{ tenant }}"), {"a": host(held()), "b": host(held())})
    assert [work["machines"][0]["description"] for work in plan["hosts"].values()] == ["web-1 of default", "web-2 of default"]
    assert {machine["spec"]["description"] for machine in plan["machines"]} == {"{{ machine.name }} of {{ tenant }}"}


def test_added_xml_has_values_of_each_machine() -> None:
    asked = manifest(xml=[{"path": "devices", "add": "<filesystem><source dir='/srv/{{ machine.name }}'/></filesystem>"}])
    assert "'/srv/web-1'" in asked["xml"][0]["hardware"]["xml"][0]["add"], "what hosts are asked about is what they will be given"
    hosts = {name: host(held(), machine_xml=True, xml_problems={}) for name in "ab"}
    plan = service_plan(asked, hosts)
    assert ["/srv/web-2" in one["xml"][0]["add"] for work in plan["hosts"].values() for one in work["machines"]] == [False, True]
    assert len({str(machine["spec"]["xml"]) for machine in plan["machines"]}) == 1


def test_a_clone_gets_values_of_its_own() -> None:
    asked = manifest(cloud_init={"user_data": {"hostname": "{{ machine.name }}"}}, description="{{ machine.name }}", hosts=["a"])
    first = service_plan(asked, {"a": host(held())})["hosts"]["a"]
    made = {**first["machines"][0], "running": True, "domain": "shop-web-1"}
    seen = host(held(), known=True, machines=[made], record=first["record"])
    clone = clone_plan({"a": seen}, {"service": "shop", "tenant": "default", "machine": "web-1"})
    work = clone["hosts"]["a"]
    assert clone["problems"] == []
    assert work["seeds"][0]["user_data"] == {"hostname": "web-2"} and work["machines"][0]["description"] == "web-2"


def test_the_example_of_the_page_is_what_it_says() -> None:
    (text,) = re.findall(r"```yaml\n# values\.yml\n(.*?)```", PAGE, re.S)
    plan = service_plan(parse_manifest(text), {"kvm1": host()})
    seed = plan["hosts"]["kvm1"]["seeds"][1]["user_data"]
    assert seed["fqdn"] == "web-2.shop.example.org"
    assert seed["write_files"][0]["content"] == "web-2, number 2, was made on kvm1\n"
    assert seed["runcmd"] == ["docker ps --format '{{.Names}}'"]
