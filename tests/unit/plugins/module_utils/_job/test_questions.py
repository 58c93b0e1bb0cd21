# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job.questions import ask_all


def _fail(error: Exception) -> t.Callable[[], t.Any]:
    def ask() -> t.NoReturn:
        raise error

    return ask


def test_answers_come_by_name_and_in_order() -> None:
    answers = ask_all({"b": lambda: {"x": [1, None, "ü\udcff"]}, "a": lambda: None}, {"a": 5, "b": 5})
    assert list(answers) == ["b", "a"]
    assert (answers["b"].known, answers["b"].value) == (True, {"x": [1, None, "ü\udcff"]})
    assert (answers["a"].known, answers["a"].value) == (True, None)
    assert ask_all({}, {}) == {}


@pytest.mark.parametrize(
    "question, reason",
    [
        (_fail(FleetError("The record is no JSON.")), "The record is no JSON."),
        (_fail(PermissionError(13, "Permission denied", "/pool/bases")), "/pool/bases: Permission denied"),
        (_fail(RecursionError("too deep")), "unexpected RecursionError: too deep. This is a defect."),
        (lambda: os._exit(3), "ended without an answer"),
        (lambda: os.kill(os.getpid(), 9), "ended without an answer"),
        (lambda: {1, 2}, "unexpected TypeError"),
        (lambda: sys.exit(1), "ended without an answer"),
        (lambda: time.sleep(60), "no answer within 0.3 s"),
    ],
)
def test_a_question_without_an_answer_hides_no_other(question: t.Any, reason: str) -> None:
    began = time.monotonic()
    answers = ask_all({"bad": question, "good": lambda: 7}, {"bad": 0.3, "good": 10})
    assert not answers["bad"].known and reason in answers["bad"].error
    assert answers["bad"].told()["error"] == answers["bad"].error
    assert (answers["good"].value, answers["good"].told()["error"]) == (7, None)
    assert time.monotonic() - began < 5


def test_a_large_answer_comes_whole() -> None:
    assert ask_all({"a": lambda: "x" * 3_000_000}, {"a": 20})["a"].value == "x" * 3_000_000


def test_a_hung_question_does_not_hold_the_output() -> None:
    """Ansible waits for a module's output to be closed."""
    reader, writer = os.pipe()
    kept = os.dup(1)
    try:
        os.dup2(writer, 1)
        ask_all({"a": lambda: time.sleep(30)}, {"a": 0.2})
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(writer)
    began = time.monotonic()
    assert os.read(reader, 1) == b"" and time.monotonic() - began < 5
    os.close(reader)
