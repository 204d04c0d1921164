"""A proxy that stands for the internet: it ends TLS by a certificate of its own and hands each host to its fake.

Connectors have the addresses of their services built in. With this as their proxy they run unmodified, and a request
to any other host is refused and kept, so a run shows that it talks to no one else.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from infra.sample.channels.server import Answer, Fake, Handler, Loopback

_DAY = timedelta(days=1)


class Internet(Loopback):
    """The proxy.

    Args:
        fakes: By host name.
        folder: Where its certificates are written.

    Attributes:
        refused: Hosts that were asked for and are none of the fakes'.
    """

    def __init__(self, fakes: Mapping[str, Fake], folder: Path) -> None:
        self.refused: set[str] = set()
        self.authority = folder / "authority.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificates(sorted(fakes), folder))
        refused = self.refused

        class ByHost(Handler):
            def do_CONNECT(self) -> None:
                """Become the host that is asked for, on the same connection."""
                self.host = self.path.partition(":")[0]
                if self.host not in fakes:
                    refused.add(self.host)
                    self.send_error(403)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                self.connection = context.wrap_socket(self.connection, server_side=True)
                # Older clients ask with HTTP/1.0, after which a connection would end.
                self.close_connection = False
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")

            def _any(self) -> None:
                asked = self.asked(urlsplit(self.path).path.lstrip("/"))
                self.send(fakes[self.host].handle(asked) if hasattr(self, "host") else Answer(status=403))

            do_GET = do_POST = do_HEAD = do_PUT = _any

        super().__init__(ByHost)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a program goes through the proxy and trusts it."""
        trust = str(self.authority)
        return {"HTTPS_PROXY": self.url, "REQUESTS_CA_BUNDLE": trust, "SSL_CERT_FILE": trust}


def _certificates(hosts: list[str], folder: Path) -> Path:
    """Write an authority's certificate, and one of all hosts with its key, and return the path of the latter."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.now(UTC)
    keys = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Fake authority", "Fake services")]

    def signed(number: int, extension: x509.ExtensionType, critical: bool) -> bytes:
        made = x509.CertificateBuilder().subject_name(names[number]).issuer_name(names[0])
        made = made.public_key(keys[number].public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - _DAY).not_valid_after(now + _DAY).add_extension(extension, critical)
        subject = x509.SubjectKeyIdentifier.from_public_key(keys[number].public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
        made = made.add_extension(subject, False).add_extension(issuer, False)
        return made.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "authority.pem").write_bytes(signed(0, x509.BasicConstraints(ca=True, path_length=0), True))
    services = signed(1, x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
    key = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "services.pem"
    file.write_bytes(services + key)
    return file
