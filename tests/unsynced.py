"""What tests write need not outlive the machine: neither files nor SQLite stores are forced onto the disk, for
which a whole run would wait thousands of times. What a killed process has written is the system's, and stays.
"""

from __future__ import annotations

import os
import sqlite3

from sqlalchemy import Engine, event


def _leave_to_the_system(file: object) -> None:
    """As `os.fsync`, without waiting for the disk."""


@event.listens_for(Engine, "connect")
def _write_when_it_suits(connection: object, record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


os.fsync = _leave_to_the_system
