"""Expiry: an old message is never handed over."""

import asyncio

from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    drops,
    eventually,
    is_silent,
    message,
    next_messages,
    skip_unless,
)

__all__ = ["ExpiryContract"]

EXPIRY = 0.2
"""Seconds after which a message is old."""

HANDLED = 1.0
"""Seconds in which a handler begins, however busy the machine is, and for which it takes longer."""

YOUNG = 30
"""Seconds: none is as old, however busy the machine is."""


class ExpiryContract(ContractTests):
    """A message older than `expiry` is dropped; a channel is not."""

    @contract_test
    async def test_an_old_message_is_never_handed_over(self, make_layer: MakeLayer) -> None:
        skip_unless(self.expires, "nothing expires in this layer")
        layer = make_layer(expiry=EXPIRY)
        channel = await layer.new_channel()
        await layer.send(channel, message(1))
        await layer.send(channel, message(2))
        await _grow_old()
        await layer.send(channel, message(3), expiry=YOUNG)
        assert await next_messages(layer, channel, 1) == [3]
        await eventually(lambda: drops(layer, "expired") == 2, "two messages counted as expired")

    @contract_test
    async def test_a_young_message_is(self, make_layer: MakeLayer) -> None:
        layer = make_layer(expiry=YOUNG)
        channel = await layer.new_channel()
        await layer.send(channel, message(1))
        await asyncio.sleep(EXPIRY)
        assert await next_messages(layer, channel, 1) == [1]
        assert drops(layer, "expired") == 0

    @contract_test
    async def test_old_messages_leave_room(self, make_layer: MakeLayer) -> None:
        skip_unless(self.expires, "nothing expires in this layer")
        layer = make_layer(expiry=EXPIRY, capacity=2)
        channel = await layer.new_channel()
        await layer.send(channel, message(1))
        await layer.send(channel, message(2))
        await _grow_old()
        await layer.send(channel, message(3), expiry=YOUNG)
        await layer.send(channel, message(4), expiry=YOUNG)
        assert await next_messages(layer, channel, 2) == [3, 4]

    @contract_test
    async def test_old_group_messages_leave_room(self, make_layer: MakeLayer) -> None:
        skip_unless(self.expires, "nothing expires in this layer")
        layer = make_layer(expiry=EXPIRY, capacity=2)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", message(1))
        await layer.group_send("room", message(2))
        await _grow_old()
        await layer.group_send("room", message(3), expiry=YOUNG)
        await layer.group_send("room", message(4), expiry=YOUNG)
        assert await next_messages(layer, channel, 2) == [3, 4]

    @contract_test
    async def test_an_old_message_takes_no_membership_with_it(self, make_layer: MakeLayer) -> None:
        skip_unless(self.expires, "nothing expires in this layer")
        layer = make_layer(expiry=EXPIRY)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", message(1))
        await _grow_old()
        assert await is_silent(layer, channel)
        await layer.group_send("room", message(2), expiry=YOUNG)
        assert await next_messages(layer, channel, 1) == [2]

    @contract_test
    async def test_what_a_handler_holds_does_not_expire(self, make_layer: MakeLayer) -> None:
        skip_unless(self.expires, "nothing expires in this layer")
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.send(channel, message(1), expiry=HANDLED)
        try:
            async with layer.delivery(channel):
                await asyncio.sleep(HANDLED * 1.2)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert await next_messages(layer, channel, 1) == [1]


async def _grow_old() -> None:
    await asyncio.sleep(EXPIRY * 1.5)
