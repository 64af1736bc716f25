"""What earlier agents of a host left in its history: jobs, which are ended once, and parts, found by their numbers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import HOUR_US, MARCH_US, MODELS, job, opened, part, report
from wattshed.agent.history.former import end_former, parts_beyond
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter, jobs
from wattshed.agent.wire.parts import END, END_UNKNOWN

STORES = {"one": "n1", "two": "n1", "three": "n2", "mine": "n1"}
OWNERS = ("slurm:1", "slurm:2", "k8s:a/b", "_idle")


@st.composite
def histories(draw):
    """Parts of each store by its own numbers, and which of its jobs ended."""
    made = {}
    for store_id in STORES:
        parts = [
            part(
                seq, f"{owner}-{store_id}" if owner[0] != "_" else owner, joules=draw(st.integers(0, 99)),
                begin_us=MARCH_US + draw(st.integers(0, 5)) * HOUR_US, gpu=draw(st.sampled_from(sorted(MODELS))),
            )
            for seq, owner in enumerate(draw(st.lists(st.sampled_from(OWNERS), max_size=6)), start=1)
        ]  # fmt: skip
        keys = sorted({one.job for one in parts if one.job[0] != "_"})
        made[store_id] = parts, draw(st.sets(st.sampled_from(keys))) if keys else set()
    return made


def fill(place, made):
    for store_id, (parts, ended) in made.items():
        records = {
            (one.job, one.run_us): job(one.job, end_us=MARCH_US + 9 * HOUR_US if one.job in ended else -1, uid=7)
            for one in parts
            if one.job[0] != "_"
        }
        opened(place, store_id, STORES[store_id]).add(parts, records, MODELS)


@settings(max_examples=examples(15), deadline=None)
@given(made=histories())
def test_who_was_left_open_by_a_former_store_of_the_host_ends_where_it_was_seen_last(made, tmp_path_factory):
    place = tmp_path_factory.mktemp("former") / "history.db"
    fill(place, made)
    database = open_database(place)
    before = {group.name: group.used.energy_hnj for group in report(database, "job", Filter())}
    left = {
        store_id: sorted({one.job for one in parts if one.job[0] != "_"} - ended)
        for store_id, (parts, ended) in made.items()
        if STORES[store_id] == "n1" and store_id != "mine"
    }
    assert end_former(database, "mine", "n1") == sum(map(len, left.values()))
    for store_id, (parts, _) in made.items():
        ends = opened(place, store_id, STORES[store_id]).parts(len(parts))
        assert [one.seq for one in ends] == [len(parts) + n for n in range(1, len(ends) + 1)]
        assert sorted(one.job for one in ends) == left.get(store_id, [])
        for one in ends:
            last_us = max(was.to_us for was in parts if was.job == one.job)
            assert one.gpu in {was.gpu for was in parts if was.job == one.job and was.to_us == last_us}
            assert (one.from_us, one.to_us, one.energy_hnj) == (last_us, last_us, 0)
            assert one.flags == END | END_UNKNOWN
    ends_us = {one.key: one.end_us for one in jobs(database, Filter()).jobs}
    for store_id, keys in left.items():
        for key in keys:
            assert ends_us[key] == max(one.to_us for one in made[store_id][0] if one.job == key)
    open_jobs = {
        one.job for parts, ended in made.values() for one in parts if one.job[0] != "_" and one.job not in ended
    }
    assert {key for key, end_us in ends_us.items() if end_us < 0} == open_jobs - {
        key for keys in left.values() for key in keys
    }
    assert {group.name: group.used.energy_hnj for group in report(database, "job", Filter())} == before
    assert end_former(database, "mine", "n1") == 0
    database.close()


@settings(max_examples=examples(12), deadline=None)
@given(made=histories(), store_id=st.sampled_from(sorted(STORES)), next_seq=st.integers(0, 8))
def test_what_a_state_does_not_know_of_is_what_its_store_has_from_a_number_on(
    made, store_id, next_seq, tmp_path_factory
):
    place = tmp_path_factory.mktemp("former") / "history.db"
    fill(place, made)
    database = open_database(place, read_only=True)
    assert parts_beyond(database, store_id, next_seq) == [one for one in made[store_id][0] if one.seq >= next_seq]
    assert parts_beyond(database, "nobody's", 0) == []
    database.close()
