"""Which runs wait to be written into Slurm's accounting, by a collector's database."""

import pytest

from tests.collect.test_write_back import Table, row
from tests.history.made_up import MARCH_US, MODELS, job, opened, part
from wattshed.agent.collect.write_back import GIVE_UP_US, PREFIX, WriteBack
from wattshed.agent.collect.written import WrittenRuns
from wattshed.agent.errors import Faults
from wattshed.agent.history.forgetting import erase_user
from wattshed.agent.history.opening import open_database
from wattshed.agent.wire.parts import END

ENDED = MARCH_US + 3_600_000_000
LABELS = {"user": "ada", "cluster": "east"}


def tell(place, host, *jobs):
    """What a host tells of jobs: (key, nodes, joules)."""
    store = opened(place, f"store of {host}", host, merged=True)
    known = {
        (key, MARCH_US): job(key, end_us=end, **LABELS, **({"nodes": str(nodes)} if nodes else {}))
        for key, nodes, _, end in jobs
    }
    numbers = range(store.next_seq(), store.next_seq() + len(jobs))
    parts = [
        part(seq, key, joules=joules, flags=END if end >= 0 else 0)
        for seq, (key, _, joules, end) in zip(numbers, jobs, strict=True)
    ]
    store.add(parts, known, MODELS)


@pytest.fixture
def place(new_place):
    place = new_place()
    tell(
        place, "n1", ("slurm:1", 1, 5, ENDED), ("slurm:2", 2, 7, ENDED), ("slurm:3", 0, 9, ENDED),
        ("slurm:4", 1, 11, -1), ("slurm:s5K1KKYAYG5D00", 1, 13, ENDED), ("k8s:a/b", 1, 15, ENDED),
    )  # fmt: skip
    return place


def waiting(place, now_us=ENDED, after=0):
    runs = WrittenRuns(open_database(place), lambda: now_us / 1e6)
    return runs, runs.unwritten(after, 100)


def test_only_complete_runs_of_known_number_wait(place):
    """Not one with a host missing, nor one of which nobody knows how many it has, nor one that runs."""
    _, found = waiting(place)
    (one,) = found
    assert (one.job, one.cluster, one.gpus, one.hosts) == ("1", "east", 1, 1)
    assert (one.start_us, one.end_us) == (MARCH_US, ENDED)
    assert one.comment == f"{PREFIX}energy_j=5;sigma_j=0.2;gpus=1;hosts=1"


def test_a_run_of_two_hosts_waits_once_both_have_told_and_is_their_sum(place):
    tell(place, "n2", ("slurm:2", 2, 30, ENDED))
    _, found = waiting(place)
    assert [one.comment for one in found] == [
        f"{PREFIX}energy_j=5;sigma_j=0.2;gpus=1;hosts=1",
        f"{PREFIX}energy_j=37;sigma_j=1.48;gpus=2;hosts=2",
    ]
    assert [one.number for one in waiting(place, after=found[0].number)[1]] == [found[1].number]


def test_what_is_settled_waits_no_more_after_a_restart_either(place):
    runs, found = waiting(place)
    runs.settle(found[0].number, "written")
    runs.settle(found[0].number, "written")
    assert not runs.unwritten(0, 100)
    assert not waiting(place)[1]


def test_a_number_that_another_run_has_by_now_is_looked_at(place):
    database = open_database(place)
    runs, found = waiting(place)
    runs.settle(found[0].number, "written")
    database.do("UPDATE run SET key = 'slurm:99' WHERE id = ?", (found[0].number,))
    assert [one.job for one in waiting(place)[1]] == ["99"]


def test_after_a_week_nobody_waits(place):
    assert waiting(place, ENDED + GIVE_UP_US)[1]
    assert not waiting(place, ENDED + GIVE_UP_US + 2 * 86_400_000_000)[1]


def test_whose_job_it_was_does_not_matter(place):
    erase_user(open_database(place), "ada")
    assert [one.job for one in waiting(place)[1]] == ["1"]


def test_from_hosts_to_slurms_accounting(place):
    tell(place, "n2", ("slurm:2", 2, 30, ENDED))
    known = {"start": MARCH_US, "end": ENDED, "submit": MARCH_US}
    table = Table({("east", "1"): row("1", comment="JS1:x", **known), ("east", "2"): row("2", **known)})
    runs, _ = waiting(place)
    back = WriteBack(runs, table, Faults(), table.wait, clock=lambda: ENDED / 1e6, monotonic=lambda: table.now_s)
    while back.step():
        pass
    assert back.counts == {"written": 1, "foreign": 1}
    assert [one[1:3] for one in table.written] == [("east", "2")]
    assert not back.step()
