"""Terms that others wrote: by module and class, or by the name under which an installed package offers them."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from litemkd.losses.term import NEEDS, Term, settings_of

GROUP = "litemkd.losses"  # of entry points


def find_term(use: str) -> type[Term]:
    """The class that `use` names: `module:Class`, or the name of an entry point in the group `litemkd.losses`.

    A module is looked for where Python looks, and in the working directory. Its code is run.

    Raises:
        ValueError: what is wrong with it, and what would do.
    """
    module, colon, name = use.partition(":")
    if colon and not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ValueError("module:Class would do, such as my_terms:Margin")
    found = _of_module(module, name) if colon else _of_entry_point(use)
    if not (isinstance(found, type) and issubclass(found, Term)):
        raise ValueError(f"that is a {type(found).__name__}; a subclass of litemkd.losses.Term would do")
    if found.value is Term.value:
        raise ValueError(f"no method `value` in {found.__name__}, which says how the term is computed")
    needs: Any = found.needs
    strange = [] if isinstance(needs, property) else [need for need in needs if need not in NEEDS]
    if strange:
        raise ValueError(f"it needs {strange[0]!r}; {_near(strange[0], NEEDS)}")
    if "use" in settings_of(found):
        raise ValueError("it has a setting `use`, which names the term; another name would do")
    return found


def _of_module(module: str, name: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{module} cannot be imported: {error}") from error
        raise ValueError(
            f"no module {module} in {here} or where Python looks (PYTHONPATH, installed packages)"
        ) from None
    except Exception as error:
        raise ValueError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(found, name):
        offered = [key for key, one in vars(found).items() if isinstance(one, type) and issubclass(one, Term)]
        raise ValueError(f"no {name} in {module}; {_near(name, offered)}")
    return getattr(found, name)


def _of_entry_point(name: str) -> object:
    offered = {one.name: one for one in entry_points(group=GROUP)}
    if name not in offered:
        raise ValueError(
            f"no installed package offers a term of that name; "
            f"{_near(name, offered) if offered else 'module:Class would do'}"
        )
    try:
        return offered[name].load()
    except Exception as error:
        raise ValueError(
            f"{offered[name].value}, which a package offers under that name, cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error


def _near(name: str, known: Iterable[str]) -> str:
    names = [one for one in known if one != "Term"]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(names) or 'none'}"
