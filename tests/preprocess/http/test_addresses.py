import asyncio
import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from septet.preprocess.http.addresses import (
    PublicResolver,
    check_address,
    is_public,
    parse_url,
)
from septet.preprocess.http.failures import FetchError

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "192.0.0.8", "192.88.99.1", "198.18.0.1", "3fff::1", "2001:0:7f00:1::", "2001:2::1",
    "::", "::1", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2002:808:808::", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.1", "0177.0.0.1"],
)
def test_every_spelling_of_loopback_is_refused(host):
    url = parse_url(f"http://{host}:8080/x")
    assert url.raw_host == "127.0.0.1"
    with pytest.raises(FetchError) as failed:
        check_address(url, ())
    assert (failed.value.reason, failed.value.value) == ("address", "127.0.0.1")


@pytest.mark.parametrize(
    "text",
    ["http://[::1]/", "http://[::ffff:127.0.0.1]/",
     "http://[0:0:0:0:0:0:0:1]:81/", "http://１２７.0.0.1/", "http://127。0。0。1/",
     "http://127.0.0.1./", "http:\n//127.0.0.1/"],
)  # fmt: skip
def test_other_disguises_are_refused(text):
    with pytest.raises(FetchError) as failed:
        check_address(parse_url(text), ())
    assert failed.value.reason == "address"


def test_allowed_hosts_name_a_host_or_a_port_of_it():
    for allowed in ("127.0.0.1", "127.0.0.1:8080"):
        check_address(parse_url("http://127.0.0.1:8080/"), (allowed,))
    check_address(parse_url("http://[::1]:8080/"), ("[::1]:8080",))
    check_address(parse_url("http://127.0.0.1/"), ("127.0.0.1:80",))
    for other in ("127.0.0.1:8081", "127.0.0.2", "localhost"):
        with pytest.raises(FetchError):
            check_address(parse_url("http://127.0.0.1:8080/"), (other,))


@pytest.mark.parametrize(
    ("text", "reason", "value"),
    [
        ("ftp://example.org/a.jpg", "scheme", "ftp"),
        ("file:///etc/passwd", "scheme", "file"),
        ("data:image/png;base64,AAAA", "scheme", "data"),
        ("javascript:alert(1)", "scheme", "javascript"),
        ("//example.org/a.jpg", "scheme", "none"),
        ("", "scheme", "none"),
        ("a.jpg", "scheme", "none"),
        ("http://[fe80::1%25eth0]/", "url", "not valid"),
        ("http://", "url", "not valid"),
        ("http://user:secret@example.org/", "url", "carries a user name"),
        ("http://999.999.999.999/", "url", "not valid"),
        ("http://example.org:99999/", "url", "not valid"),
        ("http://[::1/", "url", "not valid"),
        ("http://exa mple.org/", "url", "not valid"),
    ],
)
def test_urls_that_are_refused(text, reason, value):
    with pytest.raises(FetchError) as failed:
        parse_url(text)
    assert (failed.value.reason, failed.value.value) == (reason, value)


@pytest.mark.parametrize(
    ("text", "requested"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTP://EXAMPLE.org/A#part", "http://example.org/A"),
        ("http://example.org./a", "http://example.org/a"),
        (" http://example.org/a b.jpg\n", "http://example.org/a%20b.jpg"),
        ("http://example.org/ü.jpg?q=ä b", "http://example.org/%C3%BC.jpg?q=%C3%A4%20b"),
        # Signed URLs keep their spelling.
        (
            "https://example.org:8443/%7ea/%2F+b?s=a%2Bb%20c&t=%41",
            "https://example.org:8443/%7ea/%2F+b?s=a%2Bb%20c&t=%41",
        ),
        ("http://example.org/100%.jpg", "http://example.org/100%.jpg"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://例え.jp/絵", "http://xn--r8jz45g.jp/%E7%B5%B5"),
    ],
)
def test_the_form_in_which_a_url_is_requested(text, requested):
    assert str(parse_url(text)) == requested


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b.jpg", "http://example.org/b.jpg"),
        ("b.jpg", "http://example.org/dir/b.jpg"),
        ("//other.example/c", "http://other.example/c"),
        ("?x=1", "http://example.org/dir/a.jpg?x=1"),
        ("/caf\udcc3\udca9", "http://example.org/caf%C3%A9"),
    ],
)
def test_redirect_targets_are_relative_to_the_url(location, target):
    assert str(parse_url(location, URL("http://example.org/dir/a.jpg"))) == target


@given(st.text(max_size=40) | st.text(max_size=40).map("http://".__add__))
def test_parse_url_gives_a_url_or_a_failure(text):
    try:
        url = parse_url(text)
    except FetchError as failure:
        assert failure.reason in ("url", "scheme")
    else:
        assert str(url).isascii()
        assert url.scheme in ("http", "https")
        assert parse_url(str(url)) == url


def resolve(host, allowed=(), timeout=5.0):
    async def run():
        resolver = PublicResolver(allowed, timeout, threads=1)
        try:
            return await resolver.resolve(host, 8080)
        finally:
            await resolver.close()

    return asyncio.run(run())


def test_a_name_with_a_private_address_is_refused():
    with pytest.raises(FetchError) as failed:
        resolve("localhost")
    assert (failed.value.reason, failed.value.value) == ("address", "localhost")


def test_a_name_that_is_allowed_resolves():
    for allowed in ("localhost", "localhost:8080"):
        assert {"127.0.0.1", "::1"} & {found["host"] for found in resolve("localhost", (allowed,))}


def test_a_name_that_cannot_exist():
    with pytest.raises(FetchError) as failed:
        resolve("a" * 64 + ".example")
    assert (failed.value.reason, failed.value.transient) == ("dns", False)


def test_no_address_is_public_that_python_holds_for_private():
    draw = random.Random(1)
    for _ in range(20_000):
        four = ipaddress.IPv4Address(draw.getrandbits(32))
        six = ipaddress.IPv6Address(0x2 << 124 | draw.getrandbits(124))
        for address in (four, six):
            if is_public(address) and getattr(address, "sixtofour", None) is None:
                assert address.is_global or address.is_multicast, address


@pytest.mark.parametrize("port", [22, 25, 110, 6667, 10080])
def test_ports_of_other_services_are_refused(port):
    url = parse_url(f"http://1.1.1.1:{port}/")
    with pytest.raises(FetchError) as failed:
        check_address(url, ())
    assert (failed.value.reason, failed.value.value) == ("address", f"port {port}")
    check_address(url, (f"1.1.1.1:{port}",))
    check_address(parse_url("http://1.1.1.1:8080/"), ())
