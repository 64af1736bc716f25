"""What SIGHUP reads again: some keys take effect at once; of the others it is said that they need a restart."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.accounts.calibration import MeterCorrection
from wattshed.agent.accounts.split_rule import LEARNED, SplitRule, remembered_s
from wattshed.agent.errors import InputError
from wattshed.agent.printing.logs import set_up_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wattshed.agent.accounts.calibration import Calibrator
    from wattshed.agent.config.settings import Config
    from wattshed.agent.daemon.systemd import Notifier

LOG = logging.getLogger("wattshed")
AT_ONCE = ("log", "calibration", "idle_watts", "default_sigma")
"""Keys and tables that take effect without a restart."""


class Reload:
    """Takes over what can change while the agent runs; a file with a mistake changes nothing.

    Parameters
    ----------
    config : Config
        What the agent was started with.
    read : callable
        Reads the configuration again.
    calibrator : Calibrator
    notifier : Notifier
    """

    def __init__(self, config: Config, read: Callable[[], Config], calibrator: Calibrator, notifier: Notifier) -> None:
        self._in_use, self._read, self._calibrator, self._notifier = config, read, calibrator, notifier

    def __call__(self) -> None:
        """Read it, and say in one line what changed."""
        self._notifier.reloading()
        try:
            fresh = self._read()
        except InputError as error:
            LOG.error("configuration not reloaded, the one in use stays: %s", error)  # noqa: TRY400
        else:
            changed = list(differences(self._in_use, fresh))
            self._in_use = replace(self._in_use, **{name: getattr(fresh, name) for name in AT_ONCE})
            set_up_log(fresh.log.level, fresh.log.format, os.environ, sys.stderr)
            self._calibrator.corrections = corrections(fresh)
            self._calibrator.idle_w = dict(fresh.idle_watts)
            self._calibrator.default_sigma = fresh.default_sigma
            LOG.info("configuration reloaded: %s", _told(changed))
        self._notifier.ready()


def corrections(config: Config) -> dict[str, MeterCorrection]:
    """Return what is known of each GPU's meter, by UUID."""
    return {uuid: MeterCorrection(one.gain, one.offset_w, one.sigma) for uuid, one in config.calibration.items()}


def split_rule(config: Config) -> SplitRule:
    """Return how the energy of a shared GPU is split."""
    split = config.split
    remembered = remembered_s(split.remember)
    return SplitRule.of(learned=split.watts == LEARNED, bound=split.bound, spread=split.spread, remember=remembered)


def differences(before: Any, after: Any, within: str = "") -> Iterator[str]:
    """Yield the keys, such as ``log.level``, whose values differ between two configurations."""
    for spec in fields(before):
        name, old, new = f"{within}{spec.name}", getattr(before, spec.name), getattr(after, spec.name)
        if is_dataclass(old):
            yield from differences(old, new, f"{name}.")
        elif old != new:
            yield name


def _told(changed: list[str]) -> str:
    now = [name for name in changed if name.partition(".")[0] in AT_ONCE]
    later = [name for name in changed if name not in now]
    parts = [f"{', '.join(now)} took effect"] if now else []
    if later:
        parts.append(f"{', '.join(later)} {'needs' if len(later) == 1 else 'need'} a restart")
    return "; ".join(parts) or "nothing changed"
