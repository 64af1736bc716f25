"""The image, built by podman on a Debian of our own, and run as Kubernetes runs it: nobody, and nothing to write to."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

CONTAINERFILE = Path(__file__).resolve().parents[2] / "deploy/kubernetes/Containerfile"
ASK = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9961{}', timeout=5).read().decode())"
LARGE = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/i18n", "usr/share/man")
# As the chart's security context has it; the ulimits are those that a container may ask for in a container.
CONFINED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none",
            "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")  # fmt: skip


@pytest.fixture(scope="module")
def podman(debian):
    """Podman with storage of its own, and our Debian in it as ``base``."""
    runc = shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin")
    if not (runc and shutil.which("podman")):
        if os.environ.get("CI_REAL"):
            pytest.fail("podman or runc is not installed")
        pytest.skip("podman or runc is not installed")
    # Not pytest's folder: podman refuses a run root of more than 50 characters.
    folder = Path(tempfile.mkdtemp(prefix="wattshed-"))
    argv = ["podman", "--root", folder / "root", "--runroot", folder / "run", "--tmpdir", folder / "tmp"]
    argv += ["--storage-driver=vfs", "--events-backend=none", "--cgroup-manager=cgroupfs", "--runtime", runc]

    def call(*more, **rest):
        done = subprocess.run([*argv, *more], capture_output=True, text=True, check=False, **rest)
        assert done.returncode == 0, f"{more}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    try:
        with tempfile.TemporaryFile(dir=folder) as packed:
            without = [f"--exclude=./{name}/*" for name in LARGE]
            subprocess.run(["tar", "-C", str(debian), "-c", *without, "."], stdout=packed, check=True)
            packed.seek(0)
            call("import", "-", "base", stdin=packed)
        yield call
        call("rm", "--all", "--force", "--time", "0")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_image_runs_as_nobody_on_a_read_only_root_and_is_scraped(podman, packages, tmp_path):
    (deb,) = packages.glob("wattshed_1.0.0_*.deb")
    (tmp_path / "dist").mkdir()
    shutil.copy(deb, tmp_path / "dist")
    podman("build", "--isolation=chroot", "--layers=false", "--build-arg", "BASE=localhost/base",
           "--file", str(CONTAINERFILE), "--tag", "wattshed", str(tmp_path))  # fmt: skip
    base, whole = (int(podman("image", "inspect", "--format", "{{.Size}}", name)) for name in ("base", "wattshed"))
    assert whole - base < 210_000_000, "the deb's files, and not the deb beside them"

    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65532, 65532)
    kept = f"--volume={state}:/var/lib/wattshed"
    container = podman(
        "run", "--detach", *CONFINED, kept, "wattshed", "run", "--meter", "simulated", "--listen", ":9961"
    )

    def ask(path):
        return podman("exec", container, "python3.11", "-c", ASK.format(path))

    end = time.monotonic() + 60
    while "wattshed_gpu_energy_joules_total{" not in _or_nothing(ask, "/metrics"):
        assert time.monotonic() < end, podman("logs", container)
        time.sleep(0.5)
    assert podman("exec", container, "id", "-u") == "65532"
    refused = podman("exec", container, "sh", "-c", "touch /usr/x /etc/x 2>&1 || true")
    assert refused.count("Read-only file system") == 2
    podman("stop", "--time", "20", container)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    assert (state / "simulated.json").stat().st_uid == 65532


def _or_nothing(ask, path):
    try:
        return ask(path)
    except AssertionError:  # it does not listen yet
        return ""
