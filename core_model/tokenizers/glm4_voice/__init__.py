"""The published speech codec, GLM-4-Voice's: sound to codes, and back by flow matching and a vocoder.

Needs the extra `published`: transformers and diffusers have some of its layers.
"""
