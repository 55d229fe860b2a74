"""No password and no key stands in a line of the log, a repr, an error, a traceback, or a pickle."""

import asyncio
import io
import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from fast_channels.exceptions import FastChannelsError, ServerRefused, ServerUnreachable
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.testing.server import ServerProcess, free_port
from tests.support.tls import Authority
from tests.support.waiting import PATIENCE

CANARY = "canary-7f3a-of-sixteen-or-more"

Kind = type[RedisChannelLayer] | type[RedisPubSubChannelLayer]

each_layer = pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])

OURS = str(Path(sys.modules["fast_channels"].__file__ or "").parent)


class Ears:
    """Everything that is logged, with its tracebacks, as a handler of logging would write it; of every library."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(logging.Formatter("%(name)s %(message)s"))

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self._handler)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.setLevel(self._level)
        root.removeHandler(self._handler)


@pytest.fixture
def ears() -> Iterator[Ears]:
    with Ears() as ears:
        yield ears
    assert CANARY not in ears.text


def everything_that_shows(error: BaseException) -> str:
    """An error as people and tools see it: its text, its traceback with its causes, its fields, its pickle."""
    shown = [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
    if isinstance(error, FastChannelsError):
        copy = pickle.loads(pickle.dumps(error))
        shown += [str(copy), repr(vars(copy)), pickle.dumps(error).decode("latin-1")]
    return "\n".join(shown)


def shown_with_locals(error: BaseException) -> str:
    """The local variables of the library's own functions, as tools that report errors collect them."""
    found = []
    for each in chain(error):
        for frame in traceback.TracebackException.from_exception(each, capture_locals=True).stack:
            if frame.filename.startswith(OURS):
                found += [f"{frame.name}.{name} = {value}" for name, value in (frame.locals or {}).items()]
    return "\n".join(found)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def reprs(thing: Any, depth: int = 6, seen: set[int] | None = None) -> Iterator[tuple[str, str]]:
    """The repr of an object of ours and of all that it is made of."""
    seen = set() if seen is None else seen
    if depth == 0 or id(thing) in seen:
        return
    seen.add(id(thing))
    if type(thing).__module__.startswith("fast_channels"):
        yield type(thing).__name__, repr(thing)
        names = [*getattr(thing, "__dict__", ()), *(name for kind in type(thing).__mro__ for name in slots(kind))]
        for name in names:
            yield from reprs(getattr(thing, name, None), depth - 1, seen)
    elif isinstance(thing, dict):
        for inner in tuple(thing.values()):
            yield from reprs(inner, depth - 1, seen)
    elif isinstance(thing, list | tuple | set):
        for inner in tuple(thing):
            yield from reprs(inner, depth - 1, seen)


def slots(kind: type) -> list[str]:
    found = vars(kind).get("__slots__", ())
    return [found] if isinstance(found, str) else [name for name in found if not name.startswith("__")]


# What goes wrong


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServerProcess]:
    """A server with a password that is not the canary."""
    with ServerProcess({"requirepass": "another"}) as server:
        yield server


@pytest.fixture(scope="module")
def guarded_sentinel(guarded: ServerProcess) -> Iterator[ServerProcess]:
    monitor = {"sentinel monitor": f"mymaster {guarded.host} {guarded.port} 1", "requirepass": "another"}
    with ServerProcess(monitor, binary=guarded.binary, arguments=["--sentinel"]) as sentinel:
        yield sentinel


def unreachable(*_: ServerProcess) -> dict[str, Any]:
    return {"hosts": [f"redis://user:{CANARY}@127.0.0.1:{free_port()}/0"]}


def wrong_password(server: ServerProcess, _: ServerProcess) -> dict[str, Any]:
    return {"hosts": [f"redis://:{CANARY}@127.0.0.1:{server.port}"]}


def wrong_user(server: ServerProcess, _: ServerProcess) -> dict[str, Any]:
    return {"hosts": [{"host": "127.0.0.1", "port": server.port, "username": "user", "password": CANARY}]}


def no_tls(server: ServerProcess, _: ServerProcess) -> dict[str, Any]:
    options = {"password": CANARY, "socket_connect_timeout": 0.2}
    return {"hosts": [f"rediss://127.0.0.1:{server.port}"], "connection_kwargs": options}


def no_socket(*_: ServerProcess) -> dict[str, Any]:
    return {"hosts": [f"unix://user:{CANARY}@/no/such.sock"]}


def at_sentinel(sentinel: ServerProcess, of_sentinels: str, of_servers: str) -> dict[str, Any]:
    return {
        "sentinels": [("127.0.0.1", sentinel.port)],
        "service_name": "mymaster",
        "sentinel_kwargs": {"password": of_sentinels},
        "connection_kwargs": {"password": of_servers},
    }


def wrong_password_of_the_sentinel(_: ServerProcess, sentinel: ServerProcess) -> dict[str, Any]:
    return at_sentinel(sentinel, CANARY, CANARY)


def wrong_password_behind_the_sentinel(_: ServerProcess, sentinel: ServerProcess) -> dict[str, Any]:
    return at_sentinel(sentinel, "another", CANARY)


def cluster_unreachable(*_: ServerProcess) -> dict[str, Any]:
    return {"hosts": [f"redis://user:{CANARY}@127.0.0.1:{free_port()}"], "cluster": True}


def wrong_password_of_a_cluster(server: ServerProcess, _: ServerProcess) -> dict[str, Any]:
    return {**wrong_password(server, _), "cluster": True}


def time_for(expected: type[Exception]) -> float:
    """Seconds for a send: a refusal is told at once, on a busy machine as well; that nobody is there, in the end."""
    return PATIENCE if expected is ServerRefused else 0.3


TROUBLES: list[tuple[Callable[[ServerProcess, ServerProcess], dict[str, Any]], type[Exception]]] = [
    (unreachable, ServerUnreachable),
    (wrong_password, ServerRefused),
    (wrong_user, ServerRefused),
    (no_tls, ServerUnreachable),
    (no_socket, ServerUnreachable),
    (wrong_password_of_the_sentinel, ServerUnreachable),
    (wrong_password_behind_the_sentinel, ServerRefused),
    (cluster_unreachable, ServerUnreachable),
    (wrong_password_of_a_cluster, ServerRefused),
]


@pytest.mark.parametrize(("trouble", "expected"), TROUBLES, ids=[trouble.__name__ for trouble, _ in TROUBLES])
@each_layer
async def test_what_goes_wrong_shows_no_password_and_no_key(
    guarded: ServerProcess,
    guarded_sentinel: ServerProcess,
    ears: Ears,
    kind: Kind,
    trouble: Callable[[ServerProcess, ServerProcess], dict[str, Any]],
    expected: type[Exception],
) -> None:
    asyncio.get_running_loop().set_debug(True)
    options = trouble(guarded, guarded_sentinel)
    layer = kind(**options, prefix="canary", symmetric_encryption_keys=[CANARY], send_timeout=time_for(expected))
    calls: list[Callable[[], Any]] = [
        lambda: layer.send("jobs", {"type": "test"}),
        layer.new_channel,
        lambda: layer.group_add("room", "jobs"),
        lambda: layer.group_send("room", {"type": "test"}),
        layer.inspect,
    ]
    async with layer:
        errors = [error for error in [await error_of(call) for call in calls] if error is not None]
        assert {type(error) for error in errors} == {expected}
        assert not [error for error in errors if CANARY in everything_that_shows(error) + shown_with_locals(error)]
        shown = dict(reprs(layer))
        assert len(shown) > 5
        assert not [name for name, text in shown.items() if CANARY in text]
    assert "127.0.0.1" in ears.text or "no/such.sock" in ears.text


@pytest.mark.parametrize(("trouble", "expected"), TROUBLES, ids=[trouble.__name__ for trouble, _ in TROUBLES])
@each_layer
def test_nor_does_it_in_a_thread(
    guarded: ServerProcess,
    guarded_sentinel: ServerProcess,
    ears: Ears,
    kind: Kind,
    trouble: Callable[[ServerProcess, ServerProcess], dict[str, Any]],
    expected: type[Exception],
) -> None:
    """Over `layer.sync`."""
    options = trouble(guarded, guarded_sentinel)
    layer = kind(**options, prefix="canary", symmetric_encryption_keys=[CANARY], send_timeout=time_for(expected))
    calls: list[Callable[[], Any]] = [
        lambda: layer.sync.send("jobs", {"type": "test"}),
        lambda: layer.sync.group_send("room", {"type": "test"}),
    ]
    with layer.sync:
        for call in calls:
            with pytest.raises(expected) as caught:
                call()
            assert CANARY not in everything_that_shows(caught.value) + shown_with_locals(caught.value)
        shown = dict(reprs(layer.sync))
        assert len(shown) > 5
        assert not [name for name, text in shown.items() if CANARY in text]
    assert "127.0.0.1" in ears.text or "no/such.sock" in ears.text


async def error_of(call: Callable[[], Any]) -> FastChannelsError | None:
    try:
        await asyncio.wait_for(call(), PATIENCE)
    except FastChannelsError as error:
        return error
    return None


@pytest.mark.tls
@each_layer
async def test_tls_that_fails_shows_no_password(tmp_path: Path, ears: Ears, kind: Kind) -> None:
    with Authority(tmp_path).server("localhost", config={"requirepass": "another"}) as server:
        async with kind(hosts=[f"rediss://user:{CANARY}@localhost:{server.port}"], send_timeout=2) as layer:
            with pytest.raises(ServerUnreachable, match="unknown authority") as caught:
                await layer.send("jobs", {"type": "test"})
            with pytest.raises(ServerUnreachable, match="unknown authority") as in_a_thread:
                await asyncio.to_thread(layer.sync.send, "jobs", {"type": "test"})
    for error in (caught.value, in_a_thread.value):
        assert CANARY not in everything_that_shows(error)
        assert CANARY not in shown_with_locals(error)


def test_an_error_that_did_show_it_would_be_found() -> None:
    """The twin."""
    with pytest.raises(FastChannelsError) as caught:
        raise FastChannelsError("refused") from ConnectionError(CANARY)
    assert CANARY in everything_that_shows(caught.value)
    with Ears() as ears:
        logging.getLogger("fast_channels.redis").debug("%s", CANARY)
    assert CANARY in ears.text


BAD_HOSTS: list[Any] = [
    f"redis://:{CANARY}@h:99999",
    f"redis://:{CANARY}@[h",
    f"http://user:{CANARY}@h",
    f"user:{CANARY}@h",
    {"host": "h", "password": CANARY, "nonsense": 1},
    {"password": CANARY},
    (f"redis://:{CANARY}@h", 6379),
]


@each_layer
@pytest.mark.parametrize("host", BAD_HOSTS, ids=range(len(BAD_HOSTS)))
def test_hosts_that_mean_nothing_are_refused_without_the_password(kind: Kind, host: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        kind(hosts=[host])
    assert CANARY not in everything_that_shows(caught.value)


@each_layer
@pytest.mark.parametrize("keys", [CANARY, [CANARY, "short"], [CANARY[:15]], [CANARY, 5]], ids=range(4))
def test_keys_that_are_none_are_refused_without_being_shown(kind: Kind, keys: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        kind(symmetric_encryption_keys=keys)
    assert CANARY[:15] not in everything_that_shows(caught.value)


# The command line


@pytest.mark.parametrize(
    ("url", "exit_code"),
    [(f"redis://user:{CANARY}@127.0.0.1:1", 1), (f"http://user:{CANARY}@h", 2), (f"redis://:{CANARY}@h:x", 2), ("", 1)],
    ids=["unreachable", "no URL of a server", "a bad port", "a wrong password"],
)
def test_the_command_line_shows_no_password(guarded: ServerProcess, url: str, exit_code: int) -> None:
    url = url or f"redis://:{CANARY}@127.0.0.1:{guarded.port}"
    command = [sys.executable, "-m", "fast_channels", "dead-letters", "list", "jobs", "--redis-url", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == exit_code, done.stderr
    assert "fast-channels: " in done.stderr
    assert CANARY not in done.stdout + done.stderr


async def test_closing_a_layer_that_never_logged_in_shows_nothing(guarded: ServerProcess, ears: Ears) -> None:
    layer = RedisChannelLayer(hosts=[f"redis://:{CANARY}@127.0.0.1:{guarded.port}"], send_timeout=0.2)
    waiting = asyncio.create_task(layer.receive("jobs"))
    with suppress(FastChannelsError):
        await layer.new_channel()
    await layer.close()
    await asyncio.wait({waiting})
    error = waiting.exception()
    assert error is not None
    assert CANARY not in everything_that_shows(error)
