"""docs/fleet.md cannot rot: its tables are the scenarios', its examples run, its commands exist."""

import re

import pytest

from tests.fleet.example_fleet import FLEET
from tests.fleet.simulated_states import CASES
from tests.fleet.write_docs import PAGE, generated
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import GPUS_RULE, POWER_RULE, STATE_RULE

TEXT = PAGE.read_text(encoding="utf-8")


def indented(after):
    """The first indented block after a heading."""
    lines = TEXT[TEXT.index(after) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    "))
    block = []
    for line in lines[start:]:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    return "\n".join(block) + "\n"


def test_tables_are_generated():
    assert generated(TEXT) == TEXT


def test_every_simulated_case_has_its_coverage():
    block = TEXT[TEXT.index("<!-- states:") : TEXT.index("<!-- end of states -->")]
    assert re.findall(r"^\| (.*?) \| \d+% \| [01]\.\d{3} \|", block, re.MULTILINE) == [case.name for case in CASES]


def test_the_example_of_states_is_one(files):
    text = indented("## Hosts that do not answer")
    secret = files(bmc_password="x")
    secret.chmod(0o600)
    found = read_inventory(files(FLEET_toml=FLEET + text))
    assert found.states.command == ("scontrol", "show", "nodes", "--json")
    assert found.states.bmcs.power.endswith("/Power")


def test_the_inventory_example_is_one(files):
    found = read_inventory(files(FLEET_toml=indented("## FLEET.toml")))
    assert found.strata[0].name == "h100-train"
    assert found.sites[0].supply_limit_w == 20e6


def test_the_scenario_example_is_one(fleet, files):
    found = fleet("scenario", files(own_toml=indented("## Scenarios")), "--json").json
    assert found["claims"][0]["verdict"] == "supported"


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^    wattshed fleet (\w+)", TEXT, re.MULTILINE))))
def test_commands_exist(fleet, command):
    found = fleet(command, "--help")
    assert found.code == 0
    assert f"wattshed fleet {command}" in found.out


def test_the_rules_are_those_that_are_read():
    assert f"`{POWER_RULE}`" in TEXT
    assert f"`{GPUS_RULE}`" in TEXT
    assert f"`{STATE_RULE}`" in TEXT
