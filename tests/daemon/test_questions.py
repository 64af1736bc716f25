"""Where jobs are told, and who administrators are."""

import dataclasses
import grp
import os
import tempfile
from pathlib import Path

import pytest

from wattshed.agent.config.settings import Config, HistorySettings
from wattshed.agent.daemon import questions
from wattshed.agent.daemon.questions import jobs_api, jobs_socket
from wattshed.agent.errors import InputError
from wattshed.exporters.web.jobs_api import Asker
from wattshed.exporters.web.peer import Caller


def test_the_socket_is_where_it_was_asked_for_or_where_systemd_says():
    auto = HistorySettings()
    assert jobs_socket(auto, {"RUNTIME_DIRECTORY": "/run/wattshed:/run/x"}) == "/run/wattshed/api.sock"
    assert jobs_socket(HistorySettings(socket="/x/y.sock"), {"RUNTIME_DIRECTORY": "/run/z"}) == "/x/y.sock"
    assert jobs_socket(HistorySettings(socket=""), {"RUNTIME_DIRECTORY": "/run/z"}) == ""
    assert jobs_socket(HistorySettings(enabled=False), {"RUNTIME_DIRECTORY": "/run/z"}) == ""


@pytest.fixture
def somewhere():
    """A folder that a user who is not root can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes it")
def test_root_makes_the_folder_that_everybody_looks_in(somewhere):
    shared, before = somewhere / "shared", os.umask(0o077)
    try:
        assert jobs_socket(HistorySettings(), {}, shared=shared) == f"{shared}/api.sock"
    finally:
        os.umask(before)
    assert shared.stat().st_mode & 0o777 == 0o755


def test_anybody_else_listens_in_a_folder_of_their_own(somewhere):
    own, shared, root = somewhere / "own", somewhere / "shared", os.geteuid() == 0
    own.mkdir(mode=0o700)
    environ = {"XDG_RUNTIME_DIR": str(own)}
    if root:
        os.chown(own, 12345, -1)
        os.seteuid(12345)
    try:
        assert jobs_socket(HistorySettings(), environ, shared=shared) == f"{own}/wattshed/api.sock"
        assert (own / "wattshed").stat().st_mode & 0o777 == 0o700
    finally:
        if root:
            os.seteuid(0)
    assert not shared.exists()
    shared.mkdir()
    assert jobs_socket(HistorySettings(), environ, shared=shared) == f"{shared}/api.sock", "it may be made beforehand"


def test_without_a_place_for_it_one_line_says_where_there_was_none(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    places = (tmp_path / "no/folder", tmp_path / "file")
    monkeypatch.setattr(questions, "own_folders", lambda environ, uid: places)
    assert jobs_socket(HistorySettings(), {}, shared=tmp_path / "none/at/all") == ""
    (line,) = caplog.messages
    for word in (*map(str, places), "set history.socket"):
        assert word in line


def config(**history):
    return dataclasses.replace(Config(), history=HistorySettings(**history))


def test_who_administrators_are(caplog):
    group = grp.getgrgid(os.getgid())
    mine = Asker(Caller(12345, frozenset({group.gr_gid})))
    assert jobs_api(config(admin_group=group.gr_name)).sees_all(mine)
    assert jobs_api(config(admin_group=str(group.gr_gid))).sees_all(mine)
    assert not jobs_api(config()).sees_all(mine)
    assert jobs_api(config()).sees_all(Asker(Caller(os.geteuid())))
    nobodys = jobs_api(config(admin_group="no-such-group-here"))
    assert not nobodys.sees_all(mine)
    assert "no group 'no-such-group-here' on this host" in caplog.text
    tcp = jobs_api(config(tcp_users=("boss",)))
    assert tcp.sees_all(Asker(None, frozenset({"boss"}), known=True))
    assert not tcp.sees_all(Asker(None, frozenset({"boss"})))
    assert not tcp.sees_all(Asker(None, frozenset({"other"}), known=True))


def test_a_socket_must_be_a_path(tmp_path):
    from wattshed.agent.config.loading import load

    path = tmp_path / "c.toml"
    path.write_text('state_dir = "/x"\ncache_dir = "/x"\n[history]\nsocket = "api.sock"\n')
    with pytest.raises(InputError, match=r"c.toml:4:\d+: .*'api.sock' is neither an absolute path nor auto"):
        load(path, {})
