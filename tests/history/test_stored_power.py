"""Power of the time before the agent was started: all of the energy, over the time that somebody measured."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.history.database import Database
from wattshed.agent.history.store import Store
from wattshed.agent.history.stored_power import stored_power
from wattshed.agent.wire.parts import JobPart
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.web.power_steps import energies

S, H = 1_000_000, 3_600_000_000


def history(parts):
    """A history in memory with parts (owner, GPU, from s, to s, J)."""
    database = Database(Path(":memory:"))
    made = [
        JobPart(seq, owner, 0, gpu, begin * S, end * S, round(joules * HNJ_PER_JOULE), 0)
        for seq, (owner, gpu, begin, end, joules) in enumerate(parts, 1)
    ]
    Store(database, "store", "n1").add(made, {}, {})
    return database


def test_an_hour_is_over_what_was_measured_of_it_and_a_time_without_is_not_there():
    database = history(
        [
            ("_idle", "g0", 0, 1200, 1200 * 70),
            ("slurm:1", "g0", 600, 1200, 600 * 30),
            ("_idle", "g0", 2400, 3600, 1200 * 70),
            ("_idle", "g1", 0, 3600, 3600 * 50),
            ("_idle", "g0", 4 * 3600, 5 * 3600, 3600 * 80),
        ]
    )
    first, last = stored_power(database, 0, 10 * H, H)
    assert (first.from_us, first.to_us, last.from_us, last.to_us) == (0, H, 4 * H, 5 * H)
    assert first.gpu_w() == pytest.approx({"g0": (2400 * 70 + 600 * 30) / 2400, "g1": 50})
    assert last.gpu_w() == {"g0": 80}
    assert sum(first.owner_w().values()) == pytest.approx(sum(first.gpu_w().values()))


def test_only_what_was_asked_for():
    database = history([("_idle", "g0", n * 3600, (n + 1) * 3600, 3600 * n) for n in range(10)])
    assert [step.gpu_w()["g0"] for step in stored_power(database, 3 * H, 6 * H, H)] == [3, 4, 5]
    assert stored_power(database, 20 * H, 30 * H, H) == []


def test_of_very_many_parts_only_steps_are_shown_of_which_every_part_was_read(monkeypatch):
    parts = [(owner, "g0", n * 3600, (n + 1) * 3600, 3600) for n in range(4) for owner in ("_idle", "slurm:1")]
    database = history(parts)
    for most, whole in ((8, 3), (7, 3), (6, 2), (5, 2), (3, 1), (9, 4)):
        monkeypatch.setattr("wattshed.agent.history.stored_power.MOST_PARTS", most)
        steps = stored_power(database, 0, 10 * H, H)
        assert [step.gpu_w()["g0"] for step in steps] == [2] * len(steps)
        assert len(steps) == whole, most


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["_idle", "slurm:1", "slurm:2"]), st.sampled_from(["g0", "g1"]),
            st.integers(0, 50_000), st.integers(0, 30_000), st.integers(0, 10**7),
        ),
        max_size=20,
    ),
    st.sampled_from([900, 3600]),
)  # fmt: skip
def test_every_joule_is_in_one_step_whatever_lies_across_its_edges(parts, step_s):
    database = history([(owner, gpu, begin, begin + long, joules) for owner, gpu, begin, long, joules in parts])
    steps = stored_power(database, -1, 10**12, step_s * S)
    told = energies(steps)
    asked = {gpu: sum(part[4] for part in parts if part[1] == gpu) for gpu in {part[1] for part in parts}}
    assert told["gpus"] == asked
    assert sum(told["jobs"].values()) == sum(asked.values())
    for before, after in pairwise(steps):
        assert before.to_us <= after.from_us
    for step in steps:
        assert all(0 <= us <= step_s * S for _, us in step.gpus.values())
