"""What a host of repositories and pre-commit read: it parses, and what it calls exists."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
TOOLS = {"ruff": "ruff", "mypy": "mypy", "lint-imports": "import-linter"}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_pre_commit_runs_what_make_lint_runs_from_the_projects_environment():
    (local,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert all(hook["language"] == "system" for hook in local["hooks"])  # no version is said here
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in local["hooks"]]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    linted = re.findall(r"\$\(BIN\)/(.*)", recipe)
    assert [entry.removeprefix(".venv/bin/") for entry in entries] == [
        re.sub(r"( --check)? \.$", "", line) for line in linted
    ]
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["dev"]
    needed = {TOOLS[entry.removeprefix(".venv/bin/").split()[0]] for entry in entries}
    assert needed <= {re.split(r"[=<>!~\[]", requirement)[0] for requirement in dev}


def test_the_hosted_ci_calls_the_projects_own():
    flow = read(GITHUB / "workflows/ci.yml")
    assert set(flow[True]) == {"push", "pull_request"}  # YAML 1.1 reads `on` as a truth
    assert flow["permissions"] == {"contents": "read"}
    (job,) = flow["jobs"].values()
    assert job["container"]["image"] == "debian:12"
    assert "--user" not in job["container"]["options"]  # as root
    assert job["timeout-minutes"] <= 120
    assert job["steps"][-1] == {"run": ".ci/run"}
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/(checkout|cache)@v\d+", action) for action in used)
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "Debian 12" in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_github_shows(path):
    """The rules of GitHub's documentation, "Syntax for issue forms" and "Syntax for GitHub's form schema"."""
    form = read(path)
    assert set(form) <= {"name", "description", "title", "labels", "assignees", "body"}
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert ids
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[\w-]+", one) for one in ids)
    labels = [part["attributes"]["label"] for part in form["body"] if part["type"] != "markdown"]
    assert len(set(labels)) == len(labels)
    for part in form["body"]:
        allowed = {
            "markdown": {"value"},
            "input": {"label", "description", "placeholder", "value"},
            "textarea": {"label", "description", "placeholder", "value", "render"},
            "dropdown": {"label", "description", "multiple", "options", "default"},
        }[part["type"]]
        assert set(part["attributes"]) <= allowed
        assert set(part) <= {"type", "id", "attributes", "validations"}
        assert set(part.get("validations", {})) <= {"required"}
    assert any(part.get("validations", {}).get("required") for part in form["body"])


@pytest.mark.parametrize("path", [*FORMS, GITHUB / "pull_request_template.md"], ids=lambda path: path.stem)
def test_commands_files_and_targets_that_are_asked_for_exist(path):
    text = path.read_text(encoding="utf-8")
    reference = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    commands = re.findall(r"^## `wattshed ([a-z]+)", reference, re.MULTILINE)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for word in re.findall(r"`wattshed ([a-z]+)", text):
        assert word in commands
    for word in re.findall(r"`make ([a-z]+)", text):
        assert word in targets
    for name in re.findall(r"`((?:docs|tests)/[\w./-]*|[A-Z]+\.md)`|\b(SECURITY\.md)", text):
        assert (ROOT / "".join(name)).exists()


def test_who_finds_a_weakness_is_told_how_to_say_so():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "private vulnerability reporting" in text
    assert "Supported versions" in text
    assert "](docs/security.md)" in text
    assert not re.search(r"\w@\w", text)  # no address was made up
