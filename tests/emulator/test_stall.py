"""Connections of another process stall, without an end, and go on where they stopped."""

import contextlib
import socket
import subprocess
import sys
import time

import pytest

from vitrine_tools.emulator.stall import Stall

LIMIT_S = 10
# connects to a port, tells on which one it listens itself, sends a number every 20 ms, and sends back what it hears
CHILD = """
import select, socket, sys
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
own = socket.create_server(("127.0.0.1", 0))
there.sendall(b"%d\\n" % own.getsockname()[1])
for number in range(10_000):
    there.sendall(b"%d\\n" % number)
    if select.select([there], [], [], 0.02)[0]:
        there.sendall(b"heard " + there.recv(100) + b"\\n")
"""


class Line:
    """Our end of the connection."""

    def __init__(self, connection):
        self.connection = connection
        self.heard = b""

    def read(self, seconds):
        """What comes in so many seconds."""
        end_s, begin = time.monotonic() + seconds, len(self.heard)
        while (left_s := end_s - time.monotonic()) > 0:
            self.connection.settimeout(left_s)
            with contextlib.suppress(TimeoutError):
                data = self.connection.recv(65536)
                assert data, "the connection has ended"
                self.heard += data
        return self.heard[begin:]

    def until(self, what):
        end_s = time.monotonic() + LIMIT_S
        while what not in self.heard:
            assert time.monotonic() < end_s, self.heard[-200:]
            self.read(0.05)


@pytest.fixture
def other():
    """(process, our end of its connection, the port where it listens)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.Popen([sys.executable, "-c", CHILD, str(server.getsockname()[1])])
        try:
            server.settimeout(LIMIT_S)
            connection, _ = server.accept()
            with connection:
                line = Line(connection)
                line.until(b"\n5\n")
                yield process, line, int(line.heard.partition(b"\n")[0])
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def stall(other):
    stall = Stall()
    stall.begin(other[0].pid)
    if not stall.is_possible:
        pytest.skip("this system lets nobody borrow another process's sockets (pidfd_getfd)")
    yield stall
    stall.forget()


def test_nothing_comes_to_it_and_nothing_is_lost(other, stall):
    process, line, port = other
    line.connection.sendall(b"hello")
    line.read(0.5)
    assert b"hello" not in line.heard, "what it sends may come through, what is sent to it may not"
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=0.3)
    assert process.poll() is None
    stall.end()
    line.until(b"heard hello")
    numbers = [int(each) for each in line.heard.split(b"\n")[1:-1] if each.isdigit()]
    assert numbers == list(range(len(numbers))) and len(numbers) > 20
    socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S).close()


def test_a_process_that_is_gone(other):
    other[0].kill()
    other[0].wait()
    stall = Stall()
    stall.begin(other[0].pid)
    stall.end()
    assert stall.is_possible
    stall.begin(0)
