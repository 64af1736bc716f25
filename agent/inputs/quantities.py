"""Cells to whole numbers: decimal text and units of power, energy and share into mW, mJ and millionths.

A cell that is not a number is named by its reason and never read as 0. Numbers are parsed as float64 and rounded once;
that is exact for up to 15 significant digits, more than any of these formats prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.inputs.arrow import pa, pc
from wattshed.agent.window import MISSING
from wattshed.kernels.dealing import whole_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from numpy.typing import NDArray

REASONS = ("", "empty", "not_available", "unknown_error", "negative", "not_a_number", "packed")
"""Why a cell gives no number; the index is its code."""

_FIRST_CELLS = 16
"""As many GPUs as most hosts have: one that lacks a reading shows among them."""

_ABSENT = {"n/a", "na", "not supported", "not available", "not found", "-", "--", "none", "null", "nan", "<na>"}
_ABSENT |= {"requested functionality has been deprecated", "insufficient permissions", "n.a.", "blank"}
_ERROR = {"unknown error", "err!", "err", "error", "gpu is lost", "gpu requires reset", "reset required"}
_NUMBER = re.compile(
    r"(?:(?P<plain>[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<grouped>[+-]?\d{1,3}(?P<mark>[.,' \u00a0\u202f])\d{3}(?:(?P=mark)\d{3})*(?:(?!(?P=mark))[.,]\d*)?))"
    r"\s*(?P<unit>[^\d\s.,]*)"
)
_BETWEEN = re.compile(r"[,;|&\x1f]|/(?=\s*[+-]?\d)|\s(?=[+-]?[\d.\[])")


@dataclass(frozen=True, slots=True)
class Scaled:
    """A column of whole numbers.

    Attributes
    ----------
    value : int64[n]
        -1 where there is none.
    reason : uint8[n]
        See `REASONS`.
    united : bool
        Its cells were seen to say their unit.
    """

    value: NDArray[np.int64]
    reason: NDArray[np.uint8]
    united: bool = False

    def __len__(self) -> int:
        return self.value.size

    def __getitem__(self, rows: slice) -> Scaled:
        return Scaled(self.value[rows], self.reason[rows], self.united)

    def filter(self, mask: Any) -> Scaled:
        """Select rows by a pyarrow array of truths, as a column of pyarrow does."""
        chosen = np.asarray(mask.to_numpy(zero_copy_only=False), bool)
        return Scaled(self.value[chosen], self.reason[chosen], self.united)


def reason_of(text: str) -> str:
    """Name why a cell is not a number; empty if it may be one."""
    bare = text.strip().strip("[]()").strip().lower()
    if not bare:
        return "empty"
    if bare in _ABSENT:
        return "not_available"
    return "unknown_error" if bare in _ERROR else ""


def decimal_of(text: str) -> tuple[Decimal, str] | None:
    """Read one number and the unit behind it; None if it is none, or more than one.

    ``73,20`` is a decimal comma; ``1,234.5``, ``1.234,5`` and ``12 345`` have thousands separators, which stand before
    three digits each: ``100, 101`` and ``100.5,101`` are two numbers.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    digits = match["grouped"].replace(match["mark"], "") if match["grouped"] else match["plain"]
    try:
        return Decimal(digits.replace(",", ".")), match["unit"]
    except InvalidOperation:
        return None


def _reason_of_several(text: str) -> str:
    """Say why a cell is not a reading: several values packed into one do not say which GPU has which."""
    parts = [part for part in map(str.strip, _BETWEEN.split(text.strip(" \t[](){}"))) if part]
    absent = [reason_of(part) for part in parts]
    if len(parts) < 2 or not all(why or decimal_of(part) for part, why in zip(parts, absent, strict=True)):
        return "not_a_number"
    return absent[0] if all(absent) else "packed"


def scaled_text(text: str, factor: Fraction, units: Mapping[str, Fraction]) -> tuple[int, int]:
    """Scale one cell; returns the whole number and the code of its reason.

    A unit in the cell itself overrides ``factor``.
    """
    named = reason_of(text)
    if named:
        return MISSING, REASONS.index(named)
    found = decimal_of(text)
    if found is None:
        return MISSING, REASONS.index(_reason_of_several(text))
    if not found[0].is_finite() or found[0].adjusted() > 17:  # its power of ten: to compare may overflow
        return MISSING, REASONS.index("not_a_number")
    number, unit = found
    factor = units.get(unit, factor)
    whole = (number * factor.numerator / factor.denominator).quantize(Decimal(1), ROUND_HALF_EVEN)
    if whole < 0:
        return MISSING, REASONS.index("negative")
    if whole >= 2**62:
        return MISSING, REASONS.index("not_a_number")
    return int(whole), 0


def cast_or_none(texts: Any, kind: pa.DataType) -> Any:
    """Read a column of text as numbers; None if a cell is none.

    Arrow goes on after the first bad cell, and words an error for each: 400 ns a cell, where a good one takes 13. So
    the first cells are tried alone.
    """
    try:
        pc.cast(texts[:_FIRST_CELLS], kind)
        return pc.cast(texts, kind)
    except pa.ArrowInvalid:
        return None


def scaled_column(column: Any, factor: Fraction, units: Mapping[str, Fraction]) -> Scaled:
    """Scale a column of text, integers, floats or decimals.

    Parameters
    ----------
    column : pyarrow.Array or Scaled
        What is scaled already stays as it is.
    factor : Fraction
        What one unit of the column is in the whole numbers wanted.
    units : mapping of unit -> factor
        Units that may stand in the cells.
    """
    if isinstance(column, Scaled):
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type):
        return _scaled_integers(column, factor)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        try:
            return _scaled_floats(pc.cast(column, pa.float64()), factor)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            column = pc.cast(column, pa.string())
    trimmed = pc.utf8_trim_whitespace(column)
    floats = cast_or_none(trimmed, pa.float64())
    return _scaled_with_unit(trimmed, factor, units) if floats is None else _scaled_floats(floats, factor)


def _scaled_with_unit(column: Any, factor: Fraction, units: Mapping[str, Fraction]) -> Scaled:
    """Scale cells that mostly end in one unit (``73.20 W``): those at once, the others one by one."""
    first = next((found for text in column[:8].to_pylist() if text and (found := decimal_of(text))), None)
    if first is None or first[1] not in units:
        return _scaled_cells(column, factor, units)
    unit = first[1]
    same = pc.fill_null(pc.ends_with(column, f" {unit}"), fill_value=False)
    floats = cast_or_none(pc.utf8_slice_codeunits(column.filter(same), 0, -len(unit) - 1), pa.float64())
    if floats is None:
        return _scaled_cells(column, factor, units)
    plain = _scaled_floats(floats, units[unit])
    if len(floats) == len(column):
        return plain
    mask = same.to_numpy(zero_copy_only=False)
    others = _scaled_cells(column.filter(pc.invert(same)), factor, units)
    value, reason = np.empty(mask.size, np.int64), np.empty(mask.size, np.uint8)
    value[mask], reason[mask] = plain.value, plain.reason
    value[~mask], reason[~mask] = others.value, others.reason
    return Scaled(value, reason)


def _scaled_integers(column: Any, factor: Fraction) -> Scaled:
    values = pc.fill_null(pc.cast(column, pa.int64(), safe=False), 0).to_numpy(zero_copy_only=False)
    if not column.null_count and factor == 1 and values.size and values.min() >= 0 and values.max() < 2**62:
        return Scaled(values, np.zeros(values.size, np.uint8))
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if factor.denominator == 1 and factor.numerator <= 10**9 and (not values.size or values.max() < 2**62 // 10**9):
        whole = values * factor.numerator
    elif factor.numerator == 1:
        whole = (values + factor.denominator // 2) // factor.denominator
    else:
        return _scaled_floats(pc.cast(column, pa.float64(), safe=False), factor)
    return _with_reasons(whole, missing, np.zeros(values.size, bool), values < 0)


def _scaled_floats(column: Any, factor: Fraction) -> Scaled:
    if not column.null_count:
        numbers, whole = column.to_numpy(), np.empty(len(column), np.int64)
        if not whole_numbers(numbers, float(factor.numerator), float(factor.denominator), whole):
            return Scaled(whole, np.zeros(whole.size, np.uint8))
    missing = column.is_null().to_numpy(zero_copy_only=False)
    values = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)
    scaled = values * float(factor.numerator) / float(factor.denominator)
    absent, wrong = np.isnan(scaled), np.abs(scaled) >= 2.0**62
    whole = np.rint(np.where(absent | wrong, 0.0, scaled)).astype(np.int64)
    return _with_reasons(whole, missing | absent, wrong, values < 0)


def _with_reasons(
    whole: NDArray[np.int64], absent: NDArray[np.bool_], wrong: NDArray[np.bool_], negative: NDArray[np.bool_]
) -> Scaled:
    reason = np.zeros(whole.size, np.uint8)
    reason[negative] = REASONS.index("negative")
    reason[wrong] = REASONS.index("not_a_number")
    reason[absent] = REASONS.index("not_available")
    return Scaled(np.where(reason == 0, whole, MISSING), reason)


def _scaled_cells(column: Any, factor: Fraction, units: Mapping[str, Fraction]) -> Scaled:
    """Slow but exact path: each different text is read once."""
    encoded = pc.dictionary_encode(pc.fill_null(column, ""))
    pairs = [scaled_text(text, factor, units) for text in encoded.dictionary.to_pylist()]
    index = encoded.indices.to_numpy(zero_copy_only=False)
    values = np.array([value for value, _ in pairs], np.int64)
    reasons = np.array([reason for _, reason in pairs], np.uint8)
    return Scaled(values[index], reasons[index])
