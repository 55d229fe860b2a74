"""Why TLS failed, in words that say what to do about it."""

import ssl
from collections.abc import Mapping
from typing import Final

__all__ = ["explained", "none_of_them"]

OF_AN_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21, 27})
FOR_ANOTHER_NAME: Final = frozenset({62, 64})
"""What OpenSSL says of certificates (`X509_V_ERR_…`)."""


def explained(error: BaseException, host: str) -> BaseException:
    """`error`, or what it means if TLS to `host` failed, here or in one of its causes."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (ssl.SSLCertVerificationError, FileNotFoundError)):
        cause = cause.__cause__ or cause.__context__
    return error if cause is None else ssl.SSLError(1, _text(cause, host))


def _text(error: ssl.SSLCertVerificationError | FileNotFoundError, host: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "a file that its TLS options name does not exist: check ssl_ca_certs, ssl_certfile and ssl_keyfile"
    if error.verify_code in OF_AN_UNKNOWN_AUTHORITY:
        return (
            f"the certificate of {host} was issued by an unknown authority: set ssl_ca_certs to a file with the "
            f"certificate of that authority ({error.verify_message})"
        )
    if error.verify_code in FOR_ANOTHER_NAME:
        return f"the certificate of {host} is not for this host name: write the host as its certificate names it"
    return f"the certificate of {host} is not accepted: {error.verify_message}"


def none_of_them(text: str, failed: Mapping[tuple[str, int], BaseException]) -> OSError:
    """The error for `text`, with the reason of each node; of TLS, if that is why none of them will do: they run."""
    reasons = (f"{host}:{port}: {str(error) or type(error).__name__}" for (host, port), error in failed.items())
    whole = f"{text} ({'; '.join(reasons)})"
    if failed and all(isinstance(error, ssl.SSLError) for error in failed.values()):
        return ssl.SSLError(1, whole)
    return ConnectionError(whole)
