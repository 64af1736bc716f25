"""A release that outlives the process: one that only its end can bring about, and one in which it is restarted."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from wattshed.agent.accounts.content import plain_device
from wattshed.agent.meters.release import LONGEST_US, Release
from wattshed.agent.window import Device

LOG = logging.getLogger("wattshed")
SCHEMA = "wattshed.released/1"
LONGEST_BYTES = 1 << 20


class ReleaseFile:
    """Keeps a release in the state folder.

    Parameters
    ----------
    path : Path
    boot_id : str
        One of an earlier boot is over: whatever the driver was needed for has happened.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path, self._boot_id = path, boot_id

    def save(self, release: Release | None) -> None:
        """Keep it; None: nothing is released any more."""
        try:
            if release is None:
                self._path.unlink(missing_ok=True)
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            about = {
                "schema": SCHEMA, "boot_id": self._boot_id, "until_us": release.until_us, "why": release.why,
                "gpus": sorted(release.gpus), "devices": [plain_device(one) for one in release.devices],
            }  # fmt: skip
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(about), encoding="utf-8")
            os.replace(draft, self._path)  # noqa: PTH105 - in a signal handler, too
        except OSError as error:
            LOG.warning("a restart would end the release: %s", error)

    def load(self, now_us: int) -> Release | None:
        """Return what is kept and is not over: of all GPUs, unless it is known how not to touch those that it is of."""
        try:
            about = json.loads(self._path.read_bytes()[:LONGEST_BYTES])
            until_us, why, boot_id = int(about["until_us"]), str(about["why"]), about["boot_id"]
            devices = tuple(Device(**one | {"flags": tuple(one["flags"])}) for one in about.get("devices", ()))
            gpus = frozenset(map(str, about.get("gpus", ())))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            LOG.warning("%s cannot be used, so nothing is released: %s", self._path, error)
            return None
        if boot_id != self._boot_id or not now_us < until_us:
            return None
        if gpus != {one.uuid for one in devices}:
            gpus, devices = frozenset(), ()
        return Release(min(until_us, now_us + LONGEST_US), gpus, why, devices)


def release_file(state_dir: str, proc_root: Path, *, simulated: bool) -> ReleaseFile:
    """Return where the agent of a state folder keeps a release."""
    try:
        boot_id = (proc_root / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot_id = ""
    return ReleaseFile(Path(state_dir) / ("simulated-released.json" if simulated else "released.json"), boot_id)
