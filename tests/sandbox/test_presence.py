"""Who is in a room, as each process says it."""

import asyncio

import pytest

from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from sandbox.presence import Presence
from sandbox.rooms import room_group


@pytest.fixture
async def page(channel_layers: ChannelLayerRegistry) -> str:
    layer = InMemoryChannelLayer()
    channel_layers.register("chat", layer)
    channel = await layer.new_channel()
    await layer.group_add(room_group("lobby"), channel)
    return channel


async def names_told(layer: InMemoryChannelLayer, channel: str) -> list[str]:
    message = await asyncio.wait_for(layer.receive(channel), 5)
    assert message["type"] == "room.roster"
    return [member["name"] for member in message["members"]]


async def test_a_room_is_told_who_comes_is_renamed_and_goes(channel_layers: ChannelLayerRegistry, page: str) -> None:
    layer = channel_layers["chat"]
    assert isinstance(layer, InMemoryChannelLayer)
    presence = Presence()
    await presence.enter("lobby", "a", "Ada")
    await presence.enter("lobby", "g", "Grace")
    await presence.enter("lobby", "a", "Admiral")
    await presence.leave("lobby", "g")
    await presence.leave("lobby", "g")
    await presence.announce_all()
    await presence.leave("lobby", "a")
    await presence.announce_all()
    told = [await names_told(layer, page) for _ in range(6)]
    assert told == [["Ada"], ["Ada", "Grace"], ["Admiral", "Grace"], ["Admiral"], ["Admiral"], []]
    assert not layer.channels
    assert "{}" in repr(presence)


async def test_a_room_that_empties_while_all_are_told_is_forgotten(
    channel_layers: ChannelLayerRegistry, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence = Presence()
    await presence.enter("lobby", "a", "Ada")
    await presence.enter("garden", "g", "Grace")
    tell = presence.announce

    async def tell_slowly(room: str) -> None:
        if room == "lobby":
            await presence.leave("garden", "g")
        await tell(room)

    monkeypatch.setattr(presence, "announce", tell_slowly)
    await presence.announce_all()
    assert "garden" not in repr(presence)
