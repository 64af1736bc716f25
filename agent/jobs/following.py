"""Looks at a mapping directory when something changes there, in a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.errors import Faults
    from wattshed.agent.jobs.doorbell import Doorbell
    from wattshed.agent.jobs.mapping import MappingDirectory

POLL_S = 0.1
"""Pause between two looks where changes are not told: a job that came and went meanwhile was not seen."""
SAFE_S = 2.0
"""The same where they are: of what no event tells (a second name of a file, outside) a look has to find out."""
AGAIN_S = 1.0
"""And after a look that failed."""


class Following:
    """Follows one mapping directory until closed.

    Parameters
    ----------
    mapping : MappingDirectory
    bell : Doorbell
        At the same folder; closed together with this.
    faults : Faults
        Told of looks that fail; the last answer stays.
    changed : callable
        Called, from the thread, whenever a job took or left a GPU.

    Attributes
    ----------
    looks : int
        How many did not fail so far.
    """

    def __init__(
        self, mapping: MappingDirectory, bell: Doorbell, faults: Faults, changed: Callable[[], object]
    ) -> None:
        self._mapping, self._bell, self._faults, self._changed = mapping, bell, faults, changed
        self.looks = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wattshed-mapping", daemon=True)
        self._thread.start()

    def close(self, wait_s: float = 1.0) -> None:
        """Stop; a look that hangs is left behind (the thread is a daemon). Once is enough."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._bell.ring()
        self._thread.join(timeout=wait_s)
        if not self._thread.is_alive():
            self._bell.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            told, failed = False, True
            with self._faults.noting("mapping", then="using the last good answer"):
                told = self._bell.listen()  # before the look: what changes during it rings
                before = self._mapping.changes
                if self._mapping.scan() != before:
                    self._changed()
                failed = False
                self.looks += 1
            if failed:
                self._bell.wait(AGAIN_S)
            else:
                self._bell.wait(SAFE_S if told and not self._mapping.unsettled else POLL_S)
