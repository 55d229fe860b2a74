"""What somebody in a thread is told of the attempts that were made."""

from ssl import SSLError

import pytest

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers.redis.errands import Errand, Repeat

SERVER = "rediss://localhost:6379/0"
UNTRUSTED = SSLError(1, "issued by an unknown authority")
CUT_SHORT = TimeoutError("the handshake operation timed out")


@pytest.mark.parametrize(
    ("attempts", "told"),
    [
        ([UNTRUSTED, CUT_SHORT], "unknown authority"),
        ([CUT_SHORT], "handshake operation timed out"),
        ([UNTRUSTED, ConnectionRefusedError("nobody there")], "nobody there"),
        ([ConnectionRefusedError("nobody there"), CUT_SHORT], "handshake operation timed out"),
    ],
    ids=["a certificate, and a last attempt", "silence", "a certificate, then nobody", "nobody, then silence"],
)
def test_a_last_attempt_that_is_cut_short_hides_no_certificate_that_is_wrong(
    attempts: list[Exception], told: str
) -> None:
    errand = Errand(b"address", lambda whole: b"PING", Repeat.FREELY)
    for error in attempts:
        errand.not_sent(SERVER, error)
    errand.overdue(SERVER, 2.0)
    with pytest.raises(ServerUnreachable, match=told):
        errand.result()
