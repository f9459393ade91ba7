"""The boards: Unix-port boards on this machine, the MicroPython they run, and board profiles."""
