# Where a guest was, out of a traceback.

from house.where import what, where

_CODE = """
def inner():
    return 1 // 0

def outer():
    inner()

outer()
"""


def _raised(name="guest/main.py"):
    try:
        exec(compile(_CODE, name, "exec"), {})
    except ZeroDivisionError as error:
        return error


def test_the_chain_is_innermost_first():
    chain = where(_raised(), "/agent").split(" < ")
    assert chain[:3] == [
        "guest/main.py:3 in inner",
        "guest/main.py:6 in outer",
        "guest/main.py:8",
    ], chain


def test_frames_of_the_agent_are_left_out():
    assert "/the-agent" not in where(_raised("/the-agent/x.py"), "/the-agent")
    assert "/the-agent" in where(_raised("/the-agent/x.py"), "/elsewhere")


# Two raises of one exception object, as in a guest that swallowed the first.
def test_older_raises_are_left_out():
    error = ValueError()
    scope = {"error": error}
    code = """
def spin():
    try:
        raise error
    except ValueError:
        pass
    raise error
spin()
"""
    try:
        exec(compile(code, "g/main.py", "exec"), scope)
    except ValueError as e:
        chain = where(e, "/agent", True).split(" < ")
    assert [c for c in chain if "spin" in c] in (
        ["g/main.py:4 in spin"],
        ["g/main.py:7 in spin"],
    ), chain


def test_what_is_type_and_message():
    assert what(ValueError("no")) == "ValueError: no"
    assert what(KeyError()) == "KeyError"


def test_what_survives_a_hostile_exception():
    class Bad(Exception):
        def __str__(self):
            raise RuntimeError

    assert what(Bad()) == "Bad"


def test_a_long_message_is_cut():
    assert len(what(ValueError("x" * 1000))) <= 120
