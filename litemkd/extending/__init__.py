"""Classes that others wrote: how they are found, and what they declare."""

from litemkd.extending.declared import About

__all__ = ["About"]
