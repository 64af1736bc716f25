"""Names of nodes as Slurm writes them, and which of them this host is."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_NAMES = 1 << 17
_COMMA = re.compile(r",(?![^\[]*\])")
_PIECE = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def expand(text: str) -> list[str]:
    """Read a host list: ``n[1-3,05],gpu7``, ``r[0-1]n[0-3]``; in its own order, which is that of ``gres_detail``.

    What cannot be read, or has more than 131,072 names, is empty: nothing is known of it.
    """
    names: list[str] = []
    for item in _COMMA.split(text.strip()):
        for name in itertools.islice(_names(item.strip()), _MOST_NAMES):
            names.append(name)
            if len(names) >= _MOST_NAMES:
                return []
    return names


def same(one: str, other: str) -> bool:
    """Return whether two names are one node's: whatever their case, and one of them may be with its domain."""
    one, other = one.casefold(), other.casefold()
    if one == other:
        return bool(one)
    short = {one.partition(".")[0], other.partition(".")[0]}
    return len(short) == 1 and ("." in one) != ("." in other) and "" not in short


def place(node: str, nodes: Sequence[str]) -> int | None:
    """Return where in the list a node stands; None if it does not, or more than once."""
    exact = [i for i, name in enumerate(nodes) if name == node]
    found = exact or [i for i, name in enumerate(nodes) if same(node, name)]
    return found[0] if len(found) == 1 else None


def named(text: str, node: str) -> str:
    """Return the NodeName that ``scontrol -o show node`` gives this node; empty if it does not list it, or several."""
    found = {field["NodeName"] for field in _fields(text) if same(field.get("NodeName", ""), node)}
    return found.pop() if len(found) == 1 else ""


def on_host(text: str, host: str) -> set[str]:
    """Return the NodeNames that ``scontrol -o show node`` puts on this host."""
    return {
        field["NodeName"]
        for field in _fields(text)
        if any(same(field.get(name, ""), host) for name in ("NodeHostName", "NodeAddr"))
    }


def _fields(text: str) -> Iterator[dict[str, str]]:
    for line in text.split("\n"):
        fields = dict(re.findall(r"(?:^|\s)(NodeName|NodeHostName|NodeAddr)=(\S+)", line))
        if "NodeName" in fields:
            yield fields


def _names(item: str) -> Iterator[str]:
    pieces = list(_PIECE.finditer(item))
    if "".join(piece[0] for piece in pieces) != item or not item:
        return
    choices = [[piece[2]] if piece[2] else _choices(piece[1]) for piece in pieces]
    for parts in itertools.product(*choices):
        yield "".join(parts)


def _choices(text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        bounds = _RANGE.fullmatch(part.strip())
        if bounds is None:
            return []
        first, last = bounds[1], bounds[2] or bounds[1]
        if int(last) - int(first) + len(found) >= _MOST_NAMES:
            return []
        # The width of the first is the width of all: 08-11 is 08, 09, 10, 11.
        found.extend(str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return found
