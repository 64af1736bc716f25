"""What `wattshed check` says of the host's own meters."""

import io
from dataclasses import replace

import pytest

from tests.host import trees
from wattshed.agent.clock import RealClock
from wattshed.agent.commands.check import print_tables
from wattshed.agent.config.node_settings import HostMeterSettings, NodeSettings
from wattshed.agent.daemon.host_check import host_report
from wattshed.agent.printing.tables import Printer


def lay(folder, tree):
    for path, text in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{text}\n")
    return NodeSettings(sys_root=str(folder), drop_dir=str(folder / "meters"))


def told(tmp_path, tree, **changes):
    return host_report(replace(lay(tmp_path, tree), **changes), RealClock(), tmp_path)


def test_every_meter_is_told_with_its_boundary_and_every_no_with_its_remedy(tmp_path):
    known = {"rapl/package-0": HostMeterSettings(gain=1.01, sigma=0.02)}
    answer = told(tmp_path, trees.SERVER, meter=known, node_meter="rapl/package-1")
    meters = {f"{meter['source']}/{meter['domain']}": meter for meter in answer["meters"]}
    assert meters.keys() == {"rapl/package-0", "rapl/package-1", "rapl/dram-0", "rapl/dram-1"}
    package = meters["rapl/package-0"]
    assert (package["gain"], package["sigma"], package["flags"]) == (pytest.approx(1.01), 0.02, [])
    assert meters["rapl/dram-0"]["boundary"] == "memory"
    assert meters["rapl/package-1"]["flags"] == ["sigma-assumed", "node-meter"]
    assert [(one["name"], bool(one["remedy"])) for one in answer["not_read"]] == [("node", True)]


def test_a_host_without_meters_is_told_so(tmp_path):
    answer = told(tmp_path, {})
    assert answer["meters"] == []
    assert [one["name"] for one in answer["not_read"]] == ["processors", "node"]
    assert told(tmp_path, {}, meters="off")["not_read"][0]["name"] == "all"


@pytest.mark.parametrize("width", [60, 100, 1_000])
def test_the_table_holds_everything_at_every_width(tmp_path, width):
    out = io.StringIO()
    tree = {
        "gpus": [], "jobs": {}, "can_measure": False, "reason": "no driver",
        "kernels": {"form": "off", "cpu": "", "reason": "as asked", "passed_over": []},
        "host_meters": told(tmp_path, trees.SUPERCHIP),
    }  # fmt: skip
    print_tables(tree, Printer(out, width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert text.count("grace/cpu-0") == 2, "in the table, and among those that may alias"
    assert "udevadm trigger -s hwmon" in text
