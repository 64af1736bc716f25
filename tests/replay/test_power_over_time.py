"""The picture of a replay: its power over time holds the energy that was booked, in few steps, with gaps as gaps."""

import argparse
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.commands import replay as command
from wattshed.agent.errors import InputError
from wattshed.agent.printing.pictures import check_target
from wattshed.agent.replay.books import book, finish, new_part
from wattshed.agent.replay.points import at_steps
from wattshed.agent.replay.power import PowerOverTime
from wattshed.agent.replay.reading_flags import settings_of
from wattshed.agent.traces.sources import find
from wattshed.agent.window import Readings, Window

JOBS = "job,host,gpu,start,end\na,,0,1000,1030\nb,,1,1010,1050\n"


def arguments(*words):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["replay", *map(str, words)])


@pytest.fixture
def trace(tmp_path):
    def written(seconds, watts=(100, 300), gap=range(0)):
        rows = [f"{1000 + t},{gpu},{power}" for t in seconds if t not in gap for gpu, power in enumerate(watts)]
        (tmp_path / "t.csv").write_text("time,gpu,power\n" + "\n".join(rows) + "\n")
        (tmp_path / "jobs.csv").write_text(JOBS)
        return tmp_path / "t.csv"

    return written


def followed(path, most=1500, columns="time=time:s,gpu=gpu,power=power"):
    args = arguments(path, "--jobs", path.parent / "jobs.csv", "--idle-watts", "50", "--columns", columns)
    asked = settings_of(args)
    (chain,) = find(args.trace, asked.options)
    power, part = PowerOverTime(most), new_part(asked)
    follower = power.follow(part.accounts)
    book(chain, asked, part, cut=follower.cut)
    finish(part)
    follower.take()
    return power, part


@settings(max_examples=5, deadline=None)
@given(most=st.integers(2, 400), length=st.integers(40, 300), low=st.integers(60, 400))
def test_a_steady_load_is_level_whatever_the_steps(tmp_path_factory, most, length, low):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    rows = [f"{1000 + t},0,{low}" for t in range(length)]
    path.write_text("time,gpu,power\n" + "\n".join(rows) + "\n")
    (path.parent / "jobs.csv").write_text(JOBS)
    power, _ = followed(path, most)
    steps = power.steps()
    assert max(steps) - min(steps) < most
    assert all(sum(watts.values()) == pytest.approx(low) for watts in steps.values())
    assert power.step_us % 1_000_000 == 0


@settings(max_examples=examples(25), deadline=None)
@given(
    most=st.integers(2, 60),
    hosts=st.lists(
        st.tuples(st.integers(0, 5000), st.lists(st.integers(1, 700), min_size=2, max_size=90)), min_size=1, max_size=3
    ),
)
def test_every_joule_is_in_a_step_and_there_are_few_of_them(tmp_path_factory, most, hosts):
    """Whatever the load, however far apart the hosts, and wherever steps become longer meanwhile."""
    path = tmp_path_factory.mktemp("t") / "t.csv"
    rows = [
        f"{begin + t},n{n},0,{watts}" for n, (begin, load) in enumerate(hosts) for t, watts in enumerate(load)
    ]  # fmt: skip
    path.write_text("time,host,gpu,power\n" + "\n".join(rows) + "\n")
    (path.parent / "jobs.csv").write_text(JOBS)
    power, part = followed(path, most, "time=time:s,host=host,gpu=gpu,power=power")
    steps, told = power.steps(), power.energies_j()
    assert max(steps) - min(steps) < most
    accounts = part.accounts.gpus.values()
    assert sum(told.values()) == pytest.approx(sum(one.energy_hnj for one in accounts) / 2e9, rel=1e-12)
    assert told.get("_idle", 0) == pytest.approx(sum(one.idle_hnj for one in accounts) / 2e9, rel=1e-12)
    most_w = sum(max(load) for _, load in hosts)
    assert all(0 <= sum(watts.values()) <= most_w * 1.001 for watts in steps.values())


def test_each_jobs_power_is_that_of_its_time_and_a_gap_is_no_step(trace):
    power, part = followed(trace(range(100), gap=range(60, 80)))
    steps = power.steps()
    assert power.step_us == 1_000_000
    assert steps[1005] == pytest.approx({"a": 100, "_idle": 50, "_unattributed": 250})
    assert steps[1020] == pytest.approx({"a": 100, "b": 300})
    assert steps[1040] == pytest.approx({"_idle": 50, "_unattributed": 50, "b": 300})
    assert not set(range(1062, 1079)) & set(steps)
    energy = sum(account.energy_hnj for account in part.accounts.gpus.values()) / 2e9
    assert sum(power.energies_j().values()) == energy


@pytest.mark.parametrize("period", [2, 7, 30])
def test_readings_that_are_further_apart_than_steps_leave_no_hole(trace, period):
    """Each step between the first reading and the last is known, and holds what the steady load drew."""
    power, part = followed(trace(range(0, 300, period)))
    steps = power.steps()
    assert power.step_us == 1_000_000
    assert set(range(1002, 1000 + 299 // period * period)) <= set(steps)
    assert {round(sum(watts.values()), 6) for place, watts in steps.items() if place > 1002} == {400}
    energy = sum(account.energy_hnj for account in part.accounts.gpus.values()) / 2e9
    assert sum(power.energies_j().values()) == energy


def test_who_looks_in_between_moves_no_joule():
    """A recording that is cut at steps is booked as it is without: but for activity, which is cut to whole numbers."""
    args = arguments("examples/recordings/h200-minute")
    asked = settings_of(args)
    booked = []
    for step_us in (1 << 60, 1_000_000, 300_000, 15_000_000):
        (chain,) = find(args.trace, asked.options)
        part = new_part(asked)
        book(chain, asked, part, cut=partial(at_steps, step_us=step_us))
        accounts = finish(part).accounts
        times = {key: (job.start_us, job.end_us) for key, job in accounts.ledger.jobs.items()}
        joules = {key: job.energy_hnj / 2e9 for key, job in accounts.ledger.jobs.items()}
        booked.append((times, pytest.approx(joules, rel=1e-6), [one.energy_hnj for one in accounts.gpus.values()]))
    assert all(one[0] == booked[0][0] and one[2] == booked[0][2] for one in booked)
    assert all(one[1] == booked[0][1].expected for one in booked)


@settings(max_examples=examples(60), deadline=None)
@given(
    times=st.lists(st.lists(st.integers(0, 99), max_size=12, unique=True), min_size=1, max_size=3),
    step=st.integers(1, 40),
)
def test_pieces_have_readings_of_each_gpu_that_the_window_has(times, step):
    rows = [sorted(own) for own in times]
    offsets = np.cumsum([0, *map(len, rows)])
    time_us = np.array([t for own in rows for t in own], np.int64)
    readings = Readings(offsets, time_us, np.ones(len(time_us), np.int32), np.full(len(time_us), -1))
    window = Window("n", 0, 0, 100, (), readings, np.empty(0, np.int64))
    pieces = list(at_steps(window, step))
    assert [piece.end_us for piece in pieces[:-1]] == [piece.start_us for piece in pieces[1:]]
    assert all(piece.end_us % step == 0 for piece in pieces[:-1])
    for gpu, own in enumerate(rows):
        counts = [int(np.diff(piece.readings.offsets)[gpu]) for piece in pieces]
        assert sum(counts) == len(own)
        assert not own or min(counts) > 0


@pytest.mark.parametrize("name", ["p.svg", "p.png"])
def test_a_picture_names_jobs_units_and_the_clock(trace, tmp_path, name, capsys):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    path = trace(range(100), gap=range(60, 80))
    words = ("--columns", "time=time:s,gpu=gpu,power=power", "--timezone", "Europe/Berlin", "--format", "json")
    args = arguments(path, "--jobs", tmp_path / "jobs.csv", "--idle-watts", "50", "--plot", tmp_path / name, *words)
    assert args.run(args) == 0
    capsys.readouterr()
    data = (tmp_path / name).read_bytes()
    assert len(data) > 5000
    if name.endswith("svg"):
        text = data.decode()
        for told in (
            "clock time (Europe/Berlin, CET)",
            "power of GPU boards, W",
            "no reading",
            "GPU power by job, means of 1 s",
        ):
            assert told in text
        assert "b  3.33 Wh" in text


@pytest.mark.parametrize(("name", "why"), [("p.txt", "must end in"), ("no/p.svg", "does not exist")])
def test_what_cannot_be_drawn_is_refused_at_once(tmp_path, name, why):
    with pytest.raises(InputError, match=why):
        check_target(str(tmp_path / name))
