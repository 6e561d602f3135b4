"""What `check` has found, in each of its formats: a module each. What a finding is, `monitoring/` decides."""
