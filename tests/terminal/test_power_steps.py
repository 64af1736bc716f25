"""Power that is shown at one moment is of one step: jobs, idle and unattributed power add up to the GPUs'."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.terminal.made import T0, S, answer, node, uuid
from wattshed.agent.terminal.following import AgentWatch
from wattshed.agent.terminal.head import total_lines, total_w
from wattshed.exporters.snapshot import EnergyShare
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.web.history import History

OWNERS = ("_idle", "_unattributed", "_other", "slurm:1000", "slurm:1001")
FACTORS = {"": 1.0, "k": 1e3}
moments = st.lists(
    st.tuples(
        st.integers(1, 10),  # seconds since the one before
        st.lists(st.lists(st.integers(0, 900), min_size=5, max_size=5), min_size=2, max_size=2),  # W by GPU and owner
        st.lists(st.booleans(), min_size=2, max_size=2),  # GPUs that are there
        st.sampled_from(["runs", "ended", "no longer listed"]),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


def books_of(told):
    """Snapshots of two GPUs that drew these watts, for these owners."""
    now_s, spent, covered = 600, [[0] * 5, [0] * 5], [600, 600]
    for seconds, watts, there, state in told:
        now_s += seconds
        made = node(2, 2, now_s)
        for gpu in range(2):
            covered[gpu] += seconds * there[gpu]
            for owner in range(5):
                if owner < 4 or state == "runs":
                    spent[gpu][owner] += watts[gpu][owner] * seconds * there[gpu] * HNJ_PER_JOULE
        gone = state == "no longer listed"
        shares = [
            EnergyShare(owner, uuid(gpu), 0, spent[gpu][i])
            for gpu in range(2) for i, owner in enumerate(OWNERS) if not (gone and i == 4)
        ]  # fmt: skip
        gpus = tuple(
            replace(
                made.gpus[i], up=there[i], covered_us=covered[i] * S, energy_hnj=sum(spent[i]),
                ended_hnj=spent[i][4] if gone else 0, power_w={"average": 12345.0},
            )
            for i in range(2)
        )  # fmt: skip
        ended = replace(made.jobs[1], ended_us=T0 + now_s * S) if state == "ended" else made.jobs[1]
        jobs = made.jobs[:1] if gone else (made.jobs[0], ended)
        yield replace(made, gpus=gpus, energy=tuple(shares), jobs=jobs)


@given(moments)
def test_jobs_and_idle_and_unattributed_add_up_to_the_gpus_whatever_ends_or_is_lost(told):
    watch, up = AgentWatch(), set()
    for snapshot in books_of(told):
        known = watch.take(answer(snapshot), snapshot.time_us / 1e6)
        before, up = up, {gpu.uuid for gpu in snapshot.gpus if gpu.up}
        assert (known.jobs_w is not None) >= bool(before & up), "two looks at a GPU make a step"
        if known.jobs_w is not None:
            power, _ = total_w(known.scene)
            assert known.jobs_w + known.job_w["_idle"] + known.job_w["_unattributed"] == pytest.approx(power)
            assert all(gpu.power_w is None for gpu in known.scene.gpus if not gpu.up)


@given(moments)
def test_what_is_written_adds_up_to_rounding(told):
    watch = AgentWatch()
    for snapshot in books_of(told):
        known = watch.take(answer(snapshot), snapshot.time_us / 1e6)
    if known.jobs_w is None:
        return
    first, second = (line.text for line in total_lines(known, 200, None))
    numbers = [
        (text, FACTORS[prefix]) for text, prefix in re.findall(r"([\d.]+) (k?)W", f"{first.split('%')[0]} {second}")
    ]
    power, *parts = (float(text) * factor for text, factor in numbers[:1] + numbers[-3:])
    last_digits = [10.0 ** -len(text.partition(".")[2]) * factor for text, factor in numbers[:1] + numbers[-3:]]
    assert sum(parts) == pytest.approx(power, abs=0.51 * sum(last_digits))


def test_the_first_screen_adds_up_too_by_the_agents_own_last_step():
    history = History()
    for seconds in (600, 610):
        made = node(4, 3, seconds, per_job=2)
        history.observe(made)
    odd = tuple(replace(gpu, power_w={"average": 999.0}) for gpu in made.gpus)
    known = AgentWatch().take(answer(replace(made, gpus=odd), history), 0.0)
    assert total_w(known.scene) == (pytest.approx(known.jobs_w + 4 * 70), 0)
    assert known.jobs_w == pytest.approx(2 * (100 + 101 + 102))


def test_until_a_step_is_known_the_gpus_tell_their_readings_and_the_jobs_nothing():
    made = node(2, 2)
    known = AgentWatch().take(answer(made), 0.0)
    assert total_w(known.scene)[0] == sum(gpu.power_w["average"] for gpu in made.gpus)
    assert known.jobs_w is None
    assert "jobs — W" in total_lines(known, 80, None)[1].text


def test_a_gpu_whose_readings_are_rare_keeps_its_last_step():
    watch = AgentWatch()
    for seconds, covered in ((600, 600), (602, 602), (604, 602), (616, 602), (618, 602)):
        made = node(1, 1, seconds)
        still = replace(node(1, 1, covered), time_us=made.time_us, seq=made.seq)
        known = watch.take(answer(still), 0.0)
    assert known.job_w["slurm:1000"] == pytest.approx(100)
    assert total_w(known.scene)[0] == pytest.approx(170)
