"""Kernel confinement, zygote and one-shot workers. Knows no key, database or web."""
