"""The command line: the one place where a command, its configuration and its parts meet."""

from __future__ import annotations

import argparse
import errno
import gc
import io
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.printing.one_line import OneLineParser

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence
    from typing import Any, NoReturn

    from _typeshed import ReadableBuffer

    from wattshed.agent.config.node_settings import NodeSettings
    from wattshed.agent.config.settings import Config
    from wattshed.agent.traces.opening import OpenedTrace
    from wattshed.agent.traces.options import Options

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

DESCRIPTION = "Measures GPU power and attributes every joule to the job that used it."
EXAMPLES = """examples:
  wattshed run                               show it at http://127.0.0.1:9961/
  wattshed run --meter simulated --for 20    try it on a machine without a GPU
  wattshed check                             what can this host measure?
  wattshed jobs --since 7d                   what did last week's jobs use?
  wattshed report --by user --since 30d      what did each user use?
  wattshed replay power.csv --jobs jobs.csv  joules per job from a recorded log
  wattshed fleet scenario xai-memphis        what a public claim amounts to
"""
_RUN_EXAMPLES = """examples:
  wattshed run                             show it at http://127.0.0.1:9961/
  wattshed run --listen 0.0.0.0:9961       to Prometheus on another host, too
  wattshed run --meter simulated --for 20  try it without a GPU, for 20 s
"""
_RECORD_EXAMPLES = """examples:
  wattshed record trace --for 3600         an hour of this host
  wattshed record trace --meter simulated --for 20
      try it without a GPU
  wattshed replay trace                    the joules of it, see replay
"""
_FORMS = ("", "auto", "so", "objects", "numba", "off", "cpu", "0", "no", "false")
_ENDED_BY = 128  # plus the signal's number: the exit code by which shells report it


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print it and end."""
        sys.stdout.write(f"wattshed {own_version()}\n")
        parser.exit(0)


def parser(only: str = "") -> argparse.ArgumentParser:
    """Build the command line; what a command needs is imported when it runs, and its flags' room when it is named.

    Parameters
    ----------
    only : str
        The command that was given; where there is none of this name, all of them are told.
    """
    top_level: argparse.ArgumentParser = OneLineParser(
        prog="wattshed",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    top_level.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    commands = top_level.add_subparsers(title="commands", metavar="COMMAND")
    for add in [_COMMANDS[only]] if only in _COMMANDS else dict.fromkeys(_COMMANDS.values()):
        add(commands)
    return top_level


def _add_run(commands: Subparsers) -> None:
    run = commands.add_parser(
        "run",
        help="meter this host and publish the result",
        description="Meter this host, attribute every joule to its job, and publish the result as Prometheus metrics.",
        epilog=_RUN_EXAMPLES,
    )
    _add_metering_flags(run)
    run.add_argument(
        "--listen",
        metavar="ADDR:PORT",
        action="append",
        help="serve at this address (repeatable); default 127.0.0.1:9961",
    )
    run.add_argument(
        "--web.config.file",
        dest="web_config_file",
        metavar="F",
        help="TLS and users, in the format of other Prometheus exporters",
    )
    run.add_argument("--record", metavar="DIR", help="also record every window to this folder")
    run.set_defaults(run=_run)


def _add_record(commands: Subparsers) -> None:
    record = commands.add_parser(
        "record",
        help="meter this host into a recording, without publishing",
        description="Meter this host into a recording, without publishing anything.",
        epilog=_RECORD_EXAMPLES,
    )
    record.add_argument("record", metavar="DIR", help="the folder to record to")
    _add_metering_flags(record)
    record.set_defaults(run=_record)


def _add_collect(commands: Subparsers) -> None:
    from wattshed.agent.commands import collect

    collect.add_parser(commands, version=own_version())


def _add_fleet(commands: Subparsers) -> None:
    from wattshed.agent.commands import fleet

    fleet.add_parser(commands, open_trace=_open_trace)


def _add_warm(commands: Subparsers) -> None:
    from wattshed.agent.commands import warm

    warm.add_parser(commands, configure=_configure_kernels)


def _add_check(commands: Subparsers) -> None:
    from wattshed.agent.commands import check

    check.add_parser(commands, configure=_configure_kernels)


def _add_completion(commands: Subparsers) -> None:
    from wattshed.agent.commands import completion

    completion.add_parser(commands, parser=parser)


def _of(module: str) -> Callable[[Subparsers], None]:
    """Return what adds the commands of a module, which is imported then."""

    def add(commands: Subparsers) -> None:
        import_module(f"wattshed.agent.commands.{module}").add_parser(commands)

    return add


_HISTORY, _RELEASE = _of("history"), _of("release")
_COMMANDS: dict[str, Callable[[Subparsers], None]] = {
    "run": _add_run,
    "record": _add_record,
    "replay": _of("replay"),
    "jobs": _HISTORY,
    "job": _HISTORY,
    "report": _of("report"),
    "collect": _add_collect,
    "convert": _of("convert"),
    "fleet": _add_fleet,
    "check": _add_check,
    "bench": _of("bench"),
    "warm": _add_warm,
    "measure": _of("measure"),
    "config": _of("config"),
    "dashboards": _of("dashboards"),
    "work": _of("work"),
    "release": _RELEASE,
    "resume": _RELEASE,
    "meters": _of("meters"),
    "top": _of("top"),
    "completion": _add_completion,
}


def own_version() -> str:
    """Return the installed version, or what replaces it in a checkout that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("wattshed")
    except PackageNotFoundError:
        return "0+checkout"


def _add_metering_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", metavar="F", type=Path, help="configuration file (default /etc/wattshed/config.toml)"
    )
    command.add_argument(
        "--meter",
        metavar="M",
        help="nvml (default: waits for the driver), auto (nvml, else simulated), simulated, simulated:FILE, or a "
        "recorded trace to play back",
    )
    command.add_argument(
        "--for", dest="for_seconds", metavar="SECONDS", type=float, help="stop so long after it is ready"
    )


def _loader(arguments: argparse.Namespace) -> Callable[[], Config]:
    """Return what reads the configuration, now and on SIGHUP: file, environment, these flags."""
    from wattshed.agent.config.loading import load

    names = ("meter", "for_seconds", "listen", "web_config_file", "record")
    flags = {name: getattr(arguments, name, None) for name in names}
    if flags["listen"] is not None:
        flags["listen"] = tuple(flags["listen"])

    def read() -> Config:
        loaded = load(arguments.config, os.environ, flags)
        for warning in loaded.warnings:
            print(f"wattshed: {warning}", file=sys.stderr)
        return loaded.config

    return read


def _run(arguments: argparse.Namespace) -> int:
    return _meter(arguments, exporters=True)


def _record(arguments: argparse.Namespace) -> int:
    """Meter this host into a recording, without publishing anything."""
    return _meter(arguments, exporters=False)


def _meter(arguments: argparse.Namespace, *, exporters: bool) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _nothing_began)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # nothing has been read yet that could be read again, or let go of
    from wattshed.agent.daemon.assembly import serve

    read = _loader(arguments)
    return serve(read(), own_version(), exporters=exporters, reload=read)


def _nothing_began(_number: int, _frame: object) -> NoReturn:
    """Exit with 0: a process that is stopped while it is still loading has done what it was told."""
    sys.exit(0)


def _open_trace(paths: Sequence[str], options: Options) -> OpenedTrace:
    """Open any trace that is recognised, for commands of packages that do not know the readers."""
    from wattshed.agent.traces.opening import OpenedTrace

    return OpenedTrace(paths, options)


class _AnswerLostError(Exception):
    """Standard output takes no more; not an `OSError`, so that it is not mistaken for trouble with a file."""


class _Answer(io.FileIO):
    """Standard output, unbuffered."""

    def write(self, data: ReadableBuffer) -> int:
        """Write, or say that it was standard output that failed."""
        try:
            return super().write(data)
        except OSError as error:
            raise _AnswerLostError(error.errno) from error


def _own_streams() -> None:
    """Make standard output report its own faults, and keep a closed one (``>&-``) from becoming another file."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number, this one; writing there still fails
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    if sys.stdout is sys.__stdout__:
        encoding, errors = ("utf-8", "strict") if sys.stdout is None else (sys.stdout.encoding, sys.stdout.errors)
        if errors == "strict":
            errors = "backslashreplace"  # a terminal without a plus-minus shows the figures all the same
        raw = _Answer(1, "w", closefd=False)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty())


def _kernels(environ: MutableMapping[str, str]) -> None:
    """Have every command look for compiled kernels where `run` does, in a form that there is."""
    if (form := environ.get("WATTSHED_JIT", "")).strip().lower() not in _FORMS:
        raise InputError(f"WATTSHED_JIT: must be one of auto, so, objects, numba, off, not {form!r}")
    if folder := environ.get("WATTSHED_CACHE_DIR"):
        environ.setdefault("NUMBA_CACHE_DIR", str(Path(folder).absolute()))


def _configure_kernels(path: Path | None) -> NodeSettings:
    """Have kernels run, and be looked for, as `run` does with a configuration; without one the environment says.

    Also returns what is configured of the host's own meters.
    """
    from wattshed.agent.config.loading import load, source_of

    config = load(path, os.environ, keeps=False).config
    if source_of(path, os.environ) is not None:
        os.environ["WATTSHED_JIT"] = config.jit
        if config.cache_dir:
            os.environ.setdefault("NUMBA_CACHE_DIR", config.cache_dir)
    return config.node


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code (0 done, 1 failed while running, 2 bad usage or input)."""
    _own_streams()
    try:
        try:
            given = sys.argv[1:] if argv is None else argv
            arguments = parser(given[0] if given else "").parse_args(given)
            if "run" not in arguments:  # no command: the shortest help there is
                print(f"{DESCRIPTION}\n\n{EXAMPLES}\nall commands: wattshed --help", file=sys.stderr)
                return 2
            _kernels(os.environ)
            return int(arguments.run(arguments))
        finally:
            if argv is not None:  # a process that goes on
                gc.unfreeze()
            sys.stdout.flush()  # here its failure can still be reported in one line
    except InputError as error:
        print(f"wattshed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("wattshed: interrupted", file=sys.stderr)
        return _ENDED_BY + signal.SIGINT
    except _AnswerLostError as lost:
        # What is still in the buffer goes nowhere; do not let the interpreter complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        (number,) = lost.args
        if number == errno.EPIPE:  # the reader (head, less) has seen enough
            return _ENDED_BY + signal.SIGPIPE
        why = "is closed" if number == errno.EBADF else f"cannot be written ({os.strerror(number)})"
        print(f"wattshed: standard output {why}; the output is lost", file=sys.stderr)
        return 1
    except OSError as error:  # a folder that may not be entered, a server that is gone
        print(f"wattshed: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
