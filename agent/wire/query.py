"""The query API that Prometheus, Thanos, Mimir and VictoriaMetrics share: one instant query, with a deadline.

A server that is down, slow or wrong is a `ServerError` of one line, for the caller to report.
"""

from __future__ import annotations

import json
import math
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from wattshed.agent.wire.http import Address, Client, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 256 * 2**20
"""An answer to a recording rule is never longer."""


class ServerError(Exception):
    """The server gave no usable answer; the message is one line."""


@dataclass(frozen=True, slots=True)
class Point:
    """One series of an instant vector."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """A server to be queried.

    Parameters
    ----------
    url : str
        Its base, with any path prefix (``https://mimir.example/prometheus``) and any query that each request needs;
        ``user:password@`` (percent-encoded where need be) is sent as basic authentication and never shown.
    timeout_s : float, s
        For a whole query.
    headers : mapping, optional
        Sent with each query, such as the tenant of a Mimir.

    Raises
    ------
    InputError
        If it is not an http(s) URL.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> None:
        base = Address.parse(url, "--prometheus", "http://localhost:9090")
        self._base = base.url.rstrip("/")
        form = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        self._client = Client(base.below("/api/v1/query"), timeout_s=timeout_s, headers=form | dict(headers or {}))

    @property
    def url(self) -> str:
        """Base URL without credentials."""
        return self._base

    def query(self, expression: str, *, time_s: float | None = None) -> list[Point]:
        """Instant vector of an expression; series whose value is not a number are left out.

        Raises
        ------
        ServerError
            If there is no usable answer in time.
        """
        form = {"query": expression} | ({} if time_s is None else {"time": f"{time_s:.3f}"})
        try:
            with closing(self._client) as client:  # the next query may be long after
                answer = client.post(urlencode(form).encode(), most_bytes=MOST_BYTES + 1)
        except NoAnswerError as error:
            raise ServerError(f"{self._base} {error}") from None
        if not answer.taken:
            raise ServerError(f"{self._base} {answer}")
        if len(answer.content) > MOST_BYTES:
            raise ServerError(
                f"{self._base} answered more than {MOST_BYTES >> 20} MiB; are the recording rules loaded?"
            )
        try:
            body = json.loads(answer.content)
            if body["status"] != "success" or body["data"]["resultType"] != "vector":
                raise ServerError(f"{self._base} answered {body.get('error') or 'no vector'!s}")
            return [p for item in body["data"]["result"] if (p := _point(item)) is not None]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServerError(
                f"{self._base} does not speak the Prometheus query API ({type(error).__name__})"
            ) from None


def _point(item: Any) -> Point | None:
    value = float(item["value"][1])
    return Point(dict(item["metric"]), value) if math.isfinite(value) else None
