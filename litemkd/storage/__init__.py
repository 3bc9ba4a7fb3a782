"""Files: whole or not at all, locked, bounded, and read without running code that they may hold."""
