"""Floor 6: what a trained model has learned, how sure its figures are, and what is wrong with its data.

attribution  where in a picture the model looks: grad_cam, guided_gradients, occlusion
classes      which classes are taken for which          calibration  whether it means what it says
intervals    95 % confidence intervals of every figure  labels       wrong labels and near duplicates
retrieval    whether the nearest pictures are of the same class
embedding    features in the plane                      flow         outputs and gradients, layer by layer
"""

from minires.explain.attribution import enlarge, grad_cam, guided_gradients, occlusion
from minires.explain.calibration import Calibration, calibration, temperature
from minires.explain.classes import class_report, confusion_matrix, most_confused
from minires.explain.embedding import principal_components
from minires.explain.flow import LayerFlow, signal_chart, signal_flow
from minires.explain.intervals import classification_intervals, regression_intervals, wilson
from minires.explain.labels import Suspect, label_errors, near_duplicates, thumbnails
from minires.explain.retrieval import nearest, retrieval_figures

__all__ = [
    "Calibration", "LayerFlow", "Suspect", "calibration", "class_report", "classification_intervals",
    "confusion_matrix", "enlarge", "grad_cam", "guided_gradients", "label_errors", "most_confused", "near_duplicates",
    "nearest", "occlusion", "principal_components", "regression_intervals", "retrieval_figures", "signal_chart",
    "signal_flow", "temperature", "thumbnails", "wilson",
]  # fmt: skip
