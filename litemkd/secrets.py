"""Passwords and tokens taken out of what is printed, logged or kept."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

_IN_ADDRESS = re.compile(r"(://[^\s/@:'\"]*):[^\s/'\"]+@")
_IN_QUERY = re.compile(r"([?&][\w.-]*(?:password|passwd|secret|token|key)=)[^&\s'\"]+", re.IGNORECASE)
_SECRET = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "LITEMKD_STORAGE")
_PASSWORD = re.compile(r"://[^\s/@:]*:([^\s/]+)@")
SHORTEST = 8  # characters: a shorter password alone may be any word, and is hidden in addresses only
STARS = "***"


def hide(text: str) -> str:
    """`text` with the passwords of all addresses in it, and this process's own secrets, replaced by stars."""
    if "://" in text:
        text = _IN_QUERY.sub(rf"\1{STARS}", _IN_ADDRESS.sub(rf"\1:{STARS}@", text))
    for secret in _secrets():
        text = text.replace(secret, STARS)
    return text


def _secrets() -> list[str]:
    found = [os.environ.get(name, "") for name in _SECRET]
    for name in _ADDRESSES:
        if password := _PASSWORD.search(os.environ.get(name, "")):
            found += [password[1], unquote(password[1])]
    return [secret for secret in found if len(secret) >= SHORTEST]
