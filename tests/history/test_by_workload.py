"""Reports by a label that no sum of days is kept for: the sums of its jobs, exactly."""

import pytest

from tests.history.made_up import HOUR_US, MARCH_US, MODELS, job, opened, part
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.query import Filter
from wattshed.agent.wire.parts import hnj_of

POD = "2fc932ce-fdcc-454b-97bd-aadfdeb4c34"
PODS = {
    (f"k8s:{POD}{n}/c", MARCH_US): job(f"k8s:{POD}{n}/c", uid=-1, end_us=MARCH_US + HOUR_US, **labels)
    for n, labels in enumerate(
        [
            {"namespace": "a", "workload": "a/job/fit", "queue": "a/gpu"},
            {"namespace": "a", "workload": "a/job/fit"},
            {"namespace": "b", "workload": "b/job/fit", "queue": "b/gpu"},
            {"namespace": "b"},
        ]
    )
}


@pytest.fixture
def answers(new_place):
    place, store = (place := new_place()), opened(place)
    made = [part(n + 1, key, joules=2**n, begin_us=MARCH_US + n * HOUR_US) for n, (key, _) in enumerate(PODS)]
    store.add([*made, part(9, "_idle", joules=100)], PODS, MODELS)
    return Answers(open_database(place, read_only=True), "n1", clock=lambda: MARCH_US / 1e6)


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("workload", [("b/job/fit", 1, "4"), ("a/job/fit", 2, "3"), ("", 1, "8"), ("_idle", None, "100")]),
        ("queue", [("b/gpu", 1, "4"), ("a/gpu", 1, "1"), ("", 2, "10"), ("_idle", None, "100")]),
    ],
)
def test_workloads_of_one_name_in_two_namespaces_are_two(answers, by, rows):
    answer = answers.report(by, Filter())
    found = {row["name"]: (row["jobs"], row["energy_j"]) for row in answer["rows"]}
    assert found == {name: (jobs, joules) for name, jobs, joules in rows}
    assert answer["total"]["energy_j"] == "115"
    assert answer["rows"][-1]["name"] == "_idle"


def test_within_one_namespace_and_by_hours(answers):
    answer = answers.report("workload", Filter(groups={"namespace": "a"}), 3600)
    assert [(row["name"], row["energy_j"]) for row in answer["rows"]] == [("a/job/fit", "3")]
    hours = [(row, (at - MARCH_US / 1e6) / 3600, joules) for row, at, joules, _ in answer["steps"]]
    assert hours == [(0, 0.0, "1"), (0, 1.0, "2")]
    by_all = answers.report("queue", Filter(), 900)
    assert sum(hnj_of(step[2]) for step in by_all["steps"]) == hnj_of(by_all["total"]["energy_j"])


def test_a_workload_stands_beside_its_job(answers):
    rows = answers.report("job", Filter())["rows"]
    assert {row["name"]: row.get("workload") for row in rows if row["name"] != "_idle"} == {
        key: record.labels.get("workload") for (key, _), record in PODS.items()
    }
