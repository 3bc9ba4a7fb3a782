"""What all sections of the configuration are made of."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from pydantic import AfterValidator, ConfigDict
from pydantic_core import PydanticCustomError

SECTION = ConfigDict(extra="forbid", frozen=True)  # of all sections: unknown keys are mistakes


def known_name(what: str, names: Collection[str]) -> AfterValidator:
    """Checks that a name is one of several; `what` says of what."""

    def check(name: str) -> str:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(names)}"
            raise PydanticCustomError("unknown", "no such {what}; {hint}", {"what": what, "hint": hint})
        return name

    return AfterValidator(check)
