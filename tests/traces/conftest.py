"""The replay commands as a function, and where real recordings lie."""

import argparse
import os
from pathlib import Path

import pytest

from wattshed.agent.commands import convert, replay
from wattshed.agent.errors import InputError


@pytest.fixture
def wattshed(capsys):
    """Run one command line; returns (exit code, standard output, standard error)."""

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
        return code, captured.out, captured.err + error

    return run


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
