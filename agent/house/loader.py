# Loading: a guest's main.py becomes its main task, in guarded and billed slices.

from . import loop

_open = open  # the firmware's: what the house puts in its place keeps the file


class NoMain(Exception):
    pass


# A generator that the kernel runs as the guest's first task. Its steps are slices: read and
# compile, run the module body, make main. Its value is the main coroutine, or None when the
# body handed one over through asyncio.run().
def load(instance):
    yield
    path = instance.image.folder + "/main.py"
    with _open(path) as f:
        source = f.read()
    code = compile(source, instance.image.name + "/main.py", "exec")
    source = None
    yield
    scope = {"__name__": "__main__", "__file__": path}
    try:
        exec(code, scope)
    except loop.Handover:
        pass
    if instance.main is not None:
        return None
    yield
    main = scope.get("main")
    if main is None or not callable(main):
        raise NoMain("main.py has no main(): write `async def main():`")
    made = main()
    if not hasattr(made, "send"):
        raise NoMain(
            "main() returned %s: make it `async def main()` or a generator" % type(made).__name__
        )
    return made
