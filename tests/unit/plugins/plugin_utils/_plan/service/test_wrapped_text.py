# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.wrapped_text import WIDTH, wrapped

SENTENCE = "allow it with: setfacl -m u:libvirt-qemu:x /var/lib/libvirt/images " * 4


@pytest.mark.parametrize("first", ["", "  ", "  web-1  kvm1  "], ids=["none", "blanks", "a name"])
def test_no_line_is_longer_and_no_word_is_lost(first: str) -> None:
    lines = wrapped(SENTENCE, first)
    assert len(lines) > 2
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[0].startswith(first)
    assert " ".join(lines).split() == (first + SENTENCE).split()
    assert all(line.startswith(" " * (len(first) - len(first.lstrip()) + 2)) for line in lines[1:])


def test_long_words_are_cut_only_where_that_is_asked_for() -> None:
    assert wrapped("x" * 150) == ["x" * 150]
    assert len(wrapped("x" * 150, cut=True)) == 2


def test_no_text_is_one_empty_line() -> None:
    assert wrapped("") == [""]
