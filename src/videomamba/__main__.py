"""`python -m videomamba` and the `videomamba` command."""

import os
from typing import NoReturn

from videomamba import cli
from videomamba.cli.threads import wait_briefly


def main() -> NoReturn:
    """The command line in a process of its own, whose environment it may change. PyTorch is not imported before."""
    wait_briefly(os.environ)
    cli.main()


if __name__ == "__main__":
    main()
