"""Every TOML file that a command reads: what is wrong in it is one line with its place, whoever reads it."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet.example_fleet import FLEET
from tests.fleet.test_scenarios import OWN
from wattshed.agent.commands.config import example
from wattshed.agent.config.loading import load
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.claims.scenario import read
from wattshed.agent.fleet.demand.transformer import read_transformer
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.inputs.positions import positions
from wattshed.agent.inputs.toml import Document
from wattshed.agent.simulation.scenario import read_scenario

ROOT = Path(__file__).parents[2]
TRANSFORMER = """\
rated_va = 12e6
power_factor = 0.95
top_oil_rise_c = 55
ambient_c = -5.5
units = 2
"""


def simulated():
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/metering.md").read_text(), re.DOTALL)
    return text


def configuration():
    return re.sub(
        r"^# ([a-z_]+ = |\"NVIDIA.* = |\[calibration|\[\[work|\[node\.)", r"\1", example(), flags=re.MULTILINE
    )


KINDS = {
    "config": (configuration(), lambda path: load(path, {"HOME": "/home/somebody"})),
    "simulated": (simulated(), read_scenario),
    "fleet": (FLEET, read_inventory),
    "scenario": (OWN, read),
    "transformer": (TRANSFORMER, read_transformer),
}
COMMANDS = {
    "config": ("config", "--check"),
    "simulated": ("check", "--meter", "simulated:{}"),
    "fleet": ("fleet", "estimate", "--prometheus", "http://127.0.0.1:9", "--inventory"),
    "scenario": ("fleet", "scenario"),
    "transformer": ("fleet", "demand", "load.csv", "--transformer"),
}


def keys_of(text):
    """Lines (from 0) that give a key a value, and the key."""
    found = [(i, re.match(r"([a-z_0-9]+) *= *\S", line)) for i, line in enumerate(text.split("\n"))]
    return [(i, match[1]) for i, match in found if match]


def refused(path, reader):
    with pytest.raises(InputError) as caught:
        reader(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:{caught.value.line}:{caught.value.column}: ")
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_the_good_file_is_good(kind, tmp_path):
    text, reader = KINDS[kind]
    (tmp_path / "f.toml").write_text(text)
    reader(tmp_path / "f.toml")


MISTAKES = {
    "typo": lambda line, key: line.replace(key, key + "x", 1),
    "wrong type": lambda line, _: re.sub(r"=.*", "= 1979-05-27", line),
    "out of range": lambda line, _: re.sub(r"=.*", "= nan", line),
    "a table": lambda line, _: re.sub(r"=.*", "= { colour = 1 }", line),
    "twice the sign": lambda line, _: line.replace("=", "= =", 1),
    "open string": lambda line, _: re.sub(r"=.*", '= "', line),
    "nothing": lambda line, _: re.sub(r"=.*", "=", line),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(150))
@given(st.data())
def test_a_mistake_anywhere_is_one_line_with_its_place(kind, tmp_path, data):
    text, reader = KINDS[kind]
    number, key = data.draw(st.sampled_from(keys_of(text)))
    mistake = data.draw(st.sampled_from(sorted(MISTAKES)))
    lines = text.split("\n")
    lines[number] = MISTAKES[mistake](lines[number], key)
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    mark = data.draw(st.sampled_from(["", "\ufeff"]))
    path = tmp_path / "f.toml"
    path.write_bytes((mark + ending.join(lines)).encode())
    error = refused(path, reader)
    assert error.line == number + 1
    if mistake == "typo":
        assert error.column == 1
        assert re.search(
            rf"{key}x: unknown key; did you mean (([A-Za-z0-9_-]+|\x22[^\x22]*\x22)\.)*{key}\?", error.message
        )
    if mistake in {"twice the sign", "open string", "nothing"}:
        assert error.message.startswith("is not TOML: ")
        assert error.column > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_prints_that_line_and_ends_with_2(kind, tmp_path, capsys, monkeypatch):
    from wattshed.agent.__main__ import main

    text, _ = KINDS[kind]
    number, key = keys_of(text)[0]
    path = tmp_path / "f.toml"
    path.write_text(
        "\n" + text.replace(key, key + "x", 1) if number == 0 else text.replace(f"\n{key} ", f"\n{key}x ", 1)
    )
    *words, last = COMMANDS[kind]
    arguments = [*words, last.format(path)] if "{}" in last else [*words, last, str(path)]
    monkeypatch.setattr(sys, "argv", ["wattshed", *arguments])
    with pytest.raises(SystemExit) as ended:
        sys.exit(main())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    at = number + 1 + (number == 0)
    assert re.fullmatch(
        rf"wattshed: {re.escape(str(path))}:{at}:1: (\w+\.)?{key}x: unknown key; did you mean .*\n", said
    )


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        ("fleet", "high = 1.3 }", "hihg = 1.3 }", "7:33: site.pue.hihg: unknown key; did you mean site.pue.high?"),
        ("fleet", "slope = 1.1, ", "slope = 1.1, slop = 1, ", "28:38: stratum.node.slop: unknown key; did you mean"),
        ("simulated", "[2, 0, 32]]", "\n  [2, 0]]", "20:3: gpu.mig: must be a list of [GPU instance, compute"),
        ("simulated", "[0.4, 90, 40]]", "\n# rest\n  [0.4, 'x', 40],\n]", "29:3: job.load: watts must be a number"),
        (
            "scenario",
            "value = [1, 2, 3]",
            "value = [1,\n 2, '3']",
            "11:5: given.hours.value: must be a number, not '3'",
        ),
        ("scenario", 'text = "a kilowatt"\n', "", "21:1: claim: needs text, a string"),
        ("scenario", "[energy]", "[enrgy]", "19:2: enrgy: unknown key; did you mean energy?"),
        ("transformer", "rated_va = 12e6\n", "", "1:1: needs rated_va, the nameplate in VA"),
        (
            "transformer",
            "rated_va",
            "[transfomer]\nrated_va",
            "1:2: transfomer: unknown key; did you mean transformer?",
        ),
        ("config", "[log]", "[lgo]", "lgo: unknown key; did you mean log?"),
    ],
)
def test_places_within_lists_tables_and_headers(kind, old, new, said, tmp_path):
    text, reader = KINDS[kind]
    assert old in text
    (tmp_path / "f.toml").write_text(text.replace(old, new, 1))
    assert said in str(refused(tmp_path / "f.toml", reader))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a = 1\n\nb = " + b"9" * 5000, "f.toml:3:1: is not TOML: Exceeds the limit"),
        (b"a = 1\n b = " + b"[" * 5000, "f.toml:2:2: is nested too deeply"),
        (b"a = 1\nb = 2026-02-30", "f.toml:2:5: is not TOML: Invalid date"),
        (b"a = 1\nb = \xff", "f.toml:2:5: is not UTF-8; save it as UTF-8"),
        ("a = 1".encode("utf-16"), "f.toml:1:1: is not UTF-8; save it as UTF-8"),
        (b"#" * (1 << 20) + b"#", "f.toml: is larger than 1 MiB"),
    ],
)
def test_what_is_no_toml_at_all(text, said, tmp_path):
    (tmp_path / "f.toml").write_bytes(text)
    with pytest.raises(InputError) as caught:
        Document(tmp_path / "f.toml")
    assert said in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    for path, said in (
        (tmp_path / "none.toml", "none.toml: cannot be read (No such file or directory); check the path"),
        (tmp_path, "cannot be read (Is a directory)"),
        ("a\0b", r"'a\x00b': is not a valid path"),
    ):
        with pytest.raises(InputError) as caught:
            Document(path)
        assert said in str(caught.value)


# Positions


def paths(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in items:
        yield from paths(inner, (*path, name))


_names = st.one_of(
    st.sampled_from(["a", "b-c", "d_9", "7", "x.y", "é [", 'q"', "#", ""]), st.text("ab=]\\ ", max_size=3)
)
_leaves = st.sampled_from(
    [
        "1",
        "-2.5e-3",
        "true",
        "1979-05-27 07:32:00",
        "07:32:00.5",
        '"a # ] = \\" b"',
        "'C:\\'",
        '"""x\n= ["]\n""""',
        "''''\n#'''",
    ]
)


def quoted(name):
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def values(draw, depth=2):
    kind = draw(st.integers(0, 3 if depth else 0))
    gap = st.sampled_from(["", " ", "\n", " # ] c\n  "])
    if kind in (0, 1):
        return draw(_leaves)
    if kind == 2:
        inner = draw(st.lists(values(depth=depth - 1), max_size=3))
        between = f"{draw(gap)},{draw(gap)}"
        return f"[{draw(gap)}{between.join(inner)}{draw(gap)}]"
    names = draw(st.lists(_names, unique=True, max_size=3))
    return "{ " + ", ".join(f"{quoted(n)} = {draw(values(depth=depth - 1))}" for n in names) + " }"


@st.composite
def documents(draw):
    lines = []
    for _ in range(draw(st.integers(0, 5))):
        header = ".".join(quoted(name) for name in draw(st.lists(_names, min_size=1, max_size=3)))
        lines.append(draw(st.sampled_from(["[{}]", "[[{}]]", " [ {} ] # [x]", ""])).format(header))
        for name in draw(st.lists(_names, unique=True, max_size=3)):
            inner = draw(st.sampled_from(["", " . e"]))
            lines.append(f"{quoted(name)}{inner} = {draw(values())}{draw(st.sampled_from(['', ' # = 1']))}")
        lines.append(draw(st.sampled_from(["", "# [c]"])))
    return "\n".join(lines)


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_positions_are_of_the_same_tree_that_tomllib_reads(text):
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = positions(text)
    assert set(found) == set(paths(tree))
    for path, offset in found.items():
        if path and isinstance(path[-1], str):
            assert text[offset:].startswith((quoted(path[-1]), "e")), path


def test_positions_of_a_page_of_everything():
    text = '"b.c" . d = [1, [2, # ] x\n 3], {x = "y]", z=1.5}]\n[[t]]\n[t.u]\nm = 1\n[[t]]\n  n = """\n"""\n'
    found = {path: (text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)) for path, at in positions(text).items()}
    assert found == {
        (): (1, 1),
        ("b.c",): (1, 1),
        ("b.c", "d"): (1, 9),
        ("b.c", "d", 0): (1, 14),
        ("b.c", "d", 1): (1, 17),
        ("b.c", "d", 1, 0): (1, 18),
        ("b.c", "d", 1, 1): (2, 2),
        ("b.c", "d", 2): (2, 6),
        ("b.c", "d", 2, "x"): (2, 7),
        ("b.c", "d", 2, "z"): (2, 17),
        ("t",): (3, 3),
        ("t", 0): (3, 1),
        ("t", 0, "u"): (4, 4),
        ("t", 0, "u", "m"): (5, 1),
        ("t", 1): (6, 1),
        ("t", 1, "n"): (7, 3),
    }
