"""Cells of a block of text: every kernel against what Python's own reading of the same lines gives."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.kernels import cells
from wattshed.kernels.words import PAD, digits_of, load64, mask64, number_of, trailing_zeros

CELL = st.text(st.sampled_from("0123456789. WGPU-/:\tx"), max_size=40)
DECIMALS = [
    "12", "0.25", "123456789012345", "1234567.12345678", "00.500", " 7\t", "5.", ".5", "-1", "1e3", "",
    "1234567890123456", "12345678", "12345678.5", "9 W", "x",
]  # fmt: skip
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER = re.compile(r"\d+(\.\d+)?")


def block(text):
    """The bytes of a text with what kernels may read behind them."""
    data = np.full(len(text) + PAD, ord("7"), np.uint8)
    data[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    return data


def laid_out(text, columns):
    """What a column's kernel takes, the lines of the rows, and the other lines."""
    data, following = block(text), np.empty(len(text) + 1, np.uint32)
    count = cells.index(data, len(text), ord(","), following)
    assert count == 1 + text.count("\n") + text.count(",")
    lines = text.count("\n")
    first, places, others = np.empty(lines, np.uint32), np.empty(lines, np.int32), np.empty((lines, 3), np.int64)
    rows = cells.lay_out(following, count, columns, first, places, others)
    return (data, following, first, rows), places[:rows].tolist(), others[: lines - rows].tolist()


@pytest.fixture(params=["so", "off"], autouse=True)
def form(request, in_form):
    """The kernels as compiled, and as plain Python."""
    in_form(request.param)


def settled(test):
    return settings(
        max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )(test)


@settled
@given(st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=12), st.booleans())
def test_every_cell_is_found_and_every_other_line(lines, crlf):
    ending = "\r\n" if crlf else "\n"
    text = "".join(",".join(line) + ending for line in lines)
    given_, places, others = laid_out(text, 3)
    begins = np.cumsum([0] + [len(",".join(line) + ending) for line in lines]).tolist()
    assert places == [i for i, line in enumerate(lines) if len(line) == 3]
    assert others == [[begins[i], begins[i + 1], i] for i, line in enumerate(lines) if len(line) != 3]
    for column in range(3):
        offsets, out = np.empty(len(places) + 1, np.int32), np.empty(len(text), np.uint8)
        cells.gather(*given_, column, offsets, out)
        found = [out[a:b].tobytes().decode() for a, b in pairwise(offsets)]
        assert found == [lines[i][column] for i in places]


@pytest.mark.parametrize("before", [0, 61, 62, 63, 64, 127])
def test_a_return_that_ends_no_line_is_told(before):
    for text, whole in (("\r\n", True), ("\r", False), ("\rx\n", False), ("\r\r\n", False)):
        text = "x" * before + text  # noqa: PLW2901
        count = cells.index(block(text), len(text), ord(","), np.empty(len(text) + 1, np.uint32))
        assert (count >= 0) == whole, text


@settled
@given(st.lists(st.sampled_from(DECIMALS), min_size=1, max_size=8))
def test_decimals_are_what_python_reads(texts):
    text = "".join(f"a,{cell}\n" for cell in texts)
    given_, _, _ = laid_out(text, 2)
    out = np.full(len(texts), -1.0)
    read = cells.decimals(*given_, 1, out)
    plain = [NUMBER.fullmatch(cell.strip()) and len(cell.strip().replace(".", "")) <= 15 for cell in texts]
    assert read == ([bool(one) for one in plain] + [False]).index(False)
    assert out[:read].tolist() == [float(cell) for cell in texts[:read]]


@settled
@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 6)), min_size=1, max_size=8),
    st.sampled_from(["", "W", "mJ", "kWh", "bananas!"]),
    st.sampled_from([(1000, 1), (1, 1000), (3_600_000_000, 1), (1, 1)]),
    st.sampled_from(["", "5 V", "5", "5 Wx", "5  W", "[N/A]"]),
)
def test_quantities_are_scaled_and_rounded_once(numbers, unit, factor, odd):
    behind = f" {unit}" if unit else ""
    written = [f"{value / 10**places:.{places}f}{behind}" for value, places in numbers]
    text = "".join(f"{cell},b\r\n" for cell in [*written, odd])
    given_, _, _ = laid_out(text, 2)
    out = np.full(len(written) + 1, -1, np.int64)
    word = int.from_bytes(unit.encode(), "little")
    read = cells.quantities(*given_, 0, word, len(unit), *map(float, factor), out)
    assert read == len(written) + (odd == f"5{behind}")
    expected = [np.rint(float(cell.split()[0]) * factor[0] / factor[1]) for cell in written]
    assert out[: len(written)].tolist() == [int(one) for one in expected]


STAMP = "{:%Y/%m/%d %H:%M:%S}{}{}"


@settled
@given(
    st.lists(st.integers(0, 130 * 365 * 86_400 * 10**6).map(lambda us: EPOCH + timedelta(microseconds=us)), min_size=1),
    st.integers(0, 9),
    st.sampled_from(["", "Z", "+01"]),
    st.sampled_from(["2026/02/29 00:00:00", "2024/02/29 23:59:60", "2026/13/01 00:00:00", "2026-01-01 00:00:00",
                     "1969/12/31 00:00:00", "2026/01/01 24:00:00", "2026/01/01 00:60:00", "garbage"]),
)  # fmt: skip
def test_stamps_of_one_shape_are_what_the_calendar_says(moments, places, zone, odd):
    def written(moment):
        digits = f".{f'{moment.microsecond:06d}987'[:places]}" if places else ""
        return STAMP.format(moment.replace(microsecond=0), digits, zone)

    fraction = "." + "1" * places if places else ""
    cells_ = [*map(written, moments), f"{odd}{fraction}{zone}"]
    given_, _, _ = laid_out("".join(f"{cell} ,b\n" for cell in cells_), 2)
    model, upto = written(moments[0]).encode(), 20 + places if places else 19
    shape = np.zeros((2, 32), np.uint8)
    for i, byte in enumerate(model):
        digit = i < upto and byte in b"0123456789"
        shape[:, i] = (ord("0"), 255) if digit else (byte, 0)
    out = np.full(len(cells_), -1, np.int64)
    read = cells.stamps(*given_, 0, shape.view("<u8").astype(np.uint64), len(model), places, out)
    assert read == len(moments) + (odd == "2024/02/29 23:59:60")
    for moment, stamp in zip(moments, out.tolist(), strict=False):
        seen = int(f"{moment.microsecond:06d}"[: min(places, 6)].ljust(6, "0")) if places else 0
        assert stamp == (moment.replace(microsecond=0) - EPOCH).total_seconds() * 1_000_000 + seen


@settled
@given(
    st.lists(st.sampled_from(["", "0", " 0", "1", "GPU-1", "GPU-12", "GPU-0000000000000001", "GPU-0000000000000002"]))
)
def test_texts_get_numbers_as_they_first_appear(names):
    given_, _, _ = laid_out("".join(f"{name},b\n" for name in names), 2)
    found, out = np.empty((cells.MOST_TEXTS, 3), np.int64), np.empty(len(names), np.int32)
    count = cells.texts(*given_, 0, found, np.full(cells.TEXT_SLOTS, -1, np.int32), out)
    known = [given_[0][a:b].tobytes().decode() for a, b, _ in found[:count].tolist()]
    assert known == list(dict.fromkeys(name.strip() for name in names))
    assert [known[number] for number in out] == [name.strip() for name in names]


def test_more_texts_than_there_is_room_for_are_told():
    for extra in (0, 1):
        names = [f"g{i * 7 % 2000}" for i in range(cells.MOST_TEXTS + extra)]
        given_, _, _ = laid_out("".join(f"{name},b\n" for name in names), 2)
        found, out = np.empty((cells.MOST_TEXTS, 3), np.int64), np.empty(len(names), np.int32)
        count = cells.texts(*given_, 0, found, np.full(cells.TEXT_SLOTS, -1, np.int32), out)
        assert count == (-1 if extra else cells.MOST_TEXTS)


def test_words_are_bytes():
    data = block("12345678" * 10 + "a2")
    assert int(load64(data, 3)) == int.from_bytes(b"45678123", "little")
    assert int(mask64(data, 1, ord("1"))) == sum(1 << j for j in range(64) if (j + 1) % 8 == 0)
    assert [trailing_zeros(np.uint64(value)) for value in (0, 1, 1 << 63)] == [64, 0, 63]
    assert digits_of(load64(data, 0)) == 8
    assert digits_of(load64(data, 76)) == 4
    with np.errstate(over="ignore"):
        assert number_of(load64(data, 2), 3) == 345
