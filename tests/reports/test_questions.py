"""Reports that are too much for one answer: what is asked bit by bit is what one answer would have been."""

import pytest

from tests.history.made_up import DAY_US, HOUR_US, JOBS, MARCH_US, MODELS, opened, part
from wattshed.agent.reports.questions import day_by_day, report_of
from wattshed.agent.reports.sources import StoreSource
from wattshed.agent.wire.parts import hnj_of

NOW_S = MARCH_US / 1e6 + 4 * 86_400


@pytest.fixture
def source(tmp_path):
    owners = ["slurm:1", "slurm:2", "k8s:a/b", "_idle"]
    parts = [
        part(i + 1, owners[i % 4], begin_us=MARCH_US + i * 3 * HOUR_US, length_us=7 * HOUR_US, joules=1000 + i * i)
        for i in range(30)
    ]
    opened(tmp_path / "history.db").add(parts, JOBS, MODELS)
    asking = StoreSource(str(tmp_path / "history.db"), lambda: NOW_S)
    asked = []

    class Counting:
        name = asking.name

        def ask(self, path, params):
            asked.append(params)
            return asking.ask(path, params)

    return Counting(), asked


SINCE = repr(MARCH_US / 1e6 + 5000.5)
UNTIL = repr(MARCH_US / 1e6 + 3 * 86_400 + 700)


@pytest.mark.parametrize("more", [{}, {"until": UNTIL}, {"account": "physics"}])
@pytest.mark.parametrize("most", [3, 40, 700])
def test_bits_are_the_whole(source, more, most):
    asking, asked = source
    params = {"since": SINCE, **more}
    end = {"until": more.get("until", repr(NOW_S))}
    expected = asking.ask("report", {**params, **end, "by": "user", "step_s": "900"})
    asked.clear()
    found = report_of(asking, params, "user", 900, now_s=NOW_S, most=most)
    assert (len(asked) > 2) == (most < 700)
    assert found["steps"] == expected["steps"]
    for mine, right in zip([*found["rows"], found["total"]], [*expected["rows"], expected["total"]], strict=True):
        assert {**mine, "sigma_j": 0} == {**right, "sigma_j": 0}
        assert mine["sigma_j"] == pytest.approx(right["sigma_j"])  # added up in another order


def test_one_question_where_that_will_do(source):
    asking, asked = source
    report_of(asking, {"since": SINCE}, "user", 900, now_s=NOW_S)
    report_of(asking, {}, "user", 900, now_s=NOW_S, most=3)  # from when on is not known
    report_of(asking, {"since": SINCE}, "user", None, now_s=NOW_S, most=3)
    assert len(asked) == 3
    assert list(day_by_day(asking, {}, 900, NOW_S))
    assert len(asked) == 4


def test_each_day_is_asked_for_once(source):
    asking, asked = source
    days = list(day_by_day(asking, {"since": SINCE, "until": UNTIL}, 3600, NOW_S))
    assert len(days) == len(asked) == 4
    steps = [(day["rows"][row]["name"], at, hnj_of(energy)) for day in days for row, at, energy, _ in day["steps"]]
    whole = asking.ask("report", {"since": SINCE, "until": UNTIL, "by": "job", "step_s": "3600"})
    expected = [(whole["rows"][row]["name"], at, hnj_of(energy)) for row, at, energy, _ in whole["steps"]]
    assert sorted(steps) == sorted(expected)
    for day in days:
        assert len({at // (DAY_US // 1_000_000) for _, at, _, _ in day["steps"]}) == 1
