"""Plays random requests on the control socket and holds every answer against /v1/openapi.json.

    check.py PATH-TO-CUTOVER [SECONDS]

Needs the Python package schemathesis. Starts an edge of its own without Docker, with two apps of
the demo behind it, and ends it again. The exit code is that of schemathesis.
"""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
# Named failures of the API that a random request may meet; any other 5xx is a defect.
CONFIG = """
[listen]
http = ["127.0.0.1:{http}"]
admin = "off"
control = "{dir}/control.sock"
[runtime]
workers = 1
state_dir = "{dir}/state"
shutdown_timeout = "1s"
[docker]
enable = false
[services.web]
hosts = ["web.test"]
blue = ["127.0.0.1:{blue}"]
green = ["127.0.0.1:{green}"]
[services.web.probe]
path = "/health"
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def pump(source, target):
    """Copies until the source ends, then tells the target."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def join(client, control):
    """Joins one TCP connection to the control socket, and closes both."""
    with client, socket.socket(socket.AF_UNIX) as server:
        server.connect(control)
        upward = threading.Thread(target=pump, args=(client, server), daemon=True)
        upward.start()
        pump(server, client)
        upward.join()


def bridge(control):
    """Serves the control socket on a port of loopback, for clients that know TCP only."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=join, args=(client, control), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    seconds = sys.argv[2] if len(sys.argv) > 2 else "60"
    ports = {name: free_port() for name in ("http", "blue", "green")}
    with tempfile.TemporaryDirectory(prefix="cutover-openapi-") as directory:
        config = pathlib.Path(directory, "cutover.toml")
        config.write_text(CONFIG.format(dir=directory, **ports))
        log = open(pathlib.Path(directory, "log"), "w+")
        app = lambda color: [binary, "demo-app", "--listen", f"127.0.0.1:{ports[color]}", "--color", color]
        started = []
        try:
            for command in app("blue"), app("green"), [binary, "run", "--config", str(config)]:
                started.append(subprocess.Popen(command, stdout=log, stderr=log))
            control = f"{directory}/control.sock"
            deadline = time.monotonic() + 20
            while not os.path.exists(control):
                if time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"no control socket after 20 s:\n{log.read()}")
                time.sleep(0.05)
            url = f"http://127.0.0.1:{bridge(control)}"
            command = [
                sys.executable, "-m", "schemathesis.cli", "run", f"{url}/v1/openapi.json",
                "--url", url, "--max-time", seconds, "--request-timeout", "10",
                "--wait-for-schema", "10", "--checks", "all",
                # A 5xx is held against its code in hooks.py. There is no login, nothing is created.
                "--exclude-checks", "not_a_server_error,positive_data_acceptance,ignored_auth",
                "--no-color",
            ]
            environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
            code = subprocess.call(command, env=environment, cwd=directory)
            ended = [process.args for process in started if process.poll() is not None]
            if ended:
                log.seek(0)
                sys.exit(f"ended meanwhile: {ended}\n{log.read()}")
            return code
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(timeout=20)


if __name__ == "__main__":
    sys.exit(main())
