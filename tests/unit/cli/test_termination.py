"""How a command ends that is told to, and that it leaves no key in a file however it ends.

Mutants that these tests were seen to kill: the library's temporary files left to `atexit`; SIGTERM not handled; the
task cancelled without waking the loop, or not at all; no end without the loop; the exit code of a traceback.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from roadstead.cli.exits import ExitCode
from unit.kernel.kubeconfigs import AUTHORITY, PAIR, b64, document

Server = tuple[str, threading.Event]
"""Its address, and when a command hangs at it."""
Start = Callable[..., "subprocess.Popen[bytes]"]


@contextlib.contextmanager
def silent(_: Path) -> Iterator[Server]:
    """Takes connections and says nothing, not even of TLS."""
    reached, taken = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])
                    reached.set()

        threading.Thread(target=take, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", reached
        listener.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


@contextlib.contextmanager
def watching(directory: Path) -> Iterator[Server]:
    """Lists nothing, to whom has the certificate, and never sends an event."""
    reached, over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            if "watch=true" in self.path:
                self.wfile.flush()
                reached.set()
                over.wait()
            else:
                self.wfile.write(json.dumps({"metadata": {"resourceVersion": "1"}, "items": []}).encode())

        def log_message(self, *_: object) -> None:
            pass

    AUTHORITY.serving("server", "127.0.0.1").write(directory / "server.crt", directory / "server.key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=AUTHORITY.pair.certificate.decode())
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}", reached
        over.set()
        server.shutdown()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    made = tmp_path / "temporary"
    made.mkdir()
    return made


@pytest.fixture
def start(tmp_path: Path, temporary: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def started(url: str, *arguments: str) -> subprocess.Popen[bytes]:
            pair = {"client-certificate-data": b64(PAIR.certificate), "client-key-data": b64(PAIR.key)}
            path = tmp_path / "kubeconfig"
            path.write_text(yaml.safe_dump(document(cluster={"server": url}, user={"token": ..., **pair})))
            environment = {**os.environ, "KUBECONFIG": str(path), "TMPDIR": str(temporary)}
            command = [sys.executable, "-m", "roadstead.cli.app", *arguments]
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield started


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, ExitCode.TERMINATED, id="told to end"),
        pytest.param(signal.SIGINT, ExitCode.INTERRUPTED, id="interrupted"),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="killed"),
    ],
)
@pytest.mark.parametrize("server", [silent, watching])
def test_a_watch_that_is_ended_leaves_no_file(
    start: Start,
    tmp_path: Path,
    temporary: Path,
    server: Callable[[Path], contextlib.AbstractContextManager[Server]],
    number: signal.Signals,
    code: int,
) -> None:
    with server(tmp_path) as (url, reached):
        process = start(url, "status", "--watch")
        assert reached.wait(30)
        assert list(temporary.iterdir()) == []
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, b"")
    assert list(temporary.iterdir()) == []


BLOCKED = """
import sys
from roadstead.cli import running

async def work():
    print("reads", flush=True)
    sys.stdin.read()

running.GRACE = 0.1
running.run(work)
"""


def test_one_signal_ends_a_command_whose_loop_gets_no_turn() -> None:
    """Such as explain-plan that reads a pipe into which nobody writes."""
    with subprocess.Popen([sys.executable, "-c", BLOCKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"reads\n"
            process.terminate()
            assert process.wait(timeout=30) == ExitCode.TERMINATED
        finally:
            process.kill()


def test_what_is_open_is_closed_first() -> None:
    code = BLOCKED.replace(
        "sys.stdin.read()", "try: await __import__('asyncio').sleep(60)\n    finally: print('closed')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"reads\n"
            process.terminate()
            assert process.stdout.read() == b"closed\n"
        finally:
            process.kill()
