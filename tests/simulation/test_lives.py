"""A simulated node that begins again beside its totals: Slurm ids go on, and never mean two jobs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S
from tests.depth import examples
from wattshed.agent.clock import VirtualClock
from wattshed.agent.simulation.lives import NAME, begin_life
from wattshed.agent.simulation.node import SimulatedNode


def ids_of(node, clock, seconds, step_s=60):
    """Slurm jobs that were on the node while it lived."""
    begun_us = clock.now_us()
    for _ in range(seconds // step_s):
        clock.sleep_until(clock.now_us() + step_s * S)
    return {key for key, _ in node.truth.jobs_nj(begun_us, clock.now_us()) if key.startswith("slurm:")}


@settings(max_examples=examples(20), deadline=None)
@given(lives=st.lists(st.tuples(st.integers(60, 1300), st.integers(0, 4000)), min_size=2, max_size=3))
def test_no_two_lives_have_an_id_in_common(lives, tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    clock, seen = VirtualClock(), set()
    for number, (up_s, down_s) in enumerate(lives):
        root = folder / f"life{number}"
        root.mkdir()
        now = ids_of(SimulatedNode(clock, root, kept=folder / "state"), clock, up_s)
        assert now
        assert not seen & now
        if number == 0:
            assert "slurm:4001" in now
        seen |= now
        clock.sleep_until(clock.now_us() + down_s * S)


def test_the_same_lives_have_the_same_ids(tmp_path):
    """Nothing of it is drawn: a file and a clock say all."""
    found = []
    for name in ("one", "two"):
        ids, clock = [], VirtualClock()
        for life in ("a", "b"):
            root = tmp_path / f"{name}-{life}"
            root.mkdir()
            ids.append(sorted(ids_of(SimulatedNode(clock, root, kept=tmp_path / name), clock, 900)))
        found.append(ids)
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_a_node_beside_no_totals_begins_anew(tmp_path):
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        clock = VirtualClock()
        assert "slurm:4001" in ids_of(SimulatedNode(clock, root), clock, 120)


def test_a_file_that_cannot_be_used_is_written_anew(tmp_path):
    assert begin_life(tmp_path, 0, 600 * S, 75 * S) == 0
    assert begin_life(tmp_path, 0, 600 * S, 1_300 * S) == 3  # it began its third cycle
    assert begin_life(tmp_path, 9_000 * S, 600 * S, 8_000 * S) == 3 + 13 + 1
    assert begin_life(tmp_path, 0, 600 * S, 7_000 * S) == 17 + 1, "a clock that was set back: more, never fewer"
    for damaged in ("", "[]", '{"earlier": 1}', '{"earlier": "x", "origin_us": 0, "cycle_us": 1}'):
        (tmp_path / NAME).write_text(damaged)
        assert begin_life(tmp_path, 0, 600 * S, 0) == 0
    (tmp_path / "file").write_text("")
    assert begin_life(tmp_path / "file", 0, 600 * S, 0) == 0
