"""Scenarios in TOML: what they say, and the one-line complaint when they say it wrongly."""

import re
from pathlib import Path

import pytest

from wattshed.agent.errors import InputError
from wattshed.agent.simulation.faults import KINDS
from wattshed.agent.simulation.scenario import default_scenario, read_scenario
from wattshed.agent.simulation.sensors import ARCHITECTURES

PAGE = Path(__file__).parents[2] / "docs/metering.md"


def read(tmp_path, text):
    file = tmp_path / "s.toml"
    file.write_text(text)
    return read_scenario(file)


def test_an_empty_file_is_the_default_node(tmp_path):
    assert read(tmp_path, "") == default_scenario()


def test_faults_alone_keep_the_default_jobs(tmp_path):
    found = read(tmp_path, '[[fault]]\nkind = "gpu-lost"\ngpu = 2\nat_s = 3\nfor_s = 4')
    assert found.jobs == default_scenario().jobs
    (fault,) = found.faults
    assert (fault.gpu, fault.start_us, fault.end_us) == (2, 3_000_000, 7_000_000)


def test_the_documented_example_is_read_and_every_fault_documented(tmp_path):
    text = PAGE.read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    found = read(tmp_path, example)
    assert found.jobs
    assert found.faults
    assert set(KINDS) <= set(re.findall(r"`([a-z-]+)`", text))
    for kind, what in KINDS.items():
        assert f"| `{kind}` | {what} |" in text
    for table in ("gpu", "job", "fault"):
        with pytest.raises(InputError) as caught:
            read(tmp_path, f"[[{table}]]\nname = 'x'\nunheard_of = 1")
        for key in str(caught.value).partition("known here: ")[2].split(", "):
            assert f"`{key}`" in text, f"[[{table}]] {key} is not documented"


def test_what_changes_about_a_gpu_is_read(tmp_path):
    found = read(
        tmp_path,
        "gpus = 2\n[[gpu]]\nindex = 1\nlate_s = 3\nmig = [[1, 0, 60]]\nmig_at_s = 5\nmig_off_at_s = 7\n"
        "context_w = 44\nlinger_s = 1.6\nnamed_after_s = 0.2\nforgotten_before_s = 0.035\n"
        'accounting_at_s = 9\nrows = "latest"\npersistence = false\n'
        '[[fault]]\nkind = "slow-gpu"\ngpu = 1\nvalue = 7e6\ncode = 10',
    )
    gpu = found.gpus[1]
    assert (gpu.late_us, gpu.mig_at_us, gpu.mig_off_at_us, gpu.accounting_at_us) == (3e6, 5e6, 7e6, 9e6)
    assert (gpu.mig, gpu.rows, gpu.persistence) == (((1, 0, 60),), "latest", False)
    assert found.gpus[0].rows == "", "as its architecture's driver does it"
    assert (gpu.context_w, gpu.linger_s, found.gpus[0].linger_s) == (44, 1.6, 0)
    assert (gpu.named_after_s, gpu.forgotten_before_s, found.gpus[0].named_after_s) == (0.2, 0.035, 0)
    (fault,) = found.faults
    assert (fault.kind, fault.gpu, fault.value, fault.code) == ("slow-gpu", 1, 7e6, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpus = 0", "1:1: gpus: must be from 1 to 64, not 0"),
        ("gpus = 'two'", "1:1: gpus: must be a whole number, not 'two'"),
        (
            "colour = 1",
            (
                "1:1: colour: unknown key; known here: gpus, cycle_s, begin_s, missing, driver, gpu, job, fault, "
                "host, host_meter"
            ),
        ),
        (
            "[[gpu]]\narchitecture = 'kepler'",
            f"2:1: gpu.architecture: must be one of {', '.join(ARCHITECTURES)}, not 'kepler'",
        ),
        ("[[gpu]]\nindex = 9", "2:1: gpu.index: must be from 0 to 7, not 9"),
        ("[[gpu]]\ncounter = 3", "2:1: gpu.counter: must be true or false, not 3"),
        (
            "[[gpu]]\nmig = [[1, 2]]",
            "2:8: gpu.mig: must be a list of [GPU instance, compute instance, SMs], not of [1, 2]",
        ),
        ("[[job]]\nname = 'x'", "2:1: job.name: a Slurm job's name is its number, not 'x'"),
        ("[[job]]\nname = '1'\ngpus = [3]", "3:9: job.gpus: must be 0, not 3"),
        ("[[job]]\nname = '1'\nstart_s = 9\nend_s = 3", "4:1: job.end_s: must be after start_s = 9"),
        (
            "[[job]]\nname = '1'\nload = [[1, 2]]",
            "3:9: job.load: must be a list of [seconds, watts, SM percent], not of [1, 2]",
        ),
        (
            "[[job]]\nname = '1'\nload = [[0, 2, 3]]",
            "3:9: job.load: a step lasts at least 1 ms, draws no negative power, and keeps 0-100 % busy",
        ),
        (
            "[[fault]]\nkind = 'quux'",
            f"2:1: fault.kind: must be one of {', '.join(KINDS)}, not 'quux'",
        ),
        ("[[fault]]\nkind = 'xid'\ngpu = 8", "3:1: fault.gpu: must be from -1 to 7, not 8"),
        ("fault = 3", "1:1: fault: must be written as [[fault]]"),
        ("[[fault]]\nkind = ['xid']", "2:1: fault.kind: must be a string, not ['xid']"),
        ("[[fault]]\nkind = 'latency'\nat_s = nan", "3:1: fault.at_s: must be a finite number, not nan"),
        ("[[fault]]\nkind = 'latency'\nfor_s = -1", "3:1: fault.for_s: must be at least 0, not -1"),
        ("[[fault]]\nkind = 'slow-gpu'\ncode = -1", "3:1: fault.code: must be from 0 to 999, not -1"),
        (
            "[[fault]]\nkind = 'error'\nvalue = 3\ncode = 3",
            "4:1: fault.code: is only for slow-gpu; an error's code is its value",
        ),
        ("[[gpu]]\narchitecture = ['hopper']", "2:1: gpu.architecture: must be a string, not ['hopper']"),
        ("[[gpu]]\nrows = 'newest'", "2:1: gpu.rows: must be one of interval, active, latest, tick, not 'newest'"),
        ("[[gpu]]\ncounter_period_s = 0", "2:1: gpu.counter_period_s: must be at least 0.001, not 0"),
        ("[[gpu]]\ngain = -1.5", "2:1: gpu.gain: must be above -1, not -1.5"),
        ("[[gpu]]\nlate_s = -3", "2:1: gpu.late_s: must be at least 0, not -3"),
        ("[[gpu]]\nlate_s = inf", "2:1: gpu.late_s: must be a finite number, not inf"),
        ("[[gpu]]\nmig_at_s = 3", "2:1: gpu.mig_at_s: needs mig, the instances"),
        (
            "[[gpu]]\nmig = [[1, 0, 60]]\nmig_at_s = 9\nmig_off_at_s = 9",
            "4:1: gpu.mig_off_at_s: must come after mig_at_s, and after the beginning",
        ),
        ("[[gpu]]\nmig = [[1, 0, 0]]", "2:1: gpu.mig: must be up to 7 instances of one SM or more, ids from 0"),
        ("[[gpu]]\narchitecture = 'ada'\nmig = [[1, 0, 60]]", "3:1: gpu.mig: ada does not support MIG"),
        ("[[gpu]]\nlate_us = 3", "2:1: gpu.late_us: unknown key; did you mean gpu.late_s?"),
        (
            "[[job]]\nname = '1'\ninstance = 'one'",
            "3:1: job.instance: must be 'GPU instance/compute instance', as '1/0'",
        ),
        ("[[job]]\nname = '1'\nload = [[inf, 2, 3]]", "3:9: job.load: seconds must be a finite number, not inf"),
        ("missing = [3]", "1:12: missing: must be a string, not 3"),
        ("driver = '580'", "1:1: driver: must be a version as '999.99.99'"),
    ],
)
def test_a_wrong_scenario_is_one_line_with_its_place(tmp_path, text, said):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path}/s.toml:{said}"


def test_broken_toml_names_line_and_column(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, "gpus = 2\n[[job]\n")
    assert caught.value.line == 2
    assert caught.value.column > 0


def test_a_missing_and_a_binary_file_are_one_line(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_scenario(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_scenario(tmp_path / "b.toml")
