# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import tls
from ansible_collections.basecast.fleet.plugins.plugin_utils import _certificates
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime(2026, 1, 10, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
HOSTS = ["kvm1", "kvm 2/ü%", "x" * 300]


def test_each_host_has_its_own_leaf_of_one_authority() -> None:
    made = _certificates.make_certificates("run", HOSTS, 3600, NOW)
    assert list(made) == HOSTS
    assert len({pem["ca"] for pem in made.values()}) == 1
    assert len({pem["key"] for pem in made.values()}) == len(HOSTS)
    authority = x509.load_pem_x509_certificate(made["kvm1"]["ca"].encode())
    for host in HOSTS:
        leaf = x509.load_pem_x509_certificate(made[host]["certificate"].encode())
        leaf.verify_directly_issued_by(authority)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [tls.uri_of(host)]
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
        assert leaf.not_valid_before_utc == NOW - DAY
        assert leaf.not_valid_after_utc == NOW + DAY + datetime.timedelta(hours=1)
        tls.contexts(**made[host], clock=NOW.timestamp)


def test_two_runs_share_nothing() -> None:
    first, second = (_certificates.make_certificates("run", ["kvm1"], 60, NOW)["kvm1"] for _number in range(2))
    assert first["ca"] != second["ca"]
    assert first["key"] != second["key"]


def test_both_sides_quote_names_alike() -> None:
    for host in HOSTS:
        assert _certificates.uri_of(host) == tls.uri_of(host)
