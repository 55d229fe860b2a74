"""Groups: who is in, who is not."""

import asyncio

from fast_channels.testing.contract.harness import (
    ContractTests,
    MakeLayer,
    contract_test,
    is_silent,
    listen,
    message,
    next_message,
    next_messages,
)

__all__ = ["GroupsContract"]


class GroupsContract(ContractTests):
    """What is sent to a group reaches each member once, and nobody else."""

    @contract_test
    async def test_every_member_gets_every_message_in_order(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        members = [await layer.new_channel() for _ in range(20)]
        for channel in members:
            await layer.group_add("room", channel)
        for number in range(20):
            await layer.group_send("room", message(number))
        for channel in members:
            assert await next_messages(layer, channel, 20) == list(range(20))

    @contract_test
    async def test_who_is_no_member_gets_nothing(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        member, stranger, neighbour = [await layer.new_channel() for _ in range(3)]
        await layer.group_add("room", member)
        await layer.group_add("room2", neighbour)
        await layer.group_send("room", message(1))
        assert await next_messages(layer, member, 1) == [1]
        assert await is_silent(layer, stranger)
        assert await is_silent(layer, neighbour)

    @contract_test
    async def test_joining_twice_is_joining_once(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_add("room", channel)
        await layer.group_send("room", message(1))
        assert await next_messages(layer, channel, 1) == [1]
        assert await is_silent(layer, channel)
        await layer.group_discard("room", channel)
        await layer.group_send("room", message(2))
        assert await is_silent(layer, channel)

    @contract_test
    async def test_who_left_gets_nothing_more(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        stays, leaves = await layer.new_channel(), await layer.new_channel()
        for channel in (stays, leaves):
            await layer.group_add("room", channel)
        await layer.group_discard("room", leaves)
        await layer.group_discard("room", leaves)
        await layer.group_send("room", message(1))
        assert await next_messages(layer, stays, 1) == [1]
        assert await is_silent(layer, leaves)
        await layer.send(leaves, message(2))
        assert await next_messages(layer, leaves, 1) == [2]

    @contract_test
    async def test_leaving_before_joining_is_no_error(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        await layer.group_discard("room", channel)
        await layer.group_add("room", channel)
        await layer.group_send("room", message(1))
        assert await next_messages(layer, channel, 1) == [1]

    @contract_test
    async def test_who_left_may_join_again(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        for number in range(3):
            await layer.group_add("room", channel)
            await layer.group_send("room", message(number))
            assert await next_messages(layer, channel, 1) == [number]
            await layer.group_discard("room", channel)

    @contract_test
    async def test_a_channel_may_be_in_several_groups(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        channel = await layer.new_channel()
        for group in ("room", "hall"):
            await layer.group_add(group, channel)
        await layer.group_send("room", message(1))
        await layer.group_send("hall", message(2))
        assert sorted(await next_messages(layer, channel, 2)) == [1, 2]
        await layer.group_discard("room", channel)
        await layer.group_send("room", message(3))
        await layer.group_send("hall", message(4))
        assert await next_messages(layer, channel, 1) == [4]

    @contract_test
    async def test_a_group_without_members_is_no_error(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        await layer.group_send("nobody", message(1))
        channel = await layer.new_channel()
        await layer.group_add("nobody", channel)
        assert await is_silent(layer, channel)

    @contract_test
    async def test_a_plain_channel_may_be_a_member(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        await listen(layer, layer, "jobs")
        await layer.group_add("room", "jobs")
        await layer.group_send("room", message(1))
        assert await next_messages(layer, "jobs", 1) == [1]
        await layer.group_discard("room", "jobs")
        await layer.group_send("room", message(2))
        assert await is_silent(layer, "jobs")

    @contract_test
    async def test_a_group_and_a_channel_may_have_the_same_name(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        member = await layer.new_channel()
        await listen(layer, layer, "room")
        await layer.group_add("room", member)
        await layer.group_send("room", message(1))
        await layer.send("room", message(2))
        assert await next_messages(layer, member, 1) == [1]
        assert await next_messages(layer, "room", 1) == [2]
        assert await is_silent(layer, member)
        assert await is_silent(layer, "room")

    @contract_test
    async def test_members_that_come_and_go_disturb_nobody(self, make_layer: MakeLayer) -> None:
        layer = make_layer(capacity=1000)
        stays = await layer.new_channel()
        await layer.group_add("room", stays)

        async def come_and_go() -> None:
            for _ in range(20):
                channel = await layer.new_channel()
                await layer.group_add("room", channel)
                await asyncio.sleep(0)
                await layer.release_channel(channel)

        async def send() -> None:
            for number in range(100):
                await layer.group_send("room", message(number))
                await asyncio.sleep(0)

        await asyncio.gather(send(), *(come_and_go() for _ in range(5)))
        assert await next_messages(layer, stays, 100) == list(range(100))

    @contract_test
    async def test_one_members_changes_are_invisible_to_another(self, make_layer: MakeLayer) -> None:
        layer = make_layer()
        members = [await layer.new_channel() for _ in range(2)]
        for channel in members:
            await layer.group_add("room", channel)
        sent = message(1, tags=["a"])
        await layer.group_send("room", sent)
        sent["tags"].append("b")
        first = await next_message(layer, members[0])
        first["tags"].append("c")
        assert await next_message(layer, members[1]) == message(1, tags=["a"])
