"""Graphs of a student for other runtimes, written whole and checked. `litemkd_runtime` runs them.

That module is a distribution of its own beside this package, `litemkd-runtime/`, for machines without torch; an
installed litemkd brings it, too.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("litemkd_runtime") is None:  # in a checkout that is not installed
    sys.path.append(str(Path(__file__).parents[2] / "litemkd-runtime"))
