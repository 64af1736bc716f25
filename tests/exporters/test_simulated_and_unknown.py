"""What is invented says so on every series of energy or power; what is unknown has no series; who is up says so."""

import dataclasses
import json
import re

import pytest

from tests.exporters import snapshots
from tests.exporters.test_metrics_pages import page, samples
from wattshed.agent.errors import Faults
from wattshed.agent.terminal.once import lines_once
from wattshed.exporters.formats import dcgm, prometheus
from wattshed.exporters.formats.exposition import SIMULATED, Writer
from wattshed.exporters.web import api
from wattshed.exporters.web.site import WebSite

ENERGY_OR_POWER = ("_joules", "_watts", "disagreement", "DCGM_FI_")
PAGES = {"/metrics": prometheus.families, "/metrics/dcgm": lambda _: dcgm.families()}


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("path", PAGES)
def test_energy_and_power_of_a_simulated_node_are_marked_and_real_ones_are_not(path, openmetrics):
    simulated, real = snapshots.rich(), snapshots.measured()
    read = samples(page(simulated, openmetrics, families=PAGES[path](simulated)), openmetrics)
    for sample in read:
        about = any(part in sample.name for part in ENERGY_OR_POWER)
        assert (sample.labels.get("simulated") == "1") == (about or sample.name == "wattshed_gpu_info"), sample
    measured = samples(page(real, openmetrics, families=PAGES[path](real)), openmetrics)
    assert not [s for s in measured if "simulated" in s.labels and s.name != "wattshed_gpu_info"]
    # But for the mark (and the model at /metrics/dcgm) they are the same pages.
    assert len(read) == len(measured)
    assert len(read) > 100


def test_a_played_back_recording_of_a_simulated_node_keeps_the_mark():
    trace = dataclasses.replace(snapshots.rich(), meter="trace")
    energies = [s for s in samples(page(trace)) if s.name == "wattshed_job_energy_joules_total"]
    assert energies
    assert all(s.labels["simulated"] == "1" for s in energies)
    assert json.loads(api.document(trace, {}))["simulated"] is True


def test_a_writer_that_has_seen_a_node_without_gpus_marks_it_when_they_come():
    writer = Writer(openmetrics=False, on_fault=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    starting = dataclasses.replace(snapshots.rich(), meter="nvml", gpus=())
    assert 'simulated="1"' not in page(starting, writer=writer)
    marked = page(snapshots.rich(), writer=writer)
    assert marked == page(snapshots.rich())


def test_dcgm_names_the_model_of_a_simulated_gpu_so_that_dashboards_still_take_it():
    models = {s.labels["modelName"] for s in samples(page(snapshots.rich(), families=dcgm.families()))}
    assert models == {"NVIDIA simulated H100 80GB HBM3"}
    gpu = snapshots.gpu(0, 0, model="Tesla P100-PCIE-16GB", simulated=False)
    real = dataclasses.replace(snapshots.measured(), gpus=(gpu,))
    assert {s.labels["modelName"] for s in samples(page(real, families=dcgm.families()))} == {
        "NVIDIA Tesla P100-PCIE-16GB"
    }


def test_otlp_carries_the_mark():
    pytest.importorskip("opentelemetry.sdk", reason="needs the extra otlp")
    from wattshed.exporters.formats.otlp import Push

    class Nowhere:
        def export(self, _):
            return None

        def shutdown(self):
            return None

    for build, expected in ((snapshots.rich, "1"), (snapshots.measured, None)):
        push = Push(build, exporter=Nowhere(), noting=Faults().noting)
        (resource,) = push.data(build()).resource_metrics
        push.stop()
        metrics = {m.name: m for scope in resource.scope_metrics for m in scope.metrics}
        for name in ("wattshed_gpu_energy_joules", "wattshed_job_energy_joules", "wattshed_gpu_power_watts"):
            assert {p.attributes.get("simulated") for p in metrics[name].data.data_points} == {expected}, name
        assert "simulated" not in metrics["wattshed_up"].data.data_points[0].attributes


def value(snapshot, name):
    return [s.value for s in samples(page(snapshot)) if s.name == name]


def test_up_is_on_the_page_from_the_first_moment():
    assert value(snapshots.empty(), "wattshed_up") == [0]
    assert value(snapshots.rich(), "wattshed_up") == [1]
    waiting = dataclasses.replace(snapshots.empty(), unmetered="no NVML library")
    assert value(waiting, "wattshed_up") == [0]
    assert value(dataclasses.replace(snapshots.rich(), unmetered="no GPU answers"), "wattshed_up") == [0]
    fleet = dataclasses.replace(snapshots.empty(), meter="fleet", seq=1)
    assert value(fleet, "wattshed_up") == [], "a fleet's server meters no GPU, and none is missing"


def test_a_gpu_that_was_never_read_has_no_energy_and_no_bill():
    snapshot = snapshots.unmeterable()
    names = {s.name for s in samples(page(snapshot)) if "joules" in s.name}
    assert names == set()
    assert value(snapshot, "wattshed_up") == [0]
    assert value(snapshot, "wattshed_job_gpu_seconds_total") == [60, 0], "its time is known"
    (info,) = [s for s in samples(page(snapshot)) if s.name == "wattshed_gpu_info"]
    assert info.labels["energy_source"] == "none"
    assert not [s for s in samples(page(snapshot, families=dcgm.families())) if "ENERGY" in s.name]
    document = json.loads(api.document(snapshot, {"jobs": {}}))
    (gpu,), (job,) = document["gpus"], document["jobs"]
    assert (gpu["energy_j"], gpu["sigma_j"]) == (None, None)
    assert (job["energy_j"], job["static_j"], job["sigma_j"]) == (None, None, None)
    assert (document["ready"], document["unmetered"]) == (False, snapshot.unmetered)
    shown = "\n".join(line.text for line in lines_once(document, None))
    assert "no GPU reports" in shown
    assert "NOT METERING" in shown
    assert not re.search(r"\d (J|Wh|kWh)", shown)


def test_ready_is_up_and_says_why_not():
    def ready(snapshot):
        answer = WebSite(lambda: snapshot).answer("GET", "/-/ready", {})
        return answer.status, answer.body.decode().strip()

    assert ready(snapshots.rich()) == (200, "ready")
    assert ready(snapshots.empty()) == (503, "not ready: waiting for the first window")
    assert ready(snapshots.unmeterable()) == (503, "not ready: no GPU reports energy or power")
    assert WebSite(snapshots.unmeterable).answer("GET", "/-/healthy", {}).status == 200
    assert dict(SIMULATED) == {"simulated": "1"}
