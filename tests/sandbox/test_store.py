"""What the demo writes down: lines have one number each, and jobs go on where they stopped."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import store


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_STORE", str(tmp_path / "store.sqlite"))
    store.prepare(tmp_path / "store.sqlite")


def line(identifier: str, text: str = "hello") -> dict[str, str]:
    return {"id": identifier, "name": "Ada", "text": text, "server": "server 1"}


def test_a_line_that_comes_twice_keeps_its_number_and_its_keeper() -> None:
    first = store.keep_line(line("a"), "worker 1")
    store.keep_line(line("b"), "worker 1")
    assert store.keep_line(line("a", "changed"), "worker 2") == first
    assert (first["seq"], first["keeper"], first["text"]) == (1, "worker 1", "hello")


def test_lines_that_many_keep_at_once_have_numbers_without_holes() -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.keep_line(line(f"{number % 50}"), "worker"), range(100)))
    assert [each["seq"] for each in store.lines_after(0)] == [*range(1, 51)]


def test_a_page_gets_what_follows_and_a_new_one_the_latest() -> None:
    for number in range(store.AT_ONCE + 5):
        store.keep_line(line(str(number)), "worker")
    assert [each["seq"] for each in store.lines_after(store.AT_ONCE + 3)] == [store.AT_ONCE + 4, store.AT_ONCE + 5]
    assert [each["seq"] for each in store.lines_after(0)] == [*range(1, store.AT_ONCE + 1)]
    assert [each["seq"] for each in store.lines_after(None)] == [*range(6, store.AT_ONCE + 6)]
    assert store.lines_after(store.AT_ONCE + 5) == []


def test_a_job_remembers_how_far_it_is_and_who_worked_on_it() -> None:
    assert store.add_job("a", "Bake", 2.0, 10)["state"] == "waiting"
    store.change_job("a", state="running", step=3, worker="worker 1")
    store.change_job("a", state="running", step=4, worker="worker 1")
    store.change_job("a", state="running", step=5, worker="worker 2")
    done = store.change_job("a", state="done")
    assert (done["step"], done["state"], done["workers"]) == (5, "done", ["worker 1", "worker 2"])
    assert store.latest_jobs() == [done]


def test_a_job_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody"):
        store.job("nobody")
