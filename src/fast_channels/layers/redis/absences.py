"""A call that carries out many errands waits once for each server that is away: the blocking twin of `pipelining`."""

import time
from collections.abc import Sequence

from fast_channels.exceptions import OutcomeUnknown, ServerUnreachable
from fast_channels.layers.redis.courier import Courier, Meanwhile
from fast_channels.layers.redis.errands import Errand

__all__ = ["Absences"]


class Absences:
    """The servers that one call has waited for in vain: what is left for them is not tried.

    Args:
        patience: seconds that a server is waited for.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._away: dict[str, ServerUnreachable] = {}

    def __repr__(self) -> str:
        return f"<Absences of {', '.join(self._away) or 'nobody'}>"

    def carry_out(self, courier: Courier, errands: Sequence[Errand], meanwhile: Meanwhile = None) -> None:
        """Return when all are done, well or not. See `Courier.carry_out`."""
        began = time.monotonic()
        tried = [errand for errand in errands if not self._is_left_out(courier, errand)]
        courier.carry_out(tried, meanwhile)
        is_over = time.monotonic() - began >= self._patience
        for errand in tried:
            error, is_silent = errand.error, is_over and errand.is_unanswered
            if isinstance(error, ServerUnreachable) or (is_silent and isinstance(error, OutcomeUnknown)):
                label = courier.label_of(errand.address)
                self._away.setdefault(label, ServerUnreachable(label, self._patience, error.cause))

    def _is_left_out(self, courier: Courier, errand: Errand) -> bool:
        error = self._away.get(courier.label_of(errand.address)) if self._away else None
        if error is not None:
            errand.fail(error.server, error)
        return error is not None
