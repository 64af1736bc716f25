"""wattshed bench: every answer agrees with every rival's, and the result is a table, a document or a picture."""

import argparse
import contextlib
import io
import json
import subprocess
import sys

import pytest

from wattshed.agent.bench import forms, kernels
from wattshed.agent.bench.whole import whole_contests
from wattshed.agent.commands import bench
from wattshed.agent.errors import InputError
from wattshed.kernels import load


def arguments(*words):
    top = argparse.ArgumentParser()
    bench.add_parser(top.add_subparsers())
    return top.parse_args(["bench", *words])


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """One small run with everybody."""
    pytest.importorskip("polars", reason="the extra 'bench' is not installed")
    pytest.importorskip("duckdb", reason="the extra 'bench' is not installed")
    given = arguments("--samples", "40_000", "--gpus", "3", "--rounds", "1", "--json", "--only", " ")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr("wattshed.agent.bench.contests._JOBS", 64)
        patch.setattr("wattshed.agent.bench.contests.whole_contests", lambda *_: ())
        assert given.run(given) == 0
    return json.loads(printed.getvalue())


def test_all_agree(document):
    assert document["schema"] == "wattshed.bench/1"
    kernels = {result["kernel"]: result for result in document["contests"]}
    assert [name[0] for name in kernels] == ["a", "a", "b", "c", "c", "d", "e", "f", "f", "f", "g"]
    for name, result in kernels.items():
        assert result["agree"], name
        assert result["seconds"] > 0
    assert set(kernels["a energy, 12 B"]["rivals"]) == {"numpy", "polars", "duckdb"}
    assert set(kernels["b energy per job"]["rivals"]) == {"polars", "duckdb"}


def test_the_machine_is_described_and_not_named(document):
    assert set(document["form"]) == {"name", "cpu"}
    assert set(document["machine"]) == {"processor", "level", "cores", "memory_gib", "threads"}


def test_a_word_that_no_kernel_has_is_refused():
    given = arguments("--samples", "1_000", "--rounds", "1", "--no-rivals", "--only", "zzz")
    with pytest.raises(InputError, match="--only zzz: no kernel's name contains it"):
        given.run(given)


def test_a_picture_and_a_table(document, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    from wattshed.agent.bench.plot import plot

    plot(document, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "exact quantiles of power, over time" in drawn  # what the letter d stands for
    assert "whole processes" not in drawn  # none was measured
    kernels.print_table(document)
    shown = capsys.readouterr().out
    assert "d exact p50, p95, p99" in shown
    assert "DIFFER" not in shown


def test_a_rival_that_differs_is_a_failure(monkeypatch):
    from wattshed.agent.bench import contests as bench_contests

    monkeypatch.setattr(bench_contests.Numpy, "quantiles", lambda self, ppm: [[1, 2, 3]])
    results = bench_contests.contests(20_000, 2, 1, rivals=("numpy",), only="d exact", say=lambda _: None)
    assert [result["agree"] for result in results] == [False]


def test_bad_usage(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        arguments("--samples", "0")
    assert stop.value.code == 2
    assert "'0' is not a positive whole number" in capsys.readouterr().err
    assert arguments("kernels", "--samples", "1e3").samples == 1_000
    given = arguments("--plot", str(tmp_path / "no" / "a.svg"))
    with pytest.raises(InputError, match="does not exist"):
        given.run(given)


def test_an_option_stands_behind_its_word():
    assert arguments("kernels", "--samples", "7", "--json").samples == 7
    given = arguments("--samples", "7", "kernels")
    with pytest.raises(InputError, match="--samples belongs behind the word"):
        given.run(given)


def test_help_is_light():
    code = (
        "import argparse, sys; from wattshed.agent.commands import bench; top = argparse.ArgumentParser()\n"
        "bench.add_parser(top.add_subparsers())\n"
        "try: top.parse_args(['bench', '--help'])\n"
        "finally: assert not {'numpy', 'numba', 'rich', 'matplotlib'} & set(sys.modules)"
    )
    assert "kernels" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_whole_processes_agree(tmp_path):
    pytest.importorskip("polars", reason="the extra 'bench' is not installed")
    pytest.importorskip("duckdb", reason="the extra 'bench' is not installed")
    for _, ours, rivals, agrees in whole_contests(16, tmp_path, 5_000_000, ("polars", "duckdb")):
        energies = ours()
        assert all(energy > 0 for energy in energies)
        assert list(rivals) == ["polars", "duckdb"]
        assert all(agrees(energies, rival()) for rival in rivals.values())
        assert not agrees(energies, [2_000 * energy + 4_000 for energy in energies])


def test_forms_give_the_same_answers():
    assert forms.names("numba, off,numba") == ("numba", "off")
    here = load.form().name
    compared = forms.compare((here, "off"), 1, lambda _: None)
    assert load.form().name == here
    assert len(compared) == 5
    for one in compared:
        assert one["agree"], one["question"]
        assert set(one["seconds"]) == {here, "off"}
        assert one["absent"] == {}
    with pytest.raises(InputError, match="'c' is not one of so, objects, numba, off"):
        forms.names("numba,c")


def test_a_form_that_differs_is_a_failure(monkeypatch):
    asked = iter(range(100))
    monkeypatch.setattr(forms, "_questions", lambda: {"odd": lambda: next(asked)})
    assert [one["agree"] for one in forms.compare((load.form().name, "off"), 1, lambda _: None)] == [False]


def test_plain_python_is_not_measured(monkeypatch):
    monkeypatch.setenv("WATTSHED_JIT", "off")
    monkeypatch.setattr(load, "form", lambda: load.Form("off", "", "no compiler"))
    given = arguments()
    with pytest.raises(InputError, match=r"plain Python \(no compiler\)"):
        given.run(given)
