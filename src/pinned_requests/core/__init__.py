"""Pins, policies and the decision: values and pure functions, on the standard library alone."""
