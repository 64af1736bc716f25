"""What rows of process utilisation mean: the same activities whatever it is, and the driver tells which one it is."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples, few
from tests.meters.driver_rows import BASE_US, Driver, TickDriver
from tests.virtual import agent, simulated
from wattshed.agent.accounts.uncertainty import job_sigma_j
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.process_rows import ProcessRow
from wattshed.agent.meters.shares import ACTIVE, INTERVAL, LATEST, NOT_KNOWN, QUESTION, SAMPLE_US, SAMPLES, Shares
from wattshed.agent.window import MISSING

READINGS = (INTERVAL, ACTIVE, LATEST)


def asked(driver, shares, seconds, *, every_us=None, at_us=BASE_US + 60_000_000, order=lambda rows: rows):
    """Ask as the poller does: for each sample as long as that is needed, a question and a total once a second."""
    shares.begin(order(driver.rows(0, at_us)), at_us, 0)
    totals = []
    for second in range(seconds):
        end_us = at_us + (second + 1) * 1_000_000
        now_us = end_us - 1_000_000
        while shares.each_sample and (now_us := now_us + (every_us or int(shares.sample_us * 0.9))) < end_us:
            shares.add(order(driver.rows(shares.since_us, now_us)), now_us)
        shares.add(order(driver.rows(shares.since_us, end_us)), end_us)
        if since_us := shares.question_us():
            shares.answer(order(driver.rows(since_us, end_us)))
        totals.append(shares.take())
    return totals


def mean(totals, pid):
    return sum((total or {}).get(pid, 0.0) for total in totals) / len(totals)


BURSTY = {7: (80, 0, 0, 0, 0, 10), 8: (15,)}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("period_us", [SAMPLE_US, 200_000, 167_130])
def test_a_burst_beside_a_steady_load_is_what_it_was_whatever_rows_mean(reading, period_us):
    shares = Shares()
    totals = asked(Driver(reading, BURSTY, period_us), shares, 60)
    assert shares.reading == reading
    assert not shares.reason
    assert mean(totals, 7) == pytest.approx(0.15, rel=0.02)
    assert mean(totals, 8) == pytest.approx(0.15, rel=0.02)


def in_turns(percent, seed=5, **often):
    """Samples of processes that are on a GPU in turns, as often as stated, and keep it so busy together."""
    pids = random.Random(seed).choices([int(name[1:]) for name in often], list(often.values()), k=997)
    return [(pid, percent) for pid in pids]


ONE_A_SAMPLE = {
    "in turns": in_turns(99, p7=80, p8=20),
    "in turns, and idle between": in_turns(60, p7=40, p8=40, p9=20),
    "bursts that keep step with the samples": [(7, 50), (7, 99), (8, 49), (8, 100), (8, 100)],
    "nobody now and then": [*in_turns(90, p7=30, p8=60), *[(0, 0)] * 300],
}


@pytest.mark.parametrize("load", ONE_A_SAMPLE)
def test_a_driver_that_names_one_process_a_sample_is_understood_within_half_a_minute(load):
    samples, shares = ONE_A_SAMPLE[load], Shares()
    asked(TickDriver(samples), shares, 30)
    assert shares.reading == INTERVAL
    assert not shares.reason
    seconds = len(samples) // 5 * 2
    totals = asked(TickDriver(samples), shares, seconds, at_us=BASE_US + 120_000_000)
    for pid in {pid for pid, _ in samples} - {0}:
        did = sum(percent for named, percent in samples if named == pid) / len(samples) / 100
        assert mean(totals, pid) == pytest.approx(did, rel=0.02)
    did = sum(percent for _, percent in samples) / len(samples) / 100
    assert sum(mean(totals, pid) for pid in (7, 8, 9)) <= did + 0.01, "no more than the GPU did"


def test_a_load_that_keeps_step_with_the_samples_has_all_or_nothing():
    """Busy from 0 to 10 ms of each 100 ms, and another from 30 to 70 ms: each tick finds the first, for good.

    Nothing that the driver says shows that there was another one: this is a bound of what can be known.
    """
    shares = Shares()
    totals = asked(TickDriver([(7, 50)]), shares, 60)
    assert mean(totals, 7) == pytest.approx(0.5, rel=0.01)
    assert mean(totals, 8) == 0
    assert not shares.reason
    assert not shares.reading


@pytest.mark.parametrize("reading", READINGS)
def test_steady_loads_tell_nothing_and_need_nothing(reading):
    shares = Shares()
    totals = asked(Driver(reading, {7: (20,), 8: (75,)}), shares, 60)
    assert not shares.reading
    assert not shares.reason  # whatever rows mean, they say the same
    assert mean(totals, 7) == pytest.approx(0.20, rel=0.01)
    assert mean(totals, 8) == pytest.approx(0.75, rel=0.01)


def test_a_row_for_every_sample_needs_no_question():
    shares = Shares()
    totals = asked(Driver(SAMPLES, BURSTY), shares, 60)
    assert shares.reading == SAMPLES
    assert mean(totals[5:], 7) == pytest.approx(0.15, rel=0.05)
    assert mean(totals[5:], 8) == pytest.approx(0.15, rel=0.02)


@pytest.mark.parametrize("reading", [ACTIVE, LATEST])
def test_a_driver_that_is_asked_too_rarely_is_known_to_be(reading):
    shares = Shares()
    shares.reading = reading
    asked(Driver(reading, BURSTY), shares, 60, every_us=500_000)
    assert shares.sparse
    assert "too slow" in shares.reason


patterns = st.lists(st.integers(0, 50), min_size=1, max_size=9).map(tuple)


@settings(deadline=None, max_examples=examples(60))
@given(
    st.dictionaries(st.integers(1, 5), patterns, min_size=1, max_size=2),
    st.sampled_from(READINGS),
    st.sampled_from([SAMPLE_US, 200_000, 500_000]),
)
def test_activities_add_up_to_what_the_gpu_did(activities, reading, period_us):
    # Samples are as far apart as stamps are: of one process that is active in every other sample nobody could tell.
    activities = activities | {9: (3,)}
    driver, shares = Driver(reading, activities, period_us), Shares()
    totals = asked(driver, shares, 30)
    for total in totals:
        assert all(0.0 <= ratio <= 1.0 for ratio in (total or {}).values())
        assert not (total or {}).keys() - {pid for pid, pattern in activities.items() if any(pattern)}
    used = sum(sum(pattern) / len(pattern) / 100 for pattern in activities.values())
    if shares.reason == NOT_KNOWN:  # as the rows say it, which may be of the samples in which it was active
        used = sum(max(pattern) / 100 for pattern in activities.values())
    assert sum(mean(totals, pid) for pid in activities) <= used * 1.03 + 0.03


@settings(deadline=None, max_examples=examples(30))
@given(st.sampled_from(READINGS), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(reading, chance):
    def shuffled(rows):
        return chance.sample(rows, len(rows))

    one, other = Shares(), Shares()
    assert asked(Driver(reading, BURSTY), one, 12) == asked(Driver(reading, BURSTY), other, 12, order=shuffled)
    assert one.reading == other.reading


def test_garbage_is_dropped():
    """A GPU with dead processes answers a hundred entries, most of them empty, others in the thousands."""
    empty = [ProcessRow(0, 0, 0)] * 97
    garbage = [
        ProcessRow(50_554, 217_144_956_601_725, 37_100),
        ProcessRow(50_021, 158_819_300_671_603, 38_305),
        ProcessRow(50_017, 49_936, 0),
    ]
    clean, dirty = Shares(), Shares()
    driver = Driver(INTERVAL, BURSTY)
    assert asked(driver, clean, 12) == asked(driver, dirty, 12, order=lambda rows: [*garbage, *rows, *empty])


def told_of_memory(rows):
    """Pid 7 keeps memory busy as long as the SMs, pid 8 longer; of 9 the driver does not say."""
    return [row._replace(memory_percent={7: row.percent, 8: 100, 9: 2**31 - 16}[row.pid]) for row in rows]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("every_us", [None, 500_000])
def test_memory_is_told_beside_activity_whatever_rows_mean(reading, every_us):
    shares = Shares()
    driver = Driver(reading, BURSTY | {9: (4,)})
    totals = asked(driver, shares, 40, every_us=every_us, order=told_of_memory)
    assert totals[-1].keys() >= {8, 9}
    assert shares.memory.keys() <= totals[-1].keys() - {9}
    assert shares.memory[8] == pytest.approx(100 / 15)
    assert shares.memory.get(7, 1.0) == pytest.approx(1.0)
    shares.rest()
    assert not shares.memory


def test_what_was_sampled_while_one_was_alone_does_not_count():
    driver, shares = Driver(INTERVAL, {7: (80,), 8: (10,)}), Shares()
    asked(driver, shares, 5)
    shares.rest()
    assert shares.take() is None
    driver.activities = {7: (0,), 8: (0,)}
    driver.reading = ACTIVE
    later_us = BASE_US + 75_000_000
    assert asked(driver, shares, 3, at_us=later_us)[0] in (None, {})


def test_a_question_begins_at_a_stamp_and_a_quarter_of_a_sample_after_what_is_reckoned():
    """The row of a stamp must not come again; a sample that was reckoned may be a little later than that."""
    shares, now_us = Shares(), BASE_US + 60_000_000
    row = ProcessRow(7, now_us - 1000, 50)
    assert not shares.begin([row], now_us, 0)
    assert shares.since_us == row.stamp_us
    assert shares.begin([row], now_us, 500_000)
    assert shares.since_us == row.stamp_us - 500_000 + SAMPLE_US // 4
    assert not shares.begin([], now_us + 2_000_000, 0)
    assert shares.since_us == row.stamp_us + 2_000_000 + SAMPLE_US // 4


def test_a_driver_whose_clock_is_set_back_is_heard_again():
    driver, shares = Driver(INTERVAL, BURSTY), Shares()
    shares.reading = INTERVAL
    now_us = BASE_US + 60_000_000
    asked(driver, shares, 5)
    found = []
    for second in range(10):
        at_us = now_us + (6 + second) * 1_000_000
        back_us = at_us - 3_000_000 * 10  # half a minute
        if not shares.begun:
            shares.begin(driver.rows(0, back_us), at_us, 0)
        else:
            shares.add([row for row in driver.rows(shares.since_us, back_us) if row.stamp_us > shares.since_us], at_us)
        found.append(shares.take())
    assert found[-1][7] == pytest.approx(0.15, rel=0.1)


def test_a_question_is_asked_only_when_the_answer_tells():
    shares = Shares()
    asked(Driver(INTERVAL, {7: (30,), 8: (33,)}), shares, 3)
    assert len(shares._samples) == QUESTION
    assert shares.question_us() == 0


def job(name, *load):
    steps = ", ".join(f"[{seconds}, {5.0 * percent}, {percent}]" for seconds, percent in load)
    return f'[[job]]\nname = "{name}"\nstart_s = 10\nend_s = 290\nload = [{steps}]\n'


PATTERNS = {
    "bursty beside steady": [[(0.15, 80), (0.85, 0)], [(1.0, 15)]],
    "two bursty": [[(0.15, 80), (0.85, 0)], [(0.33, 60), (0.5, 0)]],
    "20/80": [[(1.0, 20)], [(1.0, 75)]],
    "three": [[(0.15, 40), (0.85, 0)], [(1.0, 15)], [(2.1, 30), (1.7, 5)]],
}


@pytest.mark.parametrize("rows", READINGS)
@pytest.mark.parametrize("pattern", few(list(PATTERNS)))
def test_jobs_that_share_pay_what_they_drew_whatever_rows_mean(tmp_path, rows, pattern):
    """They draw 5 W per percent, so that activity tells the truth about power."""
    jobs = "".join(job(i + 1, *load) for i, load in enumerate(PATTERNS[pattern]))
    (tmp_path / "node.toml").write_text(f'gpus = 1\ncycle_s = 300\n[[gpu]]\nrows = "{rows}"\n{jobs}')
    node, clock = simulated(tmp_path, str(tmp_path / "node.toml"))
    one = agent(node, clock, seconds=300, keep_us=10**12)
    one.daemon.run()
    truth = node.truth.jobs_nj(one.windows[0].start_us, one.windows[-1].end_us)
    assert len(one.accounts.ledger.jobs) == len(PATTERNS[pattern])
    for key, billed in one.accounts.ledger.jobs.items():
        drawn_j = sum(truth[key, 0]) / 1e9
        billed_j = sum(line.static_hnj + line.dynamic_hnj for line in billed.lines.values()) / 2e9
        assert billed_j == pytest.approx(drawn_j, rel=0.025), key
    (account,) = one.accounts.gpus.values()
    assert account.unattributed_hnj <= account.energy_hnj * 0.002
    told = [w.devices[0].capabilities.get("process_rows") for w in one.windows]
    assert told[12] == NOT_KNOWN
    assert not any(told[60:])
    one.close()


TURNS = {
    "at once": (0.05, [(1.0, 60)], [(1.0, 20)]),
    "in long bursts": (0.05, [(3.13, 70), (3.71, 0)], [(4.19, 20), (1.37, 10)]),
    "in short bursts": (0.2, [(0.313, 40), (0.371, 0)], [(1.0, 15)], [(2.117, 30), (1.703, 5)]),
}
"""How far the bills are off at most, and the loads. A sample is of the 0.2 s before the tick that names its process: of
each burst that costs some 0.1 s, which whoever is next has."""


@pytest.mark.parametrize("pattern", few(list(TURNS)))
def test_jobs_whose_driver_names_one_process_a_sample_pay_nearly_what_they_drew(tmp_path, pattern):
    """As rows of a real driver are; 5 W per percent, as above."""
    within, *loads = TURNS[pattern]
    jobs = "".join(job(i + 1, *load) for i, load in enumerate(loads))
    (tmp_path / "node.toml").write_text(f"gpus = 1\ncycle_s = 300\n{jobs}")
    node, clock = simulated(tmp_path, str(tmp_path / "node.toml"))
    assert node.cards[0].rows == "tick"
    one = agent(node, clock, seconds=300, keep_us=10**12)
    one.daemon.run()
    truth = node.truth.jobs_nj(one.windows[0].start_us, one.windows[-1].end_us)
    assert len(one.accounts.ledger.jobs) == len(loads)
    for key, billed in one.accounts.ledger.jobs.items():
        drawn_j = sum(truth[key, 0]) / 1e9
        assert billed.energy_hnj / 2e9 == pytest.approx(drawn_j, rel=within), key
        assert abs(billed.energy_hnj / 2e9 - drawn_j) < job_sigma_j(billed, one.accounts.gpus), key
    (account,) = one.accounts.gpus.values()
    assert account.unattributed_hnj <= account.energy_hnj * 0.002
    assert one.windows[60].devices[0].capabilities["process_rows"] == ""
    one.close()


def test_a_row_that_comes_just_before_it_is_asked_for_loses_nothing(tmp_path):
    """Every call takes 150 us, and the driver takes its next sample 300 us after a window ends."""
    jobs = f"{job(1, (1.0, 80))}{job(2, (1.0, 10))}"
    (tmp_path / "node.toml").write_text(f'gpus = 1\ncycle_s = 300\n[[gpu]]\nrows = "interval"\n{jobs}')
    node, clock = simulated(tmp_path, str(tmp_path / "node.toml"))
    meter = NvmlMeter(Nvml(clock, node.library), clock, "sim", simulated=True, proc_root=node.proc_root)
    meter.open()
    (watch,) = meter.watches
    begun_us = clock.now_us() - clock.now_us() % 1_000_000
    for second in range(12, 18):
        clock.sleep_until(begun_us + second * 1_000_000 - 300)
        found = watch.busy_shares(clock.now_us(), clock.now_us() - 1_000_000)
        assert sorted(found.values()) == pytest.approx([0.1, 0.8], rel=0.001)
        assert [*watch.shares.memory.values()] == pytest.approx([0.3, 0.3], abs=0.001)


def test_what_rows_mean_holds_for_every_gpu_of_the_driver_and_after_a_new_session(tmp_path):
    first = "".join(job(i + 1, *load) for i, load in enumerate(PATTERNS["bursty beside steady"]))
    other = "".join(
        job(i + 11, *load).replace("start_s = 10", "gpus = [1]\nstart_s = 10")
        for i, load in enumerate(PATTERNS["20/80"])
    )
    (tmp_path / "node.toml").write_text(f"gpus = 2\ncycle_s = 300\n{first}{other}")
    node, clock = simulated(tmp_path, str(tmp_path / "node.toml"))
    one = agent(node, clock, seconds=60, keep_us=10**12)
    one.daemon.run()
    assert [d.capabilities["process_rows"] for d in one.windows[-1].devices] == ["", ""]
    before, sessions = len(one.windows), one.sampler.calls()["nvmlInitWithFlags"].counts[-1]
    one.sampler.look()
    one.daemon.run()
    assert one.sampler.calls()["nvmlInitWithFlags"].counts[-1] > sessions
    later = one.windows[before:]
    assert len(later) >= 60
    assert {device.capabilities["process_rows"] for window in later for device in window.devices} == {""}
    one.close()


def test_a_process_list_of_one_is_not_asked_for(tmp_path):
    (tmp_path / "node.toml").write_text(f"gpus = 1\ncycle_s = 300\n{job(1, (1.0, 50))}")
    node, clock = simulated(tmp_path, str(tmp_path / "node.toml"))
    one = agent(node, clock, seconds=60)
    one.daemon.run()
    assert "process_rows" not in one.windows[-1].devices[0].capabilities
    assert MISSING in one.windows[30].usage.activity_us.tolist()
    one.close()


SLOW = PATTERNS | {"slow bursts": [[(7, 80), (23, 0)], [(1.0, 15)]]}
WITHIN = {ACTIVE: {"three": 0.35}}
"""What lies in these bills beside the rule: a tenth of the GPU's time that seems to be a quarter of it for a minute."""


@pytest.mark.parametrize("rows", READINGS)
@pytest.mark.parametrize("pattern", few(list(SLOW)))
def test_a_driver_too_slow_to_be_asked_for_each_sample(tmp_path, rows, pattern):
    """Rows of bursts cannot be told from each other then: the bill is within a fifth, and sigma says so."""
    jobs = "".join(job(i + 1, *load) for i, load in enumerate(SLOW[pattern]))
    slow = '[[fault]]\nkind = "latency"\nat_s = 0\nfor_s = 1000\nvalue = 20000\n'
    (tmp_path / "node.toml").write_text(f'gpus = 1\ncycle_s = 300\n[[gpu]]\nrows = "{rows}"\n{jobs}{slow}')
    node, clock = simulated(tmp_path, str(tmp_path / "node.toml"))
    one = agent(node, clock, seconds=300, keep_us=10**12)
    one.daemon.run()
    truth = node.truth.jobs_nj(one.windows[0].start_us, one.windows[-1].end_us)
    assert len(one.accounts.ledger.jobs) == len(SLOW[pattern])
    for key, billed in one.accounts.ledger.jobs.items():
        drawn_j = sum(truth[key, 0]) / 1e9
        off_j = billed.energy_hnj / 2e9 - drawn_j
        assert abs(off_j) < drawn_j * WITHIN.get(rows, {}).get(pattern, 0.2), key
        assert abs(off_j) < job_sigma_j(billed, one.accounts.gpus), key
    told = [w.devices[0].capabilities.get("process_rows") for w in one.windows]
    assert told[250] == ("" if pattern == "20/80" else NOT_KNOWN)
    one.close()
