# The last lines a guest printed, kept on the board for `why` and `logs`.


# Lines as bytes in one ring, oldest overwritten first. Each line has a number, counted from the
# instance's creation, so that a reader can ask for what is new. The ring comes with the first
# line: it is the guest's then, who may never print one.
class LogTail:
    def __init__(self, size):
        self.data = None
        self.size = size
        self.start = 0  # where the oldest line begins
        self.used = 0
        self.first = 0  # number of the oldest line kept
        self.next = 0  # number of the next line
        self.torn = False  # a guest was stopped in the middle of add()

    # Adds a line (bytes without line end, at most 255).
    def add(self, line):
        size = self.size
        line = line[: min(255, size - 1)]
        n = len(line)
        self.torn = True
        if self.data is None:
            self.data = bytearray(size)
        while self.used + n + 1 > size:
            old = self.data[self.start] + 1
            self.start = (self.start + old) % size
            self.used -= old
            self.first += 1
        at = (self.start + self.used) % size
        self.data[at] = n
        at = (at + 1) % size
        fits = min(n, size - at)
        self.data[at : at + fits] = line[:fits]
        self.data[: n - fits] = line[fits:]
        self.used += n + 1
        self.next += 1
        self.torn = False

    # Empties a log that a kill left half written: nothing in it can be trusted.
    def mend(self):
        if self.torn:
            self.start = self.used = 0
            self.first = self.next
            self.torn = False

    # The lines from number `number` on: (number of the first one returned, the lines as str).
    def lines(self, number):
        number = min(max(number, self.first), self.next)
        at = self.start
        out = []
        for n in range(self.first, self.next):
            size = self.data[at]
            if n >= number:
                begin = (at + 1) % self.size
                line = self.data[begin : begin + size]
                line += self.data[: size - len(line)]
                try:
                    out.append(str(line, "utf-8"))
                except UnicodeError:
                    out.append(repr(bytes(line)))
            at = (at + size + 1) % self.size
        return number, out
