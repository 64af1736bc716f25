"""What the environment says of compiled kernels, every command hears as `wattshed run` does."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from wattshed.agent import __main__ as command_line
from wattshed.agent.commands import warm


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


@pytest.mark.parametrize("named", ["--config", "WATTSHED_CONFIG"])
def test_a_configuration_says_where_kernels_are_looked_for_and_the_environment_goes_first(tmp_path, named):
    file = tmp_path / "config.toml"
    file.write_text(f'jit = "off"\ncache_dir = "{tmp_path / "of-file"}"\n')
    given = {} if named == "--config" else {named: str(file)}
    flags = ["--config", str(file)] if named == "--config" else []
    told = json.loads(wattshed("check", "--json", *flags, **given).stdout)["kernels"]
    assert (told["form"], told["reason"], told["passed_over"]) == ("off", "WATTSHED_JIT=off", [])
    shutil.rmtree(tmp_path / "of-file")
    over = {"WATTSHED_JIT": "auto", "WATTSHED_CACHE_DIR": str(tmp_path / "of-environment")}
    wattshed("check", *flags, **given, **over)
    assert (tmp_path / "of-environment").is_dir()
    assert not (tmp_path / "of-file").exists()
    warmed = wattshed("warm", *flags, **given)
    assert (warmed.returncode, warmed.stdout) == (0, "")
    assert "WATTSHED_JIT=off" in warmed.stderr
    file.write_text('jit = "of"\n')
    refused = wattshed("warm", *flags, **given)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"wattshed: {file}:1:")


def test_who_only_compiles_needs_no_place_for_a_state(tmp_path):
    """As a service's own user, who has no home; `run` would have to keep its totals somewhere."""
    file = tmp_path / "config.toml"
    file.write_text('jit = "off"\n')
    homeless = {"HOME": "", "XDG_STATE_HOME": "", "XDG_CACHE_HOME": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    warmed = wattshed("warm", "--config", str(file), **homeless)
    assert (warmed.returncode, warmed.stdout) == (0, "")


def test_a_folder_that_is_refused_is_named_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    given = {"WATTSHED_CACHE_DIR": str(tmp_path / "file" / "below"), "WATTSHED_JIT": "auto"}
    (line,) = json.loads(wattshed("check", "--json", **given).stdout)["kernels"]["passed_over"]
    assert line == f"the folder {tmp_path}/file/below is not used for compiled kernels: Not a directory"
    run = wattshed("run", "--meter", "simulated", "--for", "1", "--listen", "127.0.0.1:0", **given)
    assert run.stderr.count(line) == 1


def test_warming_says_how_far_it_is():
    class Line:
        def __init__(self):
            self.told = []

        def at(self, done, what):
            self.told.append((done, what))

        def say(self, what):
            self.told.append((None, what))

    line = Line()
    for number in (1, 2, 4):
        warm.show_progress(line, f"compiled {number} of 4: energy.sums (1.0 s)")
    warm.show_progress(line, "optimising and linking them for this machine")
    assert [done for done, _ in line.told] == [warm.COMPILING / 4, warm.COMPILING / 2, warm.COMPILING, None]
