"""What of the node beyond its GPUs may be each job's: laws of the split, and of the counters of CPU time."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed.agent.accounts.ledger import GpuKey, JobAccount
from wattshed.agent.accounts.node_shares import (
    ESTIMATED,
    STALE_US,
    Beyond,
    CpuUse,
    NodeShares,
    WindowBooks,
    apportion,
)
from wattshed.agent.window import IDLE, NO_CPU_TIMES, CpuTime, CpuTimes, JobKey

S = 1_000_000
HNJ = st.integers(0, 2**70)
KEYS = st.sampled_from(["a", "b", "c", IDLE])


def books(jobs, start_us=0, end_us=S, cpu=NO_CPU_TIMES, gpus=2, idle_hnj=0):
    """The books of a window: of each job its time and energy on GPUs so far."""
    window = SimpleNamespace(host="h", start_us=start_us, end_us=end_us, cpu=cpu, devices=range(gpus))
    accounts = {}
    for key, on in jobs.items():
        job = accounts[JobKey(key)] = JobAccount(JobKey(key))
        for gpu, (time_us, hnj) in on.items():
            line = job.line(GpuKey("h", str(gpu)))
            line.active_us, line.dynamic_hnj = time_us, hnj
    return WindowBooks(window, [SimpleNamespace(idle_hnj=idle_hnj, unattributed_hnj=0)], accounts)


def read(second, **used):
    counters = tuple(CpuTime(JobKey(key), place, int(s * S)) for place, (key, s) in enumerate(used.items()))
    return CpuTimes(4, second * S, counters)


@given(HNJ, st.dictionaries(KEYS, st.integers(0, 2**62)))
def test_parts_sum_to_the_total_and_none_is_off_by_more_than_one(total, weights):
    parts, whole = apportion(total, weights), sum(weights.values())
    assert sum(parts.values()) == total
    assert all(abs(part * whole - total * weights.get(key, 1)) < whole for key, part in parts.items() if whole)
    assert whole or set(parts) <= {IDLE}


ON = st.dictionaries(st.integers(0, 1), st.tuples(st.integers(0, 3 * S), HNJ), max_size=2)
STEPS = st.lists(
    st.tuples(
        st.builds(Beyond, HNJ, HNJ, HNJ),
        st.integers(0, 2 * S),
        st.one_of(st.none(), st.integers(-(10**7), 10**7)),
        st.dictionaries(st.sampled_from(["a", "b"]), ON),
        st.one_of(st.none(), st.lists(st.tuples(KEYS, st.integers(0, 3), st.integers(0, 2**40)), max_size=4)),
    ),
    max_size=5,
)


@settings(max_examples=60)
@given(STEPS)
def test_whatever_is_heard_jobs_and_nobody_sum_to_the_node_beyond_its_gpus(steps):
    shares, jobs, wanted = NodeShares(), {}, Beyond()
    for second, (used, covered_us, rest_mw, on, counters) in enumerate(steps, 1):
        rows = tuple(CpuTime(JobKey(key), place, us) for key, place, us in counters or ())
        cpu = NO_CPU_TIMES if counters is None else CpuTimes(4, second * S, rows)
        of = books(on, second * S, (second + 1) * S, cpu)
        for key, job in of.jobs.items():
            job.node_hnj = jobs.get(key, {})
        jobs |= {key: job.node_hnj for key, job in of.jobs.items()}
        shares.hear(of)
        shares.share(used, covered_us, rest_mw, of)
        wanted = Beyond(*map(sum, zip(wanted, used, strict=True)))
    every = [*jobs.values(), *shares.nobodys_hnj.values()]
    assert Beyond(*(sum(parts.get(part, 0) for parts in every) for part in ESTIMATED)) == wanted
    assert all(hnj > 0 for parts in every for hnj in parts.values())
    assert NodeShares.of_plain(shares.plain()).plain() == shares.plain()


def test_a_counter_counts_from_its_first_reading_and_anew_when_it_falls():
    use, jobs = CpuUse(), books({"a": {}, "b": {}}).jobs
    use.read(read(0, a=50), jobs)
    use.read(read(1, a=51, b=9), jobs)
    use.read(read(2, a=0.25, b=10), jobs)
    use.read(read(3, a=1.25, b=10), jobs)
    assert use.take(3 * S) == {"a": 2 * S, "b": 1 * S, IDLE: 9 * S}


def test_what_a_vanished_cgroup_used_last_is_nobodys():
    use, jobs = CpuUse(), books({"a": {}}).jobs
    for second in range(3):
        use.read(read(second, a=2 * second), jobs)
    use.read(read(3), jobs)
    use.read(read(4, a=100), jobs)  # whatever has its number now begins anew
    assert use.take(4 * S) == {"a": 4 * S, IDLE: 12 * S}


def test_without_a_reading_the_last_shares_stand_for_a_while():
    use, jobs = CpuUse(), books({"a": {}}).jobs
    use.read(read(0, a=0), jobs)
    use.read(read(1, a=1), jobs)
    assert use.take(S) == use.take(S + STALE_US) == {"a": S, IDLE: 3 * S}
    assert use.take(S + STALE_US + 1) == {}


def test_who_has_no_account_uses_nothing():
    use = CpuUse()
    use.read(read(0, a=0), {})
    use.read(read(1, a=1), {})
    assert use.take(S) == {IDLE: 4 * S}


def test_rest_above_its_lowest_mean_goes_by_board_joules():
    shares = NodeShares(begun=True)
    shares.hear(of := books({"a": {0: (S, 30)}, "b": {1: (S, 10)}}, idle_hnj=0))
    shares.share(Beyond(rest=10_000_000), S, 2, of)  # 2 mW over a second: 4,000,000 hnj
    assert shares.fixed_mw == 2
    assert {key: job.node_hnj["rest"] for key, job in of.jobs.items()} == {"a": 6_500_000, "b": 3_500_000}


def test_what_is_fixed_is_booked_after_a_debt():
    shares = NodeShares(begun=True, fixed_mw=2)
    for second in range(2):
        shares.hear(of := books({"a": {0: ((second + 1) * S, 0)}}, second * S, (second + 1) * S, gpus=1, idle_hnj=8))
        shares.share(Beyond(rest=10_000_000 if second else 0), S, None, of)
    assert of.jobs["a"].node_hnj == {"rest": 8_000_000}
    assert shares.nobodys_hnj == {IDLE: {"rest": 2_000_000}}
    assert shares.owed_hnj == 0


def test_a_shared_gpu_counts_once():
    shares = NodeShares(begun=True)
    shares.hear(of := books({"a": {0: (S, 0)}, "b": {0: (S, 0)}, "c": {1: (S, 0)}}))
    shares.share(Beyond(rest=4_000_000), S, None, of)
    assert {key: job.node_hnj["rest"] for key, job in of.jobs.items()} == {"a": 10**6, "b": 10**6, "c": 2 * 10**6}
