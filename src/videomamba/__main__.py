"""`python -m videomamba` and the `videomamba` command."""

from videomamba.cli import main

if __name__ == "__main__":
    main()
