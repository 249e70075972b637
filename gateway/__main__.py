"""`python -m gateway` is `sealgate`."""

import sys

from gateway.cli import alone


def main() -> None:
    """Run one command; to serve, import nothing of the others."""
    if alone.meant(sys.argv[1:]):
        alone.main()
        return
    from gateway.cli.main import main as any_command  # noqa: PLC0415 - what it is about.

    any_command()


if __name__ == "__main__":
    main()
