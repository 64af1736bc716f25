"""Rows of words: every number, stamp and round against what Python's own reading of the same line gives."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.inputs.stamp_forms import form_of
from wattshed.agent.inputs.word_rows import WordColumns, WordRows
from wattshed.kernels.word_rows import DASH, LARGEST_INDEX, NOT_AVAILABLE, count_rounds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLAIN = WordColumns(" ", "", 2, [(0, 0), (1, 1000)])


@pytest.fixture(params=["so", "off"], autouse=True)
def form(request, in_form):
    """The kernels as compiled, and as plain Python."""
    in_form(request.param)


def settled(test):
    return settings(
        max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )(test)


def read(text, columns=PLAIN, written=None):
    data = np.full(len(text) + 64, ord("7"), np.uint8)
    data[: len(text)] = np.frombuffer(text.encode("latin-1"), np.uint8)
    return (written or WordRows()).read(data, 0, len(text), columns)


@settled
@given(st.integers(0, 10**14 - 1), st.integers(0, 13), st.sampled_from([1, 1000, 10_000]))
def test_a_number_is_its_decimal_rounded_half_to_even(value, places, factor):
    digits = f"{value:0{places + 1}d}"
    text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    table = read(f"0 {text}\n", WordColumns(" ", "", 2, [(0, 0), (1, factor)]))
    if len(text.replace(".", "")) > 14:
        assert table.lines == 0
    else:
        expected = (Decimal(text) * factor).quantize(Decimal(1), ROUND_HALF_EVEN)
        assert table.numbers[1].tolist() == [int(expected)]


def test_words_for_no_reading_and_what_is_no_number():
    assert read("0 -\n3 N/A\n").numbers.tolist() == [[0, 3], [DASH, NOT_AVAILABLE]]
    for word in ("+5", "-5", "5.", ".5", "1e3", "5,0", "nan", "1.2.3", "x", "\xe9", "1" * 15, "5\r6", "\x0b5"):
        assert read(f"0 5\n1 {word}\n2 5\n").lines == 1, word
    for index in ("-", "N/A", "1.0", "01", str(LARGEST_INDEX + 1)):
        assert read(f"{index} 5\n").lines == 0, index
    assert read(f"{LARGEST_INDEX} 5\r\n\n  \t0\t5 x\n").numbers[0].tolist() == [LARGEST_INDEX, 0]


def test_cells_between_commas_may_be_empty_but_where_they_are_wanted():
    columns = WordColumns(",", "", 4, [(0, 0), (2, 1)])
    assert read("0, ,5,\n1,, 6 ,x y\n", columns).numbers.tolist() == [[0, 1], [5, 6]]
    for line in ("0, 1, , 3", "0, 1, 2", "0 1 2 3", ", 1, 2, 3"):
        assert read(line + "\n", columns).lines == 0
    assert read("0, 1,\n", WordColumns(",", "", 3, [(0, 0), (2, 1)])).lines == 0


def test_lines_that_say_nothing_are_passed_over_and_others_end_the_pass():
    written = WordRows()
    for line in ("# gpu pwr", "ID W"):
        written.learn_known(line)
    text = "# gpu pwr  \n0 5\nID W\r\n1 6\n# gpu  pwr\n0 7\n"
    table = read(text, PLAIN, written)
    assert (table.numbers[1].tolist(), table.places.tolist(), table.lines) == ([5000, 6000], [1, 3], 4)
    assert text[table.position :].startswith("# gpu  pwr")
    assert text[table.last :].startswith("1 6")


@settled
@given(
    st.integers(0, 3_599_999_999), st.integers(1, 9), st.sampled_from(["%H:%M:%S", "%b %d %H:%M:%S", "[%FT%H:%M:%S"])
)
def test_stamps_of_a_form_are_as_far_apart_as_their_digits_say(us, places, pattern):
    start = datetime(2024, 5, 4, 4, tzinfo=UTC)

    def stamp(moment):
        return f"{moment:{pattern}}.{f'{moment.microsecond:06}789'[:places]}"

    first, other = start + timedelta(seconds=1830.25), start + timedelta(microseconds=us)
    cut = timedelta(microseconds=10 ** max(6 - places, 0))
    form = form_of(stamp(first), ((first - EPOCH) // cut * cut // timedelta(microseconds=1), True), is_number=False)
    table = read(f"{stamp(other)} 0 5\n", PLAIN, WordRows(before=form))
    assert (form.base_us + table.ticks_us).tolist() == [(other - EPOCH) // cut * cut // timedelta(microseconds=1)]
    for wrong in (stamp(start + timedelta(hours=1)), stamp(other)[:-1], stamp(other).replace(":", "."), ""):
        assert read(f"{wrong} 0 5\n", PLAIN, WordRows(before=form)).lines == 0


@settled
@given(st.integers(0, 9_999_999), st.integers(0, 9), st.sampled_from([0, 3, 6, 9]))
def test_numbers_that_count_from_1970_are_read_to_the_microsecond(low, places, unit):
    places = 0 if unit else places
    texts = [
        str(17_148_000 * 10**8 + n)[: 10 + unit] if unit == 0 else str(17_148 * 10 ** (5 + unit) + n)
        for n in (0, low % 1000)
    ]
    texts = [text + (f".{low + n:09}"[: places + 1] if places else "") for n, text in enumerate(texts)]
    us = [int((Decimal(text) * 10**6 / 10**unit).to_integral_value()) for text in texts]
    form = form_of(texts[0], (us[0], False), is_number=True)
    assert (form.base_us + read(f"{texts[1]} 0 5\n", PLAIN, WordRows(before=form)).ticks_us).tolist() == us[1:]


@given(st.lists(st.integers(0, 4), min_size=1), st.integers(1, 9))
def test_a_round_ends_where_a_gpu_comes_again(gpus, cut):
    expected, seen, count = [], set(), -1
    for gpu in gpus:
        if gpu in seen or count < 0:
            count, seen = count + 1, set()
        seen.add(gpu)
        expected.append(count)
    last, found, count = np.full(LARGEST_INDEX + 1, -1, np.int64), [], -1
    for part in (gpus[:cut], gpus[cut:]):
        out = np.empty(len(part), np.int64)
        count = count_rounds(np.array(part, np.int64), count, last, out)
        found += out.tolist()
    assert found == expected
