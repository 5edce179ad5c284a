import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from septet.preprocess.http import exchange
from tests.http_server import HostileServer
from tests.preprocess.http.fetching import IMAGE, fetch_one, outcome, quick


def certificate(folder, name, days=1):
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return path, context


@pytest.fixture
def trust(monkeypatch):
    """Trust only the certificates in a file, as a user does with SSL_CERT_FILE."""

    def only(path):
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        exchange._tls_context.cache_clear()

    yield only
    exchange._tls_context.cache_clear()


def test_tls_is_verified(tmp_path, trust):
    path, context = certificate(tmp_path, "good")
    with HostileServer({"/a.jpg": IMAGE}, tls=context) as server:
        policy = quick(server, allowed_hosts=("127.0.0.1", "localhost"))
        assert outcome(server.url("/a.jpg"), policy) == ("tls", "self-signed certificate")
        trust(path)
        assert fetch_one(server.url("/a.jpg"), policy).body == IMAGE
        reason, value = outcome(server.url("/a.jpg", host="localhost"), policy)
        assert reason == "tls"
        assert "localhost" in value
        assert server.hits["/a.jpg"] == 1


def test_an_expired_certificate(tmp_path, trust):
    path, context = certificate(tmp_path, "old", days=-1)
    trust(path)
    with HostileServer({"/a.jpg": IMAGE}, tls=context) as server:
        found = outcome(server.url("/a.jpg"), quick(server))
        assert found == ("tls", "certificate has expired")


def test_https_to_a_server_without_tls(server):
    url = server.url("/a.jpg").replace("http:", "https:")
    assert outcome(url, quick(server, retries=0))[0] == "tls"
