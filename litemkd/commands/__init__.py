"""The commands, in files by what they are for; `litemkd.cli` collects them."""
