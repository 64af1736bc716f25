"""Parts and jobs that nobody ran, for the tests of the history."""

from hypothesis import strategies as st

from wattshed.agent.history.opening import open_database
from wattshed.agent.history.reporting import report_of
from wattshed.agent.history.store import Store
from wattshed.agent.history.sums import DAY_US
from wattshed.agent.wire.parts import END, Doubt, JobPart, JobRecord

HOUR_US = 3_600_000_000
MARCH_US = 1_772_323_200_000_000  # 2026-03-01T00:00:00Z
MODELS = {"GPU-0": "H100", "GPU-1": "H100", "GPU-2": "L40S"}
OWNERS = ("slurm:1", "slurm:2", "k8s:a/b", "_idle", "_unattributed")


def opened(place, store_id="one", host="n1", *, merged=False):
    """A store in a new file or database, or one that is there."""
    return Store(open_database(place), store_id, host, merged=merged)


def job(key, *, start_us=MARCH_US, end_us=-1, uid=1000, **labels):
    """Who a job is."""
    return JobRecord(key, start_us, start_us, end_us, uid, labels)


def part(seq, owner="slurm:1", *, begin_us=MARCH_US, length_us=HOUR_US, joules=1, gpu="GPU-0", **more):
    """What a job used in an hour of a GPU."""
    run_us = 0 if owner.startswith("_") else MARCH_US
    more.setdefault("doubt", Doubt(joules * 0.04))
    return JobPart(seq, owner, run_us, gpu, begin_us, begin_us + length_us, 0, joules * 2_000_000_000, **more)


JOBS = {
    ("slurm:1", MARCH_US): job("slurm:1", user="ada", account="physics", name="train"),
    ("slurm:2", MARCH_US): job("slurm:2", user="bob", account="physics", end_us=MARCH_US + 2 * DAY_US, uid=1001),
    ("k8s:a/b", MARCH_US): job("k8s:a/b", namespace="demo", uid=-1),
}


@st.composite
def parts(draw, most=25):
    """Any parts of a few owners on a few GPUs, over several days: short, long, empty, huge, with every sigma."""
    made = []
    for seq in range(1, draw(st.integers(1, most)) + 1):
        owner = draw(st.sampled_from(OWNERS))
        begin_us = MARCH_US + draw(st.integers(-DAY_US, 3 * DAY_US))
        length_us = draw(st.sampled_from([0, 1, 1_000_000, HOUR_US, DAY_US + 7, 5 * DAY_US]))
        size = draw(st.sampled_from([0, 1, 7, 1_999_999_999, 2_000_000_000, 2**63, 2**70 + 3]))
        share = draw(st.integers(0, 4))
        doubts = st.floats(0, 1e6)
        made.append(
            JobPart(
                seq, owner, 0 if owner.startswith("_") else MARCH_US, draw(st.sampled_from(list(MODELS))), begin_us,
                begin_us + length_us, size * share // 4, size - size * share // 4, draw(st.integers(0, length_us)),
                draw(st.integers(0, length_us)), draw(st.integers(0, 700_000)), draw(st.integers(0, 2)),
                draw(st.integers(0, 31)), Doubt(*(draw(doubts) for _ in range(5))), draw(st.sampled_from([0, END])),
                draw(st.none() | st.integers(0, length_us)),
                draw(st.none() | st.tuples(st.integers(-1000, 900_000), st.integers(0, 10**6))),
            )
        )  # fmt: skip
    return made


def report(database, by, asked):
    """The rows of a report on what is stored."""
    return report_of(database, by, asked).groups
