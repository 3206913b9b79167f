"""Labelled pictures made on the spot: glyphs, figures and textures. What the built-in weights were trained on.

figures, glyphs, textures   what is drawn       rendering   how it becomes a picture       dataset   the data set
scenes   several of them on one picture, with masks
"""

from minires.data.shapes.dataset import ShapesDataset
from minires.data.shapes.rendering import CLASSES, render
from minires.data.shapes.scenes import ShapeScenes

__all__ = ["CLASSES", "ShapeScenes", "ShapesDataset", "render"]
