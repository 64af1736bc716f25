"""Power over an hour, a day, a week or all time, ``/api/v1/power``: what the agent saw, and before it what is stored.

It is for everybody who may see the page. So it names GPUs, and the jobs that the page shows at this moment: who the
others were, only `JobsApi` tells, and to whom it may.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

from wattshed.exporters.formats.negotiation import wants_gzip
from wattshed.exporters.web.jobs_api import refusal
from wattshed.exporters.web.power_steps import coarsened, columns, covered, energies, named
from wattshed.exporters.web.site import GZIP_FROM, JSON, SAFE, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.exporters.snapshot import Snapshot
    from wattshed.exporters.web.history import History
    from wattshed.exporters.web.power_steps import PowerStep

POWER = "/api/v1/power"
SCHEMA = "wattshed.power/1"
HOUR_US, FOREVER_S = 3_600_000_000, 4e9
RANGES = {"hour": (3600.0, 900.0), "day": (86_400.0, 900.0), "week": (604_800.0, 3600.0), "start": (FOREVER_S, 3600.0)}
"""How far each reaches back, and the steps in which what is stored is read, s."""
MOST_STEPS = 400
STORED_S = 600.0
"""What is stored is read again after this, and after `AGAIN_S` if it could not be read."""
AGAIN_S = 10.0
FRESH_S = 2.0
NEAR = 0.02
"""Share of a range that may lack before the agent's own steps: they begin with a step, not where the range does."""


class StoredPower(Protocol):
    """Who knows what was before the agent was started."""

    async def power(self, since_us: int, until_us: int, step_us: int) -> tuple[Sequence[PowerStep], str]:
        """Return steps in order, and why they are not all there are."""


class PowerApi:
    """Answers `/api/v1/power`.

    Parameters
    ----------
    publish : callable
        Returns the current Snapshot.
    history : History
    stored : StoredPower, optional
    clock : callable, s
        Monotonic.
    """

    def __init__(
        self,
        publish: Callable[[], Snapshot],
        history: History,
        stored: StoredPower | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish, self._history, self._stored, self._clock = publish, history, stored, clock
        self._read: dict[str, tuple[float, int, Sequence[PowerStep], str]] = {}
        self._reading = asyncio.Lock()
        self._made: dict[str, tuple[float, bytes]] = {}

    def is_asked(self, path: str) -> bool:
        """Tell whether a path is this one."""
        return path == POWER

    async def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Response:
        """Answer one request: ``range`` is one of `RANGES`."""
        if method not in ("GET", "HEAD"):
            return refusal(405, "method not allowed", ("Allow", "GET, HEAD"))
        asked = parse_qsl(target.partition("?")[2], keep_blank_values=True)
        span = dict(asked).get("range", "hour")
        if span not in RANGES or any(name != "range" for name, _ in asked):
            return refusal(400, f"range: is one of {', '.join(RANGES)}, and the only parameter")
        made = self._made.get(span)
        if made is None or self._clock() - made[0] >= FRESH_S:
            document = await self._document(span)
            body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
            made = self._made[span] = self._clock(), body
        own: tuple[tuple[str, str], ...] = (*SAFE, ("Cache-Control", "no-store"), ("Vary", "Accept-Encoding"))
        if not wants_gzip(headers.get("accept-encoding", "")) or len(made[1]) < GZIP_FROM:
            return Response(200, JSON, made[1], own)
        return Response(200, JSON, gzip.compress(made[1], 1, mtime=0), (*own, ("Content-Encoding", "gzip")))

    async def _document(self, span: str) -> dict[str, Any]:
        snapshot = self._publish()
        now_us, (span_s, _) = snapshot.time_us, RANGES[span]
        since_us = max(0, now_us - round(span_s * 1e6))
        seen = [step for step in self._history.steps(span_s) if step.to_us > since_us]
        before, why = await self._before(span, since_us, seen[0].from_us if seen else now_us)
        steps = [*(step for step in before if step.to_us > since_us), *seen]
        if len(steps) > MOST_STEPS:
            hours = -(-(steps[-1].to_us - steps[0].from_us) // (MOST_STEPS * HOUR_US))
            steps = coarsened(steps, hours * HOUR_US)
        # The snapshot of now, not of before the store was read: a job that ended meanwhile is not named.
        steps = named(steps, {job.job for job in self._publish().jobs})
        return {
            "schema": SCHEMA,
            "host": snapshot.host,
            "range": span,
            "ranges": list(RANGES),
            "since_s": since_us / 1e6 if span_s < FOREVER_S else None,
            "now_s": now_us / 1e6,
            "from_s": [step.from_us / 1e6 for step in steps],
            "to_s": [step.to_us / 1e6 for step in steps],
            **columns(steps),
            "covered_s": covered(steps),
            "energy_j": energies(steps),
            "missing": why,
        }

    async def _before(self, span: str, since_us: int, until_us: int) -> tuple[Sequence[PowerStep], str]:
        """Return what was before the agent's own steps begin, read once in a while."""
        span_s, step_s = RANGES[span]
        near_us = round(min(span_s, RANGES["week"][0]) * NEAR * 1e6)
        if self._stored is None or not self._publish().gpus or until_us <= since_us + near_us:
            return (), ""
        async with self._reading:
            read, now = self._read.get(span), self._clock()
            if read is None or now >= read[0] or read[1] != until_us:
                steps, why = await self._stored.power(since_us, until_us, round(step_s * 1e6))
                read = self._read[span] = now + (AGAIN_S if why else STORED_S), until_us, steps, why
        return read[2], read[3]
