"""An application that accepts and waits: what the harness itself needs for a connection."""

from typing import Any

from benchmarks.memory import memory_result
from benchmarks.program import run


async def application(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    result, _ = await memory_result(application, parameters["connections"])
    return result | {"lost": 0, "duplicated": 0}


if __name__ == "__main__":
    run(main)
