"""`python -m litemkd` is the `litemkd` command."""

from litemkd.cli import main

if __name__ == "__main__":
    main(prog_name="litemkd")
