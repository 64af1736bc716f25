"""The same integers from one process, from two workers, and from a cluster that has the wheel alone."""

import os
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from tests.depth import deep

pytest.importorskip("distributed", reason="the extra scale is not installed")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fleet(tmp_path, wattshed):
    """Two hosts, recordings over midnight: segments of two days each, and a jobs file."""
    from tests.traces.windows_made_up import plain_window
    from wattshed.agent.traces.native.recorder import Recorder

    folder = tmp_path / "fleet"
    midnight = 1_700_006_400_000_000 - 1_700_000_000_000_000
    for host in ("a", "b"):
        recorder = Recorder(folder, host)
        for i in range(midnight // 400_000 - 20, midnight // 400_000 + 20):
            assert recorder.append(plain_window(i, host=host))
        recorder.close()
    assert len(list(folder.rglob("*.arrows"))) == 4
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("job,host,gpu,start,end\nx,a,0,,1700006401\ny,,1,1700006399,\n")
    return [folder, "--jobs", jobs, "--format", "json"]


def test_two_workers_give_the_same_integers(fleet, wattshed, monkeypatch):
    monkeypatch.setenv("WATTSHED_JIT", "off")  # in the workers: nothing to compile there
    code, alone, _ = wattshed("replay", *fleet)
    assert code == 0
    code, together, _ = wattshed("replay", *fleet, "--workers", "2")
    assert code == 0
    assert together == alone
    assert '"y"' in alone


@deep
def test_workers_ask_no_gpu_how_it_is(fleet, wattshed, monkeypatch):
    """Dask watches GPUs where there are some; of a sick one the calls fail, and a replay needs none."""
    from distributed.diagnostics import nvml

    def sick(*_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    monkeypatch.setenv("WATTSHED_JIT", "off")
    monkeypatch.setattr(nvml, "NVML_STATE", nvml.NVMLState.UNINITIALIZED)
    monkeypatch.setattr(nvml, "NVML_OWNER_PID", None)
    for name, answer in (("Init", None), ("SystemGetDriverVersion", "550.1"), ("DeviceGetCount", 1)):
        monkeypatch.setattr(pynvml, f"nvml{name}", lambda answer=answer: answer)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", sick)
    code, _, error = wattshed("replay", *fleet, "--workers", "2")
    assert (code, error) == (0, "")


@deep
def test_a_cluster_that_has_the_wheel_alone(fleet, wattshed, tmp_path):
    """The workers know nothing but the wheel's one folder, laid out as it is installed."""
    _, alone, _ = wattshed("replay", *fleet)
    site = tmp_path / "site" / "wattshed"
    site.mkdir(parents=True)
    (site / "__init__.py").write_text((ROOT / "deploy/python/wattshed/__init__.py").read_text())
    for room in ("agent", "kernels", "exporters"):
        (site / room).symlink_to(ROOT / room)
    # Kernels in plain Python: the integers are the same, and nothing has to be compiled anew under another path.
    env = {**os.environ, "PYTHONPATH": str(site.parent), "PYTHONSAFEPATH": "1", "WATTSHED_JIT": "off"}
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1"]
    address_file = tmp_path / "scheduler.json"
    children = [
        subprocess.Popen(
            [*start, "--no-dashboard", "--scheduler-file", str(address_file)],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": "", "PYTHONSAFEPATH": "1"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
    ]  # fmt: skip
    try:
        for _ in range(2):
            worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address_file)]
            children.append(
                subprocess.Popen(
                    [*worker, "--nthreads", "1", "--no-nanny", "--no-dashboard"],
                    cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
        import json
        import time

        deadline = time.monotonic() + 60
        while not address_file.exists() or not address_file.read_text():
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.1)
        address = json.loads(address_file.read_text())["address"]
        code, there, err = wattshed("replay", *fleet, "--scheduler", address)
        assert code == 0, err
        assert there == alone
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait(20)


def test_a_scheduler_that_does_not_answer_is_one_line(fleet, wattshed, monkeypatch):
    from wattshed.agent.wire import cluster as scale

    monkeypatch.setattr(scale, "ANSWER_S", 0.5)
    code, _, err = wattshed("replay", *fleet, "--scheduler", "tcp://127.0.0.1:9")
    assert code == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in err
    assert err.count("\n") == 1


def test_a_bad_file_is_one_line_there_too(wattshed, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("time,gpu,power_w\n1,0,much\n2,0,more\n")
    code, _, err = wattshed("replay", path, "--workers", "1")
    assert code == 2
    assert err.endswith(f"wattshed: {path}:2:3: power_w holds no number: 'much'\n")


def test_a_thousand_gpus_in_one_table_take_little_memory(tmp_path):
    """A fleet's table: many GPUs with few readings each, whose powers are all different."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from wattshed.agent.inputs.columns import parse_spec
    from wattshed.agent.replay.books import Settings, book, finish
    from wattshed.agent.traces.options import Options
    from wattshed.agent.traces.sources import find

    hosts, steps = 128, 40
    watts = np.random.default_rng(1).normal(400, 50, (steps, hosts * 8)).round(3)
    table = {
        "time": np.repeat(1_700_000_000 + 15 * np.arange(steps), hosts * 8),
        "host": [f"n{i // 8}" for i in range(hosts * 8)] * steps,
        "gpu": np.tile(np.arange(8), hosts * steps),
        "power": watts.ravel(),
    }
    pq.write_table(pa.table(table), tmp_path / "fleet.parquet")
    options = Options(parse_spec("time=time:s,host=host,gpu=gpu,power=power:W"))
    (chain,) = find([str(tmp_path / "fleet.parquet")], options)
    accounts = finish(book(chain, Settings(options))).accounts
    expected = 15 * 1000 * (watts[1:] + watts[:-1]).sum(axis=0) / 2
    found = {(key.host, account.device.index): account.energy_hnj / 2e6 for key, account in accounts.gpus.items()}
    assert found == pytest.approx({(f"n{i // 8}", i % 8): expected[i] for i in range(hosts * 8)})
    assert sum(account.power.nbytes for account in accounts.gpus.values()) < 16 * steps * hosts * 8 + 1
