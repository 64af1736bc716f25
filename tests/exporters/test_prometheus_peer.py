"""Dashboards and rules against a real Prometheus, promtool, and a PromQL parser."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import promql_parser
import pytest
import yaml

from tests.exporters import snapshots
from tests.exporters.wire import get, peer
from tests.ports import free_port
from tests.promql.expressions import ALL, DASHBOARDS, RULES, marks, panels, rules
from wattshed.exporters.formats import prometheus

DEPLOY = Path(__file__).parents[2] / "deploy"
RULE_TESTS = sorted((Path(__file__).parent / "rules").glob("*.test.yml"))
VALUES = ALL | {"__rate_interval": "6s", "__range": "6s", "__interval": "5s", "__from": "0", "nodes": ".*"}
RARE = ("held back B",)
"""What no simulated board has: throttling."""
OF_WORK = ("Energy per unit of work A",)
"""What jobs show that tell of work."""


def generator():
    spec = importlib.util.spec_from_file_location("generate_dashboards", DEPLOY / "grafana" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DEPLOY / "grafana")  # as for a script: its boards lie beside it
        spec.loader.exec_module(module)
    return module


def test_dashboards_are_what_the_generator_makes():
    made = generator().generate()
    assert {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS} == made


def test_dashboards_have_unique_ids_and_schema_41():
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    assert len({d["uid"] for d in documents}) == len(documents) == 4
    assert {d["schemaVersion"] for d in documents} == {41}


def test_every_expression_parses_and_names_only_metrics_that_exist():
    known = {family.name for family in prometheus.TABLE} | {"wattshed_job_info", "up"}
    known |= {name for name, _ in rules() if ":" in name} | {"wattshed_nvml_call_seconds_bucket"}
    exprs = [*panels(**VALUES), *marks(**VALUES), *rules()]
    assert len(exprs) > 50
    for where, expr in exprs:
        promql_parser.parse(expr)
        for name in re.findall(r"wattshed[_:][a-z_0-9:]+|\bup\b", expr):
            assert name in known, (where, name)


def test_every_rule_has_a_test():
    said = "".join(path.read_text(encoding="utf-8") for path in RULE_TESTS)
    names = [name for name, _ in rules()]
    assert len(names) > 20
    for name in names:
        if ":" in name:
            assert f"expr: {name}\n" in said, name
        else:
            assert re.search(
                rf"alertname: {name}\s+exp_alerts:\s+- exp_labels: {{ severity: (info|warning|critical)", said
            ), name


def test_every_alert_says_what_to_do_and_where_it_is_written():
    page = (DEPLOY.parent / "docs/alerts.md").read_text(encoding="utf-8")
    alerts = [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert sorted(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == sorted(rule["alert"] for rule in alerts)
    for rule in alerts:
        said = rule["annotations"]
        assert said.keys() == {"summary", "description", "runbook"}, rule["alert"]
        assert said["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
        assert f"*{rule['labels']['severity']}.*" in page.partition(f"## {rule['alert']}\n")[2].partition("\n## ")[0]
        assert said["description"].endswith(".")
        assert not said["summary"].endswith(".")


@pytest.mark.real
@pytest.mark.parametrize("arguments", [["check", "rules", *map(str, RULES)], ["test", "rules", *map(str, RULE_TESTS)]])
def test_promtool_passes_the_rules(arguments):
    done = subprocess.run([peer("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
def test_promtool_passes_the_scrape_configuration():
    config = DEPLOY / "prometheus" / "prometheus.yml"
    done = subprocess.run([peer("promtool"), "check", "config", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def ask(url, path, **query):
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


@pytest.fixture
def real_prometheus(tmp_path):
    """Start a real Prometheus that scrapes some servers each second; gives a function that starts it."""
    running = []

    def start(targets):
        program, port = peer("prometheus"), free_port()
        jobs = [
            {
                "job_name": name,
                "honor_labels": name != "dcgm",
                "metrics_path": path,
                "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
            }
            for name, target, path in targets
        ]
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        log = (tmp_path / "log").open("w")
        arguments = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
        running.append(
            subprocess.Popen([program, *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        )
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{url}/-/ready", timeout=2).close()
            except OSError:
                time.sleep(0.2)
            else:
                return url
        pytest.fail(f"Prometheus did not start: {(tmp_path / 'log').read_text()[-2000:]}")

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """Run the agent itself on the simulated node; gives its port."""
    home = tmp_path_factory.mktemp("daemon")
    environ = os.environ | {"WATTSHED_STATE_DIR": str(home), "STATE_DIRECTORY": str(home)}
    command = [sys.executable, "-m", "wattshed", "run", "--meter", "simulated", "--listen", "127.0.0.1:0"]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=DEPLOY.parent, env=environ, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        said = (home / "log").read_text()
        if (address := re.search(r"listening on http://127.0.0.1:([0-9]+)", said)) and "ready" in said:
            yield int(address[1])
            process.terminate()
            process.wait(10)
            return
        time.sleep(0.2)
    process.kill()
    pytest.fail(f"the agent did not become ready: {(home / 'log').read_text()[-2000:]}")


def until_complete(url, values, seconds, rare=RARE):
    """Wait until every panel returns data but for some; gives those that do not."""
    deadline, missing = time.monotonic() + seconds, []
    while time.monotonic() < deadline:
        time.sleep(1)
        missing = [
            (where, expr)
            for where, expr in panels(**values)
            if not where.endswith(rare) and not ask(url, "query", query=expr)["result"]
        ]
        if not missing:
            break
    return missing


@pytest.mark.real
def test_every_panel_returns_data_from_the_agent_itself(daemon, serve, real_prometheus):
    """Host and job dashboards from the simulated node; the fleet's from a snapshot that has one."""
    begin = time.monotonic()

    def fleet():
        seconds = 100 + int((time.monotonic() - begin) * 2)
        return dataclasses.replace(snapshots.empty(), fleet=snapshots.rich(seconds=seconds).fleet)

    _, port = serve(fleet)
    url = real_prometheus([("wattshed", daemon, "/metrics"), ("fleet", port, "/metrics")])
    assert until_complete(url, VALUES | {"instance": f"127.0.0.1:{daemon}", "nodes": "1"}, 40, RARE + OF_WORK) == []
    parts, whole = (
        {s["metric"]["gpu_uuid"]: float(s["value"][1]) for s in ask(url, "query", query=query)["result"]}
        for query in (
            'sum by (gpu_uuid) ({__name__=~"wattshed_(job|ended_jobs)_energy_joules_total"})',
            "sum by (gpu_uuid) (wattshed_gpu_energy_joules_total)",
        )
    )
    assert len(whole) >= 1
    assert parts == pytest.approx(whole, rel=1e-6)


@pytest.mark.real
def test_every_panel_returns_data_from_victoria_metrics(serve, tmp_path):
    begin = time.monotonic()

    def living():
        seconds = 100 + int((time.monotonic() - begin) * 2)

        def aged(job):
            work = tuple(dataclasses.replace(one, count=one.count + seconds) for one in job.work)
            return dataclasses.replace(job, held_us=seconds * 1_000_000, work=work)

        made = snapshots.rich(seq=seconds, seconds=seconds)
        return dataclasses.replace(made, jobs=tuple(map(aged, made.jobs)))

    _, target = serve(living)
    job = {"job_name": "wattshed", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    (tmp_path / "scrape.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    arguments = [f"-promscrape.config={tmp_path}/scrape.yml", f"-storageDataPath={tmp_path}/data"]
    arguments += [f"-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([peer("victoria-metrics"), *arguments], stdout=log, stderr=log)
    try:
        time.sleep(2)
        assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
        assert until_complete(f"http://127.0.0.1:{port}", VALUES, 30) == []
    finally:
        process.terminate()
        process.wait(15)


@pytest.mark.real
def test_promtool_has_nothing_to_say_about_the_agent(daemon):
    page = get(daemon)[2]
    done = subprocess.run([peer("promtool"), "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.real
def test_hostile_text_does_no_harm(serve, real_prometheus):
    _, port = serve(snapshots.hostile)
    url = real_prometheus([("hostile", port, "/metrics"), ("hostile-dcgm", port, "/metrics/dcgm")])
    deadline, up = time.monotonic() + 15, 0
    while up < 2 and time.monotonic() < deadline:
        time.sleep(0.5)
        up = len(ask(url, "query", query="up == 1")["result"])
    assert [target["lastError"] for target in ask(url, "targets")["activeTargets"]] == ["", ""]
    assert len(ask(url, "query", query="wattshed_job_energy_joules_total")["result"]) == 6
    assert ask(url, "query", query='{gpu_uuid="evil"}')["result"] == []


@pytest.mark.real
def test_dashboard_12239_lights_up(serve, real_prometheus):
    """The queries of the community's dashboard for dcgm-exporter, as Grafana sends them with its variables filled."""
    _, port = serve()
    url = real_prometheus([("dcgm", port, "/metrics/dcgm")])
    chosen = f'instance=~"127.0.0.1:{port}", gpu=~"(0|1|2|3)"'
    queries = [
        f"DCGM_FI_DEV_GPU_TEMP{{{chosen}}}",
        f"avg(DCGM_FI_DEV_GPU_TEMP{{{chosen}}})",
        f"DCGM_FI_DEV_POWER_USAGE{{{chosen}}}",
        f"sum(DCGM_FI_DEV_POWER_USAGE{{{chosen}}})",
        f"DCGM_FI_DEV_SM_CLOCK{{{chosen}}} * 1000000",
        f"DCGM_FI_DEV_GPU_UTIL{{{chosen}}}",
        f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{chosen}}}",
        f"DCGM_FI_DEV_FB_USED{{{chosen}}}",
    ]
    deadline, missing = time.monotonic() + 15, queries
    while missing and time.monotonic() < deadline:
        time.sleep(0.5)
        missing = [query for query in queries if not ask(url, "query", query=query)["result"]]
    assert not missing
    assert ask(url, "label/gpu/values") == [str(i) for i in range(8)]
    (watts,) = ask(url, "query", query=f"sum(DCGM_FI_DEV_POWER_USAGE{{{chosen}}})")["result"]
    assert float(watts["value"][1]) == pytest.approx(sum(600.25 + i for i in range(4)))
