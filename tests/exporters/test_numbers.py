"""Numbers of documents: no accident of binary fractions, no minus zero, and as close as twelve digits are."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.exporters.numbers import plain, rounded


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1 + 0.2, "0.3"), (-0.0, "0.0"), (-1e-9 * 0.0, "0.0"), (249.99999999999997, "250.0"),
        (14380.238150000001, "14380.23815"), (1795793460.721417, "1795793460.721417"),
        (3.4899481514776e-07, "3.48994815148e-07"),
        (-0.0000001 + 0.0000001, "0.0"), (123456789.12345678, "123456789.123457"),
        (math.nan, "None"), (-math.inf, "None"),
    ],
)  # fmt: skip
def test_examples(value, shown):
    assert repr(rounded(value)) == shown


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_close_short_and_rounded_once(value):
    found = rounded(value)
    assert found == pytest.approx(value, rel=1e-11, abs=0)
    assert rounded(found) == found
    assert not (found == 0 and math.copysign(1, found) < 0)
    digits = re.sub(r"e.*|\D", "", repr(found)).strip("0")
    assert abs(value) >= 1e5 or len(digits) <= 12


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one) | st.tuples(one),
    )
)
def test_a_document_keeps_its_form(document):
    found = plain(document)
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    if isinstance(document, int | str | None):
        assert found is document
    if isinstance(document, dict):
        assert list(found) == list(document)
