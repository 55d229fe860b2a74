"""Small programs that use only what 1.1.0 and this library have in common, so that one file measures both.

Each takes its parameters as one JSON argument and prints one JSON line. Nothing here imports more than the standard
library and the library under test.
"""
