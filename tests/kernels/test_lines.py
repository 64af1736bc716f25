"""Lines of a block: what the kernels count and find is what bytes of Python do."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.kernels import lines
from wattshed.kernels.words import PAD

TEXT = st.text(st.sampled_from("ab\n,"), max_size=300).map(str.encode)


@pytest.fixture(params=["so", "off"], autouse=True)
def form(request, in_form):
    """The kernels as compiled, and as plain Python."""
    in_form(request.param)


def block(text, behind=b""):
    """The bytes of a text, and what may be read behind them."""
    data = np.full(len(text) + PAD, ord("a"), np.uint8)
    data[: len(text)] = np.frombuffer(text, np.uint8)
    data[len(text) : len(text) + len(behind)] = np.frombuffer(behind, np.uint8)
    return data


@settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT, st.text(st.sampled_from("ab,"), min_size=1, max_size=12).map(str.encode), st.integers(0, 20))
def test_newlines_and_places_are_those_of_python(text, mark, most):
    data = block(text, b"\n" * 3)
    assert lines.newlines(data, len(text)) == text.count(b"\n")
    found = [match.start() for match in re.finditer(b"(?=" + re.escape(mark) + b")", text)]
    starts = [match.start() for match in re.finditer(b"(?=" + re.escape(mark[:8]) + b")", text)]
    if len(starts) <= most:
        assert lines.places(data, len(text), mark, most) == found
    elif text.count(mark) > most:
        assert lines.places(data, len(text), mark, most) is None


@pytest.mark.parametrize("at", [0, 55, 60, 63, 64, 120])
def test_a_mark_is_found_across_the_steps_of_the_kernel_and_not_behind_the_text(at):
    text = b"x" * at + b"timestamp" + b"x" * 30
    assert lines.places(block(text), len(text), b"timestamp", 1) == [at]
    assert lines.places(block(text), at + 8, b"timestamp", 1) == []


def test_a_mark_that_others_only_begin_like_is_still_found():
    text = b"timestamps\n" * 50 + b"timestamp,power\n"
    assert lines.places(block(text), len(text), b"timestamp,", 10) == [550]
    assert lines.places(block(text), len(text), b"timestamp", 10) is None
