"""The registry of formats: each is documented, has a name of its own, and docs/replay.md has the table made of it."""

import pytest

from tests.traces.write_docs import PAGE, generated
from wattshed.agent.traces.foreign.registry import FORMATS, REFUSALS


def test_the_table_of_formats_is_made_from_the_registry():
    page = PAGE.read_text(encoding="utf-8")
    assert "<!-- formats:" in page
    assert "<!-- refused:" in page
    assert page == generated(page)


def test_formats_have_names_of_their_own():
    names = [one.name for one in FORMATS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_a_format_says_what_it_is(one):
    assert one.title
    assert one.told_by
    assert one.reads
    assert one.boundary


@pytest.mark.parametrize("one", REFUSALS, ids=lambda one: one.title)
def test_a_refusal_names_the_way_out(one):
    assert len(one.way_out) > 20
