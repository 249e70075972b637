"""TLS at the listener: modern, reloaded without a restart, with client certificates if wanted.

A context is kept and its certificate loaded again into it: connections that are open go on with
the old one, new ones get the new.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import SettingsInvalid
from gateway.settings import Settings

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. clients: the authorities whose client certificates are taken, if any."""

    certificate: Path
    key: Path
    clients: Path | None = None


def tls_files(settings: Settings) -> TlsFiles | None:
    """Return the files that the settings name; None where TLS is off.

    Raises:
        SettingsInvalid: Only some of them are named.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None and settings.tls_client_ca is None:
        return None
    if certificate is None or key is None:
        raise SettingsInvalid("TLS needs both 'tls_certificate' and 'tls_key'. Set the other too.")
    return TlsFiles(certificate, key, settings.tls_client_ca)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context over the files.

    Raises:
        SettingsInvalid: One of them cannot be read or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # TLS 1.2 remains for hospital software that knows no other; its ciphers are all forward-secret.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if files.clients is not None:
        # Optional: an API key is the other way in.
        context.verify_mode = ssl.CERT_OPTIONAL
    reload(context, files)
    return context


def reload(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Load the files' present content for connections to come.

    Raises:
        SettingsInvalid: One of them cannot be read or does not fit; what was loaded stays.
    """
    try:
        # A trial run: half a new certificate must not replace a whole old one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)
        context.load_cert_chain(files.certificate, files.key)
        if files.clients is not None:
            context.load_verify_locations(files.clients)
    except (OSError, ssl.SSLError) as error:
        raise SettingsInvalid(
            f"The TLS files cannot be used: {getattr(error, 'strerror', None) or error}."
        ) from None
