"""Measures this library beside what people use today, and beside the bare limit. `python -m benchmarks --help`."""
