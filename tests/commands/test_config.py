import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed.agent.commands.config import example, markdown
from wattshed.agent.config.loading import load
from wattshed.agent.config.settings import Config
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.keys import keys

ROOT = Path(__file__).resolve().parents[2]
TOP = [spec.name for spec in dataclasses.fields(Config)]
HOME = {"HOME": "/home/somebody"}


def written(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(tmp_path, text, environ=HOME, flags=None):
    with pytest.raises(InputError) as caught:
        load(written(tmp_path, text), environ, flags)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path}/")


def test_nothing_said_is_the_defaults(tmp_path):
    loaded = load(written(tmp_path, ""), HOME)
    assert loaded.config.listen == ("127.0.0.1:9961",)
    assert loaded.config.meter == "nvml", "nobody gets joules of GPUs that do not exist without asking for them"
    assert loaded.config.state_dir == "/home/somebody/.local/state/wattshed"
    assert loaded.config.cache_dir == "/home/somebody/.cache/wattshed"


def test_flags_over_environment_over_file(tmp_path):
    path = written(tmp_path, 'meter = "nvml"\njit = "off"\n[log]\nlevel = "debug"\n')
    environ = HOME | {"WATTSHED_METER": "simulated", "WATTSHED_LOG_LEVEL": "error"}
    config = load(path, environ, {"meter": "auto", "listen": None}).config
    assert (config.meter, config.log.level, config.jit) == ("auto", "error", "off")


def test_the_environment_speaks_every_type(tmp_path):
    environ = HOME | {
        "WATTSHED_LISTEN": "127.0.0.1:1, [::1]:2",
        "WATTSHED_JOBS_NAMES": "false",
        "WATTSHED_JOBS_MAX_SERIES": "7",
        "WATTSHED_SAMPLING_POWER_HZ": "5",
    }
    config = load(written(tmp_path, ""), environ).config
    assert config.listen == ("127.0.0.1:1", "[::1]:2")
    assert (config.jobs.names, config.jobs.max_series, config.sampling.power_hz) == (False, 7, 5.0)


def test_every_key_can_be_set_in_the_environment(tmp_path):
    for path, spec, _ in keys(Config):
        name = "WATTSHED_" + "_".join(path).upper()
        with pytest.raises(InputError) as caught:
            load(written(tmp_path, ""), HOME | {name: "\0"})
        assert str(caught.value).startswith(name), spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metre = 1", "config.toml:1:1: metre: unknown key; did you mean meter?"),
        ("[log]\n\n levle = 'info'", "config.toml:3:2: log.levle: unknown key; did you mean log.level?"),
        ("# one\npower_hz = 3", "config.toml:2:1: power_hz: unknown key; did you mean sampling.power_hz?"),
        ("[sampling]\npower_hz = 'fast'", "config.toml:2:1: sampling.power_hz: must be a number, not 'fast'"),
        ("[sampling]\npower_hz = true", "config.toml:2:1: sampling.power_hz: must be a number, not true"),
        ("[sampling]\npower_hz = 11", "config.toml:2:1: sampling.power_hz: must be from 0.01 to 10 Hz, not 11"),
        ("[sampling]\npower_hz = nan", "config.toml:2:1: sampling.power_hz: must be from 0.01 to 10 Hz, not nan"),
        ("jobs.max_series = 1.5", "config.toml:1:6: jobs.max_series: must be a whole number, not 1.5"),
        ("jobs = 3", "config.toml:1:1: jobs: must be a table, not 3"),
        ("listen = '127.0.0.1:1'", "config.toml:1:1: listen: must be a list of strings, not '127.0.0.1:1'"),
        ("listen = []", "config.toml:1:1: listen: must not be empty or contain an empty string"),
        (
            "listen = [\n  '127.0.0.1:1',\n  '127.0.0.1',\n]\njit = 'off'",
            (
                "config.toml:1:1: listen: '127.0.0.1' is not a valid address; "
                "write HOST:PORT, [IPv6]:PORT, or :PORT for all"
            ),
        ),
        (
            "jit = 'of'",
            "config.toml:1:1: jit: must be one of auto, so, objects, numba, off, cpu, not 'of'; did you mean off?",
        ),
        (
            "meter = 'nvlm'",
            (
                "config.toml:1:1: meter: 'nvlm' is neither nvml, auto, simulated, simulated:FILE "
                "nor an existing trace; did you mean nvml?"
            ),
        ),
        (
            "[idle_watts]\n'GPU-1' = 60\n'GPU-2' = -1",
            "config.toml:3:1: idle_watts.GPU-2: must be from 0 to 2000 W, not -1",
        ),
        (
            "[calibration.GPU-1]\ngian = 1",
            "config.toml:2:1: calibration.GPU-1.gian: unknown key; did you mean calibration.GPU-1.gain?",
        ),
        ("[calibration]\nGPU-1 = 1", "config.toml:2:1: calibration.GPU-1: must be a table, not 1"),
        ("a = = 1", "config.toml:1:5: is not TOML: Invalid value"),
        ("meter = 'nvml'\n[log", "config.toml:2:5: is not TOML: Expected ']' at the end of a table declaration"),
        ('"a\\nb" = 2', 'config.toml:1:1: "a\\nb": unknown key; known here: ' + ", ".join(TOP)),
        (b"a = 1\nbb\xff = 2", "config.toml:2:3: is not UTF-8; save it as UTF-8"),
        ("a = " + "[" * 100_000, "config.toml:1:1: is nested too deeply"),
    ],
)
def test_one_line_says_where_and_what(tmp_path, text, message):
    assert refused(tmp_path, text) == message


def test_a_value_of_several_lines_is_found_at_its_key(tmp_path):
    text = "host = '''\nline\n'''\n\nslurm.squeue = [\n 'a',\n 3,\n]"
    assert refused(tmp_path, text).startswith("config.toml:5:7: slurm.squeue: must be a list of strings")


def test_a_wrong_path_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be read \\(No such file or directory\\)"):
        load(tmp_path / "absent.toml", HOME)
    with pytest.raises(InputError, match="cannot be read \\(Is a directory\\)"):
        load(tmp_path, HOME)
    (tmp_path / "big").write_bytes(b"#" * (2 << 20))
    with pytest.raises(InputError, match="larger than 1 MiB"):
        load(tmp_path / "big", HOME)


def test_wrong_environment_and_flags_are_named(tmp_path):
    assert refused(tmp_path, "", HOME | {"WATTSHED_SAMPLING_POWER_HZ": "fast"}) == (
        "WATTSHED_SAMPLING_POWER_HZ: must be a number, not 'fast'"
    )
    assert refused(tmp_path, "", HOME, {"for_seconds": -1.0}) == "--for: must be at least 0 s, not -1.0"


def test_a_mistyped_variable_is_a_warning_and_a_service_of_kubernetes_is_not(tmp_path):
    environ = HOME | {"WATTSHED_LOG_LEVLE": "debug", "WATTSHED_PORT_9961_TCP_ADDR": "10.0.0.1", "WATTSHED_CONFIG": ""}
    loaded = load(written(tmp_path, ""), environ)
    assert loaded.warnings == ("WATTSHED_LOG_LEVLE is not a setting and is ignored; did you mean WATTSHED_LOG_LEVEL?",)


def test_systemd_names_the_folders_and_the_file_goes_before_it(tmp_path):
    environ = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "CACHE_DIRECTORY": "/var/cache/a"}
    config = load(written(tmp_path, ""), environ).config
    assert (config.state_dir, config.cache_dir) == ("/var/lib/a", "/var/cache/a")
    config = load(written(tmp_path, "state_dir = 'here'"), environ).config
    assert config.state_dir == str(tmp_path / "here"), "from the folder of the file"
    with pytest.raises(InputError, match="set cache_dir"):
        load(written(tmp_path, "state_dir = '/x'"), {})


def test_the_example_is_the_defaults_also_when_uncommented(tmp_path):
    keyed = example().split("[idle_watts]")[0]
    bare = "\n".join(line.removeprefix("# ") if " = " in line else line for line in keyed.split("\n"))
    assert sum(len(v) if isinstance(v, dict) else 1 for v in tomllib.loads(bare).values()) == len(keys(Config))
    defaults = load(written(tmp_path, ""), HOME).config
    assert load(written(tmp_path, bare), HOME).config == defaults
    assert load(written(tmp_path, example()), HOME).config == defaults


def test_every_key_is_in_the_example_and_says_what_it_is_for():
    for path, spec, _ in keys(Config):
        assert spec.metadata["text"].endswith((".", "kubelet.sock")), path
        assert f"\n# {path[-1]} = " in example()


def test_the_reference_page_is_the_generated_one():
    assert (ROOT / "docs/configuration.md").read_text() == markdown(), (
        "run: wattshed config --markdown > docs/configuration.md"
    )


def test_only_the_command_line_imports_the_configuration():
    told = 'import sys, wattshed.agent.commands.config; sys.exit("wattshed.agent.config.settings" in sys.modules)'
    assert subprocess.run([sys.executable, "-c", told], cwd=ROOT, check=False).returncode == 0


_words = st.sampled_from(
    [*"abc", "log", "level", "meter", "listen", "calibration", "GPU-1", "gain", "idle_watts", "sampling", "power_hz"]
)
_leaf = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=5))
_trees = st.recursive(
    _leaf,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_words, inner, max_size=4)),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(_words, _trees, max_size=5))
def test_no_tree_gets_past_the_check_other_than_whole(tree):
    from wattshed.agent.inputs.keys import Flag, build

    try:
        config = build(Config, tree, Flag("tree"))
    except InputError:
        return
    assert isinstance(config.listen, tuple)
    assert 0.01 <= config.sampling.power_hz <= 10
    assert all(0.5 <= card.gain <= 2 for card in config.calibration.values())
