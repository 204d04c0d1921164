"""Chat services on this machine: a proxy takes every TLS connection, whatever its host, to one server that keeps posts.

The notification blocks send to the services' own addresses, which they will not have otherwise; nothing is patched.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Chat:
    """The services' posts, by host; `status` is what they answer."""

    def __init__(self, folder: Path, *hosts: str) -> None:
        self.received: dict[str, list[dict[str, Any]]] = {host: [] for host in hosts}
        self.paths: list[str] = []
        self.status = 200
        self.authority = folder / "authority.pem"
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if chat.status < 300:
                    chat.received[self.headers["Host"].partition(":")[0]].append(json.loads(body))
                    chat.paths.append(self.path)
                self.send_response(chat.status)
                # Slack says so; a client that reads anything else takes it for a failure.
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        class Proxy(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                self.send_response(200)
                self.end_headers()
                with socket.create_connection(("127.0.0.1", chat.server.server_port)) as other:
                    back = threading.Thread(target=_pipe, args=(other, self.connection), daemon=True)
                    back.start()
                    _pipe(self.connection, other)
                    back.join(10)

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(_certificate(self.authority, hosts))
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        self.url = f"http://127.0.0.1:{self.proxy.server_port}"
        for server in (self.server, self.proxy):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for server in (self.server, self.proxy):
            server.shutdown()
            server.server_close()


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until its end."""
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        """The other side has gone."""


def _certificate(path: Path, hosts: tuple[str, ...]) -> Path:
    """Write a certificate for the hosts that is its own authority, with its key, and return the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
