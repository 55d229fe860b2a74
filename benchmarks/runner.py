"""Runs each subject of each row in a process of its own, round after round, so that a noisy minute meets everybody."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.e2e.servers import web_servers
from benchmarks.environments import ROOT, python_of
from benchmarks.rows import OURS_NAME, Row, Subject
from fast_channels.testing.server import ServerProcess

__all__ = ["Results", "Run", "failure", "plan", "run_all"]

TIMEOUT_SECONDS: Final = 90


@dataclass(frozen=True)
class Run:
    """One measurement to make."""

    round: int
    row: Row
    loop: str
    subject: Subject

    def __str__(self) -> str:
        return f"round {self.round + 1}, {self.row.key}, {self.loop}, {self.subject.name}"


@dataclass
class Results:
    """What was measured: for each row, loop and subject the result of each round, and what went wrong."""

    values: dict[tuple[str, str, str], list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, run: Run, result: dict[str, Any]) -> None:
        """Keep the result of `run`; one that lost or doubled a message is a failure, and no value."""
        fault = failure(result)
        if fault:
            self.failures.append(f"{run}: {fault}")
        else:
            self.values.setdefault((run.row.key, run.loop, run.subject.name), []).append(result)

    def of(self, row: Row, loop: str, subject: Subject) -> list[dict[str, Any]]:
        """The results of a subject, one for each round that went well."""
        return self.values.get((row.key, loop, subject.name), [])


def failure(result: dict[str, Any]) -> str | None:
    """What is wrong with a result, if something is: every message must have arrived exactly once."""
    if "error" in result:
        return str(result["error"])
    if result["lost"] or result["duplicated"]:
        return f"{result['lost']} lost, {result['duplicated']} duplicated of {result['count']}"
    return None if result["count"] else "nothing arrived"


def plan(rows: list[Row], rounds: int) -> Iterator[Run]:
    """All runs in their order: every round goes through everything, every second one with the subjects backwards."""
    for number in range(rounds):
        for row in rows:
            for loop in row.loops:
                for subject in row.subjects[:: -1 if number % 2 else 1]:
                    yield Run(number, row, loop, subject)


def run_all(runs: list[Run], on_done: Callable[[Run, dict[str, Any]], None]) -> Results:
    """Make all `runs`, one after the other."""
    results = Results()
    for run in runs:
        result = _measure(run)
        results.add(run, result)
        on_done(run, result)
    return results


def _measure(run: Run) -> dict[str, Any]:
    """One measurement, on a server of its own."""
    with ServerProcess() as server:
        parameters = {**run.row.parameters, "loop": run.loop, "url": server.url}
        if run.subject.layer is not None:
            parameters["layer"] = run.subject.layer
        if run.row.servers:
            return _measure_end_to_end(run, parameters, server)
        return _call(python_of(run.subject.environment), run.subject.program, parameters)


def _measure_end_to_end(run: Run, parameters: dict[str, Any], redis: ServerProcess) -> dict[str, Any]:
    environ = {"BENCH_REDIS_URL": redis.url, "BENCH_LAYER": run.subject.layer or ""}
    python = python_of(run.subject.environment)
    with web_servers(run.row.servers, python, run.subject.program, environ) as servers:
        parameters |= {
            "servers": [server.address for server in servers],
            "pids": [server.pid for server in servers],
            "redis_pid": redis.pid,
        }
        return _call(python_of(OURS_NAME), "e2e.load", parameters)


def _call(python: str, program: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run a program of ours and read its one line of JSON."""
    command = [python, "-m", f"benchmarks.{program}", json.dumps(parameters)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"did not end in {TIMEOUT_SECONDS} s"}
    lines = done.stdout.splitlines()
    if not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    result: dict[str, Any] = json.loads(lines[-1])
    return result
