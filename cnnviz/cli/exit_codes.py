"""The exit codes, which scripts rely on."""

DONE = 0
FAILED = 1  # an expected failure, or some inputs of many failed
WRONG_USAGE = 2  # an option, a name or the configuration
TRIPPED = 3  # a --fail-on rule
INTERRUPTED = 130
