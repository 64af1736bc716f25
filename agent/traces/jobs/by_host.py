"""The rows of a jobs file by the host that they are of."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.traces.jobs.jobs_file import JobRow


class JobsByHost:
    """Finds the rows of a host, whatever it is called: ``n1`` is ``N1`` and ``n1.cluster``, but no ``n1.other``.

    Parameters
    ----------
    rows : sequence of JobRow
    """

    def __init__(self, rows: Sequence[JobRow]) -> None:
        self.hosts = {row.host for row in rows if row.host}
        self._short: dict[str, list[JobRow]] = defaultdict(list)
        for row in rows:
            self._short[_short(row.host)].append(row)
        self._all = rows

    def of(self, host: str) -> list[JobRow]:
        """Return the host's rows; a trace that does not know its host is that of the only one the jobs file names."""
        if not host:
            return [row for row in self._all if not row.host or len(self.hosts) == 1]
        found = [row for row in self._short.get(_short(host), ()) if _same(row.host, host)]
        return [*self._short.get("", ()), *found]


def _short(host: str) -> str:
    return host.partition(".")[0].lower()


def _same(wanted: str, host: str) -> bool:
    return bool(wanted) and (wanted.lower() == host.lower() or ("." in wanted) != ("." in host))
