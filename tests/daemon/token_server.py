"""A process that serves the page of an inference server: so many tokens a second, since it began."""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def main(port, rate, pid_file, cgroup):
    """Serve until killed; the pid is written once the server listens."""
    if cgroup:
        Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))  # before there is a socket: it keeps the cgroup
    began_s, began = time.time(), time.monotonic()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            tokens = int(rate * (time.monotonic() - began))
            page = (
                f'vllm:generation_tokens_total{{engine="0",model_name="m"}} {tokens}.0\n'
                'vllm:num_requests_running{engine="0",model_name="m"} 1.0\n'
                f"process_start_time_seconds {began_s}\n"
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", port), Page)
    new = Path(pid_file).with_suffix(".new")
    new.write_text(str(os.getpid()))
    new.rename(pid_file)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else "")
