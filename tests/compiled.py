"""Compile the kernels for all tests, once: ``python -m tests.compiled`` does it for this processor and for packages.

What is common to all processors takes most of the time. Where nobody did it, tests compile what they need themselves.
"""

import json
import platform
import sys
from pathlib import Path

from deploy.packages import build
from wattshed.kernels import cpu
from wattshed.kernels.cache import cache_folder, sources_digest


def packaged() -> list[Path]:
    """Libraries and manifests of every level of this machine, as `build.compiled` made them; or none."""
    folder, found = cache_folder(), []
    for level in build.LEVELS[platform.machine()]:
        manifest = Path(folder or "", f"kernels-{sources_digest()}-{level}.json")
        if not manifest.exists():
            return []
        files = json.loads(manifest.read_text())["files"].values()
        found += [manifest, *(manifest.with_name(one["file"]) for one in files)]
    return sorted(found)


def main() -> int:
    """Compile unless it is done."""
    if not packaged() and (folder := cache_folder()):
        build.compiled(folder, cpu.NATIVE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
