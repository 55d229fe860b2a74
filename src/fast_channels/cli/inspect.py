"""`fast-channels inspect`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from fast_channels.cli.loading import Alias, LayersFunction, Prefix, PubSub, RedisUrl, hush, shared_layer
from fast_channels.cli.running import run_with
from fast_channels.cli.terminal import json_text, print_table

__all__ = ["inspect", "print_queue"]

NOBODY = "-"

ID = 33
"""The width of what the inbox of a process is called, with a comma."""


def inspect(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: what the layer's inspect() returns.")] = False,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    pubsub: PubSub = False,
) -> None:
    """What there is on the servers of a layer now. Nothing is taken and nothing is changed.

    Of the queue: channels with the messages that wait, groups with the processes that have members there, inboxes of
    processes. Of pub/sub: how many connections hear each channel, group and process. Keys are looked for step by step,
    so that the server goes on.

    Exit codes:

    - 0: seen
    - 1: the server cannot be reached or refuses
    - 2: no such layer
    """
    chosen = shared_layer(layer, layers, redis_url, prefix, pubsub=pubsub)
    hush()
    found = run_with(chosen.inspect(), chosen)
    if as_json:
        print(json_text(found))
    elif "inboxes" in found:
        print_queue(found)
    else:
        _print_subscribers(found)


def print_queue(found: Mapping[str, Any]) -> None:
    """Tables of what `inspect()` of the queue has found."""
    _section(
        "Channels",
        {
            "channel": "left",
            "waiting": "right",
            "delayed": "right",
            "oldest": "right",
            "held": "right",
            "dead": "right",
        },
        [_channel(name, facts) for name, facts in sorted(found["channels"].items())],
        folded={"channel": 20},
    )
    _section(
        "Groups",
        {"group": "left", "processes": "right", "shared channels": "right", "which": "left"},
        [_group(name, members) for name, members in sorted(found["groups"].items())],
        folded={"group": 12, "which": ID},
    )
    _section(
        "Inboxes of processes",
        {"inbox": "left", "unread": "right", "oldest": "right", "groups": "right", "alive": "left"},
        [_inbox(name, facts) for name, facts in sorted(found["inboxes"].items())],
    )


def _channel(name: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    held = sum(facts.get("held", {}).values())
    counts = (facts.get("depth", 0), facts.get("delayed", 0))
    return (name, *map(str, counts), _age(facts), str(held), str(facts.get("dead_letters", 0)))


def _group(name: str, members: Sequence[str]) -> tuple[str, ...]:
    """How many members a process has in the group, only the process knows."""
    processes = sum(member.startswith("inbox ") for member in members)  # no channel has a blank in its name
    return name, str(processes), str(len(members) - processes), ", ".join(members)


def _inbox(name: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    return name, str(facts["unread"]), _age(facts), str(facts["groups"]), "yes" if facts["alive"] else "no"


def _age(facts: Mapping[str, Any]) -> str:
    age = facts.get("oldest_age")
    return NOBODY if age is None else f"{age:.1f} s"


def _print_subscribers(found: Mapping[str, Any]) -> None:
    from fast_channels.layers.redis.keys import Addresses

    rows = [
        (*Addresses.thing_of(address), str(count), server["server"])
        for server in found.get("servers", ())
        for address, count in sorted(server["subscribers"].items())
    ]
    columns = {"what": "left", "name": "left", "connections": "right", "server": "left"}
    _section("Who hears what", columns, rows, folded={"name": ID, "server": 20})


def _section(
    title: str, columns: Mapping[str, Any], rows: Sequence[tuple[str, ...]], folded: Mapping[str, int] | None = None
) -> None:
    if rows:
        print_table(columns, rows, folded=folded, title=title)
    else:
        print(f"{title}: none")
