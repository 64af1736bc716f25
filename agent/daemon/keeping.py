"""What outlives a run: the recording, the totals, and the history of jobs."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from wattshed.agent.accounts.state import StateFile
    from wattshed.agent.config.settings import Config
    from wattshed.agent.daemon.history_feed import HistoryFeed
    from wattshed.agent.errors import Faults
    from wattshed.agent.history.answering import Question
    from wattshed.agent.traces.native.recorder import Recorder
    from wattshed.exporters.snapshot import FleetFacts, GpuFacts, NodeFacts
    from wattshed.exporters.web.jobs_api import JobsApi


def kept_recording(config: Config, host: str, opened: ExitStack, *, alone: bool) -> Recorder | None:
    """Open the recording that is asked for; ``opened`` closes it.

    Parameters
    ----------
    config : Config
    host : str
    opened : ExitStack
    alone : bool
        Nothing else is made of the readings, so that one which cannot be made is an error.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    if not config.record:
        return None
    from wattshed.agent.traces.native.recorder import Recorder  # noqa: PLC0415 - pyarrow is heavy, and only a recording needs it

    kept = config.recording
    recorder = Recorder(Path(config.record), host, max_bytes=kept.max_bytes, max_age_s=kept.max_age_s)
    opened.callback(recorder.close)
    if recorder.state.fault and alone:
        raise InputError(f"cannot record: {recorder.state.fault}", config.record)
    return recorder


def recording_faults(recorder: Recorder | None) -> dict[str, int]:
    """Count what the recording lost, by what it was."""
    if recorder is None:
        return {}
    state = recorder.state
    counts = {
        "recorder": state.lost_windows,
        "recorder-corrupt": state.corrupt,
        "recorder-dropped": state.dropped,
        "recorder-recovered": state.recovered,
    }
    return {part: count for part, count in counts.items() if count}


def kept_state(config: Config, host: str, kind: str, where: Sequence[str], opened: ExitStack) -> StateFile | None:
    """Keep totals over restarts: of measurements and of a simulation apart, of a playback not at all.

    Parameters
    ----------
    config : Config
    host, kind : str
        See `Source`.
    where : sequence of str
        Where this agent answers, for another one that finds the totals taken.
    opened : ExitStack
        Lets go of the folder.
    """
    from wattshed.agent.accounts.state import StateFile  # noqa: PLC0415 - heavy, and the server answers meanwhile

    if kind == "trace":
        return None
    owner = f"pid {os.getpid()}, {', '.join(where)}"
    name = "simulated" if kind == "simulated" else "state"
    state = StateFile(Path(config.state_dir), host, _boot_id(config, kind), name, owner)
    opened.callback(state.release)
    return state


def kept_history(  # noqa: PLR0917 - called once, by the assembly
    config: Config, host: str, kind: str, jobs: JobsApi, faults: Faults, opened: ExitStack
) -> HistoryFeed | None:
    """Keep every job for good, beside the state: measured and simulated ones apart, of a playback none.

    Parameters
    ----------
    config : Config
    host, kind : str
        See `Source`.
    jobs : JobsApi
        Answers of it from now on.
    faults : Faults
    opened : ExitStack
        Ends its writer.
    """
    settings, people = config.history, config.privacy
    if kind == "trace" or not settings.enabled:
        jobs.close("this agent keeps no history")
        return None
    from wattshed.agent.daemon.history_feed import HistoryFeed  # noqa: PLC0415 - a database is opened only here
    from wattshed.agent.history.answering import Question, open_or_empty  # noqa: PLC0415
    from wattshed.agent.history.privacy import Privacy  # noqa: PLC0415
    from wattshed.agent.history.store import Retention  # noqa: PLC0415
    from wattshed.agent.history.sums import DAY_US  # noqa: PLC0415
    from wattshed.agent.history.writer import HistoryWriter  # noqa: PLC0415

    simulated = kind == "simulated"
    path = Path(config.state_dir) / ("simulated-history.db" if simulated else "history.db")
    retention = Retention(round(settings.max_age_days * DAY_US), settings.max_bytes)
    privacy = Privacy.of_settings(people.users, people.key_file)
    writer = HistoryWriter(path, host, faults, retention, privacy=privacy, user_days=people.user_days)
    opened.callback(writer.stop)
    feed = HistoryFeed(writer, settings.slot_s * 1_000_000, simulated=simulated)

    def question() -> Question:
        return Question(partial(open_or_empty, path), host, feed.view, whose=privacy.uid)

    jobs.open(question, question)
    return feed


def kept_fleet(
    config: Config, host: str, kind: str
) -> Callable[[int, Sequence[GpuFacts], NodeFacts | None], FleetFacts | None] | None:
    """Say what this host says about its fleet, if it has an inventory; what its node model is fitted to is kept.

    Parameters
    ----------
    config : Config
    host, kind : str
        See `Source`.
    """
    if not config.fleet.inventory:
        return None
    from wattshed.agent.fleet.live.one_host import OneHost  # noqa: PLC0415

    names = {"simulated": "simulated-node-minutes.json", "nvml": "node-minutes.json"}
    return OneHost(config.fleet.inventory, host, Path(config.state_dir) / names[kind] if kind in names else None).facts


def _boot_id(config: Config, kind: str) -> str:
    """Name the life of the driver's counters: this boot, or this process if the driver is simulated in it."""
    if kind == "simulated":
        return f"simulated-{os.getpid()}-{time.time_ns()}"
    try:
        return (Path(config.proc_root) / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
