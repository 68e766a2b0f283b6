"""Ways in and out: other libraries' faces of a core. Each needs its extra."""
