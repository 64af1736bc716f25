"""The query API that Prometheus, Thanos, Mimir and VictoriaMetrics share: one instant query, with a deadline.

Nothing but the standard library; a server that is down, slow or wrong is a `ServerError` of one line, for the caller
to tell.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit, urlunsplit
from urllib.request import Request, build_opener

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 256 * 2**20
"""An answer beyond this is no answer to a recording rule."""


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
        Its base, with any path prefix (``https://mimir.example/prometheus``); ``user:password@`` is sent as basic
        authentication.
    timeout_s : float, s
        For connecting, and for each read.

    Raises
    ------
    InputError
        If it is no http(s) URL.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is no server; give a URL such as http://localhost:9090")
        self._headers = {"Accept": "application/json", **(headers or {})}
        if parts.username is not None:
            pair = f"{parts.username}:{parts.password or ''}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        self._base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        self._timeout_s = timeout_s
        self._opener = build_opener()

    @property
    def url(self) -> str:
        """Base URL without credentials."""
        return self._base

    def query(self, expression: str, *, time_s: float | None = None) -> list[Point]:
        """Instant vector of an expression; series whose value is no number are left out.

        Raises
        ------
        ServerError
            If there is no usable answer in time.
        """
        form = {"query": expression} | ({} if time_s is None else {"time": f"{time_s:.3f}"})
        request = Request(  # noqa: S310  (the scheme was checked)
            f"{self._base}/api/v1/query", data=urlencode(form).encode(), headers=self._headers, method="POST"
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                content = answer.read(MOST_BYTES + 1)
        except HTTPError as error:
            raise ServerError(f"{self._base} answered {error.code} ({_reason(error)})") from None
        except (URLError, OSError, HTTPException) as error:
            raise ServerError(f"{self._base} does not answer ({getattr(error, 'reason', None) or error})") from None
        if len(content) > MOST_BYTES:
            raise ServerError(
                f"{self._base} answered more than {MOST_BYTES >> 20} MiB; are the recording rules loaded?"
            )
        try:
            body = json.loads(content)
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


def _reason(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(65_536))["error"]).splitlines()[0]
    except (ValueError, KeyError, TypeError, OSError, HTTPException, IndexError):
        return str(error.reason)
