"""Every form in which users name their servers, what it comes to, and that no password gets out."""

import ssl
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels.layers.redis import RedisPubSubChannelLayer
from fast_channels.layers.redis.config import SentinelMaster, Server, parse_hosts

CANARY = "canary-7f3a"

UNIX = "unix:///run/redis.sock"


def parsed(host: Any, **options: Any) -> Server:
    [server] = parse_hosts([host], connection_kwargs=options)
    assert isinstance(server, Server)
    return server


def master(**arguments: Any) -> SentinelMaster:
    given = {"sentinels": [("one", 26379), ("two", 26380)], "service_name": "mymaster", **arguments}
    [found] = parse_hosts(None, **given)
    assert isinstance(found, SentinelMaster)
    return found


def option(server: Server, name: str) -> Any:
    return getattr(server.template, name)


# Forms

FORMS: list[tuple[Any, str]] = [
    ("redis://h", "redis://h:6379/0"),
    ("redis://h:6380", "redis://h:6380/0"),
    ("redis://h:6380/3", "redis://h:6380/3"),
    ("redis://h?db=3", "redis://h:6379/3"),
    ("redis://", "redis://localhost:6379/0"),
    ("redis://:6380", "redis://localhost:6380/0"),
    ("redis://[::1]:6380", "redis://[::1]:6380/0"),
    ("redis://user:secret@h", "redis://h:6379/0"),
    ("rediss://h", "rediss://h:6379/0"),
    (UNIX, UNIX),
    (f"{UNIX}?db=3", UNIX),
    (("h", 6380), "redis://h:6380/0"),
    (["h", 6380], "redis://h:6380/0"),
    (("h", "6380"), "redis://h:6380/0"),
    (("::1", 6380), "redis://[::1]:6380/0"),
    ({"address": "redis://h:6380/3"}, "redis://h:6380/3"),
    ({"address": "rediss://h"}, "rediss://h:6379/0"),
    ({"address": UNIX}, UNIX),
    ({"address": ("h", 6380)}, "redis://h:6380/0"),
    ({"address": "redis://h", "db": 3}, "redis://h:6379/3"),
    ({"host": "h"}, "redis://h:6379/0"),
    ({"host": "h", "port": 6380, "db": 3}, "redis://h:6380/3"),
    ({"host": "h", "port": "6380"}, "redis://h:6380/0"),
    ({"host": "h", "ssl": True}, "rediss://h:6379/0"),
    ({"address": "redis://h", "ssl": True}, "rediss://h:6379/0"),
    ({"address": "rediss://h", "ssl": True}, "rediss://h:6379/0"),
    ({"host": "h", "ssl": False}, "redis://h:6379/0"),
    ({"port": 6380}, "redis://localhost:6380/0"),
    ({"db": 3}, "redis://localhost:6379/3"),
    ({"path": "/run/redis.sock"}, UNIX),
]


@pytest.mark.parametrize(("host", "label"), FORMS, ids=str)
def test_a_host_is_given_as(host: Any, label: str) -> None:
    assert parsed(host).label == label


def test_no_hosts_are_the_local_server() -> None:
    assert [server.label for server in parse_hosts(None)] == ["redis://localhost:6379/0"]


def test_several_hosts_stay_in_their_order() -> None:
    found = parse_hosts(["redis://a", ("b", 1), {"host": "c"}])
    assert [server.label for server in found] == ["redis://a:6379/0", "redis://b:1/0", "redis://c:6379/0"]


def test_hosts_may_be_a_tuple() -> None:
    assert len(parse_hosts(("redis://a", "redis://b"))) == 2


def test_what_was_given_is_not_changed() -> None:
    host = {"address": "redis://h", "db": 1}
    service = {"sentinels": [("s", 1)], "master_name": "m", "sentinel_kwargs": {"password": "x"}, "db": 1}
    options = {"username": "u"}
    parse_hosts([host, service], connection_kwargs=options)
    assert host == {"address": "redis://h", "db": 1}
    assert set(service) == {"sentinels", "master_name", "sentinel_kwargs", "db"}
    assert options == {"username": "u"}


# Credentials and options


@pytest.mark.parametrize(
    "host",
    [
        "redis://user:p%40ss%2Fword@h/2",
        {"address": "redis://h/2", "username": "user", "password": "p@ss/word"},
        {"host": "h", "db": 2, "username": "user", "password": "p@ss/word"},
        "unix://user:p%40ss%2Fword@/run/redis.sock?db=2",
        {"path": "/run/redis.sock", "db": 2, "username": "user", "password": "p@ss/word"},
    ],
    ids=str,
)
def test_credentials_and_the_database_are_understood_in(host: Any) -> None:
    server = parsed(host)
    assert (option(server, "username"), option(server, "password"), option(server, "db")) == ("user", "p@ss/word", 2)


@pytest.mark.parametrize("host", ["redis://h", ("h", 6379), {"host": "h"}, {"address": "redis://h"}, UNIX])
def test_connection_options_hold_for_every_form(host: Any) -> None:
    server = parsed(host, password="secret", health_check_interval=7)
    assert (option(server, "password"), option(server, "health_check_interval")) == ("secret", 7)


def test_what_a_url_says_goes_before_the_options() -> None:
    assert option(parsed("redis://:mine@h/1", password="shared", db=2), "password") == "mine"
    assert option(parsed("redis://:mine@h/1", password="shared", db=2), "db") == 1


def test_what_a_hosts_dict_says_goes_before_the_options() -> None:
    assert option(parsed({"host": "h", "password": "mine"}, password="shared"), "password") == "mine"


def test_options_in_a_url_have_their_type() -> None:
    assert option(parsed("redis://h?health_check_interval=7&socket_timeout=1.5"), "socket_timeout") == 1.5


@pytest.mark.parametrize("option", ["max_connections", "timeout"])
def test_what_only_a_pool_knows_is_accepted(option: str) -> None:
    """There is no pool; programs that were written for one pass its options along."""
    assert parsed({"host": "h", option: 3}).label == "redis://h:6379/0"


@pytest.mark.parametrize(
    "arguments",
    [
        {"hosts": ["redis://h?nonsense=1"]},
        {"hosts": [{"address": "redis://h", "nonsense": 1}]},
        {"hosts": [{"host": "h", "nonsense": 1}]},
        {"hosts": ["redis://h"], "connection_kwargs": {"nonsense": 1}},
        {"hosts": None, "sentinels": [("s", 1)], "service_name": "m", "connection_kwargs": {"nonsense": 1}},
        {"hosts": None, "sentinels": [("s", 1)], "service_name": "m", "sentinel_kwargs": {"nonsense": 1}},
        {"hosts": [{"sentinels": [("s", 1)], "master_name": "m", "nonsense": 1}]},
    ],
    ids=str,
)
def test_an_unknown_option_is_a_type_error_that_names_it(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="'nonsense'"):
        parse_hosts(**arguments)


# TLS


@pytest.mark.parametrize("host", ["rediss://h", {"host": "h", "ssl": True}, {"address": "rediss://h"}])
def test_tls_asks_for_a_certificate_that_fits_the_host(host: Any) -> None:
    context = option(parsed(host), "ssl_context").get()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_certificate_need_not_fit_the_host_if_one_says_so() -> None:
    context = option(parsed("rediss://h?ssl_check_hostname=false"), "ssl_context").get()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not context.check_hostname


@pytest.mark.parametrize(
    "host", ["rediss://h?ssl_cert_reqs=none", {"host": "h", "ssl": True, "ssl_cert_reqs": None}, "rediss://h?db=1"]
)
def test_no_certificate_is_asked_for_if_one_says_so(host: Any) -> None:
    """As providers with certificates of their own tell their customers to."""
    context = option(parsed(host, ssl_cert_reqs="none"), "ssl_context").get()
    assert context.verify_mode == ssl.CERT_NONE
    assert not context.check_hostname


# Sentinels

SERVICE = {"sentinels": [("one", 26379), ("two", 26380)], "sentinel_kwargs": {"password": "sent"}}


def test_sentinels_are_given_by_keywords() -> None:
    found = master(sentinel_kwargs={"password": "sent"}, connection_kwargs={"password": "data", "db": 2})
    assert found.sentinels == (("one", 26379), ("two", 26380))
    assert found.name == "mymaster"
    assert found.sentinel_options == {"password": "sent"}
    assert (option(found.server, "password"), option(found.server, "db")) == ("data", 2)


def test_a_hosts_dict_with_sentinels_says_the_same_as_the_keywords() -> None:
    [found] = parse_hosts([{**SERVICE, "master_name": "mymaster", "password": "data", "db": 2}])
    assert isinstance(found, SentinelMaster)
    assert (found.sentinels, found.name) == ((("one", 26379), ("two", 26380)), "mymaster")
    assert found.sentinel_options == {"password": "sent"}
    assert (option(found.server, "password"), option(found.server, "db")) == ("data", 2)


def test_a_service_may_stand_beside_servers() -> None:
    found = parse_hosts(["redis://h", {**SERVICE, "master_name": "mymaster"}])
    assert [host.label for host in found] == ["redis://h:6379/0", "sentinel://one:26379,two:26380/mymaster"]


def test_the_address_that_the_sentinels_give_keeps_the_options() -> None:
    server = master(connection_kwargs={"password": "data", "db": 2}).server.at("10.0.0.1", 6380)
    assert server.label == "redis://10.0.0.1:6380/2"
    assert option(server, "password") == "data"


def test_the_data_nodes_may_speak_tls() -> None:
    assert master(connection_kwargs={"ssl": True}).server.at("10.0.0.1", 6380).label == "rediss://10.0.0.1:6380/0"


def test_the_sentinels_may_speak_tls_and_their_certificates_fit_their_names() -> None:
    assert master(sentinel_kwargs={"ssl": True}).sentinel_options == {"ssl": True, "ssl_check_hostname": True}


@pytest.mark.parametrize("options", [{"ssl_check_hostname": False}, {"ssl_cert_reqs": "none"}])
def test_the_certificates_of_sentinels_are_not_looked_at_if_one_says_so(options: dict[str, Any]) -> None:
    assert master(sentinel_kwargs={"ssl": True, **options}).sentinel_options == {"ssl": True, **options}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"service_name": None}, "go together"),
        ({"sentinels": None}, "go together"),
        ({"sentinels": []}, "go together"),
        ({"sentinels": ["one:26379"]}, r"must be a list of \(host, port\)"),
        ({"sentinels": "one"}, r"must be a list of \(host, port\)"),
        ({"sentinels": [(None, 26379)]}, "is its variable set"),
        ({"sentinels": [("one", None)]}, "the port of one must be a number from 1 to 65535, not None"),
        ({"sentinels": [("one", "many")]}, "not 'many'"),
    ],
    ids=str,
)
def test_sentinels_that_cannot_be_asked_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        master(**arguments)


def test_sentinels_and_hosts_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="either hosts or sentinels"):
        parse_hosts(["redis://h"], sentinels=[("s", 1)], service_name="m")


def test_options_of_sentinels_need_sentinels() -> None:
    with pytest.raises(ValueError, match="sentinel_kwargs needs sentinels"):
        parse_hosts(None, sentinel_kwargs={"password": "x"})


# What is refused


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ("redis://h", "must be a list"),
        (b"redis://h", "must be a list"),
        ({"host": "h"}, "must be a list"),
        ([], "is an empty list: leave it out"),
        ([None], r"is the environment variable with its URL set \(REDIS_URL\)"),
        ([{"address": None}], r"is the environment variable with its URL set \(REDIS_URL\)"),
        ([""], r"is empty: is the environment variable set \(REDIS_URL\)"),
        (["redis://:canary@part/x@h"], "quote the password"),
        (["localhost:6379"], "must begin with redis://, rediss:// or unix://"),
        (["http://h"], "must begin with redis://, rediss:// or unix://"),
        (("localhost", 6379), "must begin with redis://, rediss:// or unix://"),
        (["redis://[::1"], "must begin with redis://, rediss:// or unix://"),
        ([5], r"a host is a URL, \(host, port\) or a dict, not int"),
        ([b"redis://h"], r"a host is a URL, \(host, port\) or a dict, not bytes"),
        ([("h", 1, 2)], r"a host is a URL, \(host, port\) or a dict, not tuple"),
        ([{}], "a host's dict has 'address', 'host'"),
        ([{"url": "redis://h"}], "not a dict with 'url'"),
        ([{"sentinels": [("s", 1)]}], "not a dict with 'sentinels'"),
        ([(None, 6379)], "is its variable set"),
        ([{"host": None}], "is its variable set"),
        ([("", 6379)], "is its variable set"),
        ([{"host": "redis://h"}], "a name or an IP address, not None or a URL"),
        ([("h", None)], "the port of h must be a number"),
        ([("h", "abc")], "not 'abc'"),
        ([("h", 0)], "from 1 to 65535"),
        ([("h", 65536)], "from 1 to 65535"),
        ([{"host": "h", "port": None}], "the port of h must be a number"),
    ],
    ids=str,
)
def test_hosts_that_mean_nothing_are_refused(hosts: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_hosts(hosts)


def test_the_layer_refuses_them_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="REDIS_URL"):
        RedisPubSubChannelLayer(hosts=[None])  # type: ignore[list-item]


# Passwords stay inside

WITH_PASSWORD: list[dict[str, Any]] = [
    {"hosts": [f"redis://user:{CANARY}@h:6380/2"]},
    {"hosts": [f"rediss://:{CANARY}@h"]},
    {"hosts": [f"unix://:{CANARY}@/run/redis.sock"]},
    {"hosts": [f"redis://h?password={CANARY}"]},
    {"hosts": [{"host": "h", "password": CANARY}]},
    {"hosts": [{"address": "redis://h", "password": CANARY}]},
    {"hosts": ["redis://h"], "connection_kwargs": {"password": CANARY}},
    {"hosts": [{**SERVICE, "master_name": "m", "password": CANARY, "sentinel_kwargs": {"password": CANARY}}]},
    {
        "hosts": None,
        "sentinels": [("s", 1)],
        "service_name": "m",
        "sentinel_kwargs": {"password": CANARY},
        "connection_kwargs": {"password": CANARY},
    },
]


@pytest.mark.parametrize("show", [repr, str, lambda thing: thing.label], ids=["repr", "str", "label"])
@pytest.mark.parametrize("arguments", WITH_PASSWORD, ids=range(len(WITH_PASSWORD)))
def test_a_server_does_not_show_its_password(arguments: dict[str, Any], show: Callable[[Any], str]) -> None:
    assert not [host for host in parse_hosts(**arguments) if CANARY in show(host)]


@pytest.mark.parametrize("arguments", WITH_PASSWORD, ids=range(len(WITH_PASSWORD)))
def test_a_layer_does_not_show_its_password(arguments: dict[str, Any]) -> None:
    layer = RedisPubSubChannelLayer(**arguments)
    assert CANARY not in repr(layer)
    assert CANARY not in str(layer)


@pytest.mark.parametrize(
    "hosts",
    [
        [f"http://user:{CANARY}@h"],
        [f"user:{CANARY}@h:6379"],
        [f"redis://:{CANARY}/x@h:1"],
        [f"redis://:{CANARY}#x@h:1"],
        [f"redis://:{CANARY}?x@h:1"],
        [f"redis://:{CANARY}@h:99999"],
        [f"redis://:{CANARY}@h:abc"],
        [f"redis://:{CANARY}@[h"],
        [f"redis://:{CANARY}@h?socket_timeout=abc"],
        [f"redis://:{CANARY}@h?nonsense=1"],
        [{"host": f"redis://:{CANARY}@h"}],
        [(f"redis://:{CANARY}@h", 6379)],
        [{"host": "h", "password": CANARY, "nonsense": 1}],
        [{"password": CANARY}],
        [{"url": f"redis://:{CANARY}@h"}],
        [(CANARY, "redis://", 1)],
        [{"sentinels": [(f"redis://:{CANARY}@s", 1)], "master_name": "m"}],
        [{"sentinels": [f"redis://:{CANARY}@s"], "master_name": "m"}],
        [{"sentinels": [("s", 1)], "master_name": "m", "sentinel_kwargs": {"password": CANARY, "nonsense": 1}}],
    ],
    ids=str,
)
def test_no_error_shows_a_password(hosts: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        parse_hosts(hosts)
    shown = "".join(traceback.format_exception_only(caught.value))
    context = caught.value.__context__
    if not caught.value.__suppress_context__ and context is not None:
        shown += "".join(traceback.format_exception_only(context))
    assert CANARY not in shown
