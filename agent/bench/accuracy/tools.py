"""What measures a job's joules: the protocol that a tool keeps to, and where tools are found.

A tool is one class (docs/decisions/1023-an-accuracy-benchmark-for-others.md): it is made five seconds before a job,
told when the job begins and ends, and asked for its joules. It may be written for real time; in virtual time the names
``time``, ``threading`` and ``multiprocessing`` of its own file mean other modules, and so do those that ``clocks``
names in the modules that it uses.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import threading
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wattshed.agent.bench.accuracy import peers
from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

GROUP = "wattshed.accuracy_tools"
"""Entry points of this group are tools of installed packages."""
OWN = "wattshed"
_STANDARD = {"time": time, "threading": threading, "multiprocessing": multiprocessing}


class Tool(Protocol):
    """One measurement of one job.

    A class of tools may also have the attributes ``name`` (else the class's), ``package`` (the distribution whose
    version is told) and ``clocks`` (see :func:`put_in_virtual_time`), and the method ``sigma()``: joules, one standard
    deviation.
    """

    def __init__(self, gpus: tuple[int, ...]) -> None:
        """Get ready for a job on these GPUs, by NVML's numbers."""

    def begin(self) -> None:
        """Begin: the job does."""

    def end(self) -> None:
        """End: the job does."""

    def joules(self) -> float:
        """Return what the job used, in J; an error means that there is no answer."""


@dataclass(frozen=True, slots=True)
class ToolName:
    """A tool that can be had, as it is told to the process in which it runs.

    Attributes
    ----------
    name : str
        As it stands in tables.
    source : str
        ``wattshed``, ``peer``, an entry point's name, or a file.
    version : str
        Empty: unknown.
    """

    name: str
    source: str
    version: str = ""


def installed() -> tuple[list[ToolName], list[str]]:
    """Return the tools that are here (wattshed first), and the names of the peers that are not."""
    found, absent = [ToolName(OWN, OWN, _version(OWN))], []
    for kind in peers.PEERS:
        if number := _version(kind.package):
            found.append(ToolName(kind.name, "peer", number))
        else:
            absent.append(kind.name)
    found += [_named(_loaded(entry.name), entry.name) for entry in entry_points(group=GROUP)]
    return found, absent


def of_file(path: Path) -> list[ToolName]:
    """Return the tools of a Python file.

    Raises
    ------
    InputError
        It cannot be run, or has no tool.
    """
    return [_named(kind, str(path)) for kind in _of_module(_run(path), path)]


def kind_of(tool: ToolName) -> type[Tool]:
    """Return the class of a tool, other than wattshed; its file is run, and its package is imported."""
    if tool.source == "peer":
        return next(kind for kind in peers.PEERS if kind.name == tool.name)
    if tool.source.endswith(".py"):
        path = Path(tool.source)
        return next(kind for kind in _of_module(_run(path), path) if _name(kind) == tool.name)
    return _loaded(tool.source)


def put_in_virtual_time(kind: type[Tool], stand_ins: Mapping[str, Any]) -> None:
    """Let a tool's code, and that of its ``clocks``, see virtual time.

    Parameters
    ----------
    kind : type
        Its ``clocks`` maps ``module:attribute`` to what stands there instead: ``time``, ``threading``,
        ``multiprocessing``, one of their names (``time.sleep``), or ``loop.time`` for the clock of a loop that polls
        without ever sleeping. A class that the module itself defines stays, and gets that parent.
    stand_ins : mapping
        See :func:`wattshed.agent.bench.accuracy.virtual_time.modules`.
    """
    own: dict[str, Any] = kind.begin.__globals__
    for name, standard in _STANDARD.items():
        if own.get(name) is standard or isinstance(own.get(name), type(stand_ins[name])):
            own[name] = stand_ins[name]
    for place, what in getattr(kind, "clocks", {}).items():
        module, _, attribute = place.partition(":")
        holder = importlib.import_module(module)
        instead: Any = stand_ins[what.partition(".")[0]]
        if "." in what:
            instead = getattr(instead, what.partition(".")[2])
        before = getattr(holder, attribute)
        if isinstance(before, type) and before.__module__ == module:
            before.__bases__ = (instead,)
        else:
            setattr(holder, attribute, instead)


def imported(kind: type[Tool]) -> None:
    """Import what a tool uses, as far as its ``clocks`` name it: before the processes of its scenarios are forked."""
    for place in getattr(kind, "clocks", {}):
        importlib.import_module(place.partition(":")[0])


_FILE = "a_tool_of_a_file"


def _run(path: Path) -> ModuleType:
    """Run a user's file; they asked for it by name."""
    about = importlib.util.spec_from_file_location(_FILE, path)
    if about is None or about.loader is None or not path.is_file():
        raise InputError("is not a Python file", str(path))
    module = importlib.util.module_from_spec(about)
    try:
        about.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - it may do anything
        raise InputError(f"does not run: {type(error).__name__}: {error}", str(path)) from None
    return module


def _of_module(module: ModuleType, path: Path) -> list[type[Tool]]:
    found = [
        kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and not name.startswith("_") and _keeps(kind)
    ]
    if not found:
        raise InputError("has no class with begin(), end() and joules()", str(path))
    return found


def _keeps(kind: type) -> bool:
    return all(callable(getattr(kind, name, None)) for name in ("begin", "end", "joules"))


def _loaded(name: str) -> type[Tool]:
    (entry,) = entry_points(group=GROUP, name=name)
    kind: type[Tool] = entry.load()
    if not _keeps(kind):
        raise InputError(f"the entry point {name} of {GROUP} has no begin(), end() and joules()")
    return kind


def _named(kind: type[Tool], source: str) -> ToolName:
    return ToolName(_name(kind), source, _version(getattr(kind, "package", "")))


def _name(kind: type[Tool]) -> str:
    return str(getattr(kind, "name", kind.__name__))


def _version(package: str) -> str:
    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return ""


def doubled(tools: Iterable[ToolName]) -> str:
    """Return a name that two tools have; empty: there is none."""
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            return tool.name
        seen.add(tool.name)
    return ""
