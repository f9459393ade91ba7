"""Measurements that set the house beside what it replaces: both sides in one run."""
