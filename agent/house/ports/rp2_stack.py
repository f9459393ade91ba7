# The stack below whoever calls, on the rp2 port.
#
# The collector takes every word on the stack for a pointer. A function that is called sets only a
# part of its frame: the rest is what an earlier, deeper call has left there, such as pointers into
# a module that was needed once, and 20 kB stay in the heap for as long as that frame lasts. So what
# lies below is set to zero before each collection; an interrupt that comes meanwhile is over when
# this goes on.
#
# rp2_heap.py keeps the function and lets go of this module.

# The assembler's names are nobody else's.
# ruff: noqa: F821
# mypy: ignore-errors

import micropython


# The stack is the 8 kB behind the heap, on either chip at a multiple of 256 kB. Nothing is done
# where the firmware has it somewhere else.
@micropython.asm_thumb
def wipe():
    mov(r0, sp)
    lsr(r1, r0, 13)
    lsl(r1, r1, 13)
    lsl(r2, r1, 14)
    bne(END)
    label(NEXT)
    cmp(r1, r0)
    bcs(END)
    str(r2, [r1, 0])
    add(r1, 4)
    b(NEXT)
    label(END)
