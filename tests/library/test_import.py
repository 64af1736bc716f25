"""`import wattshed` is light; what it offers is there, documented, and seen by a type checker."""

import inspect
import json
import subprocess
import sys

import pytest

import wattshed

HEAVY = ("numpy", "numba", "pyarrow", "pandas", "polars", "matplotlib", "rich", "pynvml", "asyncio", "wattshed.agent")
CODE = f"""
import json, sys, time
started = time.process_time()
import wattshed
took = time.process_time() - started
dir(wattshed), wattshed.__all__
print(json.dumps([took, [name for name in {HEAVY} if name in sys.modules]]))
"""


def test_importing_it_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    took_s, loaded = json.loads(done.stdout)
    assert loaded == []
    assert took_s < 0.1  # of processor time: a busy machine does not matter


@pytest.mark.parametrize("name", sorted(set(wattshed.__all__) - {"main"}))
def test_what_it_offers_is_documented(name):
    found = getattr(wattshed, name)
    assert name in dir(wattshed)
    assert inspect.getdoc(found)


def public(found):
    members = [getattr(found, name) for name in getattr(found, "__all__", ())] if inspect.ismodule(found) else [found]
    for member in members:
        if inspect.isclass(member):
            yield from (value for name, value in vars(member).items() if callable(value) and not name.startswith("_"))
        yield member


@pytest.mark.parametrize("name", ["replay", "read", "Report", "Recording", "Picture", "fleet"])
def test_docstrings_name_each_argument_and_what_is_raised(name):
    for found in public(getattr(wattshed, name)):
        text = inspect.getdoc(found)
        assert text, found
        if inspect.isfunction(found):
            arguments = [one for one in inspect.signature(found).parameters if one not in {"self", "cls"}]
            if len(arguments) > 1:
                assert [one for one in arguments if one not in text] == [], found


def test_kernels_and_fleet_are_reached_from_the_name_alone():
    code = "import wattshed; wattshed.kernels.energy.integrate, wattshed.fleet.estimate, wattshed.InputError"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_there_is_nothing_else():
    for module in (wattshed, wattshed.kernels):
        with pytest.raises(AttributeError, match="has no attribute 'jules'"):
            module.jules  # noqa: B018
