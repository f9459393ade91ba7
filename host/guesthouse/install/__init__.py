"""Putting the agent on a board: what goes there, and the ways it gets there."""
