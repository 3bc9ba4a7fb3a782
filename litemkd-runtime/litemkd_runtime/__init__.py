"""Names clips from a few examples, with a student that litemkd has exported; without PyTorch and MLflow."""

from litemkd_runtime.errors import RecogniserError
from litemkd_runtime.exported import Exported, open_exported
from litemkd_runtime.recogniser import Code, Recogniser

__version__ = "0.1.0"
__all__ = ["Code", "Exported", "Recogniser", "RecogniserError", "open_exported"]
