"""A BMC's watts beside its kilowatt hours."""

from math import floor

import pytest

from wattshed.agent.host.checking import KwhCheck


def said(gain, kwh_per_step=1.0, hours=12, hole=None):
    """All that is said of a node of 1 to 3 kW, whose watts are too high by ``gain`` - 1."""
    check, told, joules = KwhCheck(30.0), [], 0.0
    for place in range(hours * 360):
        watts = 2000 + 1000 * (1 if place // 90 % 2 else -1)
        joules += 10 * watts
        energy = 7000 + kwh_per_step * floor(joules / 3.6e6 / kwh_per_step)
        if hole is None or not hole[0] <= place < hole[1]:
            told.append(check.add(10.0 * place, round(1000 * gain * watts), energy))
    return [one for one in told if one]


@pytest.mark.parametrize("kwh_per_step", [0.1, 1.0])
def test_watts_that_agree_with_the_counter_are_left_alone(kwh_per_step):
    assert said(1.0, kwh_per_step) == []
    assert said(1.05, kwh_per_step) == []
    assert said(1.0, kwh_per_step, hole=(1000, 2000)) == []


@pytest.mark.parametrize("gain", [0.7, 1.3])
def test_watts_that_do_not_are_told_with_both_numbers(gain):
    first, *_ = said(gain)
    assert first.startswith("its energy counter rose by 5 kWh while its watts add up to ")
    assert float(first.split()[-2]) == pytest.approx(5 * gain, rel=0.03)


def test_too_few_steps_and_counters_that_begin_anew_say_nothing():
    assert said(2.0, hours=2) == []
    check = KwhCheck(30.0)
    assert [check.add(10.0 * at, 10**9, 9 - at) for at in range(9)] == [""] * 9
