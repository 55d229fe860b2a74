"""The scripts that run on the server: what must happen at once, or once."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

from hiredis import ReplyError

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.connection import Connection, packed
from fast_channels.layers.redis.link import Commands

__all__ = [
    "ACKNOWLEDGE",
    "APPEND",
    "ATTEND",
    "BURY",
    "EMPTY",
    "GIVE_BACK",
    "JOIN",
    "KEEP",
    "LEASE_SCRIPT",
    "MEMBERS",
    "PUSH",
    "REPORT",
    "REVIVE",
    "TAKE",
    "Script",
    "is_unknown_script",
    "run",
    "run_on",
]


class Script:
    """A script of the folder `lua`, which says what it needs and what it returns."""

    __slots__ = ("_sha", "_text", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._text = files(__package__).joinpath("lua", f"{name}.lua").read_bytes()
        self._sha = hashlib.sha1(self._text, usedforsecurity=False).hexdigest().encode()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"

    def command(self, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, whole: bool = False) -> bytes:
        """The command that runs it; `whole`: with its text, for a server that does not know it (any more)."""
        head: tuple[bytes, bytes] = (b"EVAL", self._text) if whole else (b"EVALSHA", self._sha)
        return packed(*head, len(keys), *keys, *args)


def is_unknown_script(answer: str) -> bool:
    """Whether the server answers that it does not know the script: it was restarted, or its scripts were flushed."""
    return answer.startswith("NOSCRIPT")


async def run(link: Commands, script: Script, keys: Sequence[bytes], *args: bytes | str | int) -> Any:
    """Run a script and return its reply.

    Raises:
        ServerUnreachable, OutcomeUnknown, ServerRefused: as `Link.call`.
    """
    try:
        return await link.answer(script.command(keys, args))
    except ServerRefused as error:
        if not is_unknown_script(error.answer):
            raise
        return await link.answer(script.command(keys, args, whole=True))


async def run_on(connection: Connection, script: Script, keys: Sequence[bytes], *args: bytes | str | int) -> Any:
    """The same on a connection that is being made ready; errors are the connection's."""
    try:
        return await connection.request(script.command(keys, args))
    except ReplyError as error:
        if not is_unknown_script(str(error)):
            raise
        return await connection.request(script.command(keys, args, whole=True))


ACKNOWLEDGE: Final = Script("acknowledge")
APPEND: Final = Script("append")
ATTEND: Final = Script("attend")
BURY: Final = Script("bury")
EMPTY: Final = Script("empty")
GIVE_BACK: Final = Script("give_back")
JOIN: Final = Script("join")
KEEP: Final = Script("keep")
LEASE_SCRIPT: Final = Script("lease")
MEMBERS: Final = Script("members")
PUSH: Final = Script("push")
REPORT: Final = Script("report")
REVIVE: Final = Script("revive")
TAKE: Final = Script("take")
