"""Memory of idle consumers in a group, with the harness around them. `limits.memory` is the harness alone."""

from typing import Any

from benchmarks.memory import memory_result
from benchmarks.program import run
from benchmarks.workloads.connecting import check
from benchmarks.workloads.consumer import RoomConsumer, register


async def main(parameters: dict[str, Any]) -> dict[str, Any]:
    layer = register(parameters)
    result, sockets = await memory_result(RoomConsumer.as_asgi(), parameters["connections"])
    load = await check(layer, sockets)
    return result | {"lost": load.lost(), "duplicated": load.duplicated()}


if __name__ == "__main__":
    run(main)
