# The last lines a guest printed, kept on the board for `why` and `logs`.


# Lines as bytes in one preallocated ring, oldest overwritten first. Each line has a
# number, counted from the instance's creation, so that a reader can ask for what is new.
class LogTail:
    def __init__(self, size):
        self.data = bytearray(size)
        self.size = size
        self.start = 0  # where the oldest line begins
        self.used = 0
        self.first = 0  # number of the oldest line kept
        self.next = 0  # number of the next line

    # Adds a line (bytes without line end, at most 255).
    def add(self, line):
        n = len(line)
        if n > 255 or n + 1 > self.size:
            n = min(255, self.size - 1)
        while self.used + n + 1 > self.size:
            old = self.data[self.start] + 1
            self.start = (self.start + old) % self.size
            self.used -= old
            self.first += 1
        at = (self.start + self.used) % self.size
        self.data[at] = n
        for i in range(n):
            at += 1
            if at == self.size:
                at = 0
            self.data[at] = line[i]
        self.used += n + 1
        self.next += 1

    # The lines from number `number` on, at most `room` bytes of them:
    # (number of the first one returned, the lines as str).
    def lines(self, number, room):
        at = self.start
        n = self.first
        out = []
        while n < self.next:
            size = self.data[at]
            if n >= number:
                room -= size + 8
                if room < 0:
                    break
                line = bytes([self.data[(at + 1 + i) % self.size] for i in range(size)])
                try:
                    out.append(str(line, "utf-8"))
                except UnicodeError:
                    out.append(repr(line))
            at = (at + size + 1) % self.size
            n += 1
        return max(self.first, number), out
