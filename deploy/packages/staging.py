"""Lay out everything that the deb and the rpm install, as it will lie under /."""

import compileall
import platform
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.packages import documents, manuals, trimming
from wattshed.agent.commands.config import example

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"python3.{sys.version_info.minor}"
HOME = "usr/lib/wattshed"
SITE = f"{HOME}/lib/{PYTHON}/site-packages"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
GLIBC = 28
"""The oldest libc, 2.28, that the libraries inside need: that of RHEL 8 and its kin. pip would take this machine's."""
PLATFORMS = [
    *(f"manylinux_2_{minor}_{platform.machine()}" for minor in range(GLIBC, 4, -1)),
    *(f"manylinux{year}_{platform.machine()}" for year in (2014, 2010)),
]
LAUNCHER = f"""\
#!/{HOME}/bin/python3 -I
import sys

from wattshed import main

sys.exit(main())
"""
INSTALLED_AS = {
    "wattshed.service": "usr/lib/systemd/system/wattshed.service",
    "wattshed-collect.service": "usr/lib/systemd/system/wattshed-collect.service",
    "wattshed-ipmi.service": "usr/lib/systemd/system/wattshed-ipmi.service",
    "wattshed-redfish.service": "usr/lib/systemd/system/wattshed-redfish.service",
    "10-web.conf": "usr/lib/systemd/system/wattshed.service.d/10-web.conf",
    "20-rapl.conf": "usr/lib/systemd/system/wattshed.service.d/20-rapl.conf",
    "60-wattshed.rules": "usr/lib/udev/rules.d/60-wattshed.rules",
    "sysusers.conf": "usr/lib/sysusers.d/wattshed.conf",
    "tmpfiles.conf": "usr/lib/tmpfiles.d/wattshed.conf",
    "around/wattshed.conf": f"{HOME}/around/wattshed.conf",
    "../mig-parted/hooks.yaml": f"{HOME}/mig-parted/hooks.yaml",
}
"""Of ``deploy/systemd``, or beside it."""


def stage(tree: Path, wheel: Path, libraries: list[Path]) -> None:
    """Lay out the environment, the command, its configuration, units, manual pages and documents below ``tree``."""
    _environment(tree, wheel, libraries)
    _write(tree / "usr/bin/wattshed", LAUNCHER, 0o755)
    _write(tree / "etc/wattshed/config.toml", example())
    for name, place in INSTALLED_AS.items():
        _write(tree / place, (ROOT / "deploy/systemd" / name).read_text())
    for script in sorted((ROOT / "deploy/slurm").iterdir()):
        _write(tree / HOME / script.name, script.read_text(), 0o755)
    manuals.write(tree)
    documents.write(ROOT, tree / "usr/share/doc/wattshed")


def put_into(site: Path, libraries: list[Path]) -> None:
    """Lay the compiled kernels where the installed package looks for them."""
    folder = site / "wattshed/kernels/lib"
    folder.mkdir(parents=True)
    for path in libraries:
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o644)


def _environment(tree: Path, wheel: Path, libraries: list[Path]) -> None:
    """Install the locked wheels and ours, and compile them to byte code."""
    site = tree / SITE
    install = [*PIP, "install", "-q", "--no-compile", "--only-binary", ":all:", "--target", str(site)]
    kinds = [word for name in PLATFORMS for word in ("--platform", name)]
    locked = ["--require-hashes", "-r", str(ROOT / "requirements/packages.lock")]
    subprocess.run([*install, *kinds, *locked], check=True)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    put_into(site, libraries)
    trimming.trim(site)
    # Read-only at run time, so compiled now; unchecked, because a package manager owns the sources.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(site, quiet=2, stripdir=str(tree), prependdir="/", invalidation_mode=mode, workers=0)
    interpreter = tree / HOME / "bin/python3"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to(f"/usr/bin/{PYTHON}")
    (tree / HOME / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
