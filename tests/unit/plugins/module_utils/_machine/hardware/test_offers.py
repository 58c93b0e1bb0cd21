# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.offers import offers_of
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError

CAPABILITIES = """<capabilities>
  <host><topology><cells>
    <cell id='0'><pages unit='KiB' size='4'>9</pages><pages unit='KiB' size='2048'>8</pages><cpus><cpu id='0'/><cpu id='2'/></cpus></cell>
    <cell id='1'><pages unit='KiB' size='2048'>4</pages><pages unit='KiB' size='4'>9</pages><cpus><cpu id='1'/><cpu id='3'/></cpus></cell>
  </cells></topology></host>
  <guest><arch name='i686'><machine>isapc</machine></arch></guest>
  <guest><arch name='x86_64'><machine canonical='pc-q35-7.2'>q35</machine><domain type='kvm'><machine>microvm</machine></domain></arch></guest>
</capabilities>"""


class Libvirt:
    def __init__(self, told: dict[str, str], kvm: bool = True) -> None:
        self.told, self.kvm = told, kvm

    def arch(self) -> str:
        return "x86_64"

    def accelerated(self) -> bool:
        return self.kvm

    def capabilities_xml(self) -> str:
        return CAPABILITIES

    def domain_capabilities(self, arch: str, machine_type: str | None, domain_type: str) -> str:
        assert (arch, machine_type) == ("x86_64", "q35")
        if domain_type not in self.told:
            raise LibvirtError("libvirt could not ask: no emulator")
        return f"<domainCapabilities>{self.told[domain_type]}</domainCapabilities>"


def enum(name: str, *values: str) -> str:
    return f"<enum name='{name}'>{''.join(f'<value>{value}</value>' for value in values)}</enum>"


@pytest.mark.parametrize(
    ("told", "firmware", "tpm"),
    [
        ("", ["bios"], []),
        (f"<os>{enum('firmware')}<loader>{enum('secure', 'yes')}</loader></os>", ["bios"], []),
        (f"<os>{enum('firmware', 'efi')}<loader>{enum('secure', 'no')}</loader></os>", ["bios", "uefi"], []),
        (f"<os>{enum('firmware', 'efi')}<loader>{enum('secure', 'yes', 'no')}</loader></os>", ["bios", "uefi", "uefi_secure"], []),
        (f"<devices><tpm>{enum('backendModel', 'passthrough')}</tpm></devices>", ["bios"], []),
        (
            f"<devices><tpm>{enum('backendModel', 'emulator')}{enum('backendVersion', '1.2', '2.0')}</tpm></devices>",
            ["bios"],
            ["1.2", "2.0"],
        ),
        (f"<devices><tpm>{enum('backendModel', 'emulator')}</tpm></devices>", ["bios"], ["2.0"]),
    ],
)
def test_offers_are_what_libvirt_lists(told: str, firmware: list[str], tpm: list[str]) -> None:
    offers = offers_of(Libvirt({"kvm": told}), "kvm")
    assert (offers["firmware"], offers["tpm"]) == (firmware, tpm)
    assert offers["machine_types"] == ["pc-q35-7.2", "q35"], "boards without PCI are of no use"


@pytest.mark.parametrize(("told", "most"), [("<vcpu max='64'/>", 64), ("<vcpu max='288'/>", 255), ("<vcpu/>", None), ("", None)])
def test_the_most_processors_of_one_machine(told: str, most: int | None) -> None:
    """More than 255 need an IOMMU that machines do not have."""
    assert offers_of(Libvirt({"kvm": told})).get("most_cpus") == most


def test_what_libvirt_does_not_tell_is_left_out() -> None:
    assert set(offers_of(Libvirt({}))) == {"machine_types", "nodes", "cpus", "hugepages_mib", "watchdogs"}
    efi = f"<os>{enum('firmware', 'efi')}</os>"
    offers: dict[str, t.Any] = offers_of(Libvirt({"kvm": "", "qemu": efi}))
    assert offers["firmware"] == ["bios", "uefi"], "either kind of machine counts"
    assert offers_of(Libvirt({"qemu": efi}, kvm=False))["firmware"] == ["bios", "uefi"]


def test_processors_and_memory_are_those_of_the_host() -> None:
    custom = "<mode name='custom' supported='yes'><model usable='yes'>EPYC</model><model usable='no'>Denverton</model></mode>"
    modes = "<mode name='host-passthrough' supported='yes'/><mode name='maximum' supported='no'/>"
    offers = offers_of(Libvirt({"kvm": f"<cpu>{custom}{modes}</cpu>"}, kvm=True), "kvm")
    assert offers["cpu_models"] == ["EPYC", "host-passthrough"]
    assert (offers["cpus"], offers["nodes"], offers["hugepages_mib"]) == ([0, 1, 2, 3], [0, 1], {"2M": 24})
