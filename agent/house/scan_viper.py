# The search for the collector's state, in viper: scan() of frames_viper.py, which loads this
# module once, at boot, and lets go of it.

import micropython
from micropython import const

_LONGEST_TABLE = const(0x1000000)
# What the search reads behind the address that it looks at, in words.
_AREA_WORDS = const(6)


# Address of the collector's state in [low, high), or 0. `probe` lies in the pool, `unit`
# is the number of bytes in the pool for each byte in the table.
def scan(port, low, high, probe, unit):
    return _scan(low, high - _AREA_WORDS * port.WORD, probe, port.WORD >> 2, unit)


@micropython.viper
def _scan(low: int, last: int, probe: int, stride: int, unit: int) -> int:
    address = low
    while address <= last:
        area = ptr32(address)
        length = int(area[stride])
        if length > 0 and length < _LONGEST_TABLE:
            table = int(area[0])
            third = int(area[2 * stride])
            if stride == 2:
                table = table | (int(area[1]) << 32)
                third = third | (int(area[5]) << 32)
            if table + length + 1 == third:
                k = 3
                while k < 5:
                    pool = int(area[k * stride])
                    end = int(area[(k + 1) * stride])
                    if stride == 2:
                        pool = pool | (int(area[2 * k + 1]) << 32)
                        end = end | (int(area[2 * k + 3]) << 32)
                    if pool + length * unit == end and pool <= probe and probe < end:
                        return address
                    k += 1
        address += stride << 2
    return 0
