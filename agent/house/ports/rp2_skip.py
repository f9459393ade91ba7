# Where the collector's table and the frame table's shadow of it differ, on the rp2 port.
#
# Each slice of a guest compares the two from the first hole in the heap to its last block in use,
# some 1,500 bytes on a Pico. Machine code of the processor's own takes 23 cycles for 16 bytes, what
# viper makes of the same loop 150.
#
# rp2_heap.py keeps the function and lets go of this module.

# The assembler's names are nobody else's.
# ruff: noqa: F821
# mypy: ignore-errors

import micropython


# Takes the context of frames_viper.py: the table (word 0), the shadow (2), where to begin (22) and
# to stop (23). Returns where they differ next, a multiple of 8 that may lie behind the stop.
@micropython.asm_thumb
def skip(r0):
    push({r0})
    ldr(r2, [r0, 92])
    ldr(r1, [r0, 8])
    ldr(r3, [r0, 88])
    ldr(r0, [r0, 0])
    add(r2, r2, r0)
    add(r0, r0, r3)
    add(r1, r1, r3)
    label(NEXT)
    data(2, 0xC818, 0xC960)
    cmp(r3, r5)
    bne(DIFFERENT)
    cmp(r4, r6)
    bne(DIFFERENT)
    data(2, 0xC818, 0xC960)
    cmp(r3, r5)
    bne(DIFFERENT)
    cmp(r4, r6)
    bne(DIFFERENT)
    cmp(r0, r2)
    bcc(NEXT)
    b(END)
    label(DIFFERENT)
    sub(r0, 8)
    label(END)
    pop({r1})
    ldr(r1, [r1, 0])
    sub(r0, r0, r1)
