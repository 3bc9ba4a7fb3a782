"""litemkd: multi-modal teachers distilled into light RGB students for few-shot action recognition."""

__version__ = "0.1.0"
