"""Waiting ends, under `python -O` as well."""

import pytest

from tests.support.waiting import until


async def test_who_waits_in_vain_is_told() -> None:
    with pytest.raises(AssertionError, match="it never comes"):
        await until(lambda: False, "it never comes", timeout=0.01)
