"""What a command loads: a question about jobs is answered in a moment, and a call for help sooner.

Each runs in a process of its own and tells which modules it had in the end.
"""

import json
import subprocess
import sys

import pytest

from tests.history.made_up import JOBS, MODELS, opened, part

TOLD = """
import atexit, json, os, sys
atexit.register(lambda: os.write(3, json.dumps(sorted(sys.modules)).encode()))
from wattshed.agent.__main__ import main
raise SystemExit(main(sys.argv[1:]))
"""
HEAVY = frozenset(
    "numba llvmlite pyarrow polars scipy rich numpy sqlite3 h11 asyncio pynvml http yaml".split()  # noqa: SIM905
)
COMMANDS = (
    "run record replay jobs job report collect convert fleet check bench warm config dashboards top completion".split()  # noqa: SIM905
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A history with some jobs."""
    path = tmp_path_factory.mktemp("history") / "history.db"
    opened(path).add([part(1), part(2, "slurm:2"), part(3, "k8s:a/b")], JOBS, MODELS)
    return path


def loaded(*words, code=0):
    """Run a command; returns which of the heavy modules it loaded, how many of our own, and what it said."""
    script = f'exec {sys.executable} -c "$0" "$@" 3>&1 >/dev/null'
    done = subprocess.run(["sh", "-c", script, TOLD, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    modules = json.loads(done.stdout)
    return {name for name in modules if name in HEAVY}, {
        name for name in modules if name.startswith("wattshed.agent.commands.")
    }


def test_help_and_version_load_nothing_heavy():
    assert loaded("--help")[0] == set()
    assert loaded("--version")[0] == set()
    assert loaded(code=2)[0] == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_loads_its_own_flags_alone(command):
    heavy, rooms = loaded(command, "--help")
    assert heavy == set()
    own = {name for name in rooms if name.rpartition(".")[2].startswith(f"{command}_")}  # parts of its own
    assert len(rooms - own) <= 2  # a conversion has the flags of a replay


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (["jobs"], {"rich", "sqlite3"}),
        (["jobs", "--json"], {"sqlite3"}),
        (["job", "slurm:1"], {"rich", "sqlite3", "numpy"}),
        (["report", "--by", "user"], {"rich", "sqlite3", "numpy"}),
        (["report", "--by", "user", "--json"], {"sqlite3", "numpy"}),
    ],
)
def test_a_question_about_jobs_loads_neither_a_compiler_nor_columns(store, words, most):
    assert loaded(*words, "--store", store)[0] <= most


def test_the_configuration_is_printed_without_them():
    assert loaded("config", "--example")[0] == set()
