"""What each path answers, and nothing about sockets: metrics, DCGM's names, JSON, health, the page."""

from __future__ import annotations

import dataclasses
import gzip
import logging
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.exporters.formats import dcgm, prometheus
from wattshed.exporters.formats.exposition import Writer
from wattshed.exporters.formats.negotiation import wants_gzip, wants_openmetrics
from wattshed.exporters.formats.self_metrics import process_families
from wattshed.exporters.web import api
from wattshed.exporters.web.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wattshed.exporters.formats.exposition import Family
    from wattshed.exporters.snapshot import EnergyPrices, Snapshot

log = logging.getLogger(__name__)

PAGE_MAX_AGE_S = 1.0
"""A rendered page serves all scrapes of one snapshot, but never longer than this: process_* move on."""

GZIP_FROM = 1024  # bytes; smaller bodies gain nothing
WITHOUT_HISTORY, NOW = "history=none", "/api/v1/snapshot?history=none"
"""The page asks for the snapshot every other second, and for the lines of power less often: `PowerApi`."""
PLAIN = "text/plain; charset=utf-8"
JSON = "application/json"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
SCRIPT = "text/javascript; charset=utf-8"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "deny"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", CSP),
)


@dataclass(frozen=True, slots=True)
class Response:
    """Status, body and headers; Content-Length and Date are the server's business."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def plain(status: int, text: str, *headers: tuple[str, str]) -> Response:
    """Make a short text answer."""
    return Response(status, PLAIN, f"{text}\n".encode(), (*SAFE, ("Cache-Control", "no-store"), *headers))


class WebSite:
    """Answers requests from the current snapshot.

    Parameters
    ----------
    publish : callable
        Returns the current Snapshot; called from the server's thread.
    hostname_label : str
        See `exporters.formats.dcgm.families`.
    clock : callable, s
        Monotonic.
    families : callable
        What is on /metrics beside the process itself.
    prices : EnergyPrices, optional
        What the page says that energy costs.
    """

    def __init__(
        self,
        publish: Callable[[], Snapshot],
        hostname_label: str = "Hostname",
        clock: Callable[[], float] = time.monotonic,
        families: Callable[[Snapshot], Iterable[Family]] = prometheus.families,
        prices: EnergyPrices | None = None,
    ) -> None:
        self._publish, self._clock, self._families, self._prices = publish, clock, families, prices
        self.history = History()
        self.faults: Counter[str] = Counter()
        self._dcgm = dcgm.families(hostname_label=hostname_label)
        self._writers = {
            (path, openmetrics): Writer(openmetrics=openmetrics, on_fault=self._family_fault)
            for path in ("/metrics", "/metrics/dcgm")
            for openmetrics in (False, True)
        }
        self._cache: dict[tuple[str, bool, bool], tuple[Snapshot, float, Response]] = {}
        self._files = dict(_page_files(Path(__file__).parents[1]))

    def fault(self, part: str, message: str) -> None:
        """Count a fault and log it; how often a line that repeats is written is the log's business."""
        self.faults[part] += 1
        log.warning("%s: %s", part, message)

    def _family_fault(self, family: str, error: Exception) -> None:
        self.fault("exporter", f"{family} is missing from the page: {error!r}")

    def snapshot(self) -> Snapshot:
        """Return the current snapshot with the server's own faults counted in."""
        snapshot = self._publish()
        if self.faults:
            merged = Counter(snapshot.faults)
            merged.update(self.faults)
            return dataclasses.replace(snapshot, faults=dict(merged))
        return snapshot

    def observe(self) -> None:
        """Let the history take note of the current snapshot."""
        self.history.observe(self._publish())

    def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Response:
        """Answer one request.

        Parameters
        ----------
        method, target : str
        headers : mapping
            Lower-case names.
        """
        # a proxy may send the whole URL (RFC 9112, 3.2.2)
        path = target.partition("?")[0]
        if path.startswith(("http://", "https://")):
            path = "/" + path.partition("://")[2].partition("/")[2]
        known = path in self._files or path in _PATHS
        if not known:
            return plain(404, "not found")
        if method not in ("GET", "HEAD"):
            return plain(405, "method not allowed", ("Allow", "GET, HEAD"))
        compressed = wants_gzip(headers.get("accept-encoding", ""))
        if path in self._files:
            return _encoded(self._files[path], compressed=compressed)
        if path == "/-/healthy":
            return plain(200, "healthy")
        if path == "/-/ready":
            return _ready(self._publish())
        openmetrics = path != "/api/v1/snapshot" and wants_openmetrics(headers.get("accept", ""))
        page = path if path != "/api/v1/snapshot" or target.partition("?")[2] != WITHOUT_HISTORY else NOW
        return self._cached(page, openmetrics=openmetrics, compressed=compressed)

    def _cached(self, path: str, *, openmetrics: bool, compressed: bool) -> Response:
        current, now = self._publish(), self._clock()
        key = (path, openmetrics, compressed)
        made = self._cache.get(key)
        if made is None or made[0] is not current or now - made[1] >= PAGE_MAX_AGE_S:
            made = self._cache[key] = (current, now, self._render(path, openmetrics=openmetrics, compressed=compressed))
        return made[2]

    def _render(self, path: str, *, openmetrics: bool, compressed: bool) -> Response:
        snapshot = self.snapshot()
        headers = (*SAFE, ("Cache-Control", "no-store"), ("Vary", "Accept, Accept-Encoding"))
        if path in ("/api/v1/snapshot", NOW):
            history = self.history.columns() if path != NOW else self.history.no_columns()
            told = api.document(snapshot, history, self.history.last_w, self._prices)
            response = Response(200, JSON, told, headers)
        else:
            writer = self._writers[path, openmetrics]
            families = self._dcgm if path == "/metrics/dcgm" else (*self._families(snapshot), *self._process())
            response = Response(200, writer.content_type, writer.write(snapshot, families), headers)
        return _encoded(response, compressed=compressed)

    def _process(self) -> list[Family]:
        try:
            return process_families()
        except Exception as error:  # noqa: BLE001 - /proc may be hidden; the page goes on
            self._family_fault("process_*", error)
            return []


def _ready(snapshot: Snapshot) -> Response:
    """Ready means that energy is being accounted; a driver that is still to come is no reason to be restarted."""
    if snapshot.up:
        return plain(200, "ready")
    why = snapshot.unmetered or "waiting for the first window"
    return plain(503, f"not ready: {why}", ("Retry-After", "1"))


_PATHS = frozenset({"/metrics", "/metrics/dcgm", "/api/v1/snapshot", "/-/healthy", "/-/ready"})


def _encoded(response: Response, *, compressed: bool) -> Response:
    if not compressed or len(response.body) < GZIP_FROM:
        return response
    body = gzip.compress(response.body, compresslevel=1, mtime=0)
    return dataclasses.replace(response, body=body, headers=(*response.headers, ("Content-Encoding", "gzip")))


def _page_files(root: Path) -> list[tuple[str, Response]]:
    """Read the page's files once: no path of a request ever reaches the file system."""
    files = [("/api/v1/snapshot.schema.json", root / "snapshot.schema.json", JSON)]
    for path in sorted((root / "page").iterdir()):
        if path.suffix in (".html", ".css", ".js", ".svg"):
            target = "/" if path.name == "index.html" else f"/page/{path.name}"
            files.append((target, path, TYPES.get(path.suffix, SCRIPT)))
    headers = (*SAFE, ("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"))
    return [(target, Response(200, kind, path.read_bytes(), headers)) for target, path, kind in files]
