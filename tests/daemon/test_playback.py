"""A recording played back to the daemon: cut to the window's length, nothing lost, every GPU with a name."""

import numpy as np

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.cutting import cut
from wattshed.agent.daemon.playback import Playback
from wattshed.agent.window import Device, JobKey, Owner, Readings, Usage, Window

S = 1_000_000


def long_window(seconds=60):
    t = np.tile(np.arange(seconds * 10) * 100_000, 2).astype(np.int64)
    n = seconds * 10
    usage = Usage(
        np.array([0], np.int32), np.array([0], np.int32), np.array([5 * S + 1]), np.array([50 * S]),
        np.array([30 * S]), np.array([-1], np.int32), np.array([1], np.int8),
    )  # fmt: skip
    return Window(
        "h", 0, 0, seconds * S, (Device("h", 0, ""), Device("h", 1, "")),
        Readings(np.array([0, n, 2 * n]), t, np.full(2 * n, 300_000, np.int32), np.full(2 * n, -1)),
        np.full(2, -1), (Owner(JobKey("a")),), usage,
    )  # fmt: skip


def test_short_windows_hold_what_the_long_one_held():
    whole, parts = Accounts(), Accounts()
    whole.add(long_window())
    pieces = list(cut(long_window(), range(S, 60 * S, S)))
    assert [p.start_us for p in pieces] == [n * S for n in range(60)]
    assert sum(len(p.readings.time_us) for p in pieces) == 1200
    for piece in pieces:
        parts.add(piece)
    a, b = whole.ledger.jobs["a"], parts.ledger.jobs["a"]
    assert abs(a.energy_hnj - b.energy_hnj) <= 60
    assert sum(x.energy_hnj for x in whole.gpus.values()) == sum(x.energy_hnj for x in parts.gpus.values())


def test_gpus_without_a_uuid_get_a_name():
    playback = Playback(iter([long_window(1)]), S)
    window, observations = playback.next()
    assert [device.uuid for device in window.devices] == ["gpu0", "gpu1"]
    assert observations == []
