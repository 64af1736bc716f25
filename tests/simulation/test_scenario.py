"""Scenarios in TOML: what they say, and the one-line complaint when they say it wrongly."""

import re
from pathlib import Path

import pytest

from wattshed.agent.errors import InputError
from wattshed.agent.simulation.faults import KINDS
from wattshed.agent.simulation.scenario import default_scenario, read_scenario

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
        for key in str(caught.value).partition("it knows ")[2].split(", "):
            assert f"`{key}`" in text, f"[[{table}]] {key} is not documented"


def test_what_changes_about_a_gpu_is_read(tmp_path):
    found = read(
        tmp_path,
        "gpus = 2\n[[gpu]]\nindex = 1\nlate_s = 3\nmig = [[1, 0, 60]]\nmig_at_s = 5\nmig_off_at_s = 7\n"
        'accounting_at_s = 9\nrows = "latest"\npersistence = false\n'
        '[[fault]]\nkind = "slow-gpu"\ngpu = 1\nvalue = 7e6\ncode = 10',
    )
    gpu = found.gpus[1]
    assert (gpu.late_us, gpu.mig_at_us, gpu.mig_off_at_us, gpu.accounting_at_us) == (3e6, 5e6, 7e6, 9e6)
    assert (gpu.mig, gpu.rows, gpu.persistence) == (((1, 0, 60),), "latest", False)
    assert found.gpus[0].rows == "interval"
    (fault,) = found.faults
    assert (fault.kind, fault.gpu, fault.value, fault.code) == ("slow-gpu", 1, 7e6, 10)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gpus = 0", "gpus must be 1 to 64"),
        ("gpus = 'two'", "gpus must be a number"),
        ("colour = 1", "no key 'colour'"),
        ("[[gpu]]\narchitecture = 'kepler'", "unknown architecture 'kepler'"),
        ("[[gpu]]\nindex = 9", "index 9"),
        ("[[gpu]]\ncounter = 3", "counter must be true or false"),
        ("[[gpu]]\nmig = [[1, 2]]", "mig must be a list"),
        ("[[job]]\nname = 'x'", "a Slurm job's name is its number"),
        ("[[job]]\nname = '1'\ngpus = [3]", "gpus must be a list of indices below 1"),
        ("[[job]]\nname = '1'\nstart_s = 9\nend_s = 3", "start_s < end_s"),
        ("[[job]]\nname = '1'\nload = [[1, 2]]", "load must be a list"),
        ("[[job]]\nname = '1'\nload = [[0, 2, 3]]", "a step lasts at least 1 ms"),
        ("[[fault]]\nkind = 'fire'", "unknown kind 'fire'"),
        ("[[fault]]\nkind = 'xid'\ngpu = 8", "gpu 8 is not below 8"),
        ("fault = 3", "array of tables"),
        ("[[fault]]\nkind = ['xid']", "unknown kind"),
        ("[[fault]]\nkind = 'latency'\nat_s = nan", "at_s must be a finite number"),
        ("[[fault]]\nkind = 'latency'\nfor_s = -1", "for_s must not be negative"),
        ("[[fault]]\nkind = 'slow-gpu'\ncode = -1", "code must be 0 to 999"),
        ("[[fault]]\nkind = 'error'\nvalue = 3\ncode = 3", "code is of slow-gpu alone"),
        ("[[gpu]]\narchitecture = ['hopper']", "unknown architecture"),
        ("[[gpu]]\nrows = 'newest'", "rows must be one of interval, active, latest"),
        ("[[gpu]]\ncounter_period_s = 0", "counter_period_s must be 0.001 or more"),
        ("[[gpu]]\ngain = -1.5", "gain must be above -1"),
        ("[[gpu]]\nlate_s = -3", "late_s must not be negative"),
        ("[[gpu]]\nlate_s = inf", "late_s must be a finite number"),
        ("[[gpu]]\nmig_at_s = 3", "mig_at_s needs mig"),
        ("[[gpu]]\nmig = [[1, 0, 60]]\nmig_at_s = 9\nmig_off_at_s = 9", "mig_off_at_s must come after mig_at_s"),
        ("[[gpu]]\nmig = [[1, 0, 0]]", "instances of one SM or more"),
        ("[[gpu]]\narchitecture = 'ada'\nmig = [[1, 0, 60]]", "ada has no MIG"),
        ("[[gpu]]\nlate_us = 3", "no key 'late_us'"),
        ("[[job]]\nname = '1'\ninstance = 'one'", "instance is"),
        ("[[job]]\nname = '1'\nload = [[inf, 2, 3]]", "load must be a list"),
        ("missing = [3]", "missing must be a list"),
    ],
)
def test_a_wrong_scenario_is_one_line_with_the_file(tmp_path, text, complaint):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/s.toml: ")
    assert "\n" not in str(caught.value)


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
