"""The resident masked-diffusion core: its parts, its engine, and how it is trained and measured."""
