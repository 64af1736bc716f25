"""Build all that a release consists of: ``make packages``.

deb and rpm hold an environment of their own under /usr/lib/wattshed, made for the Python that runs this script, from
the locked wheels: nothing is downloaded at the installation, and nothing of the system's Python packages is touched.
They, and the wheel for this kind of machine, hold the kernels, compiled ahead: one library for each level of processor,
which needs nothing but libc and libm of 2012 and later (manylinux2014), and no particular Python. The wheel for any
machine has none; there the kernels are compiled where they run. The chart is Kubernetes', SHA256SUMS is of all of it.
"""

import argparse
import gzip
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from string import Template

import yaml

from deploy.packages.staging import GLIBC, PIP, PYTHON, ROOT, put_into, stage

HERE = ROOT / "deploy/packages"
CHART = ROOT / "deploy/kubernetes/wattshed"
LEVELS = {"x86_64": ("x86-64-v3", "x86-64-v4"), "aarch64": ("aarch64",)}
"""By machine. What is older than these runs the kernels as plain Python, unless it compiles its own."""
DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
FORMATS = ("sdist", "wheel", "deb", "rpm", "chart")


def main() -> int:
    """Make what was asked for, and the checksums of that."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the files go")
    parser.add_argument("--stage", type=Path, default=ROOT / "build/packages", help="scratch folder, created anew")
    parser.add_argument("--version", help="of deb and rpm, instead of the project's own")
    parser.add_argument("--format", choices=FORMATS, action="append", help="only this; repeatable")
    arguments = parser.parse_args()
    os.environ["SOURCE_DATE_EPOCH"] = source_date()  # for setuptools and the manual pages
    scratch, out = arguments.stage.resolve(), arguments.out.resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    made = build(scratch, out, set(arguments.format or FORMATS), arguments.version)
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(made))
    (out / "SHA256SUMS").write_text(sums)
    for path in made:
        print(f"{path.stat().st_size / 1e6:8.1f} MB  {path}")
    return 0


def build(scratch: Path, out: Path, wanted: set[str], version: str | None) -> list[Path]:
    """Make files of the kinds that are wanted; returns them."""
    made = [chart(out)] if "chart" in wanted else []
    if wanted == {"chart"}:
        return made
    sdist, pure = sources(scratch / "sources")
    made += [Path(shutil.copy(sdist, out))] if "sdist" in wanted else []
    libraries = compiled(scratch / "kernels") if wanted & {"wheel", "deb", "rpm"} else []
    if "wheel" in wanted:
        made += [Path(shutil.copy(pure, out)), wheel_with(pure, libraries, out)]
    if packages := sorted(wanted & {"deb", "rpm"}):
        stage(scratch / "tree", pure, libraries)
        made += [pack(kind, scratch / "tree", out, version or pure.name.split("-")[1]) for kind in packages]
    return made


def committed() -> str:
    """Return when the sources were committed, in seconds since 1970: the date of all that is in the files."""
    asked = ["git", "log", "-1", "--format=%ct"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return told if told.isdigit() else "1700000000"


def compiled(out: Path, *besides: str) -> list[Path]:
    """Compile all kernels once for every level of this machine, and for other processors besides.

    Returns the libraries of the levels, and their manifests.
    """
    levels = LEVELS[platform.machine()]
    named = [word for name in (*besides, *levels) for word in ("--cpu", name)]
    command = [sys.executable, "-m", "wattshed.kernels.build", "--out", str(out), *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    made = sorted(path for name in levels for path in out.glob(f"kernels-*-{name}[-.]*"))
    if done.returncode or sum(path.suffix == ".so" for path in made) != len(levels):
        raise SystemExit(f"the kernels were not compiled: {done.stderr[-2000:]}")
    return made


def sources(folder: Path) -> tuple[Path, Path]:
    """Make the source archive and, from it, the wheel for any machine; returns both."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the wheel was not built: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def source_date() -> str:
    """Return the time that everything made is dated: what the caller says, else that of the last commit."""
    return os.environ.get("SOURCE_DATE_EPOCH") or committed()


def pure_wheel(folder: Path) -> Path:
    """Make the wheel for any machine alone."""
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


def pack(kind: str, tree: Path, out: Path, number: str) -> Path:
    """Run nfpm; returns the package."""
    machine = DEBIAN_NAMES[platform.machine()]
    names = {"deb": f"wattshed_{number}_{machine}.deb", "rpm": f"wattshed-{number}-1.{platform.machine()}.rpm"}
    target = out / names[kind]
    values = {"arch": machine, "python": PYTHON, "tree": tree, "version": number, "glibc": f"2.{GLIBC}"}
    values["distribution"] = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    nfpm = shutil.which("nfpm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if nfpm is None:
        raise SystemExit("nfpm is not installed; run `make packages`, which installs it")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(Template((HERE / "nfpm.yaml").read_text()).substitute(values))
        config.flush()
        subprocess.run(
            [nfpm, "package", "--packager", kind, "--config", config.name, "--target", str(target)],
            cwd=HERE,
            env={**os.environ, "SOURCE_DATE_EPOCH": source_date()},
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return target


def chart(out: Path) -> Path:
    """Pack the Helm chart as ``helm package`` does, but with the same bytes each time; links become the files."""
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    target = out / f"{about['name']}-{about['version']}.tgz"
    files = sorted(path for path in CHART.rglob("*") if path.is_file())
    files.sort(key=lambda path: path.name != "Chart.yaml")  # first, as Helm reads it first
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in files:
            content = path.read_bytes()
            entry = tarfile.TarInfo(f"{about['name']}/{path.relative_to(CHART)}")
            entry.size, entry.mode = len(content), 0o644
            entry.mtime = int(source_date())
            archive.addfile(entry, io.BytesIO(content))
    return target


if __name__ == "__main__":
    sys.exit(main())
