"""The parts of the benchmark that know nothing of its cases."""
