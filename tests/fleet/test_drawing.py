"""Where fleets are drawn: by the size of what is left and by measured speeds, with the same integers."""

import argparse
import json

import numpy as np
import pytest

from tests.depth import few
from tests.kernels.processes import output_of
from wattshed.agent.commands import fleet
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand import drawing
from wattshed.agent.fleet.demand.drawing import Drawing
from wattshed.agent.fleet.demand.resampled import resampled
from wattshed.agent.traces.opening import OpenedTrace
from wattshed.kernels import devices

TOTALS = np.arange(12, dtype=np.int64).reshape(3, 4) * 10**9


class Machine:
    """A machine whose CPU and device take so long for a stretch."""

    def __init__(self, monkeypatch, cpu_s, cuda_s):
        self.now_s, self.seconds, self.asked = 0.0, {"cpu": cpu_s, "cuda": cuda_s}, []
        monkeypatch.setattr(drawing, "resampled", self.resampled)
        monkeypatch.setattr(devices, "absent", lambda: False)
        monkeypatch.setattr(devices, "obstacle", lambda: "")

    def resampled(self, totals, replicates, seed, device):
        self.asked.append(device)
        self.now_s += self.seconds[device]
        return resampled(totals, replicates, seed)

    def draw(self, asked, stretches):
        found = Drawing(asked, clock=lambda: self.now_s)
        assert len(list(found.resampled([TOTALS] * stretches, 5, 1))) == stretches
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
    assert told == {"device": "cuda", "device_reason": "a piece took 2.00 s on the CPU, 0.25 s with the device"}


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
    """Two jobs, half a minute."""
    rows = [f"{1_700_000_000 + t},j{job},{500 + 100 * job + t % 9 * 40}" for t in range(31) for job in (0, 1)]
    path.write_text("\n".join(["time,job,power", *rows]) + "\n")
    return path


OF_THE_RECORDED = ("--limit", "1500")
OF_MANY = ("--scale", "700", "--limit", "410000")


@pytest.mark.parametrize("asked", few([(OF_THE_RECORDED,), (OF_MANY,)]))
def test_the_answer_is_the_same_and_says_where(tmp_path, capsys, asked):
    path = recording(tmp_path / "series.csv")
    there = json.loads(
        output_of(
            "demands_on_the_card", path, *asked, package="tests.fleet", WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1"
        )
    )
    parser = argparse.ArgumentParser()
    fleet.add_parser(parser.add_subparsers(), OpenedTrace)
    args = parser.parse_args(["fleet", "demand", str(path), *asked, "--replicates", "5", "--json"])
    assert args.run(args) == 0
    here = json.loads(capsys.readouterr().out)
    assert (there.pop("device"), there.pop("device_reason")) == ("cuda", "asked for")
    assert here.pop("device") == "cpu"
    assert here.pop("device_reason").startswith("so few fleets")
    assert there == here
    assert here["ensemble"]["replicates"] == 5


def test_a_device_that_cannot_add_up_so_much_is_left_or_said(monkeypatch):
    machine = Machine(monkeypatch, 9.0, 0.1)

    def too_long(totals, replicates, seed, device):
        if device == "cuda":
            raise ValueError("too long for it")
        return machine.resampled(totals, replicates, seed, device)

    monkeypatch.setattr(drawing, "resampled", too_long)
    assert machine.draw("auto", 3) == {"device": "cpu", "device_reason": "too long for it"}
    with pytest.raises(InputError, match=r"^--device cuda: too long for it$"):
        machine.draw("cuda", 3)
