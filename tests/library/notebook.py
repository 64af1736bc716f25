"""Runs the notebook of examples/ in Jupyter; ``python -m tests.library.notebook`` writes into it what cells show."""

import re
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples/a_minute_of_a_card.ipynb"


def executed(notebook, python, folder, environment):
    """A notebook after all its cells ran, one after the other.

    ``python`` is the interpreter of its kernel, ``folder`` where that runs.
    """
    manager = KernelManager()
    manager.kernel_spec.argv[0] = str(python)
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=120,
        startup_timeout=180,
        kernel_name=manager.kernel_name,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
    return notebook


def shown(notebook):
    """What its cells print and show as text and HTML, without the styles."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            yield output.get("text", data.get("text/plain", "")).strip()
            yield re.sub(r"<style.*?</style>", "", data.get("text/html", ""), flags=re.DOTALL)


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


if __name__ == "__main__":
    import os
    import sys

    nbformat.write(executed(read(), sys.executable, NOTEBOOK.parent, dict(os.environ)), NOTEBOOK)
