"""What the pub/sub layer promises while things break, and who checks it.

A message arrives at most once; what was acknowledged arrives in the order of its sender; and whatever is missing lies
in a gap that was reported, was counted as dropped, or its sender got an error. `broken` is a plain function of what the
senders and the listeners wrote down, in the order in which it happened; nothing here looks behind the public API.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from fast_channels.exceptions import OutcomeUnknown, ServerUnreachable

__all__ = ["Heard", "Listener", "Sender", "Sent", "broken"]

Outcome = Literal["acknowledged", "unknown", "unreachable"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, and what its sender was told."""

    number: int
    began: float
    outcome: Outcome


@dataclass(slots=True)
class Sender:
    """Numbers its messages and writes down what became of each. It never sends one again."""

    name: str
    sent: list[Sent] = field(default_factory=list)
    begun: int = 0

    async def send(self, publish: Callable[[dict[str, Any]], Awaitable[None]]) -> Sent:
        """Send the next message."""
        self.begun += 1
        number, began = self.begun, time.monotonic()
        outcome: Outcome = "acknowledged"
        try:
            await publish({"from": self.name, "number": number})
        except OutcomeUnknown:
            outcome = "unknown"
        except ServerUnreachable:
            outcome = "unreachable"
        sent = Sent(number, began, outcome)
        self.sent.append(sent)
        return sent


@dataclass(frozen=True, slots=True)
class Heard:
    """Something that a listener noticed: a message, the loss of its connection, or the report that it is back."""

    kind: Literal["message", "down", "gap"]
    at: float
    sender: str = ""
    number: int = 0


@dataclass(slots=True)
class Listener:
    """What reached one channel, and when its layer said that it could not hear."""

    log: list[Heard] = field(default_factory=list)

    def message(self, message: dict[str, Any]) -> None:
        self.log.append(Heard("message", time.monotonic(), message["from"], message["number"]))

    def down(self, layer: object = None) -> None:
        self.log.append(Heard("down", time.monotonic()))

    def gap(self, layer: object = None) -> None:
        self.log.append(Heard("gap", time.monotonic()))

    def numbers(self, sender: Sender) -> list[int]:
        """What arrived of `sender`, in the order of its arrival."""
        return [heard.number for heard in self.log if heard.kind == "message" and heard.sender == sender.name]

    def count(self, kind: str) -> int:
        return sum(heard.kind == kind for heard in self.log)


def broken(sender: Sender, listener: Listener, dropped: int = 0) -> list[str]:
    """The promises that were broken between the two; `dropped` is what the listener's layer counted as dropped."""
    arrived = listener.numbers(sender)
    outcomes = {sent.number: sent.outcome for sent in sender.sent}
    acknowledged = [number for number in arrived if outcomes.get(number) == "acknowledged"]
    found = [f"{number} arrived {arrived.count(number)} times" for number in _repeated(arrived)]
    found += [f"{first} arrived before {second}" for first, second in _out_of_order(acknowledged)]
    found += [f"{number} arrived, and its sender was told that nothing was sent" for number in arrived
              if outcomes.get(number) == "unreachable"]  # fmt: skip
    missing = list(_unexplained(sender, listener))
    if len(missing) > dropped:
        found += [f"{number} was acknowledged and is missing without a word" for number in missing]
    if listener.count("down") > listener.count("gap"):
        found.append("an outage was never reported as over")
    return found


def _repeated(numbers: list[int]) -> list[int]:
    seen: set[int] = set()
    repeated = {number for number in numbers if number in seen or seen.add(number)}  # type: ignore[func-returns-value]
    return sorted(repeated)


def _out_of_order(numbers: list[int]) -> Iterator[tuple[int, int]]:
    for first, second in pairwise(numbers):
        if first > second:
            yield first, second


def _unexplained(sender: Sender, listener: Listener) -> Iterator[int]:
    """What was acknowledged and is missing, though no outage lies between its neighbours, or it was over before."""
    arrived = set(listener.numbers(sender))
    sent_in_order = sorted(sender.sent, key=lambda sent: sent.number)
    missing = [sent for sent in sent_in_order if sent.outcome == "acknowledged" and sent.number not in arrived]
    outage, restored = False, float("inf")
    for heard in [*listener.log, Heard("message", 0.0, sender.name, sender.begun + 1)]:
        if heard.kind == "down":
            outage, restored = True, float("inf")
        elif heard.kind == "gap":
            restored = heard.at
        elif heard.sender == sender.name:
            while missing and missing[0].number < heard.number:
                lost = missing.pop(0)
                if not outage or lost.began > restored:
                    yield lost.number
            outage, restored = False, float("inf")
