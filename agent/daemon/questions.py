"""Who may ask a running agent about jobs, where, and what answers."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.wire.sockets import AGENT, SHARED, made, own_folders
from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.peer import Access, group_id, overflow_uids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.config.settings import Config, HistorySettings

LOG = logging.getLogger("wattshed")


def jobs_api(config: Config) -> JobsApi:
    """Make what answers; until it is opened it says that the agent is starting."""
    settings = config.history
    access = Access(frozenset({0, os.geteuid()}), _group(settings), overflow_uids(Path(config.proc_root)))
    return JobsApi(access, frozenset(settings.tcp_users))


def jobs_socket(settings: HistorySettings, environ: Mapping[str, str], *, shared: Path = SHARED) -> str:
    """Return the path at which jobs are told; empty if there shall be none, or there is no place for it.

    Parameters
    ----------
    settings : HistorySettings
    environ : mapping
    shared : Path
        Where every user of the host looks; root makes it.
    """
    setting = settings.socket if settings.enabled else ""
    return socket_path(setting, AGENT, "no socket for `wattshed jobs`", "history.socket", environ, shared=shared)


def socket_path(
    setting: str, name: str, without: str, called: str, environ: Mapping[str, str], *, shared: Path = SHARED
) -> str:
    """Return where a socket of that name shall be; empty if there shall be none, or there is no place for it.

    Parameters
    ----------
    setting : str
        A path, ``auto``, or nothing.
    name : str
        Of the file, where the setting is ``auto``.
    without, called : str
        What is said where there is no place, and what the setting is called.
    environ : mapping
    shared : Path
        Where every user of the host looks; root makes it.
    """
    if setting != "auto":
        return setting
    if given := environ.get("RUNTIME_DIRECTORY"):
        return f"{given.split(':')[0]}/{name}"
    if os.access(shared, os.W_OK | os.X_OK):
        return f"{shared}/{name}"
    missed = []
    places = [(folder, 0o700) for folder in own_folders(environ, os.geteuid())]
    for folder, mode in [(shared, 0o755), *places] if os.geteuid() == 0 else places:
        if not (why := made(folder, mode=mode)):
            return f"{folder}/{name}"
        missed.append(f"{folder}: {why}")
    LOG.warning("%s: %s; set %s", without, ", ".join(missed), called)
    return ""


def _group(settings: HistorySettings) -> int | None:
    """Look the administrators' group up; one that does not exist lets nobody in, and stops nobody's metering."""
    name = settings.admin_group
    try:
        return group_id(name) if name else None
    except KeyError:
        LOG.error("history.admin_group: no group %r on this host; only root sees everybody's jobs", name)  # noqa: TRY400
        return None
