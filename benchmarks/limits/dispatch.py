"""A bare ASGI loop: receive, look at the type, keep the text."""

from typing import Any

from benchmarks.prepared import Prepared, dispatch_result
from benchmarks.program import run


async def application(prepared: Prepared) -> None:
    while True:
        message = await prepared.receive()
        if message["type"] == "websocket.receive":
            prepared.got.append(message["text"])
        elif message["type"] == "websocket.disconnect":
            return


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    return await dispatch_result(application, parameters["messages"])


if __name__ == "__main__":
    run(main)
