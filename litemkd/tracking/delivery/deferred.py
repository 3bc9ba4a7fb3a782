"""Promotion that waits on disk while the store is away."""

from __future__ import annotations

from litemkd.runtime.distributed import from_main
from litemkd.tracking.delivery.outbox import StoreAwayError, outbox
from litemkd.tracking.registry import aliases
from litemkd.tracking.registry.aliases import Promotion


@from_main
def promote(registered_name: str) -> Promotion:
    """Move the aliases, see `aliases.promote`; while the store is away that waits too."""
    box = outbox()
    try:
        if box.flush():
            return box.ask(lambda: aliases.promote(registered_name))
    except StoreAwayError:
        pass
    box.put("promote", name=registered_name)
    box.stop_when_idle()
    words = f"{registered_name}: its aliases are moved when the tracking store answers (`litemkd sync`)"
    return Promotion(None, None, (words,))


def is_promise(version: int | str) -> bool:
    """Whether a version is not registered yet, see `register_model`."""
    return not isinstance(version, int)
