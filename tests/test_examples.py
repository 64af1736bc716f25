"""The examples run, and print what they say that they print."""

import ast
import os
import runpy
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False)


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_docstring_shows(path, capsys):
    before, _, shown = docstring(path).partition("\n$ python ")
    command, _, expected = shown.partition("\n")
    assert before
    assert command == f"examples/{path.name}"
    with patch.dict(os.environ):
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip() == expected.strip()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_imports_the_one_name(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    modules = [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    assert not {name.partition(".")[0] for name in modules} & {"agent", "kernels", "exporters", "tests"}
    modules += [
        alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names
    ]
    assert any(name.partition(".")[0] == "wattshed" for name in modules)
    assert "sys.path" not in text
