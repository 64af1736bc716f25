"""What a user's mypy sees of `import wattshed`: types, and mistakes."""

import subprocess
import sys

from tests.markdown import ROOT

PROGRAM = """
import wattshed

report = wattshed.replay("t.csv", jobs="j.csv", columns={"time": "ts"}, device="cpu")
reveal_type(report)
reveal_type(report.total_hnj)
reveal_type(report.json())
reveal_type(wattshed.read("t.csv"))
reveal_type(wattshed.fleet.estimate("s.csv", "p.csv").total)
reveal_type(wattshed.kernels.energy.integrate)
wattshed.replay("t.csv", device="gpu")
wattshed.replay("t.csv", max_gap="5 s")
wattshed.replay()
report.pandas("users")
"""


def test_a_users_mypy_sees_types_and_mistakes(tmp_path):
    """Strict, as the project's own; what `make lint` found out before is not found out again."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = [line.partition("program.py:")[2].partition(": ")[2] for line in done.stdout.splitlines()]
    types = [line.partition('"')[2].rstrip('"') for line in said if line.startswith("note: Revealed type")]
    assert types, done.stdout + done.stderr
    assert [text.replace("builtins.", "") for text in types[:5]] == [
        "wattshed.agent.library.report.Report",
        "int",
        "str",
        "wattshed.agent.library.recording.Recording",
        "float | None",
    ]
    assert types[5].startswith("def (time_us: ")
    mistakes = [line for line in said if line.startswith("error: ")]
    assert [line.rpartition("[")[2] for line in mistakes] == ["arg-type]", "arg-type]", "call-arg]", "arg-type]"]
