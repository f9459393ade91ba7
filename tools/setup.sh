#!/bin/sh
# Finds a Python that can run Guesthouse and lets it make .venv (see tools/setup_env.py).
# $PYTHON names one; otherwise the first of the list that is new enough.
set -eu
cd "$(dirname "$0")/.."

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if [ -n "${PYTHON:-}" ]; then
    if ! command -v "$PYTHON" >/dev/null 2>&1; then
        echo "error: PYTHON=$PYTHON is not there" >&2
        exit 1
    fi
    if ! new_enough "$PYTHON"; then
        echo "error: Guesthouse needs Python 3.11 or newer; PYTHON=$PYTHON is $("$PYTHON" --version 2>&1)" >&2
        exit 1
    fi
    exec "$PYTHON" tools/setup_env.py
fi

for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
    if command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate"; then
        exec "$candidate" tools/setup_env.py
    fi
done
found=$(python3 --version 2>/dev/null) || found="no python3"
echo "error: Guesthouse needs Python 3.11 or newer; found $found" >&2
echo "hint: on Debian 12: sudo apt install python3; elsewhere name one: make PYTHON=/path/to/python3.12" >&2
exit 1
