"""The API key, and the names under which clients may reach the server."""

import pytest
from raising import raises
from server_thread import ServerThread, send

from calib.serving.http.access import Access, own_names, require_protection


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/nothing", "/v1/hooks/list"])
def test_every_url_refuses_other_host_names(server, path):
    """DNS rebinding: a web page whose domain resolves to this machine."""
    reply = send(server, "GET", path, headers={"Host": "evil.example:8000"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "unknown_host")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("model.example.com", 200),
        ("MODEL.example.com.:80", 200),
        ("10.0.0.7:8000", 200),
        ("[fe80::1]:8000", 200),
        ("example.com", 403),
        ("10.0.0.7.example.com", 403),
        ("0x7f.1", 403),
        ("[evil]", 403),
    ],
)
def test_a_server_for_other_machines_accepts_its_names_and_addresses(steered, host, status):
    with ServerThread(steered, access=Access(None, ["Model.example.com"])) as server:
        assert send(server, "GET", "/v1/models", headers={"Host": host}).status_code == status


def test_other_machines_need_a_key_or_an_explicit_setting():
    for address in ("127.0.0.1", "127.0.0.2", "::1"):
        assert require_protection("any", address, None, False)
    for address in ("0.0.0.0", "::", "192.168.1.5"):
        assert not require_protection("any", address, "key", False)
        assert not require_protection("any", address, None, True)
        with raises("missing-setting", "host=any", "key_env", "no_key"):
            require_protection("any", address, None, False)


def test_the_machines_own_names_are_known(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node7.cluster")
    assert own_names() == {"node7.cluster", "node7"}
