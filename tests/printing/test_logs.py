"""A line that repeats is written a few times, and then once in ten minutes with how often it came."""

import io
import itertools
import logging
import signal

import pytest

from tests.exporters import snapshots
from wattshed.agent.printing.logs import FEW, REPEAT_S, AtARate, set_up_log
from wattshed.exporters.web.http import Server


@pytest.fixture
def log():
    """A log whose clock is turned by hand; gives it, and what it wrote."""
    now, out = [0.0], io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(AtARate(lambda: now[0]))
    one = logging.getLogger(__name__)
    one.setLevel(logging.DEBUG)
    one.addHandler(handler)

    def written():
        text = out.getvalue()
        out.seek(0)
        out.truncate()
        return text.splitlines()

    yield one, now, written
    one.removeHandler(handler)


def test_a_gpu_that_comes_and_goes_all_day_fills_no_disk(log):
    one, now, written = log
    for second in range(0, 3600, 10):
        now[0] = float(second)
        one.error("GPU %d is down: %s", 3, f"a driver call took {second} seconds")
    lines = written()
    assert len(lines) == FEW + 5
    assert not any("more in" in line for line in lines[:FEW])
    per_turn = int(REPEAT_S // 10)
    assert lines[FEW].endswith(f"({per_turn - FEW} more in the last 10 min)")
    assert all(line.endswith(f"({per_turn - 1} more in the last 10 min)") for line in lines[FEW + 1 :])


def test_what_is_about_something_else_is_written(log):
    one, _, written = log
    for _ in range(20):
        for gpu in range(16):
            one.info("GPU %d is back", gpu)
        for name in ("GPU 1", "GPU 2"):
            one.warning("XID %d: %s", 13, name)
    assert len(written()) == (16 + 2) * FEW


def test_measured_numbers_make_no_other_kind_and_debugging_sees_all(log):
    one, _, written = log
    for n in range(20):
        one.info("took %.1f ms", n / 7)
        one.debug("took %d", 1)
    assert len(written()) == FEW + 20


def test_after_a_pause_it_is_news_again(log):
    one, now, written = log
    one.info("back")
    now[0] = REPEAT_S
    one.info("back")
    assert written() == ["back", "back"]


def test_exceptions_of_one_kind_are_one_kind_whatever_they_are_about(log):
    one, _, written = log
    for n in range(50):
        one.warning("agent down: %s; retrying", OSError(n, "Connection to the host was refused"))
    assert len(written()) == FEW
    one.info("%s of %s", [1, 2], {"a": 1})  # what has no hash is said, too
    assert written() == ["[1, 2] of {'a': 1}"]


def test_of_very_many_kinds_only_so_many_are_remembered(log, monkeypatch):
    monkeypatch.setattr("wattshed.agent.printing.logs.MOST_KINDS", 100)
    one, _, written = log
    for _ in range(FEW + 1):
        one.info("job %s", "first")
    assert len(written()) == FEW
    for n in range(1000):
        one.info("job %s", f"j{n}")
    assert len(written()) == 1000
    one.info("job %s", "first")
    assert written() == ["job first"], "it was forgotten"


def test_a_server_that_is_out_of_descriptors_all_day_fills_no_disk_and_counts_each(caplog):
    server, now = Server(snapshots.rich, ["127.0.0.1:0"], environ={}), [0.0]
    caplog.handler.addFilter(AtARate(lambda: now[0]))
    for second in range(0, 3600, 10):
        now[0] = float(second)
        server.site.fault("http", "cannot accept a connection: Too many open files")
    assert len(caplog.records) == FEW + 5
    assert caplog.records[-1].getMessage().endswith("(59 more in the last 10 min)")
    assert server.site.snapshot().faults["http"] == 360


def test_a_signal_handlers_line_is_written_while_another_one_is(tmp_path, capsys):
    """Nor is either cut: the agent says that it was told to end wherever it is."""
    log, numbers = logging.getLogger("wattshed"), itertools.count()
    before = log.handlers[:], log.level, log.propagate
    was = signal.signal(signal.SIGALRM, lambda *_: log.info("inner %d", next(numbers)))
    try:
        with (tmp_path / "log").open("w") as stream:
            set_up_log("info", "text", {}, stream)
            for n in range(2000):
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + n % 50 * 1e-6)
                log.info("outer %d", n)
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, was)
        log.handlers[:], log.level, log.propagate = before
    lines = [line.split()[-2:] for line in (tmp_path / "log").read_text().splitlines()]
    assert [n for name, n in lines if name == "outer"] == [str(n) for n in range(2000)]
    assert sorted(int(n) for name, n in lines if name == "inner") == list(range(next(numbers))) != []
    assert capsys.readouterr().err == ""
