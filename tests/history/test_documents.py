"""What a document says of parts, against the same said by hand: power between any two edges, sums by GPU, states."""

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.history.made_up import MARCH_US, MODELS
from wattshed.agent.history.documents import Seen, UsedPart, by_gpu, job_document, power
from wattshed.agent.history.query import FoundJob, Used
from wattshed.agent.wire.parts import Doubt, JobPart, hnj_of

MINUTE_US = 60_000_000


@st.composite
def used_parts(draw):
    """Parts of one job that touch, overlap and leave holes, on two hosts of two GPUs; some are of no length."""
    found = []
    for seq in range(1, draw(st.integers(1, 8)) + 1):
        gpu, begin_us = draw(st.sampled_from(sorted(MODELS))), MARCH_US + draw(st.integers(0, 9))
        size = [draw(st.integers(0, 10**6)) for _ in range(5)]
        one = JobPart(
            seq, "slurm:1", MARCH_US, gpu, begin_us, begin_us + draw(st.integers(0, 4)), *size,
            doubt=Doubt(draw(st.integers(0, 99))),
        )  # fmt: skip
        found.append(UsedPart(one, draw(st.sampled_from(["n1", "n2"])), MODELS[gpu]))
    return found


@given(used_parts())
def test_power_between_two_edges_is_that_of_the_parts_which_cover_it(found):
    parts = [one.part for one in found if one.part.to_us > one.part.from_us]
    expected = []
    for begin, end in pairwise(sorted({edge for one in parts for edge in (one.from_us, one.to_us)})):
        mine = [Fraction(one.energy_hnj, one.to_us - one.from_us) for one in parts if one.from_us <= begin < one.to_us]
        expected.append((begin / 1e6, end / 1e6, sum(mine) / 2000 if mine else None))  # W are 2,000 hnj a us
    said = power(found)
    assert [(begin, end) for begin, end, _ in said] == [(begin, end) for begin, end, _ in expected]
    for (_, _, mine), (_, _, theirs) in zip(said, expected, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or abs(mine - theirs) < 2e-6


@given(used_parts())
def test_what_a_job_used_on_each_gpu_is_all_that_it_used(found):
    rows = {(row["host"], row["gpu"]): row for row in by_gpu(found)}
    assert list(rows) == sorted({(one.host, one.part.gpu) for one in found})
    for (host, gpu), row in rows.items():
        mine = [one.part for one in found if (one.host, one.part.gpu) == (host, gpu)]
        assert row["model"] == MODELS[gpu]
        assert hnj_of(row["static_j"]) == sum(one.static_hnj for one in mine)
        assert hnj_of(row["dynamic_j"]) == sum(one.dynamic_hnj for one in mine)
        assert hnj_of(row["energy_j"]) == sum(one.energy_hnj for one in mine)
        assert row["active_s"] == sum(one.active_us for one in mine) / 1e6
        assert row["held_s"] == sum(one.held_us for one in mine) / 1e6
        assert row["sigma_j"] == sum(one.doubt.gain_j for one in mine)
        assert (row["peak_w"] or 0) == max(one.peak_mw for one in mine) / 1e3


@given(
    running=st.booleans(), expected=st.none() | st.integers(1, 3), hosts=st.integers(1, 2),
    heard_us=st.none() | st.sampled_from([0, 1, 15 * MINUTE_US - 1, 15 * MINUTE_US, 15 * MINUTE_US + 1]),
)  # fmt: skip
def test_a_job_of_which_hosts_are_missing_waits_for_them_for_a_quarter_of_an_hour(running, expected, hosts, heard_us):
    end_us = MARCH_US + 7 * MINUTE_US
    job = FoundJob(
        1, (1,), "slurm:1", MARCH_US, "n1", tuple(f"n{n}" for n in range(hosts)), expected, MARCH_US,
        -1 if running else end_us, {}, 0, 1, 0, 0, Used(2_000 * 60_000_000),
    )  # fmt: skip
    collected_us = None if heard_us is None else end_us + heard_us
    said = job_document(job, Seen(1, MARCH_US + MINUTE_US), MARCH_US + 9 * MINUTE_US, collected_us)
    missing = expected is not None and hosts < expected
    if running:
        state = "running"
    elif not missing or heard_us is None:
        state = "complete"
    else:
        state = "waiting" if heard_us < 15 * MINUTE_US else "incomplete"
    assert said["state"] == state
    assert ("lower_bound" in said["flags"]) == (missing and not running)
    assert (said["elapsed_s"], said["end_s"]) == ((540.0, None) if running else (420.0, end_us / 1e6))
    assert said["mean_w"] == (1.0 if running else 1 / 7)
