"""Numbers on the fleet's command line: percent are taken where they are written, and never where they are not."""

from argparse import ArgumentTypeError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.fleet import flags

READERS = [flags.fraction, flags.fraction_or_zero, flags.fraction_or_whole, flags.variation]


@pytest.mark.parametrize("read", READERS)
@given(st.integers(1, 99))
def test_percent_are_hundredths(read, percent):
    assert read(f"{percent}%") == read(str(percent / 100)) == percent / 100


@pytest.mark.parametrize(("read", "ends"), list(zip(READERS, [(), (0,), (1,), (0, 1, 5)], strict=True)))
def test_ends_that_are_taken(read, ends):
    for value in (0, 1, 5):
        if value in ends:
            assert read(str(value)) == read(f"{value * 100}%") == value
        else:
            with pytest.raises(ArgumentTypeError):
                read(str(value))


@pytest.mark.parametrize("read", READERS)
@given(st.integers(6, 99))
def test_what_looks_like_percent_is_refused_with_what_was_meant(read, percent):
    with pytest.raises(ArgumentTypeError, match=rf"; write {percent / 100:g} or {percent}%$"):
        read(str(percent))


@pytest.mark.parametrize("read", [*READERS, flags.positive, flags.whole])
@pytest.mark.parametrize("text", ["-1", "nan", "inf", "x", "", "%", "1e9", "-3%", "900%"])
def test_what_is_no_such_number_is_refused_without_a_suggestion(read, text):
    if (read, text) == (flags.positive, "1e9"):
        assert read(text) == 1e9
        return
    with pytest.raises(ArgumentTypeError) as refused:
        read(text)
    assert "write" not in str(refused.value)


def test_a_plan_for_a_variation_of_40_says_what_was_meant(fleet):
    assert (
        "--cv: 40 is a standard deviation of 40 times the mean; write 0.4 or 40%"
        in fleet("plan", "--cv", 40, "--error", 0.02).err
    )
    plans = [fleet("plan", "--cv", cv, "--error", e).out for cv, e in ((0.4, 0.02), ("40%", "2%"))]
    assert plans == ["an interval of ±2% takes 1,537 hosts\n"] * 2
