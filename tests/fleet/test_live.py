"""The live fleet: inventory, ladder, PUE, bills, and servers that are well, dead, slow or wrong."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet.example_fleet import FLEET
from tests.fleet.query_server import server, vector
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.hourly import Hours, bill, read_hours
from wattshed.agent.fleet.boundary.pue import ConstantPue, HourlyPue, LoadPue
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.estimate.node_model import doubts, fit
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.ladder import Draw, climb
from wattshed.agent.fleet.live.rules import GPUS_RULE, POWER_RULE, Measured, ask, measure_one
from wattshed.agent.fleet.live.serve import FleetPublisher, fleet_facts
from wattshed.agent.fleet.live.simulate import SimulatedFleet, exposition
from wattshed.agent.fleet.live.site import extrapolate
from wattshed.agent.wire.query import Prometheus, ServerError
from wattshed.exporters.formats.prometheus import families


def host(stratum, name, **more):
    return {"__name__": POWER_RULE, "stratum": stratum, "instance": name, **more}


@pytest.fixture
def inventory(inventory_file):
    return read_inventory(inventory_file)


def measured(train, serve=(200.0, 210.0)):
    return Measured(
        {"train": {f"t{i}": p for i, p in enumerate(train)}, "serve": {f"s{i}": p for i, p in enumerate(serve)}}
    )


def test_from_a_server_to_the_grid(fleet, inventory_file):
    powers = [(host("train", f"t{i}"), 5000 + 10 * i) for i in range(20)] + [
        (host("serve", f"s{i}"), 240 + i) for i in range(10)
    ]
    with server({POWER_RULE: vector(*powers)}) as (url, seen):
        found = fleet("estimate", "--prometheus", url + "/prefix/", "--inventory", inventory_file, "--json").json
    assert seen[0][0] == "/prefix/api/v1/query"
    gpu = 100 * 5095 + 50 * 244.5
    assert found["schema"] == "wattshed.fleet/1"
    assert found["total"] == pytest.approx(gpu)
    assert found["method"] == "stratified"
    assert found["hosts"] == {"known": 150, "reporting": 30}
    node = 100 * 900 + 1.2 * 509_500 + 50 * 200 + 1.1 * 12_225
    by_name = {b["boundary"]: b for b in found["boundaries"]}
    assert [b["boundary"] for b in found["boundaries"]] == ["gpu", "node", "it", "facility", "grid"]
    assert by_name["node"]["mean_w"] == pytest.approx(node)
    assert by_name["it"]["mean_w"] == pytest.approx(node * 1.05)
    assert by_name["facility"]["mean_w"] == pytest.approx(node * 1.05 * 1.2)
    assert by_name["grid"]["mean_w"] == pytest.approx(node * 1.05 * 1.2 / 0.98)
    for b in found["boundaries"]:
        assert b["lower_w"] < b["mean_w"] < b["upper_w"]
    # The meters' shared gain of 2 % is in it, and a PUE of 1.1 to 1.3.
    assert by_name["gpu"]["upper_w"] - gpu >= 1.959 * 0.02 * gpu
    assert by_name["facility"]["upper_w"] - by_name["facility"]["mean_w"] > node * 1.05 * 0.1
    assert found["per_day"]["east"]["cost"] == pytest.approx(node * 1.05 * 1.2 * 24 / 1000 * 0.1)
    assert found["headroom_w"]["east"] == pytest.approx(20e6 - node * 1.05 * 1.2)


def test_labels_matches_and_lost_gpus(fleet, files):
    path = files(FLEET_toml=FLEET.replace('model = "L4"', 'model = "L4"\nmatch = "web-.*"'))
    powers = [
        (host("train", "t0"), 3500.0),
        (host("train", "t1"), 4000.0),
        (host("", "web-1"), 200.0),
        (host("", "web-2"), 210.0),
    ]
    powers += [(host("", "stranger"), 1.0), (host("train", "x", host="t2"), 4100.0), (host("train", "nan"), "NaN")]
    gpus = [({"instance": "t0"}, 7), ({"instance": "t1"}, 8)]
    with server({POWER_RULE: vector(*powers), GPUS_RULE: vector(*gpus)}) as (url, _):
        found = fleet("estimate", "--prometheus", url, "--inventory", path, "--json").json
    strata = {s["stratum"]: s for s in found["strata"]}
    assert strata["train"]["sampled"] == 3
    assert strata["train"]["mean"] == pytest.approx((4000 + 4000 + 4100) / 3)  # seven GPUs of eight scaled up
    assert strata["serve"]["sampled"] == 2
    said = " ".join(found["warnings"])
    assert "stranger" in said
    assert "fewer GPUs" in said


def test_a_simulated_node_is_no_part_of_the_fleet(inventory):
    """The rules leave it out; so does the estimate, should somebody's own rules keep the label."""
    powers = [(host("train", "t0"), 4000.0), (host("train", "s0", simulated="1"), 9000.0)]
    with server({POWER_RULE: vector(*powers)}) as (url, _):
        found = ask(Prometheus(url), inventory)
    assert found.powers == {"train": {"t0": 4000.0}}
    assert found.warnings == ("hosts that are simulated, left out: 1 (such as 's0')",)


def test_a_host_far_from_what_its_boards_draw_is_named(inventory):
    watts = {"t0": 4000.0, "t1": -5.0, "t2": 1e9, "t3": 20_000.0}
    with server({POWER_RULE: vector(*((host("train", name), w) for name, w in watts.items()))}) as (url, _):
        found = ask(Prometheus(url), inventory)
    assert found.powers == {"train": {"t0": 4000.0, "t3": 20_000.0}}
    left_out, large = found.warnings
    assert left_out == "hosts with a power below 0 W or above 20 kW a GPU, left out: 2 (such as 't1')"
    assert large.startswith("hosts that draw more than 3 times the design power of their boards")
    assert large.endswith(": 1 (such as 't3')")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ((503, b"unavailable"), "answered 503"),
        ((422, b'{"status":"error","error":"bad_data"}'), "bad_data"),
        ((200, b"<html>"), "does not speak"),
        ((200, b'{"status":"error","error":"boom"}'), "boom"),
        ((200, b'{"status":"success","data":{"resultType":"matrix","result":[]}}'), "no vector"),
        ((200, b"[]"), "does not speak"),
        ((200, vector()), "no series"),
    ],
)
def test_servers_that_are_wrong_measure_nothing(fleet, inventory_file, answer, what):
    with server({POWER_RULE: answer}) as (url, _):
        found = fleet("estimate", "--prometheus", url, "--inventory", inventory_file, "--json")
    assert found.code == 0
    said = " ".join(found.json["warnings"])
    assert what in said
    assert found.json["method"] == "prior"
    assert found.json["hosts"] == {"known": 150, "reporting": 0}
    assert found.json["upper"] > 2 * found.json["lower"]
    assert "data sheet" in said


def test_a_dead_and_a_slow_server(fleet, inventory_file):
    dead = fleet("estimate", "--prometheus", "http://127.0.0.1:9", "--inventory", inventory_file, "--json").json
    assert "does not answer" in dead["warnings"][0]

    def late():
        time.sleep(0.6)
        return vector()

    with server({POWER_RULE: late}) as (url, _):
        began = time.monotonic()
        words = ("estimate", "--prometheus", url, "--inventory", inventory_file, "--timeout", 0.2, "--json")
        slow = fleet(*words).json
        assert time.monotonic() - began < 5.0
    assert "does not answer" in slow["warnings"][0]


def test_passwords_are_sent_and_not_told():
    with server({"up": vector(({"a": "b"}, 3))}) as (url, seen):
        client = Prometheus(url.replace("http://", "http://me:secret@"))
        assert client.query("up")[0].value == 3.0
        assert seen[0][2] == "Basic bWU6c2VjcmV0"
        assert "secret" not in client.url
    with pytest.raises(ServerError) as error:
        client.query("up")
    assert "secret" not in str(error.value)
    with pytest.raises(InputError, match="takes a URL"):
        Prometheus("localhost:9090")


def test_one_host_says_there_is_no_sampling_interval(inventory):
    from dataclasses import replace

    alone = replace(inventory, strata=inventory.strata[:1])
    found = extrapolate(alone, Measured({"train": {"t0": 5000.0}}))
    assert found.estimate.total == pytest.approx(500_000)
    assert (found.estimate.lower, found.estimate.upper, found.estimate.se) == (None, None, None)
    assert all(p.lower_w is None and p.upper_w is None for p in found.boundaries)
    assert "one host reports: there is no sampling interval" in found.warnings
    itself = measure_one(alone, "t0", 5000.0, "train")
    assert extrapolate(alone, itself).boundaries == found.boundaries
    assert "in no stratum" in measure_one(alone, "t0", 5000.0).warnings[0]
    facts = fleet_facts(found, alone)
    assert ("gpu", "mean") in facts.power_w
    assert ("gpu", "lower") not in facts.power_w


def test_an_unmeasured_stratum_rests_on_the_data_sheet_and_says_so(inventory):
    found = extrapolate(inventory, measured([5000.0, 5100.0], ()))
    assert found.prior == ("serve",)
    assert found.estimate.method == "stratified+prior"
    assert found.estimate.total == pytest.approx(505_000 + 50 * 4 * 46)
    assert found.estimate.lower < 505_000 + 50 * 4 * 15.1
    assert "data sheet" in " ".join(found.warnings)


def test_an_unknown_model_is_wider_still(files):
    inventory = read_inventory(files(FLEET_toml=FLEET.replace('"L4"', '"Mystery 9000"')))
    found = extrapolate(inventory, measured([5000.0, 5000.0], ()))
    assert found.estimate.upper - found.estimate.lower > 50 * 4 * 1000
    assert "Mystery 9000" in " ".join(found.warnings)


def test_a_contradicted_inventory_gives_no_interval(inventory):
    found = extrapolate(inventory, measured([5000.0] * 120))
    assert found.estimate.lower is None
    assert all(p.upper_w is None for p in found.boundaries)
    assert "120 hosts report" in " ".join(found.warnings)
    assert found.estimate.total >= 120 * 5000  # those that report exist


def test_over_the_supply_limit(inventory):
    found = extrapolate(inventory, measured([200_000.0, 200_001.0]))
    assert found.headroom_w["east"] < 0
    assert "supply limit" in " ".join(found.warnings)


def test_a_fleet_of_which_every_host_reports_has_only_the_meters_error(inventory):
    found = extrapolate(inventory, measured([5000.0 + i for i in range(100)], [240.0 + i for i in range(50)]))
    assert found.estimate.sampling_se == 0.0
    gpu = found.boundaries[0]
    assert gpu.upper_w - gpu.mean_w == pytest.approx(1.959964 * 0.02 * gpu.mean_w, rel=1e-6)


def test_strata_with_one_node_model_share_its_error(inventory):
    from dataclasses import replace

    node = replace(inventory.strata[0].node, level_w=Range(900, 800, 1000))
    both = replace(inventory, strata=tuple(replace(s, node=node) for s in inventory.strata))
    nothing = [Draw(s.name, s.name, Range.exact(0.0), Range.exact(s.hosts)) for s in both.strata]
    found = climb(both, nothing, Range.exact(1.0)).fleet[1]
    assert found.mean_w == 150 * 900
    assert found.upper_w - found.mean_w == pytest.approx(150 * 100)  # not the root of the sum of squares


# PUE and hours


def test_pue_by_load_and_temperature():
    pue = LoadPue(capacity_w=10e6, u0=0.02, u1=0.03, u2=0.04, cop_at_20c=5.0, cop_per_c=0.1, fixed_w=1e5)
    assert pue.at(5e6) == pytest.approx(1 + 0.02 / 0.5 + 0.03 + 0.04 * 0.5 + 1 / 5 + 1e5 / 5e6)
    assert pue.at(5e6, 30.0) == pytest.approx(pue.at(5e6) - 1 / 5 + 1 / 4)
    assert pue.at(1e6) > pue.at(5e6)
    assert pue.cop(-100.0) == 15.0
    assert pue.cop(500.0) == 1.0
    with pytest.raises(InputError, match="above 0"):
        pue.at(0.0)
    assert ConstantPue(Range(1.2, 1.1, 1.3)).at(5.0) == 1.2
    assert HourlyPue(np.array([1.1, 1.3])).at(5.0) == pytest.approx(1.2)


def test_pue_models_in_an_inventory(files):
    old = "pue = { value = 1.2, low = 1.1, high = 1.3 }"
    by_load = read_inventory(files(FLEET_toml=FLEET.replace(old, "pue = { capacity_w = 2e6, outdoor_c = 30 }")))
    table = files(
        east_csv="hour,pue,price\n0,1.1,0.1\n1,1.3,0.2\n", FLEET_toml=FLEET.replace(old, 'hourly = "east.csv"')
    )
    by_hour = read_inventory(table[1])
    load = extrapolate(by_load, measured([5000.0, 5100.0]))
    hour = extrapolate(by_hour, measured([5000.0, 5100.0]))
    it = load.boundaries[2].mean_w
    assert load.boundaries[3].mean_w == pytest.approx(it * by_load.sites[0].pue.at(it))
    assert hour.boundaries[3].mean_w == pytest.approx(it * 1.2)
    assert hour.bills["east"].cost == pytest.approx(it / 1000 * (1.1 * 0.1 + 1.3 * 0.2))
    none = read_inventory(files(FLEET_toml=FLEET.replace(old, "")))
    assert "has no PUE" in " ".join(extrapolate(none, measured([1.0, 2.0])).warnings)


def test_weather_by_the_hour(files):
    old = "pue = { value = 1.2, low = 1.1, high = 1.3 }"
    new = 'pue = { capacity_w = 2e6 }\nhourly = "east.csv"'
    table = files(east_csv="hour,outdoor_c,clean_w\n0,0,1e9\n1,30,0\n", FLEET_toml=FLEET.replace(old, new))
    inventory = read_inventory(table[1])
    found = extrapolate(inventory, measured([5000.0, 5100.0]))
    it, model = found.boundaries[2].mean_w, LoadPue(capacity_w=2e6)
    cold, warm = it * model.at(it, 0.0), it * model.at(it, 30.0)
    assert found.boundaries[3].mean_w == pytest.approx((cold + warm) / 2)
    assert found.bills["east"].energy_kwh == pytest.approx((cold + warm) / 1000)
    assert found.bills["east"].carbon_free_share == pytest.approx(cold / (cold + warm))


def test_hours_from_an_interface(files):
    class Table(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Authorization"))
            body = b"hour,carbon_g_per_kwh\n0,300\n1,200\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    asked = []
    httpd = HTTPServer(("127.0.0.1", 0), Table)
    thread = threading.Thread(target=httpd.handle_request)
    thread.start()
    url = f"http://ada:p%40ss@127.0.0.1:{httpd.server_port}/hours.csv"
    path = files(FLEET_toml=FLEET.replace("grid_loss", f'hourly = "{url}"\ngrid_loss', 1))
    assert read_inventory(path).sites[0].hours.carbon_g_per_kwh.tolist() == [300.0, 200.0]
    thread.join()
    httpd.server_close()
    assert asked == ["Basic YWRhOnBAc3M="]  # ada:p@ss
    with pytest.raises(InputError, match="cannot be read") as error:
        read_inventory(path)
    assert "p%40ss" not in str(error.value)


def test_carbon_free_share_is_hourly():
    hours = Hours(clean_w=np.array([0.0, 200.0]), carbon_g_per_kwh=np.array([500.0, 10.0]), price=np.array([0.1, 0.3]))
    found = bill(np.array([100.0, 100.0]), hours)
    assert found.carbon_free_share == 0.5  # by the day there would be enough for all of it
    assert found.energy_kwh == pytest.approx(0.2)
    assert found.cost == pytest.approx(0.04)
    assert found.carbon_kg == pytest.approx(0.051)
    assert bill(1000.0, Hours()).energy_kwh == 24.0
    assert bill(1000.0, Hours()).cost is None
    assert bill(np.array([1000.0, 3000.0]), Hours()).energy_kwh == 4.0


def test_hour_tables(files):
    found = read_hours(files(h_csv="hour,price,carbon_g_per_kwh\n0,1,2\n1,3,4\n"))
    assert found.price.tolist() == [1.0, 3.0]
    assert found.clean_w is None
    assert read_hours(files(h_csv="hour,price\n0,-0.05\n")).price.tolist() == [-0.05]  # as markets have them
    for text, where in (
        ("hour,price\n1,2\n", "h.csv:2:1"),
        ("hour,carbon_g_per_kwh\n0,-2\n", "h.csv:2:2"),
        ("hour,clean_w\n0,-2\n", "h.csv:2:2"),
        ("hour,price,pue\n0,,1.1\n", "h.csv:2:2: price: is empty"),
        ("hour,price\n0,nan\n", "h.csv:2:2"),
        ("hour,pue\n0,0.9\n", "h.csv:2:2"),
        ("price\n1\n", "h.csv:1"),
        ("hour\n", "h.csv:2"),
    ):
        with pytest.raises(InputError, match=where):
            read_hours(files(h_csv=text))


@given(
    st.lists(
        st.tuples(st.floats(-9, 9), st.floats(0, 900), st.floats(1, 3), st.floats(-60, 50)), min_size=1, max_size=9
    )
)
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hours_read_at_once_are_those_read_cell_by_cell(files, hours):
    head = "hour,price,carbon_g_per_kwh,pue,outdoor_c"
    lines = [f"{h},{price!r},{carbon!r},{pue!r},{c!r}" for h, (price, carbon, pue, c) in enumerate(hours)]
    at_once = read_hours(files(a_csv="\n".join((head, *lines, ""))))
    one_by_one = read_hours(files(b_csv="\n".join((head, *lines, "")).replace(",", ";")))
    for name in head.split(",")[1:]:
        assert getattr(at_once, name).tolist() == getattr(one_by_one, name).tolist()
    assert at_once.clean_w is None


# Inventory


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hosts = 100", "hosts = -1", "18:1: stratum.hosts: must be at least 0, not -1"),
        ("hosts = 50", "hosts = 5.5", "26:1: stratum.hosts: must be a whole number, not 5.5"),
        ("hosts = 50\n", "", "22:1: stratum: needs hosts, a whole number"),
        (
            'site = "east"\nmodel = "L4"',
            'site = "west"\nmodel = "L4"',
            "24:1: stratum.site: there is no [[site]] named 'west'; did you mean east?",
        ),
        ('name = "serve"', 'name = "train"', "23:1: stratum.name: 'train' appears twice"),
        (
            "value = 1.2, low = 1.1",
            "value = 1.2, low = 0.9",
            "7:1: site.pue: cannot be below 1: the facility draws at least what its IT draws",
        ),
        ("low = 1.1, high = 1.3", "low = 1.25, high = 1.3", "7:22: site.pue.low: must be from 0 to 1.2, not 1.25"),
        ("grid_loss = 0.02", "grid_loss = 1.5", "9:1: site.grid_loss: must be from 0 to 0.99, not 1.5"),
        ("grid_loss = 0.02", 'grid_loss = "2%"', "9:1: site.grid_loss: must be a number, not '2%'"),
        ("grid_loss = 0.02", "gridloss = 0.02", "9:1: site.gridloss: unknown key; did you mean site.grid_loss?"),
        ("supply_limit_w = 20e6", "supply_limit_w = -1", "10:1: site.supply_limit_w: must be at least 0, not -1"),
        (
            "meter_gain_sigma = 0.02",
            "meter_gain_sigma = nan",
            "3:1: fleet.meter_gain_sigma: must be a finite number, not nan",
        ),
        (
            'model = "L4"',
            'model = "L4"\nmatch = "("',
            "26:1: stratum.match: is not a valid regular expression (missing ), unterminated subpattern at position 0)",
        ),
        ("[[stratum]]", "[stratum]", "22:10: is not TOML: Cannot overwrite a value"),
        ("[fleet]", "[flet]", "1:2: flet: unknown key; did you mean fleet?"),
        ("[fleet]", "[fleet", "1:7: is not TOML: Expected ']' at the end of a table declaration"),
    ],
)
def test_bad_inventories_are_one_line_with_their_place(fleet, files, old, new, said):
    assert old in FLEET
    path = files(FLEET_toml=FLEET.replace(old, new, 1))
    found = fleet("estimate", "--prometheus", "http://127.0.0.1:9", "--inventory", path)
    assert found.code == 2
    assert found.err == f"wattshed: {path}:{said}\n"


# The node model


def node_recording(seconds=600, fixed=900.0, slope=1.25, noise=20.0):
    random = np.random.default_rng(0)
    t = np.arange(0, seconds * 10) * 100_000
    load = 300 + 250 * (np.sin(np.arange(seconds * 10) / 300) > 0)
    gpus = [(t, load + random.normal(0, 5, t.size)) for _ in range(8)]
    bmc_t = np.arange(0, seconds, 2) * 1_000_000
    total = fixed + slope * sum(p for _, p in gpus)[::20]
    return gpus, (bmc_t, np.round((total + random.normal(0, noise, bmc_t.size)) / 75) * 75)


def test_node_model_is_found_again_with_its_error():
    gpus, bmc = node_recording()
    model = fit(gpus, bmc)
    assert model.slope.low <= 1.25 <= model.slope.high
    assert model.fixed_w == pytest.approx(900, abs=60)
    assert model.slope.high - model.slope.low < 0.2
    gpu_w = sum(p.mean() for _, p in gpus)
    assert model.gpu_share == pytest.approx(gpu_w / (900 + 1.25 * gpu_w), rel=0.02)


def test_what_makes_a_node_model_doubtful():
    gpus, bmc = node_recording()
    assert doubts(fit(gpus, bmc), bmc, average_s=10.0) == ()
    slow = bmc[0][::4], bmc[1][::4]
    (said,) = doubts(fit(gpus, slow), slow, average_s=10.0)
    assert said.startswith("the node's meter is read every 8 s")
    assert said.endswith("give --average 32 or more")
    other = bmc[0], bmc[1] / 1.5
    assert "of different nodes, times or units" in doubts(fit(gpus, other), other, average_s=10.0)[0]
    with pytest.raises(InputError, match="does not change although its GPUs do"):
        fit(gpus, (bmc[0], np.full(bmc[0].size, 3000.0)))


def test_node_model_needs_load_and_time():
    flat = [(np.arange(1000) * 100_000, np.full(1000, 300.0))]
    with pytest.raises(InputError, match="hardly changes"):
        fit(flat, (np.arange(100) * 1_000_000, np.full(100, 1000.0)))
    gpus, bmc = node_recording(seconds=40)
    with pytest.raises(InputError, match="too few to fit"):
        fit(gpus, bmc)


def test_real_nodes(fleet, traces):
    # GPUs are 61.6 and 63.6 % of the energy of the two nodes of this run.
    folder = traces / "h100-2node"
    for node, share in ((0, 0.616), (1, 0.636)):
        words = ("--gpu", folder / f"t13_node{node}_telemetry.csv.gz", "--node", folder / f"t13_node{node}_bmc.csv")
        found = fleet("node", *words, "--json").json
        assert found["gpu_share"] == pytest.approx(share, abs=0.001)
        assert found["slope"]["low"] < 1.25 < found["slope"]["high"]
        assert "node = {" in fleet("node", *words).out


# Publishing


def test_published_metrics(inventory):
    now = [100.0]
    state = {"measured": measured([5000.0, 5100.0, 4900.0])}
    publisher = FleetPublisher(
        inventory, lambda: extrapolate(inventory, state["measured"]), clock=lambda: now[0], wall=lambda: 1.7e9
    )
    assert publisher.snapshot.fleet is None
    publisher.update()
    gpu = publisher.snapshot.fleet.power_w["gpu", "mean"]
    assert gpu == pytest.approx(500_000 + 50 * 205)
    assert publisher.snapshot.fleet.energy_j == {}
    assert publisher.snapshot.faults == {}
    now[0] += 10.0
    publisher.update()
    assert publisher.snapshot.fleet.energy_j["gpu"] == pytest.approx(10 * gpu)
    assert publisher.snapshot.fleet.peak_w["gpu", "1m"] == pytest.approx(gpu)
    assert ("gpu", "15m") not in publisher.snapshot.fleet.peak_w
    # A server that dies leaves the counter where it is, and no host reporting.
    state["measured"] = Measured({}, ("dead",))
    now[0] += 10.0
    publisher.update()
    facts = publisher.snapshot.fleet
    assert facts.energy_j["gpu"] == pytest.approx(10 * gpu)
    assert (facts.hosts_known, facts.hosts_reporting) == (150, 0)
    assert publisher.snapshot.faults == {"prometheus": 1}
    names = {f.name for f in families(publisher.snapshot)}
    assert any(n.startswith("wattshed_fleet_power_watts") for n in names)


def test_peaks_over_a_quarter_of_an_hour(inventory):
    now = [0.0]
    state = {}
    publisher = FleetPublisher(
        inventory, lambda: extrapolate(inventory, state["m"]), clock=lambda: now[0], wall=lambda: 0.0
    )
    for step in range(120):
        state["m"] = measured([1000.0 if step % 2 else 3000.0] * 2, (0.0, 0.0))
        publisher.update()
        now[0] += 15.0
    peaks = publisher.snapshot.fleet.peak_w
    assert peaks["gpu", "1m"] == pytest.approx(300_000)
    assert peaks["gpu", "15m"] == pytest.approx(200_000, rel=0.02)


def test_serve_publishes_and_stops(fleet, inventory_file):
    powers = [(host("train", f"t{i}"), 5000 + i) for i in range(4)] + [
        (host("serve", f"s{i}"), 240 + i) for i in range(3)
    ]
    with server({POWER_RULE: vector(*powers)}) as (url, seen):
        words = ("--prometheus", url, "--inventory", inventory_file, "--listen", "127.0.0.1:0")
        found = fleet("serve", *words, "--interval", 0.1, "--for", 0.5)
    assert found.code == 0
    assert "fleet 'example' at http://127.0.0.1:" in found.err
    assert found.out == ""
    assert len(seen) >= 2
    taken = fleet("serve", "--prometheus", url, "--inventory", inventory_file, "--listen", "no:such:place")
    assert taken.code == 2


# The simulator


def test_simulated_fleet(inventory):
    fleet_of = SimulatedFleet(inventory, share=0.5)
    series = list(fleet_of.series(100.0))
    assert len(series) == 2 * 75 + 150
    assert sum(p.sum() for p in fleet_of.powers(100.0).values()) == fleet_of.truth_w(100.0)
    text = exposition(series[:2], 1000).decode().splitlines()
    assert text[0].startswith(POWER_RULE + '{instance="train-')
    assert text[0].endswith(" 1000")
    with pytest.raises(InputError, match="between 0 and 1"):
        SimulatedFleet(inventory, share=2.0)


def test_simulated_estimates_cover_the_truth(inventory):
    hits = 0
    for seed in range(80):
        of = SimulatedFleet(inventory, share=0.3, seed=seed)
        powers = {}
        for name, labels, value in of.series(0.0):
            if name == POWER_RULE:
                powers.setdefault(labels["stratum"], {})[labels["instance"]] = value
        found = extrapolate(inventory, Measured(powers)).estimate
        half = 2.0 * found.sampling_se
        hits += abs(found.total - of.truth_w(0.0)) <= half
    assert hits >= 72


def test_simulate_tells_of_a_dead_server(fleet, inventory_file):
    found = fleet("simulate", "--inventory", inventory_file, "--to", "http://127.0.0.1:9")
    assert found.code == 1
    assert "does not answer" in found.err
    assert fleet("simulate", "--inventory", inventory_file, "--to", "file:///etc").code == 2


def test_a_server_is_estimated_by_strata(fleet, inventory_file):
    words = ("--prometheus", "http://127.0.0.1:9", "--inventory", inventory_file, "--method", "ratio")
    assert "needs --sample" in fleet("estimate", *words).err


def test_ask_counts_doubled_hosts(inventory):
    powers = [(host("train", "t0", job="a"), 5000.0), (host("train", "t0", job="b"), 5100.0)]
    with server({POWER_RULE: vector(*powers)}) as (url, _):
        found = ask(Prometheus(url), inventory)
    assert "several series" in found.warnings[0]
