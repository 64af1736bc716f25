"""What is let go of, until when and why; and the desk at which that is asked for, from whatever thread it may be."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wattshed.agent.window import Device

LONGEST_US = 86_400_000_000
"""A release is never for longer than a day, so that a forgotten one costs no more."""


@dataclass(frozen=True, slots=True)
class Release:
    """A wish that GPUs be let go of.

    Attributes
    ----------
    until_us : int, us
        They are taken back then, whatever became of whoever wished it.
    gpus : frozenset of str
        Their UUIDs; empty: all of them, and the driver.
    why : str
        In a few words.
    devices : tuple of Device
        Those GPUs, once they were let go of: another process need not open them to know them.
    """

    until_us: int
    gpus: frozenset[str] = frozenset()
    why: str = ""
    devices: tuple[Device, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it is of the whole driver."""
        return not self.gpus

    def covers(self, uuid: str) -> bool:
        """Whether it is of this GPU."""
        return self.whole or uuid in self.gpus

    def joined(self, other: Release) -> Release:
        """Return both in one: the GPUs of either, until the later end."""
        gpus = frozenset() if self.whole or other.whole else self.gpus | other.gpus
        devices = tuple({one.uuid: one for one in (*self.devices, *other.devices) if one.uuid in gpus}.values())
        return Release(max(self.until_us, other.until_us), gpus, other.why, devices)


class Keeper(Protocol):
    """Keeps a release over the end of the process."""

    def save(self, release: Release | None) -> None:
        """Keep it; None: nothing is released any more."""

    def load(self, now_us: int) -> Release | None:
        """Return what is kept and is not over."""


class ReleaseDesk:
    """Where releases are asked for and ended. What holds the driver asks here, again and again, what to let go of.

    Any thread may call, and a signal handler too: the lock lets the same thread in again.

    Parameters
    ----------
    now_us : callable
        The clock of the windows.
    keeper : Keeper, optional

    Attributes
    ----------
    changed : callable
        Called after every wish: whoever sleeps can be woken.
    obeyed : Release or None
        What has been let go of.
    """

    def __init__(self, now_us: Callable[[], int], keeper: Keeper | None = None) -> None:
        self._now_us, self._keeper = now_us, keeper
        self._lock = threading.RLock()
        self.changed: Callable[[], None] = lambda: None
        self._wanted = keeper.load(now_us()) if keeper is not None else None
        self.obeyed: Release | None = None

    def ask(self, for_us: int, gpus: frozenset[str] = frozenset(), why: str = "") -> Release:
        """Wish that GPUs (by UUID; none: all) be let go of for so long; returns what is to be let go of then."""
        with self._lock:
            new = Release(self._now_us() + min(for_us, LONGEST_US), gpus, why)
            before = self.wanted()
            self._set(new if before is None else before.joined(new))
        self.changed()
        return new

    def widen(self) -> None:
        """Have what is to be let go of be all of it: a part of it cannot be."""
        with self._lock:
            if (wanted := self.wanted()) is not None:
                self._set(replace(wanted, gpus=frozenset(), devices=()))

    def note(self, devices: Iterable[Device]) -> None:
        """Keep what is known of the GPUs of a part that was let go of."""
        with self._lock:
            if (wanted := self.wanted()) is not None:
                self._set(replace(wanted, devices=tuple(one for one in devices if one.uuid in wanted.gpus)))

    def resume(self) -> None:
        """Have everything taken back."""
        with self._lock:
            self._set(None)
        self.changed()

    def wanted(self) -> Release | None:
        """Return what is to be let go of now."""
        with self._lock:
            if self._wanted is not None and self._now_us() >= self._wanted.until_us:
                self._set(None)
            return self._wanted

    def left_s(self) -> float:
        """Return how long it is to be let go of still, s."""
        wanted = self.wanted()
        return max(0.0, (wanted.until_us - self._now_us()) / 1e6) if wanted is not None else 0.0

    def _set(self, wanted: Release | None) -> None:
        if wanted != self._wanted:
            self._wanted = wanted
            if self._keeper is not None:
                self._keeper.save(wanted)
