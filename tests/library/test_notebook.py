"""The notebook of examples/ runs in Jupyter, and shows what it shows."""

import os
import sys

import nbformat

from tests.library.notebook import NOTEBOOK, executed, read, shown


def test_the_notebook_shows_what_its_cells_show():
    stored, again = read(), read()
    nbformat.validate(stored)
    for cell in again.cells:
        cell.pop("outputs", None) is None or cell.update(outputs=[])
    executed(again, sys.executable, NOTEBOOK.parent, dict(os.environ))
    assert list(shown(again)) == list(shown(stored)), "run: make pictures"
    assert any("image/png" in output.get("data", {}) for cell in again.cells for output in cell.get("outputs", ()))
