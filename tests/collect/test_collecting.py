"""The collector: what is at a site is what its agents have, whatever is repeated, cut off, killed or away."""

from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.collect.site import Site, collecting, parts_at, wall_s
from tests.depth import examples
from tests.history.made_up import HOUR_US, MARCH_US
from wattshed.agent.collect import pull
from wattshed.agent.collect.merge import Merger, RefusedPageError, read_page
from wattshed.agent.collect.stores import find, forget, reset
from wattshed.agent.errors import InputError
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter
from wattshed.agent.wire.parts import CLOCK_SKEW, hnj_of


def equal(site, place):
    """Whether the database has exactly what the agents made, and its sums too."""
    for host, agent in site.agents.items():
        assert parts_at(place, host) == agent.made
    database = open_database(place, read_only=True)
    answers = Answers(database, "site", clock=lambda: wall_s(site))
    for by in ("host", "user", "day", "job"):
        total = hnj_of(answers.report(by, Filter())["total"]["energy_j"])
        assert total == sum(part.energy_hnj for agent in site.agents.values() for part in agent.made)
    listed = {one["job"]: one for one in answers.jobs(Filter())["jobs"]}
    database.close()
    return listed


def jobs_of(hour, hours):
    """A job on all hosts for all the time, and one of each host that is gone after an hour."""

    def jobs(host):
        alone = f"slurm:{host[1:]}{hour:02}"
        return [
            ("slurm:900", MARCH_US, hour == hours - 1, {"user": "ada", "nodes": "3"}),
            (alone, MARCH_US + hour * HOUR_US, True, {"user": "bob", "nodes": "1"}),
        ]

    return jobs


def test_a_day_with_restarts_and_absences(site, new_place, monkeypatch):
    """Either side is stopped or cut off at some hours; an agent is away for most of the day, and catches up."""
    monkeypatch.setattr(pull, "PAGE", 7)
    place, hours = new_place(), 24
    for begin in range(0, hours, 6):
        with collecting(site, place) as puller:  # a new collector every six hours
            for hour in range(begin, begin + 6):
                site.hour(jobs_of(hour, hours))
                site.agents["n1"].down = 2 <= hour < 20
                site.agents["n2"].cuts = hour % 3
                site.round(puller)
    with collecting(site, place) as puller:
        for _ in range(3):
            site.round(puller)
        assert puller.states() == {"up": 3, "down": 0, "refused": 0, "new": 0}
    listed = equal(site, place)
    assert len(listed) == 1 + 3 * hours
    job = listed["slurm:900"]
    assert (job["hosts"], job["state"], job["cluster"], job["flags"]) == (["n0", "n1", "n2"], "complete", "east", [])
    assert not site.faults.counts


class StoppedError(BaseException):
    """The process is gone."""


def stopping(do, left):
    """Let the process end at the so-manieth change that it writes."""

    def counted(sql, values=()):
        nonlocal left
        left -= 1
        if left == 0:
            raise StoppedError
        return do(sql, values)

    return counted


@given(data=st.data())
@settings(max_examples=examples(15), deadline=None, phases=[Phase.explicit, Phase.generate])
def test_pages_that_repeat_and_come_late_and_kills_between_any_two_statements(data, new_place, tmp_path_factory):
    site, place = Site(tmp_path_factory.mktemp("site"), 1), new_place()
    agent, late, refused = site.agents["n0"], [], []
    try:
        for hour in range(6):
            site.hour(jobs_of(hour, 6))
            database = open_database(place)
            merger = Merger(database)
            database.do = stopping(database.do, data.draw(st.integers(1, 60)))
            after = data.draw(st.integers(0, merger.cursor(agent.store_id)))
            page = read_page(agent.answer({"after": after, "limit": data.draw(st.integers(1, 9))}))
            late.append((page, after))
            for one, since in (late[-1], data.draw(st.sampled_from(late))):
                try:
                    merger.take(one, since, "n0")
                except RefusedPageError:
                    refused.append(one is page)  # it is from before, and says less than is here
                except StoppedError:
                    break
            database.close()
        with collecting(site, place) as puller:
            site.round(puller)
        equal(site, place)
        assert not any(refused)
    finally:
        site.close()


def test_what_an_agent_dropped_before_it_was_asked_is_a_gap_and_told(site, new_place):
    place, agent = new_place(), site.agents["n0"]
    with collecting(site, place) as puller:
        site.hour()
        site.round(puller, ["n0"])
        for _ in range(5):
            site.hour()
        database = open_database(agent.path)
        database.do("DELETE FROM part WHERE seq < 5")
        database.do("UPDATE store SET first_seq = 5")
        for _ in range(2):
            site.round(puller, ["n0"])
        assert puller.totals() == (3, 1)
        assert [part.seq for part in parts_at(place, "n0")] == [1, 5, 6]
    database = open_database(place)
    assert database.rows("SELECT gaps, lost FROM store") == [(1, 3)]


def test_of_an_agent_that_dropped_all_the_gap_is_told_once(site, new_place):
    place, agent = new_place(), site.agents["n0"]
    with collecting(site, place) as puller:
        for _ in range(3):
            site.hour()
        site.round(puller, ["n0"])
        for _ in range(4):
            site.hour()
        database = open_database(agent.path)
        database.do("DELETE FROM part")
        database.do("UPDATE store SET first_seq = next_seq")
        for _ in range(3):
            site.round(puller, ["n0"])
        assert (puller.totals(), puller.states()["up"]) == ((3, 1), 1)
        site.hour()
        site.round(puller, ["n0"])
        assert (puller.totals(), puller.states()["up"]) == ((4, 1), 1)
    assert open_database(place).rows("SELECT gaps, lost, next_seq FROM store") == [(1, 4, 9)]
    assert parts_at(place, "n0") == agent.made[:3] + agent.made[7:]


def test_a_restored_disk_is_refused_until_it_is_reset_and_then_nothing_is_lost_or_doubled(site, new_place, tmp_path):
    place = new_place()
    old = site.agents["n0"]
    for _ in range(4):
        site.hour()
    backup = [part for part in old.made if part.seq <= 3]
    with collecting(site, place) as puller:
        site.round(puller, ["n0"])
        restored = type(old)(tmp_path / "restored.db", "n0", seed=1)
        restored.store.add(backup, {}, {"GPU-n0": "H100"})
        restored.seq, restored.now_us = 3, old.now_us
        site.agents["n0"] = restored
        site.round(puller, ["n0"])
        (status,) = puller.status().values()
        assert status.state == "refused"
        assert "restored; `wattshed collect reset store-of-n0`" in status.why
        for _ in range(3):  # its numbers pass those that are here: it is still another history
            restored.hour()
            site.round(puller, ["n0"])
        (status,) = puller.status().values()
        assert "another part of number 4 than it had" in status.why
        database = open_database(place)
        assert database.rows("SELECT refused FROM store") == [(status.why,)]
        store_id, host = find(database, "n0")
        assert (store_id, host) == ("store-of-n0", "n0")
        reset(database, store_id)
        for _ in range(2):
            site.round(puller, ["n0"])
        assert [one.state for one in puller.status().values()] == ["up"]
        assert database.rows("SELECT max(refused) FROM store WHERE epoch = 1") == [("",)]
    assert sorted(parts_at(place, "n0"), key=repr) == sorted([*old.made, *restored.made], key=repr)


def test_one_store_has_one_address(site, new_place):
    place, now = new_place(), [0.0]
    site.hour()
    site.agents["copy"] = site.agents["n0"]
    with collecting(site, place, poll_s=60) as puller:
        puller._clock = lambda: now[0]
        site.round(puller, ["n0", "copy"])
        states = {address.rpartition("/")[2]: one for address, one in puller.status().items()}
        assert (states["n0"].state, states["copy"].state) == ("up", "refused")
        assert "has the same store store-of-n0 as http://127.0.0.1" in states["copy"].why
        now[0] = 1000.0  # the first has been gone for long
        site.round(puller, ["copy", "n0"])
        states = {address.rpartition("/")[2]: one.state for address, one in puller.status().items()}
        assert states == {"n0": "refused", "copy": "up"}
    assert parts_at(place, "n0") == site.agents["n0"].made


def test_a_history_of_another_host_is_refused(site, new_place):
    place = new_place()
    site.hour()
    page = site.agents["n0"].answer({"after": 0, "limit": 9})
    merger = Merger(open_database(place))
    merger.take(read_page(page), 0, "n0")
    with pytest.raises(RefusedPageError, match="has the history of n0: a copy of its disk"):
        merger.take(read_page(page | {"host": "n9"}), 0, "n9")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": "wattshed.parts/2"}, "speaks wattshed.parts/2, and this program wattshed.parts/1"),
        ({"store": ""}, "store is not a valid name"),
        ({"host": 7}, "host is not a valid name"),
        ({"next": "3"}, "next is not a valid number"),
        ({"next": 1}, "its parts are not in order"),
        ({"parts": None}, "invalid page"),
        ({"jobs": [{"key": "x"}]}, "is not a job"),
        ({"models": []}, "invalid page"),
    ],
)
def test_a_page_that_cannot_be_is_refused(site, change, why):
    site.hour(jobs_of(0, 1))
    page = site.agents["n0"].answer({"after": 0, "limit": 9})
    assert read_page(page).store_id == "store-of-n0"
    with pytest.raises(RefusedPageError, match=why):
        read_page(page | change)


def test_an_agent_that_has_just_begun_is_new_and_not_refused(site, new_place):
    agent = site.agents["n0"]
    right = agent.answer
    agent.answer = lambda params: right(params) | {"store": "", "stores": [], "parts": [], "jobs": [], "models": {}}
    with collecting(site, new_place()) as puller:
        site.round(puller, ["n0"])
        assert puller.states() == {"up": 0, "down": 0, "refused": 0, "new": 1}
        assert not site.faults.counts
        agent.answer = right
        site.hour()
        site.round(puller, ["n0"])
        assert (puller.states()["up"], puller.totals()) == (1, (1, 0))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"to_us": 1}, "ends before it begins"),
        ({"dynamic_hnj": "9" * 20}, "is more than 20 kW"),
        ({"dynamic_hnj": "9" * 4000}, "too large"),
        ({"seq": 2**63}, "too large"),
        ({"gpu": "a\0b"}, "null character"),
        ({"gpu": "\ud800"}, "no Unicode"),
        ({"job": "x" * 501}, "more than 500 characters"),
    ],
)
def test_a_part_that_cannot_be_keeps_the_cursor_where_it_was(site, new_place, change, why):
    place = new_place()
    site.hour(jobs_of(0, 1))
    agent = site.agents["n0"]
    with collecting(site, place) as puller:
        right = agent.answer
        agent.answer = lambda params: spoilt(right(params), change)
        site.round(puller, ["n0"])
        (status,) = puller.status().values()
        assert status.state == "refused"
        assert why in status.why
        assert puller.totals() == (0, 0)
        agent.answer = right
        site.round(puller, ["n0"])
        assert puller.totals() == (3, 0)
    assert parts_at(place, "n0") == agent.made


def spoilt(page, change):
    page["parts"][-1] |= change
    return page


def test_a_clock_that_is_wrong_is_flagged_and_times_stay(site, new_place):
    place = new_place()
    site.hour(jobs_of(0, 1))
    site.agents["n1"].skew_us = 60_000_000
    with collecting(site, place) as puller:
        site.round(puller)
    flags = {host: {part.flags & CLOCK_SKEW for part in parts_at(place, host)} for host in site.agents}
    assert flags == {"n0": {0}, "n1": {CLOCK_SKEW}, "n2": {0}}
    assert [replace(one, flags=one.flags & ~CLOCK_SKEW) for one in parts_at(place, "n1")] == site.agents["n1"].made
    database = open_database(place, read_only=True)
    (job,) = Answers(database, "site", clock=lambda: wall_s(site)).jobs(Filter(job="slurm:900"))["jobs"]
    assert job["flags"] == ["clock_skew"]


def test_who_does_not_answer_is_said_once_and_that_it_does_again(site, new_place, caplog):
    site.agents["n2"].down = True
    with collecting(site, new_place()) as puller, caplog.at_level("INFO", "wattshed"):
        for _ in range(3):
            site.round(puller)
        said = [record.message for record in caplog.records]
        assert [line.partition(": ")[0] for line in said] == ["agent down"]
        assert site.url("n2") in said[0]
        site.agents["n2"].down = False
        site.round(puller)
        assert caplog.records[-1].message == f"{site.url('n2')}: up again"
        assert len(caplog.records) == 2


def test_what_is_forgotten_is_not_waited_for(site, new_place):
    place = new_place()
    site.hour(jobs_of(0, 2))
    with collecting(site, place) as puller:
        site.round(puller)
        site.agents["n2"].down = True
        site.hour(jobs_of(1, 2))
        site.round(puller)
    database = open_database(place)
    answers = Answers(database, "site", clock=lambda: wall_s(site))
    assert answers.jobs(Filter(job="slurm:900"))["jobs"][0]["state"] == "running"
    assert forget(database, "store-of-n2") == 1
    (job,) = answers.jobs(Filter(job="slurm:900"))["jobs"]
    assert (job["state"], job["flags"]) == ("complete", ["end_unknown"])
    site.agents["n2"].down = False
    with collecting(site, place) as puller:  # it is there after all
        site.round(puller)
    (job,) = answers.jobs(Filter(job="slurm:900"))["jobs"]
    assert (job["state"], job["hosts"]) == ("complete", ["n0", "n1", "n2"])
    equal(site, place)


def test_a_store_is_found_by_what_people_know_of_it(site, new_place):
    place = new_place()
    site.hour()
    with collecting(site, place) as puller:
        site.round(puller)
    database = open_database(place)
    for name in ("n1", "store-of-n1", site.url("n1")):
        assert find(database, name) == ("store-of-n1", "n1")
    with pytest.raises(InputError, match="is more than one store"):
        find(database, "store-of")
    with pytest.raises(InputError, match="there is no store 'n7'"):
        find(database, "n7")
