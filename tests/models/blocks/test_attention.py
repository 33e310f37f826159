from __future__ import annotations

import torch

from napari_zoommil.models.blocks.attention import GatedAttention, attention_pool, evidence


def test_gated_attention_is_equation_2() -> None:
    torch.manual_seed(0)
    attention = GatedAttention(6, 4, heads=2).eval()
    instances = torch.randn(5, 6)
    value, gate = attention.value[0](instances).tanh(), attention.gate[0](instances).sigmoid()
    torch.testing.assert_close(attention(instances), attention.score(value * gate))
    assert attention(instances).shape == (5, 2)


def test_gated_attention_has_the_published_size() -> None:
    assert sum(weight.numel() for weight in GatedAttention().parameters()) == 262_913


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    attention, instances = GatedAttention(6, 64, 0.5), torch.randn(5, 6)
    assert not torch.equal(attention(instances), attention(instances))
    attention.eval()
    assert torch.equal(attention(instances), attention(instances))


def test_pooling_is_a_mean_weighted_by_softmax() -> None:
    instances, logits = torch.randn(5, 3), torch.randn(5)
    weights = logits.exp() / logits.exp().sum()
    torch.testing.assert_close(attention_pool(instances, logits), (weights[:, None] * instances).sum(0))
    torch.testing.assert_close(attention_pool(instances, torch.zeros(5)), instances.mean(0))


def test_pooling_nothing_gives_zero() -> None:
    assert attention_pool(torch.empty(0, 3), torch.empty(0)).tolist() == [0, 0, 0]


def test_evidence_sums_to_the_output_less_its_bias() -> None:
    torch.manual_seed(0)
    instances, logits, classifier = (
        torch.randn(50, 6).double(),
        torch.randn(50).double(),
        torch.nn.Linear(6, 3),
    )
    added = evidence(instances, logits, classifier.double())
    expected = classifier(attention_pool(instances, logits)) - classifier.bias
    torch.testing.assert_close(added.sum(0), expected, atol=1e-12, rtol=0)
    shares = logits.softmax(0)
    torch.testing.assert_close(added[3, 1], shares[3] * (classifier.weight[1] @ instances[3]))
    assert evidence(instances, logits, torch.nn.Sequential(classifier, torch.nn.ReLU())) is None
