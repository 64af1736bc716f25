"""A recording with meters of the host replays to the books of the agent that made it, and says what they said."""

import csv
import io
import json
from decimal import Decimal

import pytest

from tests.accounts.test_node import told
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.traces.native.recorder import Recorder


@pytest.fixture
def recording(tmp_path):
    recorder, accounts = Recorder(tmp_path / "rec", "h"), Accounts()
    for s in range(120):
        one = told(s, 700_000 if s % 3 == 0 else None, gpu_mw=300_000 + s)
        recorder.append(one)
        accounts.add(one)
    recorder.close()
    accounts.finish()
    return tmp_path / "rec", accounts.beside["h"]


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_it_has_the_same_integers_and_no_total_has_them(wattshed, recording, tmp_path, form):
    path, books = recording
    if form == "parquet":
        code, _, err = wattshed("convert", str(path), str(tmp_path / "x.parquet"))
        assert code == 0, err
        path = tmp_path / "x.parquet"
    code, out, err = wattshed("replay", str(path), "--format", "json")
    assert code == 0, err
    answer = json.loads(out, parse_float=Decimal)
    meters = {f"{one['source']}/{one['domain']}": one for one in answer["host_energy"]}
    assert {name: one["energy_j"] for name, one in meters.items()} == {
        name: Decimal(book.energy_hnj) / 2_000_000_000 for name, book in books.meters.items()
    }
    (node,) = answer["nodes"]
    assert sum(node["parts_j"].values()) == node["energy_j"] + node["debt_j"]
    assert node["parts_j"]["cpu"] == Decimal(books.node.cpu_hnj) / 2_000_000_000
    assert answer["total_j"] == sum(gpu["energy_j"] for gpu in answer["gpus"])


def test_people_see_meters_and_the_node(wattshed, recording):
    code, out, _ = wattshed("replay", str(recording[0]))
    assert code == 0
    assert "Meters of the hosts" in out
    assert "rapl/package-0" in out
    assert "Nodes" in out
    assert "not added up" in out


def test_a_csv_has_them_as_kinds_of_their_own(wattshed, recording):
    """The same numbers as the document's: each meter by itself, and parts that sum to the node and its debt."""
    path, books = recording
    _, out, _ = wattshed("replay", str(path), "--format", "json")
    answer = json.loads(out, parse_float=Decimal)
    code, out, err = wattshed("replay", str(path), "--format", "csv")
    assert code == 0, err
    rows = list(csv.DictReader(io.StringIO(out)))
    energies = {(row["kind"], row["name"]): Decimal(row["energy_j"]) for row in rows}
    assert {name: j for (kind, name), j in energies.items() if kind == "host_meter"} == {
        f"{one['source']}/{one['domain']}": one["energy_j"] for one in answer["host_energy"]
    }
    parts = {name: j for (kind, name), j in energies.items() if kind == "node_part"}
    (node,) = answer["nodes"]
    assert parts == node["parts_j"]
    assert sum(parts.values()) == energies["node", books.node.meter] + energies["node_debt", ""]
    assert rows[-1]["kind"] == "total"
    assert energies["total", ""] == sum(j for (kind, _), j in energies.items() if kind == "gpu")
    (package,) = [row for row in rows if row["name"] == "rapl/package-0"]
    assert (package["boundary"], package["part_of"], package["method"]) == ("cpu", "", "counter")
