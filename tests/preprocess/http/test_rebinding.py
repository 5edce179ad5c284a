"""A name that leads to a public address first and inside afterwards."""

import socket

from septet.preprocess.http import addresses
from tests.http_server import HostileServer
from tests.preprocess.http.fetching import IMAGE, fetch_list, quick


def test_a_name_that_changes_its_address_leads_nowhere_inside(monkeypatch):
    """127.0.0.2 stands for a public address; 127.0.0.1 is inside."""
    outside, inside, asked = "127.0.0.2", "127.0.0.1", []

    def look_up(host, port, *more):
        asked.append(host)
        address = outside if len(asked) == 1 else inside
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    is_public = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda one: str(one) == outside or is_public(one))
    monkeypatch.setattr(addresses.socket, "getaddrinfo", look_up)
    with HostileServer({"/a.jpg": IMAGE}) as first, HostileServer({"/a.jpg": IMAGE}) as second:
        # Two ports, so that the second one is looked up anew.
        urls = [server.url("/a.jpg", host="rebind.test") for server in (first, second)]
        policy = quick(first, allowed_hosts=(), contact="a@example.org", retries=0, concurrency=1)
        found = fetch_list(urls, policy)
        assert first.hits == second.hits == {}
    # Nothing listens outside; and what is inside is not connected to.
    assert sorted(str(one.reason) for one in found) == ["address", "connect"]
    assert asked == ["rebind.test"] * 2
