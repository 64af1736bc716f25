"""Build the deb and the rpm: ``make packages``.

Both hold an environment of their own under /usr/lib/wattshed, made for the Python that runs this script, from the
locked wheels: nothing is downloaded at the installation, and nothing of the system's Python packages is touched.
"""

import argparse
import compileall
import os
import platform
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy/packages"
PYTHON = f"python3.{sys.version_info.minor}"
HOME = "usr/lib/wattshed"
LAUNCHER = f"""\
#!/{HOME}/bin/python3 -I
import sys

from wattshed import main

sys.exit(main())
"""
# Tests and C headers of the dependencies: a third of their size, and nothing that runs.
NEEDLESS = ("*/tests", "pyarrow/include", "pyarrow/src", "numpy/_core/include", "numpy/_core/lib", "numba/cuda/tests")


def main() -> int:
    """Stage the tree, and have nfpm pack it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the packages go")
    parser.add_argument("--stage", type=Path, default=ROOT / "build/packages", help="scratch folder, created anew")
    parser.add_argument("--version", help="instead of the project's own")
    parser.add_argument("--format", choices=("deb", "rpm"), action="append", help="only this; repeatable")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.stage, ignore_errors=True)
    tree = arguments.stage.resolve() / "tree"
    stage(tree, arguments.stage.resolve() / "wheel")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for kind in arguments.format or ("deb", "rpm"):
        print(pack(kind, tree, arguments.out.resolve(), arguments.version or version(tree)))
    return 0


def version(tree: Path) -> str:
    """Return the version of the wheel that was staged."""
    (found,) = (tree / HOME / "lib" / PYTHON / "site-packages").glob("wattshed-*.dist-info")
    return found.name.removeprefix("wattshed-").removesuffix(".dist-info")


def stage(tree: Path, wheels: Path) -> None:
    """Lay out everything as it will lie under /."""
    run = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*run, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)], check=True, cwd=ROOT
    )
    (wheel,) = wheels.glob("*.whl")
    site = tree / HOME / "lib" / PYTHON / "site-packages"
    install = [*run, "install", "-q", "--no-compile", "--only-binary", ":all:", "--target", str(site)]
    subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements/packages.lock")], check=True)
    for pattern in (*NEEDLESS, "bin"):
        for needless in site.glob(pattern):
            shutil.rmtree(needless)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    shutil.rmtree(site / "bin", ignore_errors=True)  # commands whose first line names the interpreter of the build
    # Read-only at run time, so compiled now; unchecked, because a package manager owns the sources.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(site, quiet=2, stripdir=str(tree), prependdir="/", invalidation_mode=mode, workers=0)

    interpreter = tree / HOME / "bin/python3"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to(f"/usr/bin/{PYTHON}")
    (tree / HOME / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    _write(tree / "usr/bin/wattshed", LAUNCHER, 0o755)
    example = subprocess.run(
        [sys.executable, "-c", "from wattshed.agent.commands.config import example; print(example(), end='')"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    _write(tree / "etc/wattshed/config.toml", example.stdout)
    systemd = ROOT / "deploy/systemd"
    _copy(systemd / "wattshed.service", tree / "usr/lib/systemd/system/wattshed.service")
    _copy(systemd / "wattshed-collect.service", tree / "usr/lib/systemd/system/wattshed-collect.service")
    _copy(systemd / "10-web.conf", tree / "usr/lib/systemd/system/wattshed.service.d/10-web.conf")
    _copy(systemd / "sysusers.conf", tree / "usr/lib/sysusers.d/wattshed.conf")
    _copy(systemd / "tmpfiles.conf", tree / "usr/lib/tmpfiles.d/wattshed.conf")
    for script in sorted((ROOT / "deploy/slurm").iterdir()):
        _write(tree / HOME / script.name, script.read_text(), 0o755)
    documents = tree / "usr/share/doc/wattshed"
    for drop_in in sorted((systemd / "drop-ins").glob("*.conf")):
        _copy(drop_in, documents / "drop-ins" / drop_in.name)
    _copy(ROOT / "README.md", documents / "README.md")
    _copy(ROOT / "LICENSE", documents / "copyright")
    for page in ("history", "report", "collect", "configuration", "security", "reliability"):
        _copy(ROOT / "docs" / f"{page}.md", documents / f"{page}.md")


def pack(kind: str, tree: Path, out: Path, number: str) -> Path:
    """Run nfpm; returns the package."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    names = {"deb": f"wattshed_{number}_{machine}.deb", "rpm": f"wattshed-{number}-1.{platform.machine()}.rpm"}
    target = out / names[kind]
    environ = os.environ | {
        "WATTSHED_PACKAGE_VERSION": number,
        "WATTSHED_PACKAGE_ARCH": machine,
        "WATTSHED_PACKAGE_PYTHON": PYTHON,
        "WATTSHED_PACKAGE_TREE": str(tree),
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", "1700000000"),
    }
    nfpm = shutil.which("nfpm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if nfpm is None:
        raise SystemExit("nfpm is not installed; run `make packages`, which installs it")
    subprocess.run(
        [nfpm, "package", "--packager", kind, "--config", str(HERE / "nfpm.yaml"), "--target", str(target)],
        cwd=HERE,
        env=environ,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return target


def _copy(source: Path, target: Path) -> None:
    _write(target, source.read_text())


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


if __name__ == "__main__":
    sys.exit(main())
