"""Ready graphs, each a page long: to run as they are, or to copy and change."""
