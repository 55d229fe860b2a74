"""What senders and handlers wrote to disk, and who checks it.

The promise: *acknowledged - expired - counted - destroyed with the server's data is handled*, and what its sender was
told was not stored is not. `judge` is a plain function of the lines; nothing here looks behind the public API.

A process has a file of its own in the ledger's folder and writes each line with one `write`: what it wrote stays
whatever becomes of the process. Times are of the monotonic clock, which all processes of a machine share.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Key", "Ledger", "Line", "Log", "Verdict", "judge"]

Event = Literal["acknowledged", "unknown", "unreachable", "refused", "full", "start", "end"]
"""What a sender was told: stored, perhaps, no server, not stored, no room; a handler that begins, or has ended."""

NOT_STORED = ("unreachable", "refused", "full")

Key = tuple[str, str, int]
"""A message: the channel, its sender, and its number with that sender."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened. `began` is when a send began that ended at `at`."""

    event: Event
    channel: str
    sender: str
    number: int
    by: str = ""
    at: float = 0.0
    began: float = 0.0

    @property
    def key(self) -> Key:
        return self.channel, self.sender, self.number


class Log:
    """Where one process, or one part of it, writes."""

    def __init__(self, folder: Path | str, by: str) -> None:
        self.by = by
        self._file = os.open(Path(folder) / f"{by}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, event: Event, channel: str, message: Mapping[str, Any], began: float = 0.0) -> None:
        """Write what happened to a message that has `from` and `number`."""
        line = Line(event, channel, message["from"], message["number"], self.by, time.monotonic(), began)
        os.write(self._file, json.dumps(asdict(line)).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


class Ledger:
    """All that was written in a folder, in the order of time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines: list[Line] = []
        self._read: Counter[Path] = Counter()

    def lines(self, *events: Event, channel: str = "") -> list[Line]:
        """The lines so far: all, or those of some events or of a channel."""
        fresh = [line for path in sorted(self.folder.glob("*.log")) for line in self._fresh(path)]
        if fresh:
            self._lines = sorted([*self._lines, *fresh], key=lambda line: line.at)
        return [line for line in self._lines if line.event in (events or (line.event,)) and _on(line, channel)]

    def count(self, *events: Event, channel: str = "") -> int:
        return len(self.lines(*events, channel=channel))

    def keys(self, *events: Event, channel: str = "") -> set[Key]:
        """The messages of which something is known."""
        return {line.key for line in self.lines(*events, channel=channel)}

    def judge(self, **options: Any) -> "Verdict":
        """See `judge`. What it says is printed, and so shown where a test fails."""
        verdict = judge(self.lines(), **options)
        print(verdict)
        return verdict

    def _fresh(self, path: Path) -> Iterator[Line]:
        with path.open("rb") as file:
            file.seek(self._read[path])
            whole, end, _ = file.read().rpartition(b"\n")
        self._read[path] += len(whole) + len(end)
        for line in whole.splitlines():
            yield Line(**json.loads(line))


def _on(line: Line, channel: str) -> bool:
    return not channel or line.channel == channel


@dataclass(slots=True)
class Verdict:
    """What a ledger shows."""

    acknowledged: int = 0
    handled: int = 0
    missing: list[Key] = field(default_factory=list)
    """Acknowledged, not destroyed, and not handled."""
    explained: int = 0
    """How many may be missing: they were counted as dropped, or as expired."""
    impossible: list[Key] = field(default_factory=list)
    """Handled, though nobody sent it, or its sender was told that it was not stored."""
    doubled: dict[Key, int] = field(default_factory=dict)
    """Handled to the end more than once, and how often."""
    begun_again: dict[Key, int] = field(default_factory=dict)
    """Handed over more than once, and how often."""
    inverted: list[tuple[Key, Key]] = field(default_factory=list)
    """Pairs that one receiver got in this order, though the second was acknowledged before the sending of the first
    began."""

    def broken(self) -> list[str]:
        """The promises that were broken, whatever happened."""
        lost = self.missing if len(self.missing) > self.explained else []
        return [
            *(f"{key} was acknowledged and is lost" for key in lost),
            *(f"{key} was handled, and was not stored for all that its sender knows" for key in self.impossible),
        ]

    def once_in_order(self) -> list[str]:
        """The same, where nothing is a reason for a message to come twice or out of its order."""
        return [
            *self.broken(),
            *(f"{key} was handed over {times} times" for key, times in self.begun_again.items()),
            *(f"{first} came before {second}" for first, second in self.inverted),
        ]

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {self.handled} handled, {len(self.missing)} missing of which"
            f" {self.explained} are explained, {len(self.impossible)} impossible\n"
            f"duplicates: {self.doubled or 'none'}; begun again: {self.begun_again or 'none'}\n"
            f"order inversions: {self.inverted or 'none'}"
        )


def judge(
    lines: Iterable[Line],
    *,
    groups: Mapping[str, Collection[str]] | None = None,
    counted: int = 0,
    destroyed: Callable[[Line], bool] = lambda sent: False,
) -> Verdict:
    """Hold what was handled against what was sent.

    Args:
        lines: of all processes, in the order of time.
        groups: the channels that are members of what senders sent to under another name.
        counted: how many messages the layers counted as dropped or expired.
        destroyed: whether a message, given the line of its sender, went with the server's data.
    """
    happened = list(lines)
    sent = [each for line in happened if line.event not in ("start", "end") for each in _to_members(line, groups or {})]
    starts = [line for line in happened if line.event == "start"]
    ends = [line for line in happened if line.event == "end"]
    owed = {line.key for line in sent if line.event == "acknowledged" and not destroyed(line)}
    possible = {line.key for line in sent if line.event not in NOT_STORED}
    return Verdict(
        acknowledged=len({line.key for line in sent if line.event == "acknowledged"}),
        handled=len({line.key for line in ends}),
        missing=sorted(owed.difference(line.key for line in ends)),
        explained=counted,
        impossible=sorted({line.key for line in starts} - possible),
        doubled=_more_than_once(ends),
        begun_again=_more_than_once(starts),
        inverted=list(_inverted({line.key: line for line in sent if line.event == "acknowledged"}, starts)),
    )


def _to_members(line: Line, groups: Mapping[str, Collection[str]]) -> Iterator[Line]:
    for channel in groups.get(line.channel, [line.channel]):
        yield Line(line.event, channel, line.sender, line.number, line.by, line.at, line.began)


def _more_than_once(lines: Iterable[Line]) -> dict[Key, int]:
    return {key: times for key, times in Counter(line.key for line in lines).items() if times > 1}


def _inverted(sent: Mapping[Key, Line], starts: Iterable[Line]) -> Iterator[tuple[Key, Key]]:
    """Whoever got both got the later one first. What comes again comes out of its order, and says nothing."""
    latest: dict[tuple[str, str], Line] = {}
    seen: set[Key] = set()
    for start in starts:
        line = sent.get(start.key)
        if line is None or start.key in seen:
            continue
        seen.add(start.key)
        receiver = (start.by, start.channel)
        before = latest.setdefault(receiver, line)
        if before.began > line.at:
            yield before.key, line.key
        if line.began > before.began:
            latest[receiver] = line
