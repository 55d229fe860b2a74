"""The page about the command line: each command prints what the page shows, but for times and rates."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fast_channels.cli.program import app
from fast_channels.testing.server import ServerProcess
from tests.cli.commands import call, end_of, running
from tests.docs.pages import Page

NAME = "docs/guide/command-line.md"

ROW = re.compile(r"^\| `(?P<commands>[\w\-`, ]+)` \|", re.MULTILINE)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """With what the page says is there: nothing."""
    with ServerProcess() as server:
        yield server


@pytest.fixture
def page(open_page: Callable[[str], Page], server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setenv("REDIS_URL", server.url)
    return open_page(NAME)


def examples(page: Page) -> list[tuple[list[list[str]], str]]:
    """Commands, with what is printed in the end."""
    pairs = zip(page.blocks, page.blocks[1:], strict=False)
    return [
        ([shlex.split(line) for line in block.code.splitlines()], output.code)
        for block, output in pairs
        if block.language == "sh" and output.language == "text"
    ]


@pytest.mark.timeout(300)  # a dozen processes, one after the other
async def test_every_command_prints_what_the_page_shows(page: Page, server: ServerProcess, tmp_path: Path) -> None:
    shown = examples(page)
    assert len(shown) == 8
    for commands, output in shown:
        printed = ""
        for command in commands:
            assert command[0] == "fast-channels"
            printed = await printed_by(command[1:], tmp_path, server)
        assert shape(printed, server) == shape(output, server)
    assert (tmp_path / "rates.svg").exists()


async def printed_by(command: list[str], folder: Path, server: ServerProcess) -> str:
    if command[:2] != ["listen", "gallery"]:
        done = await call(folder, *command, REDIS_URL=server.url)
        assert done.code == (1 if command == ["doctor"] else 0), done.err
        return done.err + done.out
    async with running(folder, *command, "--count", "1", says="Ctrl-C ends it", REDIS_URL=server.url) as process:
        await call(folder, "group-send", "gallery", '{"type": "thumbnail.ready", "picture": 7}', REDIS_URL=server.url)
        return f"listening to group gallery: Ctrl-C ends it\n{(await end_of(process)).out}"


def shape(text: str, server: ServerProcess) -> list[str]:
    """The lines of `text`, without what differs from run to run."""
    text = text.replace(server.url, "redis://localhost:6379")
    text = re.sub(r"(Valkey|Redis) [\d.]+", "Valkey 0", text).replace("behind this", "ahead of this")
    text = re.sub(r"[\d.,:]*\d( [KMG]B used)?", lambda number: "0" + (" MB used" if number[1] else ""), text)
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_table_has_every_command(page: Page) -> None:
    table = page.text.partition("| command |")[2].partition("\n\n")[0]
    listed = {name for row in ROW.finditer(table) for name in re.split(r"`, `", row["commands"])}
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert listed == names
