"""Programs that measure one thing once, each run in a fresh interpreter; the last line they print is JSON."""
