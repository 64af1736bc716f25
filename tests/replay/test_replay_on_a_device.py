"""``wattshed replay --device``: the same answer from a CUDA device, which says where its sums were made and why."""

import argparse
import json

import pytest

from tests.kernels.processes import output_of
from wattshed.agent.commands import replay
from wattshed.agent.errors import InputError
from wattshed.kernels import devices

HERE = ("device", "device_reason", "device_rows")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replays")
    return json.loads(
        output_of("replays_on_the_card", folder, package="tests.replay", WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1")
    )


def without(answer):
    return {name: value for name, value in answer.items() if name not in HERE}


@pytest.mark.parametrize("source", ["native", "text", "jobs", "held"])
def test_a_device_gives_the_same_answer(answers, source):
    (code, here), (code_there, there) = answers[f"{source} cpu"], answers[f"{source} cuda"]
    assert (code, code_there) == (0, 0)
    assert without(there) == without(here)
    assert here["total_j"] > 0
    assert (here["device"], here["device_reason"], here["device_rows"]) == ("cpu", "asked for", 0)


def test_rows_of_power_alone_are_summed_there(answers):
    _, there = answers["text cuda"]
    assert (there["device"], there["device_reason"], there["device_rows"]) == ("cuda", "asked for", 396)
    _, there = answers["native cuda"]
    assert there["device"] == "cuda"
    assert there["device_rows"] == 26 * 8  # what follows has a counter


def test_rows_of_jobs_are_summed_there(answers):
    (_, here), (_, there) = answers["held cpu"], answers["held cuda"]
    assert there["device_rows"] > 20 * 8
    assert len(there["jobs"]) > 5
    assert there["jobs"] == here["jobs"]


def test_what_a_device_does_not_do_is_said(answers):
    """A table that is one window: nothing is known of who was there before it."""
    _, there = answers["jobs cuda"]
    assert there["device"] == "cpu"
    assert there["device_reason"].startswith(
        "asked for, but a device sums only long runs of power readings without a counter"
    )


def test_auto_stays_where_little_is_to_do(answers):
    assert answers["auto"]["device"] == "cpu"
    assert answers["auto"]["device_reason"].endswith("of power readings are summed before a device has started")


def test_a_device_without_memory_leaves_it_to_the_cpu(answers):
    full = answers["full"]
    assert without(full) == without(answers["text cpu"][1])
    assert (full["device"], full["device_rows"]) == ("cpu", 0)
    assert full["device_reason"] == "asked for; 396 rows did not fit its memory and were summed on the CPU"


def test_the_tables_end_with_it(answers):
    code, text = answers["table"]
    assert code == 0
    assert "Summed on the CUDA device: asked for." in text


def test_workers_have_no_device():
    parser = argparse.ArgumentParser()
    replay.add_parser(parser.add_subparsers())
    args = parser.parse_args(["replay", "log.csv", "--device", "cuda", "--workers", "2"])
    with pytest.raises(InputError, match=r"^--device cuda works in one process; leave --workers and --scheduler out$"):
        args.run(args)


def test_without_a_trace_of_a_driver_nothing_is_loaded(monkeypatch):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr(devices, "MARKS", ())
    devices.obstacle.cache_clear()
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda _name: pytest.fail("it looked for numba-cuda"))
    assert devices.obstacle() == devices.NO_DEVICE
    devices.obstacle.cache_clear()


def test_a_pass_is_placed_by_size_and_measured_speed():
    never = lambda: pytest.fail("the answer does not depend on it")
    usable, there, speeds = (lambda: ""), (lambda: False), (lambda: devices.Speeds(2e9, 8e9))
    decide = devices.decide_pass
    assert decide(10**9, obstacle=never, speeds=never, absent=never).device == "cpu"
    assert decide(10**11, obstacle=never, speeds=never, absent=lambda: True) == ("cpu", devices.NO_DEVICE)
    assert decide(10**11, obstacle=lambda: "broken", speeds=never, absent=there) == ("cpu", "broken")
    chosen = decide(10**11, obstacle=usable, speeds=speeds, absent=there)
    assert chosen == ("cuda", "100000 MB of power readings: 50.0 s on the CPU, 15.5 s with the device")
    assert decide(4 * 10**9, obstacle=usable, speeds=speeds, absent=there).device == "cpu"
