"""SIGHUP: what changed is named, with what takes effect now and what needs a restart."""

import dataclasses
import logging

import pytest

from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.config.loading import load
from wattshed.agent.config.settings import Config
from wattshed.agent.daemon.reload import AT_ONCE, Reload, differences
from wattshed.agent.daemon.systemd import Notifier


@pytest.fixture
def reloaded(tmp_path, caplog, monkeypatch):
    """Write a configuration, reload it; gives what was logged."""
    path = tmp_path / "config.toml"
    monkeypatch.setattr(logging.getLogger("wattshed"), "propagate", True)
    monkeypatch.setattr("wattshed.agent.daemon.reload.set_up_log", lambda *_: None)

    def read():
        return load(path, {"HOME": "/home/ada"}).config

    path.write_text("")
    calibrator = Calibrator({}, {}, 0.04)
    reload = Reload(read(), read, calibrator, Notifier({}))

    def turn(text):
        caplog.clear()
        path.write_text(text)
        with caplog.at_level(logging.INFO):
            reload()
        (record,) = caplog.records
        return record.levelname, record.message

    turn.calibrator, turn.path = calibrator, path
    return turn


def test_nothing_changed(reloaded):
    assert reloaded("# a comment\n") == ("INFO", "configuration reloaded: nothing changed")


def test_what_took_effect_and_what_needs_a_restart(reloaded):
    text = 'listen = ["127.0.0.1:1"]\n[idle_watts]\nH100 = 70\n[log]\nlevel = "debug"\n'
    _, said = reloaded(text)
    assert said == "configuration reloaded: log.level, idle_watts took effect; listen needs a restart"
    assert reloaded.calibrator.idle_w == {"H100": 70.0}
    _, said = reloaded(f"{text}[sampling]\npower_hz = 4\n")
    assert said == "configuration reloaded: listen, sampling.power_hz need a restart", "it still does"
    _, said = reloaded("")
    assert said == "configuration reloaded: log.level, idle_watts took effect"
    assert reloaded.calibrator.idle_w == {}


def test_a_mistake_is_one_line_with_its_place_and_changes_nothing(reloaded):
    reloaded("[idle_watts]\nH100 = 70\n")
    level, said = reloaded('[idle_watts]\nH100 = 80\n[log]\nlevel = "loud"\n')
    assert level == "ERROR"
    assert said.startswith(f"configuration not reloaded, the one in use stays: {reloaded.path}:4:")
    assert reloaded.calibrator.idle_w == {"H100": 70.0}
    reloaded.path.unlink()


def test_every_key_either_takes_effect_at_once_or_needs_a_restart():
    """What `differences` walks is what the configuration has."""
    other = dataclasses.replace(Config(), host="other")
    assert list(differences(Config(), other)) == ["host"]
    assert set(AT_ONCE) <= {spec.name for spec in dataclasses.fields(Config)}
