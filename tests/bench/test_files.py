"""wattshed bench files: every kind is read as it was written, beside others, and the result is a table or a picture."""

import argparse
import json

import numpy as np
import pytest

from wattshed.agent.__main__ import main
from wattshed.agent.bench import log_plot
from wattshed.agent.bench.log_kinds import GPUS, KINDS, answer_of, energy_uj, power_of_steps, unpacked_bytes
from wattshed.agent.commands import bench
from wattshed.agent.errors import InputError


def arguments(*words):
    top = argparse.ArgumentParser()
    bench.add_parser(top.add_subparsers())
    return top.parse_args(["bench", "files", *words])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_is_read_as_it_was_written(tmp_path, capsys, kind):
    power_mw = power_of_steps(60, seed=7)
    path = tmp_path / ("log.csv.gz" if "gzip" in kind.name else "log")
    kind.write(path, power_mw)
    command = ["fleet", "demand", str(path), "--json"] if kind.demand else ["replay", str(path), "--format", "json"]
    assert main(command) == 0
    assert answer_of(kind, capsys.readouterr().out) == (
        energy_uj(power_mw, kind.step_mw) if kind.gives_energy else [power_mw.size]
    )
    if not path.is_dir():
        assert unpacked_bytes(path) > kind.row_bytes * power_mw.size / 3


def test_energies_are_trapezoids_of_what_is_written():
    power_mw = np.array([[1_004] * GPUS, [1_006] * GPUS, [0] * GPUS])
    assert energy_uj(power_mw, 10) == [(1_000 + 1_010) * 500 + 1_010 * 500] * GPUS


def test_powers_are_those_of_their_seed():
    assert (power_of_steps(30, 1) == power_of_steps(30, 1)).all()
    assert (power_of_steps(30, 1) != power_of_steps(30, 2)).any()


def test_a_document_and_a_picture(tmp_path, capsys):
    pytest.importorskip("polars", reason="the extra 'bench' is not installed")
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    given = arguments("--mb", "0.01", "--rounds", "1", "--only", "Parquet", "--plot", str(tmp_path / "f.svg"), "--json")
    assert given.run(given) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "wattshed.bench_files/1"
    (one,) = document["kinds"]
    assert one["agree"]
    assert set(one["rivals"]) == {"pyarrow decode", "polars", "duckdb"}
    assert all(rival["agree"] and rival["times_quicker"] > 0 for rival in one["rivals"].values())
    assert "Parquet of any tool" in (tmp_path / "f.svg").read_text(encoding="utf-8")
    log_plot.plot({**document, "kinds": [{**one, "rivals": {}}]}, tmp_path / "alone.png")


def test_a_kind_that_there_is_not():
    given = arguments("--only", "ORC")
    with pytest.raises(InputError, match="no kind has that in its name; there are nvidia-smi CSV"):
        given.run(given)
