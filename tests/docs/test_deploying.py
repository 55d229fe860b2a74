"""The pages on deployment: the application runs behind a real nginx, as it is configured there."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.typing import Origin

from fast_channels.layers import ChannelLayerRegistry, RedisChannelLayer
from fast_channels.testing.server import free_port
from tests.docs.pages import Page
from tests.docs.running import PATIENCE, Running, commands

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
PAGE = "docs/howto/nginx.md"
HOST = "chat.example.com"
ORIGIN = "https://chat.example.com"
IMPATIENT = {"proxy_read_timeout 60s": "proxy_read_timeout 1s"}

needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs the system package nginx-light")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def running(tmp_path: Path, redis_url: str) -> AsyncIterator[Running]:
    """The folder with the files of the page."""
    Page(PAGE).write_files(tmp_path)
    async with Running(tmp_path, REDIS_URL=redis_url) as running:
        yield running


class Front:
    """An nginx, and who connects through it."""

    def __init__(self, folder: Path, ports: dict[str, int], **changes: str) -> None:
        self.folder, self.port = folder, free_port()
        self._authority = trustme.CA()
        self._write_certificate()
        self._changes = {
            "listen 443": f"listen 127.0.0.1:{self.port}",
            **{f"127.0.0.1:{named}": f"127.0.0.1:{port}" for named, port in ports.items()},
            "/etc/ssl/chat.example.com": str(folder),
            "include /etc/nginx/conf.d": f"access_log off;\n{self._temporary()}include {folder}/conf.d",
            "events {": f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{",
            "worker_processes auto": "worker_processes 1",
            "worker_rlimit_nofile 65536;": "",
            "worker_connections 32768": "worker_connections 256",
            **changes,
        }

    def _write_certificate(self) -> None:
        certificate = self._authority.issue_cert(HOST)
        certificate.private_key_pem.write_to_path(self.folder / "privkey.pem")
        (self.folder / "fullchain.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))

    def _temporary(self) -> str:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        return "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)

    def changed(self, name: str) -> str:
        text = (self.folder / name).read_text()
        for old, new in self._changes.items():
            text = text.replace(old, new)
        return text

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run nginx."""
        (self.folder / "conf.d").mkdir()
        (self.folder / "conf.d" / "chat.conf").write_text(self.changed("chat.conf"))
        main = self.folder / "here.conf"
        main.write_text(self.changed("nginx.conf"))
        words = [str(NGINX), "-p", str(self.folder), "-c", str(main), "-e", str(self.folder / "error.log")]
        tested = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
        process = subprocess.Popen([*words, "-g", "daemon off;"])
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)

    @asynccontextmanager
    async def client(self, origin: str = ORIGIN) -> AsyncIterator[ClientConnection]:
        """A browser's WebSocket. The first attempts may come before nginx listens."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        connecting = partial(
            connect, host="127.0.0.1", ssl=context, origin=Origin(origin), proxy=None, ping_interval=None
        )
        async with await patiently(lambda: connecting(f"wss://{HOST}:{self.port}/ws/chat")) as client:
            yield client


async def patiently(attempt: Callable[[], Awaitable[ClientConnection]]) -> ClientConnection:
    """Try until somebody listens."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OSError):
                return await attempt()
            await asyncio.sleep(0.05)


async def next_of(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), PATIENCE))


@asynccontextmanager
async def deployed(running: Running, ping: str = "20", **changes: str) -> AsyncIterator[Front]:
    """The processes of the page, and nginx before them."""
    lines = [
        line.replace("--ws-ping-interval 20", f"--ws-ping-interval {ping}") for line in commands(Page(PAGE), "uvicorn")
    ]
    await asyncio.gather(*map(running.start, lines))
    front = Front(running.folder, running.ports, **changes)
    with front.serving():
        yield front


@needs_nginx
async def test_visitors_are_spread_over_the_processes_and_hear_each_other(running: Running) -> None:
    async with deployed(running) as front, front.client() as ann, front.client() as bob:
        hello = [await next_of(client) for client in (ann, bob)]
        assert len({said["process"] for said in hello}) == 2
        assert [said["scheme"] for said in hello] == ["wss", "wss"]
        assert [said["you"] for said in hello] == ["127.0.0.1"] * 2
        await ann.send(json.dumps("hello"))
        assert await next_of(bob) == "hello"


@needs_nginx
async def test_another_origin_is_refused_through_nginx_too(running: Running) -> None:
    async with deployed(running) as front, front.client():
        with pytest.raises(InvalidStatus) as refused:
            async with front.client("https://evil.example.org"):
                pass
    assert refused.value.response.status_code == 403


@needs_nginx
async def test_a_quiet_connection_is_kept_by_pings(running: Running) -> None:
    async with deployed(running, ping="0.3", **IMPATIENT) as front, front.client() as client:
        await next_of(client)
        await asyncio.sleep(2.5)  # longer than the timeout
        await client.send(json.dumps("still here"))
        assert await next_of(client) == "still here"


@needs_nginx
async def test_twin_a_quiet_connection_without_pings_is_cut(running: Running) -> None:
    async with deployed(running, **IMPATIENT) as front, front.client() as client:
        await next_of(client)
        with pytest.raises(ConnectionClosed) as closed:
            await next_of(client)
    assert closed.value.rcvd is None  # a browser says 1006


@needs_nginx
@pytest.mark.parametrize("line", ["Upgrade $http_upgrade", "Connection $connection_upgrade"])
async def test_twin_without_one_of_the_headers_there_is_no_websocket(running: Running, line: str) -> None:
    async with deployed(running, **{f"proxy_set_header {line};": ""}) as front:
        with pytest.raises((InvalidStatus, InvalidMessage)):
            async with front.client():
                pass


@needs_nginx
async def test_a_process_that_stops_says_so_and_another_takes_its_visitors(running: Running) -> None:
    stopped, _ = await asyncio.gather(*map(running.start, commands(Page(PAGE), "uvicorn")))
    front = Front(running.folder, running.ports)
    with front.serving():
        served: dict[int, int | None] = {}
        async with front.client() as ann, front.client() as bob:
            process = {client: (await next_of(client))["process"] for client in (ann, bob)}
            stopped.terminate()
            await asyncio.wait_for(stopped.wait(), PATIENCE)
            leaving = next(client for client in (ann, bob) if process[client] == stopped.pid)
            with pytest.raises(ConnectionClosed) as closed:
                await next_of(leaving)
            served[stopped.pid] = closed.value.rcvd.code if closed.value.rcvd else None
        assert served == {stopped.pid: 1012}
        for _ in range(3):
            async with front.client() as again:
                assert (await next_of(again))["process"] != stopped.pid


# Scaling out


async def test_the_workers_of_one_server_are_several_processes(running: Running) -> None:
    [line] = commands(Page("docs/howto/scale.md"), "uvicorn")
    await running.start(line)
    seen: dict[int, ClientConnection] = {}
    connecting = partial(connect, running.address("ws://localhost:8000/ws/chat"), origin=Origin(ORIGIN), proxy=None)
    async with asyncio.timeout(PATIENCE):
        while len(seen) < 2:
            client = await patiently(connecting)
            seen[(await next_of(client))["process"]] = client
    one, other = seen.values()
    await one.send(json.dumps("hello"))
    assert await next_of(other) == "hello"
    for client in seen.values():
        await client.close()


async def test_how_long_jobs_wait_can_be_seen(
    queue_layer: RedisChannelLayer, channel_layers: ChannelLayerRegistry
) -> None:
    oldest_job = (await Page("docs/howto/scale.md").run())["oldest_job"]
    channel_layers.register("jobs", queue_layer)
    assert await oldest_job("jobs", "thumbnails") == (0, 0)
    for _ in range(2):
        await queue_layer.send("thumbnails", {"type": "job"})
    age, depth = await oldest_job("jobs", "thumbnails")
    assert 0 <= age < PATIENCE
    assert depth == 2
