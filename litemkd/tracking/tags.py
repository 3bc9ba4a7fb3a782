"""Tags of runs that several modules here write or read, by one name each."""

OWNER = "litemkd.owner"  # which process works on the run, see `litemkd.owners.this_process`
HEARTBEAT = "litemkd.heartbeat"  # when it was last heard of, seconds since 1970
ERROR = "litemkd.error"  # why the run failed
CLOSED = "litemkd.closed_by_another"  # the same, where another process closed it
STOPPED = "litemkd.stopped"  # what ended it that is no failure: a signal's name, Ctrl-C, why a trial was pruned
ORIGIN = "litemkd.origin"  # the word that stood for it before it was in the store
PARENT = "mlflow.parentRunId"
