"""The command line of the fleet as the tests call it, and a fleet to call it with."""

import argparse
import json
import sys
from types import SimpleNamespace

import pytest

from tests.fleet.example_fleet import FLEET
from wattshed.agent.commands.fleet import add_parser
from wattshed.agent.errors import InputError
from wattshed.agent.traces.opening import OpenedTrace


@pytest.fixture
def fleet(capsys):
    """Run ``wattshed fleet ...``; gives the exit code, standard output and error, and the JSON where there is one."""

    def run(*words, open_trace=OpenedTrace):
        parser = argparse.ArgumentParser(prog="wattshed")
        add_parser(parser.add_subparsers(required=True), open_trace)
        capsys.readouterr()
        try:
            args = parser.parse_args(["fleet", *map(str, words)])
            code = args.run(args)
        except SystemExit as stop:
            code = stop.code
        except InputError as error:
            print(f"wattshed: {error}", file=sys.stderr)
            code = 2
        out, err = capsys.readouterr()
        return SimpleNamespace(
            code=code, out=out, err=err, json=json.loads(out) if code == 0 and "--json" in words else None
        )

    return run


@pytest.fixture
def files(tmp_path):
    """Write files into a folder of the test's own and give their paths."""

    def write(**content):
        paths = []
        for name, text in content.items():
            path = tmp_path / name.replace("_", ".", 1)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            paths.append(path)
        return paths[0] if len(paths) == 1 else paths

    return write


@pytest.fixture
def inventory_file(files):
    return files(FLEET_toml=FLEET)
