"""Who may send requests: the API key, and the names of the host against DNS rebinding."""

import hmac
import ipaddress
import socket
from collections.abc import Iterable

from starlette.requests import Request

from calib.serving.api_errors import KEY, APIError
from calib.util.errors import CalibError


class Access:
    """The server's key and the host names under which clients may reach it."""

    def __init__(self, key: str | None = None, hosts: Iterable[str] = ()) -> None:
        """``hosts`` are names besides localhost."""
        self.key = key
        self.hosts = {"localhost", *(name.lower().rstrip(".") for name in hosts)}

    def check(self, request: Request) -> None:
        """Raise APIError for a request with a wrong host or key."""
        self.check_host(request)
        self.check_key(request)

    def check_key(self, request: Request) -> None:
        """Raise APIError unless the request carries the server's key, if it has one."""
        if self.key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Headers are decoded as Latin-1, whatever bytes they hold.
        correct = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self.key.encode())
        if scheme.lower() != "bearer" or not correct:
            raise APIError(
                "The API key is missing or wrong. Give the server's key as api_key.",
                None,
                "invalid_api_key",
                401,
                KEY,
            )

    def check_host(self, request: Request) -> None:
        """Raise APIError unless the Host header is an IP address or one of the server's names.

        This prevents DNS rebinding: a web page whose domain resolves to this machine could
        otherwise send requests from its visitor's browser. The Host header of such requests has the
        name of that domain, never an address.
        """
        host = request.headers.get("host", "")
        name, _, port = host.rpartition(":")
        name = (name if port.isdigit() else host).lower().rstrip(".")
        if name not in self.hosts and not _is_address(name):
            raise APIError(
                f"The host name in {host[:100]!r} is not one of this server's. Use localhost or an "
                "IP address, or start the server with hosts=[NAME].",
                None,
                "unknown_host",
                403,
            )


def require_protection(host: str, address: str, key: str | None, no_key: bool) -> bool:
    """Whether only this machine can reach a server that listens on ``address``, for the setting
    ``host``.

    Raises CalibError (missing-setting) if other machines can, without a key or ``no_key``.
    """
    local = ipaddress.ip_address(address).is_loopback
    if local or key is not None or no_key:
        return local
    raise CalibError(
        "missing-setting",
        f"host={host} accepts requests from other machines, and no key is required. Set "
        "key_env=VARIABLE to the environment variable of an API key, or no_key=true to serve "
        "everyone who reaches this machine.",
    )


def own_names() -> set[str]:
    """Names of this machine, as it knows them itself; nothing is looked up."""
    name = socket.gethostname()
    return {name, name.partition(".")[0]} - {""}


def _is_address(name: str) -> bool:
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
