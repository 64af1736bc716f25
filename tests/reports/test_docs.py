"""docs/report.md shows what the command prints, and documents every key that it writes."""

import json
import re
from pathlib import Path

import pytest

from tests.reports import example
from wattshed.agent.__main__ import main

PAGE = Path(__file__).parents[2] / "docs/report.md"


@pytest.fixture
def here(tmp_path, monkeypatch):
    example.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_examples_print_what_they_show(here, capsys):
    examples = re.findall(r"```console\n\$ wattshed (.*?)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for command, shown in examples:
        assert main(command.split()) == 0
        assert capsys.readouterr().out == shown


def test_every_key_is_documented(here, capsys):
    words = "report --by user --store history.db --price prices.csv --carbon 1 --pue 1.1 --gpu-hour H100=1 --json"
    assert main([*words.split(), "--idle", "spread"]) == 0
    document = json.loads(capsys.readouterr().out)
    named = set(re.findall(r"`\.?(?:rows\[\]\.|tariffs\.)?(\w+)`", PAGE.read_text(encoding="utf-8")))
    assert {*document, *document["rows"][0], *document["tariffs"]["price"]} - {"schema", "rows", "tariffs"} <= named
