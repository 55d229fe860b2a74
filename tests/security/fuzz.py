"""Payloads that began as good ones: cut, flipped, spliced, sealed for somebody else, huge, deep."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from fast_channels.serializers import MsgPackSerializer

__all__ = ["KEY", "ORIGINAL", "OTHER", "Mutation", "Seal", "batches", "forgeries", "rough", "sealer"]

KEY, OTHER_KEY = "a secret of ours", "a secret of others"

ORIGINAL = {"type": "test", "text": "x" * 40, "list": [1, 2.5, None, True, b"bytes"], "map": {"deep": {"er": "é"}}}
"""The good message."""

OTHER = {"type": "other", "numbers": list(range(50))}


@dataclass(frozen=True)
class Seal:
    """What makes bytes that somebody at `context` can read, and bytes that nobody there can."""

    context: bytes
    own: MsgPackSerializer
    foreign: MsgPackSerializer

    @property
    def is_encrypted(self) -> bool:
        return self.own.crypter is not None

    def good(self, message: Any = ORIGINAL) -> bytes:
        return self.own.serialize(message, self.context)

    def elsewhere(self) -> bytes:
        """The same for another place."""
        return self.own.serialize(ORIGINAL, self.context + b"2")

    def by_another(self) -> bytes:
        """The same under a key that nobody has here."""
        return self.foreign.serialize(ORIGINAL, self.context)

    def around(self, body: bytes) -> bytes:
        """Whatever it is, sealed as it should be."""
        return Around(self.own).serialize(body, self.context)


class Around(MsgPackSerializer):
    """Bytes as they are, sealed as another serializer would."""

    def __init__(self, like: MsgPackSerializer) -> None:
        self.crypter, self.random_prefix_length = like.crypter, 0
        self.as_bytes = bytes


def sealer(*, encrypted: bool) -> Callable[[bytes], Seal]:
    """Makes seals for places."""
    own, foreign = (MsgPackSerializer([key] if encrypted else None) for key in (KEY, OTHER_KEY))
    return lambda context: Seal(context, own, foreign)


Mutation = Callable[[Seal], bytes]


def cut(share: float) -> Mutation:
    return lambda seal: seal.good()[: int(share * len(seal.good()))]


def flip(places: list[tuple[float, int]]) -> Mutation:
    def mutate(seal: Seal) -> bytes:
        data = bytearray(seal.good())
        for share, bit in places:
            data[int(share * (len(data) - 1))] ^= 1 << bit
        return bytes(data)

    return mutate


def splice(head: float, tail: float, swapped: bool) -> Mutation:
    def mutate(seal: Seal) -> bytes:
        first, second = (seal.good(OTHER), seal.good()) if swapped else (seal.good(), seal.good(OTHER))
        return first[: int(head * len(first))] + second[int(tail * len(second)) :]

    return mutate


def insert(share: float, noise: bytes) -> Mutation:
    def mutate(seal: Seal) -> bytes:
        data = seal.good()
        at = int(share * len(data))
        return data[:at] + noise + data[at:]

    return mutate


def repeat(times: int) -> Mutation:
    return lambda seal: seal.good() * times


def huge(size: int) -> Mutation:
    """A good message, and large."""
    return lambda seal: seal.good({"type": "huge", "text": "x" * size})


def deep(depth: int, opening: bytes) -> Mutation:
    """Lists in lists, or maps in maps, with a good seal around them."""
    return lambda seal: seal.around(opening * depth + b"\xc0")


shares = st.floats(0, 1, exclude_max=True)

forgeries: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(cut, shares),
    st.builds(flip, st.lists(st.tuples(shares, st.integers(0, 7)), min_size=1, max_size=4)),
    st.builds(splice, shares, shares, st.booleans()),
    st.builds(insert, shares, st.binary(min_size=1, max_size=30)),
    st.builds(repeat, st.integers(2, 3000)),
    st.sampled_from([Seal.elsewhere, Seal.by_another]),
    st.binary(max_size=200).map(lambda noise: lambda seal: noise),
)
"""What can be done to a sealed message by who has no key."""

mutations: st.SearchStrategy[Mutation] = st.one_of(
    forgeries,
    st.builds(huge, st.integers(1, 1_000_000)),
    st.builds(deep, st.integers(1, 100_000), st.sampled_from([b"\x91", b"\x81\xa1a", b"\x81\x91"])),
    st.binary(max_size=200).map(lambda noise: lambda seal: seal.around(noise)),
)

batches = st.lists(mutations, min_size=1, max_size=12)
"""What is written one after another, before the next good message."""


@st.composite
def rough(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """One of `good`, with a few bits of it changed, and something cut off or added."""
    data = bytearray(draw(st.sampled_from(good)))
    for share, bit in draw(st.lists(st.tuples(shares, st.integers(0, 7)), max_size=3)):
        if data:
            data[int(share * len(data))] ^= 1 << bit
    end = draw(st.integers(0, len(data)) | st.just(len(data)))
    return bytes(data[:end]) + draw(st.just(b"") | st.binary(max_size=20))
