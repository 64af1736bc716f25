"""The collector for a registry of prometheus_client: what it gives is our own page."""

import dataclasses
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import REGISTRY

import wattshed
from tests.depth import examples
from tests.exporters import snapshots
from tests.fleet.example_fleet import FLEET
from wattshed.exporters.formats import prometheus
from wattshed.exporters.formats.collector import Collector
from wattshed.exporters.formats.exposition import Family, Writer
from wattshed.exporters.snapshot import EnergyShare
from wattshed.exporters.units import HNJ_PER_JOULE

BUILDS = [
    snapshots.empty,
    snapshots.rich,
    snapshots.measured,
    snapshots.unmeterable,
    snapshots.hostile,
    lambda: snapshots.large(40),
    lambda: snapshots.moving(snapshots.T0 / 1e6 + 1234.5),
]
each_snapshot = pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)


def page(snapshot, *, openmetrics=True, families=None):
    def fail(name, error):
        raise AssertionError(name) from error

    writer = Writer(openmetrics=openmetrics, on_fault=fail)
    return writer.write(snapshot, families or prometheus.families(snapshot)).decode()


def registered(snapshot, **options):
    registry = CollectorRegistry()
    registry.register(Collector(lambda: snapshot, **options))
    return registry


@each_snapshot
def test_a_registry_gives_our_openmetrics_page(build):
    snapshot = build()
    theirs = list(parse_openmetrics(generate_openmetrics(registered(snapshot)).decode()))
    ours = list(parse_openmetrics(page(snapshot)))
    assert theirs == ours
    assert [family.name for family in ours][:1] == ["wattshed_build"]


@each_snapshot
def test_a_registry_gives_our_text_page_but_for_what_only_promtool_minds(build):
    """The family whose name promtool dislikes has its type and its zeros."""
    snapshot = build()
    theirs = {f.name: f for f in parse_text(generate_latest(registered(snapshot, created=False)).decode())}
    ours = {f.name: f for f in parse_text(page(snapshot, openmetrics=False))}
    (quiet,) = [f.name.removesuffix("_total") for f in prometheus.TABLE if f.quiet]
    shown = theirs.pop(quiet, None)
    hidden = ours.pop(f"{quiet}_total", None) or ours.pop(quiet, None)
    assert theirs == ours
    assert bool(shown) == bool(snapshot.gpus)
    nonzero = [sample for sample in shown.samples if sample.value] if shown else []
    assert [s.value for s in nonzero] == [s.value for s in hidden.samples if s.value] if hidden else nonzero == []


@settings(max_examples=examples(100))
@given(st.integers(0, 2**90), st.integers(0, 2**90))
def test_joules_are_the_nearest_floats_of_the_pages_decimals(static, dynamic):
    snapshot = dataclasses.replace(snapshots.empty(), energy=(EnergyShare("j", "GPU-1", static, dynamic),))
    registry = registered(snapshot)
    for component, hnj in (("static", static), ("dynamic", dynamic)):
        # A simulated node's joules say that they are invented.
        labels = {"job": "j", "gpu_uuid": "GPU-1", "component": component, "simulated": "1"}
        value = registry.get_sample_value("wattshed_job_energy_joules_total", labels)
        assert value == hnj / HNJ_PER_JOULE
        assert math.isclose(value * HNJ_PER_JOULE, hnj, rel_tol=1e-15)


def test_it_is_offered_by_the_package():
    assert wattshed.Collector is Collector


def test_each_scrape_reads_the_source_anew():
    now = [snapshots.empty()]
    registry = CollectorRegistry()
    registry.register(Collector(lambda: now[0]))
    assert registry.get_sample_value("wattshed_windows_total") == 0
    now[0] = snapshots.rich(seq=7)
    assert registry.get_sample_value("wattshed_windows_total") == 7
    assert registry.get_sample_value("wattshed_gpu_up", {"gpu_uuid": snapshots.UUIDS[0]}) == 1


def test_it_stands_beside_other_collectors_and_leaves_again():
    registry = CollectorRegistry()
    own = Counter("tokens", "Tokens of my program.", registry=registry)
    own.inc(5)
    collector = Collector(snapshots.rich)
    registry.register(collector)
    assert registry.get_sample_value("tokens_total") == 5
    assert registry.get_sample_value("wattshed_up") == 1
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector(snapshots.rich))
    registry.unregister(collector)
    assert registry.get_sample_value("wattshed_up") is None
    assert registry.get_sample_value("tokens_total") == 5
    registry.register(Collector(snapshots.rich))


def test_the_default_registry_has_room_for_it():
    """It has process_* of its own, and asks collectors for their names."""
    collector = Collector(snapshots.rich)
    REGISTRY.register(collector)
    try:
        text = generate_latest(REGISTRY).decode()
        assert text.count("# TYPE process_cpu_seconds_total") == 1
        assert "wattshed_gpu_energy_joules_total{" in text
    finally:
        REGISTRY.unregister(collector)


def test_names_are_known_before_there_is_anything_to_read():
    def none_yet():
        raise RuntimeError("no snapshot yet")

    registry = CollectorRegistry()
    registry.register(Collector(none_yet))
    with pytest.raises(ValueError, match="wattshed_job"):
        Counter("wattshed_job_gpu_seconds", "Another.", registry=registry)


def test_a_restricted_registry_collects_what_is_named():
    registry = registered(snapshots.rich())
    names = [sample.name for metric in registry.collect() for sample in metric.samples]
    for name in sorted(set(names)):
        found = [s.name for m in registry.restricted_registry([name]).collect() for s in m.samples]
        assert found == [n for n in names if n == name], name


def test_the_documents_example_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "FLEET.toml").write_text(FLEET)
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(example, "docs/metrics.md", "exec"), {})
    shown = {f.name: f for f in parse_text(capsys.readouterr().out)}
    assert shown["tokens"].samples[0].value == 0
    hosts = {s.labels["state"]: s.value for s in shown["wattshed_fleet_hosts"].samples}
    assert hosts == {"known": 150, "reporting": 1}
    assert {s.labels["boundary"] for s in shown["wattshed_fleet_power_watts"].samples} >= {"gpu", "facility"}


def test_created_can_be_left_out():
    text = generate_openmetrics(registered(snapshots.rich(), created=False)).decode()
    assert "_created" not in text
    assert "_created" in page(snapshots.rich())


def test_a_family_that_fails_is_logged_and_the_rest_stands(monkeypatch, caplog):
    broken = Family("wattshed_broken", "gauge", "B.", (), lambda _: 1 / 0)
    odd = Family("wattshed_odd", "gauge", "O.", ("a", "b"), lambda _: [(("one",), 1)])
    monkeypatch.setattr(prometheus, "TABLE", (broken, odd, *prometheus.TABLE))
    registry = registered(snapshots.rich())
    assert registry.get_sample_value("wattshed_up") == 1
    assert "wattshed_broken is missing: ZeroDivisionError" in caplog.text
    assert "wattshed_odd is missing: ValueError" in caplog.text
