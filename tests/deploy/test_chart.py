"""The chart, rendered by Helm's own library and held against Kubernetes' schemas; no cluster and no network."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart, HelmError, lint

from wattshed.agent.collect.config import read_settings
from wattshed.agent.config.loading import load

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/kubernetes/wattshed"
ALL = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}


def rendered(values=None):
    with Chart.load(CHART) as chart:
        files = chart.render(values=values or {}, name="demo")
    documents = [
        one for name, text in files.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text) if one
    ]
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


@pytest.mark.parametrize("version", ["1.25", "1.30", kubernetes_validate.latest_version()])
def test_every_object_is_one_that_kubernetes_takes(version):
    objects = rendered(ALL | {"webConfigSecret": "web"})
    assert len(objects) >= 8
    for (kind, _), one in objects.items():
        if kind not in {"ServiceMonitor", "PrometheusRule"}:
            kubernetes_validate.validate(one, version, strict=True)


def test_lint_finds_nothing_that_matters():
    told = lint(str(CHART))
    assert told["errors"] == []
    assert [one["error"] for one in told["messages"]] == ["icon is recommended"]


def test_the_pod_sees_the_host_and_may_do_nothing_to_it():
    pod = rendered()["DaemonSet", "demo-wattshed"]["spec"]["template"]["spec"]
    assert (pod["hostPID"], pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (True, False, False)
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    mounts = {one["name"]: one for one in container["volumeMounts"]}
    of_the_host = {one["name"]: one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one}
    assert {name for name in of_the_host if not mounts[name].get("readOnly")} == {"state"}
    assert of_the_host["sys"] == "/sys"
    assert {"name": "WATTSHED_NODE_SYS_ROOT", "value": mounts["sys"]["mountPath"]} in container["env"]
    assert of_the_host["pod-resources"] == "/var/lib/kubelet/pod-resources"
    assert set(mounts) == {one["name"] for one in pod["volumes"]}


def test_the_configuration_is_one_that_the_agent_takes(tmp_path):
    values = {"config": {"jobs": {"max_series": 5000, "names": False}, "idle_watts": {"NVIDIA H100": 70}}}
    text = rendered(values)["ConfigMap", "demo-wattshed"]["data"]["config.toml"]
    assert tomllib.loads(text)["listen"] == [":9961"]
    assert tomllib.loads(text)["meter"] == "nvml"
    (tmp_path / "config.toml").write_text(text)
    config = load(tmp_path / "config.toml", {"HOME": "/"}).config
    assert (config.jobs.max_series, config.jobs.names, config.idle_watts) == (5000, False, {"NVIDIA H100": 70.0})


def test_a_node_without_a_driver_is_not_restarted_for_it_and_its_reason_is_scraped():
    objects = rendered()
    (container,) = objects["DaemonSet", "demo-wattshed"]["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/-/healthy", "readinessProbe": "/-/ready", "livenessProbe": "/-/healthy"}
    assert objects["Service", "demo-wattshed"]["spec"]["publishNotReadyAddresses"] is True


CLIENT = "nvidia.com/gpu.deploy.client"
OURS = [{"key": CLIENT, "operator": "In", "values": ["true"]}, {"key": CLIENT, "operator": "DoesNotExist"}]
ZONE, DISK = ({"key": key, "operator": "Exists"} for key in ("zone", "disk"))
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("own", "terms"),
    [
        ([], [[one] for one in OURS]),
        ([[ZONE], [DISK]], [[own, one] for own in (ZONE, DISK) for one in OURS]),
    ],
)
def test_the_pod_leaves_a_node_whose_driver_is_upgraded(own, terms):
    given = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": one} for one in own]}}}
    more = {"podAntiAffinity": {}, **(given if own else {})}
    pod = rendered({"affinity": more})["DaemonSet", "demo-wattshed"]["spec"]["template"]["spec"]
    found = pod["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert [term["matchExpressions"] for term in found] == terms
    assert pod["affinity"]["podAntiAffinity"] == {}
    assert CLIENT not in pod["nodeSelector"]


def test_who_upgrades_the_driver_waits_for_a_pod_with_the_selector_alone():
    pods = {
        way: rendered({"driverClient": way})["DaemonSet", "demo-wattshed"]["spec"]["template"]["spec"]
        for way in ("selector", "off")
    }
    assert pods["selector"]["nodeSelector"] == {"nvidia.com/gpu.present": "true", CLIENT: "true"}
    assert pods["off"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert not any("affinity" in pod for pod in pods.values())


def test_pods_of_jobs_do_not_reach_the_control_socket():
    pod = rendered({"runHostPath": "/run/wattshed"})["DaemonSet", "demo-wattshed"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (path,) = [one["value"] for one in container["env"] if one["name"] == "WATTSHED_CONTROL_SOCKET"]
    (mount,) = [one["name"] for one in container["volumeMounts"] if path.startswith(one["mountPath"] + "/")]
    assert {"name": mount, "emptyDir": {}} in pod["volumes"]


def test_a_changed_configuration_starts_new_pods():
    def checksum(values):
        annotations = rendered(values)["DaemonSet", "demo-wattshed"]["spec"]["template"]["metadata"]["annotations"]
        return annotations["checksum/config"]

    assert checksum({}) != checksum({"config": {"log": {"level": "debug"}}})


@pytest.mark.parametrize(
    "values",
    [
        {"port": 70_000},
        {"prot": 1},
        {"config": {"listen": []}},
        {"config": {"meter": "auto"}},  # a node without a driver would publish eight GPUs that do not exist
        {"config": {"meter": ""}},
        {"serviceMonitor": {"interval": "often"}},
        {"driverClient": "always"},
        {"stateHostPath": "x"},
        {"runHostPath": "run"},
    ],
)
def test_the_schema_refuses(values):
    with pytest.raises(HelmError):
        rendered(values)


def test_the_sockets_are_on_the_node_where_pods_shall_measure_themselves():
    def run(values):
        spec = rendered(values)["DaemonSet", "demo-wattshed"]["spec"]["template"]["spec"]
        return next(volume for volume in spec["volumes"] if volume["name"] == "run")

    assert run({}) == {"name": "run", "emptyDir": {}}
    assert run({"runHostPath": "/run/wattshed"})["hostPath"] == {"path": "/run/wattshed", "type": "DirectoryOrCreate"}


def test_rules_and_dashboards_are_the_repository_s_own():
    objects = rendered(ALL)
    groups = objects["PrometheusRule", "demo-wattshed"]["spec"]["groups"]
    ours = [
        yaml.safe_load(path.read_text())["groups"] for path in sorted((ROOT / "deploy/prometheus").glob("*.rules.yml"))
    ]
    assert sorted(one["name"] for one in groups) == sorted(one["name"] for file in ours for one in file)
    assert sorted(json.dumps(one, sort_keys=True) for one in groups) == sorted(
        json.dumps(one, sort_keys=True) for file in ours for one in file
    )
    for path in (ROOT / "deploy/grafana").glob("wattshed-*.json"):
        shipped = objects["ConfigMap", f"demo-{path.stem}"]["data"][path.name]
        assert json.loads(shipped) == json.loads(path.read_text())


def test_with_tls_everything_asks_by_https():
    objects = rendered(ALL | {"webConfigSecret": "web"})
    (container,) = objects["DaemonSet", "demo-wattshed"]["spec"]["template"]["spec"]["containers"]
    probes = [container[probe]["httpGet"]["scheme"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert probes == ["HTTPS"] * 3
    assert container["args"][-2:] == ["--web.config.file", "/etc/wattshed-web/web.yml"]
    assert objects["ServiceMonitor", "demo-wattshed"]["spec"]["endpoints"][0]["scheme"] == "https"


def test_the_image_is_the_deb_and_runs_as_nobody_in_particular():
    text = (ROOT / "deploy/kubernetes/Containerfile").read_text()
    assert re.search(r"dpkg --install /dist/wattshed_\*_\$\{TARGETARCH\}\.deb", text)
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["/usr/bin/wattshed"\]$', text, re.MULTILINE)


def test_the_scripts_of_the_packages_are_plain_shell():
    for script in sorted((ROOT / "deploy/packages").glob("*.sh")):
        subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize("more", [{}, {"databaseSecret": "db", "webConfigSecret": "web", "agentsSecret": "agents"}])
def test_a_collector_asks_all_nodes_and_keeps_what_they_tell(tmp_path, more):
    objects = rendered({"collector": {"enabled": True, "cluster": "east", **more}})
    assert not any(name.endswith("-collect") for _, name in rendered())
    for (_, name), one in objects.items():
        if name.endswith("-collect"):
            kubernetes_validate.validate(one, "1.30", strict=True)
    text = objects["ConfigMap", "demo-wattshed-collect"]["data"]["collect.toml"]
    for folder in ("database", "agents"):
        if f"/etc/wattshed-{folder}" in text:
            text = text.replace(f"/etc/wattshed-{folder}", str(tmp_path))
    for name, secret in (("database", "postgresql://u:p@db/wattshed"), ("password", "hunter2")):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "collect.toml").write_text(text)
    found = read_settings(tmp_path / "collect.toml")
    (group,) = found.targets
    assert (group.dns, group.cluster, found.socket) == (("demo-wattshed.default.svc:9961",), "east", "")
    assert group.credentials.login == ("collector" if more else "")
    assert found.database.startswith("postgresql://" if more else "/var/lib/wattshed/")
    agents = tomllib.loads(objects["ConfigMap", "demo-wattshed"]["data"]["config.toml"])
    assert agents.get("history", {}).get("tcp_users", []) == (["collector"] if more else [])
    pod = objects["StatefulSet", "demo-wattshed-collect"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    claims = {one["metadata"]["name"] for one in objects["StatefulSet", "demo-wattshed-collect"]["spec"].get(
        "volumeClaimTemplates", [])}  # fmt: skip
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]} | claims
    assert claims == (set() if more else {"state"})
