"""What the package costs, measured beside other providers: ``python -m benchmarks``."""
