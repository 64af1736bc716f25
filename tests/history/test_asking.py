"""What may be asked, and how it is read."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.history.asking import after_of, filter_of, limit_of, step_of, time_us
from wattshed.agent.history.query import FOREVER_US, Filter
from wattshed.agent.wire.parts import METHODS, hnj_of, joules
from wattshed.kernels.billing import shares

NOW_S = datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp()


@given(st.integers(-(2**80), 2**80))
def test_joules_are_exact(hnj):
    text = joules(hnj)
    assert hnj_of(text) == hnj
    assert "e" not in text
    assert "." not in text or text[-1] not in "0."


def test_joules_as_they_are_written():
    assert [joules(hnj) for hnj in (0, 1, 2_000_000_000, 7_200_000_000_000, -3)] == [
        "0", "0.0000000005", "1", "3600", "-0.0000000015",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "1e3", "1.", ".5", "+1", "1 J", "0.00000000001", "0.0000000001", "\u0661"])
def test_other_numbers_are_no_energies(text):
    with pytest.raises(ValueError, match="is not"):
        hnj_of(text)


def test_bits_of_methods_are_those_of_the_kernels():
    bits = (shares.ALONE, shares.LEARNED, shares.BY_ACTIVITY, shares.BY_SHARE, shares.EQUAL, shares.NOBODY_ACTIVE)
    assert tuple(METHODS) == bits


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", (1970, 1, 1)),
        ("1774958400.5", (2026, 3, 31, 12, 0, 0, 500_000)),
        ("2026-03-01", (2026, 3, 1)),
        ("20260301", (2026, 3, 1)),
        ("2026-03-01T10:00:00Z", (2026, 3, 1, 10)),
        ("2026-03-01 10:00+01:00", (2026, 3, 1, 9)),
        ("7d", (2026, 3, 24, 12)),
        ("1.5h", (2026, 3, 31, 10, 30)),
        ("90s", (2026, 3, 31, 11, 58, 30)),
    ],
)
def test_moments(text, moment):
    assert time_us(text, NOW_S) == round(datetime(*moment, tzinfo=UTC).timestamp() * 1e6)


UNITS = {
    "s": timedelta(seconds=1), "m": timedelta(minutes=1), "min": timedelta(minutes=1), "h": timedelta(hours=1),
    "d": timedelta(days=1), "w": timedelta(weeks=1),
}  # fmt: skip


@given(st.sampled_from(sorted(UNITS)), st.integers(0, 10**6), st.integers(0, 2 * 10**9))
def test_an_age_counts_back_from_now_and_not_beyond_1970(unit, count, now_s):
    aged = timedelta(seconds=now_s) - count * UNITS[unit]
    assert time_us(f"{count}{unit}", now_s) == max(aged, timedelta(0)) // timedelta(microseconds=1)


@given(st.integers(0, 250 * 10**15), st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_the_same_in_every_zone(us, minutes):
    told = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    assert time_us(told.astimezone(timezone(timedelta(minutes=minutes))).isoformat(), NOW_S) == us


def test_a_time_without_a_zone_is_of_the_zone_that_is_named():
    assert time_us("2026-03-01", NOW_S, ZoneInfo("Europe/Berlin")) == time_us("2026-02-28T23:00Z", NOW_S)
    local = datetime(2026, 3, 1).astimezone()
    assert time_us("2026-03-01", NOW_S, None) == round(local.timestamp() * 1e6)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e99", "2026-13-01", "7y", "9" * 400, "\0"])
def test_what_is_no_moment_says_what_is(text):
    with pytest.raises(ValueError, match=r"since: .* is not a time; write Unix seconds"):
        filter_of({"since": text}, None, NOW_S)


def test_a_filter():
    params = {"user": "ada", "account": "", "job": "slurm:7", "since": "2026-03-01", "running": "true", "limit": "5"}
    assert filter_of(params, 1000, NOW_S) == Filter(
        uid=1000, groups={"user": "ada"}, job="slurm:7", since_us=time_us("2026-03-01", NOW_S), running=True
    )
    assert filter_of({}, None, NOW_S) == Filter(until_us=FOREVER_US)
    assert filter_of({"running": "0"}, None, NOW_S).running is False
    assert filter_of({"running": ""}, None, NOW_S).running is True


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"uid": "0"}, "uid: is not a parameter; known are user"),
        ({"running": "maybe"}, "running: 'maybe' is neither true nor false"),
        ({"since": "2", "until": "1"}, "until: is before since"),
    ],
)
def test_what_is_wrong_is_named(params, why):
    with pytest.raises(ValueError, match=why):
        filter_of(params, None, NOW_S)


def test_numbers():
    assert (limit_of({}), limit_of({"limit": "7"}), after_of({}), after_of({"after": "9"})) == (1000, 7, 0, 9)
    assert (step_of({}), step_of({"step_s": "900"})) == (None, 900)
    for read, params in [
        (limit_of, {"limit": "0"}), (limit_of, {"limit": "1001"}), (limit_of, {"limit": "²"}),
        (after_of, {"after": "-1"}), (after_of, {"after": "9" * 5000}), (step_of, {"step_s": "60"}),
    ]:  # fmt: skip
        (name,) = params
        with pytest.raises(ValueError, match=f"^{name}: "):
            read(params)
