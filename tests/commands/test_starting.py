"""What a start leaves out is left out only then."""

import gc
import os

import pytest

from wattshed.agent.commands.starting import quick_start

NAME = "OPENBLAS_NUM_THREADS"


@pytest.mark.parametrize("said", [None, "3"])
def test_programs_started_later_see_the_environment_as_it_was(monkeypatch, said):
    if said is None:
        monkeypatch.delenv(NAME, raising=False)
    else:
        monkeypatch.setenv(NAME, said)
    with quick_start():
        assert os.environ[NAME] == (said or "1")
    assert os.environ.get(NAME) == said


def test_garbage_is_collected_again_whatever_happened():
    def fails():
        with quick_start():
            assert not gc.isenabled()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fails()
    assert gc.isenabled()
