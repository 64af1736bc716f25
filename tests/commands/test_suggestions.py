"""A command that is mistyped is answered with the one that was probably meant."""

import pytest

from wattshed.agent.__main__ import main


@pytest.mark.parametrize(("words", "meant"), [(["replya"], "replay"), (["fleet", "demnad"], "demand")])
def test_the_nearest_command_is_suggested(words, meant, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert f"; did you mean {meant}? (see wattshed " in capsys.readouterr().err


def test_nothing_is_suggested_where_nothing_is_near(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["qqqq"])
    assert "did you mean" not in capsys.readouterr().err
