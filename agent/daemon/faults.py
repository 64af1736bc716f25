"""Faults at run time: each is a metric and now and then a line in the log, and the agent continues."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)
LOG_AGAIN_S = 600.0  # a fault that lasts is logged again this often


class Faults:
    """Counts what goes wrong, part by part, and logs it once per part and cause."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._said: dict[tuple[str, str], float] = {}
        self._clock = clock

    def note(self, part: str, error: BaseException) -> None:
        """Count one fault; the first of its kind, and then one in ten minutes, goes to the log."""
        self.counts[part] += 1
        said = part, type(error).__name__
        now = self._clock()
        if now - self._said.get(said, -LOG_AGAIN_S) >= LOG_AGAIN_S:
            self._said[said] = now
            LOG.error("%s: %s: %s; continuing", part, type(error).__name__, error)
            LOG.debug("%s", part, exc_info=error)
