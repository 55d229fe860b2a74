"""What users write about servers, as frozen data: `hosts`, `sentinels` and their options."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)

__all__ = ["DEFAULT_URL", "Host", "Hosts", "SentinelMaster", "Server", "parse_hosts"]

DEFAULT_URL = "redis://localhost:6379"

Host: TypeAlias = str | tuple[str, int] | Sequence[Any] | Mapping[str, Any]
"""A URL, a pair of host and port, or a dict. See `parse_hosts`."""

Hosts: TypeAlias = Sequence[Host]

NO_CERTIFICATE = (None, "none", ssl.CERT_NONE)
"""Values of `ssl_cert_reqs` with which the server shows no certificate that its name could be checked with."""

POOL_OPTIONS = frozenset({"max_connections", "timeout"})
"""Options of redis-py's pools, which other programs pass along; there is no pool here, so they mean nothing."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server and how to connect to it. `template` is redis-py's connection, never connected: it has read the
    options.
    """

    template: AbstractConnection = field(repr=False)
    host: str = "localhost"
    port: int = 6379
    path: str | None = None

    @property
    def label(self) -> str:
        """The server as logs and errors name it: no user, no password."""
        if self.path is not None:
            return f"unix://{self.path}"
        scheme = "rediss" if isinstance(self.template, SSLConnection) else "redis"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/{self.template.db}"

    def at(self, host: str, port: int) -> "Server":
        """The same options for another address."""
        return replace(self, host=host, port=port)


@dataclass(frozen=True, slots=True)
class SentinelMaster:
    """A server that is looked up by name at its Sentinels each time that it is connected to."""

    sentinels: tuple[tuple[str, int], ...]
    name: str
    server: Server
    """The options of the data nodes; its address means nothing."""
    sentinel_options: Mapping[str, Any] = field(repr=False)

    @property
    def label(self) -> str:
        """The service as logs and errors name it."""
        nodes = ",".join(f"{host}:{port}" for host, port in self.sentinels)
        return f"sentinel://{nodes}/{self.name}"


def parse_hosts(
    hosts: Hosts | None,
    *,
    sentinels: Sequence[tuple[str, int]] | None = None,
    service_name: str | None = None,
    sentinel_kwargs: Mapping[str, Any] | None = None,
    connection_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Server | SentinelMaster, ...]:
    """The servers of a layer, each a shard.

    A host is a URL, `(host, port)`, or a dict: `{"address": URL, …}`, `{"host":, "port":, "db":, …}`, or `{"sentinels":
    [...], "master_name": …, "sentinel_kwargs": {…}, …}`; what else stands in a dict goes to the connection, and so does
    `connection_kwargs`.

    Raises:
        ValueError: no list, an entry that is none of these, or `sentinels` together with `hosts`.
        TypeError: an option that redis-py's connections do not know.
    """
    options = dict(connection_kwargs or {})
    if sentinels is not None or service_name is not None:
        if hosts is not None:
            raise ValueError("give either hosts or sentinels with service_name, not both")
        return (_sentinel_master(sentinels, service_name, sentinel_kwargs or {}, options),)
    if sentinel_kwargs is not None:
        raise ValueError("sentinel_kwargs needs sentinels and service_name")
    if isinstance(hosts, (str, bytes, Mapping)):
        raise ValueError("hosts must be a list of hosts, even if there is one: hosts=['redis://localhost:6379']")
    if hosts is not None and not hosts:
        raise ValueError("hosts is an empty list: leave it out for redis://localhost:6379")
    return tuple(_parse_host(host, options) for host in (hosts if hosts is not None else [DEFAULT_URL]))


def _parse_host(host: Host, options: dict[str, Any]) -> Server | SentinelMaster:
    if isinstance(host, str):
        return _from_url(host, options)
    if isinstance(host, Mapping):
        return _from_dict(dict(host), options)
    if isinstance(host, (tuple, list)) and len(host) == 2:
        return _server({**options, "host": host[0], "port": host[1]})
    if host is None:
        raise ValueError("a host is None: is the environment variable with its URL set (REDIS_URL)?")
    raise ValueError(f"a host is a URL, (host, port) or a dict, not {_shown(host)}")


def _from_dict(host: dict[str, Any], options: dict[str, Any]) -> Server | SentinelMaster:
    if "sentinels" in host and "master_name" in host:
        sentinels, name = host.pop("sentinels"), host.pop("master_name")
        sentinel_options = host.pop("sentinel_kwargs", None) or {}
        return _sentinel_master(sentinels, name, sentinel_options, {**options, **host})
    if "address" in host:
        return _parse_host(host.pop("address"), {**options, **host})
    if host.keys() & {"host", "port", "path", "db"}:
        return _server({**options, **host})
    raise ValueError(
        f"a host's dict has 'address', 'host', 'path', or 'sentinels' and 'master_name', not {_shown(host)}"
    )


def _shown(host: object) -> str:
    """An entry without its values: one of them may be a password."""
    return f"a dict with {', '.join(map(repr, host))}" if isinstance(host, Mapping) else type(host).__name__


def _from_url(url: str, options: dict[str, Any]) -> Server:
    if not url:
        raise ValueError("a host's URL is empty: is the environment variable set (REDIS_URL)?")
    try:
        if url.startswith(("redis:", "rediss:")) and "@" in urlsplit(url).path:
            raise ValueError  # the host would be a piece of the password, and be said in every error
        return _server({**options, **parse_url(url)})
    except ValueError as error:
        # with a password that is not quoted, what is taken for the port is a piece of it
        reason = "quote the password with urllib.parse.quote" if "@" in url else error
        raise ValueError(f"a host's URL must begin with redis://, rediss:// or unix:// ({reason})") from None


def _server(options: dict[str, Any]) -> Server:
    known = {key: value for key, value in options.items() if key not in POOL_OPTIONS}
    _check_address(known.get("host", "localhost"), known.get("port", 6379))
    secure = known.pop("ssl", False)
    connection_class: Any = known.pop("connection_class", None)
    if connection_class is None:
        connection_class = UnixDomainSocketConnection if "path" in known else Connection
    if secure and connection_class is Connection:
        connection_class = SSLConnection
    if issubclass(connection_class, SSLConnection):
        known = _verifying(known)
    template = connection_class(**known)
    return Server(
        template,
        host=getattr(template, "host", "localhost"),
        port=int(getattr(template, "port", 6379)),
        path=getattr(template, "path", None),
    )


def _verifying(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of TLS with which a certificate must fit the host's name, as it is with redis-py from version 6 on."""
    if options.get("ssl_cert_reqs", "required") in NO_CERTIFICATE:
        return dict(options)
    return {"ssl_check_hostname": True, **options}


def _check_address(host: object, port: Any) -> None:
    """Refuse what comes of an environment variable that is not set, or that holds a URL: then it is not shown."""
    if not isinstance(host, str) or not host or "@" in host or "/" in host:
        raise ValueError("a server's host must be a name or an IP address, not None or a URL: is its variable set?")
    try:
        valid = 0 < int(port) < 65536
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(f"the port of {host} must be a number from 1 to 65535, not {port!r}")


def _sentinel_master(
    sentinels: Sequence[tuple[str, int]] | None,
    name: str | None,
    sentinel_options: Mapping[str, Any],
    options: dict[str, Any],
) -> SentinelMaster:
    if not sentinels or not name:
        raise ValueError("sentinels and service_name go together: sentinels=[(host, port)], service_name='mymaster'")
    sentinel_options = _verifying(sentinel_options) if sentinel_options.get("ssl") else dict(sentinel_options)
    _server(dict(sentinel_options))  # an option that does not exist is an error now, not at the first connection
    try:
        for host, port in sentinels:
            _check_address(host, port)
        nodes = tuple((host, int(port)) for host, port in sentinels)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sentinels must be a list of (host, port): {error}") from None
    return SentinelMaster(nodes, name, _server(dict(options)), sentinel_options)
