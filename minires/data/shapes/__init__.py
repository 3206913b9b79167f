"""Labelled pictures made on the spot: glyphs, figures and textures. What the built-in weights were trained on.

figures, glyphs, textures   what is drawn       rendering   how it becomes a picture       dataset   the data set
"""

from minires.data.shapes.dataset import ShapesDataset
from minires.data.shapes.rendering import CLASSES, render

__all__ = ["CLASSES", "ShapesDataset", "render"]
