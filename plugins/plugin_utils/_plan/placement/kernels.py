# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Ruin and recreate over flat arrays: one step empties some hosts or storages and fills them again.

The method is slack induction by removals (Christiaens and Vanden Berghe, 2020) with simulated annealing: machines that
share a host, a storage or a layer are taken out together, as only together they can make a copy needless; they are put
back one by one where the key of the step is least. A step that is not accepted is undone.

All functions take lists as well as NumPy arrays; ``compiled`` compiles ``improve`` and what it calls. Space and memory are in
MiB, times in seconds; M machines, R roles, O options, H hosts, P storages, C copies.
"""

from __future__ import annotations

import math
import typing as t

NEVER = 1 << 60
PATIENCE = 50
MORE = 50
BLINK = 0.02  # the share of options passed over, so that equal steps do not repeat each other
BLINKS = 1 / math.log(1 - BLINK)
TURN = 2.0**31


class World(t.NamedTuple):
    """What does not change: arrays of the problem."""

    hosts: int
    machine_role: t.Any  # [M]
    cpu: t.Any  # [R]
    memory: t.Any  # [R]
    weight: t.Any  # [R] how dear it is to leave one out
    option_from: t.Any  # [R + 1]
    at_host: t.Any  # [R * (H + 1)] first option of a role on a host
    option_host: t.Any  # [O]
    option_part_from: t.Any  # [O + 1]
    option_part: t.Any
    part_storage: t.Any
    part_fixed: t.Any
    part_thin: t.Any
    part_copy_from: t.Any
    part_copy: t.Any
    copy_seconds: t.Any  # [C]
    copy_size: t.Any  # [C]
    copy_mib: t.Any  # [C]
    rule_from: t.Any  # [R + 1]
    rule_of: t.Any
    rule_domain: t.Any  # [rules * H] position of the counter
    rule_limit: t.Any  # [counters]
    bond_from: t.Any  # [R + 1]
    bond_of: t.Any
    bond_domain: t.Any  # [bonds * H]
    cpu_limit: t.Any  # [H]
    memory_limit: t.Any  # [H]
    level: t.Any  # [H]
    free: t.Any  # [P]
    promised: t.Any  # [P]
    overcommit: t.Any  # [P]
    storage_host_from: t.Any  # [P + 1]
    storage_host: t.Any


class State(t.NamedTuple):
    """What an assignment makes of it."""

    at: t.Any  # [M] option or -1
    head: t.Any  # [H] first machine of a host
    after: t.Any  # [M] next machine of the same host
    before: t.Any  # [M]
    cpu: t.Any  # [H]
    memory: t.Any  # [H]
    fixed: t.Any  # [P]
    thin: t.Any  # [P]
    seconds: t.Any  # [P]
    users: t.Any  # [C]
    counts: t.Any  # [counters]
    bond_at: t.Any  # [bonds]
    bond_users: t.Any  # [bonds]
    total: t.Any  # [4] weight of the unplaced, bytes, MiB over the level, number of the unplaced
    random: t.Any  # [1]
    out: t.Any  # [M] machines taken out in this step
    was: t.Any  # [M] their options before
    mark: t.Any  # [2] machines taken out in this step; those of one role that wait
    best: t.Any  # [M] best assignment so far


class Goal(t.NamedTuple):
    """What one search is to do: limits, what a step is judged by, and how long."""

    deadline: int  # seconds that no storage may pass
    size: int  # bytes that may be brought altogether
    enough: int  # machines that may be left out
    for_weight: float
    for_size: float
    for_over: float
    hot: float
    cold: float
    steps: int
    window: int  # options looked at beside those of the hosts that were emptied
    most: int  # machines taken out at once


def draw(random: t.Any) -> float:
    """The next number of a linear congruential generator, in [0, 1)."""
    random[0] = (random[0] * 1103515245 + 12345) % 2147483648
    # The low bits of such a generator alternate; a second round mixes them.
    return ((random[0] ^ (random[0] >> 15)) % 2147483648) / TURN


def pick(random: t.Any, count: int) -> int:
    """A number below ``count``."""
    return min(count - 1, int(draw(random) * count))


def blink(random: t.Any) -> int:
    """How many options are looked at before one is passed over."""
    return int(math.log(1.0 - draw(random)) * BLINKS)


def missing(w: World, s: State, role: int, option: int, deadline: int) -> int:
    """The bytes that would have to be brought for one more machine of the role there; -1 if it does not fit."""
    host = w.option_host[option]
    if s.cpu[host] + w.cpu[role] > w.cpu_limit[host] or s.memory[host] + w.memory[role] > w.memory_limit[host]:
        return -1
    if not allowed(w, s, role, host):
        return -1
    return to_bring(w, s, option, deadline)


def to_bring(w: World, s: State, option: int, deadline: int) -> int:
    """The bytes that would have to be brought for one more machine there; -1 if a storage has no room or no time for it."""
    size = 0
    for at in range(w.option_part_from[option], w.option_part_from[option + 1]):
        more = of_part(w, s, w.option_part[at], deadline)
        if more < 0:
            return -1
        size += more
    return size


def allowed(w: World, s: State, role: int, host: int) -> bool:
    """Whether the rules about machines beside each other let one more of the role onto the host."""
    for at in range(w.rule_from[role], w.rule_from[role + 1]):
        counter = w.rule_domain[w.rule_of[at] * w.hosts + host]
        if s.counts[counter] >= w.rule_limit[counter]:
            return False
    for at in range(w.bond_from[role], w.bond_from[role + 1]):
        bond = w.bond_of[at]
        if s.bond_users[bond] > 0 and s.bond_at[bond] != w.bond_domain[bond * w.hosts + host]:
            return False
    return True


def of_part(w: World, s: State, part: int, deadline: int) -> int:
    """The bytes to bring for one more such part; -1 if its storage has no room or no time for it."""
    storage = w.part_storage[part]
    fixed = w.part_fixed[part]
    thin = w.part_thin[part]
    size = 0
    seconds = 0
    for at in range(w.part_copy_from[part], w.part_copy_from[part + 1]):
        copy = w.part_copy[at]
        if s.users[copy] == 0:
            size += w.copy_size[copy]
            seconds += w.copy_seconds[copy]
            fixed += w.copy_mib[copy]
    if fixed == 0 and thin == 0:
        return size
    if seconds > 0 and s.seconds[storage] + seconds > deadline:
        return -1
    fixed += s.fixed[storage]
    if fixed > w.free[storage]:
        return -1
    if 100 * (w.promised[storage] + s.thin[storage] + thin) > w.overcommit[storage] * (w.free[storage] - fixed):
        return -1
    return size


def put(w: World, s: State, machine: int, option: int) -> None:
    """Places a machine."""
    role = w.machine_role[machine]
    host = w.option_host[option]
    s.at[machine] = option
    first = s.head[host]
    s.after[machine] = first
    s.before[machine] = -1
    if first >= 0:
        s.before[first] = machine
    s.head[host] = machine
    s.total[0] -= w.weight[role]
    s.total[3] -= 1
    change(w, s, role, option, 1)


def take(w: World, s: State, machine: int) -> None:
    """Takes a machine away from where it is."""
    role = w.machine_role[machine]
    option = s.at[machine]
    host = w.option_host[option]
    ahead = s.before[machine]
    behind = s.after[machine]
    if ahead >= 0:
        s.after[ahead] = behind
    else:
        s.head[host] = behind
    if behind >= 0:
        s.before[behind] = ahead
    s.at[machine] = -1
    s.total[0] += w.weight[role]
    s.total[3] += 1
    change(w, s, role, option, -1)


def change(w: World, s: State, role: int, option: int, sign: int) -> None:
    """Counts one machine of the role more or less at the option."""
    host = w.option_host[option]
    over = max(0, s.memory[host] - w.level[host])
    s.cpu[host] += sign * w.cpu[role]
    s.memory[host] += sign * w.memory[role]
    s.total[2] += max(0, s.memory[host] - w.level[host]) - over
    for at in range(w.rule_from[role], w.rule_from[role + 1]):
        s.counts[w.rule_domain[w.rule_of[at] * w.hosts + host]] += sign
    for at in range(w.bond_from[role], w.bond_from[role + 1]):
        bond = w.bond_of[at]
        s.bond_users[bond] += sign
        s.bond_at[bond] = w.bond_domain[bond * w.hosts + host]
    for at in range(w.option_part_from[option], w.option_part_from[option + 1]):
        change_part(w, s, w.option_part[at], sign)


def change_part(w: World, s: State, part: int, sign: int) -> None:
    """Counts one part more or less; the first user of a layer brings it, the last takes it away."""
    storage = w.part_storage[part]
    s.fixed[storage] += sign * w.part_fixed[part]
    s.thin[storage] += sign * w.part_thin[part]
    for at in range(w.part_copy_from[part], w.part_copy_from[part + 1]):
        copy = w.part_copy[at]
        users = s.users[copy]
        s.users[copy] = users + sign
        if users == 0 or users + sign == 0:
            s.fixed[storage] += sign * w.copy_mib[copy]
            s.seconds[storage] += sign * w.copy_seconds[copy]
            s.total[1] += sign * w.copy_size[copy]


def uses(w: World, option: int, storage: int, copy: int) -> bool:
    """Whether the option has a part there (and, with a copy, needs that layer)."""
    for at in range(w.option_part_from[option], w.option_part_from[option + 1]):
        part = w.option_part[at]
        if w.part_storage[part] == storage:
            if copy < 0:
                return True
            for place in range(w.part_copy_from[part], w.part_copy_from[part + 1]):
                if w.part_copy[place] == copy:
                    return True
    return False


def out_of_host(w: World, s: State, host: int, share: float, room: int) -> int:
    """Takes (a share of) a host's machines out; how many."""
    taken = 0
    machine = s.head[host]
    while machine >= 0 and taken < room:
        following = s.after[machine]
        if share >= 1.0 or draw(s.random) < share:
            drop(w, s, machine)
            taken += 1
        machine = following
    return taken


def drop(w: World, s: State, machine: int) -> None:
    """Takes a machine out for this step, remembering where it was; with it all that are bound to it."""
    count = s.mark[0]
    s.mark[0] = count + 1
    s.out[count] = machine
    s.was[count] = s.at[machine]
    take(w, s, machine)


def out_of_storage(w: World, s: State, storage: int, copy: int, room: int) -> int:
    """Takes out the machines of a storage (with a copy: those that need this layer); how many."""
    taken = 0
    for at in range(w.storage_host_from[storage], w.storage_host_from[storage + 1]):
        machine = s.head[w.storage_host[at]]
        while machine >= 0 and taken < room:
            following = s.after[machine]
            if uses(w, s.at[machine], storage, copy):
                drop(w, s, machine)
                taken += 1
            machine = following
    return taken


def out_of_copy(w: World, s: State, machine: int, room: int) -> int:
    """Takes out all that need one of the layers that were brought for a machine; how many."""
    option = s.at[machine]
    at = w.option_part_from[option] + pick(s.random, w.option_part_from[option + 1] - w.option_part_from[option])
    part = w.option_part[at]
    first = w.part_copy_from[part]
    count = w.part_copy_from[part + 1] - first
    if count == 0:
        return 0
    return out_of_storage(w, s, w.part_storage[part], w.part_copy[first + pick(s.random, count)], room)


def out_of_bonds(w: World, s: State) -> None:
    """Takes out all machines that are bound to one that was taken out: alone it could only go back."""
    at = 0
    while at < s.mark[0]:
        role = w.machine_role[s.out[at]]
        for place in range(w.bond_from[role], w.bond_from[role + 1]):
            if s.bond_users[w.bond_of[place]] > 0:
                out_of_bond(w, s, w.bond_of[place])
        at += 1


def out_of_bond(w: World, s: State, bond: int) -> None:
    """Takes out all members of a bond."""
    for machine in range(len(s.at)):
        role = w.machine_role[machine]
        for at in range(w.bond_from[role], w.bond_from[role + 1]):
            if w.bond_of[at] == bond and s.at[machine] >= 0:
                drop(w, s, machine)


def ruin(w: World, s: State, goal: Goal) -> None:
    """Takes machines out: of a host and its neighbours, of a storage, of a layer, or any."""
    most = 2 + pick(s.random, goal.most - 1)
    machines = len(s.at)
    start = pick(s.random, machines)
    if s.total[3] > 0 and draw(s.random) < 0.6:
        # A host that somebody who was left out may use.
        for _unused in range(machines):
            if s.at[start] < 0:
                break
            start = (start + 1) % machines
        role = w.machine_role[start]
        options = w.option_from[role + 1] - w.option_from[role]
        if options > 0:
            option = w.option_from[role] + pick(s.random, options)
            if draw(s.random) < 0.3 and w.option_part_from[option + 1] > w.option_part_from[option]:
                part = w.option_part[w.option_part_from[option]]
                out_of_storage(w, s, w.part_storage[part], -1, 4 * goal.most)
            else:
                ruin_near(w, s, w.option_host[option], most)
        return
    if s.at[start] < 0:
        return
    way = draw(s.random)
    if way < 0.4 and out_of_copy(w, s, start, 4 * goal.most) > 0:
        return
    if way < 0.6 and w.option_part_from[s.at[start] + 1] > w.option_part_from[s.at[start]]:
        option = s.at[start]
        part = w.option_part[w.option_part_from[option]]
        out_of_storage(w, s, w.part_storage[part], -1, 4 * goal.most)
        return
    if s.at[start] >= 0:
        ruin_near(w, s, w.option_host[s.at[start]], most)


def ruin_near(w: World, s: State, host: int, most: int) -> None:
    """Takes machines out of a host, then of hosts at random until there are enough."""
    share = 1.0 if draw(s.random) < 0.6 else 0.5
    taken = out_of_host(w, s, host, share, most)
    tries = 0
    while taken < most and tries < 4:
        taken += out_of_host(w, s, pick(s.random, w.hosts), share, most - taken)
        tries += 1


def burden(w: World, s: State, option: int, size: int, goal: Goal) -> float:
    """What the new layers of an option cost: their share of the time that is left there, or gigabytes where time is free."""
    if goal.deadline >= NEVER:
        return 1 + size / 1e9
    most = 0.0
    for at in range(w.option_part_from[option], w.option_part_from[option + 1]):
        part = w.option_part[at]
        seconds = 0
        for place in range(w.part_copy_from[part], w.part_copy_from[part + 1]):
            copy = w.part_copy[place]
            if s.users[copy] == 0:
                seconds += w.copy_seconds[copy]
        most = max(most, seconds / max(1, goal.deadline - s.seconds[w.part_storage[part]]))
    return most


def room_for(w: World, s: State, role: int, host: int) -> int:
    """How many machines of the role a host's processors and memory would take."""
    return min((w.cpu_limit[host] - s.cpu[host]) // max(1, w.cpu[role]), (w.memory_limit[host] - s.memory[host]) // max(1, w.memory[role]))


def key(w: World, s: State, role: int, option: int, cost: float, style: int) -> float:
    """How good an option is for a machine, less is better: what has to be brought, then how well it fits."""
    host = w.option_host[option]
    cpu = (s.cpu[host] + w.cpu[role]) / w.cpu_limit[host]
    memory = (s.memory[host] + w.memory[role]) / w.memory_limit[host]
    if style % 4 == 0:
        fit = 1.0 - min(cpu, memory)  # packs: least left over
    elif style % 4 == 1:
        fit = abs(cpu - memory)  # keeps both in step
    elif style % 4 == 2:
        fit = max(cpu, memory)  # spreads
    else:
        fit = draw(s.random)
    if cost > 0:
        if style < 8:
            cost /= max(1, min(s.mark[1], room_for(w, s, role, host)))
        cost *= 3.0 if style < 4 else 1.0
    return fit + cost


def better_of(w: World, s: State, role: int, span: tuple[int, int], goal: Goal, style: int) -> tuple[int, float]:
    """The best of a range of options, or -1."""
    best = -1
    least = math.inf
    room = goal.size - s.total[1]
    # One number tells how many options are looked at before one is passed over.
    skip = span[0] + blink(s.random)
    cpus = w.cpu[role]
    memory = w.memory[role]
    ruled = w.rule_from[role] < w.rule_from[role + 1] or w.bond_from[role] < w.bond_from[role + 1]
    for option in range(span[0], span[1]):
        if option == skip:
            skip += 1 + blink(s.random)
            continue
        host = w.option_host[option]
        if s.cpu[host] + cpus > w.cpu_limit[host] or s.memory[host] + memory > w.memory_limit[host]:
            continue
        if ruled and not allowed(w, s, role, host):
            continue
        size = to_bring(w, s, option, goal.deadline)
        if size < 0 or size > room:
            continue
        value = key(w, s, role, option, burden(w, s, option, size, goal) if size > 0 else 0.0, style)
        if value < least:
            least = value
            best = option
    return best, least


def choose(w: World, s: State, role: int, goal: Goal, style: int) -> int:
    """The option for a machine that is out: all of them, or those of the emptied hosts and a window of the others."""
    low = w.option_from[role]
    high = w.option_from[role + 1]
    if high - low <= goal.window:
        return better_of(w, s, role, (low, high), goal, style)[0]
    start = low + pick(s.random, high - low)
    best, least = better_of(w, s, role, (start, min(high, start + goal.window)), goal, style)
    last = -1
    for at in range(s.mark[0]):
        if s.was[at] >= 0:
            host = w.option_host[s.was[at]]
            if host != last:
                last = host
                place = role * (w.hosts + 1) + host
                other, value = better_of(w, s, role, (w.at_host[place], w.at_host[place + 1]), goal, style)
                if value < least:
                    best, least = other, value
    return best


def sort_out(w: World, s: State, style: int) -> None:
    """Orders the machines that are out: by weight or at random, those of a role together."""
    count = s.mark[0]
    shift = pick(s.random, 7919)
    for at in range(1, count):
        machine = s.out[at]
        was = s.was[at]
        rank = order(w, machine, style, shift)
        place = at - 1
        while place >= 0 and order(w, s.out[place], style, shift) < rank:
            s.out[place + 1] = s.out[place]
            s.was[place + 1] = s.was[place]
            place -= 1
        s.out[place + 1] = machine
        s.was[place + 1] = was


def order(w: World, machine: int, style: int, shift: int) -> int:
    """Its place among those that are out: the greatest comes first."""
    role = w.machine_role[machine]
    if style % 3 == 0:
        return w.weight[role] * 10000 + role
    if style % 3 == 1:
        return w.memory[role] * 10000 + role
    return ((role + 1) * 7919 + shift * 104729) % 1000003


def recreate(w: World, s: State, goal: Goal) -> None:
    """Puts the machines that are out back, and those that were left out before."""
    left = s.total[3] - s.mark[0]
    if left > 0:
        # Some of those left out before come along.
        start = pick(s.random, len(s.at))
        took = 0
        count = s.mark[0]
        for step in range(len(s.at)):
            machine = (start + step) % len(s.at)
            if s.at[machine] < 0 and took < 8 and not among(s.out, count, machine):
                s.out[s.mark[0]] = machine
                s.was[s.mark[0]] = -1
                s.mark[0] += 1
                took += 1
                if took >= left:
                    break
    style = pick(s.random, 12)
    sort_out(w, s, pick(s.random, 3))
    none = -1
    for at in range(s.mark[0]):
        role = w.machine_role[s.out[at]]
        if role == none:
            continue  # another one of this role found no place a moment ago
        s.mark[1] = waiting(w, s, at, role)
        option = choose(w, s, role, goal, style)
        if option >= 0:
            put(w, s, s.out[at], option)
        else:
            none = role


def waiting(w: World, s: State, at: int, role: int) -> int:
    """How many of the machines that are out, from this one on, are of the role."""
    count = 0
    while at < s.mark[0] and w.machine_role[s.out[at]] == role:
        count += 1
        at += 1
    return count


def among(values: t.Any, count: int, value: int) -> bool:
    """Whether a value is among the first ones."""
    for at in range(count):  # noqa: SIM110 - Numba compiles no generator expressions
        if values[at] == value:
            return True
    return False


def undo(w: World, s: State) -> None:
    """Everything as it was before the step."""
    for at in range(s.mark[0]):
        if s.at[s.out[at]] >= 0:
            take(w, s, s.out[at])
    for at in range(s.mark[0]):
        if s.was[at] >= 0:
            put(w, s, s.out[at], s.was[at])


def value_of(s: State, goal: Goal) -> float:
    """What a step is judged by."""
    return goal.for_weight * s.total[0] + goal.for_size * s.total[1] + goal.for_over * s.total[2]


def insist(w: World, s: State) -> None:
    """Makes it dearer to leave out what is left out now: the search then gives it the places of others."""
    for machine in range(len(s.at)):
        if s.at[machine] < 0:
            w.weight[w.machine_role[machine]] += MORE
    s.total[0] = 0
    for machine in range(len(s.at)):
        if s.at[machine] < 0:
            s.total[0] += w.weight[w.machine_role[machine]]


def keep(s: State) -> None:
    """Notes the assignment as the best one."""
    for machine in range(len(s.at)):
        s.best[machine] = s.at[machine]


def improve(w: World, s: State, goal: Goal) -> float:
    """Searches from the state as it is; ``state.best`` is the best assignment found, the result its value.

    Fewest left out come first, then the value. A search that is only to place machines ends once ``goal.enough`` is reached.
    """
    now = value_of(s, goal)
    least = now
    fewest = s.total[3]
    keep(s)
    cooling = (goal.cold / goal.hot) ** (1.0 / max(1, goal.steps))
    heat = goal.hot
    placing = goal.for_size == 0.0 and goal.for_over == 0.0
    for step in range(goal.steps):
        if placing and fewest <= goal.enough:
            break
        if placing and step % PATIENCE == PATIENCE - 1:
            insist(w, s)
            now = value_of(s, goal)
        s.mark[0] = 0
        ruin(w, s, goal)
        out_of_bonds(w, s)
        recreate(w, s, goal)
        then = value_of(s, goal)
        if then <= now or draw(s.random) < math.exp((now - then) / heat):
            now = then
            if s.total[3] < fewest or (s.total[3] == fewest and now < least):
                least = now
                fewest = s.total[3]
                keep(s)
        else:
            undo(w, s)
        heat *= cooling
    return least
