"""`wattshed check`: the table, the JSON, and the exit code."""

import argparse
import json
import re

import pytest

from tests.depth import few
from tests.virtual import agent, simulated
from wattshed.agent.commands import check
from wattshed.agent.daemon import capabilities
from wattshed.agent.errors import InputError
from wattshed.agent.jobs import commands
from wattshed.kernels import load


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(capabilities, "LEARN_US", 800_000)
    before = load.form().name
    yield
    load.use(before)  # a check settles the form as a run does, and this process goes on


def run(*arguments):
    parser = argparse.ArgumentParser()
    check.add_parser(parser.add_subparsers(), configure=lambda _: None)
    parsed = parser.parse_args(["check", *arguments])
    return parsed.run(parsed)


def test_json_has_a_reason_and_a_remedy_for_every_no(capsys):
    assert run("--json", "--meter", "simulated") == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["schema"] == "wattshed.check/1"
    assert tree["can_measure"]
    assert tree["driver"] == "999.99.99"
    assert tree["kernels"] == {**dict(zip(("form", "cpu", "reason"), load.form(), strict=True)), "passed_over": []}
    assert tree["library"] == "simulated"
    assert len(tree["gpus"]) == 8
    for gpu in tree["gpus"]:
        assert gpu["energy_source"] == "counter"
        assert gpu["simulated"]
        assert gpu["publication_ms"]["energy"] == pytest.approx(100, abs=40)
        for found in gpu["capabilities"].values():
            assert found["works"] == (not found["reason"])
            assert bool(found["remedy"]) == (not found["works"])


def test_the_table_groups_gpus_that_are_alike(capsys, tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('gpus = 3\n[[gpu]]\nindex = 1\narchitecture = "pascal"\n')
    assert run("--meter", f"simulated:{file}") == 0
    out = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "SIMULATED" in out
    assert "GPU 0, 2: NVIDIA H100" in out
    assert "GPU 1: Tesla P100" in out
    assert "This host can be measured." in out
    assert "cgroup" in out
    assert "Kernels: " in out


def test_a_host_without_a_driver_cannot_be_measured(capsys, monkeypatch):
    monkeypatch.setattr("wattshed.agent.meters.nvml.LIBRARY", "libnvidia-ml-that-is-nowhere.so.1")
    assert run("--json") == 1
    tree = json.loads(capsys.readouterr().out)
    assert not tree["can_measure"]
    assert "install the NVIDIA driver" in tree["reason"]
    assert run() == 1
    assert "This host cannot be measured: no NVML library" in re.sub(r"\s+", " ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[[fault]]\nkind = "version-mismatch"', "library and driver versions differ (18)"),
        ('[[fault]]\nkind = "gpu-lost"', "no GPU responds to the NVIDIA driver"),
        ("[[gpu]]\ncounter = false\naverage = false\ninstant = false", "no GPU reports energy or power"),
    ],
)
def test_a_driver_that_tells_nothing_cannot_be_measured(capsys, tmp_path, text, reason):
    file = tmp_path / "s.toml"
    file.write_text(f"gpus = 2\n{text}\n")
    assert run("--json", "--meter", f"simulated:{file}") == 1
    tree = json.loads(capsys.readouterr().out)
    assert reason in tree["reason"]


KINDS = {
    "no reading at all": ("counter = false\naverage = false\ninstant = false", "", "none"),
    "a counter that is never ready": ("average = false\ninstant = false", "not-ready", "none"),
    "a counter that is never ready beside power": ("", "not-ready", "power"),
    "power that reads 0": ("counter = false", "zero-power", "none"),
    "power that reads garbage": ("counter = false", "garbage", "none"),
    "power alone": ("counter = false", "", "power"),
    "a counter alone": ("average = false\ninstant = false", "", "counter"),
    "a counter beside power that reads garbage": ("", "garbage", "counter"),
}


@pytest.mark.parametrize("kind", few(list(KINDS), plain=3))
def test_check_and_run_agree_about_what_can_be_metered(kind, tmp_path):
    keys, fault, expected = KINDS[kind]
    script = tmp_path / "s.toml"
    fault = f'[[fault]]\nkind = "{fault}"\n' if fault else ""
    job = '[[job]]\nname = "7"\ngpus = [0]\nload = [[1.0, 200.0, 80], [1.0, 300.0, 90]]\n'
    script.write_text(f"gpus = 1\ncycle_s = 600\n[[gpu]]\nindex = 0\n{keys}\n{job}{fault}")
    tree = capabilities.report(f"simulated:{script}")
    node, clock = simulated(tmp_path, str(script))
    one = agent(node, clock, seconds=30)
    one.daemon.run()
    one.close()
    (gpu,) = one.board.current().gpus
    assert ([g["energy_source"] for g in tree["gpus"]], gpu.energy_source) == ([expected], expected)
    measured = expected != "none"
    assert (tree["can_measure"], one.board.current().up, one.daemon.metered) == (measured, measured, measured)
    energies = one.board.current().energy
    assert bool(energies) == measured
    if measured:
        assert gpu.energy_hnj == sum(e.static_hnj + e.dynamic_hnj for e in energies) > 0
        assert tree["reason"] == ""
    else:
        assert "no GPU reports energy or power" in tree["reason"]
        assert "update the driver" in tree["reason"]
        assert "no GPU reports energy or power" in one.board.current().unmetered


def test_a_gpu_that_does_not_answer_is_mentioned(capsys, tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('gpus = 2\n[[fault]]\nkind = "gpu-lost"\ngpu = 1\n')
    assert run("--json", "--meter", f"simulated:{file}") == 0
    tree = json.loads(capsys.readouterr().out)
    assert [g["gpu"] for g in tree["gpus"]] == [0]
    assert "1 more GPU" in tree["reason"]


def test_job_sources(tmp_path):
    root, socket = tmp_path / "proc", tmp_path / "kubelet.sock"
    (root / "self").mkdir(parents=True)
    (root / "self/cgroup").write_text("0::/\n")
    hidden = {f.name: f.reason for f in capabilities.job_sources(root, socket, lambda _: None)}
    assert hidden["cgroup"] == "other users' processes are hidden"
    assert hidden["slurm"] == "no squeue here"
    assert hidden["kubernetes"] == "no kubelet socket here"
    (root / "1").mkdir()
    (root / "1/cgroup").write_text("0::/init.scope\n")
    socket.touch()
    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "squeue").chmod(0o755)
    assert not any(f.reason for f in capabilities.job_sources(root, socket, lambda name: str(tmp_path / name)))
    assert capabilities.job_sources(tmp_path / "none", socket, lambda _: None)[0].reason.endswith(
        "is not a process tree"
    )


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("exit 0", ""),
        (
            "echo 'squeue: error [1]: Unable to contact slurm controller' >&2; exit 1",
            "squeue ended with 1: squeue: error [1]: Unable to contact slurm controller",
        ),
        ("exit 3", "squeue ended with 3: no reason given"),
        ("exec sleep 60", "squeue did not answer within 1 s"),
    ],
)
def test_slurm_works_only_if_its_queue_answers(tmp_path, monkeypatch, does, reason):
    monkeypatch.setattr(commands, "TIMEOUT_S", 1)
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\n{does}\n")
    squeue.chmod(0o755)
    assert capabilities.squeue_works(str(squeue)).reason == (reason and f"{tmp_path}/{reason}")
    squeue.chmod(0o644)
    assert capabilities.squeue_works(str(squeue)).reason == f"{squeue} cannot be run: Permission denied"


def test_nothing_that_is_told_is_cut_in_80_columns_and_paths_are_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run("--meter", "simulated")
    out = capsys.readouterr().out
    assert "\u2026" not in out
    # Only a path that is longer than the terminal sticks out: it is a line of its own.
    assert all(len(line) <= 80 or re.fullmatch(r"/\S+", line) for line in out.splitlines())
    assert "/var/lib/kubelet/pod-resources/kubelet.sock" in out


def test_an_unknown_meter_is_bad_usage():
    with pytest.raises(InputError, match="check knows nvml"):
        capabilities.report("trace.csv")
