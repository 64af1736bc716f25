"""A short trace is replayed before a compiler would have started, with the same answer."""

from pathlib import Path

import pytest

from tests.commands.test_imports import loaded
from tests.traces.windows_made_up import plain_window
from wattshed.agent.replay import progress
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.kernels import load


@pytest.fixture
def traces(tmp_path):
    """Twenty rows of text, and twenty recorded windows."""
    log = tmp_path / "log.csv"
    rows = [f"2024/05/01 10:00:{second}.000, 0, {second}.50 W" for second in range(10, 30)]
    log.write_text("\n".join(["timestamp, index, power.draw [W]", *rows]) + "\n")
    recorder = Recorder(tmp_path / "recording", "a")
    for number in range(20):
        recorder.append(plain_window(number))
    recorder.close()
    return [log, tmp_path / "recording"]


def test_neither_a_compiler_nor_a_network_is_loaded_for_it(traces):
    for trace in traces:
        assert loaded("replay", trace, "--format", "csv")[0] <= {"numpy", "pyarrow", "llvmlite"}


@pytest.fixture
def no_library(monkeypatch):
    """No compiled library anywhere: numba would compile."""
    monkeypatch.delenv("WATTSHED_JIT", raising=False)
    monkeypatch.setattr(load.library, "find", lambda _form: None)
    if load.use("auto").name != "numba":
        pytest.skip("numba is not here, or may not compile")
    yield
    monkeypatch.undo()
    load.use(load.setting())


def test_only_a_long_trace_is_worth_compiling(traces, no_library, monkeypatch):
    for trace in traces:
        chains = find([str(trace)], Options())
        with progress.kernels_for(chains):
            assert load.form().name == "off"
        assert load.form().name == "numba"
        monkeypatch.setattr(progress, "FEW_ROWS", 10)
        with progress.kernels_for(chains):
            assert load.form().name == "numba"
        monkeypatch.setattr(progress, "FEW_ROWS", 50_000)


def test_who_asks_for_numba_gets_it(traces, no_library, monkeypatch):
    monkeypatch.setenv("WATTSHED_JIT", "numba")
    with progress.kernels_for(find([str(traces[0])], Options())):
        assert load.form().name == "numba"


def test_the_answer_is_the_same(wattshed, traces, no_library, monkeypatch):
    for trace in map(Path, traces):
        answers = []
        for few in (50_000, 0):
            monkeypatch.setattr(progress, "FEW_ROWS", few)
            code, out, _ = wattshed("replay", trace, "--format", "json")
            assert code == 0
            answers.append(out)
        assert answers[0] == answers[1]
