"""docs/python.md is what the library does: its examples run, its reference is the docstrings'."""

import doctest
import importlib
import re

import pytest

from tests.library.write_docs import PAGE, page
from tests.markdown import FENCE, ROOT

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the examples of a clone and the two tables of the README."""
    power, jobs = re.findall(r"```csv\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "power.csv").write_text(power)
    (tmp_path / "jobs.csv").write_text(jobs)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("WATTSHED_METER", "simulated")
    monkeypatch.setenv("WATTSHED_SOCKET", "")
    return tmp_path


def run(text, name, capsys):
    """Run examples one after the other; returns how many there were, and what differed."""
    said = []
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    with capsys.disabled():
        runner.run(test, out=said.append)
    return runner.tries, "".join(said)


def examples(path):
    """The sessions of a page, one after the other."""
    return "\n".join(text for kind, text in FENCE.findall(path.read_text(encoding="utf-8")) if kind == "pycon")


@pytest.mark.parametrize(("name", "least"), [("docs/python.md", 20), ("README.md", 3)])
def test_a_page_shows_what_comes_out(name, least, place, capsys):
    tried, differs = run(examples(ROOT / name), name, capsys)
    if differs:
        pytest.fail(differs)
    assert tried >= least


@pytest.mark.parametrize("module", ["replaying", "recording", "fleet"])
def test_docstrings_show_what_comes_out(module, place, capsys):
    found = importlib.import_module(f"wattshed.agent.library.{module}")
    for test in doctest.DocTestFinder(exclude_empty=True).find(found):
        if test.examples:
            said = []
            doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
            assert "".join(said) == ""


def test_the_reference_is_the_docstrings():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run: make docs"
