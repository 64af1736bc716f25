"""What the kit predicts is what was measured on the last card: a prediction that its own numbers contradict is none."""

from types import SimpleNamespace

import pytest

from tests.gpu import measured
from tests.gpu.kit import (
    s02_rows,
    s03_periods,
    s04_waves,
    s05_sharing,
    s06_observer,
    s07_kernels,
    s08_answers,
    s09_decay,
    s10_sample,
)


@pytest.fixture
def judged():
    """A kit that holds what was measured by one step; ``said`` is the verdict."""

    def made(number, **more):
        kit = SimpleNamespace(result=measured.step(number) | more, simulated=False, said=None)
        kit.put = lambda **facts: kit.result.update(facts)
        kit.verdict = lambda as_predicted, line: setattr(kit, "said", (as_predicted, line))
        return kit

    return made


def test_rows():
    assert min(facts["explained"] for facts in measured.rows().values()) >= s02_rows.EXPLAINED


def test_publication():
    told = measured.publication()
    assert s03_periods.judged({name: facts["p50"] for name, facts in told["periods"].items()}, told)
    assert not s03_periods.judged({"counter": 100.0}, told | {"samples_against_counter": 1.1})


def test_waves():
    _, table, phases = measured.waves()
    gaps = [abs(row["counter_share"] - row["samples_share"]) for row in table]
    assert s04_waves.judged(phases, gaps, table)[0] is True
    assert s04_waves.judged(phases | {"counter 100 ms": 0.2}, gaps, table)[0] is False
    assert s04_waves.judged({}, gaps, table)[0] is None


def test_sharing(judged):
    kit = judged(5)
    table, facts = measured.sharing()
    kit.put(schedule=facts)
    s05_sharing.verdict(kit, table, kit.result["replays"])
    assert kit.said[0] is True, kit.said


def test_what_watching_costs():
    parts = s06_observer.parts(measured.effects(), measured.step(6)["during_calls"])
    assert len(parts) > 20
    assert {name for name, holds in parts.items() if holds is not True} == set()


def test_kernels_but_for_the_replays_that_were_cut_off(judged):
    kit = judged(7)
    contest = SimpleNamespace(table=kit.result["table"], equal=kit.result["equal"])
    for replayed, so in (({"same": True}, True), ({}, False)):
        s07_kernels.conclude(kit, contest, kit.result["foreign"], replayed)
        assert kit.said[0] is so, kit.said
    assert kit.result["card_wins_resident"] == {
        "integrate dirty": 10**7,
        "windows dirty": 10**6,
        "quantiles dirty": 10**6,
        "job_energy dirty": 10**7,
        "integrate": 10**7,
        "windows": None,
        "quantiles": 10**7,
        "job_energy": 10**8,
    }


@pytest.mark.parametrize("number", [8, 9, 10])
def test_answers_lives_and_the_recording(number, judged):
    kit = judged(number)
    if number == 8:
        kit.result["gpm"]["answered"] = {int(metric): v for metric, v in kit.result["gpm"]["answered"].items()}
        s08_answers.judge(kit)
    elif number == 9:
        s09_decay.judge(kit, measured.lives())
    else:
        s10_sample.judge(kit, kit.result["replay"], kit.result["parquet"]["replay"], 60.0)
    assert kit.said[0] is True, kit.said
