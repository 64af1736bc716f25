"""What is answered with parts that are not in the database yet is what will be answered once they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import DAY_US, JOBS, MARCH_US, MODELS, opened, parts
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.live import LiveView
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter

NOW_US = MARCH_US + 10 * DAY_US
ASKED = [Filter(), Filter(uid=1001), Filter(groups={"account": "physics"}), Filter(running=True), Filter(model="L40S"),
         Filter(since_us=MARCH_US + DAY_US, until_us=MARCH_US + 2 * DAY_US)]  # fmt: skip


def alike(rows, *names):
    """Rows by name, but for sigmas, which are floats that were added up in another order."""
    return {
        tuple(row[name] for name in names): (
            {name: value for name, value in row.items() if name != "sigma_j"}, pytest.approx(row["sigma_j"])
        )
        for row in rows
    }  # fmt: skip


def test_a_share_of_the_node_is_told_of_jobs_of_which_the_agent_knows_one(tmp_path):
    """And to nobody who may not see the job."""
    (key, run_us), record = next(iter(JOBS.items()))
    opened(tmp_path / "some.db")
    hnj = {"cpu": 2_000_000_000, "rest": 4_000_000_000}
    view = LiveView("one", 1, NOW_US, NOW_US - 1, (), {(key, run_us): record}, MODELS, {key: hnj})
    answers = Answers(
        open_database(tmp_path / "some.db", read_only=True), "n1", lambda: view, clock=lambda: NOW_US / 1e6
    )
    told = answers.job(key, Filter())["job"]["node_energy_estimate"]
    assert {part: float(joules) for part, joules in told["parts_j"].items()} == {"cpu": 1, "rest": 2}
    assert float(told["energy_j"]) == 3
    assert answers.job(key, Filter(uid=4711)) is None


@settings(max_examples=examples(30))
@given(made=parts(most=8), written=st.integers(0, 8), asked=st.sampled_from(ASKED))
def test_what_is_on_its_way_counts_as_if_it_were_there(made, written, asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    records = {place: job for place, job in JOBS.items() if any((one.job, one.run_us) == place for one in made)}
    opened(folder / "all.db").add(made, records, MODELS)
    first = {(one.job, one.run_us) for one in made[:written]}
    known = {place: job for place, job in records.items() if place in first}
    opened(folder / "some.db").add(made[:written], known, MODELS)
    view = LiveView("one", len(made) + 1, NOW_US, NOW_US - 1, tuple(made), records, MODELS)
    then = Answers(open_database(folder / "all.db", read_only=True), "n1", clock=lambda: NOW_US / 1e6)
    now = Answers(open_database(folder / "some.db", read_only=True), "n1", lambda: view, clock=lambda: NOW_US / 1e6)
    mine, theirs = (alike(answers.jobs(asked)["jobs"], "job", "run") for answers in (now, then))
    assert mine.keys() == theirs.keys()
    for place, (facts, sigma_j) in mine.items():
        assert (facts, sigma_j.expected) == (theirs[place][0], theirs[place][1])
    for by in ("user", "account", "model", "day", "job"):
        mine, theirs = (alike(answers.report(by, asked)["rows"], "name") for answers in (now, then))
        assert {name: facts for name, (facts, _) in mine.items()} == {
            name: facts for name, (facts, _) in theirs.items()
        }
