"""`python -m benchmarks.soak`: sockets come and go at full speed; exits 1 if memory grows, or a message is lost."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from benchmarks.e2e.servers import WebServer, web_servers
from benchmarks.soak.clock import Clock
from benchmarks.soak.samples import LIMITS, MEGABYTE, REMEMBERED, limit_of, sample
from benchmarks.soak.verdict import trend_of, without_warm_up
from benchmarks.soak.visitors import Visits, visit_again_and_again
from fast_channels.testing.server import ServerProcess

VISITORS: Final = 16
"""At a time, for each layer: enough to keep the servers busy all the time."""


@dataclass(slots=True)
class Soaked:
    """A layer under soak: a web server, its Valkey, and what was seen of them."""

    layer: str
    server: WebServer
    admin: "Redis"
    visits: Visits = field(default_factory=Visits)
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {name: [] for name in LIMITS})

    visits_at: list[tuple[float, int]] = field(default_factory=list)

    async def look(self, now: float) -> None:
        """Take a sample of everything."""
        self.visits_at.append((now, self.visits.done))
        for name, value in (await sample(self.server.pid, self.admin)).items():
            self.samples[name].append((now, value))

    def visits_until(self, time: float) -> int:
        """How many there had been at that time."""
        return max((visits for at, visits in self.visits_at if at <= time), default=0)

    def time_of(self, visits: int) -> float:
        """When there had been so many; infinite if that never was."""
        return min((at for at, done in self.visits_at if done >= visits), default=float("inf"))

    def in_short(self) -> str:
        """One line for the bar."""
        memory = self.samples["server memory"][-1][1] / MEGABYTE if self.samples["server memory"] else 0
        return f"{self.layer} {self.visits.done:,} visits, {memory:.0f} MB"


async def soak(all_soaked: Sequence[Soaked], seconds: float, clock: Clock) -> None:
    """Visit all of them at full speed, and take a sample of each about once a second."""
    start = time.monotonic()
    async with asyncio.TaskGroup() as visiting:
        for soaked in all_soaked:
            for who in range(VISITORS):
                visiting.create_task(visit_again_and_again(soaked.server.address, who, start + seconds, soaked.visits))
        while (now := time.monotonic() - start) < seconds:
            for soaked in all_soaked:
                await soaked.look(now)
            clock.at(now, "; ".join(soaked.in_short() for soaked in all_soaked))
            await asyncio.sleep(min(1.0, seconds / 50))


def judged(soaked: Soaked, seconds: float, table: Table) -> bool:
    """Add what was seen to the table; whether all is well."""
    well = not soaked.visits.failed
    table.add_row(soaked.layer, "visits", f"{soaked.visits.done:,}", "", "", f"{len(soaked.visits.failed)} failed")
    for name, samples in soaked.samples.items():
        counted = without_warm_up(samples, seconds, soaked.time_of(REMEMBERED))
        trend, limit = trend_of(counted), limit_of(name, soaked.visits_until(counted[0][0]))
        grows = trend.grows(limit)
        well = well and not grows
        scale, unit = (MEGABYTE, " MB") if "memory" in name else (1, "")
        table.add_row(
            soaked.layer,
            name,
            f"{trend.start / scale:.2f}{unit}",
            f"{trend.growth / scale:+.2f} ± {trend.error / scale:.2f}{unit}",
            f"{limit.of(trend.start) / scale:.2f}{unit}",
            "[red]grows[/]" if grows else "[green]flat[/]",
        )
    return well


async def run(layers: Sequence[str], seconds: float, leak: int, console: Console) -> bool:
    """Soak the layers, each with servers of its own, and say what was seen; whether all is well."""
    async with AsyncExitStack() as stack:
        all_soaked = []
        for layer in layers:
            valkey = stack.enter_context(ServerProcess({"appendonly": "no", "save": ""}))
            environ = {"BENCH_LAYER": layer, "BENCH_REDIS_URL": valkey.url, "BENCH_LEAK": str(leak)}
            [server] = stack.enter_context(web_servers(1, sys.executable, "visited", environ))
            all_soaked.append(Soaked(layer, server, await stack.enter_async_context(Redis.from_url(valkey.url))))
        with Clock(console, seconds) as clock:
            await soak(all_soaked, seconds, clock)
    table = Table("layer", "what", "after the warm-up", "growth since then", "may grow by", "verdict")
    verdicts = [judged(soaked, seconds, table) for soaked in all_soaked]
    console.print(table, soft_wrap=not console.is_terminal)
    for soaked in all_soaked:
        for error in soaked.visits.failed[:5]:
            console.print(f"{soaked.layer}: {error}", markup=False)
    console.print("Nothing grows, and every message was heard." if all(verdicts) else "[red]Not well: see above.[/]")
    return all(verdicts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long, 600 by default; at least 5")
    parser.add_argument("--layers", nargs="+", default=["pubsub", "queue"], choices=["memory", "pubsub", "queue"])
    parser.add_argument("--leak", type=int, default=0, help="bytes to leak for each visit, to see that it is seen")
    arguments = parser.parse_args()
    if arguments.seconds < 5:
        parser.error("fewer than 5 seconds show nothing")
    if not Path("/proc/self/statm").exists():
        parser.error("needs /proc, as on Linux")
    console = Console(highlight=False)
    return 0 if asyncio.run(run(arguments.layers, arguments.seconds, arguments.leak, console)) else 1


if __name__ == "__main__":
    sys.exit(main())
