"""A job's own time: the union of its stretches, in whatever order they come."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.replay.times import JobTimes
from wattshed.agent.window import JobKey, Owner, Readings, Usage, Window

OWNERS = (Owner(JobKey("a")), Owner(JobKey("b")))
ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60), st.integers(0, 20)), max_size=10)


def window(rows):
    numbers = np.array(rows, np.int64).reshape(-1, 3)
    n = len(rows)
    usage = Usage(
        np.arange(n, dtype=np.int32), numbers[:, 0].astype(np.int32), numbers[:, 1], numbers[:, 1] + numbers[:, 2],
        np.full(n, -1), np.full(n, -1, np.int32), np.ones(n, np.int8),
    )  # fmt: skip
    return Window("h", 0, 0, 100, (), Readings.empty(0), np.empty(0, np.int64), OWNERS, usage)


@given(st.lists(ROWS, max_size=5), st.lists(ROWS, max_size=5))
def test_the_time_of_a_job_is_that_of_all_its_stretches_together(here, elsewhere):
    times, others = JobTimes(), JobTimes()
    for rows in here:
        times.add(window(rows))
    for rows in elsewhere:
        others.add(window(rows))
    times.merge(others)
    for place, owner in enumerate(OWNERS):
        mine = [row for rows in (*here, *elsewhere) for row in rows if row[0] == place]
        assert times.of(owner.key) == len({us for _, at, length in mine for us in range(at, at + length)})
