"""What a client hears whose request no endpoint may have. Pure."""

from gateway.backends.base import FEATURES, Feature
from gateway.errors import RequestRefused


def refusal(pin: str, features: frozenset[Feature], reasons: frozenset[str]) -> RequestRefused:
    """Say which wall stopped a request at the endpoint where it got furthest.

    pin: what it named. features: what it asks for beyond text. reasons: of `router.barred`.
    """
    if reasons & {"context", "output"}:
        return RequestRefused(
            "No tier that may answer this has room for so long a request. Shorten the messages or "
            "max_tokens.",
            param="messages",
            code="context_length_exceeded",
        )
    if "capability" in reasons:
        return _incapable(features)
    if "policy" in reasons:
        return RequestRefused(
            "The policy keeps this request from every tier that might answer it. Ask your "
            "administrator which may.",
            status=403,
            kind="permission_error",
            code="policy_denied",
        )
    if reasons == {"pin"}:
        return RequestRefused(
            f"The model {pin[:64]!r} does not exist here. GET /v1/models lists those that do; one "
            "that was sealed while this gateway serves is there from its next start.",
            status=404,
            param="model",
            code="model_not_found",
        )
    return RequestRefused(
        "No tier may receive data of this class from this tenant. Ask your administrator which "
        "may.",
        status=403,
        kind="permission_error",
        code="no_tier_for_class",
    )


def _incapable(features: frozenset[Feature]) -> RequestRefused:
    names = sorted(features)
    asked = {"token_ids": "logit_bias", "completions": "model"}
    fields = [asked.get(name) or FEATURES[name][0] for name in names]
    return RequestRefused(
        f"No tier that may answer this can do what the request asks for ({', '.join(names)}). "
        "Name a model of this gateway's own, or send the request without it.",
        param=fields[0],
        code="unsupported_parameter",
    )
