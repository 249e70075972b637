"""The toy run that tests of a session share."""

DELTA = 1e-4
