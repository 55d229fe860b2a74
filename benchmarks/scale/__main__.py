"""`python -m benchmarks.scale`: what processes, memberships and messages cost a server; a Cluster beside one server."""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.environments import machine
from benchmarks.scale.fleet import Count, Fleet, count
from benchmarks.scale.member import LAYERS
from benchmarks.scale.report import Costs, Result, Throughput, markdown
from benchmarks.statistics import median
from fast_channels.testing.server import ServerProcess
from tests.support.clusters import ClusterOfServers

FOLDER: Final = Path(__file__).parent
EVERYONE: Final = "everyone"
ALONE: Final = "alone"
GROUPS: Final = [f"group-{number}" for number in range(16)]
MORE_GROUPS: Final = 100
ROUNDS: Final = 5


async def over(urls: Sequence[str], seconds: float) -> Count:
    """What the servers count in a second in which nothing is sent."""
    before = await count(urls)
    await asyncio.sleep(seconds)
    return (await count(urls) - before) / seconds


async def of_sends(urls: Sequence[str], fleet: Fleet, group: str, sends: int) -> Count:
    """What the servers count for one `group_send` to the group, less what they count in the same time without.

    The median of some rounds: what is counted anyway is not the same in all.
    """
    rounds = []
    for _ in range(ROUNDS):
        start, before = time.perf_counter(), await count(urls)
        await fleet.ask(0, "send", [group], sends // ROUNDS, 1)
        await asyncio.sleep(0.5)  # what was read is deleted a moment later
        seconds, middle = time.perf_counter() - start, await count(urls)
        await asyncio.sleep(seconds)
        rounds.append(((middle - before) - (await count(urls) - middle)) / (sends // ROUNDS))
    return Count(*(median(values) for values in zip(*(vars(each).values() for each in rounds), strict=True)))


@dataclass(frozen=True)
class Watched:
    """What was seen of many processes at one server."""

    costs: Costs
    idle: Count
    busier: Count


async def watch(layer: str, processes: int, seconds: float, sends: int) -> Watched:
    """What a process, a membership and a message cost one server."""
    with ServerProcess() as server:
        async with Fleet(processes, layer=layer, hosts=[server.url], cluster=False) as fleet:
            await fleet.ask_all("join", [EVERYONE])
            await fleet.ask(0, "join", [ALONE])
            idle = await over([server.url], seconds)
            far = await of_sends([server.url], fleet, EVERYONE, sends)
            await fleet.arrived(EVERYONE, sends // ROUNDS * ROUNDS)
            near = await of_sends([server.url], fleet, ALONE, sends)
            own = [[f"own-{index}-{number}" for number in range(MORE_GROUPS)] for index in range(processes)]
            await asyncio.gather(*(fleet.ask(index, "join", groups) for index, groups in enumerate(own)))
            busier = await over([server.url], seconds)
    each = (far - near) / (processes - 1)
    found = Costs(
        process=idle / processes,
        membership=(busier - idle) / processes / MORE_GROUPS,
        send=(near - each).at_least_nothing,
        send_each=each,
    )
    return Watched(found, idle, busier)


async def throughput(layer: str, urls: Sequence[str], *, cluster: bool, members: int, sends: int) -> Throughput:
    """Members that all send to 16 groups which all of them are in."""
    async with Fleet(members, layer=layer, hosts=[urls[0]], cluster=cluster) as fleet:
        await fleet.ask_all("join", GROUPS)
        before = [await count([url]) for url in urls]
        start = time.perf_counter()
        await fleet.ask_all("send", GROUPS, sends, 32)
        for group in GROUPS:
            await fleet.arrived(group, members * sends // len(GROUPS))
        seconds = time.perf_counter() - start
        nodes = [await count([url]) - earlier for url, earlier in zip(urls, before, strict=True)]
    total = members * sends
    return Throughput(
        servers=len(urls),
        members=members,
        sends_per_second=total / seconds,
        deliveries_per_second=total * members / seconds,
        cpu_per_send=[node.cpu / total for node in nodes],
    )


async def measure(layer: str, options: argparse.Namespace, console: Console) -> Result:
    """All that is measured of one layer."""
    console.print(f"{layer}: {options.processes} processes")
    seen = await watch(layer, options.processes, options.seconds, options.sends)
    console.print(f"{layer}: 16 groups on one server")
    with ServerProcess() as server:
        one = await throughput(layer, [server.url], cluster=False, members=options.members, sends=options.burst)
    console.print(f"{layer}: 16 groups on a Cluster of three masters")
    with ClusterOfServers(masters=3) as cluster:
        three = await throughput(layer, cluster.urls, cluster=True, members=options.members, sends=options.burst)
    return Result(layer, options.processes, seen.costs, seen.idle, seen.busier, MORE_GROUPS, one, three)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0, help="that idle processes are watched")
    parser.add_argument("--sends", type=int, default=200, help="one after the other, to a group of all")
    parser.add_argument("--members", type=int, default=4, help="processes that send to 16 groups")
    parser.add_argument("--burst", type=int, default=4800, help="messages that each of them sends")
    parser.add_argument("--publish", action="store_true", help="write results.md, which the documentation shows")
    return parser.parse_args()


def main() -> None:
    """Measure both layers, and say what was found."""
    options, console = arguments(), Console()
    results = [asyncio.run(measure(layer, options, console)) for layer in LAYERS]
    with ServerProcess() as server:
        text = markdown(results, machine(server.binary))
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if options.publish:
        (FOLDER / "results.md").write_text(text)


if __name__ == "__main__":
    main()
