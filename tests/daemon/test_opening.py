"""What the agent opens it closes, the last first: at the end, and where a later part cannot be opened."""

import logging
import signal
import sys
import tempfile
import threading
from contextlib import nullcontext

import pytest

from wattshed.agent.accounts.state import StateFile
from wattshed.agent.clock import RealClock
from wattshed.agent.config.settings import Config, Export, WorkSettings
from wattshed.agent.daemon import assembly, source
from wattshed.agent.errors import Faults, InputError
from wattshed.agent.meters import sampler
from wattshed.agent.meters.errors import MeterError, NoMeter
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.traces.native import recorder
from wattshed.exporters.formats import otlp

PARTS = ("server", "source", "recorder", "state", "callers", "servers", "push")


@pytest.fixture(autouse=True)
def _process_as_it_was(monkeypatch, tmp_path):
    """Serving takes over the signals, the log and the interpreter's pace of the process that it runs in."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers, pace, log = (
        {n: signal.getsignal(n) for n in numbers},
        sys.getswitchinterval(),
        logging.getLogger("wattshed"),
    )
    before = log.handlers[:], log.level, log.propagate
    monkeypatch.setenv("WATTSHED_JIT", "off")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    sys.setswitchinterval(pace)
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture
def life(monkeypatch, tmp_path):
    """Serve with parts that do nothing but tell; returns what was opened and closed, and how it ended."""

    def lived(*, fails="", close_fails=""):
        told = []

        def part(name):
            class Part:
                def __init__(self, *_args, **_more):
                    if name == fails:
                        raise InputError(f"no {name}")
                    told.append(f"open {name}")
                    self.state = recorder.RecorderState() if name == "recorder" else None
                    self.windows, self.resolver, self.kind, self.library = self, None, "simulated", ""
                    self.notes, self.faults, self.look, self.tenancy = (), dict, lambda: None, dict
                    self.addresses, self.jobs_trouble = (), ""
                    self.clock, self.proc_root, self.refresh = RealClock(), tmp_path, lambda: None
                    self.beside, self.cpu_times, self.devices, self.dev_root = None, None, tuple, tmp_path

                def start(self):
                    pass

                def claim(self):
                    return True

                def restore(self, *_):
                    return StateFile(tmp_path / "none", "h", "").restore(*_)

                def next(self):
                    raise StopIteration

                def close(self):
                    told.append(f"close {name}")
                    if name == close_fails:
                        raise OSError(name)

                stop = release = close

            return Part

        monkeypatch.setattr(assembly, "Server", part("server"))
        monkeypatch.setattr(assembly, "open_source", part("source"))
        monkeypatch.setattr(recorder, "Recorder", part("recorder"))
        monkeypatch.setattr("wattshed.agent.accounts.state.StateFile", part("state"))
        monkeypatch.setattr("wattshed.agent.daemon.callers.opening.CallersServer", part("callers"))
        monkeypatch.setattr("wattshed.agent.daemon.work.WorkServers", part("servers"))
        monkeypatch.setattr(otlp, "Push", part("push"))
        ended = "in order"
        try:
            parts = {"export": Export(otlp_endpoint="http://nowhere"), "work": WorkSettings(servers="auto")}
            code = assembly.serve(Config(meter="simulated", record=str(tmp_path / "r"), host="h", **parts), "0")
        except (InputError, OSError) as error:
            ended = str(error)
        else:
            assert code == 0
        return told, ended

    return lived


def test_the_last_opened_is_closed_first(life):
    assert life() == ([*(f"open {n}" for n in PARTS), *(f"close {n}" for n in reversed(PARTS))], "in order")


@pytest.mark.parametrize("fails", PARTS)
def test_where_one_cannot_be_opened_those_before_it_are_closed(life, fails):
    before = PARTS[: PARTS.index(fails)]
    told, ended = life(fails=fails)
    assert told == [*(f"open {n}" for n in before), *(f"close {n}" for n in reversed(before))]
    assert ended == f"no {fails}"


@pytest.mark.parametrize("bad", PARTS)
def test_one_that_cannot_be_closed_keeps_no_other_open(life, bad):
    told, ended = life(close_fails=bad)
    assert told[len(PARTS) :] == [f"close {n}" for n in reversed(PARTS)]
    assert ended == bad


@pytest.mark.parametrize("fails", ["open", "sampler", "nothing"])
def test_a_simulated_node_leaves_nothing_behind(monkeypatch, tmp_path, fails):
    sessions = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened, closed = NvmlMeter.open, NvmlMeter.close

    def session(meter):
        if fails == "open":
            raise MeterError("nvmlInitWithFlags", 9)
        opened(meter)
        sessions.append("opened")

    def wired(*_args, **_more):
        raise InputError("no sampler")

    monkeypatch.setattr(NvmlMeter, "open", session)
    monkeypatch.setattr(NvmlMeter, "close", lambda meter: (closed(meter), sessions.append("closed")))
    if fails == "sampler":
        monkeypatch.setattr(sampler, "Sampler", wired)
    with nullcontext() if fails == "nothing" else pytest.raises((NoMeter, InputError)):
        source.open_source(Config(meter="simulated"), "h", Faults()).close()
    assert sessions == ([] if fails == "open" else ["opened", "closed"])
    assert list(tmp_path.iterdir()) == []
    assert not {"wattshed-mapping", "simulated-node"} & {thread.name for thread in threading.enumerate()}
