"""Search distillation settings with Optuna: `python tuning/search.py --help`. The same as `litemkd search`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # started as a file, Python finds tuning/ first

from litemkd.search.command import main  # noqa: E402

if __name__ == "__main__":
    main(prog_name="search.py")
