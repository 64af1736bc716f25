"""Fleets are the same however they are spread over workers, and little travels to these and back."""

import itertools
import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.fleet.demand import ensemble
from wattshed.agent.fleet.demand.figures import Examination, FleetExamination, Gridded
from wattshed.agent.fleet.demand.fleets import FleetOrder, Fleets, join
from wattshed.agent.fleet.demand.grid import Load
from wattshed.agent.fleet.demand.transformer import Transformer
from wattshed.agent.wire import cluster
from wattshed.kernels import devices


def traces(jobs, n):
    return np.random.default_rng(1).uniform(60, 700, (jobs, n))


def examination(n):
    load = Load(1.0, 0, np.ones(n), "total")
    return FleetExamination.like(Gridded(None, load, load), Examination(Transformer(rated_va=2.5e6)))


@settings(max_examples=examples(30), deadline=None)
@given(st.sets(st.integers(1, 19)), st.integers(1, 500))
def test_fleets_do_not_depend_on_what_is_drawn_with_them(cuts, units):
    order = FleetOrder(Fleets(traces(2, 30), units, 3), 2, np.sum, 7)
    edges = [0, *sorted(cuts), 20]
    parts = [order.draw(first, last) for first, last in itertools.pairwise(edges)]
    whole, joined = order.draw(0, 20), join(parts)
    assert order.draw(0, 20, 7).peaks_w.tobytes() == whole.peaks_w.tobytes()
    for name in ("peaks_w", "means_w", "variances"):
        assert getattr(joined, name).tobytes() == getattr(whole, name).tobytes()
    assert joined.looked == whole.looked == tuple(order.fleets.draw(r).sum() for r in range(7))


def test_what_travels_is_small():
    """To a worker the traces, once; back the same few bytes a fleet for a recording of any length."""
    back = []
    for n in (2_000, 20_000):
        order = FleetOrder(Fleets(traces(1, n), 1000, 1), 1, examination(n).numbers_of, 5)
        assert len(pickle.dumps(order)) < 8 * n + 5_000
        back.append(len(pickle.dumps(order.draw(0, 10))))
    assert max(back) < 1.1 * min(back) < 50_000


@pytest.fixture
def clusters():
    """Clusters in this process, which ask no GPU how it is: other tests left a simulated driver there."""
    distributed = pytest.importorskip("distributed", reason="the extra scale is not installed")
    import dask

    with dask.config.set({"distributed.diagnostics.nvml": False}):
        yield partial(
            distributed.LocalCluster, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
        )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("scale", [("--scale", 100), ()])
def test_a_cluster_of_any_size_gives_the_same_numbers(fleet, files, workers, scale, clusters, monkeypatch):
    monkeypatch.setattr(ensemble, "MOST_CELLS", 25 * 40)  # eight stretches of time
    rows = (f"{i},{j},{100 * (1 + (i * (j + 3)) % 5)}\n" for i in range(300) for j in range(3))
    series, transformer = files(s_csv="time,job,power\n" + "".join(rows), t_toml="rated_va = 40000\n")
    limit = 32_000 if scale else 1_200
    words = ("demand", series, *scale, "--replicates", 25, "--limit", limit, "--transformer", transformer)
    alone = fleet(*words, "--json")
    assert alone.code == 0, alone.err
    with clusters(n_workers=workers) as running:
        there = fleet(*words, "--json", "--scheduler", running.scheduler_address)
    assert there.code == 0, there.err
    here = {**alone.json, "device_reason": there.json["device_reason"]}
    assert there.json == here
    assert there.json["device_reason"] == "workers draw on their CPUs"


def test_a_scheduler_that_does_not_answer_is_not_blamed_on_the_file(fleet, files, monkeypatch):
    pytest.importorskip("distributed", reason="the extra scale is not installed")
    monkeypatch.setattr(cluster, "ANSWER_S", 0.3)
    series = files(s_csv="time,power\n" + "".join(f"{i},{i % 7}\n" for i in range(50)))
    found = fleet("demand", series, "--scale", 10, "--scheduler", "tcp://127.0.0.1:9")
    assert found.code == 2
    assert found.err.startswith("wattshed: no Dask scheduler answers at tcp://127.0.0.1:9")


def test_a_cluster_without_workers_is_one_line(fleet, files, monkeypatch, clusters):
    series = files(s_csv="time,power\n" + "".join(f"{i},{i % 7}\n" for i in range(50)))
    with clusters(n_workers=0) as running:
        monkeypatch.setattr(cluster, "ANSWER_S", 0.3)
        found = fleet("demand", series, "--scale", 10, "--scheduler", running.scheduler_address)
    assert found.code == 2
    assert found.err.startswith(f"wattshed: the Dask scheduler at {running.scheduler_address} has no workers")
    assert found.err.count("\n") == 1


@pytest.mark.parametrize("option", [("--workers", 2), ("--scheduler", "tcp://127.0.0.1:9")])
def test_workers_without_fleets_are_refused(fleet, files, option):
    found = fleet("demand", files(s_csv="time,power\n0,5\n1,6\n"), *option)
    assert found.code == 2
    assert f"{option[0]} needs --scale or --limit" in found.err


def test_a_device_is_of_this_process(fleet, files, monkeypatch):
    monkeypatch.setattr(devices, "obstacle", lambda: "")
    found = fleet("demand", files(s_csv="time,power\n0,5\n1,6\n"), "--scale", 9, "--workers", 2, "--device", "cuda")
    assert (found.code, found.out) == (2, "")
    assert "--device cuda draws in this process" in found.err
