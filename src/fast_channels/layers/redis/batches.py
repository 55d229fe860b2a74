"""Messages of the queue that a thread sends: in order, in batches, and each batch once. The twin of `outbox`."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from hiredis import ReplyError

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers.redis.absences import Absences
from fast_channels.layers.redis.blocking_connection import BlockingConnection
from fast_channels.layers.redis.connection import packed
from fast_channels.layers.redis.courier import Courier
from fast_channels.layers.redis.destinations import Destination, read_answer
from fast_channels.layers.redis.durability import (
    CONNECTION_LOST,
    MARK_KEPT,
    NEW_SERVER,
    TOO_LATE,
    not_confirmed,
    run_id_in,
)
from fast_channels.layers.redis.errands import Errand, Repeat
from fast_channels.layers.redis.outbox import MOST_BYTES, MOST_POSTS, Argument
from fast_channels.layers.redis.results import STORED
from fast_channels.layers.redis.sync import Sender
from fast_channels.layers.redis.wiring import QueueWiring

__all__ = ["Letter", "deliver"]

MOST_UNDER_WAY: Final = 16 * 1024 * 1024
"""Bytes that are sent before answers are read."""

GRACE: Final = 1.0
"""Seconds that the answer to a WAIT may come later than it should."""


class Letter(NamedTuple):
    """A message on its way."""

    destination: Destination
    arguments: tuple[Argument, ...]
    """What the script is given for it."""
    size: int
    """Bytes of its payload."""


class _Batch(NamedTuple):
    numbers: list[int]
    """Which of all letters."""
    letters: list[Letter]


def deliver(
    sender: Sender,
    wiring: QueueWiring,
    letters: Sequence[Letter],
    on_expired: Callable[[int], object],
    absences: Absences | None = None,
) -> list[str | Exception]:
    """Send all; what became of each: the letter that the script has for it, or the error.

    Those to one destination keep their order. Where a server was away for as long as a send waits, what is left for it
    is not tried.

    Args:
        sender: whose connections are used, and whom the servers recognise.
        wiring: of the layer.
        letters: in their order.
        on_expired: is told how many older messages were found expired.
        absences: of the servers that the same call has waited for already.
    """
    outcomes: list[str | Exception] = [""] * len(letters)  # each is known in the end
    lines = _lines(letters)
    absences = absences or Absences(wiring.patience.send)
    while lines:
        batches = _next_batches(lines, letters)
        errands = [_errand(sender, wiring, batch) for batch in batches]
        absences.carry_out(sender.courier, errands)
        results = [_results(errand, batch, on_expired) for errand, batch in zip(errands, batches, strict=True)]
        if wiring.is_replicated:
            _confirm(sender, wiring, errands, results)
        for batch, result in zip(batches, results, strict=True):
            for number, outcome in zip(batch.numbers, result, strict=True):
                outcomes[number] = outcome
    return outcomes


def _lines(letters: Iterable[Letter]) -> dict[str, deque[int]]:
    """The numbers of the letters to each destination, in order."""
    lines: dict[str, deque[int]] = {}
    for number, letter in enumerate(letters):
        lines.setdefault(letter.destination.name, deque()).append(number)
    return lines


def _next_batches(lines: dict[str, deque[int]], letters: Sequence[Letter]) -> list[_Batch]:
    """One for each destination, as far as that may be under way together."""
    batches = []
    total = 0
    for name, line in tuple(lines.items()):
        batch = _Batch([], [])
        size = 0
        while line and len(batch.letters) < MOST_POSTS and size < MOST_BYTES:
            number = line.popleft()
            batch.numbers.append(number)
            batch.letters.append(letters[number])
            size += letters[number].size
        if not line:
            del lines[name]
        batches.append(batch)
        total += size
        if total >= MOST_UNDER_WAY:
            break
    return batches


def _errand(sender: Sender, wiring: QueueWiring, batch: _Batch) -> Errand:
    destination = batch.letters[0].destination
    arguments: list[Argument] = [next(sender.numbers), *destination.arguments]
    for letter in batch.letters:
        arguments += letter.arguments
    keys = destination.keys_for(wiring.keys, sender.name)
    return Errand(keys[0], partial(_pack, destination, keys, arguments), Repeat.NUMBERED)


def _pack(destination: Destination, keys: Sequence[bytes], arguments: Sequence[Argument], whole: bool) -> bytes:
    return destination.script.command(keys, arguments, whole=whole)


def _results(errand: Errand, batch: _Batch, on_expired: Callable[[int], object]) -> list[str | Exception]:
    if errand.error is not None:
        return [errand.error] * len(batch.letters)
    expired, results = read_answer(errand.reply)
    if expired:
        on_expired(expired)
    return list(results)


# Replicas


def _confirm(
    sender: Sender, wiring: QueueWiring, errands: Sequence[Errand], results: Sequence[list[str | Exception]]
) -> None:
    """Put an error in the place of what a server has stored, and none of its replicas confirmed."""
    until = time.monotonic() + wiring.patience.send
    confirmed: dict[BlockingConnection | None, FastChannelsError | None] = {}
    for errand, result in zip(errands, results, strict=True):
        if STORED not in result:
            continue
        by = errand.answered_by  # of what another one has accepted, this one knows nothing
        if by not in confirmed:
            confirmed[by] = _confirmation(sender, wiring, errand, until)
        error = confirmed[by]
        if error is not None:
            result[:] = [error if outcome == STORED else outcome for outcome in result]


def _confirmation(sender: Sender, wiring: QueueWiring, errand: Errand, until: float) -> FastChannelsError | None:
    """Wait for a replica of the server that answered to have what it stored; if none has it, why."""
    try:
        connection = _connection_to_the_same(sender.courier, errand, until + GRACE)
        reason = _doubt(connection, wiring.keys.confirmed(errand.address), until)
    except OSError as error:
        reason = str(error) or type(error).__name__
    return None if reason is None else not_confirmed(sender.courier.label_of(errand.address), reason)


def _connection_to_the_same(courier: Courier, errand: Errand, deadline: float) -> BlockingConnection:
    """The connection over which an errand was answered, or a later one to the same server in the same life.

    Raises:
        OSError: there is none.
    """
    before, now = errand.answered_by, courier.connection_for(errand.address)
    if before is not None and before.is_usable():
        return before
    if before is None or before.run_id is None or now is None:
        raise ConnectionError(CONNECTION_LOST)
    if now.run_id is None:
        now.run_id = run_id_in(now.call(b"INFO", b"server", deadline=deadline))
    if now.run_id != before.run_id:
        raise ConnectionError(NEW_SERVER)
    return now


def _doubt(connection: BlockingConnection, key: bytes, until: float) -> str | None:
    """Write something behind what was stored, and wait for a replica to have it; if none has it, why."""
    milliseconds = max(1, round((until - time.monotonic()) * 1000))
    commands = [packed(b"SET", key, b"", b"PX", MARK_KEPT), packed(b"WAIT", 1, milliseconds)]
    if connection.run_id is None:
        commands.insert(0, packed(b"INFO", b"server"))  # if it breaks, the next one can tell
    connection.write(*commands, deadline=until + GRACE)
    *asked, written, waited = [connection.read(until + GRACE) for _ in commands]
    for answer in asked:
        connection.run_id = run_id_in(answer)
    for reply in (written, waited):
        if isinstance(reply, ReplyError):
            return str(reply)
    return None if waited > 0 else TOO_LATE
