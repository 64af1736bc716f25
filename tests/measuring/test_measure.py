"""What users write: windows, decorators, threads, asyncio, forks, work."""

import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

import wattshed
from wattshed.agent.measuring.measured import NotMeasuredWarning
from wattshed.agent.measuring.measurement import Measurement
from wattshed.agent.measuring.points import EdgeValue, EnergyPoint
from wattshed.agent.measuring.process import ProcessMeasuring
from wattshed.agent.measuring.session import MeteringSession

WATT_HNJ_PER_NS = 2  # 1 W is a nanojoule a nanosecond


class Steady:
    """A meter of 100 W, which knows a moment after a hundredth of a second."""

    source, scope, continuous = "nvml", "gpu", True
    told = 0

    def read(self):
        pass

    def near_edge(self):
        pass

    def look_who_shares(self):
        pass

    def close(self):
        pass

    def pause_ns(self):
        return 2_000_000

    def trouble(self):
        return "it is broken"

    def estimate(self):
        return None

    def value(self, time_ns):
        if time.monotonic_ns() < time_ns + 10_000_000:
            return None
        return EdgeValue({"GPU-1": EnergyPoint(time_ns * 100 * WATT_HNJ_PER_NS)}, "own")


class Broken(Steady):
    def value(self, time_ns):
        return None


class Stuck(Steady):
    """Knows the first moment, and of any other what it may be."""

    known = None

    def value(self, time_ns):
        self.known = self.known or time_ns
        self.asked = time_ns
        return EdgeValue({"GPU-1": EnergyPoint(0)}, "own") if time_ns == self.known else None

    def estimate(self):
        return EdgeValue({"GPU-1": EnergyPoint((self.asked - self.known) * 100 * WATT_HNJ_PER_NS, edge_j=7.0)}, "own")


@pytest.fixture
def process():
    made = []

    def make(meter=Steady, why="no driver here"):
        session = MeteringSession(meter() if meter else None, why)
        found = ProcessMeasuring({"WATTSHED_SOCKET": ""}, lambda *_: session)
        made.append(session)
        return found

    yield make
    for session in made:
        session.close()


def window(process, name="", *, gpus="auto", scope="auto", sync="auto", strict=False):
    return Measurement(process, name, gpus, scope, sync, strict=strict)


def is_100_w(found):
    return found.joules == pytest.approx(100 * found.seconds) and found.seconds > 0


def test_a_window_has_joules_seconds_and_what_goes_with_them(process):
    with window(process(), "epoch") as m:
        assert math.isnan(m.running(0).joules)
        assert is_100_w(m.running())
        time.sleep(0.02)
    assert is_100_w(m)
    assert (m.gpus, m.scope, m.source, m.path, m.reason, m.flags) == (("GPU-1",), "gpu", "nvml", "epoch", "", ())
    assert m.joules * 2e9 == m.energy_hnj
    assert m.watts == pytest.approx(100)
    assert "epoch: " in str(m.result())
    with pytest.raises(RuntimeError, match="entered once"), m:
        pass
    with pytest.raises(RuntimeError, match="was not entered"):
        _ = window(process()).joules


def test_work_that_nobody_waited_for_is_flagged(process, monkeypatch):
    monkeypatch.setattr("wattshed.agent.measuring.measurement.leaves_work", lambda: True)
    here = process()
    with window(here) as m, window(here, sync=lambda: None) as waited:
        pass
    assert "no-sync" in m.flags
    assert "no-sync" not in waited.flags


def test_threads_and_tasks_give_the_same_numbers(process):
    here, found = process(), []

    def work(name):
        with window(here, name) as m:
            time.sleep(0.05)
        found.append(m)

    async def task(name):
        async with window(here, name) as m:
            await asyncio.sleep(0.05)
        assert is_100_w(await m)
        found.append(m)

    async def tasks():
        await asyncio.gather(task("c"), task("d"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(tasks())
    assert sorted(m.path for m in found) == list("abcd")
    assert all(is_100_w(m) for m in found)
    assert all(m.flags == ("overlap",) for m in found)
    union = here.total()
    assert is_100_w(union)
    assert union.seconds < sum(m.seconds for m in found)


def test_windows_nest_by_name_also_in_tasks_and_not_in_threads(process):
    here, paths = process(), {}

    async def inner(name):
        with window(here, name) as m:
            await asyncio.sleep(0)
        paths[name] = m.path

    def beside():
        with window(here, "thread") as m:
            pass
        paths["thread"] = m.path

    async def main():
        with window(here, "outer"):
            await asyncio.gather(inner("x"), inner("y"))
            await asyncio.get_running_loop().run_in_executor(None, beside)

    asyncio.run(main())
    with window(here, "a") as a, window(here) as unnamed, window(here, "b") as b:
        pass
    assert paths == {"x": "outer/x", "y": "outer/y", "thread": "thread"}
    assert (a.path, unnamed.path, b.path) == ("a", "a", "a/b")
    assert "overlap" not in {*a.flags, *unnamed.flags, *b.flags}
    assert b.joules <= unnamed.joules <= a.joules


def test_functions_coroutines_and_generators_are_windows(process):
    here = process()

    @window(here, "step")
    def add(a, *, b):
        """Add."""
        return a + b

    @window(here, "wait")
    async def wait():
        await asyncio.sleep(0.01)
        return "waited"

    @window(here, "items")
    def items():
        got = yield 1
        yield got

    @window(here, "stream")
    async def stream():
        yield 1
        yield 2

    async def streamed():
        return [item async for item in stream()]

    assert add(1, b=2) == 3
    assert add.__doc__ == "Add."
    assert asyncio.run(wait()) == "waited"
    run = items()
    assert next(run) == 1
    with window(here, "between") as between:
        pass
    assert run.send(5) == 5
    with contextlib.suppress(StopIteration):
        next(run)
    assert between.path == "between"
    assert asyncio.run(streamed()) == [1, 2]
    assert asyncio.iscoroutinefunction(wait)
    assert is_100_w(here.total())


def test_what_is_not_known_is_nan_with_one_warning_and_raises_where_strict(process):
    nowhere = process(None)
    with window(nowhere) as m:
        pass
    with pytest.warns(NotMeasuredWarning, match="no driver here") as caught:
        told = m.joules, m.sigma_j, m.energy_hnj
    assert len(caught) == 1
    assert (*map(math.isnan, told[:2]), told[2]) == (True, True, None)
    assert "no driver here" in m.reason
    with window(nowhere, strict=True) as strict:
        pass
    with pytest.raises(wattshed.NotMeasuredError, match="no driver here"):
        _ = strict.joules
    assert strict.seconds >= 0
    with window(process(Broken)) as late:
        pass
    begun = time.monotonic()
    with pytest.warns(NotMeasuredWarning, match="not known yet: it is broken"):
        assert math.isnan(late.result(0.05).joules)
    assert time.monotonic() - begun < 3


def test_work_counts_in_its_window_and_in_those_around_it(process):
    here = process()
    with window(here) as outer:
        with window(here) as m:
            m.add_work(tokens=30, steps=1)
            time.sleep(0.01)
        outer.add_work(tokens=70)
    assert (m.work, outer.work) == ({"tokens": 30, "steps": 1}, {"tokens": 100, "steps": 1})
    value, sigma = outer.per("tokens")
    assert value == outer.joules / 100
    assert sigma == outer.sigma_j / 100
    assert all(math.isnan(x) for x in m.per("images"))
    for wrong in ({"Tokens": 1}, {"tokens": 0}, {"tokens": 1.5}):
        with pytest.raises(ValueError, match=r"[Tt]okens"):
            m.add_work(**wrong)
    with pytest.raises(ValueError, match="whole number"):
        wattshed.add_work("steps", -1)
    assert m.work["tokens"] == 30


@pytest.mark.parametrize(
    ("wrong", "why"), [({"gpus": "all"}, "gpus"), ({"scope": "host"}, "scope"), ({"sync": "always"}, "sync")]
)
def test_arguments_that_cannot_be_are_refused(process, wrong, why):
    here = process()
    with pytest.raises(ValueError, match=why), window(here, **wrong):
        pass
    with window(here, "after") as m:
        pass
    assert m.path == "after"


def test_a_callable_waits_at_both_ends_and_what_is_raised_passes(process):
    waited = []
    here = process()
    with window(here, sync=lambda: waited.append(1)) as m:
        pass
    assert waited == [1, 1]
    with pytest.raises(KeyError), window(here) as failed:
        raise KeyError
    assert is_100_w(m)
    assert is_100_w(failed)


_FORKED = """
import json, os, sys, time, warnings
import wattshed
warnings.simplefilter("ignore")
with wattshed.measure("parent") as m:
    time.sleep(0.3)
    pid = os.fork()
    if not pid:
        with wattshed.measure("child") as own:
            time.sleep(0.3)
        found = {"reason": own.reason, "joules": own.joules, "path": own.path}
        print(json.dumps(found), flush=True)
        m.__exit__(None, None, None)
        print(json.dumps({"reason": m.reason}), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
heavy = [name for name in ("numpy", "numba", "pyarrow", "pandas") if name in sys.modules]
print(json.dumps({"reason": m.reason, "joules": m.joules, "flags": m.flags, "heavy": heavy}))
"""


def test_a_forked_process_starts_anew_and_nothing_heavy_is_loaded():
    environ = {**os.environ, "WATTSHED_METER": "simulated", "WATTSHED_SOCKET": ""}
    told = subprocess.run([sys.executable, "-c", _FORKED], env=environ, capture_output=True, text=True, check=True)
    child, inherited, parent = map(json.loads, told.stdout.splitlines())
    assert child["reason"] == ""
    assert child["joules"] > 10
    assert "forked" in inherited["reason"]
    assert parent["reason"] == ""
    assert parent["joules"] > child["joules"] > 0
    assert "simulated" in parent["flags"]
    assert parent["heavy"] == []


def test_nothing_is_imported_or_started_for_a_window_that_measures_nothing():
    code = "import wattshed, sys; assert 'wattshed.agent' not in sys.modules; wattshed.measure; print(len(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 250
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert repr(wattshed.measure("x")) == "<wattshed.measure 'x': not entered>"


def test_what_is_not_known_in_time_is_an_estimate_that_says_so(process):
    with window(process(Stuck)) as m:
        time.sleep(0.02)
    found = m.result(0.1)
    assert is_100_w(found)
    assert found.sigma_j == 7.0
    assert set(found.flags) == {"late", "short"}
