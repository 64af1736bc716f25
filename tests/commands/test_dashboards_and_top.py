"""The commands dashboards and top."""

import argparse
import json
import re

import pytest
import yaml

from tests.exporters import snapshots
from tests.wire.servers import serving
from wattshed.agent.commands import dashboards
from wattshed.agent.commands import top as command
from wattshed.agent.errors import InputError


def arguments(module, *words):
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    return parser.parse_args(words)


def test_dashboards_are_written_out(tmp_path, capsys):
    args = arguments(dashboards, "dashboards", str(tmp_path / "new" / "folder"))
    assert args.run(args) == 0
    written = sorted((tmp_path / "new" / "folder").iterdir())
    boards = [f"wattshed-{name}.json" for name in ("fleet", "host", "job", "owners")]
    assert [path.name for path in written] == ["README.md", "provisioning.yml", *boards]
    assert sorted(capsys.readouterr().out.splitlines()) == [str(path) for path in written]
    assert json.loads(written[2].read_text(encoding="utf-8"))["uid"] == "wattshed-fleet"
    readme = written[0].read_text(encoding="utf-8")
    assert "](" not in readme  # nothing else lies beside it
    (provider,) = yaml.safe_load(written[1].read_text(encoding="utf-8"))["providers"]
    assert provider["options"]["path"] in readme  # the commands put the boards where Grafana is told to look
    args = arguments(dashboards, "dashboards", str(tmp_path / "rules"), "--rules")
    assert args.run(args) == 0
    assert (tmp_path / "rules" / "wattshed.rules.yml").exists()
    named = re.findall(r"`([\w-]+\.(?:yml|json))`", readme)
    assert len(named) > 2
    assert all((tmp_path / "rules" / name).exists() for name in named)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    args = arguments(dashboards, "dashboards", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be written"):
        args.run(args)


def test_top_once_prints_gpus_and_jobs(serve, capsys):
    server, _ = serve()
    args = arguments(command, "top", "--once", "--url", server.addresses[0])
    assert args.run(args) == 0
    out = capsys.readouterr().out
    assert "SIMULATED" in out
    assert "train-7b" in out
    assert "power reading frozen" in out
    server, _ = serve(snapshots.hostile)
    args = arguments(command, "top", "--once", "--url", server.addresses[0])
    assert args.run(args) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_top_without_an_agent_says_how_to_start_one(capsys):
    args = arguments(command, "top", "--url", "http://me:secret@127.0.0.1:1")
    assert args.run(args) == 1
    said = "http://127.0.0.1:1 does not answer (Connection refused); start one with `wattshed run`, or give --url"
    assert capsys.readouterr().err == f"wattshed: {said}\n"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "nonsense"])
def test_top_of_what_is_not_an_address(url):
    args = arguments(command, "top", "--url", url)
    with pytest.raises(InputError, match="--url takes a URL such as"):
        args.run(args)


def test_top_of_another_server_says_so(capsys):
    with serving() as other:
        args = arguments(command, "top", "--url", other.url)
        for answer in ((200, {}, b"<html>"), (200, {}, b"[]"), (200, {}, b'{"schema": "other/1"}')):
            other.script.append(answer)
            assert args.run(args) == 1
            assert f"{other.url} is not an agent's" in capsys.readouterr().err
        other.script.append((500, {}, b"no"))
        assert args.run(args) == 1
        assert "answered 500 (no)" in capsys.readouterr().err
