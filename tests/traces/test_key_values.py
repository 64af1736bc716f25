"""Lines of keys and values, of any logger: the joules of a trapezoid that is written down here."""

import json

import pytest

WATTS = (100, 110, 90, 120)
JOULES = 105 + 100 + 105  # 1 s apart


@pytest.fixture
def replayed(wattshed, tmp_path):
    def run(line, *flags):
        path = tmp_path / "gpu.log"
        path.write_text("".join(line(t, w) + "\n" for t, w in enumerate(WATTS)), encoding="utf-8")
        code, out, err = wattshed("replay", path, "--format", "json", *flags)
        return (json.loads(out) if code == 0 else None), err

    return run


WAYS = {
    "logfmt": lambda t, w: f"ts={1_700_000_000 + t} level=info gpu=0 power_w={w}",
    "units in the values": lambda t, w: f"time=2024-05-01T12:00:0{t}Z gpu=0 power={w}W util=50%",
    "a blank in a value, words in front": lambda t, w: (
        f"2024-06-21T04:20:0{t}.5Z  INFO nvline: name=NVIDIA A10G device=0 power={w}.0 W used=4/23028 (0.02%)"
    ),
    "logging of Python": lambda t, w: f"2024-05-01 12:00:0{t},123 - INFO - gpu=0, power_w={w}",
    "a stamp in brackets": lambda t, w: f"[2024-05-01 12:00:0{t}] gpu=0 power_w={w}",
    "quotes": lambda t, w: f'ts="2024-05-01T12:00:0{t}+02:00" msg="a power_w=3 b" gpu=0 power_w="{w}"',
    "the first of a key counts": lambda t, w: f"ts={1_700_000_000 + t} gpu=0 power_w={w} power_w=7",
}


@pytest.mark.parametrize("name", WAYS)
def test_the_joules_are_those_of_the_trapezoid(name, replayed):
    answer, err = replayed(WAYS[name])
    assert answer is not None, err
    assert [(gpu["gpu"], gpu["energy_j"]) for gpu in answer["gpus"]] == [(0, JOULES)]
    assert answer["sources"][0]["format"] == "logfmt"
    assert answer["sources"][0]["rejected"] == {}


def test_a_key_for_each_gpu(replayed):
    answer, _ = replayed(lambda t, w: f"ts={1_700_000_000 + t} gpu0_power_w={w} gpu1_power_w={2 * w}")
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [JOULES, 2 * JOULES]


def test_other_messages_are_left_out(replayed):
    """They name no GPU of their own."""
    answer, _ = replayed(lambda t, w: f"{WAYS['logfmt'](t, w)}\nts={1_700_000_000 + t} msg=x gpu=7 pid=3\nstarted")
    assert [(gpu["gpu"], gpu["energy_j"]) for gpu in answer["gpus"]] == [(0, JOULES)]


def test_keys_of_any_name(replayed):
    answer, _ = replayed(
        lambda t, w: f"when={1_700_000_000 + t} board=3 p={w}", "--columns", "time=when,gpu=board,power=p"
    )
    assert [(gpu["gpu"], gpu["energy_j"]) for gpu in answer["gpus"]] == [(3, JOULES)]


def test_without_times(replayed):
    def line(_, w):
        return f"gpu=0 power_w={w}"

    assert "--period SECONDS" in replayed(line)[1]
    assert replayed(line, "--period", "1")[0]["gpus"][0]["energy_j"] == JOULES
