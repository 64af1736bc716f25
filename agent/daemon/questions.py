"""Who may ask a running agent about jobs, where, and what answers."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.peer import Access, group_id, overflow_uids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.config import Config, HistorySettings

LOG = logging.getLogger("wattshed")
FOLDER = "/run/wattshed"


def jobs_api(config: Config) -> JobsApi:
    """Make what answers; until it is opened it says that the agent is starting."""
    settings = config.history
    access = Access(frozenset({0, os.geteuid()}), _group(settings), overflow_uids(Path(config.proc_root)))
    return JobsApi(access, frozenset(settings.tcp_users))


def jobs_socket(settings: HistorySettings, environ: Mapping[str, str], folder: str = FOLDER) -> str:
    """Return the path at which jobs are told; empty if there is no place for it."""
    if not settings.enabled or settings.socket != "auto":
        return settings.socket if settings.enabled else ""
    if given := environ.get("RUNTIME_DIRECTORY"):
        return f"{given.split(':')[0]}/api.sock"
    return f"{folder}/api.sock" if os.access(folder, os.W_OK | os.X_OK) else ""


def _group(settings: HistorySettings) -> int | None:
    """Look the administrators' group up; one that does not exist lets nobody in, and stops nobody's metering."""
    name = settings.admin_group
    try:
        return group_id(name) if name else None
    except KeyError:
        LOG.error("history.admin_group: there is no group %r; only root sees everybody's jobs", name)  # noqa: TRY400
        return None
