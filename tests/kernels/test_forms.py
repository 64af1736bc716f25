"""One source, four forms: the same integers from a shared library, object files, numba and plain Python."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from tests.depth import few
from tests.kernels.battery import battery, shrink
from tests.kernels.billed import billed
from tests.kernels.processes import output_of
from wattshed.kernels import load, shipped

KERNELS = Path(load.__file__).parent


@pytest.fixture(scope="module")
def plain(manifest):
    """What plain Python computes."""
    before = load.form().name
    load.use("off")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        found = battery(rows=60), billed()
    load.use(before)
    return found


@pytest.mark.parametrize("form", few(["so", "objects", "numba"], plain=2))
def test_every_form_gives_the_integers_of_plain_python(plain, in_form, monkeypatch, form):
    shrink(monkeypatch.setattr)
    in_form(form)
    assert (battery(rows=60), billed()) == plain


def test_the_battery_and_what_is_billed_call_every_kernel(in_form, monkeypatch):
    shrink(monkeypatch.setattr)
    in_form("so")
    called = set()
    for name, kernel in load.KERNELS.items():
        monkeypatch.setattr(kernel, "now", lambda *args, name=name, now=kernel.now: called.add(name) or now(*args))
    battery(rows=60)
    billed()
    assert {load.symbol(name) for name in called} == set(shipped.entries())


def test_a_form_may_be_exchanged_after_any_window(in_form):
    forms = ["so", "off", "objects", "off"]
    in_form("off")
    assert billed(lambda window: in_form(forms[window % len(forms)])) == billed()


def test_every_module_with_entries_is_shipped():
    found = set()
    for file in KERNELS.rglob("*.py"):
        text = file.read_text()
        calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        if re.search(r"kernels\.entry import .*\bkernel\b", text) and any(
            isinstance(name, ast.Name) and name.id == "kernel" for name in calls
        ):
            found.add(".".join(file.relative_to(KERNELS).with_suffix("").parts))
    assert found == set(shipped.MODULES)


def test_importing_kernels_compiles_nothing_and_imports_no_compiler():
    assert output_of("imported_alone") == "[]"


def test_numbers_of_numpy_are_numbers_in_every_form(in_form):
    from wattshed.kernels.arrow_messages import look_through, spread

    for form in ("so", "objects", "off"):
        in_form(form)
        table, following = look_through(np.zeros(64, np.uint8), np.int64(0), np.int64(64), spread([(0, 0, 1, 1)]), 4)
        assert (len(table), following) == (0, 0)
