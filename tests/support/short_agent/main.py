# A stand-in for an agent that starts, speaks and fails, again and again.
import sys

sys.stdout.buffer.write(b"hello\n")
raise MemoryError("this agent fails after its first words")
