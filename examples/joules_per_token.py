"""Joules per token of an inference server whose page an agent reads, here on a made-up GPU that draws 300 W.

$ python examples/joules_per_token.py
slurm:7: output_tokens, 3 J each
"""

import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import wattshed

PAGE = 'vllm:generation_tokens_total{{engine="0",model_name="demo"}} {tokens}\n'
GPU = """
gpus = 1
[[job]]
name = "7"
gpus = [0]
load = [[1.0, 230.0, 90]]
"""
CONFIG = """
state_dir = "{folder}"
history.enabled = false
[work]
interval_s = 1.0
[[work.server]]
url = "http://127.0.0.1:{port}"
job = "slurm:7"
"""


class Server(BaseHTTPRequestHandler):
    """Stands for vLLM: 100 tokens a second."""

    def do_GET(self):
        """Answer with the page."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE.format(tokens=int((time.monotonic() - STARTED_S) * 100)).encode())

    def log_message(self, *_):  # noqa: D102
        pass


STARTED_S = time.monotonic()
with tempfile.TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Path(folder, "config.toml").write_text(CONFIG.format(folder=folder, port=server.server_port))
    Path(folder, "gpu.toml").write_text(GPU)
    agent = [sys.executable, "-m", "wattshed", "run", "--config", f"{folder}/config.toml", "--for", "12"]
    agent += ["--meter", f"simulated:{folder}/gpu.toml", "--record", f"{folder}/trace", "--listen", "127.0.0.1:0"]
    subprocess.run(agent, check=True, stderr=subprocess.DEVNULL)
    report = wattshed.replay(f"{folder}/trace")
for work in report.work.to_pylist():
    print(f"{work['job']}: {work['unit']}, {work['joules_per_unit']:.0f} J each")
