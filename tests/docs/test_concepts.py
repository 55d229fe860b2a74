"""The core concepts: what each example shows, happens; the drawings are pictures that everybody can read."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fast_channels.layers import ChannelLayerRegistry
from fast_channels.testing import WebsocketCommunicator
from tests.docs.pages import ROOT, Page

NAME = "docs/concepts.md"
DRAWINGS = sorted((ROOT / "docs" / "drawings").glob("*.svg"))


async def test_the_consumer_of_the_page_talks_to_its_room(
    open_page: Callable[[str], Page], channel_layers: ChannelLayerRegistry
) -> None:
    consumer = (await open_page(NAME).run())["ChatConsumer"]
    clients = [WebsocketCommunicator(consumer.as_asgi(), "/") for _ in range(3)]
    for client, room in zip(clients, ("red", "red", "blue"), strict=True):
        client.scope["path_params"] = {"room": room}
        await client.connect()
    ann, bob, cid = clients
    await ann.send_to("hello")
    assert await bob.receive_from() == "hello"
    assert await cid.receive_nothing()
    for client in clients:
        await client.disconnect()


def test_each_concept_has_an_example_or_a_table() -> None:
    for part in Page(NAME).text.split("\n## ")[1:]:
        assert "```python" in part or "\n|" in part, part.splitlines()[0]


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_has_a_description_and_is_on_the_page(path: Path) -> None:
    picture = ET.fromstring(path.read_text())
    assert len(picture.attrib["aria-label"].split()) > 3
    assert f'--8<-- "docs/drawings/{path.name}"' in Page(NAME).text
    assert not re.search(r"\n\s*\n", path.read_text()), "an empty line would end it within a page"
