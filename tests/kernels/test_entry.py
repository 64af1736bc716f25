"""An entry takes what it declares and nothing else; its plain form computes in the widths of the compiled ones."""

from dataclasses import dataclass

import numpy as np
import pytest

from wattshed.kernels import load
from wattshed.kernels.entry import Kernel, b1, f64, i32, i64, kernel, rows, u8, u64, written
from wattshed.kernels.records import blank


@dataclass(slots=True)
class Purse:
    """A record."""

    coins: int = 0
    owner: int = -1


@pytest.fixture
def made(monkeypatch):
    """Entries that no library has, and that run as plain Python."""
    monkeypatch.setattr(load, "_form", load.Form("off", "", "for these tests"))
    monkeypatch.setattr(load, "_binder", None)
    monkeypatch.setattr(load, "KERNELS", dict(load.KERNELS))


@pytest.fixture
def scaled(made):
    @kernel(i32[:], i64, b1, written(i64[:, :]), returns=i64)
    def scaled(values, factor, up, out):
        for i in range(len(values)):
            out[0, i] = np.int64(values[i]) * factor + up
        return len(values)

    return scaled


def test_it_runs_with_what_it_declares(scaled):
    out = np.zeros((1, 3), np.int64)
    assert scaled(np.arange(3, dtype=np.int32), np.int64(5), True, out) == 3
    assert out.tolist() == [[1, 6, 11]]
    read_only = np.arange(3, dtype=np.int32)
    read_only.flags.writeable = False
    assert scaled(read_only, 5, False, out) == 3


VALUES, OUT = np.arange(3, dtype=np.int32), np.zeros((1, 3), np.int64)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ((VALUES.astype(np.int64), 1, True, OUT), r"values of test_entry.scaled must be int32\[:\], not int64\[3\]"),
        ((VALUES[::2], 1, True, OUT), r"values of .* not int32\[2\], not in one piece"),
        ((VALUES.astype(">i4"), 1, True, OUT), r"must be int32\[:\], not >i4\[3\]"),
        ((VALUES, 1.0, True, OUT), r"factor of .* must be int64, not 1.0 \(float\)"),
        ((VALUES, 1 << 63, True, OUT), r"factor of .* must be int64"),
        ((VALUES, 1, 1, OUT), r"up of .* must be bool, not 1 \(int\)"),
        ((VALUES, 1, True, OUT[0]), r"out of .* must be int64\[:, :\], not int64\[3\]"),
        ((VALUES, 1, True, np.zeros((3, 2), np.int64).T), r"out of .* not in one piece"),
        ((VALUES, 1, True, [[0]]), r"out of .* must be int64\[:, :\], not \[\[0\]\] \(list\)"),
        ((VALUES, 1, True), r"takes 4 arguments, not 3"),
    ],
)  # fmt: skip
def test_whatever_does_not_fit_is_named(scaled, args, why):
    with pytest.raises(TypeError, match=why):
        scaled(*args)


def test_what_is_written_into_is_not_read_only(scaled):
    out = np.zeros((1, 3), np.int64)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=r"^out of test_entry\.scaled is written into, and is read-only$"):
        scaled(VALUES, 1, True, out)
    with pytest.raises(TypeError, match="values of"):  # what is of another kind is said first
        scaled(VALUES.astype(np.int64), 1, True, out)


def test_records_are_written_back_and_words_wrap_in_silence(made):
    @kernel(written(rows(Purse)), u8[:], u64, f64, returns=u64)
    def spend(purse, amounts, word, share):
        for k in range(len(purse)):
            purse[k].coins -= np.int64(amounts[k]) + int(share)
            purse[k].owner = k
        return word + np.uint64(2**63)

    purses = blank(Purse, 2)
    assert spend(purses, np.array([3, 200], np.uint8), 2**63 + 1, 1.5) == 1
    assert purses.tolist() == [(-4, 0), (-201, 1)]
    with pytest.raises(TypeError, match=r"must be rows\(Purse\)"):
        spend(np.zeros(2, np.int64), np.zeros(2, np.uint8), 0, 1.0)


def test_an_entry_has_a_kind_for_each_parameter_and_a_name_of_its_own(made):
    with pytest.raises(TypeError, match="2 parameters and 1 kinds"):
        kernel(i64)(lambda a, b: a + b)
    elsewhere = lambda a: a
    elsewhere.__module__ = "somewhere.test_entry"
    kernel(i64, name="once")(lambda a: a)
    with pytest.raises(TypeError, match=r"two kernels are called test_entry\.once"):
        kernel(i64, name="once")(elsewhere)


def test_a_form_is_exchanged_between_two_calls(scaled):
    assert isinstance(scaled, Kernel)
    out = np.zeros((1, 3), np.int64)
    scaled(VALUES, 1, False, out)
    scaled.now = lambda *_: 77
    assert scaled(VALUES, 1, False, out) == 77
