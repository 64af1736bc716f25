"""A command or a flag that is mistyped is answered with the one that was probably meant, in one line."""

import pytest

from wattshed.agent.__main__ import main


@pytest.mark.parametrize(("words", "meant"), [(["replya"], "replay"), (["fleet", "demnad"], "demand")])
def test_the_nearest_command_is_suggested(words, meant, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert f"; did you mean {meant}? (see wattshed " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["run", "--listn", "x"], "wattshed run: unrecognized arguments: --listn x; did you mean --listen?"),
        (["replay", "a.csv", "--jbos=x"], "wattshed replay: unrecognized arguments: --jbos=x; did you mean --jobs?"),
        (["bench", "growth", "--limti", "3"], "wattshed bench growth: unrecognized arguments: --limti 3; did you mean"),
        (["--versoin"], "wattshed: unrecognized arguments: --versoin; did you mean --version?"),
        (["rn"], "wattshed: unknown command 'rn'; did you mean run? (see wattshed --help)"),
    ],
)
def test_the_nearest_flag_of_the_command_is_suggested_in_one_line(words, meant, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    said = capsys.readouterr().err
    assert said.startswith(meant)
    assert said.count("\n") == 1


def test_without_a_command_it_says_what_can_be_done(capsys):
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "wattshed run " in said.err
    assert said.err.endswith("all commands: wattshed --help\n")


def test_nothing_is_suggested_where_nothing_is_near(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["qqqq"])
    assert "did you mean" not in capsys.readouterr().err
