"""No name reaches another prefix, nor from a channel to a group: on real servers, whatever things are called.

What their keys look like is in tests/layers/redis/test_keys.py.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fast_channels.exceptions import InvalidNameError
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.keys import Addresses, QueueKeys
from fast_channels.testing.contract.harness import listen
from tests.support.waiting import PATIENCE

Kind = type[RedisChannelLayer] | type[RedisPubSubChannelLayer]

each_layer = pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])

BAD = ["", "a|b", "{a}", "a b", "room\n", "room٣", "c:room", "a*", "é", "\x00", "../x", "x" * 100, "a!b!c", None, 5]


class Thing(NamedTuple):
    """A channel or a group of a layer."""

    prefix: str
    is_group: bool
    name: str


PREFIXES = ["", "2", "*", "?", "[a]", "\\", ".c", "-g", " ", ":", "c:room", "'"]
NAMES = [
    "room",
    "c",
    "g",
    "i",
    "c.room",
    "g.room",
    "asgi__group__room",
    "members",
    "ready",
    "wake",
    "leases",
    "-",
    ".",
    "_",
]

prefixes = st.one_of(
    st.sampled_from(PREFIXES),
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="{}|"), max_size=6),
)
names = st.one_of(st.sampled_from(NAMES), st.from_regex(r"[a-zA-Z0-9\-_.]{1,12}", fullmatch=True))
things = st.lists(st.builds(Thing, prefixes, st.booleans(), names), min_size=6, max_size=12, unique=True)


async def each_gets_its_own(kind: Kind, url: str, things: list[Thing]) -> None:
    """Send to each thing, and look that each hears what was for it, and nothing else."""
    unique = uuid4().hex[:8]
    async with AsyncExitStack() as stack:
        layers: dict[str, Any] = {}
        for prefix in {thing.prefix for thing in things}:
            layers[prefix] = await stack.enter_async_context(kind(hosts=[url], prefix=f"{unique}{prefix}"))
        channels = {}
        for thing in things:
            layer = layers[thing.prefix]
            if not thing.is_group:
                channels[thing] = thing.name
                await listen(layer, layer, thing.name)
                continue
            channels[thing] = await layer.new_channel()
            await layer.group_add(thing.name, channels[thing])
        for text in ("first", "last"):
            for thing in things:
                message: dict[str, Any] = {"type": text, "for": [*thing]}
                layer = layers[thing.prefix]
                await (layer.group_send if thing.is_group else layer.send)(thing.name, message)
        for thing in things:
            for text in ("first", "last"):
                got = await asyncio.wait_for(layers[thing.prefix].receive(channels[thing]), PATIENCE)
                assert got == {"type": text, "for": [*thing]}


ALIKE = [Thing(prefix, is_group, "room") for prefix in ("", "2", "*") for is_group in (True, False)]


@each_layer
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(things=things)
@example(things=ALIKE)
@example(things=[Thing("", is_group, name) for name in NAMES[:7] for is_group in (True, False)])
def test_whatever_they_are_called_each_gets_its_own(kind: Kind, redis_url: str, things: list[Thing]) -> None:
    asyncio.run(each_gets_its_own(kind, redis_url, things))


@each_layer
def test_names_that_did_reach_another_prefix_would_be_found(
    kind: Kind, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: plain channels without the prefix."""
    shared, address = QueueKeys.shared, Addresses.shared
    monkeypatch.setattr(QueueKeys, "shared", lambda self, channel: shared(QueueKeys("all"), channel))
    monkeypatch.setattr(Addresses, "shared", lambda self, channel: address(Addresses("all"), channel))
    with pytest.raises(AssertionError):
        asyncio.run(each_gets_its_own(kind, redis_url, [Thing("", False, "room"), Thing("2", False, "room")]))


@each_layer
@pytest.mark.parametrize(
    "name",
    ["", "a|b", "{a}", "a b", "room\n", "room٣", "c:room", "a*", "é", "\x00", "../x", "x" * 100, "a!b!c", None, 5],
)
async def test_a_name_outside_the_grammar_reaches_nothing_at_all(
    kind: Kind, redis_url: str, prefix: str, admin: Any, name: Any
) -> None:
    async with kind(hosts=[redis_url], prefix=prefix) as layer:
        calls = [layer.send(name, {}), layer.receive(name), layer.group_send(name, {})]
        calls += [layer.group_add(name, "a"), layer.group_add("a", name), layer.group_discard("a", name)]
        for call in calls:
            with pytest.raises(InvalidNameError):
                await call
    assert admin.keys(f"{prefix}*") == []
