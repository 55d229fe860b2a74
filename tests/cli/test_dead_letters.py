"""`fast-channels dead-letters`, on a layer that has some. The queue's own are tried in `test_with_queue.py`."""

import json
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from fast_channels.cli.program import run
from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers import ChannelLayerRegistry, InMemoryChannelLayer
from fast_channels.layers.dead_letters import DeadLetter


class Letters:
    """Dead letters in memory."""

    def __init__(self, *letters: DeadLetter) -> None:
        self.letters = list(letters)
        self.again: list[DeadLetter] = []

    def of(self, channel: str, ids: Sequence[str] = ()) -> list[DeadLetter]:
        return [letter for letter in self.letters if letter.channel == channel and (not ids or letter.id in ids)]

    async def channels(self) -> dict[str, int]:
        return {channel: len(self.of(channel)) for channel in dict.fromkeys(letter.channel for letter in self.letters)}

    async def list(self, channel: str, start: int = 0, count: int = 100) -> Sequence[DeadLetter]:
        return self.of(channel)[start : start + count]

    async def get(self, channel: str, id: str) -> DeadLetter | None:
        return next(iter(self.of(channel, [id])), None)

    async def send_again(self, channel: str, *ids: str) -> int:
        self.again += self.of(channel, ids)
        return await self.drop(channel, *ids)

    async def drop(self, channel: str, *ids: str) -> int:
        found = self.of(channel, ids)
        self.letters = [letter for letter in self.letters if letter not in found]
        return len(found)


class Layer(InMemoryChannelLayer):
    def __init__(self, letters: Any) -> None:
        super().__init__()
        self.dead_letters = letters
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1
        await super().close()


def letter(channel: str, id: str, message: Any = None, error: str = "") -> DeadLetter:
    return DeadLetter(channel, id, message, "max_deliveries", 5, error, 1_700_000_000.5)


@pytest.fixture
def letters() -> Letters:
    return Letters(
        letter("jobs", "1-0", {"type": "thumbnail.generate", "id": 7, "raw": b"\0"}, "ValueError: no such picture"),
        letter("jobs", "2-0", None, "\x1b[2Jobeyed [red]by a terminal[/red]"),
        letter("mails", "3-0", {"type": "mail.send"}, "x" * 300),
    )


@pytest.fixture
def layer(letters: Letters, channel_layers: ChannelLayerRegistry, folder: Path) -> Layer:
    layer = Layer(letters)
    channel_layers.register("default", layer)
    return layer


BAD_NAMES = [["list", "a b"], ["show", "a b", "x"], ["send-again", "a b"], ["drop", "a b", "--yes"]]

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(layer: Layer, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs `fast-channels dead-letters …`: the exit code, and what was printed."""

    def ask(*arguments: str) -> tuple[int, str, str]:
        code = run(["dead-letters", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return ask


def test_how_many_each_channel_has(ask: Ask, layer: Layer) -> None:
    code, out, err = ask("list")
    assert [line.split() for line in out.splitlines()[1:]] == [["jobs", "2"], ["mails", "1"]]
    assert (code, err) == (0, "")
    assert layer.closed == 1


def test_how_many_as_json(ask: Ask) -> None:
    assert json.loads(ask("list", "--json")[1]) == {"jobs": 2, "mails": 1}


def test_those_of_a_channel(ask: Ask) -> None:
    code, out, _ = ask("list", "jobs")
    _, first, second = out.splitlines()
    assert code == 0
    assert first.rstrip().endswith("5  thumbnail.generate  ValueError: no such picture")
    assert second.rstrip().endswith(r"?                   \x1b[2Jobeyed [red]by a terminal[/red]")


def test_a_line_is_a_line_where_no_terminal_is(ask: Ask) -> None:
    assert "x" * 300 in ask("list", "mails")[1]


def test_some_of_a_channel_as_json(ask: Ask) -> None:
    _, out, _ = ask("list", "jobs", "--start", "1", "--count", "1", "--json")
    assert [found["id"] for found in json.loads(out)] == ["2-0"]


def test_there_are_none(ask: Ask, letters: Letters) -> None:
    assert ask("list", "nothing") == (0, "There are no dead letters.\n", "")
    letters.letters.clear()
    assert ask("list") == (0, "There are no dead letters.\n", "")


def test_all_about_one(ask: Ask) -> None:
    code, out, _ = ask("show", "jobs", "1-0")
    assert code == 0
    facts = dict(line.split(None, 1) for line in out.split("message")[0].splitlines())
    assert facts.pop("died").startswith("2023-11-1")
    assert facts == {
        "id": "1-0",
        "channel": "jobs",
        "reason": "max_deliveries",
        "deliveries": "5",
        "error": "ValueError: no such picture",
    }
    assert json.loads(out.split("message")[1]) == {"type": "thumbnail.generate", "id": 7, "raw": "AA=="}


def test_an_error_of_two_lines_is_one_fact(ask: Ask, letters: Letters) -> None:
    letters.letters.append(letter("jobs", "4-0", {"type": "a\nid 5"}, "ValueError: a\nid  6"))
    _, out, _ = ask("show", "jobs", "4-0")
    assert r"ValueError: a\nid  6" in out
    assert json.loads(out.split("message")[1]) == {"type": "a\nid 5"}
    _, out, _ = ask("list", "jobs")
    assert len(out.splitlines()) == 4


def test_all_about_several_as_json(ask: Ask) -> None:
    found = json.loads(ask("show", "jobs", "2-0", "1-0", "--json")[1])
    assert [each["id"] for each in found] == ["2-0", "1-0"]
    assert found[0]["message"] is None
    assert found[0]["died_at"] == 1_700_000_000.5


def test_one_that_is_not_there(ask: Ask) -> None:
    assert ask("show", "jobs", "9-9") == (
        1,
        "",
        "fast-channels: jobs has no dead letter '9-9': see fast-channels dead-letters list jobs\n",
    )


def test_sending_again(ask: Ask, letters: Letters) -> None:
    assert ask("send-again", "jobs", "2-0") == (0, "1 dead letter sent to jobs again.\n", "")
    assert ask("send-again", "jobs", "--json") == (0, '{\n  "sent_again": 1\n}\n', "")
    assert [each.id for each in letters.again] == ["2-0", "1-0"]


def test_dropping(ask: Ask, letters: Letters) -> None:
    assert ask("drop", "jobs", "2-0") == (0, "1 dead letter dropped.\n", "")
    assert [each.id for each in letters.letters] == ["1-0", "3-0"]


def test_not_to_find_all_is_a_failure(ask: Ask) -> None:
    code, out, err = ask("drop", "jobs", "2-0", "8-0", "9-0")
    assert (code, out) == (1, "1 dead letter dropped.\n")
    assert err.startswith("fast-channels: 2 of those that were named are not there: ")


def test_to_drop_all_asks(ask: Ask, letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ("n\n", ""):
        monkeypatch.setattr("sys.stdin", StringIO(answer))
        code, out, err = ask("drop", "jobs")
        assert (code, out) == (1, "")
        assert "Drop all 2 dead letters of jobs?" in err
        assert err.endswith("\nfast-channels: nothing was dropped: confirm with --yes\n")
    assert len(letters.letters) == 3
    monkeypatch.setattr("sys.stdin", StringIO("y\n"))
    assert ask("drop", "jobs")[:2] == (0, "2 dead letters dropped.\n")
    assert len(letters.letters) == 1


def test_or_is_told_yes(ask: Ask, letters: Letters) -> None:
    assert ask("drop", "jobs", "--yes") == (0, "2 dead letters dropped.\n", "")


def test_a_layer_without_dead_letters(ask: Ask, channel_layers: ChannelLayerRegistry) -> None:
    channel_layers.register("default", InMemoryChannelLayer())
    code, out, err = ask("list")
    assert (code, out) == (1, "")
    assert err == (
        "fast-channels: layer 'default' (InMemoryChannelLayer) has no dead letters: only a RedisChannelLayer has; "
        "name it with --layer\n"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        *((arguments, "Channel name must be a valid") for arguments in BAD_NAMES),
        (["list", "jobs", "--start", "9" * 22], "Invalid value for '--start'"),
        (["list", "jobs", "--count", "9" * 22], "Invalid value for '--count'"),
    ],
)
def test_what_cannot_be_is_a_mistake_of_the_command_line(ask: Ask, arguments: list[str], text: str) -> None:
    code, out, err = ask(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"fast-channels: {text}")
    assert err.count("\n") == 1


def test_a_server_that_is_away(ask: Ask, letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    async def channels() -> dict[str, int]:
        raise ServerUnreachable("redis://there", 5.0)

    monkeypatch.setattr(letters, "channels", channels)
    code, out, err = ask("list")
    assert (code, out) == (1, "")
    assert err.startswith("fast-channels: redis://there cannot be reached (waited 5.0 s)")
    assert err.count("\n") == 1
