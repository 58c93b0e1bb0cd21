# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The `lab` program."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2] / ".collections")

from ansible_collections.basecast.fleet.tests.lab import _state
from ansible_collections.basecast.fleet.tests.lab._host import FILE_SYSTEMS, Host, LabError, Rate
from ansible_collections.basecast.fleet.tests.lab._lab import SSH_OPTIONS, Lab, PoolSpec

DEFAULT_NAME = "lab"


def number(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of Mbit/s")
    return value


def rate(text: str) -> tuple[float | None, float | None]:
    up, _slash, down = text.partition("/")
    return (number(up), number(down)) if down else (number(up), number(up))


def named_rate(text: str) -> tuple[str, Rate]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: HOST=MBPS or HOST=UP/DOWN")
    return name, rate(value)


def named_pool(text: str) -> tuple[str, PoolSpec]:
    name, _equals, value = text.partition("=")
    fs, _colon, size = (value or "dir").partition(":")
    if size and not size.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: NAME=FS or NAME=FS:MIB")
    return name, (fs, int(size)) if size else fs


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="lab", description="A lab of hosts in namespaces of this machine.", allow_abbrev=False)
    main.add_argument("--name", default=None, help=f"which lab (default: the one this shell is in, or {DEFAULT_NAME!r})")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, help_: str, *arguments: str, **options: t.Any) -> argparse.ArgumentParser:
        # Not abbreviated: `up --name x` would be understood as `up --names x`.
        sub = commands.add_parser(name, help=help_, description=help_, allow_abbrev=False, **options)
        for argument in arguments:
            sub.add_argument(argument, metavar=argument.upper())
        return sub

    for name, help_ in (
        ("up", "start a lab in the background; returns when it is ready"),
        ("run", "start a lab, run a command on its controller (a shell without one), end the lab"),
    ):
        sub = add(name, help_)
        sub.add_argument("--hosts", type=int, default=4, metavar="N", help="how many hosts, kvm1 to kvmN (default: 4)")
        sub.add_argument("--names", metavar="A,B,…", help="names of the hosts, instead of --hosts")
        sub.add_argument("--rate-mbps", type=rate, metavar="MBPS|UP/DOWN", help="rate of every link")
        sub.add_argument("--rate", type=named_rate, action="append", default=[], metavar="HOST=UP/DOWN", help="of one host")
        sub.add_argument(
            "--libvirt",
            nargs="?",
            const="debian",
            choices=("debian", "root"),
            help="libvirtd on every host; whose user runs the guests (default: debian)",
        )
        sub.add_argument(
            "--pool", type=named_pool, action="append", default=[], metavar="NAME=FS[:MIB]",
            help=f"a pool of every host; FS is one of {', '.join(FILE_SYSTEMS)} (default: default=dir)",
        )  # fmt: skip
        if name == "run":
            sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- ARGV")
    add("down", "end the lab and remove its files").add_argument("--all", action="store_true", help="every lab")
    add("list", "names of the running labs")
    add("status", "hosts, links and pools, as JSON")
    add("inventory", "the lab's inventory").add_argument("--path", action="store_true", help="only where it is")
    add("exec", "run a command on a host", "host").add_argument("argv", nargs=argparse.REMAINDER, metavar="-- ARGV")
    add("put", "copy a file of this machine to a host", "host", "source", "target")
    add("get", "copy a file of a host to this machine", "host", "source", "target")
    add("controller", "run a command on this machine, in the lab's network, with Ansible set up for the lab").add_argument(
        "argv", nargs=argparse.REMAINDER, metavar="-- ARGV"
    )
    add("playbook", "run ansible-playbook on the lab", add_help=False).add_argument("argv", nargs=argparse.REMAINDER)
    add("crash", "kill everything that runs on a host; its peers notice", "host")
    add("power-cut", "kill a host in silence", "host")
    add("revive", "start a killed host", "host")
    add("cut", "cut a host's link, or the way between two hosts", "host")
    add("slow", "slow a host's link, or the way between two hosts", "host").add_argument(
        "rate", type=rate, metavar="MBPS|UP/DOWN", help="up from HOST / down to HOST"
    )
    add("restore", "make a host's link, or the way between two hosts, as it was", "host")
    for name in ("cut", "slow", "restore"):
        sub = commands.choices[name]
        sub.add_argument("--to", metavar="HOST", help="only between HOST and this one")
        sub.add_argument("--one-way", action="store_true", help="with --to: leave the way back alone")
    add("fill-pool", "fill a pool that has a file system of its own", "host", "pool").add_argument(
        "--leave", type=int, default=0, metavar="BYTES", help="bytes to leave free"
    )
    add("free-pool", "undo fill-pool", "host", "pool")
    sub = add("add-pool", "give a host one more pool", "host", "pool")
    sub.add_argument("--fs", choices=FILE_SYSTEMS, default="dir")
    sub.add_argument("--size", type=int, metavar="MIB")
    add("share-pool", "make one folder the pool of several hosts", "pool").add_argument("hosts", nargs="+", metavar="HOST")
    return main


def new_lab(options: argparse.Namespace, detached: bool) -> Lab:
    names = options.names.split(",") if options.names else [f"kvm{index}" for index in range(1, options.hosts + 1)]
    rates: dict[str, Rate] = dict.fromkeys(names, options.rate_mbps) | dict(options.rate)
    return Lab(
        names=names,
        rate_mbps=rates,
        libvirt=options.libvirt or False,
        pools=dict(options.pool) or None,
        name=options.name or (DEFAULT_NAME if detached else None),
        detached=detached,
    )


def current(options: argparse.Namespace) -> Path:
    if options.name is None and os.environ.get("BASECAST_LAB"):
        return Path(os.environ["BASECAST_LAB"])
    return _state.lab_root() / (options.name or DEFAULT_NAME)


def own_argv(options: argparse.Namespace) -> list[str]:
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv and options.command != "run":
        raise LabError(f"lab {options.command}: a command is missing")
    return argv or [os.environ.get("SHELL") or "/bin/sh"]


def foreground(lab: Lab, argv: list[str]) -> int:
    process = lab.popen_in_controller(argv)
    # Ctrl-C reaches the command too: it is the command's to end, and the lab goes after it.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        signal.signal(signal.SIGINT, previous)


def running() -> list[Path]:
    root = _state.lab_root()
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not _state.is_stale(entry)) if root.is_dir() else []


def run_command(options: argparse.Namespace) -> int:
    if options.command not in ("up", "run") and os.geteuid() == 0:
        _state.sweep(_state.lab_root())
    if options.command in ("up", "run", "list", "down"):
        return of_labs(options)
    lab = Lab.attach(current(options))
    host = lab.hosts.get(getattr(options, "host", None) or lab.names[0])
    if host is None:
        raise LabError(f"there is no host {options.host!r} in this lab; there are {', '.join(lab.names)}")
    if options.command in ("exec", "controller", "playbook"):
        return of_programs(lab, host, options)
    if options.command in ("cut", "slow", "restore"):
        of_links(lab, host, options)
    else:
        of_hosts(lab, host, options)
    return 0


def of_labs(options: argparse.Namespace) -> int:
    match options.command:
        case "up":
            started = time.monotonic()
            lab = new_lab(options, detached=True).up()
            print(f"lab {lab.name}: {', '.join(lab.names)} are up after {time.monotonic() - started:.1f} s ({lab.state})")
        case "run":
            signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
            signal.signal(signal.SIGHUP, lambda _number, _frame: sys.exit(129))
            argv = own_argv(options)
            with new_lab(options, detached=False) as lab:
                return foreground(lab, argv)
        case "list":
            print("\n".join(path.name for path in running()) or "no lab is running")
        case "down":
            for state in running() if options.all else [current(options)]:
                Lab(state_dir=state).down()
    return 0


def of_programs(lab: Lab, host: Host, options: argparse.Namespace) -> int:
    match options.command:
        case "exec":
            argv = own_argv(options)
            ssh = ["ssh", *SSH_OPTIONS, "-o", "ConnectTimeout=5", "-i", str(lab.state / "key")]
            line = argv[0] if len(argv) == 1 else shlex.join(argv)
            return foreground(lab, [*ssh, *(["-t"] if sys.stdin.isatty() else []), f"root@{host.address}", line])
        case "controller":
            return foreground(lab, own_argv(options))
        case _:
            return foreground(lab, ["ansible-playbook", *options.argv])


def of_links(lab: Lab, host: Host, options: argparse.Namespace) -> None:
    pair = lab.pair(options.host, options.to) if getattr(options, "to", None) else None
    both = not getattr(options, "one_way", False)
    match options.command:
        case "cut":
            pair.cut(both) if pair else host.cut_link()
        case "slow" if pair:
            pair.slow(options.rate[0], both=False)
            if both:
                lab.pair(options.to, options.host).slow(options.rate[1], both=False)
        case "slow":
            host.slow_link(options.rate)
        case "restore":
            pair.restore(both) if pair else host.restore_link()


def of_hosts(lab: Lab, host: Host, options: argparse.Namespace) -> None:
    match options.command:
        case "status":
            print(json.dumps(lab.status, indent=2))
        case "inventory":
            print(lab.inventory if options.path else lab.inventory.read_text(), end="\n" if options.path else "")
        case "put":
            host.put(options.source, options.target)
        case "get":
            host.get(options.source, options.target)
        case "crash":
            host.crash()
        case "power-cut":
            host.power_cut()
        case "revive":
            host.revive()
        case "fill-pool":
            print(f"{host.fill_pool(options.pool, options.leave)} bytes are free")
        case "free-pool":
            host.free_pool(options.pool)
        case "add-pool":
            print(host.add_pool(options.pool, options.fs, options.size))
        case "share-pool":
            print(lab.share_pool(options.pool, options.hosts))


def parse(argv: list[str]) -> argparse.Namespace:
    # argparse would look at what stands behind these, options above all.
    for position, word in enumerate(argv):
        if word == "playbook" and argv[position - 1 : position] != ["--name"]:
            options = parser().parse_args(argv[: position + 1])
            options.argv = argv[position + 1 :]
            return options
        if word in ("up", "run", "exec", "controller"):
            break
    return parser().parse_args(argv)


def main() -> int:
    try:
        return run_command(parse(sys.argv[1:]))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        return 1  # the program has said why
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
