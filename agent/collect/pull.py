"""Asks every agent for what it has that is not here yet, again and again, many at a time.

One thread plans, `concurrency` threads ask, and what they get goes into the database one page after the other. An agent
that was away goes on from its cursor, page by page, until it is caught up with.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wattshed.agent.collect.merge import NoHistoryError, RefusedPageError, read_page
from wattshed.agent.collect.workloads import named
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.wire.agents import NoDocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.collect.merge import Merger, PartsPage
    from wattshed.agent.collect.targets import Target, Targets
    from wattshed.agent.collect.workloads import PodLookup
    from wattshed.agent.errors import Faults

LOG = logging.getLogger(__name__)
PAGE = 1_000
PATH = "/api/v1/parts"
UP, DOWN, REFUSED, NEW = "up", "down", "refused", "new"
STATES = (UP, DOWN, REFUSED, NEW)
_JITTER = 0.1
_AT_FIRST_S = 5.0
_PLAN_S = 0.2


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """How it goes with one agent.

    Attributes
    ----------
    address : str
    state : str
        One of `STATES`.
    why : str
        Where it is down or refused.
    caught_up_s : float, s
        When all that it had was here last, on the planner's clock.
    store_id, host : str
        As it said last.
    """

    address: str
    state: str = NEW
    why: str = ""
    caught_up_s: float = 0.0
    store_id: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class PullPace:
    """How often and how long, s; and how many at a time."""

    poll_s: float = 60.0
    timeout_s: float = 10.0
    concurrency: int = 32


class Puller:
    """Keeps a database up to date with all agents.

    Parameters
    ----------
    targets : Targets
    merger : Merger
        Nobody else uses it meanwhile.
    faults : Faults
    pace : PullPace
    pods : PodLookup, optional
        Says which workload a pod is of.
    clock, wall : callable
        Monotonic and Unix seconds.

    Attributes
    ----------
    write_s : float
        Seconds that the last page took in the database.
    """

    def __init__(
        self,
        targets: Targets,
        merger: Merger,
        faults: Faults,
        pace: PullPace,
        pods: PodLookup | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._targets, self._merger, self._faults, self._pace = targets, merger, faults, pace
        self._clock, self._wall, self._pods = clock, wall, pods
        self._writing, self._looking = threading.Lock(), threading.Lock()
        self._owners: dict[str, tuple[str, float]] = {}
        self._drained: set[tuple[str, str]] = set()
        self._status: dict[str, TargetStatus] = {}
        self._began_s = clock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.write_s = 0.0

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._thread = threading.Thread(target=self._run, name="collect", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the pages that are being taken."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(self._pace.timeout_s + 5)

    def status(self) -> Mapping[str, TargetStatus]:
        """Return how it goes with each agent, by address."""
        return dict(self._status)

    def states(self) -> Mapping[str, int]:
        """Count agents by state."""
        counts = Counter(one.state for one in self.status().values())
        return {state: counts.get(state, 0) for state in STATES}

    def lag_s(self) -> float:
        """Return for how long the agent that is furthest behind has not been caught up with, s."""
        now_s = self._clock()
        return max((now_s - (one.caught_up_s or self._began_s) for one in self.status().values()), default=0.0)

    def totals(self) -> tuple[int, int]:
        """Return how many parts were taken, and how many gaps there were, since this process began."""
        return self._merger.parts_total, self._merger.gaps_total

    def tidy(self, before_us: int, before_day: int) -> int:
        """Drop what is too old, between two pages; see `Merger.tidy`."""
        with self._writing:
            return self._merger.tidy(before_us, before_day)

    def _run(self) -> None:
        due: dict[str, float] = {}
        looked_s = -float("inf")
        targets: list[Target] = []
        busy: set[str] = set()
        with ThreadPoolExecutor(self._pace.concurrency, thread_name_prefix="collect") as threads:
            while not self._stopping.wait(_PLAN_S):
                now_s = self._clock()
                if now_s - looked_s >= self._pace.poll_s:
                    looked_s = now_s
                    with self._faults.noting("targets"):
                        targets = self._targets.now()
                        self._keep({target.address for target in targets})
                for target in targets:
                    address = target.address
                    if address not in due:
                        due[address] = now_s + random.uniform(0, min(_AT_FIRST_S, self._pace.poll_s))  # noqa: S311
                    if due[address] <= now_s and address not in busy:
                        due[address] = now_s + self._pace.poll_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
                        busy.add(address)
                        threads.submit(self._poll_one, target, busy)

    def _poll_one(self, target: Target, busy: set[str]) -> None:
        try:
            self.poll(target)
        finally:
            busy.discard(target.address)

    def _keep(self, addresses: set[str]) -> None:
        """Drop what is known of agents that are not to be asked any more, and begin with new ones."""
        for address in [one for one in self._status if one not in addresses]:
            del self._status[address]
        for address in addresses:
            self._status.setdefault(address, TargetStatus(address))

    def poll(self, target: Target) -> None:
        """Take all that one agent has; whatever goes wrong is told in its status."""
        before = self._status.get(target.address, TargetStatus(target.address))
        after = replace(before, state=DOWN, why="a fault of the collector's; its log has it")
        with self._faults.noting("collect"):  # one agent's fault stays its own
            after = self._polled(target, before)
        self._status[target.address] = after

    def _polled(self, target: Target, before: TargetStatus) -> TargetStatus:
        try:
            page = self._pull(target)
        except NoDocumentError as error:
            if before.state != DOWN:
                LOG.warning("agent down: %s; retrying", error)
            return replace(before, state=DOWN, why=str(error))
        except NoHistoryError as error:
            return replace(before, state=NEW, why=str(error), caught_up_s=self._clock())
        except RefusedPageError as error:
            if before.why != str(error):
                self._faults.note("refused", f"{target.address} {error}", "retrying")
            return replace(before, state=REFUSED, why=str(error))
        except DatabaseError as error:
            self._faults.note("database", error, "retrying")
            return before
        if before.state in {DOWN, REFUSED}:
            LOG.info("%s: up again", target.address)
        return replace(before, state=UP, why="", caught_up_s=self._clock(), store_id=page.store_id, host=page.host)

    def _pull(self, target: Target) -> PartsPage:
        """Take the rest of an agent's older stores, then what is new in its newest one; returns its last page."""
        known = self._status.get(target.address)
        with self._writing:
            after = self._after(known.store_id) if known and known.store_id else 0
        page, skew_us = self._page(target, "", after)
        self._claim(page.store_id, target.address)
        for older in page.stores:
            if older != page.store_id and (target.address, older) not in self._drained:
                self._drain(target, older)
                self._drained.add((target.address, older))
        with self._writing:
            right = self._after(page.store_id) == after
            if right:
                self._take(page, after, target, skew_us)
        return page if right and _is_last(page) else self._drain(target, page.store_id)

    def _drain(self, target: Target, store_id: str) -> PartsPage:
        """Take page after page of one store, until there is no more."""
        while True:
            with self._writing:
                after = self._after(store_id)
            page, skew_us = self._page(target, store_id, after)
            if page.store_id != store_id:
                raise RefusedPageError("answered for another store than was asked for")
            with self._writing:
                self._take(page, after, target, skew_us)
            if _is_last(page) or self._stopping.is_set():
                return page

    def _after(self, store_id: str) -> int:
        """Return after which number to ask: the last part that is here comes again, and shows that it is the same."""
        return max(0, self._merger.cursor(store_id) - 1)

    def _take(self, page: PartsPage, after: int, target: Target, skew_us: int) -> None:
        begun_s = time.perf_counter()
        try:
            self._merger.take(page, after, target.address, skew_us)
        except RefusedPageError as error:
            self._merger.refuse(page.store_id, str(error))
            raise
        self.write_s = time.perf_counter() - begun_s

    def _page(self, target: Target, store_id: str, after: int) -> tuple[PartsPage, int]:
        """Ask for a page; returns it with how far the agent's clock is ahead, us."""
        wanted = {"after": str(after), "limit": str(PAGE)} | ({"store": store_id} if store_id else {})
        begin_s = self._wall()
        document = target.server.ask(PATH, wanted, timeout_s=self._pace.timeout_s)
        middle_us = round((begin_s + self._wall()) / 2 * 1e6)
        page = read_page(document, target.cluster)
        return self._with_workloads(page), page.now_us - middle_us

    def _with_workloads(self, page: PartsPage) -> PartsPage:
        """Say of pods which workload they are of, where that can be asked; a page does not wait for it to work."""
        if self._pods is not None:
            with self._looking, self._faults.noting("workloads"):
                records = named(page.jobs.values(), page.parts, self._pods)
                return replace(page, jobs={(one.key, one.run_us): one for one in records})
        return page

    def _claim(self, store_id: str, address: str) -> None:
        """Let one address speak for a store at a time.

        Raises
        ------
        RefusedPageError
            If another one does already: a disk that was cloned, or one agent under two names.
        """
        now_s = self._clock()
        with self._writing:
            owner, seen_s = self._owners.get(store_id, (address, now_s))
            if owner != address and owner in self._status and now_s - seen_s < 3 * self._pace.poll_s:
                raise RefusedPageError(
                    f"has the same store {store_id} as {owner}: name each agent once, and give a host whose disk was "
                    "cloned a state folder of its own"
                )
            self._owners[store_id] = address, now_s


def _is_last(page: PartsPage) -> bool:
    return not page.parts or page.parts[-1].seq >= page.next_seq - 1
