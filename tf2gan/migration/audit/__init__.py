"""Reads what a graph would do from its definition alone, without running it."""
