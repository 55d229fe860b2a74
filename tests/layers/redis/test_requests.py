"""What one process asks of another: until it answers, once a request, and no longer than a send may take."""

import asyncio
from typing import Any

import pytest

from fast_channels.exceptions import InvalidNameError, OutcomeUnknown, ServerRefused, ServerUnreachable
from fast_channels.layers.mailbox import Counters
from fast_channels.layers.redis import requests as module
from fast_channels.layers.redis.envelope import Control
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.requests import Requests
from tests.support.waiting import until

CHANNEL = "s.owner!a"


class Process:
    """A process with its requests; what it sends is handed to `others` by client."""

    def __init__(self, client: str, others: "dict[str, Process]", send: float = 5.0) -> None:
        self.client = client
        self.others = others
        self.others[client] = self
        self.sent: list[Control] = []
        self.log: list[tuple[str, str, str]] = []
        self.counters = Counters()
        self.hold: asyncio.Event | None = None
        self.refusal: Exception | None = None
        self.deaf_for = 0
        self.requests = Requests(client, self, self.send, Patience(send=send), self.counters)

    async def send(self, client: str, control: Control) -> None:
        self.sent.append(control)
        await asyncio.sleep(0)
        other = self.others.get(client)
        if other is not None and other.deaf_for:
            other.deaf_for -= 1
        elif other is not None:
            other.requests.handle(control)

    async def join(self, group: str, channel: str) -> None:
        await self.act("join", group, channel)

    async def leave(self, group: str, channel: str) -> None:
        await self.act("leave", group, channel)

    async def act(self, *what: str) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise self.refusal
        self.log.append(what)  # type: ignore[arg-type]

    def idle(self) -> bool:
        return repr(self.requests) == f"<Requests of {self.client}: 0 asked, 0 being answered>"


@pytest.fixture
async def both() -> tuple[Process, Process]:
    others: dict[str, Process] = {}
    return Process("asker", others, 0.5), Process("owner", others)


@pytest.mark.parametrize("op", ["join", "leave"])
async def test_who_asks_waits_until_it_is_done(both: tuple[Process, Process], op: str) -> None:
    asker, owner = both
    owner.hold = asyncio.Event()
    asking = asyncio.create_task(asker.requests.ask(op, "room", CHANNEL))
    await until(lambda: "1 being answered" in repr(owner.requests))
    assert not asking.done()
    owner.hold.set()
    await asking
    assert owner.log == [(op, "room", CHANNEL)]
    await until(lambda: asker.idle() and owner.idle())


async def test_an_owner_that_does_not_hear_is_asked_again(both: tuple[Process, Process]) -> None:
    asker, owner = both
    owner.deaf_for = 2
    await asker.requests.ask("join", "room", CHANNEL)
    assert len(asker.sent) == 3
    assert len(set(asker.sent)) == 1
    assert owner.log == [("join", "room", CHANNEL)]


async def test_an_answer_that_is_lost_is_given_again(both: tuple[Process, Process]) -> None:
    asker, owner = both
    asker.deaf_for = 1
    await asker.requests.ask("join", "room", CHANNEL)
    assert owner.log == [("join", "room", CHANNEL)] * 2


async def test_an_owner_that_never_answers_leaves_the_outcome_unknown(both: tuple[Process, Process]) -> None:
    asker, _ = both
    with pytest.raises(OutcomeUnknown, match=r"the owner of channel s\.gone!a .* is its process gone\?"):
        await asker.requests.ask("join", "room", "s.gone!a")
    assert 3 <= len(asker.sent) <= 5
    assert asker.idle()


async def test_who_cannot_ask_is_told_at_once(both: tuple[Process, Process]) -> None:
    asker, _ = both

    async def unreachable(client: str, control: Control) -> None:
        raise ServerUnreachable("server", 0.1)

    asker.requests._send = unreachable
    with pytest.raises(ServerUnreachable):
        await asker.requests.ask("join", "room", CHANNEL)
    assert asker.idle()


async def test_who_gives_up_asks_no_more(both: tuple[Process, Process]) -> None:
    asker, owner = both
    owner.deaf_for = 1000
    asking = asyncio.create_task(asker.requests.ask("join", "room", CHANNEL))
    await until(lambda: asker.sent)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    count = len(asker.sent)
    await asyncio.sleep(0.15)
    assert len(asker.sent) == count
    assert asker.idle()


async def test_each_request_gets_its_own_answer(both: tuple[Process, Process]) -> None:
    asker, owner = both
    await asyncio.gather(*(asker.requests.ask("join", f"room{number}", CHANNEL) for number in range(50)))
    assert [group for _, group, _ in owner.log] == [f"room{number}" for number in range(50)]
    assert len({control.id for control in asker.sent}) == 50


async def test_an_owner_that_cannot_do_it_says_so_in_its_log(
    both: tuple[Process, Process], caplog: pytest.LogCaptureFixture
) -> None:
    asker, owner = both
    owner.refusal = ServerRefused("server", "NOPERM")
    with pytest.raises(OutcomeUnknown):
        await asker.requests.ask("join", "room", CHANNEL)
    assert "inbox owner could not join: server refused: NOPERM" in caplog.messages


async def test_so_many_are_worked_on_at_a_time(both: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWERS", 5)
    _, owner = both
    owner.hold = asyncio.Event()
    for number in range(8):
        owner.requests.handle(Control("join", number, "asker", "room", CHANNEL))
    assert owner.counters.dropped == {"inbox_full": 3}
    owner.hold.set()
    await until(lambda: len(owner.log) == 5)
    await until(owner.idle)


@pytest.mark.parametrize(
    "control",
    [Control("done", 99, "x"), Control("done", -1, "")],
)
async def test_an_answer_that_nobody_waits_for_is_nothing(both: tuple[Process, Process], control: Control) -> None:
    both[0].requests.handle(control)
    both[0].requests.handle(control)
    assert both[0].idle()


async def test_a_request_about_no_group_is_refused(both: tuple[Process, Process]) -> None:
    control: Any = Control("join", 1, "asker", "no group!", CHANNEL)
    with pytest.raises(InvalidNameError):
        both[1].requests.handle(control)
    assert both[1].idle()


async def test_what_is_worked_on_ends_with_the_loop(both: tuple[Process, Process]) -> None:
    _, owner = both
    owner.hold = asyncio.Event()
    owner.requests.handle(Control("join", 1, "asker", "room", CHANNEL))
    await asyncio.sleep(0)
    owner.requests.close()
    await until(owner.idle)
    assert owner.log == []
