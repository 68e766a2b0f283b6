"""Training of omni-tiny's parts."""
