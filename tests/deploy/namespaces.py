"""A real systemd, as pid 1 of namespaces of its own: no virtual machine, no container engine, nothing left behind."""

import contextlib
import os
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/lib/systemd/systemd")

GROUPS = """\
set -e
mount --make-rprivate /
for name in $CGROUPS; do
    # Only what lies below this machine's own group: the namespace makes it the root of a fresh mount.
    where=/sys/fs/cgroup/$name
    case $name in
        .) umount -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
        unified) umount $where; mount -t cgroup2 cgroup2 $where ;;
        systemd) umount $where; mount -t cgroup -o none,name=systemd cgroup $where ;;
        *) umount $where; mount -t cgroup -o $name cgroup $where ;;
    esac
done
"""

INIT = """\
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir /srv/python /srv/tree /srv/site /srv/in
mount --bind "$PREFIX" /srv/python
mount --bind "$TREE" /srv/tree
mount --bind "$SITE" /srv/site
mount --bind "$IN" /srv/in
for folder in /run /tmp /var/tmp /var/lib /var/cache /var/log /etc/systemd/system /usr/lib/systemd/system-generators; do
    mount -t tmpfs -o mode=755 tmpfs $folder
done
chmod 1777 /tmp /var/tmp  # a systemd that boots removes the private folders of another one's services
mkdir -p /run/systemd/system /run/lock /etc/wattshed
mount -t tmpfs -o mode=755 tmpfs /etc/wattshed
cp -r /srv/in/units/. /run/systemd/system/
cp -r /srv/in/etc/. /etc/wattshed/
hostname wattshed-test
export container=namespaces
exec /lib/systemd/systemd --system --unit=$UNIT --log-target=journal --show-status=0
"""

FOREIGN = """\
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=$FOREIGN,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p srv/in
mount --bind "$IN" srv/in
export container=namespaces
exec chroot . /lib/systemd/systemd --system --unit=$UNIT --log-target=journal --show-status=0
"""

PYTHONPATH = "/srv/tree/deploy/python:/srv/site"
"""Where the tree under test, and what it needs, lie inside."""

LAUNCHER = """\
#!/bin/sh
# What a package's /usr/bin/wattshed does, for the interpreter and the tree under test.
export LD_LIBRARY_PATH=/srv/python/lib PYTHONPATH={path}
exec /srv/python/bin/{python} -P -m wattshed "$@"
"""


def missing():
    """What the machine lacks for this, or nothing."""
    if os.geteuid() != 0:
        return "namespaces need root"
    for need in ("unshare", "nsenter"):
        if not shutil.which(need):
            return f"{need} is not installed (util-linux)"
    return "" if SYSTEMD.exists() else "systemd is not installed"


def _removed(group):
    """Remove a control group and all below it, as far as nothing runs there; returns whether it is gone."""
    if group.is_dir():
        for below in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                below.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
    return not group.exists()


class Machine:
    """A booted systemd with the given units in /run/systemd/system, and files in /etc/wattshed.

    Its network is a loopback interface of its own: no port is taken before, and none of this machine's is touched.
    Or, with ``root``, that of another root file system, over which a scratch layer lies. ``folder`` is /srv/in inside.
    """

    def __init__(self, folder, units=None, etc=None, unit="basic.target", root=None):
        self.folder, self.unit, self.root = folder, unit, root
        units = units or {}
        for name, text in units.items():
            path = folder / "units" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "etc").mkdir(exist_ok=True)
        for name, text in (etc or {}).items():
            (folder / "etc" / name).write_text(text)
        launcher = folder / "wattshed"
        launcher.write_text(LAUNCHER.format(path=PYTHONPATH, python=f"python3.{sys.version_info.minor}"))
        launcher.chmod(0o755)

    def __enter__(self):
        self._groups = []
        pure = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        names = (
            ["."]
            if pure
            else [n for n in ("systemd", "unified", "devices", "pids") if Path("/sys/fs/cgroup", n).is_dir()]
        )
        script = self.folder / "init.sh"
        script.write_text(GROUPS + (FOREIGN if self.root else INIT))
        for name in names:
            group = Path("/sys/fs/cgroup", name, f"wattshed-test-{os.getpid()}")
            group.mkdir(exist_ok=True)
            self._groups.append(group)

        self.folder.chmod(0o755)
        self._log = (self.folder / "boot.log").open("wb")
        flags = "-m -n -p -C -u -i --fork --mount-proc --kill-child"
        environ = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "CGROUPS": " ".join(names),
            "PREFIX": sys.base_prefix,
            "TREE": str(ROOT),
            "SITE": sysconfig.get_path("purelib") if sys.prefix != sys.base_prefix else site.getsitepackages()[0],
            "IN": str(self.folder),
            "UNIT": self.unit,
            "FOREIGN": str(self.root or ""),
        }
        self._outer = subprocess.Popen(
            [
                "sh",
                "-c",
                f'for group; do echo $$ > "$group/cgroup.procs"; done; exec unshare {flags} bash {script}',
                "sh",
            ]
            + [str(group) for group in self._groups],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self.wait(
                lambda: (
                    self._pid_one()
                    and self.try_("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}
                ),
                60,
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        pid = self._pid_one()
        with contextlib.suppress(ProcessLookupError, TypeError):
            os.kill(pid, signal.SIGKILL)
        self._outer.kill()
        self._outer.wait(10)
        self._log.close()
        end = time.monotonic() + 10  # the namespace's processes are being killed meanwhile
        while not all(_removed(group) for group in self._groups) and time.monotonic() < end:
            time.sleep(0.1)

    def _pid_one(self):
        pid = self._outer.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            children = []
        return int(children[0]) if children else None

    def try_(self, *command):
        """Run a command inside."""
        return subprocess.run(
            ["nsenter", "-t", str(self._pid_one()), "-m", "-n", "-p", "-C", "-u", "-i", "-r", "-w", "--", *command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(self, *command):
        """Run a command inside; it must succeed."""
        done = self.try_(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def show(self, *properties, unit="wattshed.service"):
        """Properties of the unit, by name."""
        shown = self.run("systemctl", "show", unit, *(f"-p{p}" for p in properties))
        return dict(line.split("=", 1) for line in shown.strip().split("\n"))

    def logs(self):
        """What the journal holds of the unit."""
        return self.try_("journalctl", "-o", "cat", "--no-pager", "-u", "wattshed.service").stdout

    def wait(self, true, seconds):
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._outer.poll() is not None:
                raise AssertionError("systemd ended: " + (self.folder / "boot.log").read_text()[-2000:])
            if true():
                return
            time.sleep(0.2)
        raise AssertionError("waited in vain; " + (self.folder / "boot.log").read_text()[-2000:] + self.logs()[-4000:])
