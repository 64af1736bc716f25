"""What a new user does first, in a fresh Debian with python3, python3-venv and make, as a user who is not root.

The wheels are downloaded before: what a network takes is none of ours. Nothing else is there: no cache, no compiled
kernels, no home but an empty one, and no network but a loopback interface of its own. What is measured is processor
time, which a busy machine does not lengthen.
"""

import re
import subprocess
import sys
import zlib

import pytest

from tests.daemon.process import ROOT
from tests.deploy.conftest import SUITE, kept, minimal

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]  # a root file system is made once

INCLUDED = "python3,python3-venv,make"
LAYER = """\
set -e
"$PYTHON" -c "$LOOPBACK"
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$FRESH,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt/root
mount --bind /proc proc
mount --bind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p srv/wheels srv/wattshed home/ada
mount --bind "$WHEELS" srv/wheels
tar x -C srv/wattshed < "$TREE"
chown -R 1000:1000 srv/wattshed home/ada
echo ada:x:1000:1000::/home/ada:/bin/sh >> etc/passwd
exec chroot . env -i PATH=/usr/bin:/bin HOME=/home/ada PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/wheels \\
    setpriv --reuid 1000 --regid 1000 --clear-groups sh -c "cd /srv/wattshed && $COMMANDS"
"""
LOOPBACK = """\
import fcntl, socket, struct
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
"""
COMMANDS = """\
set -e
make run > log 2>&1 &
made=$!
until grep -q ready: log; do
    kill -0 $made || { cat log >&2; exit 1; }
    sleep 0.2
done
.venv/bin/wattshed jobs
echo ---
.venv/bin/wattshed top --once
echo ---
agent=$(sed -n 's/^pid \\([0-9]*\\),.*/\\1/p' ~/.local/state/wattshed/simulated.lock)
kill $agent
wait
times
echo ---
.venv/bin/wattshed replay power.csv
echo ---
times
echo ---
find ~ .venv /tmp -name '*.nbi' -o -name 'kernels-*.so'
echo ---
cat log
"""


@pytest.fixture(scope="module")
def fresh(peer):
    """A root file system, and the wheels of ``requirements/run.lock``."""
    lock = ROOT / "requirements/run.lock"
    wheels = kept(
        f"wheels-{zlib.crc32(lock.read_bytes()):08x}",
        lambda folder: [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--only-binary=:all:", "-r", str(lock), "-d", str(folder)),
        ],
    )
    return minimal(f"{SUITE}-first", INCLUDED), wheels


@pytest.fixture(scope="module")
def first(fresh, tmp_path_factory):
    """What the commands print, part by part."""
    root, wheels = fresh
    folder = tmp_path_factory.mktemp("first")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    log = folder / "power.csv"
    with log.open("w") as file:
        file.write("timestamp, index, power.draw [W]\n")
        for second in range(125_000):
            hours, rest = divmod(second, 3600)
            stamp = f"2026/03/{1 + hours // 24:02d} {hours % 24:02d}:{rest // 60:02d}:{rest % 60:02d}.000"
            file.writelines(f"{stamp}, {gpu}, {70 + (second * 7 + gpu * 13) % 600}.{gpu}0 W\n" for gpu in range(8))
    tree = folder / "tree.tar"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(
        ["tar", "cf", str(tree), "--null", "-T", "-", "-C", str(folder), "power.csv"],
        cwd=ROOT, input=files, check=True,
    )  # fmt: skip
    script = folder / "commands.sh"
    script.write_text(COMMANDS)
    subprocess.run(["tar", "rf", str(tree), "-C", str(folder), "commands.sh"], check=True)
    done = subprocess.run(
        ["unshare", "-m", "-n", "-p", "--fork", "--mount-proc", "--kill-child", "sh", "-c", LAYER],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "FRESH": str(root), "WHEELS": str(wheels), "TREE": str(tree),
            "COMMANDS": "sh commands.sh", "PYTHON": sys.executable, "LOOPBACK": LOOPBACK,
        },
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.split("---\n")


def test_jobs_and_top_find_the_agent_of_make_run(first):
    jobs, top = first[0], first[1]
    assert "slurm:4001" in jobs
    assert "slurm:4001" in top


def test_each_step_is_one_line_and_nothing_else_is_said(first):
    lines = [re.sub(r"^\S+ \S+ (info|warning) +", "", line) for line in first[6].splitlines()]
    assert [line.partition(" ")[0] for line in lines] == [
        "making",
        "installing",
        "listening",
        "found",
        "SIMULATED",
        "ready:",
        "SIGTERM:",
        "SIMULATED:",
    ], lines
    assert "unix:/tmp/wattshed-1000/api.sock" in lines[2]


def seconds(times):
    """User and system time of a shell's children: the second line of its ``times``."""
    words = times.splitlines()[1].split()
    return sum(60 * int(minutes) + float(rest) for minutes, rest in (word.rstrip("s").split("m") for word in words))


def test_the_first_page_and_the_first_answer_take_little(first):
    """On an idle machine twelve seconds to the first page, and a second and a half for a million readings."""
    until_stopped, with_replay = seconds(first[2]), seconds(first[4])
    assert until_stopped < 20, "made, installed, started, asked twice and stopped"
    assert with_replay - until_stopped < 6, "a compiler takes twenty"
    assert re.search(r"total [\d,]+\.\d J", first[3])


def test_nothing_was_compiled(first):
    assert first[5] == ""
