"""Build the deb, the rpm, and the wheel for this kind of machine: ``make packages``.

deb and rpm hold an environment of their own under /usr/lib/wattshed, made for the Python that runs this script, from
the locked wheels: nothing is downloaded at the installation, and nothing of the system's Python packages is touched.
All three hold the kernels, compiled ahead: one library for each level of processor, which needs nothing but libc and
libm of 2012 and later (manylinux2014), and no particular Python. The wheel for any machine has none; there the kernels
are compiled where they run.
"""

import argparse
import compileall
import os
import platform
import py_compile
import shutil
import subprocess
import sys
import tempfile
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
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
LEVELS = {"x86_64": ("x86-64-v3", "x86-64-v4"), "aarch64": ("aarch64",)}
"""By machine. What is older than these compiles its kernels itself, or runs them as plain Python."""
# Tests and C headers of the dependencies: a third of their size, and nothing that runs.
NEEDLESS = ("*/tests", "pyarrow/include", "pyarrow/src", "numpy/_core/include", "numpy/_core/lib", "numba/cuda/tests")


def main() -> int:
    """Stage the tree, and have nfpm pack it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the packages go")
    parser.add_argument("--stage", type=Path, default=ROOT / "build/packages", help="scratch folder, created anew")
    parser.add_argument("--version", help="instead of the project's own")
    parser.add_argument("--format", choices=("wheel", "deb", "rpm"), action="append", help="only this; repeatable")
    arguments = parser.parse_args()
    scratch, out = arguments.stage.resolve(), arguments.out.resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    tree, wanted = scratch / "tree", arguments.format or ["wheel", "deb", "rpm"]
    libraries = compiled(scratch / "kernels")
    wheel = pure_wheel(scratch / "wheel")
    out.mkdir(parents=True, exist_ok=True)
    if "wheel" in wanted:
        print(wheel_with(wheel, libraries, out))
    if set(wanted) - {"wheel"}:
        stage(tree, wheel, libraries)
    for kind in sorted(set(wanted) - {"wheel"}):
        print(pack(kind, tree, out, arguments.version or version(tree)))
    return 0


def version(tree: Path) -> str:
    """Return the version of the wheel that was staged."""
    (found,) = (tree / HOME / "lib" / PYTHON / "site-packages").glob("wattshed-*.dist-info")
    return found.name.removeprefix("wattshed-").removesuffix(".dist-info")


def compiled(out: Path) -> list[Path]:
    """Compile all kernels once for every level of this machine; returns the libraries and their manifests."""
    levels = [word for name in LEVELS[platform.machine()] for word in ("--cpu", name)]
    command = [sys.executable, "-m", "wattshed.kernels.build", "--out", str(out), *levels]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    made = sorted(out.glob("kernels-*"))
    if done.returncode or sum(path.suffix == ".so" for path in made) != len(LEVELS[platform.machine()]):
        raise SystemExit(f"the kernels were not compiled: {done.stderr[-2000:]}")
    return made


def put_into(site: Path, libraries: list[Path]) -> None:
    """Lay the libraries where the installed package looks for them."""
    folder = site / "wattshed/kernels/lib"
    folder.mkdir(parents=True)
    for path in libraries:
        shutil.copyfile(path, folder / path.name)
        (folder / path.name).chmod(0o644)


def pure_wheel(folder: Path) -> Path:
    """Make the wheel for any machine."""
    shutil.rmtree(ROOT / "build/lib", ignore_errors=True)  # setuptools packs what an earlier build left there
    command = [*PIP, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def wheel_with(wheel: Path, libraries: list[Path], out: Path) -> Path:
    """Make of the wheel for any machine one for machines of this kind, with the libraries in it."""
    run = [sys.executable, "-m", "wheel"]
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([*run, "unpack", "--dest", name, str(wheel)], check=True, stdout=subprocess.DEVNULL)
        (tree,) = Path(name).iterdir()
        put_into(tree, libraries)
        packed = Path(name, "packed")
        packed.mkdir()
        subprocess.run([*run, "pack", "--dest-dir", str(packed), str(tree)], check=True, stdout=subprocess.DEVNULL)
        tags = ["--remove", "--platform-tag", f"manylinux2014_{platform.machine()}"]
        subprocess.run([*run, "tags", *tags, *map(str, packed.iterdir())], check=True, stdout=subprocess.DEVNULL)
        (made,) = packed.iterdir()
        return Path(shutil.copy(made, out))


def stage(tree: Path, wheel: Path, libraries: list[Path]) -> None:
    """Lay out everything as it will lie under /."""
    site = tree / HOME / "lib" / PYTHON / "site-packages"
    install = [*PIP, "install", "-q", "--no-compile", "--only-binary", ":all:", "--target", str(site)]
    subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements/packages.lock")], check=True)
    for pattern in (*NEEDLESS, "bin"):
        for needless in site.glob(pattern):
            shutil.rmtree(needless)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    put_into(site, libraries)
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
