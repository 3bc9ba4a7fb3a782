"""Runs, models and the registry of one store, taken to another: `export_runs` writes them to a folder or a zip
file, `import_runs` reads that into the store in use.

MLflow itself copies none of this between stores: a database that is moved as a file keeps the absolute paths of
its artifacts, and `mlflow migrate-filestore` knows one kind of store only.
"""

from litemkd.tracking.moving.exporting import Exported, export_runs
from litemkd.tracking.moving.importing import Imported, import_runs
