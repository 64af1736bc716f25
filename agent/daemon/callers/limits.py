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
    accepted_per_s : float
        New connections, of all: whose one is, is known once it is accepted.
    yields_s : float, s
        A connection on which nothing was asked for so long makes room for another.
    """

    connections: int = 64
    of_a_user: int = 8
    packets_per_s: float = 100.0
    accepted_per_s: float = 500.0
    yields_s: float = 1.0


class Allowance:
    """So many a second; as many may come at once.

    Parameters
    ----------
    per_s : float
    now_s : float, s
    """

    __slots__ = ("_left", "_per_s", "spent_s")

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s, self._left, self.spent_s = per_s, per_s, now_s

    def spend(self, now_s: float) -> bool:
        """Count one; False if there were too many lately."""
        self._left = min(self._per_s, self._left + (now_s - self.spent_s) * self._per_s)
        self.spent_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Budgets:
    """Counts connections and packets by user.

    Parameters
    ----------
    limits : CallLimits
    """

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits
        self._open: dict[int, int] = {}
        self._packets: dict[int, Allowance] = {}

    def connect(self, uid: int) -> str:
        """Count one connection more; returns why there is no place for it, or nothing."""
        if self._open.get(uid, 0) >= self._limits.of_a_user:  # first: for them nobody else's is closed to make room
            return "connections_of_a_user"
        if sum(self._open.values()) >= self._limits.connections:
            return "connections"
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
        found = self._packets.get(uid)
        if found is None:
            # One that was not spent of for a second is full again.
            self._packets = {who: one for who, one in self._packets.items() if now_s - one.spent_s < 1.0}
            found = self._packets[uid] = Allowance(self._limits.packets_per_s, now_s)
        return found.spend(now_s)
