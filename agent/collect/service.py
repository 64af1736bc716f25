"""The collector as a service: it asks agents, keeps what they tell, and looks after the database."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.collect.merge import Merger
from wattshed.agent.collect.pull import Puller, PullPace
from wattshed.agent.collect.targets import Targets
from wattshed.agent.collect.workloads import PodsInFile, PodsInPrometheus
from wattshed.agent.collect.write_back import SlurmAccounting, WriteBack
from wattshed.agent.collect.written import WrittenRuns
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.privacy import Privacy
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.history.sums import DAY_US
from wattshed.agent.wire.query import Prometheus

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.collect.config import CollectSettings
    from wattshed.agent.collect.workloads import PodLookup
    from wattshed.agent.errors import Faults
    from wattshed.agent.history.sql import SqlDatabase

TIDY_S = 3600.0
"""Time between two looks at what is too old."""


class SiteCollector:
    """All threads of a collector.

    Parameters
    ----------
    settings : CollectSettings
    faults : Faults

    Raises
    ------
    InputError, DatabaseError
        If the database cannot be used, or another collector has it.
    """

    def __init__(self, settings: CollectSettings, faults: Faults) -> None:
        self._settings, self._faults = settings, faults
        self.privacy = Privacy.of_settings(settings.users, settings.key_file)
        self.stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._database = open_database(settings.database, only=True)
        self.name = self._database.name
        try:
            merger = Merger(self._database, self.privacy)
            targets = Targets(settings.targets, faults, settings.timeout_s)
            pace = PullPace(settings.poll_s, settings.timeout_s, settings.concurrency)
            self.puller = Puller(targets, merger, faults, pace, _pods(settings))
        except BaseException:
            self._database.close()
            raise

    def opened(self) -> SqlDatabase:
        """Open the database to read, for one question."""
        return open_database(self._settings.database, read_only=True)

    def start(self) -> None:
        """Begin."""
        self.puller.start()
        self._thread("tidy", self._tidy)
        if self._settings.write_back:
            self._thread("write-back", self._write_back)

    def stop(self) -> None:
        """End after the pages that are being taken, and let the database go."""
        self.stopped.set()
        self.puller.stop()
        for thread in self._threads:
            thread.join(5.0)
        self._database.close()

    def _thread(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"collect-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _tidy(self) -> None:
        """Drop what is too old, and forget users in time."""
        max_age_us = round(self._settings.max_age_days * DAY_US)
        user_us = round(self._settings.user_days * DAY_US)
        while not self.stopped.wait(1.0):
            now_us = round(time.time() * 1e6)
            try:
                while self.puller.tidy(now_us - max_age_us, (now_us - user_us) // DAY_US):
                    if self.stopped.wait(0.1):  # pages have their turn between
                        return
            except DatabaseError as error:
                self._faults.note("database", error, "what is too old stays")
            if self.stopped.wait(TIDY_S):
                return

    def _write_back(self) -> None:
        """Write into Slurm's accounting, over a connection of its own; one that is lost is made again."""
        accounting = SlurmAccounting(self.stopped, self._settings.sacct, self._settings.sacctmgr)
        while not self.stopped.is_set():
            try:
                database = open_database(self._settings.database)
            except DatabaseError as error:
                self._faults.note("write_back", error, "it is tried again")
                self.stopped.wait(30.0)
                continue
            with self._faults.noting("write_back"):
                WriteBack(WrittenRuns(database), accounting, self._faults, self.stopped.wait).work()
            database.close()


def _pods(settings: CollectSettings) -> PodLookup | None:
    if settings.pods_file:
        return PodsInFile(Path(settings.pods_file))
    if settings.pods_prometheus:
        return PodsInPrometheus(Prometheus(settings.pods_prometheus, timeout_s=settings.timeout_s))
    return None
