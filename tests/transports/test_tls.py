"""Certificates: the connection's own authority, the environment's, and none."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_exports.core import ConnectionInfo, Vendor
from airflow_provider_exports.exceptions import VendorUnreachable
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.vendors.mews import MewsVendor
from tests.transports.virtual import Runner, run_async, run_blocking


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"Exports": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of our own for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture(scope="module")
def address(authority: Path) -> Iterator[str]:
    """A server that shows that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    server = HTTPServer(("127.0.0.1", 0), _Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=[run_blocking, run_async], ids=["blocking", "asynchronous"])
def run(request: pytest.FixtureRequest) -> Runner:
    """Both transports."""
    runner: Runner = request.param
    return runner


def ping(run: Runner, simulator: Simulator, vendor: Vendor) -> str:
    return str(run(simulator, vendor, lambda life: life.call(life.vendor.ping())))


def mews(address: str, **extra: str) -> MewsVendor:
    settings = {"client_token": "c", "retry_attempts": 1, **extra}
    return MewsVendor(ConnectionInfo("m", address, password="p", extra=settings))


def test_unknown_authority_is_refused(export_simulator: Simulator, run: Runner, address: str) -> None:
    """Nothing is sent, and the error says that it is about the certificate."""
    with pytest.raises(VendorUnreachable, match=r"(?i)certificate"):
        ping(run, export_simulator, mews(address))


def test_authority_of_the_connection(
    export_simulator: Simulator, run: Runner, address: str, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``verify`` as a path holds even where the environment names another bundle."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ssl.get_default_verify_paths().openssl_cafile)
    assert ping(run, export_simulator, mews(address, verify=str(authority)))


def test_authority_of_the_environment(
    export_simulator: Simulator, run: Runner, address: str, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What workers trust through the environment, the triggerer trusts as well."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    assert ping(run, export_simulator, mews(address))


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_verification_can_be_switched_off(
    export_simulator: Simulator, run: Runner, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``verify`` as false holds even where the environment names a bundle."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ssl.get_default_verify_paths().openssl_cafile)
    assert ping(run, export_simulator, mews(address, verify="false"))
