"""The registry of formats: each is documented, has a name of its own, and docs/replay.md has the table made of it."""

import pytest

from tests.traces.test_smi_dialects import DIALECTS
from tests.traces.write_docs import PAGE, generated
from tests.traces.writers import WAYS
from wattshed.agent.traces.foreign.format import Head
from wattshed.agent.traces.foreign.registry import format_of, formats, refusals
from wattshed.agent.traces.foreign.smi_queries import is_plain


def test_the_table_of_formats_is_made_from_the_registry():
    page = PAGE.read_text(encoding="utf-8")
    assert "<!-- formats:" in page
    assert "<!-- refused:" in page
    assert page == generated(page)


def test_formats_have_names_of_their_own():
    names = [one.name for one in formats()]
    assert len(set(names)) == len(names)


def test_a_format_is_found_by_its_name():
    assert [format_of(one.name) for one in formats()] == [*formats()]


@pytest.mark.parametrize("one", [*formats()], ids=lambda one: one.name)
def test_a_format_says_what_it_is(one):
    assert one.title
    assert one.told_by
    assert one.reads
    assert one.boundary


@pytest.mark.parametrize("one", refusals(), ids=lambda one: one.title)
def test_a_refusal_names_the_way_out(one):
    assert len(one.way_out) > 20


MADE = [(t, [100 * t + 1000, 7000]) for t in range(1, 9)]
WRITTEN = {
    **{name: str(way.write(way.carried(MADE))) for name, way in WAYS.items()},
    **{name: content.decode("utf-8", "replace") for name, content in DIALECTS.items()},
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_plain_query_is_told_by_no_other_format(name):
    """It is told at once, so none of those that come before is asked."""
    text = WRITTEN[name]
    if is_plain(Head(text)):
        assert not any(refusal.tells(Head(text)) for refusal in refusals())
        assert next(one for one in formats() if one.tells(Head(text))) == format_of("nvidia-smi-csv")


@pytest.mark.parametrize("name", ["units", "nounits", "by uuid", "no blanks"])
def test_the_usual_queries_are_plain(name):
    assert is_plain(Head(WRITTEN[name]))
