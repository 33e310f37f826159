"""Grad-CAM of a MIL prediction: which patches speak for or against a class.

For patch i with embedding e_i the score is Σ_d e_id · ∂ logit_c / ∂ e_id (gradient × activation,
Selvaraju 2017, on the patch's embedding): positive where the patch raises the class.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from napari_zoommil.models.mil import MILOutput


def grad_cam(output: MILOutput, target: int) -> list[NDArray[np.float32]]:
    """Scores of the patches of each step for one class.

    Parameters
    ----------
    output : MILOutput
        Of a pass made with gradients on.
    target : int
        Class index.

    Returns
    -------
    list of (n,) float32, in the order of ``output.steps``
    """
    embeddings = [step.embeddings for step in output.steps]
    gradients = torch.autograd.grad(output.logits[target], embeddings, retain_graph=True)
    return [
        (gradient * embedding).sum(1).detach().cpu().numpy()
        for gradient, embedding in zip(gradients, embeddings, strict=True)
    ]
