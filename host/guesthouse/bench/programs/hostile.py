# A guest that hangs, and swallows the exception that is to stop it where it can.

import asyncio

# --- kinds ---


def hang_in_loop():
    while True:
        pass


def hang_in_except():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def hang_in_finally():
    try:
        while True:
            pass
    finally:
        while True:
            pass


def hang_in_nested():
    while True:
        try:
            try:
                try:
                    while True:
                        pass
                except:  # noqa: E722
                    pass
            except:  # noqa: E722
                pass
        except:  # noqa: E722
            pass


class Swallow:
    def __enter__(self):
        pass

    def __exit__(self, *what):
        return True


def hang_in_exit():
    while True:
        with Swallow():
            while True:
                pass


# What held ever more would be ended for that, and not at its limit.
def hang_in_alloc():
    while True:
        kept = [[n] * 10 for n in range(10)]
        for _ in kept * 10:
            pass


def hang_in_recursion():
    while True:
        try:
            hang_in_recursion()
        except RuntimeError:
            pass


# --- end of kinds ---


async def main():
    await asyncio.sleep_ms(1)  # the load is over
    hang_in_loop()
