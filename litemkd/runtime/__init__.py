"""The process: its seeds, its memory, its siblings, and its end."""
