"""Makes the fixtures of clusters.py known to every test."""

import signal

pytest_plugins = ["clusters"]

# A shell that starts something in the background has it ignore SIGINT, and every process that it starts inherits that:
# then a test that sends one would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
