"""What processes that are gone left unsent, sent to the store."""

from __future__ import annotations

from pathlib import Path

from litemkd.errors import TrackingError
from litemkd.tracking import store
from litemkd.tracking.delivery.journal import Journal
from litemkd.tracking.delivery.outbox import FOLDER, outboxes
from litemkd.tracking.delivery.sending import ATTEMPTS, Sender
from litemkd.tracking.store import reaching
from litemkd.tracking.store.addresses import normal
from litemkd.tracking.store.failures import one_line


def send_unsent(folder: Path = FOLDER, *, moved: bool = False) -> list[str]:
    """Send what earlier processes, and this one, could not; what was sent is removed from disk.

    What a living process has to send is left to it.

    Args:
        folder: holds a folder a process.
        moved: send also what was kept for another address: the store has moved.

    Returns:
        A line a run that was sent.

    Raises:
        TrackingError: some of it stays on disk, with the reasons: the store is away, it will not have some
            items, or they are for another store. Everything else was sent.
    """
    lines: list[str] = []
    problems: list[str] = []
    own = {one.folder for one in outboxes() if one.journal is not None}
    for one in outboxes():
        if one.root == folder.absolute() and one.sender is not None and not one.empty:
            before = dict(one.sender.sent)
            if not one.flush(anyway=True):
                problems.append(f"{one.folder}: the tracking store is away")
            elif one.sender is not None:
                lines += _lines(one.sender, before)
            one.stop_when_idle()
    for path in waiting(folder):
        if path not in own and (journal := Journal.take_over(path)) is not None:
            try:
                problems += _send(journal, lines, moved)
            finally:
                journal.close()
    if problems:
        sent = "".join(f"\n  sent: {line}" for line in lines)
        raise TrackingError("".join(f"\n  {problem}" for problem in problems).strip() + sent)
    return lines


def waiting(folder: Path = FOLDER) -> list[Path]:
    """The folders of processes that have, or had, something to send."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.absolute().iterdir() if path.is_dir() and path.name[0] != ".")


def _send(journal: Journal, lines: list[str], moved: bool) -> list[str]:
    """Send one journal; the reasons why some of it stays."""
    if journal.empty and not journal.refused():
        return []
    mine, uri = journal.owner().get("store"), store.without_password(store.store_uri())
    if mine is not None and normal(mine) != uri and not moved:
        return [
            f"{journal.folder} is for the store {mine}, not for {uri}: set MLFLOW_TRACKING_URI, or, where that "
            "store has moved here, give --moved"
        ]
    if not reaching.answers(store.store_uri()):
        return [f"{journal.folder} stays on disk: the tracking store does not answer"]
    journal.retry_refused()
    sender = Sender(store.connect(), journal)
    reason = None
    for _ in range(ATTEMPTS):  # an item that fails so often while the store answers is set aside
        try:
            sender.send()
        except Exception as error:
            reason = one_line(error)
            if not reaching.answers(store.store_uri()):
                break
        else:
            reason = None
            break
    lines += _lines(sender, {})
    if reason is not None:
        return [f"{journal.folder} stays on disk, the tracking store does not take it: {reason}"]
    return [
        f"{journal.folder}: kept, the tracking store refused part of {f'run {run}' if run else 'it'}: {reason}"
        for run, reason in sender.refusals.items()
    ]


def _lines(sender: Sender, before: dict[tuple[str, str], int]) -> list[str]:
    """What was sent, a line a run."""
    counts: dict[str, list[str]] = {}
    for (run, what), number in sender.sent.items():
        if new := number - before.get((run, what), 0):
            counts.setdefault(sender.journal.names.get(run, run), []).append(
                what if what == "status" else f"{new} {what}"
            )
    return [f"run {run}: {', '.join(sorted(words))}" for run, words in counts.items()]
