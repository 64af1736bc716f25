"""Stands in for what builds the kernels: ``python -m tests.daemon.builder HOW [FILE]``."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(how, *file):
    if how == "well":
        about = {"nice": os.nice(0), "group": os.getpgid(0), "pid": os.getpid(), "environ": dict(os.environ)}
        about["processor_s"] = resource.getrlimit(resource.RLIMIT_CPU)[0]
        Path(file[0]).write_text(json.dumps(about | {"oom": Path("/proc/self/oom_score_adj").read_text().strip()}))
    elif how == "full":
        sys.exit("building\nno space left on the device: kernels.so\n")
    elif how == "long":
        helper = subprocess.Popen(["sleep", "300"])
        Path(file[0]).write_text(f"{os.getpid()} {helper.pid}")
        time.sleep(300)
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "spent":
        os.kill(os.getpid(), signal.SIGXCPU)


if __name__ == "__main__":
    main(*sys.argv[1:])
