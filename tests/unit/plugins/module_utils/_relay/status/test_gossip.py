# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The news of a fleet of real nodes: what each of them tells of all."""

from __future__ import annotations

import os
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost, PeerRefused
from ansible_collections.basecast.fleet.plugins.module_utils._relay.status import gossip
from ansible_collections.basecast.fleet.plugins.module_utils._relay.status.gossip import FAN, shallow_candidates
from ansible_collections.basecast.fleet.plugins.module_utils._relay.status.table import Cadence
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import poll
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.transport import Address
from ansible_collections.basecast.fleet.tests.rogue import Rogue
from hypothesis import given
from hypothesis import strategies as st

CHAIN = {"S": [], "A": ["S"], "B": ["A", "S"], "C": ["B", "A", "S"]}


@given(st.integers(1, 600), st.data())
def test_all_who_live_hang_together_whoever_has_died(count: int, data: st.DataObject) -> None:
    """Each calls the first living one of its candidates, as long as no more of those before it died than it tries."""
    hosts = [f"kvm{number:04}" for number in range(count)]
    dead = set(data.draw(st.lists(st.sampled_from(hosts), max_size=7)))
    alive = [host for host in hosts if host not in dead]
    for host in alive:
        called = [one for one in shallow_candidates(host, hosts) if one not in dead]
        assert host not in called
        assert len(called) <= 16
        if host != alive[0]:
            assert called[0] < host


def test_the_tree_is_shallow_and_nobody_is_called_by_many() -> None:
    hosts = [f"kvm{number:05}" for number in range(10_000)]
    first = {host: shallow_candidates(host, hosts)[0] for host in hosts[1::97]}
    depths = []
    for host in first:
        depth, at = 0, host
        while at != hosts[0]:
            at, depth = shallow_candidates(at, hosts)[0], depth + 1
        depths.append(depth)
    assert max(depths) <= 5
    children: dict[str, int] = {}
    for host in hosts[1:200]:
        parent = shallow_candidates(host, hosts)[0]
        children[parent] = children.get(parent, 0) + 1
    assert max(children.values()) == FAN


def seen(fleet: t.Any, by: str) -> dict[str, t.Any]:
    view = fleet.nodes[by].news.view()
    return {host: next(iter(entry["bases"].values()), None) for host, entry in view.items()}


def test_any_node_tells_the_progress_of_all_while_it_runs_and_after(fleet: t.Any, content_of: t.Any) -> None:
    """A chain at a rate that takes some seconds. B's and C's news reach S, and S's reach C."""
    content = content_of(os.urandom(1024 * 1024))
    content.put(fleet.pool("S"))
    for host in CHAIN:
        fleet.add(host)
    fleet.start(content, CHAIN, "cut_through", rate_mbps=2.0)

    def running(by: str) -> bool:
        bases = seen(fleet, by)
        return all(
            bases[host] and bases[host]["state"] == "fetching" and bases[host]["rate_mbps"] > 0.2 and bases[host]["remaining_s"]
            for host in "ABC"
        )

    fleet.until(lambda: running("S") and running("C"), 15)
    assert not fleet.nodes["S"].news.settled()
    view = seen(fleet, "S")
    assert [view[host]["parents"] for host in "SABC"] == [[], ["S"], ["A"], ["B"]]
    assert view["S"]["state"] == "holding"
    assert view["C"]["size_bytes"] == 1024 * 1024
    assert 0.2 < view["C"]["rate_mbps"] < 4
    left = (view["C"]["size_bytes"] - view["C"]["bytes"]) * 8 / 1e6 / view["C"]["rate_mbps"]
    assert view["C"]["remaining_s"] == pytest.approx(left, rel=0.1, abs=0.2)
    fleet.wait("A", "B", "C", seconds=30)
    # The transfers' connections have ended; the lines have not.
    for by in "SABC":
        fleet.until(lambda by=by: fleet.nodes[by].news.settled())
        assert {host: base["state"] for host, base in seen(fleet, by).items()} == dict.fromkeys("SABC", "holding")
    assert all(entry["age_s"] < 10 for entry in fleet.nodes["C"].news.view().values())


def test_news_reach_hosts_that_no_transfer_connects(fleet: t.Any, content: t.Any) -> None:
    """Two holders with one child each: the lines of the shallow tree join them."""
    for host in "SA":
        content.put(fleet.pool(host))
    for host in "SABC":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": [], "B": ["S"], "C": ["A"]})
    for by in "SABC":
        fleet.until(
            lambda by=by: all(base and base["state"] == "holding" for base in seen(fleet, by).values()),
        )


def test_who_has_lines_enough_refuses_more_and_all_are_heard(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One parent of all, which is also the first of the tree, takes a single line."""
    monkeypatch.setattr(gossip, "MAX_SERVED", 1)
    content.put(fleet.pool("A"))
    for host in "ABCD":
        fleet.add(host)
    fleet.start(content, {"A": [], "B": ["A"], "C": ["A"], "D": ["A"]})
    for by in "ABCD":
        fleet.until(
            lambda by=by: all(base and base["state"] == "holding" for base in seen(fleet, by).values()),
        )
    assert fleet.nodes["A"].news.served == 1


def test_a_dead_host_grows_stale_and_is_not_waited_for(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent in the middle dies: its child is waited for until it has found somebody else."""
    monkeypatch.setattr(Cadence, "of", classmethod(lambda cls, _hosts: cls(0.2, 0.4, 2.0)))
    content.put(fleet.pool("S"))
    for host in "SABC":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"], "B": ["A"], "C": ["B"]}, rate_mbps=2.0)
    fleet.until(lambda: all(seen(fleet, "S").values()))
    fleet.kill("B")
    fleet.until(lambda: fleet.nodes["S"].news.view()["B"]["stale"])
    view = fleet.nodes["S"].news.view()
    assert view["B"]["age_s"] >= 2.0
    assert view["B"]["bases"][content.sha256]["state"] != "holding"
    assert not view["C"]["stale"]
    assert not fleet.nodes["S"].news.settled()
    fleet.until(fleet.nodes["S"].news.settled, 20)
    found = seen(fleet, "S")
    assert (found["A"]["state"], found["C"]["state"]) == ("holding", "holding")
    # A node of the same host, started again, is heard at once.
    fleet.add("B")
    fleet.nodes["B"].news._table._own = fleet.nodes["B"].news._table._own._replace(born=1)
    peers = {host: Address("127.0.0.1", fleet.nodes[host].port) for host in "SABC"}
    fleet.nodes["B"].start([fleet.request(content, "B", ["A"])], peers)
    fleet.until(lambda: seen(fleet, "S")["B"]["state"] == "holding", 20)
    assert not fleet.nodes["S"].news.view()["B"]["stale"]


def test_hosts_that_were_not_known_are_asked_for_again(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gets its part long after the others called it, and knew none of the hosts they told of."""
    monkeypatch.setattr(Cadence, "of", classmethod(lambda cls, _hosts: cls(60.0, 60.0, 200.0)))
    for host in "SAB":
        content.put(fleet.pool(host))
        fleet.add(host)
    peers = {host: Address("127.0.0.1", fleet.nodes[host].port) for host in "SAB"}
    for host in "SB":
        fleet.nodes[host].start([fleet.request(content, host, [])], peers)
    fleet.until(lambda: fleet.nodes["A"].news.served == 2)
    time.sleep(0.5)  # what was told meanwhile is lost
    fleet.nodes["A"].start([fleet.request(content, "A", [])], peers)
    for by in "SAB":
        fleet.until(lambda by=by: all(seen(fleet, by)[host] is not None for host in "SAB"))


def test_lies_and_floods_do_not_reach_the_table(fleet: t.Any, content: t.Any) -> None:
    """A host of the run tells of strangers, and sends what is no news: it is refused, and nothing else happens."""
    content.put(fleet.pool("S"))
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("S", "A")
    channel = fleet.nodes["A"].connect("S")
    told = {"kvm-of-others": [0, 1 << 40, 1, 1, 1, {}], "A": [0, 1 << 40, 1, 1, 1, {}]}
    channel.send_message(protocol.NEWS, {"hosts": told})
    fleet.until(lambda: fleet.nodes["S"].news.view()["A"]["bases"] == {})
    assert set(fleet.nodes["S"].news.view()) == {"S", "A"}
    # A itself hears of it, and overrules it.
    fleet.until(lambda: (seen(fleet, "S")["A"] or {}).get("state") == "holding")
    channel.send_message(protocol.NEWS, {"hosts": {"A": "x"}})
    with pytest.raises(PeerLost):
        while True:
            channel.receive(range(256))
    assert any("A sent something that cannot be read: news" in line for line in fleet.logs["S"])
    assert fleet.base("S", content)["state"] == "holding"


def test_lines_do_not_keep_a_node_alive(fleet: t.Any, content: t.Any) -> None:
    from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._relay.conftest import QUICK

    content.put(fleet.pool("S"))
    for host in "SA":
        fleet.add(host, QUICK._replace(linger_s=1.0))
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("S", "A")
    # Whoever is called first knows that all is done, and need not call.
    fleet.until(lambda: any(node.news.served for node in fleet.nodes.values()))
    called = next(node for node in fleet.nodes.values() if node.news.served)
    begin = time.monotonic()
    assert called.live().startswith("no contact for 1 s")
    assert called.news.served
    assert time.monotonic() - begin < 10


def test_who_has_everything_stays_as_long_as_others_have_not(fleet: t.Any, content: t.Any) -> None:
    """They may still need it, though nobody asks for anything yet."""
    from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._relay.conftest import QUICK

    for host in "SA":
        content.put(fleet.pool(host))
    for host in "SAB":
        fleet.add(host, QUICK._replace(linger_s=0.5))
    fleet.start(content, {"A": []}, rate_mbps=0.5)
    fleet.start(content, {"S": [], "B": ["A"]})
    ended: list[str] = []
    life = threading.Thread(target=lambda: ended.append(fleet.nodes["S"].live()))
    life.start()
    fleet.until(lambda: fleet.base("B", content)["received_bytes"] > 10 * 16 * 1024)
    assert not ended
    fleet.nodes["A"].limits.set(rate_mbps=0)
    fleet.wait("B")
    life.join(10)
    assert ended
    assert ended[0].startswith("no contact for 0.5 s")


def test_lies_about_a_host_do_not_stand_against_its_word(fleet: t.Any, content_of: t.Any) -> None:
    """B, a member, tells S all the time that A has failed, or is done, with numbers of any size."""
    content = content_of(os.urandom(512 * 1024))
    content.put(fleet.pool("S"))
    for host in "SAC":
        fleet.add(host)
    rogue = Rogue("B", fleet.credentials("B"), content.metadata)
    lying = threading.Thread(target=rogue.attack, args=("lies about another host", ("127.0.0.1", fleet.nodes["S"].port), 8.0))
    fleet.start(content, {"S": [], "A": ["S"], "C": ["S"]}, rate_mbps=1.0)
    lying.start()
    true = 0
    for _look in range(50):
        told = {by: seen(fleet, by)["A"] for by in "SC"}
        here = fleet.base("A", content)["state"]
        true += all(one is not None and one["state"] in (here, "fetching") and "\x1b" not in one["msg"] for one in told.values())
        time.sleep(0.1)
    lying.join(20)
    for by in "SC":
        fleet.until(lambda by=by: (seen(fleet, by)["A"] or {}).get("state") == fleet.base("A", content)["state"])
    assert true > 30, f"the truth was told {true} times of 50"
    fleet.wait("A", "C", seconds=20)
    for by in "SC":
        fleet.until(lambda by=by: (seen(fleet, by)["A"] or {}).get("state") == "holding")


def test_one_host_has_few_lines(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": []})
    fleet.nodes["A"].set_peers(fleet.peers())
    lines = [fleet.nodes["A"].connect("S") for _number in range(gossip.MAX_SERVED_OF_HOST + 1)]
    for line in lines[:-1]:
        line.send(protocol.NEWS, 0, gossip.table.encode([]))
        line.receive_frame(protocol.NEWS)
    lines[-1].send(protocol.NEWS, 0, gossip.table.encode([]))
    with pytest.raises(PeerRefused, match="lines enough"):
        lines[-1].receive_frame(protocol.NEWS)
    # It may always ask how S is.
    own = fleet.nodes["A"].connect("S")
    own.send(protocol.NEWS, 0, gossip.table.encode([], own=True))
    ((host, _age, _report),) = gossip.table.decode(own.receive_frame(protocol.NEWS)[1], "S").reports
    assert host == "S"
    for line in [*lines, own]:
        line.close()


def woken(line: t.Any) -> bool:
    _stream, waker = poll(line.waker.fileno(), line.waker.fileno(), 0)
    line.waker.clear()
    return waker


def test_a_line_is_woken_for_what_it_does_not_tell_by_itself() -> None:
    def observe() -> dict[str, t.Any]:
        return {"started": True, "settled": True, "guarded": False, "machines": (), "bases": {}}

    news = gossip.Gossip("kvm1", 1, time.monotonic, lambda _host: pytest.fail("nobody is called"), threading.Event(), observe)
    line = gossip._Line(0)
    news._open.add(line)
    news._wake()
    assert woken(line)
    line.planned = True
    news._wake()
    assert not woken(line)
    # Other hosts of the run are urgent.
    news.set_hosts(["kvm2"])
    assert woken(line)
    line.urgent = True
    news.set_hosts(["kvm3"])
    assert not woken(line)
    line.waker.close()
