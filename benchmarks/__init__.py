"""What pinning costs, and what the shared context saves: `python -m benchmarks`."""
