"""`layer.sync` of the pub/sub layer."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from fast_channels.exceptions import NotSent
from fast_channels.layers.base import raise_unless_all_sent
from fast_channels.layers.redis.absences import Absences
from fast_channels.layers.redis.audience import Audience
from fast_channels.layers.redis.cluster_servers import Topology
from fast_channels.layers.redis.connection import packed
from fast_channels.layers.redis.envelope import MARK, pack_addressed
from fast_channels.layers.redis.errands import Errand, Repeat
from fast_channels.layers.redis.inbox import spot_of, spot_of_group
from fast_channels.layers.redis.link import Patience
from fast_channels.layers.redis.sync import RedisSyncLayer
from fast_channels.layers.sending import check_expiry, excluded_channels, groups_of, pairs_of
from fast_channels.layers.sync import check_no_loop

if TYPE_CHECKING:
    from fast_channels.layers.redis.pubsub import RedisPubSubChannelLayer

__all__ = ["PubSubSyncLayer"]

MOST: Final = 1000
MOST_BYTES: Final = 16 * 1024 * 1024
"""What is published before answers are read."""


class PubSubSyncLayer(RedisSyncLayer):
    """Publishes from any thread; what may have arrived is never published twice. See `SyncLayer`."""

    _layer: "RedisPubSubChannelLayer"

    def _way_out(self) -> tuple[Topology, Patience]:
        return self._layer._wiring.topology, self._layer._wiring.patience

    def send(self, channel: str, message: Any, *, expiry: float | None = None) -> None:
        check_no_loop("send")
        check_expiry(expiry)
        (outcome,) = self._publish([self._direct(channel, message)])
        self._count_sent(outcome)

    def send_many(self, messages: Iterable[tuple[str, Any]], *, expiry: float | None = None) -> None:
        check_no_loop("send_many")
        check_expiry(expiry)
        channels: list[str] = []
        postings: list[tuple[bytes, bytes]] = []
        for channel, message in pairs_of(messages):
            postings.append(self._direct(channel, message))
            channels.append(channel)
        failures = []
        for index, outcome in enumerate(self._publish(postings)):
            try:
                self._count_sent(outcome)
            except Exception as error:
                failures.append(NotSent(index, channels[index], error))
        raise_unless_all_sent(failures, len(channels))

    def group_send(
        self,
        group: str | Sequence[str],
        message: Any,
        *,
        exclude: Collection[str] = (),
        expiry: float | None = None,
    ) -> None:
        check_no_loop("group_send")
        check_expiry(expiry)
        audience = Audience(groups_of(group), excluded_channels(exclude))
        for outcome in self._publish(self._addressed(audience, message)):
            if isinstance(outcome, Exception):  # the other groups have it
                raise outcome
        with self._counting:
            self.counters.group_sent += 1

    def _direct(self, channel: str, message: Any) -> tuple[bytes, bytes]:
        """The address, and what is published there."""
        address, context, head = spot_of(self._layer._addresses, channel)
        return address, head + self._layer._encode(message, context)

    def _addressed(self, audience: Audience, message: Any) -> list[tuple[bytes, bytes]]:
        layer = self._layer
        spots = [spot_of_group(layer._addresses, group) for group in audience.groups]
        if audience.is_one_group:
            payload = layer._encode(message, spots[0].context)
            if not payload.startswith(MARK):
                return [(spots[0].address, payload)]
        text = audience.packed()
        payload = pack_addressed(text, layer._encode(message, layer._addresses.audience_context(text)))
        return [(spot.address, payload) for spot in spots]

    def _publish(self, postings: Sequence[tuple[bytes, bytes]]) -> list[int | Exception]:
        """How many processes heard each, or why it is not known."""
        outcomes: list[int | Exception] = []
        absences = Absences(self._layer._wiring.patience.send)
        with self._senders.borrowed() as sender:
            for some in _in_lots(postings):
                errands = [self._errand(address, payload) for address, payload in some]
                absences.carry_out(sender.courier, errands)
                outcomes += [errand.reply if errand.error is None else errand.error for errand in errands]
        return outcomes

    def _errand(self, address: bytes, payload: bytes) -> Errand:
        command = packed(self._servers.publish, address, payload)
        return Errand(address, lambda _: command, Repeat.NEVER)

    def _count_sent(self, outcome: int | Exception) -> None:
        if isinstance(outcome, Exception):
            raise outcome
        with self._counting:
            self.counters.sent += 1
            if not outcome:
                self.counters.drop("no_receiver")


def _in_lots(postings: Sequence[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    """As many at a time as may be under way together."""
    lot: list[tuple[bytes, bytes]] = []
    size = 0
    for posting in postings:
        if lot and (len(lot) >= MOST or size + len(posting[1]) > MOST_BYTES):
            yield lot
            lot, size = [], 0
        lot.append(posting)
        size += len(posting[1])
    if lot:
        yield lot
