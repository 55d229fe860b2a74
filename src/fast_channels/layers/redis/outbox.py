"""What a process sends to one inbox or shared channel of the queue: in order, in batches, and each batch once."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from hiredis import ReplyError

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.link import Link, Patience
from fast_channels.layers.redis.scripts import Script, is_unknown_script

__all__ = ["ANSWER_KEPT", "Outbox"]

MOST_POSTS: Final = 256
MOST_BYTES: Final = 1024 * 1024
"""What one batch holds at most: a script blocks its server."""

ANSWER_KEPT: Final = 60_000
"""Milliseconds for which the server remembers what it answered to the last batch of a sender."""

PASSING: Final = ("LOADING", "BUSY", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS")
"""Refusals that end by themselves: then a batch is sent again."""

PAUSE: Final = 0.05
"""Seconds until it is, if the server refused it for now."""

Argument = bytes | str | int


class _Post(NamedTuple):
    """A message on its way."""

    arguments: Sequence[Argument]
    size: int
    result: "asyncio.Future[str]"


class Outbox:
    """The messages of one event loop to one destination.

    One batch is on its way at a time, with a number; what is posted meanwhile is the next one. If the answer to a batch
    is lost, it is sent again with the same number, for `patience.send` seconds: a server that has seen the number
    repeats its answer. So a message is never doubled, and none overtakes another.

    Args:
        link: to the server of the destination.
        script: adds a batch, or repeats its answer.
        keys: what the script is given.
        arguments: what stands before the messages, after the number of the batch.
        numbers: numbers batches; shared by all outboxes of the loop, so that a number never comes twice.
        results: from the script's answer to one letter for each message.
    """

    __slots__ = (
        "_arguments",
        "_attempt",
        "_batch",
        "_deadline",
        "_keys",
        "_link",
        "_loop",
        "_number",
        "_numbers",
        "_patience",
        "_posts",
        "_results",
        "_script",
        "_sent",
    )

    def __init__(
        self,
        link: Link,
        patience: Patience,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[Argument],
        numbers: "itertools.count[int]",
        results: Callable[[bytes], str] = bytes.decode,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._patience = patience
        self._script = script
        self._keys = keys
        self._arguments = arguments
        self._numbers = numbers
        self._results = results
        self._posts: deque[_Post] = deque()
        self._batch: list[_Post] = []  # what is on its way
        self._number = 0
        self._attempt = 0  # tells the reply to the last attempt from late ones
        self._sent = False  # whether the batch may have arrived
        self._deadline: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Outbox to {self._keys[0]!r}: {len(self._batch)} on their way, {len(self._posts)} waiting>"

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way or waits."""
        return not self._batch and not self._posts

    def post(self, arguments: Sequence[Argument], size: int) -> "asyncio.Future[str]":
        """Send a message; the future resolves with the letter that the script has for it.

        It fails with ServerUnreachable (nothing was sent), OutcomeUnknown, or ServerRefused (nothing was stored).
        """
        if len(self._posts) >= self._patience.commands:
            self._forget_cancelled()
        if len(self._posts) >= self._patience.commands:
            raise ServerUnreachable(self._link.label, 0.0, f"{len(self._posts)} messages wait for it already")
        post = _Post(arguments, size, self._loop.create_future())
        if self.idle:
            self._link.before_write(self._next)
        self._posts.append(post)
        return post.result

    def _forget_cancelled(self) -> None:
        self._posts = deque(post for post in self._posts if not post.result.done())

    # One batch after the other

    def _next(self) -> None:
        batch, size = self._batch, 0
        posts = self._posts
        while posts and len(batch) < MOST_POSTS and size < MOST_BYTES:
            post = posts.popleft()
            if not post.result.done():  # who waited for it has given up
                batch.append(post)
                size += post.size
        if batch:
            self._number = next(self._numbers)
            self._sent = False
            self._send()

    def _send(self, *, whole: bool = False) -> None:
        arguments: list[Argument] = [self._number, *self._arguments]
        for post in self._batch:
            arguments += post.arguments
        self._attempt += 1
        attempt = self._attempt
        try:
            reply = self._link.submit(self._script.command(self._keys, arguments, whole=whole))
        except ServerUnreachable as error:  # too much waits for that server
            self._fail(error)
            return
        reply.add_done_callback(lambda reply: self._answered(reply, attempt))

    def _answered(self, reply: "asyncio.Future[Any]", attempt: int) -> None:
        error = reply.exception() if not reply.cancelled() else None
        if attempt != self._attempt or reply.cancelled():
            return
        if error is None:
            self._succeed(self._results(reply.result()))
        elif isinstance(error, ReplyError):
            self._refused(str(error))
        elif isinstance(error, ServerUnreachable):
            self._fail(OutcomeUnknown(self._link.label, error.cause) if self._sent else error)
        else:
            self._sent = True
            self._again(error)

    def _refused(self, answer: str) -> None:
        if is_unknown_script(answer):
            self._send(whole=True)
        elif answer.startswith(PASSING):
            self._again(ServerRefused(self._link.label, answer), PAUSE)
        else:
            self._fail(ServerRefused(self._link.label, answer))

    def _again(self, error: BaseException, pause: float = 0.0) -> None:
        """Send the batch once more, unless its time is over, or nobody waits for it (as when the loop ends)."""
        if all(post.result.done() for post in self._batch):
            self._fail(error)
            return
        if self._deadline is None:
            self._deadline = self._loop.call_later(self._patience.send, self._give_up, error)
        if pause:
            self._loop.call_later(pause, self._send_again, self._number)
        else:
            self._send()

    def _send_again(self, number: int) -> None:
        if self._batch and number == self._number:
            self._send()

    def _give_up(self, error: BaseException) -> None:
        self._deadline = None
        if self._sent:
            error = OutcomeUnknown(self._link.label, error)
        self._fail(error)

    def _succeed(self, results: str) -> None:
        batch = self._finished()
        for post, result in zip(batch, results, strict=True):
            if not post.result.done():
                post.result.set_result(result)

    def _fail(self, error: BaseException) -> None:
        for post in self._finished():
            if not post.result.done():
                post.result.set_exception(error)
                post.result.exception()  # a sender that was cancelled never asks for it

    def _finished(self) -> list[_Post]:
        batch, self._batch = self._batch, []
        self._attempt += 1
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._posts:
            self._link.before_write(self._next)
        return batch
