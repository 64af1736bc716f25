"""A running agent lets go of its GPUs at `wattshed release`, in whichever way it must, and takes them back."""

import json
import os
import re
import signal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.process import ROOT, Agent
from tests.depth import examples
from wattshed.agent.__main__ import main, parser
from wattshed.agent.commands.release import seconds
from wattshed.agent.daemon.control import Control, ControlServer
from wattshed.agent.daemon.release_file import ReleaseFile
from wattshed.agent.errors import InputError
from wattshed.agent.meters.release import Release, ReleaseDesk
from wattshed.agent.simulation.others import InUseError, OtherProgram
from wattshed.agent.window import Device
from wattshed.agent.wire.agent_socket import ask
from wattshed.agent.wire.control_socket import control_socket
from wattshed.exporters.web.peer import Access

S = 1_000_000
NODE = """
gpus = 2
cycle_s = 600
[[job]]
name = "7"
gpus = [0, 1]
load = [[600, 300, 50]]
"""


def root_of(agent):
    """Folder of the node that the agent simulates."""
    return next(agent.folder.glob("wattshed-simulated-*"))


@pytest.mark.real
def test_a_second_program_resets_unbinds_and_repartitions_while_the_agent_runs(tmp_path, monkeypatch, run_command):
    (tmp_path / "node.toml").write_text(NODE)
    monkeypatch.setenv("WATTSHED_CONTROL_SOCKET", str(tmp_path / "control.sock"))
    with Agent(tmp_path, "--meter", f"simulated:{tmp_path / 'node.toml'}") as agent:
        agent.ready()
        other = OtherProgram(root_of(agent), patience_s=10)
        for refused in (lambda: other.reset(0), lambda: other.repartition(1, [(1, 0, 60)]), other.unload):
            with pytest.raises(InUseError):
                refused()
        before = agent.joules()
        assert run_command("release", "--gpu", "1") == 0
        other.repartition(1, [(1, 0, 60)])
        assert run_command("release") == 0
        other.unload()
        other.reset(0)
        other.unbind(1)
        other.bind(1)
        assert agent.get("/-/ready")[0] != 200
        assert run_command("resume") == 0
        agent.wait(lambda: agent.get("/-/ready")[0] == 200)
        agent.wait(lambda: all(agent.joules()[series] > joules for series, joules in before.items()))
        agent.process.send_signal(signal.SIGUSR1)
        agent.wait(lambda: ask(str(tmp_path / "control.sock"), {"op": "status"})["released"])
        other.unload()
        agent.process.send_signal(signal.SIGUSR2)
        agent.metering(max(agent.joules().values()))
        assert agent.law()
        assert agent.stop() == 0


@pytest.mark.real
def test_the_next_process_leaves_alone_the_gpu_that_was_let_go_of(tmp_path, monkeypatch, run_command):
    (tmp_path / "node.toml").write_text(NODE)
    monkeypatch.setenv("WATTSHED_CONTROL_SOCKET", str(tmp_path / "control.sock"))
    flags = ("--meter", f"simulated:{tmp_path / 'node.toml'}")
    with Agent(tmp_path, *flags) as agent:
        agent.ready()
        assert run_command("release", "--gpu", "1") == 0
        agent.process.kill()
        agent.process.wait(30)
    with Agent(tmp_path, *flags) as agent:
        agent.ready()
        OtherProgram(root_of(agent)).reset(1)
        text = agent.get("/metrics")[1]
        assert re.search(r'gpu_status{gpu_uuid="\S*1",status="released"} 1', text)
        assert re.search(r'gpu_status{gpu_uuid="\S*0",status="ok"} 1', text)


@pytest.mark.real
def test_what_only_the_end_of_the_process_lets_go_of_goes_with_it_and_the_next_one_starts_released(
    tmp_path, monkeypatch, run_command, capsys
):
    (tmp_path / "node.toml").write_text(NODE + '[[fault]]\nkind = "held"\nat_s = 0\nfor_s = 600\n')
    monkeypatch.setenv("WATTSHED_CONTROL_SOCKET", str(tmp_path / "control.sock"))
    flags = ("--meter", f"simulated:{tmp_path / 'node.toml'}")
    with Agent(tmp_path, *flags) as agent:
        agent.ready()
        ask(str(tmp_path / "control.sock"), {"op": "release", "for_s": 60})
        assert agent.process.wait(30) == 75
        assert "nvidia0, nvidia1 still open" in agent.log
    with Agent(tmp_path, *flags) as agent:
        agent.wait(lambda: "the driver was let go of until" in agent.log)
        assert run_command("release", "--for", "1min") == 0
        assert "Let go of the driver until" in capsys.readouterr().out
        assert run_command("resume") == 0
        agent.ready()
        assert not list(tmp_path.rglob("*released.json"))


@pytest.fixture
def run_command():
    return lambda *words: main(list(words))


@pytest.fixture
def control(tmp_path):
    """A socket of this process, and what is asked there."""
    desk = ReleaseDesk(lambda: 5 * S)
    control = Control(desk, "test")
    control.devices = lambda: (Device("h", 0, "GPU-a", minor=3),)
    server = ControlServer(str(tmp_path / "c.sock"), control, Access(frozenset({os.geteuid()})), None)
    yield desk, lambda message: ask(server.path, message)
    server.close()


def test_wishes_at_the_socket(control):
    desk, asked = control
    answer = asked({"op": "release", "for_s": 60, "gpus": ["0"], "why": "reset\n"})
    assert answer["wanted"] == {"until_us": 65 * S, "gpus": ["GPU-a"], "why": "reset"}
    assert answer["released"] is None
    assert desk.wanted() == Release(65 * S, frozenset({"GPU-a"}), "reset")
    desk.obeyed = desk.wanted()
    assert asked({"op": "status"})["released"]["gpus"] == ["GPU-a"]
    assert asked({"op": "resume"})["wanted"] is None


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"op": "release", "for_s": 0}, "1 to 86400 seconds"),
        ({"op": "release", "for_s": 86_401}, "1 to 86400 seconds"),
        ({"op": "release", "for_s": True}, "1 to 86400 seconds"),
        ({"op": "release", "gpus": ["7"]}, "no GPU 7 is metered here; there are 0"),
        ({"op": "release", "gpus": 7}, "a list"),
        ({"op": "reset"}, "none of release, resume, status"),
        ({}, "none of release"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(control, message, told):
    desk, asked = control
    assert re.search(told, asked(message)["error"])
    assert desk.wanted() is None


@given(
    st.dictionaries(
        st.sampled_from(("op", "for_s", "gpus", "why", "x")),
        st.sampled_from(("release", "status", "resume"))
        | st.lists(st.text(max_size=3), max_size=2)
        | st.floats()
        | st.none(),
    )
)
@settings(max_examples=examples(50))
def test_whatever_is_asked_is_answered_and_no_release_is_longer_than_a_day(message):
    desk = ReleaseDesk(lambda: 0)
    answer = Control(desk, "test").answer(message)
    json.dumps(answer)
    wanted = desk.wanted()
    assert wanted is None or (message["op"] == "release" and S <= wanted.until_us <= 86_400 * S)


def test_whoever_is_not_let_in_learns_nothing(tmp_path):
    desk = ReleaseDesk(lambda: 0)
    server = ControlServer(str(tmp_path / "c.sock"), Control(desk, "test"), Access(frozenset()), None)
    try:
        assert set(ask(server.path, {"op": "release"})) == {"error"}
        assert (tmp_path / "c.sock").stat().st_mode & 0o777 == 0o660
    finally:
        server.close()
    assert desk.wanted() is None
    assert not (tmp_path / "c.sock").exists()


def test_a_kept_release_is_of_this_boot_and_of_what_is_known(tmp_path, caplog):
    """Before its GPUs were let go of nothing is known of them, and it is of all."""
    path = tmp_path / "state/released.json"
    ReleaseFile(path, "one").save(Release(60 * S, frozenset({"GPU-a"}), "reset"))
    assert ReleaseFile(path, "one").load(5 * S) == Release(60 * S, why="reset")
    desk = ReleaseDesk(lambda: 0, ReleaseFile(path, "one"))
    desk.resume()
    desk.ask(60 * S, frozenset({"GPU-a", "GPU-b"}), "reset")
    here = tuple(Device("h", i, f"GPU-{name}", minor=i, flags=("odd",)) for i, name in enumerate("abc"))
    desk.note(here)
    assert ReleaseFile(path, "one").load(5 * S) == Release(60 * S, frozenset({"GPU-a", "GPU-b"}), "reset", here[:2])
    desk.ask(60 * S, frozenset({"GPU-c"}), "also")
    assert ReleaseFile(path, "one").load(5 * S).whole
    assert ReleaseFile(path, "one").load(60 * S) is None  # over
    assert ReleaseFile(path, "two").load(5 * S) is None
    for text in ("", "[]", "{}", '{"until_us": 9000000000, "why": "", "boot_id": "one", "devices": [7]}'):
        path.write_text(text)
        assert ReleaseFile(path, "one").load(5 * S) is None
    assert "cannot be used" in caplog.text
    ReleaseFile(path, "one").save(None)
    assert not path.exists()


def test_what_others_call_can_be_called():
    """The hooks of nvidia-mig-parted, and the drop-in for units that reset GPUs."""
    hooks = yaml.safe_load((ROOT / "deploy/mig-parted/hooks.yaml").read_text())["hooks"]
    assert set(hooks) == {"pre-apply-mode", "apply-exit"}
    called = [line for hook in hooks.values() for one in hook for line in one["args"][1:]]
    called += re.findall(r"=-/usr/bin/(wattshed .*)", (ROOT / "deploy/systemd/around/wattshed.conf").read_text())
    told = [parser().parse_args(line.split(" ||")[0].split()[1:]) for line in called]
    assert [one.run.__name__ for one in told] == ["run_release", "run_resume"] * 2
    assert seconds(told[0].for_time, "--for") == 600


def test_times_and_places_as_they_are_written(tmp_path):
    assert [seconds(text, "--for") for text in ("600", "600s", "10min", "1.5h")] == [600, 600, 600, 5400]
    for text in ("", "-1", "1 day", "x", "\u0661s"):
        with pytest.raises(InputError):
            seconds(text, "--for")
    own = tmp_path / "wattshed"
    assert control_socket({"XDG_RUNTIME_DIR": str(tmp_path)}, 4_000_000, shared=tmp_path) == str(
        tmp_path / "control.sock"
    )
    own.mkdir()
    (own / "control.sock").touch()
    assert control_socket({"XDG_RUNTIME_DIR": str(tmp_path)}, 4_000_000, shared=tmp_path) == str(own / "control.sock")
    assert control_socket({"WATTSHED_CONTROL_SOCKET": "/x"}, 0) == "/x"
