# Boots the agent.
#
# On the Unix port: micropython main.py [--root FOLDER] [--name NAME], with the serial line on
# stdin and stdout; --selftest proves the mechanisms and prints a line for each.

import sys

_here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path.insert(0, _here)


def _option(name, default):
    arguments = sys.argv
    if name in arguments[:-1]:
        return arguments[arguments.index(name) + 1]
    return default


def _self_test():
    try:
        from house.ports import unix, unix_heap
    except (ImportError, SyntaxError) as error:
        print("preemption: this MicroPython lacks ffi or the native code generator (%s)" % error)
        return 1
    from house import boot
    from house.frames import open_table

    failed = 0
    for name, reason in boot.mechanisms(unix, open_table(unix_heap)):
        print("%s: %s" % (name, reason or "ok"))
        failed += reason is not None
    return failed


def main():
    if "--selftest" in sys.argv:
        sys.exit(1 if _self_test() else 0)
    from house import boot
    from house.ports import unix, unix_heap

    boot.run(unix, unix_heap, _option("--root", "."), _option("--name", "unix"))


main()
