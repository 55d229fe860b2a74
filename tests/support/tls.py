"""Certificates of an authority that nobody trusts, and servers that show them."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from fast_channels.exceptions import ServerUnreachable
from fast_channels.testing.server import ServerProcess, free_port
from tests.support.servers import server_binary
from tests.support.waiting import PATIENCE

__all__ = ["Authority", "refused"]


async def refused(call: Callable[[], Awaitable[Any]], reason: str) -> str:
    """What a call says that cannot reach its server, once it gives the reason.

    The first attempt to connect may outlast the first calls, where the machine is busy: then there is no reason yet.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        with pytest.raises(ServerUnreachable) as caught:
            await call()
        text = str(caught.value)
        if re.search(reason, text):
            return text
        assert time.monotonic() < deadline, f"{text!r} does not say {reason!r}"


class Authority:
    """Issues certificates, in files below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self.file = str(folder / "authority.pem")
        """Its own certificate: what `ssl_ca_certs` is for."""
        self._authority.cert_pem.write_to_path(self.file)

    def server(
        self, *names: str, trusts: str = "", arguments: tuple[str, ...] = (), config: Mapping[str, Any] | None = None
    ) -> ServerProcess:
        """A server that speaks nothing but TLS, with a certificate for `names`. Redis of the system: it speaks TLS."""
        port = free_port()
        certificate = self._authority.issue_cert(*names)
        key, chain = self._folder / f"{port}-key.pem", self._folder / f"{port}-cert.pem"
        certificate.private_key_pem.write_to_path(key)
        certificate.cert_chain_pems[0].write_to_path(chain)
        options = {
            "port": 0,
            "tls-port": port,
            "tls-cert-file": str(chain),
            "tls-key-file": str(key),
            "tls-ca-cert-file": trusts or self.file,
            "tls-auth-clients": "no",
            **(config or {}),
        }
        return ServerProcess(options, port=port, binary=server_binary("redis7"), arguments=arguments)
