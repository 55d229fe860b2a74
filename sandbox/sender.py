"""A process that is no server: it says the time in the lobby, to every page of every server.

A worker, a cron job or a shell does the same: set the layers up, get one, `group_send`.
"""

import asyncio
import os
import sys
from datetime import datetime

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers import close_channel_layers, get_channel_layer
from sandbox.layers import setup_channel_layers
from sandbox.reports import report_for_ever
from sandbox.rooms import LOBBY, ChatText, chat_message, room_group

__all__ = ["say_the_time", "send_for_ever"]


async def say_the_time() -> None:
    """One line in the lobby."""
    layer = get_channel_layer("chat")
    assert layer is not None, "setup_channel_layers() registers it"
    said = ChatText(name="Clock", text=f"It is {datetime.now().astimezone():%H:%M:%S}")
    await layer.group_send(room_group(LOBBY), chat_message(LOBBY, said, via="sender"))


async def send_for_ever(every: float) -> None:
    """Say the time every `every` seconds, and report once a second, through outages of the Redis server."""
    reporting = asyncio.create_task(report_for_ever("clock", asks_server=True))
    try:
        while True:
            try:
                await say_the_time()
            except FastChannelsError as error:
                print(f"not sent: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(every)
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])
        await close_channel_layers()


if __name__ == "__main__":
    setup_channel_layers()
    asyncio.run(send_for_ever(float(os.getenv("SANDBOX_SENDER_SECONDS", "5"))))
