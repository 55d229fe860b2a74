"""`fast-channels dead-letters`."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

import typer

from fast_channels import names
from fast_channels.cli import printing
from fast_channels.cli.errors import CommandError
from fast_channels.cli.loading import Alias, LayersFunction, Prefix, RedisUrl, call_setup, check_name, find_layer, hush
from fast_channels.cli.running import run_with
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.dead_letters import DeadLetter, DeadLetters

__all__ = ["app"]

Result = TypeVar("Result")

MOST: Final = 10**15
"""What a server counts to."""


def _checked(channel: str | None) -> str | None:
    if channel is not None:
        check_name(names.check_channel_name, channel)
    return channel


app = typer.Typer(
    help="Messages that were delivered too often without success: look at them, send them again, drop them.",
    no_args_is_help=True,
)

Name = typer.Argument(metavar="CHANNEL", callback=_checked)
Channel = Annotated[str, Name]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Which; all of the channel without.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    channel: Annotated[str | None, Name] = None,
    start: Annotated[int, typer.Option(min=0, max=MOST, help="How many of the oldest to leave out.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=MOST, help="How many to print.")] = 100,
    as_json: AsJson = False,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """The dead letters of CHANNEL, oldest first; without CHANNEL, how many each channel has."""
    office = _Office.find(layer, layers, redis_url, prefix)
    if channel is None:
        printing.print_channels(office.ask(lambda letters: letters.channels()), as_json=as_json)
    else:
        found = office.ask(lambda letters: letters.list(channel, start, count))
        printing.print_letters(list(found), as_json=as_json)


@app.command()
def show(
    channel: Channel,
    ids: Annotated[list[str], typer.Argument(metavar="ID")],
    as_json: AsJson = False,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Everything about dead letters: the message, and why it was given up."""
    office = _Office.find(layer, layers, redis_url, prefix)
    printing.show_letters(office.ask(lambda letters: _get(letters, channel, ids)), as_json=as_json)


@app.command()
def send_again(
    channel: Channel,
    ids: Ids = None,
    as_json: AsJson = False,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Put dead letters back into CHANNEL, as if they had never been delivered."""
    office = _Office.find(layer, layers, redis_url, prefix)
    sent = office.ask(lambda letters: letters.send_again(channel, *(ids or ())))
    _report(sent, ids, f"sent to {channel} again", "sent_again", as_json=as_json)


@app.command()
def drop(
    channel: Channel,
    ids: Ids = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before all are dropped.")] = False,
    as_json: AsJson = False,
    layer: Alias = "default",
    layers: LayersFunction = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Forget dead letters."""
    office = _Office.find(layer, layers, redis_url, prefix)
    if not ids and not yes:
        _confirm(channel, office.ask(lambda letters: letters.channels()).get(channel, 0))
    dropped = office.ask(lambda letters: letters.drop(channel, *(ids or ())))
    _report(dropped, ids, "dropped", "dropped", as_json=as_json)


@dataclass(frozen=True)
class _Office:
    """Where the dead letters of a layer are."""

    alias: str
    layer: BaseChannelLayer

    @classmethod
    def find(cls, alias: str, setup: str | None, redis_url: str | None, prefix: str | None) -> "_Office":
        call_setup(setup)
        hush()
        return cls(alias, find_layer(alias, redis_url, prefix))

    def ask(self, question: Callable[[DeadLetters], Awaitable[Result]]) -> Result:
        """The answer to `question`, got in an event loop of its own; the layer is closed by then."""

        async def asking() -> Result:
            return await question(self._letters())

        return run_with(asking(), self.layer)

    def _letters(self) -> DeadLetters:
        letters: DeadLetters | None = getattr(self.layer, "dead_letters", None)
        if letters is None:
            kind = type(self.layer).__name__
            raise CommandError(
                f"layer {self.alias!r} ({kind}) has no dead letters: only a RedisChannelLayer has; name it with --layer"
            )
        return letters


async def _get(letters: DeadLetters, channel: str, ids: list[str]) -> list[DeadLetter]:
    found = []
    for id in ids:
        letter = await letters.get(channel, id)
        if letter is None:
            raise CommandError(f"{channel} has no dead letter {id!r}: see fast-channels dead-letters list {channel}")
        found.append(letter)
    return found


def _confirm(channel: str, count: int) -> None:
    print(f"Drop all {count} dead letters of {channel}? [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not sys.stdin.isatty():
        print(file=sys.stderr)  # nobody has pressed Enter
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was dropped: confirm with --yes")


def _report(count: int, ids: list[str] | None, done: str, key: str, *, as_json: bool) -> None:
    """Say what was done. Not to have found one that was named is a failure."""
    printing.print_count(count, done, key, as_json=as_json)
    missing = len(set(ids or ())) - count
    if missing > 0:
        raise CommandError(f"{missing} of those that were named are not there: see fast-channels dead-letters list")
