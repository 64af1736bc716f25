"""What the environment says of compiled kernels, every command hears as `wattshed run` does."""

import json
import os
import subprocess
import sys

import pytest

from wattshed.agent import __main__ as command_line


def wattshed(*arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "wattshed", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={name: given for name, given in os.environ.items() if name != "NUMBA_CACHE_DIR"} | environ,
    )


@pytest.mark.parametrize("command", [("warm",), ("check",), ("run", "--for", "1")])
def test_a_form_that_there_is_not_is_refused(command):
    ended = wattshed(*command, WATTSHED_JIT="nmba")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("wattshed: WATTSHED_JIT: must be one of auto, so, objects, numba, off")
    assert ended.stderr.count("\n") == 1


def test_a_folder_of_wattsheds_own_is_where_kernels_are_looked_for(tmp_path):
    folder = tmp_path / "kernels"
    told = json.loads(wattshed("check", "--json", WATTSHED_CACHE_DIR=str(folder), WATTSHED_JIT="auto").stdout)
    assert folder.is_dir(), told["kernels"]


def test_numbas_variable_goes_first():
    environ = {"NUMBA_CACHE_DIR": "/a", "WATTSHED_CACHE_DIR": "/b", "WATTSHED_JIT": "OFF"}
    command_line._kernels(environ)
    assert environ["NUMBA_CACHE_DIR"] == "/a"
