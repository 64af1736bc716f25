"""Who is on a GPU while its process list cannot be trusted: it fails, or names processes that do not exist.

Drivers 535.43 to 535.86 fill process lists with numbers that are not pids; so does a process whose context was never
given back, for as long as the driver runs. A pid that does not exist shows that somebody is there, but not who. So
whoever is missing in such a list has not left: who was there before stays for as long as it lives, as over a hole in
the readings. The driver's other lists may know better (`ProcessWatch.elsewhere`): whoever they name and who lives is
there.

The kernel says who lives, and the driver who is on a GPU: a user of the host can write neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


class Ghosts:
    """What one GPU's process lists are worth, from list to list.

    Attributes
    ----------
    doubt : bool
        Whether the last one could not be trusted: the next look should be soon.
    """

    def __init__(self) -> None:
        self.doubt = False
        self._dead: set[int] = set()  # named while nobody was missing: these replace nobody

    def believe(
        self,
        before: Mapping[int, T],
        told: Mapping[int, T] | None,
        alive: Callable[[int], bool],
        elsewhere: Callable[[], Mapping[int, T]],
    ) -> tuple[dict[int, T], list[int]]:
        """Return who is there.

        Parameters
        ----------
        before : mapping of pid to T
            Who was taken to be there so far.
        told : mapping of pid to T, or None
            The list as the driver gave it; None: it did not.
        alive : callable
            Whether there is such a process.
        elsewhere : callable
            Asks for those whom the driver's other lists name, if this one is in doubt.

        Returns
        -------
        there : dict of pid to T
        ghosts : list of pid
            Named in the list, and not existing.
        """
        here = {pid: one for pid, one in (told or {}).items() if alive(pid)}
        ghosts = [pid for pid in told or {} if pid not in here]
        self.doubt = False
        if told is not None and not ghosts:
            self._dead.clear()
            return here, []
        known = {**elsewhere(), **before}
        missing = {pid: one for pid, one in known.items() if pid not in here and alive(pid)}
        if told is not None and not missing:
            self._dead.update(ghosts)
        # One that was there and died is itself; any other may be whoever is missing.
        elif told is None or set(ghosts) - before.keys() - self._dead:
            here |= missing
            self.doubt = True
        return here, ghosts
