# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a user writes, for a strict type checker: right uses, what they give, and wrong uses that must be refused.

A wrong use stands under `if TYPE_CHECKING`, with the error it must cause; where the checker lets it through, the unused
`type: ignore` is itself an error. The functions are also run, by test_typing.py: the values are what the types say.
"""

from typing import TYPE_CHECKING, Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastsoftmax as fs
from fastsoftmax import optim
from fastsoftmax.typing import BackendName, Labels, Reduction, Rows

Floats = NDArray[np.float32]
logits: Floats = np.zeros((3, 5), np.float32)
wide: NDArray[np.float64] = np.zeros((3, 5))
counts: NDArray[np.int32] = np.ones((3, 5), np.int32)
row: NDArray[np.float32] = logits[0]
labels: NDArray[np.uint16] = np.array([0, 4, 2], np.uint16)


def softmax_keeps_the_dtype() -> None:
    assert_type(fs.softmax(logits), Floats)
    assert_type(fs.softmax(logits, axis=0, temperature=np.float32(2), out=np.empty_like(logits)), Floats)
    assert_type(fs.log_softmax(wide, temperature=2), NDArray[np.float64])
    assert_type(fs.softmax(counts), NDArray[Any])
    assert_type(fs.softmax([[1.0, 2.0], [3.5, 4.0]]), NDArray[Any])
    assert_type(fs.logsumexp(logits, keepdims=True), Rows[np.float32])
    assert_type(fs.softmax_grad(logits, logits, out=logits.copy()), Floats)
    assert_type(fs.log_softmax_grad(wide, wide, axis=0), NDArray[np.float64])
    if TYPE_CHECKING:
        fs.softmax(None)  # type: ignore[call-overload]
        fs.softmax(logits, 0)  # type: ignore[call-overload]
        fs.softmax(logits, temperature="hot")  # type: ignore[call-overload]
        fs.softmax(logits, axis=0.5)  # type: ignore[call-overload]
        fs.softmax(logits, out=[0.0])  # type: ignore[call-overload]
        fs.logsumexp(logits, out=logits)  # type: ignore[call-overload]
        fs.softmax_grad(logits)  # type: ignore[call-overload]


def scores_states_and_compact_gradients() -> None:
    scores: fs.Scores = fs.score(logits, labels, top_k=2)
    assert_type(scores.confidence, Rows[np.float64])
    values = fs.Metrics(hits_at=(1, 3)).update(scores, sample_weight=[1, 2, 3], n_bytes=20).compute()
    assert_type(values.perplexity, float)
    assert_type(values.hits, dict[int, float])
    assert_type(fs.metrics.hit_at_k(scores, np.int64(2)), float)
    state = fs.row_state(logits[:, :2], labels).merge(fs.row_state(logits[:, 2:], labels, shard_offset=2))
    assert_type(state, fs.RowState)
    assert_type(fs.merge_states([fs.row_state(logits)]).topk(), fs.TopK)
    assert_type(state.losses(), Rows[np.float64])
    assert_type(state.scores(fs.rank_counts(logits, state)), fs.Scores)
    assert_type(fs.shard_cross_entropy_grad(logits[:, :2], state, dlosses=0.5), Floats)
    gradient = fs.cross_entropy_compact_grad(logits, labels, reduction="sum")
    assert_type(gradient, fs.CompactGrad)
    assert_type(gradient @ wide.T, NDArray[Any])
    assert_type(gradient.T @ wide, NDArray[Any])
    assert_type(gradient.rows(0, 2), NDArray[Any])
    if TYPE_CHECKING:
        fs.row_state(logits, [0.5])  # type: ignore[list-item]
        fs.Metrics(hits_at=1)  # type: ignore[arg-type]
        fs.merge_states(state)  # type: ignore[arg-type]
        fs.cross_entropy_compact_grad(logits, labels, out=logits)  # type: ignore[call-arg]


def a_reduced_loss_is_one_number() -> None:
    assert_type(fs.cross_entropy(logits, labels), np.float64)
    assert_type(fs.cross_entropy(logits, [0, 1, 2], reduction="sum", label_smoothing=0.1, softcap=30), np.float64)
    assert_type(fs.cross_entropy(row, np.int64(3), ignore_index=None), np.float64)
    assert_type(fs.cross_entropy([[[0.0, 1.0]]], [[1]], class_weight=[1, 2], sample_weight=2), np.float64)
    assert_type(fs.soft_cross_entropy(logits, wide, z_loss=1e-4, empty="zero"), np.float64)
    losses = fs.cross_entropy(logits, labels, reduction="none")
    assert_type(losses, Rows[np.float64])
    assert_type(fs.soft_cross_entropy(logits, logits, reduction="none"), Rows[np.float64])
    if TYPE_CHECKING:
        fs.cross_entropy(logits, [0.0, 1.0, 2.0])  # type: ignore[list-item]
        fs.cross_entropy(logits, logits[:, 0])  # type: ignore[arg-type]
        fs.cross_entropy(logits, None)  # type: ignore[call-overload]
        fs.cross_entropy(logits, labels, "sum")  # type: ignore[call-overload]
        fs.cross_entropy(logits, labels, reduction="avg")  # type: ignore[call-overload]
        fs.cross_entropy(logits, labels, empty=0)  # type: ignore[call-overload]
        fs.cross_entropy(logits, labels, ignore_index=1.5)  # type: ignore[call-overload]
        fs.cross_entropy(logits, labels, dlosses=1.0)  # type: ignore[call-overload]
        fs.soft_cross_entropy(logits, wide, ignore_index=3)  # type: ignore[call-overload]


def the_gradient_has_the_dtype_of_the_logits() -> None:
    loss, dlogits, lse = fs.cross_entropy_and_grad(logits, labels, dlosses=2.0, out=logits.copy())
    assert_type(loss, np.float64)
    assert_type(dlogits, Floats)
    assert_type(lse, Rows[np.float64])
    found = fs.cross_entropy_and_grad(wide, labels, reduction="none", dlosses=np.ones(3))
    assert_type(found, fs.CrossEntropyGrad[Rows[np.float64], np.float64])
    assert_type(found.dlogits, NDArray[np.float64])
    assert_type(fs.cross_entropy_and_grad(counts, labels).dlogits, NDArray[Any])
    assert_type(fs.soft_cross_entropy_and_grad(logits, logits).dlogits, Floats)
    assert_type(fs.soft_cross_entropy_and_grad(logits, [[0.2] * 5] * 3).dlogits, NDArray[Any])
    assert_type(fs.soft_cross_entropy_and_grad([[1, 2]], [[0, 1]], reduction="sum").loss, np.float64)
    if TYPE_CHECKING:
        found.losses.sum()  # type: ignore[attr-defined]
        fs.cross_entropy_and_grad(logits, labels, out=True)  # type: ignore[call-overload]
        fs.soft_cross_entropy_and_grad(logits)  # type: ignore[call-overload]


def divergences_come_one_a_row() -> None:
    assert_type(fs.entropy(np.full((3, 2), 0.5)), Rows[np.float64])
    assert_type(fs.kl_divergence(np.full((2, 2), 0.5), np.full((2, 2), 0.5), axis=0), Rows[np.float64])
    assert_type(fs.js_divergence([0.5, 0.5], np.full(2, 0.5)), Rows[np.float64])
    if TYPE_CHECKING:
        fs.entropy(logits, keepdims=True)  # type: ignore[call-overload]
        fs.kl_divergence(logits)  # type: ignore[call-overload]
        fs.js_divergence(logits, logits, reduction="sum")  # type: ignore[call-overload]


def divergences_with_logits_are_reduced_as_losses() -> None:
    assert_type(fs.kl_divergence_with_logits(wide, logits, target_logits=True, softcap=3), np.float64)
    assert_type(fs.kl_divergence_with_logits(logits, logits, log_target=True, reduction="none"), Rows[np.float64])
    assert_type(fs.kl_divergence_with_logits_and_grad(logits, logits, reverse=True).dlogits, Floats)
    assert_type(fs.kl_divergence_with_logits_and_grad([[0.5, 0.5]], [[1, 2]], dlosses=2).dlogits, NDArray[Any])
    assert_type(fs.kl_divergence_with_logits_and_grad(wide, wide, reduction="none").loss, Rows[np.float64])
    assert_type(fs.entropy_with_logits(logits), Rows[np.float64])
    assert_type(fs.entropy_with_logits(logits, reduction="mean", sample_weight=[1, 2, 3]), np.float64)
    found = fs.entropy_with_logits_and_grad(logits, out=logits.copy())
    assert_type(found, fs.CrossEntropyGrad[Rows[np.float64], np.float32])
    assert_type(fs.entropy_with_logits_and_grad(counts, reduction="sum"), fs.CrossEntropyGrad[np.float64, Any])
    if TYPE_CHECKING:
        fs.kl_divergence_with_logits(logits, logits, log_target="yes")  # type: ignore[call-overload]
        fs.kl_divergence_with_logits(logits, labels=labels)  # type: ignore[call-overload]
        fs.entropy_with_logits(logits, class_weight=wide)  # type: ignore[call-overload]
        fs.entropy_with_logits_and_grad(logits, reduction="batchmean")  # type: ignore[call-overload]


def a_few_classes_with_shares() -> None:
    assert_type(fs.sparse_cross_entropy(logits, [[0, 1]] * 3, [[0.5, 0.5]] * 3), np.float64)
    assert_type(fs.sparse_cross_entropy(logits, labels[:, None], wide[:, :1], reduction="none"), Rows[np.float64])
    found = fs.sparse_cross_entropy_and_grad(logits, labels[:, None], wide[:, :1], out=logits.copy())
    assert_type(found, fs.CrossEntropyGrad[np.float64, np.float32])
    if TYPE_CHECKING:
        fs.sparse_cross_entropy(logits, labels)  # type: ignore[call-overload]
        fs.sparse_cross_entropy(logits, logits, wide)  # type: ignore[arg-type]
        fs.sparse_cross_entropy(logits, labels, wide, dlosses=2)  # type: ignore[call-overload]


def derivatives_along_a_direction() -> None:
    assert_type(fs.cross_entropy_jvp(logits, labels, logits, label_smoothing=0.1), np.float64)
    assert_type(fs.cross_entropy_jvp(logits, labels, wide, reduction="none"), Rows[np.float64])
    assert_type(fs.cross_entropy_hvp(logits, labels, logits, reduction="none", out=logits.copy()), Floats)
    assert_type(fs.cross_entropy_hvp(counts, labels, logits), NDArray[Any])
    if TYPE_CHECKING:
        fs.cross_entropy_jvp(logits, labels)  # type: ignore[call-overload]
        fs.cross_entropy_jvp(logits, labels, logits, dlosses=2)  # type: ignore[call-overload]
        fs.cross_entropy_hvp(logits, labels, logits, softcap="3")  # type: ignore[call-overload]


def scores_are_float64_and_int64() -> None:
    scores = fs.score(logits, labels, top_k=2, ignore_index=None)
    assert_type(scores, fs.Scores)
    assert_type(scores.losses, Rows[np.float64])
    assert_type(scores.ranks, Rows[np.int64])
    assert_type(scores.top_ids, Rows[np.int64])
    assert scores.top_ids.shape == (len(labels), 2)
    assert fs.score(logits, labels, top_k=2, out=scores).losses is scores.losses
    assert_type(fs.topk(logits, 2, axis=0), fs.TopK)
    assert_type(fs.topk(logits, 1, out=(np.empty((3, 1)), np.empty((3, 1), np.int64))).ids, NDArray[np.int64])
    assert_type(fs.target_log_prob(logits, [[0, 1]] * 3, softcap=2), Rows[np.float64])
    assert_type(fs.sample(logits, np.random.default_rng(0), top_p=0.9), Rows[np.int64])
    assert_type(fs.linear_score(logits, wide, [0, 1, 2], shift=0, top_k=1), fs.Scores)
    if TYPE_CHECKING:
        fs.score(logits)  # type: ignore[call-overload]
        fs.score(logits, labels, reduction="sum")  # type: ignore[call-overload]
        fs.topk(logits)  # type: ignore[call-overload]
        fs.topk(logits, 0.5)  # type: ignore[call-overload]
        fs.topk(logits, 1, out=wide)  # type: ignore[call-overload]
        fs.target_log_prob(logits, [0.5])  # type: ignore[list-item]
        fs.sample(logits, 0)  # type: ignore[call-overload]
        fs.sample(logits, np.random.default_rng(0), k=1)  # type: ignore[call-overload]
        fs.linear_score(logits, wide, labels, softmax=3)  # type: ignore[call-overload]
        fs.score(logits, labels, out=wide)  # type: ignore[call-overload]
        fs.entropy(wide, out=[0.0])  # type: ignore[call-overload]


def optimizers_step_arrays_of_their_owner() -> None:
    optimizer: optim.Optimizer = optim.SGD(0.1, momentum=np.float32(0.9), weight_decay={"classifier": 0.01})
    classifier = np.ones((7, 5), np.float32)
    loss = fs.linear_cross_entropy_step(logits, classifier, labels, optimizer=optimizer).loss
    assert_type(loss, np.float64)
    assert_type(optimizer.n_steps, int)
    assert_type(optimizer.state["classifier"], dict[str, NDArray[Any]])
    for other in (optim.Adagrad(eps=0), optim.Adam(1e-3, betas=(0.9, 0.99))):
        other.update("classifier", classifier, np.ones_like(classifier))
    if TYPE_CHECKING:
        optim.SGD("fast")  # type: ignore[arg-type]
        optim.Adam(betas=0.9)  # type: ignore[arg-type]
        optim.SGD(0.1).update("classifier", classifier)  # type: ignore[call-arg]
        fs.linear_cross_entropy_step(logits, classifier, labels, optimizer=optim.SGD)  # type: ignore[call-overload]


def controls_know_their_names() -> None:
    old: BackendName = fs.set_backend("numpy")
    assert_type(fs.set_backend(old), BackendName)
    assert_type(fs.set_num_threads(fs.get_num_threads()), int)
    with fs.use_backend("auto"), fs.use_num_threads(np.int64(1)):
        assert_type(fs.get_num_threads(), int)
    if TYPE_CHECKING:
        fs.set_backend("cuda")  # type: ignore[arg-type]
        fs.use_backend(None)  # type: ignore[arg-type]
        fs.set_num_threads(1.5)  # type: ignore[arg-type]


def a_vocabulary_knows_its_classes() -> None:
    animals = fs.Vocabulary(["cat", "chicken", "dog"])
    assert_type(animals, fs.Vocabulary[str])
    assert_type(animals.classes, tuple[str, ...])
    assert_type(animals.encode("dog"), int)
    assert_type(animals.encode(["dog", "cow"], unknown=-100), NDArray[np.int64])
    assert_type(animals.decode(2), str)
    assert_type(animals.decode(labels[:1]), list[str])
    assert_type(fs.one_hot(labels, 5), Floats)
    assert_type(fs.one_hot([0, 1], 5, np.int8), NDArray[np.int8])
    assert_type(fs.one_hot(0, 5, "f8"), NDArray[Any])
    assert_type(fs.from_one_hot(np.eye(3)), Rows[np.int64])
    if TYPE_CHECKING:
        animals.encode(7)  # type: ignore[call-overload]
        animals.decode("dog")  # type: ignore[call-overload]
        animals.decode(0) + 1  # type: ignore[operator]
        fs.one_hot([0.5], 5)  # type: ignore[list-item]
        fs.Vocabulary([["not", "hashable"]])  # type: ignore[type-var]


class Tensor:
    """An array of another library, with what its own type says of it."""

    def __init__(self, numbers: NDArray[Any]) -> None:
        self.numbers = numbers

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def mT(self) -> "Tensor":
        return Tensor(self.numbers.mT)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.numbers

    def __dlpack__(self) -> Any:
        return self.numbers.__dlpack__()

    def __array_namespace__(self) -> Any:
        return Library


class Library:
    """The namespace of such arrays."""

    @staticmethod
    def asarray(numbers: NDArray[Any]) -> Tensor:
        return Tensor(numbers)


def arrays_of_other_libraries_come_back() -> None:
    tensor, classifier, out = Tensor(logits), Tensor(np.ones((7, 5), np.float32)), Tensor(np.empty_like(logits))
    assert_type(fs.softmax(tensor, temperature=2, out=out), Tensor)
    assert_type(fs.logsumexp(tensor), Tensor)
    assert_type(fs.softmax_grad(tensor, logits), Tensor)
    assert_type(fs.entropy(tensor), Tensor)
    assert_type(fs.cross_entropy(tensor, labels), Tensor)
    assert_type(fs.cross_entropy(tensor, Tensor(labels), reduction="none", z_loss=1), Tensor)
    assert_type(fs.cross_entropy(logits, Tensor(labels)), np.float64)
    loss, dlogits, lse = fs.cross_entropy_and_grad(tensor, labels, out=out)
    assert isinstance(loss, Tensor) and dlogits is out and isinstance(lse, Tensor)
    assert_type(fs.soft_cross_entropy_and_grad(tensor, tensor).dlogits, Tensor)
    assert_type(fs.linear_cross_entropy(tensor, classifier, labels), Tensor)
    assert_type(fs.linear_cross_entropy_and_grad(tensor, classifier, labels).dclassifier, Tensor | Any)
    assert_type(fs.linear_cross_entropy(logits, classifier, labels), np.float64)
    assert_type(fs.linear_topk(tensor, classifier, 2).ids, Tensor)
    assert_type(fs.linear_topk(logits, classifier, 2), fs.TopK)
    assert_type(fs.one_hot(Tensor(labels), 5), Tensor)
    assert_type(fs.softmax(tensor, out=np.empty_like(logits)), NDArray[Any])
    given: NDArray[Any] = np.asarray(counts)
    assert_type(fs.cross_entropy(given, labels), np.float64)
    if TYPE_CHECKING:
        fs.softmax(object())  # type: ignore[call-overload]
        fs.linear_topk(tensor, classifier)  # type: ignore[call-overload]


def also_from_scores_and_other_targets() -> None:
    tensor, rng = Tensor(logits), np.random.default_rng(0)
    scores = fs.score(tensor, labels, top_k=2)
    assert_type(scores.ranks, Tensor)
    assert_type(scores.top_ids, Tensor | Any)
    assert isinstance(scores.ranks, Tensor) and isinstance(scores.top_ids, Tensor)
    assert fs.score(tensor, labels).top_ids is None
    assert_type(fs.linear_score(tensor, Tensor(wide), [0, 1, 2]).losses, Tensor)
    assert_type(fs.topk(tensor, 2).log_probs, Tensor)
    out = Tensor(np.empty((3, 1))), Tensor(np.empty((3, 1), np.int64))
    assert fs.topk(tensor, 1, out=out).ids is out[1]
    assert_type(fs.target_log_prob(tensor, labels, out=Tensor(np.empty(3))), Tensor)
    assert_type(fs.sample(tensor, rng, top_k=2), Tensor)
    assert_type(fs.sparse_cross_entropy(tensor, labels[:, None], wide[:, :1]), Tensor)
    assert_type(fs.sparse_cross_entropy_and_grad(tensor, labels[:, None], wide[:, :1]).dlogits, Tensor)
    assert_type(fs.kl_divergence_with_logits(tensor, logits, target_logits=True, reduction="none"), Tensor)
    assert_type(fs.kl_divergence_with_logits_and_grad(tensor, tensor, log_target=True).loss, Tensor)
    assert_type(fs.entropy_with_logits(tensor, reduction="sum"), Tensor)
    assert_type(fs.entropy_with_logits_and_grad(tensor, dlosses=-1).lse, Tensor)
    assert_type(fs.js_divergence(tensor, logits), Tensor)
    assert_type(fs.cross_entropy_jvp(tensor, labels, logits), Tensor)
    assert_type(fs.cross_entropy_hvp(tensor, labels, tensor, out=Tensor(np.empty_like(logits))), Tensor)
    if TYPE_CHECKING:
        fs.topk(tensor, 1, out=out[0])  # type: ignore[call-overload]
        fs.sample(tensor)  # type: ignore[call-overload]
        fs.kl_divergence_with_logits(tensor)  # type: ignore[call-overload]


def mean_loss(x: NDArray[np.floating[Any]], y: Labels, reduction: Reduction = "mean") -> Rows[np.float64]:
    """The aliases serve the signatures of callers."""
    return fs.cross_entropy(x, y, reduction=reduction)


def callers_pass_options_on() -> None:
    assert_type(mean_loss(wide, labels), Rows[np.float64])
    try:
        fs.cross_entropy(logits, [0, 1, 5])
    except fs.LabelError as error:
        assert_type(error.args, tuple[Any, ...])
