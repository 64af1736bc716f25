"""What a scheduler says of hosts, as the classes that an estimate needs: who does not answer is no random sample.

    busy      jobs run on it
    idle      on, and none does
    drained   on, and none may
    off       powered down: 0 W
    down      does not work, or starts or stops: between 0 and an idle host
    unknown   nobody says

Slurm's words are those of its `slurm.h` and data parsers. ``scontrol show nodes --json`` (23.02 and later) has a list
of them for each node (``["MIXED", "DRAIN"]``), ``sinfo --json`` one for each group of nodes; that of 22.05 has one word
in lower case and a list of flags. The text of ``scontrol show nodes`` (``State=MIXED+DRAIN``) is the same in all.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import read_bytes, read_table
from wattshed.agent.inputs.text import decoded
from wattshed.agent.inputs.toml import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

STATES = ("busy", "idle", "drained", "off", "down", "unknown")
SORTED = ("busy", "idle", "drained")
"""States in which a host that answers stands for others that do not."""

_SLURM = (
    ("off", ("POWERED_DOWN", "FUTURE")),
    ("down", ("DOWN", "NOT_RESPONDING", "ERROR", "POWERING_DOWN", "POWERING_UP", "REBOOT_ISSUED")),
    ("busy", ("ALLOCATED", "MIXED", "COMPLETING", "DRAINING", "FAILING")),
    ("down", ("FAIL",)),
    ("drained", ("DRAIN", "DRAINED", "INVALID_REG")),
    ("idle", ("IDLE", "RESERVED", "PLANNED", "MAINTENANCE", "BLOCKED")),
)
"""The first class of which a host has a word. A job that runs outweighs DRAIN and FAIL, which only keep others off."""

_MARKS = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "%": "POWERING_DOWN",
    "^": "REBOOT_ISSUED",
    "$": "MAINTENANCE",
    "-": "PLANNED",
    "!": "",
    "@": "",
}
"""What sinfo appends to a state. ``!`` and ``@`` mark what is only asked for."""

_SHORT = {
    "ALLOC": "ALLOCATED",
    "MIX": "MIXED",
    "COMP": "COMPLETING",
    "DRNG": "DRAINING",
    "RESV": "RESERVED",
    "PLND": "PLANNED",
    "MAINT": "MAINTENANCE",
    "FUTR": "FUTURE",
    "FAILG": "FAILING",
    "BOOT": "REBOOT_ISSUED",
    "POW_UP": "POWERING_UP",
    "POW_DN": "POWERED_DOWN",
    "UNK": "UNKNOWN",
}
"""sinfo's short forms."""


@dataclass(frozen=True, slots=True)
class HostState:
    """What is known of a host besides the power of its GPUs.

    Attributes
    ----------
    state : str
        One of `STATES`.
    stratum : str
        Empty: by the host's name.
    on : bool or None
        What its BMC says; None: it was not asked, or does not know.
    node_w : float or None, W
        Power of the whole node, as its BMC reads it.
    """

    state: str
    stratum: str = ""
    on: bool | None = None
    node_w: float | None = None


def class_of(words: Iterable[str]) -> str:
    """Class of a host by its own name, or by Slurm's words (``["IDLE", "DRAIN"]``, ``idle*``, ``MIXED+DRAIN``)."""
    found = {word for text in words for word in _words(text)}
    own = [state for state in STATES if state.upper() in found]
    by_slurm = (state for state, theirs in _SLURM if not found.isdisjoint(theirs))
    return next(by_slurm, own[0] if own else "unknown")


def _words(text: str) -> Iterator[str]:
    for part in text.upper().split("+"):
        word = part.strip()
        while word and (mark := _MARKS.get(word[-1])) is not None:
            word = word[:-1]
            yield mark
        yield _SHORT.get(word, word)


def is_known(text: str) -> bool:
    """Whether a word is a class or one of Slurm's."""
    known = {"UNKNOWN", "", *(s.upper() for s in STATES), *(w for _, words in _SLURM for w in words)}
    return all(word in known for word in _words(text))


def read_states(path: str) -> dict[str, HostState]:
    """Read what Slurm printed into a file (see `nodes_of`), or a table ``host,state[,stratum][,node_w]``.

    Raises
    ------
    InputError
        If it is neither.
    """
    text = decoded(read_bytes(path), path)
    if text.lstrip().startswith(("{", "NodeName=")):
        return nodes_of(text, path)
    states: dict[str, HostState] = {}
    for row in read_table(path, ("host", "state"), used=("host", "state", "stratum", "node_w")):
        name, state = row.name("host"), row.name("state")
        if name in states:
            raise row.error("host", f"{name!r} appears twice; give each host one row")
        if not is_known(state):
            hint = meant(state, STATES)
            raise row.error("state", f"{state!r} is no state{hint}; one of {', '.join(STATES)}, or Slurm's")
        watts = row.number("node_w", least=0.0) if row.text("node_w") else None
        states[name] = HostState(class_of([state]), row.text("stratum"), node_w=watts)
    return states


def nodes_of(text: str, source: str) -> dict[str, HostState]:
    """Read the nodes that ``scontrol show nodes`` or ``sinfo`` printed, as JSON or (scontrol) as text.

    Raises
    ------
    InputError
        If it is something else, or Slurm's own error.
    """
    words: Iterable[tuple[str, Iterable[str]]]
    try:
        words = _of_document(json.loads(text)) if text.lstrip().startswith("{") else _of_text(text)
        states = {name: HostState(class_of(theirs)) for name, theirs in words}
    except ValueError:
        raise InputError("is not JSON as Slurm prints it", source) from None
    except (KeyError, TypeError, AttributeError, IndexError):
        raise InputError("has no list of nodes with their names and states, as Slurm prints it", source) from None
    except SlurmError as error:
        raise InputError(f"holds Slurm's error: {error}", source) from None
    if not states:
        raise InputError("holds no node", source)
    return states


class SlurmError(Exception):
    """Slurm answered with an error."""


def _of_document(document: Mapping[str, Any]) -> Iterator[tuple[str, Iterable[str]]]:
    if errors := document.get("errors"):
        first = errors[0]
        raise SlurmError(
            "".join(c if c.isprintable() else " " for c in str(first.get("description") or first["error"]))
        )
    for node in document.get("nodes") or ():
        yield node["name"], [*_listed(node["state"]), *_listed(node.get("state_flags"))]
    for group in document.get("sinfo") or ():
        for name in group["nodes"]["nodes"]:
            yield name, _listed(group["node"]["state"])


def _listed(found: str | list[str] | None) -> list[str]:
    return [found] if isinstance(found, str) else found or []


def _of_text(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    name = ""
    for key, value in re.findall(r"(?:^|\s)(NodeName|State)=(\S+)", text):
        if key == "NodeName":
            name = value
        elif name:
            yield name, [value]
            name = ""


def host_names(host: str) -> tuple[str, ...]:
    """Names under which a host may be known elsewhere: as written, without the port, without the domain."""
    if ":" not in host and "." not in host:
        return (host,)
    before, _, port = host.rpartition(":")
    bare = (before if before and port.isdecimal() else host).strip("[]")
    plain = bare if bare.replace(".", "").isdecimal() or ":" in bare else bare.partition(".")[0]
    return tuple(dict.fromkeys((host, bare, plain)))


class HostIndex:
    """Finds hosts by any of their names; a short name that two hosts share finds neither.

    Parameters
    ----------
    hosts : iterable of str
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._of: dict[str, str | None] = {}
        written = list(hosts)
        for host in written:
            for name in host_names(host)[1:]:
                self._of[name] = None if self._of.get(name, host) != host else host
        self._of.update((host, host) for host in written)

    def find(self, host: str) -> str | None:
        """Name of the host as it was given, or None."""
        return self._of.get(host) or next((found for name in host_names(host) if (found := self._of.get(name))), None)
