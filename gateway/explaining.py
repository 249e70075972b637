"""Why the policy decides as it does: each rule that was tried, and what kept it from fitting."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.policy import Policy, Rule


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was tried. about: what did not fit, `class`, `purpose`, `role` or `tenant`.

    about is None for the rule that fits, and decides. value: what the request has; allowed: what
    the rule wants.
    """

    rule: Rule
    about: str | None = None
    value: str = ""
    allowed: tuple[str, ...] = ()


def steps(
    policy: Policy, *, data_class: str, purpose: str, role: str, tenant: str
) -> Iterator[Step]:
    """Yield the rules that are tried, up to the one that decides; all where none does."""
    fits = {"class": data_class, "purpose": purpose, "role": role, "tenant": tenant}
    for rule in policy.file.rule:
        step = _tried(rule, fits)
        yield step
        if step.about is None:
            return


def _tried(rule: Rule, fits: dict[str, str]) -> Step:
    wanted = (rule.classes, rule.purposes, rule.roles, rule.tenants)
    for (about, value), allowed in zip(fits.items(), wanted, strict=True):
        if allowed is not None and value not in allowed:
            return Step(rule, about, value, tuple(str(each) for each in allowed))
    return Step(rule)
