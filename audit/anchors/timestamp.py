"""RFC 3161: a time-stamping authority signs that a checkpoint existed at a time.

Needs the extra `anchors` (rfc3161-client). The receipt is the authority's whole answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from cryptography import x509
from rfc3161_client import (  # type: ignore[import-not-found, unused-ignore]
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from audit.anchors.kinds import ProofFrom
from audit.anchors.web import post
from audit.errors import AnchorFailed


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """The authority under `url`; its certificate must lead to one of `roots`."""

    url: str
    roots: tuple[x509.Certificate, ...] = field(repr=False)
    kind: str = "timestamp"
    gives_back: bool = False

    @property
    def place(self) -> str:
        """The authority's URL."""
        return self.url

    def keep(self, note: str, *, since: int, proof_from: ProofFrom, now_ms: int) -> bytes:  # noqa: ARG002 - An authority has its own clock and asks for no proof.
        """Have the checkpoint stamped; see `Anchor.keep`."""
        request = TimestampRequestBuilder().data(note.encode()).nonce(nonce=True).build()
        answer = post(
            self.url,
            request.as_bytes(),
            headers={"content-type": "application/timestamp-query"},
        )
        if answer.status != HTTPStatus.OK or answer.kind != "application/timestamp-reply":
            raise AnchorFailed(f"{self.url} answered {answer.status}, {answer.kind}.")
        self._verify(note, answer.body, nonce=request.nonce)
        return answer.body

    def kept(self) -> Iterator[str]:
        """Yield nothing: an authority keeps nothing; see `Anchor.kept`."""
        return iter(())

    def check(self, note: str, receipt: bytes) -> None:
        """Check the stamp; see `Anchor.check`."""
        self._verify(note, receipt, nonce=None)

    def _verify(self, note: str, receipt: bytes, *, nonce: int | None) -> None:
        verifier = VerifierBuilder(roots=list(self.roots), nonce=nonce).build()
        try:
            response = decode_timestamp_response(receipt)
            verifier.verify_message(response, note.encode())
        except (VerificationError, ValueError) as error:
            raise AnchorFailed(f"The time stamp of {self.url} does not hold: {error}.") from None
