"""Where fleets are drawn: by the size of what is left and by measured speeds, with the same integers."""

import argparse
import json

import numpy as np
import pytest

from tests.kernels.processes import output_of
from wattshed.agent.commands import fleet
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand import drawing
from wattshed.agent.fleet.demand.drawing import Drawing
from wattshed.agent.traces.opening import OpenedTrace
from wattshed.kernels import devices
from wattshed.kernels.ensemble import bootstrap

TOTALS = np.arange(12, dtype=np.int64).reshape(3, 4) * 10**9


class Machine:
    """A machine whose CPU and device take so long for a stretch."""

    def __init__(self, monkeypatch, cpu_s, cuda_s):
        self.now_s, self.seconds, self.asked = 0.0, {"cpu": cpu_s, "cuda": cuda_s}, []
        monkeypatch.setattr(drawing, "bootstrap", self.bootstrap)
        monkeypatch.setattr(devices, "absent", lambda: False)
        monkeypatch.setattr(devices, "obstacle", lambda: "")

    def bootstrap(self, totals, replicates, seed, *, device):
        self.asked.append(device)
        self.now_s += self.seconds[device]
        return bootstrap(totals, replicates, seed)

    def draw(self, asked, stretches):
        found = Drawing(asked, clock=lambda: self.now_s)
        for left in range(stretches - 1, -1, -1):
            found.fleets(TOTALS, 5, 1, left)
        return found.told()


def test_little_is_drawn_on_the_cpu(monkeypatch):
    machine = Machine(monkeypatch, 0.5, 0.1)
    monkeypatch.setattr(devices, "obstacle", lambda: pytest.fail("the answer does not depend on it"))
    assert machine.draw("auto", 5)["device"] == "cpu"
    assert machine.asked == ["cpu"] * 5


def test_a_device_that_is_quicker_goes_on(monkeypatch):
    machine = Machine(monkeypatch, 2.0, 0.25)
    told = machine.draw("auto", 5)
    assert machine.asked == ["cpu"] + ["cuda"] * 4
    assert told == {"device": "cuda", "device_reason": "a stretch took 2.00 s on the CPU, 0.25 s with the device"}


def test_a_device_that_is_slower_is_left(monkeypatch):
    machine = Machine(monkeypatch, 2.0, 4.0)
    machine.draw("auto", 5)
    assert machine.asked == ["cpu", "cuda", "cuda", "cpu", "cpu"]


@pytest.mark.parametrize("name", ["absent", "obstacle"])
def test_without_a_device_the_cpu_goes_on(monkeypatch, name):
    machine = Machine(monkeypatch, 9.0, 0.1)
    monkeypatch.setattr(devices, name, lambda: "broken" if name == "obstacle" else True)
    told = machine.draw("auto", 3)
    assert machine.asked == ["cpu"] * 3
    assert told["device_reason"] == ("broken" if name == "obstacle" else devices.NO_DEVICE)


def test_what_was_asked_for_is_done_or_refused(monkeypatch):
    machine = Machine(monkeypatch, 9.0, 99.0)
    assert machine.draw("cuda", 2) == {"device": "cuda", "device_reason": "asked for"}
    assert machine.draw("cpu", 2) == {"device": "cpu", "device_reason": "asked for"}
    assert machine.draw("cuda", 0)["device"] == "cpu"
    monkeypatch.setattr(devices, "obstacle", lambda: "no card")
    with pytest.raises(InputError, match=r"^--device cuda: no usable CUDA device here \(no card\); use --device cpu$"):
        Drawing("cuda")


def recording(path):
    """Two jobs, two minutes."""
    rows = [f"{1_700_000_000 + t},j{job},{500 + 100 * job + t % 9 * 40}" for t in range(120) for job in (0, 1)]
    path.write_text("\n".join(["time,job,power", *rows]) + "\n")
    return path


def test_the_answer_is_the_same_and_says_where(tmp_path, capsys):
    path = recording(tmp_path / "series.csv")
    there = json.loads(
        output_of("demands_on_the_card", path, package="tests.fleet", WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1")
    )
    parser = argparse.ArgumentParser()
    fleet.add_parser(parser.add_subparsers(), OpenedTrace)
    args = parser.parse_args(["fleet", "demand", str(path), "--limit", "1500", "--replicates", "5", "--json"])
    assert args.run(args) == 0
    here = json.loads(capsys.readouterr().out)
    assert (there.pop("device"), there.pop("device_reason")) == ("cuda", "asked for")
    assert here.pop("device") == "cpu"
    assert here.pop("device_reason").startswith("so few fleets")
    assert there == here
    assert here["ensemble"]["replicates"] == 5
