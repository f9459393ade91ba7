"""The files in on_board/ run on MicroPython, through test_on_micropython.py; pytest keeps out."""

collect_ignore = ["on_board", "runner.py"]
