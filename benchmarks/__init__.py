"""What is timed, against what: `python -m benchmarks --help`, and docs/benchmarks.md."""
