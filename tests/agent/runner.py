# Runs test functions on MicroPython, which has no unittest: every test_* of a file, or only
# those named, one line each. The exit status is 1 where one failed.
#
#     micropython tests/agent/runner.py tests/agent/on_board/test_frames.py [test_name ...]

import sys


def _folder(path):
    return path.rpartition("/")[0] or "."


# Returns the number of tests that failed.
def run(path, names):
    here = _folder(__file__)
    sys.path[:0] = [_folder(path), here, here + "/../../agent"]
    module = __import__(path.rpartition("/")[2][:-3])
    failed = 0
    for name in names or sorted(n for n in dir(module) if n.startswith("test_")):
        try:
            getattr(module, name)()
            print("ok", name)
        except Exception as error:
            failed += 1
            print("FAIL", name)
            sys.print_exception(error, sys.stdout)
            _tidy()
    return failed


# A test that failed has left its board as it was: with its hooks in the place of what the firmware
# has, no other could find the heap.
def _tidy():
    board = sys.modules.get("board")
    if board:
        for left in list(board.Board.left_open):
            board.Board.close(left)


if __name__ == "__main__":
    sys.exit(1 if run(sys.argv[1], sys.argv[2:]) else 0)
