"""TLS to a real server: verified by default, and refused with the reason."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from fast_channels.exceptions import ServerUnreachable
from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.testing.server import free_port

REDIS_SERVER = shutil.which("redis-server")

pytestmark = [
    pytest.mark.tls,
    pytest.mark.skipif(REDIS_SERVER is None, reason="needs the system package redis-server, which speaks TLS"),
]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="module")
def port(authority: trustme.CA, trusted: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("server")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    port = free_port()
    with running(folder, port, trusted) as server:
        wait_until_it_speaks(port, trusted, server)
        yield port
        server.kill()


def running(folder: Path, port: int, authority: str) -> "subprocess.Popen[bytes]":
    options = {
        "port": 0,
        "tls-port": port,
        "tls-cert-file": folder / "cert.pem",
        "tls-key-file": folder / "key.pem",
        "tls-ca-cert-file": authority,
        "tls-auth-clients": "no",
        "save": "",
        "dir": folder,
    }
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen([str(REDIS_SERVER), *arguments], stdout=subprocess.DEVNULL)


def wait_until_it_speaks(port: int, authority: str, server: "subprocess.Popen[bytes]") -> None:
    async def speaks() -> None:
        context = ssl.create_default_context(cafile=authority)
        async with asyncio.timeout(10):
            while server.poll() is None:
                try:
                    _, writer = await asyncio.open_connection("localhost", port, ssl=context)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return
        pytest.fail("the TLS server ended")

    asyncio.run(speaks())


@pytest.mark.parametrize("form", ["url", "dict with url", "dict with host"])
async def test_a_layer_works_over_tls(port: int, trusted: str, form: str) -> None:
    hosts: dict[str, Any] = {
        "url": f"rediss://localhost:{port}?ssl_ca_certs={trusted}",
        "dict with url": {"address": f"rediss://localhost:{port}", "ssl_ca_certs": trusted},
        "dict with host": {"host": "localhost", "port": port, "ssl": True, "ssl_ca_certs": trusted},
    }
    async with RedisPubSubChannelLayer([hosts[form]]) as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "heard"})
        assert await asyncio.wait_for(layer.receive(channel), 10) == {"type": "heard"}


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("rediss://localhost:{port}", "certificate verify failed"),
        ("rediss://127.0.0.1:{port}?ssl_ca_certs={trusted}", "IP address mismatch"),
    ],
    ids=["an authority nobody trusts", "another name"],
)
async def test_a_certificate_that_does_not_fit_is_refused(port: int, trusted: str, host: str, reason: str) -> None:
    async with RedisPubSubChannelLayer([host.format(port=port, trusted=trusted)], send_timeout=2) as layer:
        with pytest.raises(ServerUnreachable, match=reason):
            await layer.send("jobs", {"type": "secret"})
