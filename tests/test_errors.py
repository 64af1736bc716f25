"""A fault of a part is a metric and one line in the log, and the agent goes on."""

import logging
import threading

import pytest

from wattshed.agent.errors import GOOD_AFTER_S, LOG_AGAIN_S, Faults, counted


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.ERROR)
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_part_that_fails_is_counted_and_said_and_what_follows_goes_on(said):
    faults, after = Faults(), []
    with faults.noting("recorder", then="metering goes on"):
        raise OSError("full")
    with faults.noting("recorder"):
        after.append("fine")
    assert (dict(faults.counts), after) == ({"recorder": 1}, ["fine"])
    assert said() == ["recorder: OSError: full; metering goes on"]


def test_what_was_not_to_be_expected_is_raised():
    faults = Faults()
    with pytest.raises(ValueError, match="odd"), faults.noting("state", OSError):
        raise ValueError("odd")
    with pytest.raises(SystemExit), faults.noting("state"):
        raise SystemExit
    assert not faults.counts


def test_a_fault_that_lasts_is_said_again_but_not_each_time(said):
    now = [0.0]
    faults = Faults(lambda: now[0])
    for second in range(int(2.5 * LOG_AGAIN_S)):
        now[0] = float(second)
        faults.note("squeue", OSError("down"))
    line, more = "squeue: OSError: down; continuing", " (599 more in the last 10 min)"
    assert said() == [line, line + more, line + more]


def test_back_to_good_is_one_line_once_it_has_lasted(caplog):
    caplog.set_level(logging.INFO)
    now = [0.0]
    faults = Faults(lambda: now[0])

    def turn(at_s, *, fails):
        now[0] = at_s
        with faults.noting("state", OSError):
            if fails:
                raise OSError("full")

    turn(0, fails=False)
    for second in range(1, 20):
        turn(second, fails=bool(second % 2))  # what fails at every other turn has not recovered between
    turn(19 + GOOD_AFTER_S - 1, fails=False)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    for second in (19 + GOOD_AFTER_S, 60, 61):
        turn(second, fails=False)
    assert [record.getMessage() for record in caplog.records][1:] == ["state: working again after 10 faults"]
    turn(62, fails=True)
    assert len(caplog.records) == 3, "what fails anew is said at once"


def test_another_kind_of_fault_is_said_at_once(said):
    faults = Faults(lambda: 0.0)
    for why in (OSError("a"), OSError("b"), ValueError("a"), "GPU 1: 3 s", "GPU 12: 4 s", "GPU 1: lost"):
        faults.note("x", why)
    faults.note("y", OSError("a"))
    assert [line.partition(";")[0] for line in said()] == [
        "x: OSError: a",
        "x: ValueError: a",
        "x: GPU 1: 3 s",
        "x: GPU 1: lost",
        "y: OSError: a",
    ]
    assert faults.counts == {"x": 6, "y": 1}


def test_no_fault_is_lost_between_threads():
    faults = Faults(lambda: 0.0)

    def fail():
        for _ in range(2_000):
            faults.note("x", "y")

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults.counts == {"x": 8_000}


def test_one_is_singular():
    assert [counted(n, "GPU") for n in (0, 1, 2, 12_345)] == ["0 GPUs", "1 GPU", "2 GPUs", "12,345 GPUs"]
    assert counted(2, "entry", "entries") == "2 entries"
