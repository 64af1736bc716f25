"""What each process did on each GPU in a window: of an owner with several processes, whose part is which."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wattshed.agent.jobs.deciding import Place, Presence
    from wattshed.agent.jobs.processes import Process
    from wattshed.agent.window import Owner, ProcessObservation

_WHOLE_PPM = 1_000_000


class ProcessUse(NamedTuple):
    """One process on one GPU in one window.

    Attributes
    ----------
    process : Process
    gpu : str
        UUID.
    owner : Owner
        Whose it was when the window ended.
    live_us : int, us
        How long it was there; on a MIG instance, in proportion to the instance's size.
    sm_us : int, SM-us
        Its activity; -1 unknown.
    """

    process: Process
    gpu: str
    owner: Owner
    live_us: int
    sm_us: int


def uses(
    present: Mapping[Place, Presence],
    seen: Iterable[tuple[ProcessObservation, Presence | None]],
    uuids: Sequence[str],
    window_us: tuple[int, int],
) -> list[ProcessUse]:
    """Return what every process with an owner did.

    Parameters
    ----------
    present : mapping of Place to Presence
        All processes of the window.
    seen : iterable of (ProcessObservation, Presence)
        What was observed of them.
    uuids : sequence of str
        Of the GPUs, by their number.
    window_us : (int, int), us
        Begin and end.
    """
    sm_us: dict[int, int] = {}
    for observation, presence in seen:
        if presence is not None and observation.sm_us >= 0:
            sm_us[id(presence)] = sm_us.get(id(presence), 0) + observation.sm_us
    found = []
    for (_, gpu, instance), presence in present.items():
        last_us = window_us[1] if presence.end_us is None else min(presence.end_us, window_us[1])
        live_us = last_us - max(presence.here_us, window_us[0])
        active_us = sm_us.get(id(presence), MISSING)
        if presence.owner.key and gpu < len(uuids) and (live_us > 0 or active_us > 0):
            live_us = max(live_us, 0) * presence.ppm // _WHOLE_PPM if instance and presence.ppm > 0 else max(live_us, 0)
            found.append(ProcessUse(presence.process, uuids[gpu], presence.owner, live_us, active_us))
    return found
