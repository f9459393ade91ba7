# Modules of a guest's own: two guests may each have a helper.py.
#
# A guest's folder is first on sys.path during its slices, and the modules from it are in
# sys.modules only then. Nothing hooks the import itself: a Python function in its place
# would break relative imports, which look at their caller's globals.

import sys

loaded = sys.modules
_Module = type(sys)
STAND_INS = ("gc", "_thread", "micropython")  # the agent's own, in the place of modules
path = sys.path
path.insert(0, "")
known = [len(loaded)]  # how many modules were there when somebody last looked


# Before a guest's slices.
def enter(instance):
    path[0] = instance.image.folder
    own = instance.modules
    if own:
        loaded.update(own)


# After its slices: what it imported from its own folder goes with it.
def leave(instance):
    path[0] = ""
    if instance.modules or len(loaded) != known[0]:
        _sort_out(instance)


# Lets go of a module of the agent's that is needed seldom; its next import loads it anew. Not in a
# slice: the count is the one that the next slice begins with.
def drop(module):
    package, name = module.__name__.rsplit(".", 1)
    del loaded[module.__name__]
    delattr(loaded[package], name)
    known[0] = len(loaded)


# Where the agent's modules were loaded from takes 50 bytes for each, and nobody asks. What is
# executed in place has forgotten it, and cannot be written.
def forget_files():
    for name in loaded:
        if name.startswith("house.") and "__file__" in loaded[name].__dict__:
            del loaded[name].__dict__["__file__"]


def _sort_out(instance):
    folder = instance.image.folder + "/"
    own = instance.modules
    for name in list(loaded):
        # only real modules, and no getattr: both could run code that a guest put there
        module = loaded[name]
        if type(module) is _Module:
            path = module.__dict__.get("__file__")
            mine = isinstance(path, str) and path.startswith(folder)
        else:
            mine = name not in STAND_INS  # something that the guest put there
        if mine:
            own[name] = loaded.pop(name)
    known[0] = len(loaded)
