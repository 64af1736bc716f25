"""A simulated fleet of 10,000 hosts in a real Prometheus and a real VictoriaMetrics, estimated in seconds."""

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import bcrypt
import pytest

from tests.fleet.example_fleet import FLEET
from tests.ports import free_port
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.simulate import SimulatedFleet, send

BIG = FLEET.replace("hosts = 100\n", "hosts = 8000\n").replace("hosts = 50\n", "hosts = 2000\n")


def peer(*names):
    """Find a real server's program; a missing one skips, or fails where CI promised it."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        reason = f"needs {' or '.join(names)}"
        pytest.fail(reason) if os.environ.get("CI_REAL") == "1" else pytest.skip(reason)
    return found


@pytest.fixture
def start():
    """Start a server on a free port and wait until it answers; stopped after the test."""
    running = []

    def run(port, health, *command):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{health}", timeout=1) as answer:
                    if answer.status == 200:
                        return f"http://127.0.0.1:{port}"
            except urllib.error.HTTPError as error:
                if error.code == 401:
                    return f"http://127.0.0.1:{port}"
                time.sleep(0.1)
            except OSError:
                time.sleep(0.1)
        pytest.fail(f"{command[0]} does not answer")

    yield run
    for process in running:
        process.terminate()
        process.wait(20)


def estimated(fleet, url, path, truth_w):
    """Ask until the samples are visible, then time one estimate of the whole fleet."""
    words = ("estimate", "--prometheus", url, "--inventory", path, "--json")
    deadline = time.monotonic() + 60
    while fleet(*words).json["hosts"]["reporting"] < 3000 and time.monotonic() < deadline:
        time.sleep(0.5)
    began = time.monotonic()
    found = fleet(*words).json
    took = time.monotonic() - began
    assert found["hosts"] == {"known": 10_000, "reporting": 3000}
    assert found["lower"] < truth_w < found["upper"]
    assert abs(found["total"] - truth_w) < 4 * found["sampling_se"]
    assert took < 60.0  # one question for the fleet; one a host would take minutes


@pytest.mark.real
def test_prometheus_by_remote_write(fleet, files, start, tmp_path):
    program, port = peer("prometheus"), free_port()
    path, _ = files(FLEET_toml=BIG, prometheus_yml="global: {scrape_interval: 15s}\n")
    url = start(
        port,
        "/-/ready",
        program,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
    )
    of, now = SimulatedFleet(read_inventory(path), share=0.3), time.time()
    assert send(url, "remote-write", of.series(now), int(now * 1000)) == 2 * 3000 + 10_000
    estimated(fleet, url, path, of.truth_w(now))


@pytest.mark.real
def test_a_password_of_prometheus_itself(fleet, inventory_file, files, start, tmp_path):
    """Its own login takes what is written in and asked for with the same URL, percent-encoded."""
    program, port = peer("prometheus"), free_port()
    hashed = bcrypt.hashpw(b"p@ss/w:d", bcrypt.gensalt(4)).decode()
    files(web_yml=f"basic_auth_users: {{ada: {hashed}}}\n", prometheus_yml="global: {scrape_interval: 15s}\n")
    url = start(
        port,
        "/-/ready",
        program,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--web.config.file={tmp_path / 'web.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
    )
    own = url.replace("//", "//ada:p%40ss%2Fw%3Ad@")
    words = ("--inventory", inventory_file, "--json")
    sent = fleet("simulate", "--inventory", inventory_file, "--to", own, "--via", "remote-write")
    assert sent.code == 0, sent.err
    deadline = time.monotonic() + 30
    while (found := fleet("estimate", "--prometheus", own, *words).json)["hosts"]["reporting"] < 150:
        assert time.monotonic() < deadline, found["warnings"]
        time.sleep(0.2)
    refused = fleet("estimate", "--prometheus", url, *words).json
    assert "answered 401 (Unauthorized)" in refused["warnings"][0]


@pytest.mark.real
def test_victoriametrics_by_import(fleet, files, start, tmp_path):
    program, port = peer("victoria-metrics", "victoria-metrics-prod"), free_port()
    path = files(FLEET_toml=BIG)
    url = start(
        port,
        "/health",
        program,
        f"-storageDataPath={tmp_path / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=1ms",
    )
    of, now = SimulatedFleet(read_inventory(path), share=0.3), time.time()
    assert send(url, "import", of.series(now), int(now * 1000)) == 2 * 3000 + 10_000
    urllib.request.urlopen(f"{url}/internal/force_flush", timeout=5).close()
    estimated(fleet, url, path, of.truth_w(now))
