"""Runs: opened and closed in every way a process can end, written on, resumed, and read back."""
