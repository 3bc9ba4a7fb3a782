"""`python -m litemkd_runtime`, the same as the command `litemkd-runtime`."""

from litemkd_runtime.command import main

main()
