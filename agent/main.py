# Boots the agent.
#
# On the Unix port: micropython main.py [--root FOLDER] [--name NAME], with the serial line on
# stdin and stdout; --selftest proves the mechanisms and prints a line for each. On a board it
# is /main.py, with the agent's package in /lib/house and the guests in the root folder.

import sys


def _option(name, default):
    arguments = sys.argv
    if name in arguments[:-1]:
        return arguments[arguments.index(name) + 1]
    return default


# The modules for this port: what it can do, and how its heap is read.
def _port():
    if sys.platform == "rp2":
        from house.ports import rp2, rp2_heap

        return rp2, rp2_heap
    from house.ports import unix, unix_heap

    return unix, unix_heap


def _self_test():
    try:
        port, heap_port = _port()
    except (ImportError, SyntaxError) as error:
        print("preemption: this MicroPython lacks ffi or the native code generator (%s)" % error)
        return 1
    from house import boot
    from house.frames import open_table

    failed = 0
    for name, reason in boot.mechanisms(port, open_table(heap_port)):
        print("%s: %s" % (name, reason or "ok"))
        failed += reason is not None
    return failed


def main():
    if sys.platform != "rp2":
        here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
        sys.path.insert(0, here)
    if "--selftest" in sys.argv:
        sys.exit(1 if _self_test() else 0)
    from house import boot

    port, heap_port = _port()
    boot.run(port, heap_port, _option("--root", port.ROOT), _option("--name", port.NAME))


main()
