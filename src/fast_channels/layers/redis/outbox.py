"""What a process sends to one inbox or shared channel of the queue: in order, in batches, and each batch once."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from hiredis import ReplyError

from fast_channels.exceptions import OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.redis.durability import Durability
from fast_channels.layers.redis.link import Commands, Patience
from fast_channels.layers.redis.scripts import Script, is_unknown_script

__all__ = ["ANSWER_KEPT", "Outbox", "ReplicatedOutbox"]

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

REQUEST: Final = ("", "")
"""What the arguments of a control entry begin with."""


class _Post(NamedTuple):
    """A message on its way."""

    arguments: Sequence[Argument]
    size: int
    result: "asyncio.Future[str]"
    since: float
    """When it was posted, on the loop's clock."""


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
        "_batch",
        "_deadline",
        "_keys",
        "_link",
        "_loop",
        "_number",
        "_numbers",
        "_patience",
        "_posts",
        "_reply",
        "_results",
        "_script",
        "_sent",
        "_waiting_bytes",
    )

    def __init__(
        self,
        link: Commands,
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
        self._waiting_bytes = 0  # of the posts
        self._batch: list[_Post] = []  # what is on its way
        self._number = 0
        self._reply: asyncio.Future[Any] | None = None  # to the attempt that is under way
        self._sent = False  # whether an attempt before that may have arrived
        self._deadline: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Outbox to {self._keys[0]!r}: {len(self._batch)} on their way, {len(self._posts)} waiting>"

    @property
    def server(self) -> str:
        """Where it sends to, as logs and errors name it."""
        return self._link.label

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way or waits."""
        return not self._batch and not self._posts

    def post(self, arguments: Sequence[Argument], size: int) -> "asyncio.Future[str]":
        """Send a message; the future resolves with the letter that the script has for it.

        It fails with ServerUnreachable (nothing was sent), OutcomeUnknown, or ServerRefused (nothing was stored). While
        its server is away, that takes `patience.send` seconds, or up to twice as long behind others.

        Raises:
            ServerUnreachable: too much waits already.
        """
        posts, patience = self._posts, self._patience
        if len(posts) >= patience.commands or self._waiting_bytes > patience.bytes:
            self._make_room()
        result: asyncio.Future[str] = self._loop.create_future()
        if not posts and not self._batch:
            self._link.before_write(self._next)
        posts.append(_Post(arguments, size, result, self._loop.time()))
        self._waiting_bytes += size
        return result

    def _make_room(self) -> None:
        """Forget posts whose senders were cancelled; there must be some."""
        posts, patience = self._posts, self._patience
        for _ in range(len(posts)):
            post = posts.popleft()
            if post.result.done():
                self._waiting_bytes -= post.size
            else:
                posts.append(post)
        if len(posts) >= patience.commands or self._waiting_bytes > patience.bytes:
            raise ServerUnreachable(self._link.label, 0.0, f"{len(posts)} messages wait for it already")

    # One batch after the other

    def _next(self) -> None:
        batch, size = self._batch, 0
        if batch:
            return  # it was called twice: its posts had been cancelled in between
        posts = self._posts
        while posts and len(batch) < MOST_POSTS and size < MOST_BYTES:
            post = posts.popleft()
            self._waiting_bytes -= post.size
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
        try:
            reply = self._reply = self._link.submit(self._script.command(self._keys, arguments, whole=whole))
        except ServerUnreachable as error:  # too much waits for that server
            self._fail(self._doubtful(error))
            return
        reply.add_done_callback(self._answered)

    def _answered(self, reply: "asyncio.Future[Any]") -> None:
        if reply.cancelled():
            return
        self._reply = None
        error = reply.exception()
        if error is None:
            self._succeed(self._results(reply.result()))
        elif isinstance(error, ReplyError):
            self._refused(str(error))
        elif isinstance(error, ServerUnreachable):
            self._fail(self._doubtful(error))
            self._fail_overdue(error)
        elif isinstance(error, ServerRefused):  # connections: a wrong password; nothing was sent
            self._fail(self._doubtful(error))
        else:
            self._sent = True
            self._again(error)

    def _refused(self, answer: str) -> None:
        if is_unknown_script(answer) and self._link.is_started:
            self._send(whole=True)
        elif answer.startswith(PASSING):
            self._again(ServerRefused(self._link.label, answer), PAUSE)
        else:
            self._fail(self._doubtful(ServerRefused(self._link.label, answer)))

    def _doubtful(self, error: BaseException) -> BaseException:
        """What to tell of a batch that failed with `error`: an attempt before that one may have arrived."""
        return OutcomeUnknown(self._link.label, _cause(error)) if self._sent else error

    def _again(self, error: BaseException, pause: float = 0.0) -> None:
        """Send the batch once more, unless its time is over, nobody waits for it, or the link was closed."""
        if not self._link.is_started or all(post.result.done() for post in self._batch):
            self._fail(self._doubtful(error))
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
        if self._reply is not None:
            if not self._reply.cancel():
                return  # it was answered just now
            self._reply = None
            self._sent = True
        self._fail(self._doubtful(error))
        self._fail_overdue(error)

    def _succeed(self, results: str) -> None:
        batch = self._finished()
        for post, result in zip(batch, results, strict=True):
            if not post.result.done():
                post.result.set_result(result)

    def _fail(self, error: BaseException) -> None:
        for post in self._finished():
            _fail(post, error)

    def _fail_overdue(self, cause: BaseException) -> None:
        """The server is away: what has waited behind the batch for as long fails with it."""
        error = ServerUnreachable(self._link.label, self._patience.send, _cause(cause))
        self._fail_posts(error, self._loop.time() - self._patience.send)

    def _fail_posts(self, error: BaseException, until: float) -> None:
        posts = self._posts
        while posts and posts[0].since <= until:
            post = posts.popleft()
            self._waiting_bytes -= post.size
            _fail(post, error)

    def _finished(self) -> list[_Post]:
        batch, self._batch = self._batch, []
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if not self._posts:
            return batch
        if self._link.is_started:
            self._link.before_write(self._next)
        else:
            self._fail_posts(ServerUnreachable(self._link.label, 0.0, "the layer was closed"), self._loop.time())
        return batch


class ReplicatedOutbox(Outbox):
    """An outbox whose messages count as sent when a replica has them; the next batch does not wait for that.

    A request of one process to another is no message: it is made again until it is answered.
    """

    __slots__ = ("_durability",)

    def __init__(self, durability: Durability, *args: Any) -> None:
        super().__init__(*args)
        self._durability = durability

    def _succeed(self, results: str) -> None:
        stored = []
        for post, result in zip(self._finished(), results, strict=True):
            if result == "1" and tuple(post.arguments[:2]) != REQUEST:
                stored.append(post)
            elif not post.result.done():
                post.result.set_result(result)
        if stored:
            confirming = self._durability.confirm(self._link, self._keys[0])
            confirming.add_done_callback(partial(self._settle, stored))

    def _settle(self, stored: Sequence[_Post], confirmed: "asyncio.Task[None]") -> None:
        closed = confirmed.cancelled()
        error = OutcomeUnknown(self._link.label, "the layer was closed") if closed else confirmed.exception()
        for post in stored:
            if error is not None:
                _fail(post, error)
            elif not post.result.done():
                post.result.set_result("1")


def _cause(error: BaseException) -> BaseException | str:
    return error.cause if isinstance(error, ServerUnreachable) else error


def _fail(post: _Post, error: BaseException) -> None:
    if not post.result.done():
        post.result.set_exception(error)
        post.result.exception()  # a sender that was cancelled never asks for it
