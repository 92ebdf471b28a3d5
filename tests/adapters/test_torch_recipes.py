"""What docs/torch.md shows works: its examples, and the Trainer of Hugging Face on a tiny model made here."""

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
fst = pytest.importorskip("fastsoftmax.torch")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "torch.md"


@pytest.fixture(scope="module")
def shown():
    """All names that the page's examples define, after they have run one after another."""
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    return names


def test_the_page(shown):
    features, layer, target = shown["features"], shown["layer"], shown["target"]
    right = torch.nn.functional.cross_entropy(layer(features), target)
    torch.testing.assert_close(shown["loss"], right)
    torch.testing.assert_close(layer.weight.grad, torch.autograd.grad(right, layer.weight)[0])


@pytest.mark.parametrize("counted", [False, True])
def test_the_recipe(shown, counted):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 9, generator=generator)
    labels = torch.randint(9, (2, 6), generator=generator)
    labels[0, 3:] = -100
    n_items = (labels[:, 1:] != -100).sum() if counted else None
    right = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(shown["compute_loss"]({"logits": logits}, labels, n_items), right)


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_hugging_face(shown, tmp_path):
    """Two epochs with accumulation end with the parameters that its own loss gives."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(50, (8, 12), generator=generator)
    data = [{"input_ids": row, "labels": torch.where(torch.arange(12) < 9, row, -100)} for row in rows]
    trained = []
    for loss in (None, shown["compute_loss"]):
        torch.manual_seed(0)
        config = transformers.GPT2Config(vocab_size=50, n_positions=12, n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.0,
                                         embd_pdrop=0.0, attn_pdrop=0.0)
        model = transformers.GPT2LMHeadModel(config)
        how = transformers.TrainingArguments(output_dir=tmp_path, num_train_epochs=2, per_device_train_batch_size=2,
                                             gradient_accumulation_steps=2, learning_rate=1e-2, report_to=[], use_cpu=True,
                                             save_strategy="no", disable_tqdm=True, seed=0)
        result = transformers.Trainer(model, how, train_dataset=data, compute_loss_func=loss).train()
        trained.append((result.training_loss, torch.cat([p.detach().flatten() for p in model.parameters()])))
    (theirs, right), (ours, found) = trained
    assert ours == pytest.approx(theirs, rel=1e-5)
    torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-4)
