"""Programs of guests that several tests run, on boards of all kinds."""

from __future__ import annotations

# Sleeps, fifty times a second.
CALM = """\
import asyncio
async def main():
    while True:
        await asyncio.sleep_ms(20)
"""

# A function that never comes back and catches whatever is raised in it.
SPIN = """\
def spin():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""

# A function that computes for as long as it is told to. `worked` is what it returns.
WORK = """\
def work(n):
    x = 1
    for i in range(n):
        x = (x * 31 + i) % 30011
    return x
"""


def worked(n: int) -> int:
    """What ``work(n)`` returns."""
    x = 1
    for i in range(n):
        x = (x * 31 + i) % 30011
    return x
