"""Where a policy comes from, and how it is kept fresh."""
