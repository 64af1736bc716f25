"""docs/security.md: each row names a test that exists, and those that live nowhere else are here."""

import io
import logging
import re
import tomllib
from pathlib import Path

from wattshed.agent.config.settings import Config
from wattshed.agent.printing.logs import Lines, set_up_log

ROOT = Path(__file__).resolve().parents[2]
UNIT = (ROOT / "deploy/systemd/wattshed.service").read_text()


def test_every_row_has_its_test():
    page = (ROOT / "docs/security.md").read_text()
    rows = [line for line in page.split("\n") if line.startswith("| ") and "test |" not in line]
    assert len(rows) >= 13
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert named, row
    for path, function in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page):
        text = (ROOT / path).read_text()
        assert not function or f"def {function}(" in text, f"{path}::{function}"


def test_a_name_cannot_forge_a_log_line():
    hostile = 'job\n<3>wattshed: all is lost\r\x1b[2J\x00"\u2028'
    for form in ("text", "journald", "json"):
        record = logging.LogRecord("wattshed", logging.INFO, "", 0, "job %s ended", (hostile,), None)
        line = Lines(form).format(record)
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        assert "\0" not in line


def test_priorities_go_before_the_line_where_it_is_the_journal():
    import os
    import tempfile

    with tempfile.TemporaryFile("w+") as stream:
        found = os.fstat(stream.fileno())
        set_up_log("info", "auto", {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, stream)
        logging.getLogger("wattshed.agent.somewhere").error("a fault")
        logging.getLogger("wattshed").debug("not said")
        stream.seek(0)
        assert stream.read() == "<3>a fault\n"
    elsewhere = io.StringIO()
    set_up_log("info", "auto", {"JOURNAL_STREAM": "1:2"}, elsewhere)
    logging.getLogger("wattshed").warning("text")
    assert elsewhere.getvalue().endswith(" warning text\n")
    logging.getLogger("wattshed").handlers.clear()
    logging.getLogger("wattshed").propagate = True


def test_the_environment_is_not_read_by_default():
    assert Config().jobs.environ_hint is False
    assert "CAP_" not in UNIT


def test_the_unit_takes_no_code_from_the_environment():
    (unset,) = re.findall(r"^UnsetEnvironment=(.*)$", UNIT, re.MULTILINE)
    assert {"LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"} <= set(
        unset.split()
    )
    assert "bin/python3 -I\n" in (ROOT / "deploy/packages/staging.py").read_text(), "isolated: no user site, no PYTHON*"


def test_the_default_address_is_loopback():
    assert all(address.startswith(("127.", "[::1]")) for address in Config().listen)
    text = (ROOT / "docs/configuration.md").read_text()
    assert '`["127.0.0.1:9961"]`' in text


def test_every_key_is_read_by_the_composition_root():
    """A key that nobody reads is a promise that nobody keeps."""
    from wattshed.agent.inputs.keys import keys

    files = [ROOT / "agent/__main__.py", *sorted((ROOT / "agent/daemon").glob("*.py"))]
    sources = "".join(file.read_text() for file in files)
    unread = [".".join(path) for path, _, _ in keys(Config) if not re.search(rf"\.{path[-1]}\b", sources)]
    assert unread == []
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"] == "wattshed"
