"""Which format and which encoding a client wants: Accept and Accept-Encoding (RFC 9110, 12.4.2, 12.5)."""

from __future__ import annotations


def qualities(header: str) -> list[tuple[str, dict[str, str], float]]:
    """Split an Accept-like header into (value, parameters, q); parts that cannot be read are left out.

    Parameters
    ----------
    header : str
        Such as ``text/plain;version=0.0.4;q=0.3, */*;q=0.1``.
    """
    found = []
    for part in header.split(","):
        value, *rest = (piece.strip() for piece in part.split(";"))
        pairs = (piece.partition("=") for piece in rest)
        parameters = {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if value and 0 <= quality <= 1:
            found.append((value.lower(), parameters, quality))
    return found


def wants_openmetrics(accept: str) -> bool:
    """Say if the client prefers OpenMetrics 1.0 to the text format 0.0.4; in doubt it gets the latter."""
    text = openmetrics = 0.0
    for value, parameters, quality in qualities(accept):
        version = parameters.get("version")
        if value == "application/openmetrics-text" and version in (None, "1.0.0"):
            openmetrics = max(openmetrics, quality)
        elif value in ("text/plain", "text/*", "*/*") and version in (None, "0.0.4"):
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


def wants_gzip(accept_encoding: str) -> bool:
    """Say if the client takes gzip; an explicit ``gzip;q=0`` beats ``*``."""
    accepted = {value: quality for value, _, quality in qualities(accept_encoding)}
    return accepted.get("gzip", accepted.get("x-gzip", accepted.get("*", 0.0))) > 0
