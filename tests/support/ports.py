"""Ports of this machine for the servers of tests."""

import socket


def free_port() -> int:
    """A port of the loopback interface that no other process listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
