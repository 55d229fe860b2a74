"""The table of what is measured: each row, who takes part, and what must be reached.

A layer of this library takes part in every row of its kind once it stands in `OURS`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = [
    "FLOOR",
    "LAYERS",
    "LIMIT",
    "LOOPS",
    "OLD",
    "OURS",
    "OURS_NAME",
    "PEERS",
    "Goal",
    "Row",
    "Subject",
    "chosen_rows",
]

LAYERS: Final = {"memory": "in-memory", "pubsub": "pub/sub", "queue": "queue"}
OURS: Final = ("memory", "pubsub", "queue")
"""The layers of this library that are measured."""

OURS_NAME: Final = "ours"
OLD: Final = "1.1.0"
LIMIT: Final = "limit"
FLOOR: Final = "floor"
"""What the least that can do the work of a layer costs: more than the limit, which does less."""
PEERS: Final = ("Litestar", "broadcaster")

Measure = Literal["rate", "p50_us", "bytes_per_connection", "cpu_per_message_us", "growth"]
LOOPS: Final = ("asyncio", "uvloop")


@dataclass(frozen=True)
class Subject:
    """One who takes part in a row.

    Args:
        library: as it is shown, and for a peer the environment that it runs in.
        program: a module below `benchmarks`, or for end-to-end rows one of `benchmarks.e2e.apps`.
        layer: which of `LAYERS`; None for what has none.
    """

    library: str
    program: str
    layer: str | None = None

    @property
    def environment(self) -> str:
        """The environment to run in."""
        return OURS_NAME if self.library in (LIMIT, FLOOR) else self.library

    @property
    def name(self) -> str:
        """Tells it from the others of its row."""
        return self.library if self.layer is None else f"{self.library} {LAYERS[self.layer]}"


@dataclass(frozen=True)
class Goal:
    """Ours must be at least (`>=`), or at most (`<=`), `factor` times `against`: 1.1.0, the limit, or the best peer.

    Without `against`, `factor` is the value itself.
    """

    sign: Literal[">=", "<="]
    factor: float
    against: str | None = None

    def __str__(self) -> str:
        if self.against is None:
            return f"{self.sign} {self.factor:.3g}"
        return f"{self.sign} {self.factor:.3g} x {self.against}"

    def met(self, ratio: float) -> bool:
        """Whether `ratio`, ours over the other, or ours where there is none, is good enough."""
        return ratio >= self.factor if self.sign == ">=" else ratio <= self.factor


@dataclass(frozen=True)
class Row:
    """One kind of work, measured for several subjects with the same parameters.

    Args:
        goals: by layer (None where there is no layer).
        net_of_limit: the limit's value is the harness, and is taken off the others'.
        servers: how many web servers an end-to-end row needs; 0 for work in one process.
    """

    key: str
    title: str
    unit: str
    subjects: tuple[Subject, ...]
    parameters: Mapping[str, Any]
    goals: Mapping[str | None, Goal] = field(default_factory=dict)
    measure: Measure = "rate"
    loops: tuple[str, ...] = LOOPS
    net_of_limit: bool = False
    servers: int = 0

    @property
    def higher_is_better(self) -> bool:
        """Whether more of what is measured is better."""
        return self.measure == "rate"

    @property
    def layers(self) -> tuple[str | None, ...]:
        """The layers in this row, in their order."""
        return tuple(dict.fromkeys(s.layer for s in self.subjects if s.library in (OLD, OURS_NAME)))


QUICK: Final = MappingProxyType({"seconds": 0.4, "connections": 500, "messages": 20_000})
"""What `--quick` puts in the place of a row's parameters, where it has them."""


def _both(program: str, *layers: str) -> tuple[Subject, ...]:
    subjects = []
    for layer in layers:
        subjects.append(Subject(OLD, program, layer))
        if layer in OURS:
            subjects.append(Subject(OURS_NAME, program, layer))
    return tuple(subjects)


def _times(factor: float) -> Goal:
    return Goal(">=", factor, OLD)


def _memory_rows() -> Iterator[Row]:
    yield Row(
        "memory.one_channel",
        "in-memory, one channel (30 senders that yield after each)",
        "messages/s",
        (*_both("workloads.one_channel", "memory"), Subject(LIMIT, "limits.one_channel")),
        {"senders": 30, "yields": True, "window": 800, "seconds": 1.5},
        {"memory": _times(3)},
    )
    yield _group_row("memory", "bursts of 20", 20, 150)
    yield _group_row("memory", "each wakes", 1, None)


def _group_row(layer: str, how: str, window: int, factor: float | None) -> Row:
    limit = () if layer == "queue" else (Subject(LIMIT, "limits.group"),)
    return Row(
        f"{layer}.group.{window}",
        f"{LAYERS[layer]}, group of 1000 local channels, {how}",
        "deliveries/s",
        (*_both("workloads.group", layer), *limit),
        {"channels": 1000, "window": window, "seconds": 1.5},
        {} if factor is None else {layer: _times(factor)},
        loops=LOOPS if window > 1 else LOOPS[:1],
    )


def _redis_rows(layer: str, one_channel: float, group: float, latency: float, connecting: float) -> Iterator[Row]:
    name = LAYERS[layer]
    limit = () if layer == "queue" else (Subject(LIMIT, "limits.pubsub_wire"),)
    yield Row(
        f"{layer}.one_channel",
        f"{name}, one channel (64 senders)",
        "messages/s",
        (*_both("workloads.one_channel", layer), *limit),
        {"senders": 64, "window": 800, "batch": 200, "seconds": 1.5},
        {layer: _times(one_channel)},
    )
    yield _group_row(layer, "bursts of 20", 20, group)
    yield _group_row(layer, "each wakes", 1, group)
    yield Row(
        f"{layer}.latency",
        f"{name}, latency when idle, median",
        "us",
        (*_both("workloads.latency", layer), Subject(LIMIT, "limits.latency")),
        {"pause": 0.002, "seconds": 1.5},
        {layer: Goal("<=", latency, LIMIT)},
        measure="p50_us",
    )
    yield Row(
        f"{layer}.from_thread",
        f"{name}, a send from a thread with no loop, median",
        "us",
        (*_both("workloads.from_thread", layer), Subject(LIMIT, "limits.from_thread")),
        {"lot": 200, "seconds": 1.5},
        {layer: Goal("<=", 1 / 10, OLD)},
        measure="p50_us",
        loops=LOOPS[:1],
    )
    yield Row(
        f"{layer}.connecting",
        f"{name}, consumers connecting and joining a group",
        "consumers/s",
        _both("workloads.connecting", layer),
        {"connections": 2000, "at_once": 50},
        {layer: _times(connecting)},
        loops=LOOPS[:1],
    )
    yield Row(
        f"{layer}.memory",
        f"{name}, memory of an idle consumer, net of the harness",
        "bytes",
        (*_both("workloads.memory", layer), Subject(LIMIT, "limits.memory")),
        {"connections": 3000},
        {layer: Goal("<=", 2 / 3, OLD)},
        measure="bytes_per_connection",
        loops=LOOPS[:1],
        net_of_limit=True,
    )
    yield Row(
        f"{layer}.scaling",
        f"{name}, one group_send over 10 processes: bytes for 10,000 channels over bytes for 100",
        "x",
        _both("workloads.scaling", layer),
        {"processes": 10, "sizes": (100, 1_000, 10_000)},
        {layer: Goal("<=", 1.05)},
        measure="growth",
        loops=LOOPS[:1],
    )


def _consumer_rows() -> Iterator[Row]:
    yield Row(
        "consumer.dispatch",
        "consumer with the in-memory layer, ASGI messages dispatched",
        "messages/s",
        (*_both("workloads.dispatch", "memory"), Subject(LIMIT, "limits.dispatch")),
        {"messages": 60_000},
        {"memory": _times(6)},
        loops=LOOPS[:1],
    )


def _end_to_end_rows() -> Iterator[Row]:
    peers = (Subject(PEERS[0], "litestar_channels"), Subject(PEERS[1], "broadcaster_redis"))
    for key, how, senders, window in (
        ("e2e.room", "one message after the other", 1, 1),
        ("e2e.bursts", "20 messages at a time", 20, 20),
    ):
        yield Row(
            key,
            f"500 WebSockets in one room of one server, {how}: its CPU time for a delivery",
            "us",
            (Subject(LIMIT, "bare"), Subject(FLOOR, "woken"), *_both("consumers", *LAYERS), *peers),
            {"scenario": "room", "sockets": 500, "senders": senders, "window": window, "seconds": 2.0},
            {layer: Goal("<=", 1.2, LIMIT) for layer in LAYERS},
            measure="cpu_per_message_us",
            loops=("uvloop",),
            servers=1,
        )
    yield Row(
        "e2e.pairs",
        "50 clients, sent at one server, received at another",
        "round trips/s",
        (*_both("consumers", "pubsub", "queue"), *peers),
        {"scenario": "pairs", "sockets": 50, "seconds": 2.0},
        {"pubsub": Goal(">=", 2, "best peer"), "queue": _times(10)},
        loops=("uvloop",),
        servers=2,
    )


def _all_rows() -> Iterator[Row]:
    yield from _memory_rows()
    yield from _redis_rows("pubsub", one_channel=18, group=3.5, latency=1.5, connecting=4)
    yield from _redis_rows("queue", one_channel=40, group=15, latency=2, connecting=6)
    yield from _consumer_rows()
    yield from _end_to_end_rows()


def chosen_rows(patterns: list[str], loops: list[str], *, quick: bool) -> list[Row]:
    """The rows whose key matches one of `patterns` (all without any), on `loops`; end to end is always on uvicorn's."""
    rows = [row for row in _all_rows() if not patterns or any(fnmatch(row.key, pattern) for pattern in patterns)]
    rows = [row if row.servers else replace(row, loops=tuple(x for x in row.loops if x in loops)) for row in rows]
    rows = [row for row in rows if row.loops]
    return [_quick(row) for row in rows] if quick else rows


def _quick(row: Row) -> Row:
    shorter = {name: QUICK.get(name, value) for name, value in row.parameters.items()}
    return replace(row, parameters=shorter, loops=row.loops[:1])
