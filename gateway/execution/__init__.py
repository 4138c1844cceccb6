"""How operations run: parse → validate → limit → plan → run, each in its own module."""
