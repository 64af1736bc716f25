"""Jobs of many hosts: one run, whatever order its hosts tell of it in, and every joule of it once."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import DAY_US, HOUR_US, MARCH_US, job, opened, part
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter
from wattshed.agent.history.runs import GAP_US, HostRow, runs
from wattshed.agent.wire.parts import END

MINUTE_US = 60_000_000


def row(number, host="n1", start=0, end=60, key="slurm:7", **labels):
    """A job on a host, in minutes."""
    begin_us = MARCH_US + round(start * MINUTE_US)
    end_us = MARCH_US + end * MINUTE_US if end is not None else -1
    return HostRow(number, key, host, begin_us, begin_us, end_us, 1000, labels)


def numbers(rows):
    return [[one.number for one in run.rows] for run in runs(rows)]


def test_hosts_of_one_job_are_one_run():
    assert numbers([row(1), row(2, "n2", 5, 61), row(3, "n3", 59, None)]) == [[1, 2, 3]]
    (run,) = runs([row(1, nodes="3"), row(2, "n2", 5, 61)])
    assert (run.first.number, run.end_us, run.expected, run.requeued) == (1, MARCH_US + 61 * MINUTE_US, 3, False)
    assert runs([row(1), row(2, "n2", 5, None)])[0].end_us == -1


def test_a_number_that_comes_again_later_is_another_run():
    assert numbers([row(1), row(2, "n2", 60 + 16, 90)]) == [[1], [2]]
    assert numbers([row(1), row(2, "n2", 60 + 15, 90)]) == [[1, 2]], "a quarter of an hour, to the microsecond"
    assert numbers([row(1), row(2, "n2", 60 + 15 + 1e-6 / 60, 90)]) == [[1], [2]]
    (again,) = runs([row(1), row(2, "n2", 60 + 14, 90)])
    assert again.requeued
    # Where the scheduler counts its restarts, it is what it says.
    assert numbers([row(1, nodes="1"), row(2, "n2", 61, 90, nodes="1", restart="1")]) == [[1], [2]]
    # A host that was away for the end of the first run tells of it later than of the second.
    rows = [row(1, nodes="2"), row(2, "n2", nodes="2"), row(3, "n3", 61, 90, nodes="2", restart="1")]
    assert numbers(rows[::-1]) == numbers(rows) == [[1, 2], [3]]


def test_what_is_no_schedulers_job_stays_apart_by_host():
    for key in ("unit:a", "user:1000/python", "container:0123456789ab", "k8s:ns/pod/c"):
        assert numbers([row(1, key=key), row(2, "n2", key=key)]) == [[1], [2]]
    assert numbers([row(1, cluster="east"), row(2, "n2", cluster="west")]) == [[1], [2]]


def test_who_may_see_it_is_who_all_hosts_say():
    one, other = row(1), replace(row(2, "n2"), uid=1001)
    assert runs([one, replace(other, uid=-1)])[0].uid == 1000
    assert runs([one, other])[0].uid == -1


rows = st.lists(
    st.builds(
        row, st.just(0), st.sampled_from(["n1", "n2", "n3"]), st.integers(0, 80),
        st.one_of(st.none(), st.integers(80, 100)), st.sampled_from(["slurm:7", "slurm:8"]),
        restart=st.sampled_from(["", "1"]), nodes=st.sampled_from(["1", "2"]),
    ), min_size=1, max_size=8,
)  # fmt: skip


@given(rows.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
@settings(deadline=None)
def test_runs_do_not_depend_on_the_order(both):
    made, other = both
    assert [run.rows for run in runs(made)] == [run.rows for run in runs(other)]


def shares(draw):
    """What hosts know of two jobs, in pages that follow each other on each host."""
    pages = []
    for host in ("n1", "n2", "n3"):
        seq, mine = 0, []
        for key in draw(
            st.lists(st.sampled_from(["slurm:1", "slurm:2", "unit:a"]), min_size=1, max_size=3, unique=True)
        ):
            begin = MARCH_US + draw(st.integers(0, 3)) * GAP_US
            end = begin + draw(st.integers(1, 3)) * HOUR_US
            labels = draw(st.sampled_from([{}, {"user": "ada"}, {"user": "ada", "nodes": "2"}]))
            for step, state in enumerate((-1, end)):
                seq += 1
                record = job(key, start_us=begin, end_us=state, **(labels if step else {}))
                one = part(seq, key, begin_us=begin, joules=seq * 3 + len(host), flags=END if step else 0)
                mine.append((host, replace(one, run_us=begin), {(key, begin): record}))
        pages.append(mine)
    return pages


@given(data=st.data())
@settings(max_examples=examples(25), deadline=None)
def test_what_is_merged_is_the_same_in_whatever_order_hosts_are_heard(data, new_place):
    pages = shares(data.draw)
    found = []
    for _ in range(2):
        place, left = new_place(), [list(mine) for mine in pages]
        while any(left):
            mine = data.draw(st.sampled_from([mine for mine in left if mine]))
            host, one, records = mine.pop(0)
            opened(place, f"store of {host}", host, merged=True).add([one], records, {one.gpu: "H100"})
        answers = Answers(open_database(place, read_only=True), "site", clock=lambda: MARCH_US / 1e6 + 9e5)
        listed = answers.jobs(Filter())["jobs"]
        reports = [answers.report(by, Filter()) for by in ("user", "host", "day", "job")]
        reports += [answers.report("user", Filter(host=host)) for host in ("n1", "n2", "n3")]
        found.append((listed, *reports))
        for document in found[-1][1:]:
            document["rows"] = [one for one in document["rows"] if one["energy_j"] != "0"]
            for each in (*document["rows"], document["total"]):
                each["sigma_j"] = round(each["sigma_j"], 6)
                assert not each["energy_j"].startswith("-")
        whole = sum(one.dynamic_hnj for mine in pages for _, one, _ in mine) // 2_000_000_000
        assert found[-1][1]["total"]["energy_j"] == str(whole)
        assert found[-1][1]["total"]["jobs"] == len(listed)
        assert sum(int(one["energy_j"]) for one in listed) == whole
    for one in found[0][0] + found[1][0]:
        one["sigma_j"] = round(one["sigma_j"], 6)
    assert found[0] == found[1]


def test_a_merged_job_is_one_in_every_list(new_place):
    place = new_place()
    for host, end_us in (("n1", MARCH_US + HOUR_US), ("n2", MARCH_US + HOUR_US + MINUTE_US)):
        record = job("slurm:7", end_us=end_us, user="ada", nodes="3")
        made = [replace(part(1, "slurm:7", joules=5, gpu=f"GPU-{host}"), flags=END)]
        opened(place, host, host, merged=True).add(made, {("slurm:7", MARCH_US): record}, {f"GPU-{host}": "H100"})
    writer = open_database(place)
    answers = Answers(open_database(place, read_only=True), "site", clock=lambda: MARCH_US / 1e6 + DAY_US / 1e6)

    def told(collected_us):
        writer.do("UPDATE store SET collected_us = ?", (collected_us,))
        (one,) = answers.jobs(Filter())["jobs"]
        return one["state"], one["flags"]

    (one,) = answers.jobs(Filter(host="n2"))["jobs"]
    assert (one["hosts"], one["hosts_expected"], one["energy_j"], one["gpus"]) == (["n1", "n2"], 3, "10", 2)
    assert answers.jobs(Filter(host="n3"))["jobs"] == []
    assert told(MARCH_US + HOUR_US) == ("waiting", ["lower_bound"])
    assert told(MARCH_US + 3 * HOUR_US) == ("incomplete", ["lower_bound"])
    (row_of_user,) = answers.report("user", Filter())["rows"]
    assert (row_of_user["name"], row_of_user["jobs"], row_of_user["energy_j"]) == ("ada", 1, "10")
    assert [(one["name"], one["jobs"]) for one in answers.report("host", Filter())["rows"]] == [("n1", 1), ("n2", 1)]
    (by_job,) = answers.report("job", Filter())["rows"]
    assert (by_job["hosts"], by_job["energy_j"]) == (["n1", "n2"], "10")
    found = answers.job("7", Filter())["job"]
    assert [gpu["host"] for gpu in found["by_gpu"]] == ["n1", "n2"]
