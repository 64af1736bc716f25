"""Which tests one worker takes together, and the fixtures that tests of several rooms use.

What a fixture needs of the product is imported by the fixture: a test of one room does not wait for the others.
"""

import gc
import logging
import math
import os
from pathlib import Path

import hypothesis
import psutil
import pytest

from tests import depth

os.environ.pop("COLUMNS", None)  # a worker of xdist has one; what tests print into has no width

# How long an example takes is no law: on a busy machine any may wait for the processor.
hypothesis.settings.register_profile("unhurried", deadline=None, max_examples=depth.examples(100))
hypothesis.settings.load_profile("unhurried")

# Ten thousand tests are one large heap: looking through it for garbage as often as a small program does took a tenth
# of the time, and more in tests that build trees.
gc.set_threshold(50_000, 20, 20)

MEMORY, ROOM_BYTES = Path("/dev/shm"), 4 << 30


def _in_memory():
    """Whether there is a file system in memory with room for what tests write, from which programs run."""
    if not MEMORY.is_mount():
        return False
    found = os.statvfs(MEMORY)
    room = found.f_bavail * found.f_frsize
    return room >= ROOM_BYTES <= psutil.virtual_memory().available // 2 and not found.f_flag & os.ST_NOEXEC


# Databases that sync and files that are renamed would wait for the disk more than half of the time.
# Not in CI: there whole machines are made of what tests write.
if os.environ.get("CI_REAL") != "1" and _in_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

TOGETHER = ("tests/promql/", "tests/deploy/")  # one Prometheus for all tests of a folder; machines that share ports


def pytest_terminal_summary(terminalreporter):
    """Say at the end, where a quiet run is read too, what it left out: workers do not tell what they deselected."""
    if not depth.WHOLE:
        terminalreporter.write_line("a plain run: tests marked deep were left out (WATTSHED_DEEP=1 runs all)")


def pytest_collection_modifyitems(config, items):
    """Leave out what only a whole run takes (`tests.depth`)."""
    out = set(depth.left_out(items, config.args))
    if out:
        config.hook.pytest_deselected(items=list(out))
        items[:] = [item for item in items if item not in out]


def pytest_collection_finish():
    """Modules and tests stay until the end: there is no garbage among them."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A worker takes whole files, or one of these folders: what their tests share is made once."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return next((folder for folder in TOGETHER if nodeid.startswith(folder)), super()._split_scope(nodeid))

    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """What a test writes need not outlive the machine: the kernel keeps it for whoever reads it next, after a kill too.

    A life in virtual time syncs its books and its recording with every window, and would mostly wait for that. That
    they are synced, in which order, and what becomes of a slow disk, is tested by looking at the calls
    (``tests/accounts/test_books.py``); processes that a test starts do wait.
    """
    from wattshed.agent.accounts import state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "fdatasync", lambda _: None)
        patch.setattr(state, "SLOW_S", math.inf)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_sockets(tmp_path_factory):
    """No agent of the suite listens where one of this machine, or of another worker, does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", str(tmp_path_factory.mktemp("sockets")))
        yield


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """A program that sets up its log in this process takes the next test's ``caplog`` nothing away."""
    log = logging.getLogger("wattshed")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture(scope="session")
def traces():
    """The folder of real recordings; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("WATTSHED_TRACES", Path(__file__).resolve().parents[2] / "shared" / "traces"))
    if not folder.is_dir():
        pytest.skip("no real recordings here: set WATTSHED_TRACES to their folder")
    return folder


@pytest.fixture
def wattshed(capsys):
    """Run ``wattshed replay`` or ``convert``; returns (exit code, standard output, standard error).

    Each file that is replayed is also read for a demand, by the law of tests/traces/one_reader.py.
    """
    import argparse

    from tests.traces import one_reader
    from wattshed.agent.commands import convert, replay
    from wattshed.agent.errors import InputError

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


def _is_plain(args):
    """Whether one file is replayed that a demand takes too: nothing told that only replay asks for, and not large."""
    from wattshed.agent.errors import InputError
    from wattshed.agent.inputs.columns import parse_spec

    if len(args.trace) != 1 or args.timezone != "UTC" or args.max_gap is not None or args.max_power is not None:
        return False
    path = Path(args.trace[0])
    try:
        parse_spec(args.columns or "time=t")
    except InputError:
        return False
    return path.is_file() and path.stat().st_size < 1 << 20


@pytest.fixture
def rig(tmp_path):
    """Build a rig (`tests.rig`) from TOML text; all are closed after the test."""
    from tests.rig import Rigs

    rigs = Rigs(tmp_path)
    yield rigs
    rigs.close()


@pytest.fixture
def serve():
    """Start servers of the pages; gives (server, port)."""
    from tests.exporters import snapshots
    from wattshed.exporters.web.http import Server

    running = []

    def start(publish=snapshots.rich, **options):
        server = Server(publish, options.pop("listen", ["127.0.0.1:0"]), **options)
        server.start()
        running.append(server)
        return server, int(server.addresses[0].rpartition(":")[2])

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server (`tests.databases`)."""
    from tests.databases import server

    with server() as one:
        yield one


@pytest.fixture(params=["sqlite", "postgresql"], scope="session")
def new_place(request, tmp_path_factory):
    """Make places for histories: paths of files that are not there yet, or URLs of empty databases."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").new_place
    return lambda: tmp_path_factory.mktemp("store") / "history.db"
