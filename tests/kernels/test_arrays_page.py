"""docs/arrays.md is what these functions do."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/arrays.md"


def test_the_page_says_what_comes_out():
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted >= 12
    assert found.failed == 0
