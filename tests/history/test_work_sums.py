"""Work in lists and reports: whole jobs, each unit by itself, with the energy of those that did it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import DAY_US, HOUR_US, MARCH_US, MODELS, job, opened, part
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.live import LiveView
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter
from wattshed.agent.wire.work_text import UnitDone, WorkDone
from wattshed.exporters.units import HNJ_PER_JOULE

NOW_US = MARCH_US + 5 * DAY_US
UNITS = [("output_tokens", "scraped"), ("steps", "told"), ("requests", "scraped")]
USERS = ["ada", "bob"]


@st.composite
def sites(draw):
    """Jobs of two users on two hosts over some days: what each used there, and what it did."""
    made = []
    for number in range(draw(st.integers(1, 6))):
        hosts = draw(st.sampled_from([("n1",), ("n2",), ("n1", "n2")]))
        start_us = MARCH_US + draw(st.integers(0, 3 * 24)) * HOUR_US
        shares = {}
        for host in hosts:
            joules = draw(st.integers(1, 10_000))
            units = draw(st.lists(st.sampled_from(UNITS), unique=True))
            done = {
                unit: UnitDone(draw(st.integers(1, 1000)), draw(st.integers(0, joules)) * HNJ_PER_JOULE, 4)
                for unit in units
            }
            waiting = draw(st.none() | st.integers(0, joules))
            text = WorkDone(done, None if waiting is None else waiting * HNJ_PER_JOULE).text() if units else ""
            shares[host] = joules, done, waiting if units else None, text
        end_us = draw(st.sampled_from([-1, start_us + HOUR_US, start_us + 30 * HOUR_US]))
        made.append((f"slurm:{number}", draw(st.sampled_from(USERS)), start_us, end_us, shares))
    return made


def store_of(place, made):
    for host in ("n1", "n2"):
        mine = [one for one in made if host in one[4]]
        records = {
            (key, MARCH_US): replace(job(key, end_us=end_us, user=user), start_us=start_us, work=shares[host][3])
            for key, user, start_us, end_us, shares in mine
        }
        parts = [part(seq, one[0], begin_us=one[2], joules=one[4][host][0]) for seq, one in enumerate(mine, start=1)]
        if parts:
            opened(place, host, host, merged=True).add(parts, records, MODELS)


def expected(made, since_us, until_us):
    """What each user did of each unit: how much, and the joules of the jobs that did it; and how many are left out."""
    found, left_out = {}, 0
    for _, user, start_us, end_us, shares in made:
        units = {unit for _, done, _, _ in shares.values() for unit in done}
        if not units or start_us >= until_us or (0 <= end_us <= since_us):
            continue
        if start_us < since_us or (NOW_US if end_us < 0 else end_us) > until_us:
            left_out += 1
            continue
        for unit in units:
            count, hnj = found.get((user, *unit), (0, 0))
            for joules, done, _, _ in shares.values():
                count += done[unit].count if unit in done else 0
                hnj += done[unit].energy_hnj if unit in done else joules * HNJ_PER_JOULE
            found[user, *unit] = count, hnj
    return found, left_out


@settings(max_examples=examples(25), deadline=None)
@given(made=sites(), days=st.sampled_from([(0, 100), (1, 100), (0, 2), (1, 4)]))
def test_a_report_has_the_work_of_whole_jobs_and_their_energy(made, days, tmp_path_factory):
    place = tmp_path_factory.mktemp("work") / "history.db"
    store_of(place, made)
    asked = Filter(since_us=MARCH_US + days[0] * DAY_US, until_us=MARCH_US + days[1] * DAY_US)
    told = Answers(open_database(place, read_only=True), "site", clock=lambda: NOW_US / 1e6).report("user", asked)
    wanted, left_out = expected(made, asked.since_us, asked.until_us)
    found = {
        (row["name"], one["unit"], one["source"]): (one["count"], one["joules_per_unit"])
        for row in told["rows"]
        for one in row["work"] or ()
    }
    assert found == {key: (count, pytest.approx(hnj / count / HNJ_PER_JOULE)) for key, (count, hnj) in wanted.items()}
    assert told["work_left_out"] == left_out
    total = {(one["unit"], one["source"]): one["count"] for one in told["total"]["work"] or ()}
    sums = {unit: sum(count for key, (count, _) in wanted.items() if key[1:] == unit) for unit in total}
    assert total == sums
    assert sum(sums.values()) == sum(count for count, _ in wanted.values())


@settings(max_examples=examples(15), deadline=None)
@given(made=sites())
def test_a_list_says_of_each_job_what_asking_for_it_says(made, tmp_path_factory):
    place = tmp_path_factory.mktemp("work") / "history.db"
    store_of(place, made)
    answers = Answers(open_database(place, read_only=True), "site", clock=lambda: NOW_US / 1e6)
    for one in answers.jobs(Filter())["jobs"]:
        alone = answers.job(one["job"], Filter())["job"]
        assert (one["work"], one["waiting_j"]) == (alone["work"], alone["waiting_j"])


def test_what_is_on_its_way_counts_as_if_it_were_there(tmp_path):
    first, then = part(1, joules=40), part(2, begin_us=MARCH_US + HOUR_US, joules=60)
    units = [WorkDone({UNITS[0]: UnitDone(n, e * HNJ_PER_JOULE, 0)}, w * HNJ_PER_JOULE) for n, e, w in
             ((10, 40, 4), (25, 100, 30))]  # fmt: skip
    records = [{("slurm:1", MARCH_US): replace(job("slurm:1", user="ada"), work=one.text())} for one in units]
    opened(tmp_path / "some.db").add([first], records[0], MODELS)
    view = LiveView("one", 3, NOW_US, NOW_US - 1, (first, then), records[1], MODELS)
    stored = open_database(tmp_path / "some.db", read_only=True)
    answers = Answers(stored, "n1", lambda: view, clock=lambda: NOW_US / 1e6)
    (listed,) = answers.jobs(Filter())["jobs"]
    assert [(one["count"], one["joules_per_unit"]) for one in listed["work"]] == [(25, 4)]
    assert listed["waiting_j"] == "30"
    for by in ("user", "job", "host", "account"):
        (row,) = answers.report(by, Filter())["rows"]
        assert ([one["count"] for one in row["work"]], row["waiting_share"]) == ([25], 0.3)


def test_a_job_that_is_in_several_rows_is_in_none_of_them_and_said(tmp_path):
    text = WorkDone({UNITS[1]: UnitDone(10, 40 * HNJ_PER_JOULE, 0)}).text()
    records = {("slurm:1", MARCH_US): replace(job("slurm:1", end_us=MARCH_US + DAY_US + HOUR_US), work=text)}
    opened(tmp_path / "h.db").add([part(1, joules=40, length_us=DAY_US + HOUR_US)], records, MODELS)
    answers = Answers(open_database(tmp_path / "h.db", read_only=True), "n1", clock=lambda: NOW_US / 1e6)
    days, months = answers.report("day", Filter()), answers.report("month", Filter())
    assert ([row["work"] for row in days["rows"]], days["work_left_out"]) == ([None, None], 1)
    assert ([row["work"][0]["count"] for row in months["rows"]], months["work_left_out"]) == ([10], 0)
    assert [row["work"] for row in answers.report("model", Filter())["rows"]] == [None]


def test_a_report_by_host_has_what_was_done_there(tmp_path):
    done = [{UNITS[0]: UnitDone(n, 40 * HNJ_PER_JOULE, 0)} for n in (10, 20)]
    shares = {host: (40, one, None, WorkDone(one).text()) for host, one in zip(("n1", "n2"), done, strict=True)}
    store_of(tmp_path / "h.db", [("slurm:1", "ada", MARCH_US, MARCH_US + HOUR_US, shares)])
    answers = Answers(open_database(tmp_path / "h.db", read_only=True), "site", clock=lambda: NOW_US / 1e6)
    rows = answers.report("host", Filter())["rows"]
    assert {row["name"]: [(one["count"], one["joules_per_unit"]) for one in row["work"]] for row in rows} == {
        "n1": [(10, 4)], "n2": [(20, 2)]
    }  # fmt: skip
    (row,) = answers.report("user", Filter(host="n2"))["rows"]
    assert [one["count"] for one in row["work"]] == [20]
