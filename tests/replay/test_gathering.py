"""Windows gathered into runs give the accounts that they give one by one, whatever lies between them."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.replay.books import Part, Settings, book, pieces_of
from wattshed.agent.replay.gathering import gathered
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.agent.window import Device, Event, Owner, Readings, Usage, Window

S = 1_000_000
DEVICES = tuple(Device(host, gpu, f"GPU-{host}{gpu}", "made-up") for host in "ab" for gpu in range(2))


@st.composite
def streams(draw):
    """Windows of two hosts, nearly always of power alone; GPUs that are read late or never, holes, counters, owners."""
    at, found = {"a": 10**15, "b": 10**15}, []
    late = draw(st.lists(st.integers(0, 8), min_size=4, max_size=4))
    for seq in range(draw(st.integers(1, 9))):
        host = draw(st.sampled_from("ab"))
        devices = tuple(device for device in DEVICES if device.host == host)
        start = at[host]
        times, powers, counts = [], [], []
        for gpu in range(2):
            silent = seq < late[2 * (host == "b") + gpu] or draw(st.integers(0, 5)) == 0
            steps = [] if silent else draw(st.lists(st.sampled_from([0, S // 2, S, 6 * S]), max_size=5))
            times.append(start + np.cumsum(steps, dtype=np.int64))
            powers += [draw(st.sampled_from([0, 70_000, 300_000])) for _ in steps]
            counts.append(len(steps))
        end = max([start + S, *(int(mine[-1]) for mine in times if len(mine))])
        at[host] = end + draw(st.sampled_from([0, 0, 20 * S]))
        flat = np.concatenate(times)
        kind = draw(st.sampled_from(["power"] * 6 + ["counter", "event", "owner", "instant"]))
        counter = np.arange(len(flat)) * 50 if kind == "counter" else np.full(len(flat), -1)
        power = np.array(powers, np.int32)
        instant = power + 1 if kind == "instant" else power[:0]
        readings = Readings(np.cumsum([0, *counts]), flat, power, counter.astype(np.int64), instant.astype(np.int32))
        window = Window(host, seq, start, end, devices, readings, np.full(2, -1))
        if kind == "event":
            window = replace(window, events=(Event(start, "lost", 0, ""),))
        if kind == "owner":
            one = (np.zeros(1, np.int32), np.zeros(1, np.int32), np.array([start]), np.array([end]))
            usage = Usage(*one, np.array([S // 2]), np.array([10**6], np.int32), np.ones(1, np.int8))
            window = replace(window, owners=(Owner("job"),), usage=usage)
        found.append(window)
    return found


def books(accounts):
    """All that accounts say in the end."""
    accounts.finish()
    return {
        key: (
            account.totals, account.energy_hnj, account.idle_hnj, account.silent_us, account.missing_us,
            account.rejected, account.power.quantiles(), accounts.state_of(key.host),
        )
        for key, account in accounts.gpus.items()
    }, sorted(accounts.ledger.shares()), {key: job.lines for key, job in accounts.ledger.jobs.items()}  # fmt: skip


@settings(max_examples=examples(200), deadline=None)
@given(streams(), st.sampled_from([1, 4, 10, 10**6]))
def test_runs_are_the_sum_of_their_windows(stream, rows):
    one_by_one, in_runs = Accounts(), Accounts()
    for window in stream:
        one_by_one.add(window)
    order = []
    for item in gathered(stream, rows):
        if isinstance(item, Window):
            in_runs.add(item)
            order.append((item.host, item.seq))
        else:
            in_runs.add_run(item)
            order += [(batch.host, int(seq)) for batch in item for seq in batch.seq]
    assert books(in_runs) == books(one_by_one)
    for host in "ab":
        assert [one for one in order if one[0] == host] == [(w.host, w.seq) for w in stream if w.host == host]


def test_the_first_reading_of_a_gpu_that_had_a_counter_is_all_there():
    """An instant reading is no power reading: a window that holds one stays what it is, also as a batch."""
    one_by_one, in_runs, stream = Accounts(), Accounts(), []
    for seq, (counter, instant) in enumerate([([0], []), ([-1], [1])]):
        at = 10**15 + seq * S
        readings = Readings(
            np.array([0, 0, 1]), np.array([at]), np.zeros(1, np.int32), np.array(counter), np.array(instant, np.int32)
        )
        stream.append(Window("a", seq, at, at + S, DEVICES[:2], readings, np.full(2, -1)))
    for window in stream:
        one_by_one.add(window)
    for item in gathered(stream, 1):
        (in_runs.add if isinstance(item, Window) else in_runs.add_run)(item)
    assert books(in_runs) == books(one_by_one)


@settings(max_examples=examples(60), deadline=None)
@given(streams())
def test_a_recording_is_booked_as_it_was_live(tmp_path_factory, stream):
    """Batches of a file hold many windows: of GPUs that are silent at first, and beside windows with owners."""
    folder, one_by_one, replayed = tmp_path_factory.mktemp("recording"), Accounts(), Part()
    for host in "ab":
        recorder = Recorder(folder, host, sync_s=float("inf"))
        for window in stream:
            if window.host == host:
                recorder.append(window)
                one_by_one.add(window)
        recorder.close()
    for chain in find([str(folder)], Options()):
        book(chain, Settings(Options()), replayed)
    assert books(replayed.accounts) == books(one_by_one)


def test_instants_of_a_batch_shape_a_gpu_with_a_counter(tmp_path):
    """A window without its counter is read in a batch; its instants count as they did live."""
    one_by_one, recorder = Accounts(), Recorder(tmp_path, "a", sync_s=float("inf"))
    read = [(300, 5, 310), (0, -1, 290), (200, -1, 280), (250, 900_000, 260)]
    for second, (power, counter, instant) in enumerate(read):
        columns = (np.array([second * S]), np.array([power * 1000], np.int32), np.array([counter]))
        readings = Readings(np.array([0, 1]), *columns, np.array([instant * 1000], np.int32))
        window = Window("a", second, second * S, (second + 1) * S, DEVICES[:1], readings, np.full(1, -1))
        recorder.append(window)
        one_by_one.add(window)
    recorder.close()
    replayed = Part()
    for chain in find([str(tmp_path)], Options()):
        book(chain, Settings(Options()), replayed)
    assert books(replayed.accounts) == books(one_by_one)


def test_a_run_is_long_and_no_longer_than_asked():
    busy = np.full(2, -1)
    readings = Readings(np.array([0, 1, 2]), np.array([5, 5]), np.array([7, 8], np.int32), np.array([-1, -1]))
    stream = [Window("a", seq, 0, 1, DEVICES[:2], readings, busy) for seq in range(7)]
    assert [len(run) for run in gathered(stream, 6)] == [3, 3, 1]
    counted = replace(stream[3], readings=replace(readings, counter_mj=np.array([5, -1])))
    assert [1 if isinstance(run, Window) else len(run) for run in gathered([*stream[:2], counted], 99)] == [2, 1]
    assert list(gathered([], 5)) == []


def recorded(folder):
    """A recording of some days in short segments, with readings of 0 W."""
    devices = DEVICES[:2]
    recorder = Recorder(folder, "a", segment_bytes=20_000, sync_s=float("inf"))
    for seq in range(60):
        start = 1_700_000_000 * S + seq * 3_600 * S
        times = start + np.tile(np.arange(6) * S, 2)
        powers = np.where(np.arange(12) % 6 == seq % 6, 0, 100_000 + seq).astype(np.int32)
        readings = Readings(np.array([0, 6, 12]), times, powers, np.full(12, -1))
        recorder.append(Window("a", seq, start, start + 6 * S, devices, readings, np.full(2, -1)))
    recorder.close()
    (chain,) = find([str(folder)], Options())
    return chain


def test_days_read_one_after_the_other_are_the_days_one_by_one(tmp_path, monkeypatch):
    """The books, and what is told of each file."""
    chain, whole, one_by_one, runs = recorded(tmp_path), Part(), Part(), []
    for piece in pieces_of(chain):
        book(piece, Settings(Options()), one_by_one)
    add_run = Accounts.add_run
    monkeypatch.setattr(
        Accounts, "add_run", lambda self, run, *rest: runs.append(len(run)) or add_run(self, run, *rest)
    )
    book(chain, Settings(Options()), whole)
    assert [r.rejected for r in whole.reports] == [r.rejected for r in one_by_one.reports]
    days = [source.path.parent for source in chain.sources]
    assert sum(r.rejected["zero"] for r in whole.reports) == 120
    assert sum(bool(r.rejected) for r in whole.reports) == len(set(days)) < len(days)
    assert books(whole.accounts) == books(one_by_one.accounts)
    # Short segments of a day are booked together.
    assert len(runs) == len(set(days))
    assert sum(runs) == len(days)
