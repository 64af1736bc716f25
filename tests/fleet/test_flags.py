"""Numbers on the fleet's command line: percent are taken where they are written, and never where they are not."""

import argparse
from argparse import ArgumentTypeError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.commands import fleet as command
from wattshed.agent.fleet import flags
from wattshed.agent.traces.opening import OpenedTrace

READERS = [flags.fraction, flags.fraction_or_zero, flags.fraction_or_whole, flags.share, flags.variation]


@pytest.mark.parametrize("read", READERS)
@given(st.integers(1, 99))
def test_percent_are_hundredths(read, percent):
    assert read(f"{percent}%") == read(str(percent / 100)) == percent / 100


@pytest.mark.parametrize(("read", "ends"), list(zip(READERS, [(), (0,), (1,), (0, 1), (0, 1, 5)], strict=True)))
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


@pytest.mark.parametrize("read", [*READERS, flags.positive, flags.whole, flags.seed])
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
    assert plans == ["an interval of ±2% at 95% confidence takes 1,537 hosts\n"] * 2


LIVE = ("--prometheus", "http://127.0.0.1:9", "--inventory", "FLEET.toml")
FILES = ("--sample", "S.csv", "--population", "P.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("estimate", *LIVE, "--plan", "2%"), "--plan needs --sample"),
        (("estimate", *LIVE, "--bootstrap", 100), "--bootstrap needs --sample"),
        (("estimate", *LIVE, "--method", "ratio"), "--method needs --sample"),
        (("estimate", *LIVE, "--unit", "W"), "--unit needs --sample or --times"),
        (("estimate", *FILES, "--resample", "job"), "--resample needs --bootstrap"),
        (("estimate", *FILES, "--timeout", 3), "--timeout needs --prometheus"),
        (("demand", "load.csv", "--replicates", 9), "--replicates needs --scale or --limit"),
        (("demand", "load.csv", "--limit", 9, "--checkpoint", 60), "--checkpoint needs --scale"),
        (("flexibility", "C.toml", "--target", "5%", "--for", "1h", "--event", "A..B"), "--event needs --measured"),
        (("flexibility", "C.toml", "--target", "5%", "--for", "1h", "--curtail", "1%"), "--curtail needs --grid"),
        (("simulate", "--inventory", "F", "--to", "http://127.0.0.1:9", "--interval", 2), "--interval needs --for"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(fleet, words, said):
    found = fleet(*words)
    assert found.code == 2
    assert f"wattshed: {said}, and would be ignored" in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("headroom", "t.csv", "--feed", "1MW"), "--feed"),
        (("flexibility", "C.toml", "--target", "5%", "--for", "1h"), "--for"),
        (("path", "P.toml", "--seed", "2"), "--seed"),
        (("siting", "S.toml", "--load", "L.csv"), "--load"),
        (("storage", "t.csv", "--ramp", "1MW/min"), "--ramp"),
        (("dossier", "t.csv", "--limits", "L.toml"), "--limits"),
        (("demand", "t.csv", "--scale", "5"), "--scale"),
    ],
)
def test_a_command_notes_which_options_it_was_given(words, option):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(), OpenedTrace)
    assert flags.is_given(parser.parse_args(["fleet", *words]), option)
