"""The replay commands as a function, and where real recordings lie."""

import argparse
import os
from pathlib import Path

import pytest

from tests.traces import one_reader
from wattshed.agent.commands import convert, replay
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.columns import parse_spec


@pytest.fixture
def wattshed(capsys):
    """Run one command line; returns (exit code, standard output, standard error).

    Each file that is replayed is also read for a demand, by the law of tests/traces/one_reader.py.
    """

    def run(*argv):
        parser = argparse.ArgumentParser(prog="wattshed")
        commands = parser.add_subparsers(required=True)
        replay.add_parser(commands)
        convert.add_parser(commands)
        args = parser.parse_args([str(arg) for arg in argv])
        error = ""
        try:
            code = args.run(args)
        except InputError as problem:
            code, error = 2, f"wattshed: {problem}\n"
        captured = capsys.readouterr()
        if argv[0] == "replay" and _is_plain(args):
            one_reader.holds(args.trace[0], args.columns)
        return code, captured.out, captured.err + error

    return run


def _is_plain(args) -> bool:
    """Whether one file is replayed that a demand takes too: nothing told that only replay asks for, and not large."""
    if len(args.trace) != 1 or args.timezone != "UTC" or args.max_gap is not None or args.max_power is not None:
        return False
    path = Path(args.trace[0])
    try:
        parse_spec(args.columns or "time=t")
    except InputError:
        return False
    return path.is_file() and path.stat().st_size < 1 << 20


def _traces() -> Path | None:
    named = os.environ.get("WATTSHED_TRACES")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "traces"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def traces():
    """The folder of real recordings; a test that needs it is skipped where it is absent."""
    folder = _traces()
    if folder is None:
        pytest.skip("no real recordings here: set WATTSHED_TRACES to their folder")
    return folder
