"""What was measured of many processes, and what follows for very many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.scale.fleet import Count

__all__ = ["Costs", "Result", "Throughput", "core_share", "markdown"]

PROCESSES = 1_000
CONNECTIONS = 1_000_000
GROUPS_OF_A_PROCESS = 1_000
SENDS = 1_000
SPAN = 10
"""Processes that an ordinary group spans."""


@dataclass(frozen=True)
class Costs:
    """What a server counts, for each of these."""

    process: Count
    """A process that is idle, in a second."""
    membership: Count
    """A group that a process is in, in a second: it is told again and again."""
    send: Count
    """A `group_send`, whatever the size of the group."""
    send_each: Count
    """And for each process that the group spans."""


@dataclass(frozen=True)
class Throughput:
    """How much 16 groups carried."""

    servers: int
    members: int
    sends_per_second: float
    deliveries_per_second: float
    cpu_per_send: Sequence[float]
    """CPU seconds of each server."""


@dataclass(frozen=True)
class Result:
    """What was measured of one layer."""

    layer: str
    processes: int
    costs: Costs
    idle: Count
    """All of them together, in a second."""
    busier: Count
    """The same with more groups."""
    groups: int
    """How many more."""
    one: Throughput
    three: Throughput


def core_share(costs: Costs, processes: int, groups: int, sends: float, span: float) -> float:
    """Cores of servers that are busy: `processes`, each in `groups` groups, and `sends` messages in a second to groups
    that span `span` processes.
    """
    idle = processes * (costs.process.cpu + groups * costs.membership.cpu)
    return idle + sends * (costs.send.cpu + span * costs.send_each.cpu)


NAMES = {"queue": "queue", "pubsub": "pub/sub"}


def markdown(results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """The tables of the page on scale."""
    lines = [
        f"Measured on {machine['cores']} cores ({machine['cpu']}), {machine['python']}, {machine['server']};",
        f"{results[0].processes} processes on the machine of the server. CPU is the server's own count.",
        "",
        "| layer | of a server, for each | commands | bytes in | bytes out | CPU, us |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        for what, counted in (
            ("idle process, in a second", result.costs.process),
            ("membership, in a second", result.costs.membership),
            ("`group_send`", result.costs.send),
            ("and for each process that the group spans", result.costs.send_each),
        ):
            lines.append(_row(NAMES[result.layer], what, counted))
    lines += ["", *_totals(results), "", *_throughput(results), "", *_very_many(results), ""]
    return "\n".join(lines)


def _totals(results: Sequence[Result]) -> list[str]:
    who = f"{results[0].processes} processes, one group each"
    lines = [
        "| layer | of the server, in a second | commands | bytes in | bytes out | CPU, us |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        for what, counted in ((who, result.idle), (f"the same, {result.groups} groups more each", result.busier)):
            lines.append(_row(NAMES[result.layer], what, counted))
    return lines


def _row(layer: str, what: str, counted: Count) -> str:
    numbers = (counted.commands, counted.bytes_in, counted.bytes_out, counted.cpu * 1e6)
    return f"| {layer} | {what} | {' | '.join(f'{number:,.2f}' for number in numbers)} |"


def _throughput(results: Sequence[Result]) -> list[str]:
    members = results[0].one.members
    lines = [
        f"| layer | 16 groups in {members} processes | sends/s | deliveries/s | CPU of each server for a send, us |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        for what, run in (("one server", result.one), ("a Cluster of three masters", result.three)):
            cpu = " + ".join(f"{seconds * 1e6:.1f}" for seconds in run.cpu_per_send)
            sends, deliveries = f"{run.sends_per_second:,.0f}", f"{run.deliveries_per_second:,.0f}"
            lines.append(f"| {NAMES[result.layer]} | {what} | {sends} | {deliveries} | {cpu} |")
    return lines


def _very_many(results: Sequence[Result]) -> list[str]:
    who = f"{PROCESSES:,} processes with {CONNECTIONS:,} connections, each in {GROUPS_OF_A_PROCESS:,} groups"
    lines = [f"| layer | {who} | cores of servers that are busy |", "|---|---|---|"]
    for result in results:
        for what, sends, span in (
            ("idle", 0, 0),
            (f"and {SENDS:,} messages a second to groups that span {SPAN} processes", SENDS, SPAN),
            ("and one message a second to a group of everybody", 1, PROCESSES),
        ):
            cores = core_share(result.costs, PROCESSES, GROUPS_OF_A_PROCESS, sends, span)
            lines.append(f"| {NAMES[result.layer]} | {what} | {cores:.2f} |")
    return lines
