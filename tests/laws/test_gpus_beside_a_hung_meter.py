"""A meter of the host that does not answer: the GPUs are read as before, one line says so, and a metric counts it."""

import threading

import pytest

from tests.virtual import agent, bills, simulated
from wattshed.agent.clock import RealClock
from wattshed.agent.host import lane
from wattshed.agent.meters.schedule import Rates
from wattshed.exporters.formats.exposition import Writer
from wattshed.exporters.formats.host_metrics import HOST

QUICK = Rates(*(one * 1000 for one in (100, 50, 50, 0, 100, 500, 500, 500, 0, 20_000, 60_000)))
NODE = 'gpus = 2\n[[host_meter]]\nsource = "rapl"\n[[host_meter]]\nsource = "ipmi"\nperiod_s = 1.0\n'
HUNG = '[[fault]]\nkind = "hung"\nmeter = "ipmi/node"\nat_s = 5\nfor_s = 60\n'


class Stuck:
    """The files of a host, of which one does not answer once it shall not."""

    def __init__(self, files, part):
        self._files, self._part = files, part
        self.shall, self.let_go = threading.Event(), threading.Event()

    def read(self, path):
        if self._part in path and self.shall.is_set():
            self.let_go.wait(60)
        return self._files.read(path)

    def __getattr__(self, name):
        return getattr(self._files, name)


def page(one):
    return Writer(openmetrics=False, on_fault=print).write(one.board.current(), HOST).decode()


def steps(one, until, most=300):
    """Let it meter windows until something holds; returns them."""
    before = len(one.windows)
    for _ in range(most):
        if until():
            return one.windows[before:]
        one.daemon.step()
    return pytest.fail(f"it did not come about in {most} windows")


def test_windows_of_gpus_come_while_a_file_hangs(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(lane, "HANGS_US", 300_000)
    (tmp_path / "s.toml").write_text(NODE)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"), RealClock())
    node.sys = stuck = Stuck(node.sys, "intel-rapl:0/energy_uj")
    node.keep_time()
    one = agent(node, clock, rates=QUICK, beside=True)
    try:
        steps(one, lambda: 'wattshed_host_meter_info{source="rapl",domain="package-0"' in page(one))
        stuck.shall.set()
        meanwhile = steps(one, lambda: one.faults.counts["host"])
        meanwhile += [one.daemon.step() for _ in range(3)]
        read = [(window.readings.offsets[1:] - window.readings.offsets[:-1]).all() for window in meanwhile]
        assert sum(read) > len(read) / 2, "both GPUs were read, if this machine had time for them"
        assert 'source="rapl",domain="package-0",reason="hangs"} 1' in page(one)
        assert [gpu.gap_us for gpu in one.board.current().gpus] == [0, 0]
    finally:
        stuck.let_go.set()
        one.daemon.close()
        one.close()
        node.close()
    (line,) = [record.getMessage() for record in caplog.records if "host" in record.getMessage()]
    assert "rapl/package-0 has not answered for" in line


def test_bills_are_the_same_beside_a_bmc_that_hangs(tmp_path, caplog):
    found = []
    for name, fault in (("calm", ""), ("hung", HUNG)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "s.toml").write_text(NODE + fault)
        node, clock = simulated(tmp_path / name, str(tmp_path / name / "s.toml"))
        one = agent(node, clock, beside=True, seconds=20)
        one.daemon.run()
        found.append((bills(one.accounts), [window.readings.time_us.tolist() for window in one.windows]))
        assert ('reason="stale"' in page(one)) == bool(fault)
        one.close()
    (calm, times), (hung, hung_times) = found
    assert hung == calm
    assert [len(window) for window in hung_times] == [len(window) for window in times]
    lines = [record.getMessage() for record in caplog.records if "ipmi" in record.getMessage()]
    assert lines == ["host: ipmi/node: no reading (stale); it is asked again"]
