"""How dead letters are printed: for people, or JSON for programs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from fast_channels.cli.terminal import json_text, plain, print_table
from fast_channels.layers.dead_letters import DeadLetter

__all__ = ["print_channels", "print_count", "print_letters", "show_letters"]


def print_channels(counts: Mapping[str, int], *, as_json: bool) -> None:
    """How many dead letters each channel has."""
    if as_json:
        print(json_text(dict(counts)))
    elif not counts:
        print("There are no dead letters.")
    else:
        rows = [(name, str(counts[name])) for name in sorted(counts)]
        print_table({"channel": "left", "dead letters": "right"}, rows, folded={"channel": 20})


def print_letters(letters: Sequence[DeadLetter], *, as_json: bool) -> None:
    """A line for each."""
    if as_json:
        print(json_text(letters))
    elif not letters:
        print("There are no dead letters.")
    else:
        columns = {"id": "left", "died": "left", "deliveries": "right", "type": "left", "error": "left"}
        rows = [(it.id, _time(it), str(it.deliveries), _type(it), it.error) for it in letters]
        print_table(columns, rows, folded={"type": 10, "error": 16})


def show_letters(letters: Sequence[DeadLetter], *, as_json: bool) -> None:
    """All about each."""
    if as_json:
        print(json_text(letters))
        return
    for number, letter in enumerate(letters):
        facts = {
            "id": letter.id,
            "channel": letter.channel,
            "died": _time(letter),
            "reason": letter.reason,
            "deliveries": str(letter.deliveries),
            "error": letter.error,
        }
        lines = [f"{name:10}  {plain(fact)}" for name, fact in facts.items()]
        message = "\n".join(map(plain, json_text(letter.message).split("\n")))
        print(*([""] if number else []), *lines, f"{'message':10}  {message}", sep="\n")


def print_count(count: int, done: str, key: str, *, as_json: bool) -> None:
    """What became of how many."""
    print(json_text({key: count}) if as_json else f"{count} dead letter{'' if count == 1 else 's'} {done}.")


def _time(letter: DeadLetter) -> str:
    return f"{datetime.fromtimestamp(letter.died_at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def _type(letter: DeadLetter) -> str:
    message = letter.message
    return str(message.get("type")) if isinstance(message, Mapping) else "?"
