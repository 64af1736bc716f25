"""Joules that the agent of this host tells, on shared GPUs too: those of this process's job, or of what it started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.measuring.points import EdgeValue, EnergyPoint
from wattshed.agent.wire.agent_socket import JOB, PROCESS, AgentAbsentError, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

READ_NS = 200_000_000
"""Between two questions for a moment that the agent does not know yet."""


class AgentMeter:
    """Asks an agent.

    Parameters
    ----------
    path : str
        Of its socket.
    only : collection of str, optional
        UUIDs of the GPUs that count; by default all.
    asking : callable
        Puts one question to the agent at a path.

    Raises
    ------
    AgentAbsentError
        No agent answers, or it does not know this process.
    """

    source, continuous = "agent", False

    def __init__(
        self,
        path: str,
        only: Collection[str] | None = None,
        asking: Callable[[str, Mapping[str, Any]], dict[str, Any]] = ask,
    ) -> None:
        self._path, self._only, self._asking = path, only, asking
        self._trouble = ""
        self._estimate: EdgeValue | None = None
        self.scope = JOB
        told = asking(path, {"op": "hello"})
        if why := told.get("error") or told.get("again"):
            raise AgentAbsentError(f"the agent at {path} does not tell this process its joules: {why}")

    def close(self) -> None:
        """Nothing is kept open."""

    def near_edge(self) -> None:
        """Nothing is read here."""

    def pause_ns(self) -> int:
        """Return how long to wait before the next question, ns."""
        return READ_NS

    def read(self) -> None:
        """Nothing is read here."""

    def look_who_shares(self) -> None:
        """Nobody does: the agent splits."""

    def value(self, time_ns: int) -> EdgeValue | None:
        """Return what is known of a moment; None if it is not known yet."""
        self._estimate = None
        try:
            told = self._asking(self._path, {"op": "energy", "start_ns": time_ns, "end_ns": time_ns})
        except AgentAbsentError as error:
            self._trouble = str(error)
            return None
        if why := told.get("wait") or told.get("again"):
            self._trouble = str(why)
            self._estimate = self._read(told) if told.get("end") else None
            return None
        if "error" in told:
            if told.get("reason") in {"packets", "connections", "connections_of_a_user"}:
                self._trouble = str(told["error"])
                return None
            return EdgeValue(reason=str(told["error"]))
        return self._read(told)

    def estimate(self) -> EdgeValue | None:
        """Return what the moment may be that was asked for last, if it was not known yet."""
        return self._estimate

    def trouble(self) -> str:
        """Say why a moment is not known yet."""
        return self._trouble or "the agent has not answered yet"

    def _read(self, told: Mapping[str, Any]) -> EdgeValue:
        try:
            return self._told(told)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            return EdgeValue(reason="the agent's answer is none that this version knows")

    def _told(self, told: Mapping[str, Any]) -> EdgeValue:
        points = {
            str(gpu): EnergyPoint(int(row[0]), float(row[1]), float(row[2]), float(row[3]))
            for gpu, row in told["end"].items()
            if self._only is None or gpu in self._only
        }
        self.scope = PROCESS if told.get("scope") == PROCESS else JOB
        began_ns = int(told.get("began_ns", 0))
        flags = frozenset({"simulated"} if told.get("simulated") else ())
        return EdgeValue(points, (told["epoch"], told["job"]), began_ns, flags)
