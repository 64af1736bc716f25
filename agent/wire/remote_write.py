"""Points of a replay to Prometheus, VictoriaMetrics, Mimir or Thanos, by the remote-write protocol.

https://prometheus.io/docs/specs/prw/remote_write_spec/ (version 1.0): each request is a protobuf ``WriteRequest``,
compressed by snappy as one raw block (`agent.wire.protobuf`).

Stale markers are not sent: the totals are to be found at the end of the trace, as in the OpenMetrics backfill.
"""

from __future__ import annotations

import itertools
import sys
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.errors import InputError
from wattshed.agent.wire.http import Address, Client, NoAnswerError
from wattshed.agent.wire.protobuf import encode, encode_labels, in_snappy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wattshed.agent.wire.http import Answer
    from wattshed.agent.wire.protobuf import Sample, Series

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
"""What each request says, by the protocol."""

BATCH = 5000
"""Samples in one request; Prometheus itself sends 2000 by default."""
PATIENCE_S = 120.0
"""How long a request that fails for now is repeated, s: a Prometheus that starts reads its log first."""
FIRST_PATIENCE_S = 15.0
"""The same for the first request, s: who mistyped the address should not wait long to hear of it."""
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_TIMEOUT_S = 60.0
_TICK_S = 0.2  # how soon a signal is heeded while waiting
_TOO_LATE = ("out of bounds", "out of order", "too old sample")


class PointSource(Protocol):
    """What is sent: series, and their points in the order of time."""

    @property
    def series(self) -> list[Series]:
        """All series; `by_time` names them by their place here."""

    def by_time(self) -> Iterator[tuple[int, int, float]]:
        """Yield (place of the series, us, value)."""


class RemoteWrite:
    """An endpoint that takes remote write.

    Parameters
    ----------
    url : str
        The whole of it, such as ``http://localhost:9090/api/v1/write``; ``user:password@`` (percent-encoded where need
        be) is sent as basic authentication and never shown.
    tell : callable, optional
        Takes one line about what goes wrong for now; standard error by default.
    sleep : callable, optional
        As `time.sleep`.

    Raises
    ------
    InputError
        If it is not an http(s) URL.
    """

    def __init__(
        self, url: str, *, tell: Callable[[str], None] | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        address = Address.parse(url, "--remote-write", "http://localhost:9090/api/v1/write")
        self.url = address.url
        self._client = Client(address, timeout_s=_TIMEOUT_S, headers=HEADERS)
        self._tell = tell or (lambda line: print(f"wattshed: {line}", file=sys.stderr))  # noqa: T201 - a command's
        self._sleep = sleep

    def greet(self) -> None:
        """Send a request without samples: what is wrong with address, password or server shows before hours of work.

        Raises
        ------
        InputError
            If the server refuses it.
        ConnectionError
            If it gives no answer, or none but "later".
        """
        self._post(b"", FIRST_PATIENCE_S, lambda: False)
        self.close()  # hours of reading may lie before the first batch

    def send(
        self,
        points: PointSource,
        *,
        progress: Callable[[int], None] = lambda _sent: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Send all points in the order of time, batch by batch, each series once a batch.

        A Prometheus that is empty takes samples from one half block (an hour) before its latest; in the order of time
        all of them are newer, however many hosts there are.

        Parameters
        ----------
        points : PointSource
        progress : callable, optional
            Told how many points were sent.
        stop : callable, optional
            Asked between batches and while waiting; when it says so, the rest is not sent.

        Returns
        -------
        int
            Points that the server took.

        Raises
        ------
        InputError
            If the server refuses them.
        ConnectionError
            If it gives no answer for `PATIENCE_S`, or none but "later".
        """
        labels = [encode_labels(series) for series in points.series]
        rows, sent = points.by_time(), 0
        while batch := list(itertools.islice(rows, BATCH)):
            samples: dict[int, list[Sample]] = {}  # the series with the earliest sample comes first
            for place, time_us, joules in batch:
                samples.setdefault(place, []).append((time_us // 1000, joules))
            body = encode((labels[place], own) for place, own in samples.items())
            if stop() or not self._post(body, PATIENCE_S, stop):
                break
            sent += len(batch)
            progress(sent)
        return sent

    def close(self) -> None:
        """Hang up; the next request dials again."""
        self._client.close()

    def _post(self, body: bytes, patience_s: float, stop: Callable[[], bool]) -> bool:
        """Send one request until it is taken (True) or ``stop`` says so; refusals and lost patience are raised."""
        content = in_snappy(body)
        waited, pause, arrived = 0.0, _PAUSE_S, False
        while True:
            wish, trouble, arrived = self._try(content, arrived=arrived)
            if not trouble:
                return True
            wait = max(pause, wish)
            if waited + wait > patience_s:
                asked = f" and asks to wait {wish:.0f} s" if wish > pause else ""
                raise ConnectionError(f"{self.url} {trouble}{asked}; given up after {waited:.0f} s")
            self._tell(f"{self.url} {trouble}; trying again in {wait:.3g} s")
            ends = waited + wait
            while waited < ends:
                if stop():
                    return False
                tick = min(_TICK_S, ends - waited)
                self._sleep(tick)
                waited += tick
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _try(self, content: bytes, *, arrived: bool) -> tuple[float, str, bool]:
        """Send one request once.

        Parameters
        ----------
        content : bytes
        arrived : bool
            Whether the same request may have arrived before, without an answer.

        Returns
        -------
        (float, str, bool)
            How long the server asks to wait (s, or 0), what went wrong, if so, and the new ``arrived``.
        """
        try:
            answer = self._client.post(content)
        except NoAnswerError as error:
            if error.lasting:
                raise InputError(f"{self.url} {error}") from None
            return 0.0, str(error), arrived or error.sent
        if answer.taken:
            return 0.0, "", True
        first = answer.reason
        if arrived and "out of order" in first:
            return 0.0, "", True  # it took these samples the first time, and its answer was lost
        if any(words in first for words in _TOO_LATE):  # some releases of Prometheus call this their own fault (500)
            raise InputError(f"{self.url} {answer}; its out_of_order_time_window must reach back to the trace")
        if answer.status == 429 or answer.status >= 500:
            return _wish(answer), str(answer), arrived
        raise InputError(f"{self.url} {answer}")


def _wish(answer: Answer) -> float:
    """Read ``Retry-After``, in seconds or as a date (RFC 9110, 10.2.3); 0 without."""
    text = (answer.headers.get("Retry-After") or "").strip()
    if text.isdecimal():
        return float(min(int(text[:9]), 10**6))
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return 0.0
