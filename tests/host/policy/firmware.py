"""The agent's files under CPython, as they are: what they import of MicroPython is here.

They are compiled from the agent's source with an ``import`` of their own. What decides about
slices is real (cpu, meter, schedule, kernel, billing, lifecycle, instance, restart and the loops);
what touches a guest's files and modules is left out. Machine code runs as the Python that it is
written in, on words of 32 bits: a number that does not fit raises OverflowError.
"""

from __future__ import annotations

import builtins
from types import ModuleType, SimpleNamespace
from typing import Any

from guesthouse.core.assets import agent_dir

PERIOD = 1 << 30
"""Where the tick counters wrap: the Pico's."""


class Time:
    """The virtual clock, in microseconds that never wrap."""

    us = 0


def ticks_ms() -> int:
    return Time.us // 1000 % PERIOD


def ticks_us() -> int:
    return Time.us % PERIOD


def ticks_add(ticks: int, delta: int) -> int:
    return (ticks + delta) % PERIOD


def ticks_diff(end: int, start: int) -> int:
    return (end - start + PERIOD // 2) % PERIOD - PERIOD // 2


class Task:
    """An entry of a heap: of MicroPython's C type what the agent uses."""

    def __init__(self, coro: Any, context: Any = None) -> None:
        self.coro = coro
        self.data: Any = None
        self.state: Any = True
        self.ph_key = 0
        self.child: Task | None = None
        self.next: Task | None = None


class TaskQueue:
    """A pairing heap whose keys wrap; the order of equal keys is that of py/pairheap.c."""

    def __init__(self) -> None:
        self.heap: Task | None = None

    def peek(self) -> Task | None:
        return self.heap

    def push(self, task: Task, key: int | None = None) -> None:
        assert not self.holds(task), "pushed twice"
        task.data = None
        task.ph_key = ticks_ms() if key is None else key
        task.child = task.next = None
        self.heap = _meld(self.heap, task)

    def pop(self) -> Task:
        task = self.heap
        assert task is not None, "empty heap"
        self.heap = _pair(task.child)
        return task

    def remove(self, task: Task) -> None:
        if task is self.heap:
            self.pop()
            return
        kept = [one for one in self.tasks() if one is not task]
        assert len(kept) < len(self.tasks()), "not in this heap"
        self.heap = None
        for one in kept:
            one.child = one.next = None
            self.heap = _meld(self.heap, one)

    def tasks(self) -> list[Task]:
        found = []
        left = [self.heap]
        while left:
            task = left.pop()
            if task is not None:
                found.append(task)
                left += [task.next, task.child]
        return found

    def holds(self, task: Task) -> bool:
        return any(one is task for one in self.tasks())


def _meld(one: Task | None, two: Task | None) -> Task | None:
    if one is None or two is None:
        return one or two
    if ticks_diff(one.ph_key, two.ph_key) < 0:
        if one.child is None:
            one.child = two
        else:
            last = one.child
            while last.next is not None:
                last = last.next
            last.next = two
        return one
    one.next = two.child
    two.child = one
    return two


def _pair(child: Task | None) -> Task | None:
    heap = None
    while child is not None:
        one, child = child, child.next
        one.next = None
        if child is not None:
            two, child = child, child.next
            two.next = None
            heap = _meld(heap, _meld(one, two))
        else:
            heap = _meld(heap, one)
    return heap


class _IOQueue:
    def __init__(self) -> None:
        self.map: dict[Any, Any] = {}


class _Cancelled(BaseException):
    pass


def _as_it_is(thing: Any) -> Any:
    return thing


core: Any = ModuleType("core")
core.__dict__.update(
    Task=Task,
    TaskQueue=TaskQueue,
    IOQueue=_IOQueue,
    CancelledError=_Cancelled,
    Loop=type("Loop", (), {}),
    cur_task=None,
    _exc_context={},
)

_modules: dict[str, Any] = {
    "micropython": SimpleNamespace(const=_as_it_is, native=_as_it_is, viper=_as_it_is),
    "time": SimpleNamespace(
        ticks_ms=ticks_ms, ticks_us=ticks_us, ticks_add=ticks_add, ticks_diff=ticks_diff
    ),
    "_asyncio": SimpleNamespace(Task=Task, TaskQueue=TaskQueue),
    "asyncio": SimpleNamespace(core=core),
    "asyncio.core": SimpleNamespace(core=core),
}

_agent: dict[str, Any] = {
    "loader": SimpleNamespace(NoMain=type("NoMain", (Exception,), {}), load=None),
    "modules": SimpleNamespace(
        path=[""], loaded={}, known=[0], enter=lambda i: None, leave=lambda i: None
    ),
    "hooks": SimpleNamespace(
        micropython=SimpleNamespace(
            stack_use=lambda: 0, heap_lock=lambda: None, heap_unlock=lambda: 0
        )
    ),
    "where": SimpleNamespace(
        describe=lambda told: ("", ""), is_good_exit=None, what=repr, where=lambda *a: ""
    ),
}


def _import(
    name: str, scope: Any = None, names: Any = None, wanted: Any = (), level: int = 0
) -> Any:
    if level:
        if name:
            return agent(name)
        return SimpleNamespace(**{one: agent(one) for one in wanted})
    return _modules.get(name) or builtins.__import__(name, scope, names, wanted, level)


def agent(name: str) -> Any:
    """The agent's module of that name, loaded once."""
    if name not in _agent:
        module = ModuleType(name)
        file = agent_dir() / "house" / f"{name}.py"
        _agent[name] = module
        module.__dict__.update(
            __builtins__={**vars(builtins), "__import__": _import, "ptr32": _as_it_is},
            __file__=str(file),
        )
        exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)  # noqa: S102
    return _agent[name]
