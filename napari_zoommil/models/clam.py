"""CLAM: pooling by attention whose extremes also train instance classifiers (Lu 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_zoommil.models.abmil import AttentionMIL
from napari_zoommil.models.entries_bag import CLAMOptions
from napari_zoommil.models.mil import MILOutput
from napari_zoommil.models.task import Classification


def smooth_top1_svm(scores: Tensor, targets: Tensor, tau: float = 1.0) -> Tensor:
    """Mean of τ log Σ_j exp((s_j + [j ≠ y]) / τ) − s_y (Berrada 2018, with k = 1 and margin 1).

    The authors' code replaces the sum by its largest term where one score is far above the others, which
    changes it by less than 0.003 at τ = 1; here it is smooth everywhere.

    Parameters
    ----------
    scores : (n, C)
    targets : (n,) int64
    tau : float
        Temperature.
    """
    margins = 1 - F.one_hot(targets, scores.shape[1]).to(scores)
    own = scores.gather(1, targets[:, None])[:, 0]
    return (tau * torch.logsumexp((scores + margins) / tau, 1) - own).mean()


INSTANCE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "svm": smooth_top1_svm,
    "ce": F.cross_entropy,
}


class _CLAM(AttentionMIL):
    """What CLAM-SB and CLAM-MB share: instance classifiers, one per class.

    For the bag's class y, the B instances of highest attention are positive and the B of lowest negative
    for its instance classifier; with sub-typing, the B of highest attention are negative for those of the
    other classes, and the loss is the mean over classes. B is at most half of the bag, so a bag of one
    instance has no instance loss; neither has a regression, which has no classes.
    """

    options: CLAMOptions

    def __init__(
        self,
        in_features: int,
        classes: int,
        magnifications: Sequence[float],
        options: CLAMOptions,
        branches: int,
    ) -> None:
        last = nn.Linear(options.hidden, classes)
        super().__init__(in_features, classes, magnifications, options, last, branches)
        self.instances = nn.ModuleList(nn.Linear(options.hidden, 2) for _ in range(classes))

    def losses(self, output: MILOutput, target: Tensor, progress: float) -> dict[str, Tensor]:
        """The task's loss as ``bag``, and the instance classifiers' as ``instance``."""
        found = super().losses(output, target, progress)
        if isinstance(self.task, Classification):
            found["instance"] = self.instance_loss(output, int(target))
        return found

    def instance_loss(self, output: MILOutput, label: int) -> Tensor:
        """() loss of the instance classifiers of a bag of the class ``label``."""
        (step,) = output.steps
        assert step.embeddings is not None
        size = min(self.options.sampled, len(step.rows) // 2)
        if not size:
            return output.logits.new_zeros(())
        loss = INSTANCE_LOSSES[self.options.instance_loss]
        positive = torch.arange(2 * size, device=step.scores.device) < size
        attention = step.scores.detach().expand(-1, self.classes)
        found = []
        for number, classify in enumerate(self.instances):
            highest = attention[:, number].topk(size).indices
            if number == label:
                lowest = (-attention[:, number]).topk(size).indices
                chosen, targets = torch.cat([highest, lowest]), positive.long()
            elif self.options.subtyping:
                chosen, targets = highest, torch.zeros_like(highest)
            else:
                continue
            found.append(loss(classify(step.embeddings[chosen]), targets))
        return torch.stack(found).mean()


class CLAMSB(_CLAM):
    """CLAM with a single attention branch: ABMIL with an instance loss.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One.
    options : CLAMOptions
    """

    name = "clam_sb"

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: CLAMOptions = CLAMOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options, branches=1)


class CLAMMB(_CLAM):
    """CLAM with an attention branch per class: logit_c = w_c · Σ softmax(A_c) h + b_c.

    Its heads are the classes.

    Parameters
    ----------
    in_features : int
        Width of the encoder's features.
    classes : int
    magnifications : sequence of float
        One.
    options : CLAMOptions
    """

    name = "clam_mb"

    def __init__(
        self,
        in_features: int = 1024,
        classes: int = 2,
        magnifications: Sequence[float] = (20,),
        options: CLAMOptions = CLAMOptions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(in_features, classes, magnifications, options, branches=classes)

    @property
    def heads(self) -> tuple[str, ...]:
        return self.task.names

    def bag_logits(self, pooled: Tensor) -> Tensor:
        assert isinstance(self.classify, nn.Linear)
        return (pooled * self.classify.weight).sum(1) + self.classify.bias
