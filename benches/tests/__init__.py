"""Tests of what computes and shows: python3 -m unittest discover -s benches/tests -t benches."""
