"""``wattshed config``: print a commented example, check a file, print the reference page."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

_TABLES_LAST = ("idle_watts", "calibration")
_REPEATED = ("work", "server")
_HOST_METER = ("node", "meter")
_EXAMPLE_METER = "rapl/package-0"
_EXAMPLE_UUID = "GPU-00000000-0000-0000-0000-000000000000"


_PURPOSES: dict[tuple[str, ...] | None, str] = {
    _REPEATED: "Once for each server.",
    _HOST_METER: 'One meter of the host, by its name in `wattshed check`: `[node.meter."rapl/package-0"]`.',
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``wattshed config`` to the command line."""
    parser = subparsers.add_parser(
        "config",
        help="print or check a configuration",
        description="Print a commented example, check a file, or print the reference page.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--example", action="store_true", help="print a commented file with every key at its default")
    what.add_argument(
        "--check", metavar="FILE", type=Path, help="say what is wrong with FILE, and exit with 2 if anything is"
    )
    what.add_argument("--markdown", action="store_true", help="print the reference page (docs/configuration.md)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the example or the reference, or check a file.

    Raises
    ------
    InputError
        The checked file cannot be used.
    """
    from wattshed.agent.config.loading import load  # noqa: PLC0415  (cheap to parse the command line)

    if arguments.check is not None:
        # The file alone: what the environment of this shell says does not make a file right or wrong.
        load(arguments.check, {"HOME": "/"})
        sys.stdout.write(f"{arguments.check}: good\n")
    else:
        sys.stdout.write(example() if arguments.example else markdown())
    return 0


def _literal(value: Any) -> str:
    """Write a value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(str(part) if isinstance(part, int) else _literal(part) for part in value)}]"
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:_}" if isinstance(value, int) else f"{value:g}" if value % 1 else f"{value:.1f}"


def _bounds(meta: Mapping[str, Any]) -> str:
    """Say what a value may be, besides its type."""
    if meta["choices"]:
        return " | ".join(f'"{choice}"' for choice in meta["choices"])
    if meta["high"] is not None:
        return f"{meta['low']:,} to {meta['high']:,}"
    return f"at least {meta['low']}" if meta["low"] is not None else ""


def _facts(meta: Mapping[str, Any]) -> str:
    """Say in which unit a value is, and what it may be."""
    unit = "" if meta["unit"] in ("", "1") else meta["unit"]
    return ", ".join(fact for fact in (unit, _bounds(meta)) if fact)


def _comment(text: str, facts: str = "") -> Iterator[str]:
    """Text, unit and bounds as comment lines of at most 110 characters."""
    import textwrap  # noqa: PLC0415

    yield from textwrap.wrap(text + (f" ({facts})" if facts else ""), 110, initial_indent="# ", subsequent_indent="# ")


class Setting(NamedTuple):
    """A key as it is explained: texts, but for the table, which is the path to it."""

    table: tuple[str, ...]
    name: str
    default: str
    facts: str
    variable: str
    text: str


def settings() -> Iterator[Setting]:
    """Yield every key in the order of the file; last, without a variable, those of tables for one GPU or the like."""
    from wattshed.agent.config.loading import PREFIX  # noqa: PLC0415
    from wattshed.agent.config.node_settings import HostMeterSettings  # noqa: PLC0415
    from wattshed.agent.config.settings import Calibration, Config, ServerSettings  # noqa: PLC0415
    from wattshed.agent.inputs.keys import keys  # noqa: PLC0415

    more = [(("calibration", *path), spec, kind) for path, spec, kind in keys(Calibration)]
    more += [((*_REPEATED, *path), spec, kind) for path, spec, kind in keys(ServerSettings)]
    more += [((*_HOST_METER, *path), spec, kind) for path, spec, kind in keys(HostMeterSettings)]
    for path, spec, _ in [*keys(Config), *more]:
        variable = "" if path[:-1] in {("calibration",), _REPEATED, _HOST_METER} else PREFIX + "_".join(path).upper()
        texts = _literal(spec.default), _facts(spec.metadata), variable, spec.metadata["text"]
        yield Setting(path[:-1], path[-1], *texts)


def open_tables() -> dict[str, tuple[str, str]]:
    """Return, for each table whose keys are names of GPUs, what it is for, and unit and bounds."""
    from wattshed.agent.config.settings import Config  # noqa: PLC0415

    specs = [spec for spec in dataclasses.fields(Config) if spec.name in _TABLES_LAST]
    return {spec.name: (spec.metadata["text"], _facts(spec.metadata)) for spec in specs}


def example() -> str:
    """Return a whole configuration file, every key at its default, commented out.

    Uncommenting all of it changes nothing (a test holds it to that).
    """
    lines = [
        "# wattshed: /etc/wattshed/config.toml",
        "# Every key, at its default. Environment (WATTSHED_LOG_LEVEL=debug) and flags override this file.",
        "# Check it with: wattshed config --check FILE. Apply it with: systemctl reload wattshed",
        "",
    ]
    purposes = open_tables()
    table: tuple[str, ...] = ()
    for key in settings():
        of_one_gpu, repeated = key.table in {("calibration",), _HOST_METER}, key.table == _REPEATED
        if key.table != table:
            table = key.table
            if table == _HOST_METER:
                lines += ["", *_comment(_PURPOSES[table].partition(":")[0] + "."), f'# [node.meter."{_EXAMPLE_METER}"]']
            elif of_one_gpu:
                lines += [*_comment(*purposes["idle_watts"])]
                lines += ["[idle_watts]", '# "NVIDIA H100 80GB HBM3" = 70.0', ""]
                lines += [*_comment(*purposes["calibration"]), f'# [calibration."{_EXAMPLE_UUID}"]']
            elif repeated:
                lines += ["", "# An inference server whose page is read; once for each.", "# [[work.server]]"]
            else:
                lines += [f"[{'.'.join(table)}]"]
        default = '"http://127.0.0.1:8000"' if repeated and key.name == "url" else key.default
        lines += [*_comment(key.text, key.facts), f"# {key.name} = {default}"]
        lines += [] if of_one_gpu or repeated else [""]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """Return docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "Generated by `wattshed config --markdown`; a test compares. Flags go before the environment, the environment",
        "before the file: `--config FILE`, else `$WATTSHED_CONFIG`, else `/etc/wattshed/config.toml` where it exists.",
        "The file is TOML; `wattshed config --example` prints one with every key. An unknown key, a wrong type or a",
        "value out of range is one line that names file, line and column, exit code 2, and nothing is started.",
        "",
    ]
    purposes = open_tables()
    table: tuple[str, ...] | None = None
    for key in settings():
        if key.table != table:
            table = key.table
            if table == ("calibration",):
                lines += _idle_watts(purposes["idle_watts"][0])
            heading = f"## `[{'.'.join(table)}]`" if table else "## Top of the file"
            if table == _REPEATED:
                heading = "## `[[work.server]]`"
            lines += ["", heading, ""]
            purpose = _PURPOSES.get(table) or (purposes[table[0]][0] if table and table[0] in purposes else "")
            if purpose:
                lines += [_cell(purpose), "", "| key | default | unit, bounds | |", "|---|---|---|---|"]
            else:
                lines += ["| key | default | unit, bounds | environment | |", "|---|---|---|---|---|"]
        variable = f"`{key.variable}` | " if key.variable else ""
        lines.append(f"| `{key.name}` | `{key.default}` | {_cell(key.facts)} | {variable}{_cell(key.text)} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _idle_watts(purpose: str) -> list[str]:
    """Return the part of the page about the table of idle powers."""
    lines = ["", "## `[idle_watts]`", "", _cell(purpose), ""]
    return [*lines, "```toml", "[idle_watts]", '"NVIDIA H100 80GB HBM3" = 70.0', f'"{_EXAMPLE_UUID}" = 68.5', "```"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
