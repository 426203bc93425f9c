"""Tests of the Python package; `make test-python` runs them with every Python that is there."""
