# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Questions that are asked side by side, each in a process of its own and under a limit of time.

A process, since a file system that hangs would hold a thread, and with it the module, for as long as it likes; a library
that crashes takes only its own question along.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import typing as t

from .._errors import FleetError
from .._text import clean

_READ_BYTES = 1 << 20
_LARGEST = 1 << 28

Question = t.Callable[[], t.Any]


class Answer(t.NamedTuple):
    """What came of a question.

    :param known: whether ``value`` is the answer; if not, ``error`` says why there is none.
    :param seconds: until it was known.
    """

    known: bool
    value: t.Any
    error: str
    seconds: float

    def told(self) -> dict[str, t.Any]:
        return {"known": self.known, "error": self.error or None, "seconds": round(self.seconds, 3)}


class _Child(t.NamedTuple):
    pid: int
    reader: int
    received: bytearray


def ask_all(
    questions: t.Mapping[str, Question],
    limits_s: t.Mapping[str, float],
    clock: t.Callable[[], float] = time.monotonic,
) -> dict[str, Answer]:
    """Every question's answer by its name; each is there, or says why it cannot be known.

    :param questions: functions whose results JSON can hold.
    :param limits_s: how long each may take.
    """
    began = clock()
    answers: dict[str, Answer] = {}
    children: dict[str, _Child] = {}
    for name, question in questions.items():
        try:
            children[name] = _start(question)
        except OSError as error:
            answers[name] = Answer(False, None, f"no process could be started for it: {error.strerror}", clock() - began)
    try:
        while children:
            _collect(children, answers, limits_s, began, clock)
    finally:
        for child in children.values():
            _end(child)
    return {name: answers[name] for name in questions}


def _collect(
    children: dict[str, _Child],
    answers: dict[str, Answer],
    limits_s: t.Mapping[str, float],
    began: float,
    clock: t.Callable[[], float],
) -> None:
    """Read what there is; settle the questions that have an answer, and those whose time is up."""
    spent = clock() - began
    left = max(0.0, min(limits_s[name] for name in children) - spent)
    readable, _writable, _errors = select.select([child.reader for child in children.values()], [], [], left)
    spent = clock() - began
    for name, child in list(children.items()):
        if child.reader in readable:
            data = os.read(child.reader, _READ_BYTES)
            child.received.extend(data)
            if data and len(child.received) <= _LARGEST:
                continue
            answers[name] = _answer(bytes(child.received), spent)
        elif spent >= limits_s[name]:
            answers[name] = Answer(False, None, f"no answer within {limits_s[name]:g} s", spent)
        else:
            continue
        _end(children.pop(name))


def _answer(data: bytes, spent: float) -> Answer:
    try:
        said = json.loads(data)
        if said["error"] is None:
            return Answer(True, said["value"], "", spent)
        return Answer(False, None, str(said["error"]), spent)
    except (ValueError, KeyError, TypeError):
        return Answer(False, None, "the process that looked at it ended without an answer", spent)


def _start(question: Question) -> _Child:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if pid == 0:
        try:
            _reply(question, writer)
        finally:
            os._exit(0)
    os.close(writer)
    return _Child(pid, reader, bytearray())


def _reply(question: Question, writer: int) -> None:
    """In the child: nothing of the module's is kept open, else a child that hangs would hold the module's output."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    try:
        said = json.dumps({"value": question(), "error": None})
    except FleetError as error:
        said = json.dumps({"error": error.message})
    except OSError as error:
        where = f"{clean(error.filename, 200)}: " if error.filename else ""
        said = json.dumps({"error": f"{where}{error.strerror}"})
    except Exception as error:  # it is this question's failure only
        said = json.dumps({"error": f"unexpected {type(error).__name__}: {clean(error, 300)}. This is a defect."})
    data = memoryview(said.encode())
    while data:
        data = data[os.write(writer, data) :]


def _end(child: _Child) -> None:
    """Without waiting for a process that the kernel does not let go."""
    os.close(child.reader)
    try:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, os.WNOHANG)
    except (ProcessLookupError, ChildProcessError):
        pass
