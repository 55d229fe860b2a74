"""Several groups in one call, and who is left out."""

import asyncio
import logging
import random
from typing import Any

import pytest

from fast_channels.exceptions import InvalidNameError
from fast_channels.layers.base import BaseChannelLayer
from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    drops,
    eventually,
    is_silent,
    listen,
    logged_by_layers,
    message,
    next_messages,
    skip_unless,
)

__all__ = ["AudiencesContract"]

SEED = 20_240_229

ALONE = "layers of this kind do not reach each other"


class AudiencesContract(ContractTests):
    """Who is in one of the groups, and is not excluded, gets a message once, and nobody else gets it."""

    @contract_test
    async def test_a_member_of_several_groups_gets_a_message_once(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        both, room, hall, stranger = [await layer.new_channel() for _ in range(4)]
        await _join(layer, {"room": [both, room], "hall": [both, hall], "yard": [stranger]})
        for number, groups in enumerate([["room", "hall"], ("hall", "room"), ["hall", "nobody", "room", "hall"]]):
            await layer.group_send(groups, message(number))
        for channel in (both, room, hall):
            assert sorted(await next_messages(layer, channel, 3)) == [0, 1, 2]
            assert await is_silent(layer, channel)
        assert await is_silent(layer, stranger)

    @contract_test
    async def test_one_group_of_a_list_is_that_group(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        member, other = await layer.new_channel(), await layer.new_channel()
        await _join(layer, {"room": [member], "hall": [other]})
        await layer.group_send(["room"], message(1))
        await layer.group_send([], message(2))
        assert await next_messages(layer, member, 1) == [1]
        assert await is_silent(layer, member)
        assert await is_silent(layer, other)

    @contract_test
    async def test_who_is_excluded_gets_nothing(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        sender, *others = [await layer.new_channel() for _ in range(5)]
        await _join(layer, {"room": [sender, *others], "hall": [sender, others[0]]})
        await layer.group_send("room", message(1), exclude=[sender])
        await layer.group_send("room", message(2), exclude={sender, others[1]})
        await layer.group_send(["room", "hall"], message(3), exclude=(sender, "nobody", "specific.nobody!here"))
        await layer.group_send("room", message(4), exclude=[])
        assert await next_messages(layer, others[0], 4) == [1, 2, 3, 4]
        assert await next_messages(layer, others[1], 3) == [1, 3, 4]
        assert await next_messages(layer, sender, 1) == [4]
        for channel in (sender, *others[:2]):
            assert await is_silent(layer, channel)

    @contract_test
    async def test_what_is_sent_to_an_excluded_channel_itself_arrives(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", message(1), exclude=[channel])
        await layer.send(channel, message(2))
        await layer.group_send("room", message(3))
        assert sorted(await next_messages(layer, channel, 2)) == [2, 3]
        assert await is_silent(layer, channel)

    @contract_test
    async def test_a_plain_channel_in_several_groups_gets_it_once_or_is_excluded(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        await listen(layer, layer, "jobs")
        member = await layer.new_channel()
        await _join(layer, {"room": ["jobs", member], "hall": ["jobs"]})
        await layer.group_send(["room", "hall"], message(1))
        await layer.group_send(["room", "hall"], message(2), exclude=["jobs"])
        await layer.group_send("room", message(3), exclude=["jobs"])
        await layer.group_send("room", message(4), exclude=[member])
        assert sorted(await next_messages(layer, "jobs", 2)) == [1, 4]
        assert await next_messages(layer, member, 3) == [1, 2, 3]
        assert await is_silent(layer, "jobs")
        assert await is_silent(layer, member)

    @contract_test
    async def test_messages_to_several_groups_keep_their_order(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        channel = await layer.new_channel()
        await _join(layer, {"room": [channel], "hall": [channel]})
        for number in range(0, 100, 4):
            await layer.group_send("room", message(number))
            await layer.group_send(["room", "hall"], message(number + 1))
            await layer.group_send("room", message(number + 2), exclude=["nobody"])
            await layer.group_send(["room", "yard"], message(number + 3))
        assert await next_messages(layer, channel, 100) == list(range(100))

    @contract_test
    async def test_who_left_one_of_several_groups_gets_it_through_another(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await _join(layer, {"room": [channel], "hall": [channel]})
        await layer.group_discard("room", channel)
        await layer.group_send(["room", "hall"], message(1))
        assert await next_messages(layer, channel, 1) == [1]  # it may be on its way until then
        await layer.group_discard("hall", channel)
        await layer.group_send(["room", "hall"], message(2))
        assert await is_silent(layer, channel)

    @contract_test
    async def test_any_members_any_groups_and_any_exceptions(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        chance = random.Random(SEED)  # noqa: S311 - it finds cases
        channels = [await layer.new_channel() for _ in range(6)]
        members = {group: set(chance.sample(channels, chance.randrange(7))) for group in ("a", "b", "c", "d")}
        await _join(layer, members)
        expected: dict[str, list[int]] = {channel: [] for channel in channels}
        for number in range(60):
            groups = chance.sample(sorted(members), chance.randrange(1, 5))
            excluded = chance.sample(channels, chance.randrange(4))
            await layer.group_send(groups, message(number), exclude=excluded)
            for channel in set().union(*(members[group] for group in groups)).difference(excluded):
                expected[channel].append(number)
        for channel in channels:
            await layer.send(channel, message(-1))
            arrived = await next_messages(layer, channel, len(expected[channel]) + 1)
            assert sorted(arrived) == sorted([*expected[channel], -1])

    # Capacity

    @contract_test
    async def test_a_full_member_of_several_groups_loses_a_message_once(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1)
        full, free = await layer.new_channel(), await layer.new_channel()
        await _join(layer, {"fill": [full], "room": [full, free], "hall": [full]})
        await layer.group_send("fill", message(0))
        await layer.group_send(["room", "hall"], message(1))
        assert await next_messages(layer, free, 1) == [1]
        await eventually(lambda: drops(layer, "over_capacity") == 1, "one message dropped")
        assert await next_messages(layer, full, 1) == [0]
        assert await is_silent(layer, full)
        assert drops(layer, "over_capacity") == 1

    @contract_test
    async def test_a_full_member_that_is_excluded_loses_nothing(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1)
        full, free = await layer.new_channel(), await layer.new_channel()
        await _join(layer, {"fill": [full], "room": [full, free]})
        with logged_by_layers() as records:
            await layer.group_send("fill", message(0))
            await layer.group_send("room", message(1), exclude=[full])
            assert await next_messages(layer, free, 1) == [1]
        assert await next_messages(layer, full, 1) == [0]
        assert drops(layer, "over_capacity") == 0
        assert not [record for record in records if record.levelno >= logging.INFO and "capacity" in record.msg]

    # Bad input

    @contract_test
    async def test_bad_names_among_groups_and_exceptions_are_refused(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        bad: list[tuple[Any, Any]] = [
            (["room", "ro om"], ()),
            (["room", None], ()),
            (["room", ["room"]], ()),
            (("room", "a!b"), ()),
            ("room", ["no channel"]),
            ("room", [None]),
            ("room", [["jobs"]]),
            ("room", channel),  # letter by letter, it would be 50 names
            (["room"], "jobs"),
        ]
        for groups, exclude in bad:
            with pytest.raises(InvalidNameError):
                await layer.group_send(groups, message(1), exclude=exclude)
        with pytest.raises(TypeError):
            await layer.group_send(["room", "hall"], message(1, value=object()))
        assert await is_silent(layer, channel)

    # Several layers

    @contract_test
    async def test_several_groups_and_exceptions_span_layers(self, make_layer: MakeLayer) -> None:
        skip_unless(self.shared_between_layers, ALONE)
        layers = [make_layer() for _ in range(3)]
        channels = [(layer, [await layer.new_channel() for _ in range(3)]) for layer in layers]
        for layer, (both, room, hall) in channels:
            await _join(layer, {"room": [both, room], "hall": [both, hall]})
        excluded = [channels[0][1][0], channels[1][1][1], channels[1][1][2]]
        await layers[0].group_send(["room", "hall"], message(1), exclude=excluded)
        await layers[1].group_send(["hall", "room"], message(2))
        for layer, own in channels:
            for channel in own:
                wanted = [2] if channel in excluded else [1, 2]
                assert sorted(await next_messages(layer, channel, len(wanted))) == wanted
        silent = await asyncio.gather(*(is_silent(layer, channel) for layer, own in channels for channel in own))
        assert all(silent)


async def _join(layer: BaseChannelLayer, members: dict[str, Any]) -> None:
    """Add the channels to the groups."""
    for group, channels in members.items():
        for channel in channels:
            await layer.group_add(group, channel)
