"""The bare limits: the same work with no layer around it, as small as it can be written."""
