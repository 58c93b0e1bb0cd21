# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.
"""The best assignment of all machines: fewest left out, then the soonest finish, fewest bytes, the most level use.

Four searches one after another (``kernels.improve``), each within what the one before has reached: place all; bring the finish
down by bisection and then in steps, where each try has the deadline as a limit and must place all again; bring less; level.
Counted in steps, never in seconds: the same input gives the same answer on every machine.
"""

from __future__ import annotations

import typing as t

from . import kernels
from .arrays import Arrays
from .bounds import Finishes, least_finish, least_size
from .kernels import NEVER, Goal
from .model import Assignment, Problem, Vector

# Fewer machines are placed by interpreted kernels: importing Numba alone takes longer.
SMALL = 24
GB = 1e9
TRIES = 10  # of a bisection
LOWER = 12  # further tries at most, each a little below what was reached


class Effort(t.NamedTuple):
    """Steps of each search."""

    place: int
    finish: int  # of one try
    size: int
    level: int
    tries: int = LOWER  # further ones that may fail, each twice as long
    window: int = 100
    most: int = 12


class Solution(t.NamedTuple):
    """An assignment and how good it is."""

    assignment: Assignment
    vector: Vector


def effort_for(problem: Problem, compiled: bool) -> Effort:
    """Steps by the size of the problem: half of what the time that users are promised allows on one slow core."""
    machines = len(problem.machines)
    if not compiled:
        if machines <= SMALL:
            return Effort(place=1000, finish=300, size=1000, level=1500, tries=2)
        if machines <= 60:
            return Effort(place=1500, finish=350, size=1200, level=800, tries=2)
        if machines <= 600:
            return Effort(place=1500, finish=400, size=600, level=400, tries=2)
        return Effort(place=1000, finish=350 if machines <= 4000 else 100, size=100, level=60, tries=1)
    if machines <= 60:
        return Effort(place=20000, finish=1500, size=12000, level=8000, tries=3)
    if machines <= 600:
        return Effort(place=30000, finish=3000, size=8000, level=5000, tries=2)
    if machines <= 4000:
        return Effort(place=10000, finish=2000, size=3500, level=2000, tries=2)
    return Effort(place=10000, finish=1500, size=2000, level=1000, tries=1)


def solve(problem: Problem, effort: Effort | None = None, seed: int = 1) -> Solution:
    """The best assignment found.

    :param effort: as many steps as the size of the problem allows by default.
    """
    arrays = Arrays(problem, seed, fast=len(problem.machines) > SMALL)
    effort = effort or effort_for(problem, arrays.engine is not None)
    search = _Search(arrays, effort, seed)
    search.place()
    search.finish()
    search.size()
    search.level()
    return Solution(arrays.assignment, arrays.vector)


def place_all(problem: Problem, start: Assignment | None = None, steps: int | None = None) -> Solution:
    """An assignment that leaves as few out as the search can find, whatever else it costs.

    :param start: an assignment to begin with.
    """
    arrays = Arrays(problem, 1, fast=len(problem.machines) > SMALL)
    effort = effort_for(problem, arrays.engine is not None)
    if start is not None:
        roles = problem.machines
        arrays.adopt([arrays.first[roles[m]] + option if option >= 0 else -1 for m, option in enumerate(start)])
    _Search(arrays, effort._replace(place=steps or effort.place), 1).place()
    return Solution(arrays.assignment, arrays.vector)


class _Search:
    """The stages, over one problem."""

    def __init__(self, arrays: Arrays, effort: Effort, seed: int) -> None:
        self.arrays, self.effort, self.seed = arrays, effort, seed
        self.unplaced = 0

    def goal(self, **change: t.Any) -> Goal:
        """A goal that asks for nothing but places."""
        goal = Goal(
            deadline=NEVER, size=NEVER, enough=self.unplaced, for_weight=1.0, for_size=0.0, for_over=0.0, hot=150.0, cold=50.0,
            steps=self.effort.place, window=self.effort.window, most=self.effort.most,
        )  # fmt: skip
        return goal._replace(**change)

    def restart(self) -> None:
        self.seed += 1
        self.arrays.anew(self.seed)

    def place(self) -> None:
        """As few as possible are left out."""
        self.arrays.improve(self.goal())
        self.unplaced = self.arrays.vector.unplaced

    def finish(self) -> None:
        """The soonest finish at which as few are left out."""
        reached = self.arrays.vector.finish
        finishes = Finishes(self.arrays.problem, reached)
        # Of the machines that are left out nobody knows whether they have to be.
        bound = low = 0 if self.unplaced else least_finish(self.arrays.problem, finishes, reached)
        for _attempt in range(TRIES):
            if low >= reached:
                break
            deadline = max(low, finishes.up_to((low + reached) // 2))
            if self._before(deadline, self.effort.finish):
                reached = self.arrays.vector.finish
            else:
                low = finishes.not_before(deadline + 1)
        failed = 0
        for _attempt in range(LOWER):
            if reached <= bound or failed >= self.effort.tries:
                return
            deadline = max(bound, finishes.up_to(reached - max(1, reached // (100 if failed % 2 else 30))))
            if self._before(deadline, 2 * self.effort.finish):
                reached = self.arrays.vector.finish
            else:
                failed += 1

    def _before(self, deadline: int, steps: int) -> bool:
        """One try; where it fails, all is as it was."""
        saved = self.arrays.save()
        self.restart()
        relax(self.arrays, deadline)
        self.arrays.improve(self.goal(deadline=deadline, steps=steps))
        if self.arrays.vector.unplaced <= self.unplaced:
            return True
        self.arrays.restore(saved)
        return False

    def size(self) -> None:
        """The fewest bytes at that finish."""
        vector = self.arrays.vector
        if vector.size <= (0 if self.unplaced else least_size(self.arrays.problem)):
            return
        self.restart()
        brought = [copy.size / GB for copy in self.arrays.problem.copies]
        mean = sum(brought) / max(1, len(brought))
        self.arrays.improve(
            self.goal(
                deadline=vector.finish,
                for_weight=0.05,
                for_size=1 / GB,
                hot=max(0.05, mean),
                cold=max(0.005, mean / 50),
                steps=self.effort.size,
            )
        )

    def level(self) -> None:
        """The least memory above the level line at that finish and with those bytes."""
        vector = self.arrays.vector
        if vector.over == 0:
            return
        self.restart()
        roles = self.arrays.problem.roles
        mean = sum(role.memory for role in roles) / len(roles)
        self.arrays.improve(
            self.goal(
                deadline=vector.finish,
                size=vector.size,
                for_weight=100.0,
                for_over=1.0,
                hot=mean / 2,
                cold=mean / 50,
                steps=self.effort.level,
            )
        )


def relax(arrays: Arrays, deadline: int) -> None:
    """Takes machines away until no storage is later than the deadline: for each layer that few of them need first."""
    state, copies = arrays.state, arrays.problem.copies
    used: dict[int, list[int]] = {}
    for copy, users in enumerate(state.users):
        if users > 0:
            used.setdefault(copies[copy].storage, []).append(copy)
    for storage, there in used.items():
        while state.seconds[storage] > deadline:
            needed = [copy for copy in there if state.users[copy] > 0]
            worst = min(needed, key=lambda copy: (state.users[copy] / max(1, copies[copy].seconds), copy))
            for host in arrays.problem.storages[storage].hosts:
                machine = int(state.head[host])
                while machine >= 0:
                    following = int(state.after[machine])
                    if kernels.uses(arrays.world, state.at[machine], storage, worst):
                        kernels.take(arrays.world, state, machine)
                    machine = following
