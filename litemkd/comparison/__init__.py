"""Comparison of many runs: records to rows and columns, to tables in many formats, to pictures."""
