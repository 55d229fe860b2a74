"""The pages on migration: what was written for another library runs, and the names that they give exist."""

import re
from collections.abc import Callable
from importlib import import_module

import pytest

from fast_channels.layers import BaseChannelLayer, ChannelLayerRegistry, RedisChannelLayer, channel_layers
from fast_channels.testing import WebsocketCommunicator
from tests.docs.pages import Page

FROM_OLD = "docs/howto/migrate-from-1.1.md"
FROM_DJANGO = "docs/howto/migrate-from-django-channels.md"


async def connected(application: object, path: str) -> WebsocketCommunicator:
    client = WebsocketCommunicator(application, path)  # type: ignore[arg-type]
    assert await client.connect() == (True, None)
    return client


@pytest.mark.parametrize(("application", "path"), [("application", "/"), ("app", "/ws/chat")])
async def test_a_program_for_1_1_runs(
    open_page: Callable[[str], Page], channel_layers: ChannelLayerRegistry, application: str, path: str
) -> None:
    namespace = await open_page(FROM_OLD).run()
    client = await connected(namespace[application], path)
    assert await client.receive_from() == "User joined"
    await client.send_to("hello")
    assert await client.receive_from() == "hello"
    channel = await channel_layers["chat"].new_channel()
    await namespace["process_job"]("42", channel)
    assert (await channel_layers["chat"].receive(channel))["message"] == "job 42 is done"
    await client.disconnect()


@pytest.mark.parametrize("name", ["match_type_and_length", "channel_name_regex", "group_name_regex"])
def test_what_is_said_to_be_removed_is_not_there(name: str) -> None:
    assert f"`{name}" in Page(FROM_OLD).text
    assert not hasattr(BaseChannelLayer, name)


@pytest.mark.parametrize("name", ["close_pools", "wait_received", "receive_single", "connection"])
def test_what_is_said_to_be_removed_from_the_queue_is_not_there(name: str) -> None:
    assert f"`{name}()`" in " ".join(Page(FROM_OLD).text.split())
    assert not hasattr(RedisChannelLayer, name)


@pytest.mark.usefixtures("channel_layers")
async def test_the_chat_of_another_tutorial_runs(open_page: Callable[[str], Page]) -> None:
    app = (await open_page(FROM_DJANGO).run())["app"]
    ann, bob = [await connected(app, "/ws/chat/lobby/") for _ in range(2)]
    await ann.send_json_to({"message": "hello"})
    assert await bob.receive_json_from() == {"message": "hello"}
    for client in (ann, bob):
        await client.disconnect()
    assert not channel_layers["default"].groups  # type: ignore[attr-defined]


def test_the_names_of_the_table_exist() -> None:
    table = Page(FROM_DJANGO).text.partition("## The chat")[0]
    paths = set(re.findall(r"`(fast_channels\.[\w.]+)", table))
    assert len(paths) >= 6
    for path in paths:
        module, _, name = path.rpartition(".")
        try:
            import_module(path)
        except ModuleNotFoundError:
            assert hasattr(import_module(module), name), path
