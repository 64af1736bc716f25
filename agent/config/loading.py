"""Reading the configuration: TOML < environment < flags."""

from __future__ import annotations

import dataclasses
import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.config.settings import Config
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.keys import Flag, build, from_text, keys, value
from wattshed.agent.inputs.toml import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = Path("/etc/wattshed/config.toml")
PREFIX = "WATTSHED_"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, the file it came from (None: there is none), and what should be said about it."""

    config: Config
    path: Path | None
    warnings: tuple[str, ...] = ()


def load(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None, *, keeps: bool = True
) -> Loaded:
    """Read file, environment and flags, each over the one before.

    Parameters
    ----------
    path : Path or None
        The file that the user named. None: ``$WATTSHED_CONFIG``, else /etc/wattshed/config.toml where it exists.
    environ : mapping
        ``WATTSHED_<KEY>`` or ``WATTSHED_<TABLE>_<KEY>``; lists are separated by commas.
    flags : mapping of key -> value
        Dotted keys (``"log.level"``); None means that the flag was not given.
    keeps : bool
        Whether a place for files is needed. False leaves ``state_dir`` and ``cache_dir`` empty where nothing names one.

    Raises
    ------
    InputError
        Something is unknown, of the wrong type or out of range; names the file, line and column.
    """
    source = source_of(path, environ)
    file = Document(source, "name another with --config") if source else None
    config: Config = build(Config, file.tree, file) if file else Config()
    if file is not None and source is not None:
        _trust(config, file, source)
    known = {known: (spec, kind) for known, spec, kind in keys(Config)}
    variables = {PREFIX + "_".join(known_key).upper(): known_key for known_key in known}
    warnings = []
    for name in sorted(n for n in environ if n.startswith(PREFIX)):
        if name in variables:
            at = variables[name]
            config = _replaced(config, at, from_text(at, *known[at], environ[name], Flag(name)))
        elif name != PREFIX + "CONFIG" and (close := difflib.get_close_matches(name, variables, 1, 0.85)):
            # Not an error: Kubernetes itself puts WATTSHED_PORT=tcp://... there for a Service of that name.
            warnings.append(f"{name} is not a setting and is ignored; did you mean {close[0]}?")
    for dotted, given in (flags or {}).items():
        if given is not None:
            at = tuple(dotted.split("."))
            config = _replaced(config, at, value(at, *known[at], given, Flag(_FLAGS.get(dotted, f"--{dotted}"))))
    return Loaded(_with_folders(config, environ, keeps=keeps), source, tuple(warnings))


def _trust(config: Config, file: Document, source: Path) -> None:
    """Refuse a file that says whose work a server's is, unless it is root's or the agent's own user's."""
    for place, server in enumerate(config.work.server):
        if not server.url:
            file.fail(("work", "server", place), 'url is missing; write url = "http://127.0.0.1:8000"')
        if server.job and source.stat().st_uid not in {0, os.geteuid()}:
            file.fail(("work", "server", place, "job"), "only a file of root's may say whose work it is")


def source_of(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file that `load` would read; None where there is none to read."""
    named = path or (Path(environ[PREFIX + "CONFIG"]) if environ.get(PREFIX + "CONFIG") else None)
    return named or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)


_FLAGS = {"for_seconds": "--for", "web_config_file": "--web.config.file"}


def _replaced(tree: Any, at: tuple[str, ...], new: Any) -> Any:
    """Return the tree with one value replaced."""
    if len(at) > 1:
        new = _replaced(getattr(tree, at[0]), at[1:], new)
    return dataclasses.replace(tree, **{at[0]: new})


def _with_folders(config: Config, environ: Mapping[str, str], *, keeps: bool) -> Config:
    """Fill in the two folders: configured, else systemd's, else the user's own."""

    def folder(configured: str, systemd: str, xdg: str, below_home: str, key: str) -> str:
        if configured:
            return str(Path(configured).absolute())
        if given := environ.get(systemd):
            return given.split(":")[0]
        if Path(environ.get(xdg, "")).is_absolute():
            return str(Path(environ[xdg]) / "wattshed")
        if Path(environ.get("HOME", "")).is_absolute():
            return str(Path(environ["HOME"]) / below_home / "wattshed")
        if not keeps:
            return ""
        raise InputError(f"nowhere to keep files: neither {systemd}, {xdg} nor HOME is set; set {key}")

    return dataclasses.replace(
        config,
        state_dir=folder(config.state_dir, "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state", "state_dir"),
        cache_dir=folder(config.cache_dir, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache", "cache_dir"),
    )
