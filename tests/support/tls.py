"""Certificates of an authority that nobody trusts, and servers that show them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme

from fast_channels.testing.server import ServerProcess, free_port
from tests.support.servers import server_binary

__all__ = ["Authority"]


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
