"""What leaving a patch out would change, from the evidence of all patches, without another pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def leave_one_out(
    logits: NDArray[np.float32],
    evidence: NDArray[np.float32],
    rest: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> NDArray[np.float32]:
    """How much each output falls when one patch alone is left out of a pooling by attention.

    The others then share its attention. With a = softmax(logits), evidence e_i and E = Σ e_i, the fall is
    E − (E − e_i) / (1 − a_i): a patch of positive evidence below the average raises the output when it goes.

    Parameters
    ----------
    logits : (n,) or (P, n) float32
        Of the attention: one for all outputs (P = 1), or one per output (P = C).
    evidence : (C, n) float32
        a_i · (w_c · h_i).
    rest : (P,) and (C,) float32, optional
        Other patches in the same pooling: the logarithm of the sum of their exponentials, and the sum of
        their evidence. They count like one patch with these.

    Returns
    -------
    (C, n) float32
        NaN where there is no other patch.
    """
    if not evidence.size:
        return np.empty_like(evidence)
    if rest is not None:
        all_logits = np.concatenate([np.atleast_2d(logits), rest[0][:, None]], 1)
        return leave_one_out(all_logits, np.concatenate([evidence, rest[1][:, None]], 1))[:, :-1]
    attention = np.broadcast_to(np.atleast_2d(logits), evidence.shape).astype(np.float64)
    shares = np.exp(attention - attention.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    added = evidence.astype(np.float64)
    total = added.sum(1, keepdims=True)
    remaining, others = 1 - shares, total - added
    # The difference would lose all its digits at a patch that has nearly all the attention.
    top = shares.argmax(1)[:, None]
    for left, of in ((remaining, shares), (others, added)):
        without = of.copy()
        np.put_along_axis(without, top, 0, 1)
        np.put_along_axis(left, top, without.sum(1, keepdims=True), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = total - others / remaining
    return np.where(remaining > 0, fall, np.nan).astype(np.float32)
