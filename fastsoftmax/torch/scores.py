"""[5] What one asks of logits beside the loss: scores, the likeliest classes, samples. Nothing here has a gradient."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import api_score
from .arrays import array_of, checked, class_dim, lead_of, wide
from .ops import Op


class TopK(NamedTuple):
    """The input's shape with k at `dim`, each: the likeliest class first, among equals the least id, and NaN before all."""

    log_probs: Tensor
    ids: Tensor


class Scores(NamedTuple):
    """What a prediction is worth: tensors shaped as the target; of an ignored row 0, and class -1.

    losses         -log softmax(input)[target]              log_probs    minus these
    lse            log-sum-exp                              entropy      -sum p*log p of the prediction, in nats
    ranks          1 where the target is the first class    argmax       the first class
    confidence     the probability of argmax
    top_ids, top_log_probs   top_k classes at `dim`, as topk has them; None without top_k
    """

    losses: Tensor
    lse: Tensor
    log_probs: Tensor
    ranks: Tensor
    argmax: Tensor
    entropy: Tensor
    confidence: Tensor
    top_ids: Tensor | None
    top_log_probs: Tensor | None


def score(input: Tensor, target: Tensor, *, top_k: int = 0, ignore_index: int = -100, temperature: float = 1.0,
          softcap: float | None = None, dim: int = -1) -> Scores:
    """Loss, rank of the target, entropy, the likeliest classes: what one asks of a prediction, in one reading -> Scores.

    input   logits with the classes at `dim`: float32, float64, bfloat16 or float16
    target  class indices of any integer dtype, shaped as input without `dim`
    top_k   how many of the likeliest classes are wanted

    Float32, or float64 for float64, and int64. Of equal logits the class of the smaller id comes first.
    Raises fastsoftmax.LabelError for a target outside [0, C).
    """
    checked(input, "input")
    checked(target, "target", floats=False)
    *rows, ids, log_probs = _score(input.detach(), target, top_k, ignore_index, temperature, softcap, class_dim(input, dim))
    return Scores(*rows, *((ids, log_probs) if top_k else (None, None)))


def topk(input: Tensor, k: int, *, temperature: float = 1.0, softcap: float | None = None, dim: int = -1) -> TopK:
    """The k likeliest classes and their log-probabilities, without sorting a row -> TopK.

    torch.topk(log_softmax(input, dim), k, dim), in its order, and with the smaller id first where logits are equal.
    Gradients go through target_log_prob(input, ids).
    """
    checked(input, "input")
    return TopK(*_topk(input.detach(), k, temperature, softcap, class_dim(input, dim)))


def sample(input: Tensor, *, generator: torch.Generator | None = None, temperature: float = 1.0, top_k: int = 0,
           top_p: float = 1.0, softcap: float | None = None, dim: int = -1) -> Tensor:
    """One class a row, int64, drawn from softmax(input/temperature) over `dim`, with no probability ever stored.

    generator  torch's default one unless given: torch.manual_seed governs it. It gives one number a row, whatever the
               options, so that samples depend neither on threads nor on the rows beside
    top_k      draw from the k likeliest classes alone; 0 from all
    top_p      from as few of the likeliest as have that much of the mass, of the top_k where these are asked for

    A row of NaN gives a class of its NaN, one with +inf the first such class.
    """
    checked(input, "input")
    axis = class_dim(input, dim)
    # torch.compile knows only the default generator, and no argument for it.
    chosen: dict[str, Any] = {} if generator is None else {"generator": generator}
    words = torch.randint(2**63 - 1, lead_of(input, axis), dtype=torch.int64, device="cpu", **chosen)  # hashed to 53 bits
    drawn: Tensor = _sample(input.detach(), words, temperature, top_k, top_p, softcap, axis)
    return drawn


def _score_compute(input: Tensor, target: Tensor, top_k: int, ignore_index: int, temperature: float, softcap: float | None,
                   dim: int) -> tuple[Tensor, ...]:
    found = api_score.score(array_of(input), array_of(target), top_k=top_k, ignore_index=ignore_index,
                            temperature=temperature, softcap=softcap, axis=dim)
    rows = [_tensor(a, input) for a in found[:-2]]
    top = _nothing(input) if found.top_ids is None else (_tensor(a, input) for a in (found.top_ids, found.top_log_probs))
    return *rows, *top


def _score_fake(input: Tensor, target: Tensor, top_k: int, *options: Any) -> tuple[Tensor, ...]:
    dim = options[-1]
    lead = lead_of(input, dim)
    dtypes = [wide(input)] * 3 + [torch.int64] * 2 + [wide(input)] * 2
    rows = [input.new_empty(lead, dtype=dtype) for dtype in dtypes]
    top = _topk_fake(input, top_k, dim) if top_k else _nothing(input)[::-1]
    return *rows, *top[::-1]


def _nothing(input: Tensor) -> tuple[Tensor, Tensor]:
    return input.new_empty(0, dtype=torch.int64), input.new_empty(0, dtype=wide(input))


def _topk_compute(input: Tensor, k: int, temperature: float, softcap: float | None, dim: int) -> tuple[Tensor, ...]:
    found = api_score.topk(array_of(input), k, temperature=temperature, softcap=softcap, axis=dim)
    return tuple(_tensor(a, input) for a in found)


def _topk_fake(input: Tensor, k: int, *options: Any) -> tuple[Tensor, Tensor]:
    dim = options[-1]
    shape = *input.shape[:dim], k, *input.shape[dim + 1:]
    return input.new_empty(shape, dtype=wide(input)), input.new_empty(shape, dtype=torch.int64)


def _tensor(found: Any, input: Tensor) -> Tensor:
    """Results of the public face, in the door's dtype and in order."""
    a = np.asarray(found, order="C")
    return torch.from_numpy(a).to(wide(input) if a.dtype.kind == "f" else torch.int64)


def _sample_compute(input: Tensor, words: Tensor, temperature: float, top_k: int, top_p: float, softcap: float | None,
                    dim: int) -> Tensor:
    drawn = api_score.sample_by(array_of(input), array_of(words).view(np.uint64), temperature=temperature, top_k=top_k,
                                top_p=top_p, softcap=softcap, axis=dim)
    return torch.from_numpy(drawn)


_score = Op("score(Tensor input, Tensor target, SymInt top_k, int ignore_index, float temperature, float? softcap, "
            f"int dim) -> ({', '.join(['Tensor'] * len(Scores._fields))})", _score_compute, _score_fake)
_topk = Op("topk(Tensor input, SymInt k, float temperature, float? softcap, int dim) -> (Tensor, Tensor)", _topk_compute,
           _topk_fake)
_sample = Op("sample(Tensor input, Tensor words, float temperature, SymInt top_k, float top_p, float? softcap, int dim) "
             "-> Tensor", _sample_compute, lambda input, words, *_: torch.empty_like(words))
