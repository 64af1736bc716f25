"""The project's own command line, with a pseudonym in place of the card's UUID: ``-m kit.agent_main run``."""

from __future__ import annotations

import os
import sys

PSEUDONYM = "GPU-00000000-0000-4000-8000-%012d"


def hide_uuid(binding) -> None:
    """Name cards by their place in the binding's answers. What is found by such a name again is found by its place."""
    original, by_uuid = binding.nvmlDeviceGetUUID, binding.nvmlDeviceGetHandleByUUID
    known: dict[str, str] = {}

    def uuid(handle):
        true = original(handle)
        return known.setdefault(true, PSEUDONYM % (len(known) + 1))

    def handle(name):
        return by_uuid(next((true for true, hidden in known.items() if hidden == name), name))

    binding.nvmlDeviceGetUUID, binding.nvmlDeviceGetHandleByUUID = uuid, handle


def main() -> int:
    """Run a command of the project."""
    if os.environ.get("KIT_SIMULATED") != "1":
        import pynvml

        hide_uuid(pynvml)
    from wattshed import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
