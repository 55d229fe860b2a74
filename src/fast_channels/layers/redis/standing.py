"""Whether others can take over from a server: pure rules about replicas, Sentinels and the slots of a Cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fast_channels.layers.findings import Finding, Level

__all__ = ["Witness", "replicas", "sentinels", "slots"]

SUBJECT: Final = "topology"


def replicas(info: Mapping[str, str], kind: str, *, replicated: bool) -> Finding:
    """Whether a master has somebody to take over.

    Args:
        info: the fields of INFO.
        kind: `alone`, `sentinel` or `cluster`.
        replicated: whether sends wait for a replica.
    """
    count = int(info.get("connected_slaves", "0"))
    text = f"{count} replica{'' if count == 1 else 's'}"
    if count:
        return Finding(Level.OK, SUBJECT, f"a master with {text}")
    if replicated:
        text = "no replica, and durability is 'replicated': every send fails with OutcomeUnknown"
        return Finding(Level.WRONG, SUBJECT, text, "connect a replica, or leave durability out")
    if kind == "sentinel":
        text = "no replica: the Sentinels have nobody to put into its place"
        return Finding(Level.WRONG, SUBJECT, text, "connect a replica (replicaof)")
    if kind == "cluster":
        text = "no replica: while this master is away, nobody serves its slots"
        return Finding(Level.NOTE, SUBJECT, text, "add a replica to each master")
    return Finding(Level.OK, SUBJECT, "one server, no replica: while it is away, sends wait, then fail")


@dataclass(frozen=True, slots=True)
class Witness:
    """What one Sentinel says."""

    label: str
    state: Mapping[str, Any]
    """Of the master, as redis-py gives it; empty if the Sentinel knows none, or does not answer."""
    error: str = ""
    """Why it does not answer."""

    @property
    def master(self) -> str:
        """Whom it takes for the master."""
        return f"{self.state['ip']}:{self.state['port']}" if self.state else ""


def sentinels(name: str, witnesses: Sequence[Witness]) -> list[Finding]:
    """Whether they can make another server the master."""
    found = [_absent(name, witness) for witness in witnesses if not witness.state]
    present = [witness for witness in witnesses if witness.state]
    if not present:
        return found
    named = sorted({witness.master for witness in present})
    if len(named) > 1:
        text = f"the Sentinels name different masters: {', '.join(named)}"
        found.append(Finding(Level.WRONG, SUBJECT, text, "wait for the end of a failover, or see whom they can reach"))
    known = 1 + max(int(witness.state["num-other-sentinels"]) for witness in present)
    quorum = max(int(witness.state["quorum"]) for witness in present)
    found.append(_majority(name, len(present), known, quorum))
    return found


def _absent(name: str, witness: Witness) -> Finding:
    if witness.error:
        text = f"Sentinel {witness.label} does not answer: {witness.error}"
        return Finding(Level.WRONG, SUBJECT, text, "start it, or take it out of the layer's sentinels")
    text = f"Sentinel {witness.label} knows no master {name!r}"
    return Finding(Level.WRONG, SUBJECT, text, "check service_name, and what the Sentinel monitors")


def _majority(name: str, present: int, known: int, quorum: int) -> Finding:
    text = f"{present} of {known} Sentinels of {name!r} answer, quorum {quorum}"
    needed = max(quorum, known // 2 + 1)
    if present < needed:
        return Finding(Level.WRONG, SUBJECT, f"{text}: {needed} are needed for a failover", "start the others")
    if known < 3:
        text += ": with fewer than three, the loss of one may leave no majority"
        return Finding(Level.NOTE, SUBJECT, text, "run three, on machines of their own")
    return Finding(Level.OK, SUBJECT, text)


def slots(unserved: int, masters: int) -> Finding:
    """Whether every slot of a Cluster has a master."""
    if unserved:
        text = f"{unserved} of 16384 slots have no master: some channels and groups do not work"
        return Finding(Level.WRONG, SUBJECT, text, "repair it: redis-cli --cluster fix HOST:PORT")
    text = f"{masters} masters serve all slots"
    if masters < 3:
        return Finding(Level.NOTE, SUBJECT, f"{text}; fewer than three elect no new master", "have three masters")
    return Finding(Level.OK, SUBJECT, text)
