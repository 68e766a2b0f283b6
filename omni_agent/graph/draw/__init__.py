"""Seeing a graph: as Mermaid text, as SVG, in a notebook, and with the state of a run in colours."""

from omni_agent.graph.draw.drawing import Drawing

__all__ = ["Drawing"]
