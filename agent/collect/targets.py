"""Who is asked: agents by address, and lists of them in files and from servers, read again and again.

The lists are Prometheus': a list of ``{"targets": [...], "labels": {...}}``, in YAML or JSON. A list that cannot be
read leaves in force what it said last, as there (prometheus.io/docs/prometheus/latest/http_sd).
"""

from __future__ import annotations

import glob
import json
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.collect.config import EXAMPLE
from wattshed.agent.errors import InputError
from wattshed.agent.wire.agents import DocumentServer
from wattshed.agent.wire.http import Address, Client, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wattshed.agent.collect.config import TargetGroup
    from wattshed.agent.errors import Faults
    from wattshed.agent.wire.credentials import Credentials

MOST_TARGETS = 100_000
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """One agent.

    Attributes
    ----------
    server : DocumentServer
    cluster : str
        Of its jobs; empty: what their own label says.
    """

    server: DocumentServer
    cluster: str = ""

    @property
    def address(self) -> str:
        """Where it is, without what opens it."""
        return self.server.address.url


class Targets:
    """All agents that are to be asked.

    Parameters
    ----------
    groups : sequence of TargetGroup
    faults : Faults
    timeout_s : float, s
        For a server that lists targets.
    """

    def __init__(self, groups: Sequence[TargetGroup], faults: Faults, timeout_s: float) -> None:
        self._groups, self._faults, self._timeout_s = groups, faults, timeout_s
        self._last: dict[tuple[int, str], list[Target]] = {}

    def now(self) -> list[Target]:
        """Read all lists; each address is there once, as it is named first."""
        found: dict[str, Target] = {}
        for place, group in enumerate(self._groups):
            for target in self._of_group(place, group):
                found.setdefault(target.address, target)
        return list(found.values())

    def _of_group(self, place: int, group: TargetGroup) -> Iterable[Target]:
        for url in group.urls:
            yield _target(url, group, group.cluster)
        for pattern in group.file_sd:
            names = sorted(glob.glob(pattern)) or [pattern]  # noqa: PTH207 - a pattern may begin anywhere
            for name in names:
                yield from self._listed(place, name, group, in_file=True)
        for url in group.http_sd:
            yield from self._listed(place, url, group, in_file=False)
        for name in group.dns:
            yield from self._resolved(place, name, group)

    def _resolved(self, place: int, name: str, group: TargetGroup) -> list[Target]:
        host, _, port = name.partition(":")
        try:
            found = sorted({info[4][0] for info in socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)})
            self._last[place, name] = [
                _target(f"{group.scheme}://{f'[{one}]' if ':' in str(one) else one}:{port}", group, group.cluster)
                for one in found
            ]
        except (OSError, UnicodeError, InputError) as error:
            self._faults.note("targets", f"{name}: {error}", "keeping its last known addresses")
        return self._last.get((place, name), [])

    def _listed(self, place: int, source: str, group: TargetGroup, *, in_file: bool) -> list[Target]:
        shown = source if in_file else Address.parse(source, "http_sd", EXAMPLE).url
        try:
            content = Path(source).read_bytes() if in_file else self._fetched(source, group.credentials)
            self._last[place, source] = list(_read(content, group, yaml=in_file))
        except (OSError, ValueError, InputError, NoAnswerError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            then = "keeping its last list of targets" if (place, source) in self._last else "it lists no targets"
            self._faults.note("targets", f"{shown}: {why}", then)
        return self._last.get((place, source), [])

    def _fetched(self, url: str, credentials: Credentials) -> bytes:
        address = Address.parse(url, "http_sd", EXAMPLE)
        with closing(Client(address, timeout_s=self._timeout_s, credentials=credentials)) as client:
            answer = client.get(most_bytes=_MOST_BYTES)
        if answer.status != 200:
            raise ValueError(str(answer))
        return answer.content


def _read(content: bytes, group: TargetGroup, *, yaml: bool) -> Iterable[Target]:
    """Read a list of targets.

    Raises
    ------
    ValueError, InputError
        If it is none; nothing of it counts then.
    """
    listed = _parsed(content, yaml=yaml)
    if not isinstance(listed, list):
        raise ValueError("is not a list of targets")  # noqa: TRY004 - what is wrong is the file
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("targets"), list):
            raise ValueError(  # noqa: TRY004
                'is not a list of {"targets": [...], "labels": {...}}'
            )
        labels = entry.get("labels") or {}
        if not isinstance(labels, dict):
            raise ValueError("has labels that are not a mapping")  # noqa: TRY004
        scheme = str(labels.get("__scheme__", group.scheme))
        cluster = str(labels.get("cluster", "") or group.cluster)
        for name in entry["targets"]:
            if not isinstance(name, str):
                raise ValueError(f"has a target that is not a string: {name!r}")  # noqa: TRY004
            yield _target(name if "://" in name else f"{scheme}://{name}", group, cluster)


def _parsed(content: bytes, *, yaml: bool) -> Any:
    if not yaml:
        try:
            return json.loads(content)
        except RecursionError:
            raise ValueError("is nested too deeply") from None
    from yaml import YAMLError, safe_load  # noqa: PLC0415 - many sites list no file

    try:
        return safe_load(content)
    except (YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def _target(url: str, group: TargetGroup, cluster: str) -> Target:
    return Target(DocumentServer(Address.parse(url, "a target", EXAMPLE), group.credentials), cluster)
