"""How much one user may ask of the agent's socket, so that nobody's questions are in anybody's way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What the socket bears.

    Attributes
    ----------
    connections, of_a_user : int
        Open at a time, of all and of one user.
    packets_per_s : float
        Of one user; as many may come at once.
    """

    connections: int = 64
    of_a_user: int = 8
    packets_per_s: float = 100.0


class Budgets:
    """Counts connections and packets by user.

    Parameters
    ----------
    limits : CallLimits
    """

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits
        self._open: dict[int, int] = {}
        self._left: dict[int, tuple[float, float]] = {}  # packets, and when they were counted

    def connect(self, uid: int) -> str:
        """Count one connection more; returns why there is no place for it, or nothing."""
        if sum(self._open.values()) >= self._limits.connections:
            return "connections"
        if self._open.get(uid, 0) >= self._limits.of_a_user:
            return "connections_of_a_user"
        self._open[uid] = self._open.get(uid, 0) + 1
        return ""

    def disconnect(self, uid: int) -> None:
        """Count one connection less."""
        left = self._open.get(uid, 0) - 1
        if left > 0:
            self._open[uid] = left
        else:
            self._open.pop(uid, None)

    def spend(self, uid: int, now_s: float) -> bool:
        """Count one packet; False if the user sent too many lately."""
        rate = self._limits.packets_per_s
        left, then_s = self._left.get(uid, (rate, now_s))
        left = min(rate, left + (now_s - then_s) * rate)
        self._left = {
            who: known for who, known in self._left.items() if now_s - known[1] < 1.0
        }  # then it is full again
        self._left[uid] = (left - 1 if left >= 1 else left), now_s
        return left >= 1
