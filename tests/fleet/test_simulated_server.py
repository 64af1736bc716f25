"""What ``fleet simulate`` sends: all of a fleet's series, to the address and in the form that was asked for."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from tests.fleet.example_fleet import FLEET
from tests.fleet.query_server import server, vector
from tests.wire.decoding import decode, unpacked
from tests.wire.servers import running
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import GPUS_RULE, POWER_RULE, STATE_RULE
from wattshed.agent.fleet.live.simulate import HOSTS_PER_JOB, MOST_SERIES_A_REQUEST, SimulatedFleet, send

LARGE = FLEET.replace("hosts = 100", "hosts = 6000")


@contextmanager
def receiver(status=204):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            taken.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    taken = []
    with running(HTTPServer(("127.0.0.1", 0), Handler)) as httpd:
        yield f"http://127.0.0.1:{httpd.server_port}", taken


def lines_of(body):
    """Exposition text as {(name, labels in order): (value, ms)}, read without the product."""
    found = {}
    for line in body.decode().splitlines():
        series, value, at = line.rsplit(" ", 2)
        name, _, rest = series.partition("{")
        labels = tuple((k, json.loads(v)) for k, v in (pair.split("=", 1) for pair in rest[:-1].split(",")))
        found[name, labels] = float(value), int(at)
    return found


def messages_of(body):
    return {
        (labels.pop("__name__"), tuple(labels.items())): (value, at)
        for labels, ((at, value),) in decode(unpacked(body))
    }


@pytest.mark.parametrize(
    ("via", "path", "content_type", "read"),
    [
        ("import", "/api/v1/import/prometheus", "text/plain", lines_of),
        ("remote-write", "/api/v1/write", "application/x-protobuf", messages_of),
    ],
)
def test_all_series_arrive_in_requests_of_bounded_size(files, via, path, content_type, read):
    of = SimulatedFleet(read_inventory(files(FLEET_toml=LARGE)), seed=3)
    with receiver() as (url, taken):
        sent = send(url + "/prefix/", via, of.series(100.0), 100_000)
    assert sent == 3 * 6050
    sizes = [len(read(body)) for _, _, body in taken]
    assert sizes == [MOST_SERIES_A_REQUEST] * 3 + [sent - 3 * MOST_SERIES_A_REQUEST]
    assert {p for p, _, _ in taken} == {"/prefix" + path}
    assert {headers["Content-Type"] for _, headers, _ in taken} == {content_type}
    got = {}
    for _, _, body in taken:
        got.update(read(body))
    wanted = {(name, tuple(labels.items())): (value, 100_000) for name, labels, value in of.series(100.0)}
    assert got == wanted


def test_what_is_printed_is_the_truth_of_what_was_sent(fleet, inventory_file):
    with receiver() as (url, taken):
        words = ("simulate", "--inventory", inventory_file, "--to", url, "--share", 0.5, "--seed", 7)
        found = fleet(*words, "--interval", 0.1, "--for", 0.35)
    assert found.code == 0
    told = [json.loads(line) for line in found.out.splitlines()]
    assert len(told) == len(taken) >= 2
    of = SimulatedFleet(read_inventory(inventory_file), seed=7, share=0.5)
    for line, (_, _, body) in zip(told, taken, strict=True):
        got = lines_of(body)
        assert line["samples"] == len(got) == 2 * 75 + 150
        assert {at for _, at in got.values()} == {int(line["time_s"] * 1000)} or len(got) == 300
        assert line["truth_w"] == pytest.approx(of.truth_w(line["time_s"]), rel=1e-4)
    assert told[1]["time_s"] - told[0]["time_s"] >= 0.1


@pytest.mark.parametrize("status", [400, 401, 500, 503])
def test_a_server_that_does_not_take_it_is_told(fleet, inventory_file, status):
    with receiver(status) as (url, taken):
        found = fleet("simulate", "--inventory", inventory_file, "--to", url)
    assert (found.code, found.out, len(taken)) == (1, "", 1)
    assert str(status) in found.err
    assert (
        "--to takes a URL such as http://localhost:8428"
        in fleet("simulate", "--inventory", inventory_file, "--to", "localhost:1").err
    )


def test_hosts_of_a_job_swing_together_and_differ_lastingly(inventory_file):
    inventory = read_inventory(inventory_file)
    of = SimulatedFleet(inventory, seed=5)
    times = np.arange(0.0, 600.0, 10.0)  # one period
    for s, typical in zip(inventory.strata, (8 * 430.0, 4 * 46.0), strict=True):
        power = np.array([of.powers(t)[s.name] for t in times])
        assert power.shape == (times.size, s.hosts)
        lasting = power.mean(axis=0)
        swing = power / lasting
        assert swing.max() == pytest.approx(1.2, abs=0.005)
        assert swing.min() == pytest.approx(0.8, abs=0.005)
        for first in range(0, s.hosts, HOSTS_PER_JOB):
            job = swing[:, first : first + HOSTS_PER_JOB]
            np.testing.assert_allclose(job, np.broadcast_to(job[:, :1], job.shape), rtol=1e-9)
        assert not np.allclose(swing[:, 0], swing[:, HOSTS_PER_JOB], rtol=1e-3)
        assert lasting.std() / lasting.mean() == pytest.approx(0.15, rel=0.25)
        assert lasting.mean() / typical == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_those_that_report_are_a_share_of_each_stratum(inventory_file, share):
    inventory = read_inventory(inventory_file)
    of = SimulatedFleet(inventory, seed=2, share=share)
    found = list(of.series(50.0))
    powers = of.powers(50.0)
    for s in inventory.strata:
        mine = [(labels["instance"], value) for name, labels, value in found
                if name == POWER_RULE and labels["stratum"] == s.name]  # fmt: skip
        assert len(mine) == round(share * s.hosts)
        assert [float(powers[s.name][int(name.split("-")[1].split(":")[0])]) for name, _ in mine] == [
            v for _, v in mine
        ]
        gpus = [value for name, labels, value in found if name == GPUS_RULE and labels["stratum"] == s.name]
        assert gpus == [s.gpus_per_host] * len(mine)
    assert (share in {0.0, 1.0}) or {labels["instance"] for name, labels, _ in found if name == POWER_RULE} != {
        labels["instance"]
        for name, labels, _ in SimulatedFleet(inventory, seed=3, share=share).series(50.0)
        if name == POWER_RULE
    }


def test_hosts_that_are_off_are_known_to_be(fleet, files):
    """Half of those that are on report: with states the estimate holds the truth, without them it counts the others."""
    inventory_file = files(FLEET_toml=FLEET.replace("hosts = 100", "hosts = 400").replace("hosts = 50", "hosts = 200"))
    of = SimulatedFleet(read_inventory(inventory_file), seed=4, share=0.5, idle=0.2, off=0.4)
    found = list(of.series(50.0))
    states = [labels["state"] for name, labels, _ in found if name == STATE_RULE]
    assert {state: states.count(state) for state in sorted(set(states))} == {"busy": 240, "idle": 120, "off": 240}
    powers = of.powers(50.0)
    off = {labels["instance"] for name, labels, _ in found if labels.get("state") == "off"}
    assert sum(float((powers[s] == 0.0).sum()) for s in powers) == len(off)
    assert not off & {labels["instance"] for name, labels, _ in found if name == POWER_RULE}

    def estimated(*rules):
        answers = {rule: vector(*((labels, v) for name, labels, v in found if name == rule)) for rule in rules}
        with server(answers) as (url, _):
            words = ("estimate", "--prometheus", url, "--inventory", inventory_file, "--json")
            return next(b for b in fleet(*words).json["boundaries"] if b["boundary"] == "gpu")

    known, blind = estimated(POWER_RULE, GPUS_RULE, STATE_RULE), estimated(POWER_RULE, GPUS_RULE)
    assert known["lower_w"] < of.truth_w(50.0) < known["upper_w"] < blind["lower_w"]


@pytest.mark.parametrize(
    ("more", "said"),
    [({"idle": 1.5}, "--idle is a fraction"), ({"idle": 0.6, "off": 0.6}, "--idle and --off are more than all hosts")],
)
def test_shares_that_cannot_be(inventory_file, more, said):
    with pytest.raises(InputError, match=said):
        SimulatedFleet(read_inventory(inventory_file), **more)
