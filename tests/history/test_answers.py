"""The documents: what they say is what the parts say, and who may not see a job learns nothing of it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.history.made_up import DAY_US, HOUR_US, JOBS, MARCH_US, MODELS, job, opened, part, parts
from wattshed.agent.history import steps
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.opening import open_database
from wattshed.agent.history.paths import RefusedError, ask
from wattshed.agent.history.profile import KnownEnergy, PowerProfile
from wattshed.agent.history.query import Filter, TooMuchError
from wattshed.agent.history.sums import within
from wattshed.agent.wire.parts import END, hnj_of
from wattshed.agent.wire.parts_json import of_plain, record_of_plain

NOW_S = (MARCH_US + 10 * DAY_US) / 1e6


def answers(place):
    return Answers(open_database(place, read_only=True), "n1", clock=lambda: NOW_S)


def filled(place, made, jobs=JOBS, store_id="one"):
    opened(place, store_id).add(made, jobs, MODELS)
    return answers(place)


def test_a_job(new_place):
    """3,600 J in an hour on each of two GPUs, of which it ran on one: 2 W in the mean."""
    place = new_place()
    ended = {("slurm:1", MARCH_US): job("slurm:1", end_us=MARCH_US + HOUR_US, user="ada", name="train", pod="x")}
    made = [
        part(1, joules=3600, active_us=HOUR_US, peak_mw=1500, method=1, covered_us=HOUR_US),
        part(2, joules=3600, held_us=HOUR_US, gpu="GPU-2", method=2, flags=END, covered_us=HOUR_US),
    ]
    found = filled(place, made, ended).job("slurm:1", Filter())
    assert (found["schema"], found["host"], found["now_s"], found["earlier"]) == ("wattshed.job/1", "n1", NOW_S, [])
    one = found["job"]
    assert one | {"by_gpu": 0, "power": 0} == {
        "job": "slurm:1", "run": str(MARCH_US), "cluster": "", "hosts": ["n1"], "hosts_expected": None,
        "state": "complete", "start_s": MARCH_US / 1e6, "end_s": MARCH_US / 1e6 + 3600, "elapsed_s": 3600.0,
        "user": "ada", "account": "", "partition": "", "namespace": "", "qos": "", "name": "train",
        "labels": {"pod": "x"}, "gpus": 2, "energy_j": "7200", "static_j": "0", "dynamic_j": "7200",
        "sigma_j": pytest.approx(288), "boundary": "board", "active_s": 3600.0, "held_s": 3600.0, "mean_w": 2.0,
        "covered_s": 7200.0, "coverage": 1.0,
        "peak_w": 1.5, "held_idle": 0.5, "method": "alone+utilisation", "flags": [], "by_gpu": 0, "power": 0,
        "work": None, "waiting_j": None, "watts": None, "watts_sigma": None,
    }  # fmt: skip
    assert [(gpu["host"], gpu["gpu"], gpu["model"], gpu["energy_j"], gpu["peak_w"]) for gpu in one["by_gpu"]] == [
        ("n1", "GPU-0", "H100", "3600", 1.5), ("n1", "GPU-2", "L40S", "3600", None),
    ]  # fmt: skip
    assert one["power"] == [[MARCH_US / 1e6, MARCH_US / 1e6 + 3600, 2.0]]


def test_watts_are_those_of_the_newest_part_that_tells_of_any(new_place):
    """A job's are the mean over its GPUs of which they are known, with the newest run's in one answer as in a list."""
    place, later = new_place(), {"begin_us": MARCH_US + HOUR_US}
    made = [
        part(1, watts_mw=(300_000, 90_000)),
        part(2, gpu="GPU-1", watts_mw=(500_000, 50_000)),
        part(3, **later, watts_mw=(310_000, 30_000)),
        part(4, gpu="GPU-1", **later),
        part(5, gpu="GPU-2", **later),
        part(6, "slurm:2"),
    ]
    asked = filled(place, made)
    one = asked.job("slurm:1", Filter())["job"]
    told = [(gpu["gpu"], gpu["watts"], gpu["watts_sigma"]) for gpu in one["by_gpu"]]
    assert told == [("GPU-0", 310.0, 30.0), ("GPU-1", 500.0, 50.0), ("GPU-2", None, None)]
    assert (one["watts"], one["watts_sigma"]) == (405.0, 40.0)
    listed = {job["job"]: (job["watts"], job["watts_sigma"]) for job in asked.jobs(Filter())["jobs"]}
    assert (listed["slurm:1"], listed["slurm:2"]) == ((405.0, 40.0), (None, None))
    assert "watts" not in asked.report("user", Filter())["rows"][0]


def test_mean_power_is_over_what_was_measured_of_its_time(new_place):
    """Of two hours on one GPU and one on another, a part was not measured; of one part nobody knows."""
    place = new_place()
    ended = {("slurm:1", MARCH_US): job("slurm:1", end_us=MARCH_US + 2 * HOUR_US)}
    times = {"active_us": HOUR_US, "method": 1}
    made = [
        part(1, joules=7200, covered_us=HOUR_US, **times),
        part(2, joules=3600, begin_us=MARCH_US + HOUR_US, covered_us=HOUR_US // 2, **times),
        part(3, joules=0, gpu="GPU-2", covered_us=0, **times),
    ]
    one = filled(place, made, ended).job("slurm:1", Filter())["job"]
    assert (one["covered_s"], one["coverage"], one["mean_w"]) == (5400.0, 0.5, 10_800 / 3600)
    told = [(gpu["gpu"], gpu["mean_w"], gpu["covered_s"], gpu["coverage"]) for gpu in one["by_gpu"]]
    assert told == [("GPU-0", 2.0, 5400.0, 0.75), ("GPU-2", None, 0.0, 0.0)]
    begin_s = MARCH_US / 1e6
    assert one["power"] == [[begin_s, begin_s + 3600, 2.0], [begin_s + 3600, begin_s + 7200, 2.0]]
    (listed,) = answers(place).jobs(Filter())["jobs"]
    assert {name: listed[name] for name in listed} == {name: one[name] for name in listed}
    opened(place).add([part(4, joules=0, begin_us=MARCH_US + HOUR_US, gpu="GPU-2", **times)], ended, MODELS)
    one = answers(place).job("slurm:1", Filter())["job"]
    assert (one["covered_s"], one["coverage"], one["mean_w"]) == (None, None, 1.5)


def test_a_job_that_runs_and_its_earlier_run(new_place):
    place = new_place()
    second = MARCH_US + 3 * HOUR_US
    both = {
        ("slurm:1", MARCH_US): job("slurm:1", end_us=MARCH_US + HOUR_US),
        ("slurm:1", second): job("slurm:1", start_us=second),
    }
    made = [part(1, joules=5), part(2, begin_us=second, joules=7200)]
    made[1] = type(made[1])(**{name: getattr(made[1], name) for name in made[1].__slots__} | {"run_us": second})
    found = filled(place, made, both).job("1", Filter())  # without its prefix
    assert (found["job"]["run"], found["job"]["state"], found["job"]["end_s"]) == (str(second), "running", None)
    assert found["job"]["elapsed_s"] == NOW_S - second / 1e6
    assert found["job"]["mean_w"] == 2.0  # of the time whose energy is known
    assert [(one["run"], one["energy_j"]) for one in found["earlier"]] == [(str(MARCH_US), "5")]


def test_power_over_time_has_holes_and_overlaps(new_place):
    place = new_place()
    made = [
        part(1, joules=3600, length_us=2 * HOUR_US),
        part(2, joules=3600, gpu="GPU-1", begin_us=MARCH_US + HOUR_US),
        part(3, joules=3600, begin_us=MARCH_US + 3 * HOUR_US),
    ]
    found = filled(place, made).job("slurm:1", Filter())["job"]["power"]
    begin_s = MARCH_US / 1e6
    assert found == [
        [begin_s, begin_s + 3600, 0.5],
        [begin_s + 3600, begin_s + 7200, 1.5],
        [begin_s + 7200, begin_s + 10800, None],
        [begin_s + 10800, begin_s + 14400, 1.0],
    ]


@pytest.mark.parametrize("text", ["", "nonsense", "0 1 1 1 A"])
def test_a_job_that_was_followed_tells_its_power_in_steps_and_any_other_by_its_parts(new_place, text):
    ended = job("slurm:1", end_us=MARCH_US + HOUR_US)
    profile = PowerProfile(MARCH_US, HOUR_US // 2)
    profile.look(3600 * 2_000_000_000, [KnownEnergy(HOUR_US // 2, MARCH_US + HOUR_US)], MARCH_US + HOUR_US)
    begin_s = MARCH_US / 1e6
    for written, power in (
        (profile.text(), [[begin_s, begin_s + 1800, 1.0], [begin_s + 1800, begin_s + 3600, 1.0]]),
        (text, [[begin_s, begin_s + 3600, 1.0]]),
    ):
        jobs = {("slurm:1", MARCH_US): replace(ended, power=written)}
        found = filled(new_place(), [part(1, joules=3600, flags=END)], jobs).job("slurm:1", Filter())["job"]
        assert found["power"] == power


def test_another_users_job_is_no_job(new_place):
    place = new_place()
    found = filled(place, [part(1), part(2, "k8s:a/b")])
    for key in ("slurm:1", "k8s:a/b", "slurm:9", "_idle", "", "%", "slurm:1' OR '1'='1"):
        assert found.job(key, Filter(uid=1001)) is None
    assert found.job("_idle", Filter()) is None
    assert found.job("slurm:1", Filter(uid=1000))["job"]["job"] == "slurm:1"


def test_a_key_without_its_prefix_must_be_unique(new_place):
    place = new_place()
    jobs = {(key, MARCH_US): job(key, uid=uid) for key, uid in (("slurm:7", 1), ("oar:7", 2), ("7", 3))}
    made = [part(1, "slurm:7"), part(2, "oar:7")]
    found = filled(place, made, {place: jobs[place] for place in list(jobs)[:2]})
    assert found.job("7", Filter()) is None
    assert found.job("7", Filter(uid=2))["job"]["job"] == "oar:7"  # the other's says nothing
    # In a list and in a report, too, which ask for it as it was typed.
    assert [one["job"] for one in found.jobs(Filter(job="7", uid=2))["jobs"]] == ["oar:7"]
    assert [row["name"] for row in found.report("job", Filter(job="7", uid=2))["rows"]] == ["oar:7"]
    opened(place).add([part(3, "7")], jobs, MODELS)
    assert found.job("7", Filter())["job"]["job"] == "7"
    assert [one["job"] for one in found.jobs(Filter(job="slurm:7"))["jobs"]] == ["slurm:7"]


@given(made=parts(), by=st.sampled_from(["user", "account", "host", "model", "day", "month", "job"]), data=st.data())
@settings(max_examples=examples(80), deadline=None)
def test_steps_add_up_to_rows_and_rows_to_parts(made, by, data, new_place):
    place = new_place()
    opened(place).add(made, JOBS, MODELS)
    edges = st.integers(MARCH_US - 2 * DAY_US, MARCH_US + 9 * DAY_US)
    since, until = sorted((data.draw(edges), data.draw(edges)))
    step_s = data.draw(st.sampled_from([900, 3600, 86_400, *([None] if by == "job" else [])]))
    asked = Filter(since_us=since, until_us=until, uid=data.draw(st.sampled_from([None, 1000])))
    found = answers(place).report(by, asked, step_s)
    inside = [
        within(one, max(since, one.from_us), min(until, one.to_us))
        for one in made
        if ((one.from_us < until and one.to_us > since) or since <= one.from_us == one.to_us < until)
        and (asked.uid is None or one.job == "slurm:1")
    ]
    assert hnj_of(found["total"]["energy_j"]) == sum(one.energy_hnj for one in inside)
    assert sum(hnj_of(row["energy_j"]) for row in found["rows"]) == hnj_of(found["total"]["energy_j"])
    assert math.isclose(found["total"]["active_s"], sum(one.active_us for one in inside) / 1e6, abs_tol=1e-6)
    if by != "job":
        without = answers(place).report(by, asked)
        assert [row for row in without["rows"] if row["energy_j"] != "0"] == [
            {**row, "sigma_j": pytest.approx(row["sigma_j"], rel=1e-9, abs=1e-6)}
            for row in found["rows"]
            if row["energy_j"] != "0"
        ]
    if step_s is None:
        assert found["steps"] == []
        return
    sums = dict.fromkeys(range(len(found["rows"])), 0)
    for row, from_s, energy_j, _ in found["steps"]:
        assert from_s % step_s == 0
        sums[row] += hnj_of(energy_j)
    assert list(sums.values()) == [hnj_of(row["energy_j"]) for row in found["rows"]]


def test_a_report_by_job_says_who_they_are(new_place):
    place = new_place()
    found = filled(place, [part(1, joules=5), part(2, "slurm:2", joules=7), part(3, "_idle", joules=9)])
    report = found.report("job", Filter())
    assert [(row["name"], row["jobs"], row["energy_j"], row["user"]) for row in report["rows"]] == [
        ("slurm:2", 1, "7", "bob"), ("slurm:1", 1, "5", "ada"), ("_idle", None, "9", ""),
    ]  # fmt: skip
    assert report["rows"][0]["end_s"] == (MARCH_US + 2 * DAY_US) / 1e6
    assert report["rows"][1]["job_name"] == "train"
    assert (report["total"]["jobs"], report["total"]["energy_j"]) == (2, "21")
    assert (report["since_s"], report["until_s"], report["step_s"], report["by"]) == (None, None, None, "job")


def test_too_many_steps_are_refused(new_place, monkeypatch):
    place = new_place()
    monkeypatch.setattr(steps, "MOST_STEPS", 3)
    found = filled(place, [part(1, length_us=4 * HOUR_US)])
    assert len(found.report("user", Filter(until_us=MARCH_US + 2 * HOUR_US), 3600)["steps"]) == 2
    with pytest.raises(TooMuchError, match="more than 3 sums; ask for a shorter time"):
        found.report("user", Filter(), 3600)


@given(made=parts(), data=st.data())
@settings(max_examples=examples(40), deadline=None)
def test_parts_are_handed_on_as_they_came_in(made, data, new_place):
    place = new_place()
    opened(place).add(made, JOBS, MODELS)
    after, got, jobs = 0, [], {}
    while True:
        page = answers(place).parts(after, data.draw(st.integers(1, 10)))
        assert (page["schema"], page["store"], page["first_seq"], page["next"]) == (
            "wattshed.parts/1", "one", 1, len(made) + 1,
        )  # fmt: skip
        if not page["parts"]:
            break
        got += [one | {"doubt": tuple(one["doubt"])} for one in page["parts"]]
        jobs.update({one["key"]: record_of_plain(one) for one in page["jobs"]})
        assert page["models"] == {one["gpu"]: MODELS[one["gpu"]] for one in page["parts"]}
        after = page["parts"][-1]["seq"]
    assert [one["seq"] for one in got] == [one.seq for one in made]
    assert [(int(one["static_hnj"]), int(one["dynamic_hnj"])) for one in got] == [
        (one.static_hnj, one.dynamic_hnj) for one in made
    ]
    assert jobs == {key: record for (key, _), record in JOBS.items() if key in {one.job for one in made}}


def test_an_older_store_can_still_be_collected(new_place):
    place = new_place()
    filled(place, [part(1), part(2)])
    found = filled(place, [part(1, joules=7)], store_id="two")
    assert found.parts(0)["store"] == "two"
    assert found.parts(0)["stores"] == ["one", "two"]
    assert [of_plain(one) for one in found.parts(1, store="one")["parts"]] == [part(2)]
    assert found.parts(0, store="three")["parts"] == []


@pytest.mark.parametrize(
    ("path", "params", "status", "why"),
    [
        ("/api/v1/jobs", {"cursor": "x"}, 400, "cursor: is not one that an answer"),
        ("/api/v1/jobs", {"limit": "0"}, 400, "limit: '0' is not"),
        ("/api/v1/jobs", {"by": "user"}, 400, "by: is not a parameter"),
        ("/api/v1/jobs/slurm:9", {}, 404, "no such job"),
        ("/api/v1/report", {}, 400, "by: '' is not one of user"),
        ("/api/v1/report", {"by": "job", "running": "1"}, 400, "running: is not a parameter"),
        ("/api/v1/report", {"by": "cat", "step_s": "3600"}, 400, "by: 'cat' is not one of"),
        ("/api/v1/report", {"by": "user", "step_s": "7"}, 400, "step_s: '7' is not one of"),
        ("/api/v1/parts", {"since": "1"}, 400, "since: is not a parameter"),
        ("/api/v1/cats", {}, 404, "there is no such question"),
    ],
)
def test_what_has_no_answer_says_why(path, params, status, why, new_place):
    place = new_place()
    with pytest.raises(RefusedError, match=why) as refused:
        ask(filled(place, [part(1)]), path, params, None, NOW_S)
    assert refused.value.status == status


def test_paths(new_place):
    place = new_place()
    found = filled(place, [part(1), part(2, "k8s:a/b")])
    assert len(ask(found, "/api/v1/jobs", {"limit": "1"}, None, NOW_S)["jobs"]) == 1
    assert ask(found, "/api/v1/jobs/k8s%3Aa%2Fb", {}, None, NOW_S)["job"]["job"] == "k8s:a/b"
    assert ask(found, "/api/v1/jobs/k8s:a/b", {}, None, NOW_S)["job"]["namespace"] == "demo"
    with pytest.raises(RefusedError, match="no such job"):
        ask(found, "/api/v1/jobs/", {}, None, NOW_S)
    assert ask(found, "/api/v1/report", {"by": "user"}, 1000, NOW_S)["total"]["energy_j"] == "1"
    for path, params in (("jobs", {}), ("jobs/slurm:1", {}), ("report", {"by": "user"})):
        assert [ask(found, f"/api/v1/{path}", params, uid, NOW_S)["scope"] for uid in (None, 1000)] == ["all", "own"]
        assert ask(found, f"/api/v1/{path}", params, None, NOW_S)["simulated"] is False
    assert len(ask(found, "/api/v1/parts", {"after": "1"}, None, NOW_S)["parts"]) == 1
    with pytest.raises(RefusedError, match="who may see all") as refused:
        ask(found, "/api/v1/parts", {}, 1000, NOW_S)
    assert refused.value.status == 403
