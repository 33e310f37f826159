"""What leaving a patch out would change, from the evidence of all patches, without another pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def leave_one_out(logits: NDArray[np.float32], evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each output falls when one patch alone is left out of a pooling by attention.

    The others then share its attention. With a = softmax(logits), evidence e_i and E = Σ e_i, the fall is
    E − (E − e_i) / (1 − a_i): a patch of positive evidence below the average raises the output when it goes.

    Parameters
    ----------
    logits : (n,) float32
        Of the attention.
    evidence : (C, n) float32
        a_i · (w_c · h_i).

    Returns
    -------
    (C, n) float32
        NaN where there is no other patch.
    """
    if not len(logits):
        return np.empty_like(evidence)
    shares = np.exp(logits.astype(np.float64) - logits.max())
    shares /= shares.sum()
    added = evidence.astype(np.float64)
    total = added.sum(1, keepdims=True)
    rest, others = 1 - shares, total - added
    # The difference would lose all its digits at a patch that has nearly all the attention.
    top = int(shares.argmax())
    rest[top] = np.delete(shares, top).sum()
    others[:, top] = np.delete(added, top, 1).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = total - others / rest
    return np.where(rest > 0, fall, np.nan).astype(np.float32)
