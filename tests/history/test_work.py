"""What jobs did is kept with them: over cuts, hosts and the end of a job."""

from dataclasses import replace

import pytest

from tests.history.made_up import HOUR_US, MARCH_US, MODELS, job, opened, part
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter
from wattshed.agent.wire.parts_json import plain_record, record_of_plain
from wattshed.agent.wire.work_text import MOST_WORK, UnitDone, WorkDone
from wattshed.exporters.units import HNJ_PER_JOULE

PLACE = ("slurm:1", MARCH_US)
TOKENS = "output_tokens", "scraped"


def done(count, joules, variance=0, waiting=None):
    return WorkDone({TOKENS: UnitDone(count, joules * HNJ_PER_JOULE, variance)}, waiting)


def answer(place, **about):
    return Answers(open_database(place), "n1", clock=lambda: 0.0, **about).job("slurm:1", Filter())["job"]


def test_the_newest_word_counts_and_outlives_the_job(new_place):
    place = new_place()
    store = opened(place)
    told = [done(100, 40), WorkDone(), done(300, 90, 900, 10 * HNJ_PER_JOULE)]
    for k, one in enumerate(told, start=1):
        end_us = MARCH_US + k * HOUR_US if k == 3 else -1
        text = "" if one == WorkDone() else one.text()  # of an agent that is older, or knew of none
        who = {PLACE: replace(job("slurm:1", end_us=end_us), work=text)}
        store.add([part(k, joules=40, begin_us=MARCH_US + (k - 1) * HOUR_US)], who, MODELS)
    found = answer(place)
    assert found["energy_j"] == "120"
    (work,) = found["work"]
    assert (work["unit"], work["count"], work["joules_per_unit"]) == ("output_tokens", 300, 0.3)
    relative = found["sigma_j"] / 120
    assert work["sigma_j"] == pytest.approx(0.3 * (relative**2 + (30 / 300) ** 2) ** 0.5)
    assert found["waiting_j"] == "10"


def test_a_job_that_tells_nothing_did_nobody_knows_what(new_place):
    place = new_place()
    opened(place).add([part(1)], {PLACE: job("slurm:1")}, MODELS)
    assert (answer(place)["work"], answer(place)["waiting_j"]) == (None, None)


def test_a_host_of_a_job_that_did_no_work_has_a_part_in_its_energy(new_place):
    place = new_place()
    for store, host, text in (("one", "n1", done(100, 30).text()), ("two", "n2", "")):
        who = {PLACE: replace(job("slurm:1"), work=text)}
        opened(place, store, host, merged=True).add([part(1, joules=40)], who, MODELS)
    found = answer(place)
    assert found["energy_j"] == "80"
    assert [one["joules_per_unit"] for one in found["work"]] == [0.7]


def test_what_a_collector_is_told_of_work_is_checked():
    record = replace(job("slurm:1"), work=done(3, 4).text())
    assert record_of_plain(plain_record(record)) == record
    older = plain_record(record)
    del older["work"]
    assert record_of_plain(older).work == ""
    for text in ("no JSON", "[1]", "[[[1]],null]", "[" * 5000, " " * MOST_WORK + record.work):
        with pytest.raises(ValueError, match="work"):
            record_of_plain(plain_record(record) | {"work": text})
