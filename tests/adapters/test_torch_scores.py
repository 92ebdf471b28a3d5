"""The door from PyTorch to scores, samples and other targets: numbers, derivatives, and as operators."""

import itertools

import numpy as np
import pytest

import fastsoftmax as fs

torch = pytest.importorskip("torch")
fst = pytest.importorskip("fastsoftmax.torch")
functional = torch.nn.functional
from fastsoftmax.torch import divergences, scores, sparse  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # compilers and test tools warn about themselves
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPES = [((7,), 0), ((5, 7), 1), ((5, 7), 0), ((3, 7, 2), 1), ((3, 2, 7), -1)]
REDUCTIONS = ("none", "mean", "sum")
OPS = torch.ops.fastsoftmax


def logits(shape=(5, 7), dtype=torch.float64, seed=0):
    x = 2 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x.to(dtype).requires_grad_()


def labels(x, dim, seed=1):
    shape = list(x.shape)
    n_classes = shape.pop(dim)
    return torch.randint(n_classes, shape, generator=torch.Generator().manual_seed(seed))


def sparse_target(x, dim=1, k=3, seed=1):
    """indices of which some are padding, one stands twice and one row is all padding where there are several; probs."""
    generator = torch.Generator().manual_seed(seed)
    shape = list(x.shape)
    n_classes, shape[dim] = shape[dim], k
    indices = torch.randint(n_classes, shape, generator=generator)
    probs = torch.rand(shape, dtype=torch.float64, generator=generator)
    rows = indices.movedim(dim, -1).view(-1, k) if dim in (-1, x.ndim - 1) else indices.movedim(dim, -1).reshape(-1, k)
    rows[-1, 1:] = rows[-1, 0]
    rows[-1, 2] = -100
    if len(rows) > 1:
        rows[0] = -100
    return rows.reshape(*indices.movedim(dim, -1).shape).movedim(-1, dim).contiguous(), probs


def dense(x, indices, probs, dim=1):
    counts = indices != -100
    return torch.zeros_like(x, dtype=torch.float64).scatter_add(dim, indices.where(counts, 0), probs.where(counts, 0))


def same(ours, theirs, inputs):
    """Value, shape, dtype, and the gradients for one upstream gradient."""
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn(theirs.shape, dtype=theirs.dtype, generator=torch.Generator().manual_seed(2))
    for got, right in zip(*(torch.autograd.grad(loss, inputs, upstream) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(got, right)


# scores


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_score(shape, dim, dtype):
    x = logits(shape, dtype)
    y = labels(x, dim)
    if y.ndim:
        y.view(-1)[0] = -100
    found = fst.score(x, y, top_k=3, temperature=0.7, softcap=5.0, dim=dim)
    plain = fs.score(x.detach().double().numpy(), y.numpy(), top_k=3, temperature=0.7, softcap=5.0, axis=dim)
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    for tensor, array in zip(found, plain, strict=True):
        right = torch.from_numpy(np.asarray(array))
        assert tensor.dtype is (torch.int64 if right.dtype is torch.int64 else wide) and not tensor.requires_grad
        torch.testing.assert_close(tensor, right.to(tensor.dtype))
    assert fst.score(x, y, dim=dim)[-2:] == (None, None) and fst.Scores._fields == fs.Scores._fields
    top = fst.topk(x, 3, temperature=0.7, softcap=5.0, dim=dim)
    counts = (y != -100).unsqueeze(dim)
    assert found.top_ids.equal(top.ids.where(counts, -1)) and found.top_log_probs.equal(top.log_probs.where(counts, 0))
    assert not top.log_probs.requires_grad


def test_metrics_take_scores_of_tensors():
    x = logits((50, 7))
    y = labels(x, 1)
    y[0] = -100
    found, plain = (fs.Metrics().update(scores).compute() for scores in (
        fst.score(x, y), fs.score(x.detach().numpy(), y.numpy())))
    assert found.n_rows == 49 and found.perplexity == plain.perplexity and found.hits == plain.hits


@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_topk_is_torchs(shape, dim):
    x = logits(shape)
    found, right = fst.topk(x, 4, dim=dim), torch.topk(torch.log_softmax(x.detach(), dim), 4, dim)
    torch.testing.assert_close(found.log_probs, right.values)
    assert found.ids.equal(right.indices)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_target_log_prob_is_log_softmax_gathered(shape, dim, dtype):
    x = logits(shape, dtype)
    ids = torch.stack([labels(x, dim, seed) for seed in (1, 2, 1)], dim)
    wide = x.detach().double().requires_grad_()
    log_p = torch.log_softmax(wide / 0.7, dim)
    for given, right in ((ids, log_p.gather(dim, ids)),
                         (ids.select(dim, 0), log_p.gather(dim, ids.narrow(dim, 0, 1)).squeeze(dim))):
        found = fst.target_log_prob(x, given, temperature=0.7, dim=dim)
        assert found.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
        torch.testing.assert_close(found, right.to(found.dtype))
        upstream = torch.randn_like(found)
        got, true = (torch.autograd.grad(out, of, upstream.to(out.dtype), retain_graph=True)[0]
                     for out, of in ((found, x), (right, wide)))
        assert got.dtype is dtype
        torch.testing.assert_close(got, true.to(dtype))


def test_target_log_prob_keeps_its_digits():
    x = torch.tensor([[17.0, 0.0]])
    torch.testing.assert_close(fst.target_log_prob(x, torch.tensor([0])).double(),
                               -torch.log1p(torch.exp(torch.tensor([-17.0]).double())), rtol=3 * 2**-23, atol=0)


# samples


def test_torchs_generators_govern_samples():
    x = logits((4000, 50), torch.float32)
    torch.manual_seed(3)
    first, second = fst.sample(x), fst.sample(x)
    torch.manual_seed(3)
    assert fst.sample(x).equal(first) and not second.equal(first) and first.dtype is torch.int64
    state = torch.get_rng_state()
    own = [fst.sample(x, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert own[0].equal(own[1]) and own[0].equal(first) and not own[0].equal(own[2])
    assert torch.get_rng_state().equal(state)
    for part in (x[:100], x.detach().t()[:, :100]):
        drawn = fst.sample(part, generator=torch.Generator().manual_seed(3), dim=int(part.shape[0] == 100))
        assert drawn.equal(first[:100])
    with fs.use_num_threads(1):
        assert fst.sample(x, generator=torch.Generator().manual_seed(3)).equal(first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{}, {"temperature": 2.0}, {"top_k": 10}, {"top_p": 0.8}, {"top_k": 20, "top_p": 0.9}],
                         ids=str)
def test_samples_follow_the_probabilities(options, dtype):
    stats = pytest.importorskip("scipy.stats")
    n = 40_000
    x = logits((50,), dtype).detach()
    p = torch.softmax(x.double() / options.get("temperature", 1.0), 0)
    order = p.argsort(descending=True)[:options.get("top_k", 50)]
    mass = p[order] / p[order].sum()
    kept = order[mass.cumsum(0) - mass < options.get("top_p", 1.0)]
    drawn = fst.sample(x.expand(n, 50), generator=torch.Generator().manual_seed(0), **options)
    counts = drawn.bincount(minlength=50)
    assert counts.sum() == counts[kept].sum() == n
    assert stats.chisquare(counts[kept], n * p[kept] / p[kept].sum()).pvalue > 1e-3


def test_one_row_is_sampled():
    assert fst.sample(torch.tensor([-torch.inf, 0.0])).equal(torch.tensor(1))
    assert fst.sample(torch.zeros(0, 5)).shape == (0,)


# losses

SPARSE = [{}, {"label_smoothing": 0.1}, {"z_loss": 0.1, "softcap": 3.0}]


@pytest.mark.parametrize("options", SPARSE, ids=str)
@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_sparse_is_cross_entropy_with_probabilities(shape, dim, options):
    x = logits(shape)
    indices, probs = sparse_target(x, dim)
    probs.requires_grad_()
    n_classes = x.shape[dim]
    weight = torch.rand(n_classes, dtype=torch.float64)
    rows = (indices != -100).any(dim)
    for reduction, w in itertools.product(REDUCTIONS, (None, weight)):
        q = dense(x, indices, probs, dim).movedim(dim, -1).reshape(-1, n_classes)
        losses = fst.cross_entropy(x.movedim(dim, -1).reshape(-1, n_classes), q, w, reduction="none", **options)
        losses = losses.reshape(rows.shape).where(rows, 0)
        right = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / rows.sum()}[reduction]
        ours = fst.sparse_cross_entropy(x, indices.short(), probs, w, reduction=reduction, **options,
                                        **({} if dim == 1 else {"dim": dim}))
        same(ours, right, [x, probs])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["probs", "logs", "logits"])
@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_kl_divergence(shape, dim, kind, reverse):
    x, t = logits(shape), logits(shape, seed=1)
    log_q = torch.log_softmax(t / 0.7 if kind == "logits" else t, dim)
    target = {"probs": log_q.exp(), "logs": log_q, "logits": t}[kind].detach().requires_grad_()
    log_q = {"probs": target.log(), "logs": target, "logits": torch.log_softmax(target / 0.7, dim)}[kind]
    log_p = torch.log_softmax(x / 0.7, dim)
    one, other = (log_p, log_q) if reverse else (log_q, log_p)
    rows = functional.kl_div(other, one, log_target=True, reduction="none").sum(dim)
    for reduction in REDUCTIONS:
        right = {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction]
        ours = fst.kl_divergence_with_logits(target, x, log_target=kind == "logs", target_logits=kind == "logits",
                                             reverse=reverse, reduction=reduction, temperature=0.7, dim=dim)
        upstream = torch.randn_like(right)
        torch.testing.assert_close(ours, right)
        for got, true in zip(torch.autograd.grad(ours, (x, target), upstream),
                             torch.autograd.grad(right, (x, target), upstream, retain_graph=True), strict=True):
            torch.testing.assert_close(got, true)


@pytest.mark.parametrize(("shape", "dim"), SHAPES, ids=str)
def test_entropy(shape, dim):
    x = logits(shape)
    right = torch.distributions.Categorical(logits=x.movedim(dim, -1) / 0.7).entropy()
    same(fst.entropy_with_logits(x, temperature=0.7, dim=dim), right, [x])
    right = torch.distributions.Categorical(logits=x.movedim(dim, -1)).entropy().mean()
    same(fst.entropy_with_logits(x, reduction="mean", dim=dim), right, [x])


def test_masked_classes_count_nothing():
    """Derivatives of all orders are those without the class."""
    x = torch.tensor([[0.3, -1.0, -torch.inf]], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([[0.25, 0.75, 0.0]], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    for loss in (lambda x, q: fst.kl_divergence_with_logits(q, x), lambda x, q: fst.entropy_with_logits(x).sum() * q.sum()):
        found = []
        for n in (3, 2):
            first = torch.autograd.grad(loss(x[:, :n], q[:, :n]), (x, q), create_graph=True)
            found.append([*first, *torch.autograd.grad((first[0] * v).sum(), (x, q))])
        for got, right in zip(*found, strict=True):
            torch.testing.assert_close(got[:, :2], right[:, :2])
            assert not got[:, 2].isnan().any()


# derivatives


def losses_of(x, dim=1):
    """{name: (a function of tensors, these)}."""
    indices, probs = sparse_target(x, dim)
    given = torch.softmax(logits(x.shape, seed=3).detach(), dim).requires_grad_()
    kl = fst.kl_divergence_with_logits
    more = dict(softcap=3.0, temperature=0.7)
    return {
        "sparse": (lambda x, p: fst.sparse_cross_entropy(x, indices, p, dim=dim), (x, probs.requires_grad_())),
        "sparse, all": (lambda x, p: fst.sparse_cross_entropy(x, indices, p, torch.arange(3.0, dtype=x.dtype), z_loss=0.1,
                                                              label_smoothing=0.1, reduction="none", **more),
                        (x, probs)),
        "sparse, 0 ignored": (lambda x, p: fst.sparse_cross_entropy(x, indices.clamp(0), p, ignore_index=0, reduction="sum",
                                                                    dim=dim), (x, probs)),
        "log_prob": (lambda x: fst.target_log_prob(x, indices.clamp(0), dim=dim, **more), (x,)),
        "kl": (lambda q, x: kl(q, x, dim=dim, **more), (given, x)),
        "kl, logs": (lambda t, x: kl(t, x, log_target=True, reduction="none", dim=dim, **more), (given, x)),
        "kl, logits": (lambda t, x: kl(t, x, target_logits=True, reduction="sum", dim=dim), (given, x)),
        "kl, reverse": (lambda q, x: kl(q, x, reverse=True, dim=dim, **more), (given, x)),
        "kl, reverse of logits": (lambda t, x: kl(t, x, reverse=True, target_logits=True, dim=dim), (given, x)),
        "entropy": (lambda x: fst.entropy_with_logits(x, dim=dim, **more), (x,)),
        "entropy, mean": (lambda x: fst.entropy_with_logits(x, reduction="mean", dim=dim), (x,)),
    }


@pytest.mark.parametrize("name", losses_of(logits((2, 3))))
def test_first_and_second_derivatives(name):
    loss, inputs = losses_of(logits((2, 3)))[name]
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs, fast_mode=True)


def test_no_gradient_is_computed_where_none_is_wanted(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a gradient")

    x = logits()
    for loss in (sparse._sparse, divergences._kl, divergences._entropy):
        monkeypatch.setattr(loss, "functions", (loss.functions[0], refuse))
    for loss, inputs in losses_of(logits((2, 3))).values():
        assert not loss(*(t.detach() for t in inputs)).requires_grad
        with torch.no_grad():
            assert not loss(*inputs).requires_grad
    with pytest.raises(AssertionError):
        fst.entropy_with_logits(x, reduction="mean")


def test_backward_again():
    x = logits()
    loss = fst.entropy_with_logits(x, reduction="mean")
    right, = torch.autograd.grad(torch.distributions.Categorical(logits=x).entropy().mean(), x)
    for times in (1, 2):
        (loss * 3).backward(retain_graph=True)
        torch.testing.assert_close(x.grad, 3 * times * right)


# dtypes


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype, autocast):
    """Losses as torch's cross_entropy with class probabilities has them; gradients of float64 losses, rounded once."""
    x, t = logits((4, 7), dtype), logits((4, 7), dtype, 1)
    indices, probs = sparse_target(x)
    wide = x.detach().double().requires_grad_()
    for other in {dtype, torch.float32}:
        q, p = torch.softmax(t.detach().double(), 1).to(other), probs.to(other)
        pairs = [(lambda x, q=q: fst.kl_divergence_with_logits(q, x), lambda x, q=q: fst.kl_divergence_with_logits(
                     q.double(), x)),
                 (lambda x, p=p: fst.sparse_cross_entropy(x, indices, p), lambda x, p=p: fst.sparse_cross_entropy(
                     x, indices, p.double())),
                 (lambda x, p=p: fst.sparse_cross_entropy(x, indices, p, reduction="none").sum(),
                  lambda x, p=p: fst.sparse_cross_entropy(x, indices, p.double(), reduction="none").sum())]
        for ours, exact in pairs:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss, like = ours(x), functional.cross_entropy(x, q)
            assert loss.dtype is like.dtype
            torch.testing.assert_close(loss, exact(wide).to(loss.dtype), rtol=3 * torch.finfo(dtype).eps, atol=1e-6)
            grad = torch.autograd.grad(loss, x)[0]
            assert grad.dtype is dtype
            torch.testing.assert_close(grad, torch.autograd.grad(exact(wide), wide)[0].to(dtype))


def test_a_float16_gradient_is_scaled_before_it_is_rounded():
    x = torch.zeros(4096, 64, dtype=torch.float16)
    x[:, 0] = 8.0
    x.requires_grad_()
    indices, probs = torch.zeros(4096, 1, dtype=torch.int64), torch.ones(4096, 1)
    wide = x.detach().double().requires_grad_()
    right, = torch.autograd.grad(functional.cross_entropy(wide, indices[:, 0]) * 16384, wide)
    got, = torch.autograd.grad(fst.sparse_cross_entropy(x, indices, probs) * 16384, x)
    torch.testing.assert_close(got, right.half(), rtol=2e-3, atol=0)


# operators


def operators():
    """{case: an overload and its arguments}."""
    x, t = (torch.randn(3, 4, 2, requires_grad=True) for _ in range(2))
    indices = torch.tensor([[0, 1], [-100, 3], [2, 2]])[:, None].expand(3, 3, 2).contiguous()
    probs, y = torch.rand(3, 3, 2, requires_grad=True), indices[:, 0]
    rows, one, w = torch.randn(3, 2, requires_grad=True), torch.tensor(2.0, requires_grad=True), torch.rand(4)
    shared = (x, indices, probs, w, "mean", -100, 0.1, 0.1, 3.0, 0.7, 1)
    kl, entropy = (t, x, "none", False, True, False, 3.0, 0.7, 1), (x, "sum", None, 1.0, 2)
    log = (x, indices.clamp(0), 0.7, None, 1)
    f32 = torch.float32
    detached = x.detach()
    return {
        "sparse": (OPS.sparse_cross_entropy.default, (*shared, f32, True)),
        "sparse, later": (OPS.sparse_cross_entropy.default, (x, indices, probs, None, "none", *shared[5:], f32, False)),
        "sparse gradient": (OPS.sparse_cross_entropy_backward.default, (one, *shared)),
        "kl": (OPS.kl_divergence_with_logits.default, (*kl, f32, False)),
        "kl gradient": (OPS.kl_divergence_with_logits_backward.default, (rows, *kl)),
        "entropy": (OPS.entropy_with_logits.default, (*entropy, f32, True)),
        "entropy gradient": (OPS.entropy_with_logits_backward.default, (one, *entropy)),
        "log_prob": (OPS.target_log_prob.default, log),
        "log_prob, one a row": (OPS.target_log_prob.default, (x, y.clamp(0), 1.0, None, 1)),
        "score": (OPS.score.default, (detached, y, 0, -100, 1.0, None, 1)),
        "score, top": (OPS.score.default, (detached, y, 2, -100, 0.7, 3.0, 1)),
        "topk": (OPS.topk.default, (detached, 2, 1.0, None, 1)),
        "sample": (OPS.sample.default, (detached, torch.randint(99, (3, 2)), 1.0, 2, 0.9, None, 1)),
    }


@pytest.mark.parametrize("case", operators())
def test_opcheck(case):
    torch.manual_seed(0)
    overload, given = operators()[case]
    assert set(torch.library.opcheck(overload, given).values()) == {"SUCCESS"}


def test_every_operator_is_checked():
    ops = [op for loss in (sparse._sparse, divergences._kl, divergences._entropy) for op in (loss.forward, loss.gradient)]
    ops += [sparse._target_log_prob, scores._score, scores._topk, scores._sample]
    assert {op.overload for op in ops} == {overload for overload, _ in operators().values()}


def together(x, t, y, indices, probs):
    """All functions in one."""
    seen = fst.score(x, y, top_k=2)
    loss = fst.sparse_cross_entropy(2 * x, indices, probs) + fst.kl_divergence_with_logits(t, x, target_logits=True)
    loss = loss - 0.01 * fst.entropy_with_logits(x).mean() + fst.target_log_prob(x, y).sum()
    return loss, (*seen, *fst.topk(x, 3), fst.sample(x, top_k=1))


@pytest.mark.parametrize(("compiler", "dynamic"), [("aot_eager", False), ("inductor", True)])
def test_compiled_whole(compiler, dynamic):
    torch._dynamo.reset()
    x, t = logits((6, 9), torch.float32), logits((6, 9), torch.float32, 1)
    indices, probs = sparse_target(x)
    probs = probs.float().requires_grad_()
    given = x, t, labels(x, 1), indices, probs
    (loss, seen), (right, true) = (f(*given) for f in (
        torch.compile(together, fullgraph=True, dynamic=dynamic, backend=compiler), together))
    torch.testing.assert_close((loss, seen), (right, true))
    inputs = x, t, probs
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), torch.autograd.grad(right, inputs))


def test_compiled_samples_follow_the_seed():
    torch._dynamo.reset()
    x = logits((300, 50), torch.float32).detach()
    compiled = torch.compile(fst.sample, fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    drawn = compiled(x)
    torch.manual_seed(0)
    assert compiled(x).equal(drawn) and not compiled(x).equal(drawn)
    torch.manual_seed(0)
    assert fst.sample(x).equal(drawn)


def test_fake_tensors_are_not_computed_with():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x, y = torch.empty(10**6, 10**6), torch.empty(10**6, dtype=torch.int64)
        assert fst.score(x, y, top_k=5).top_ids.shape == (10**6, 5)
        assert fst.topk(x, 5, dim=0).ids.shape == (5, 10**6)
        assert fst.sample(x).shape == fst.entropy_with_logits(x).shape == fst.target_log_prob(x, y).shape == y.shape
        assert fst.kl_divergence_with_logits(x, x).shape == ()


def test_transforms():
    x, y = logits((4, 7)), labels(logits((4, 7)), 1)
    by_row = torch.func.vmap(torch.func.grad(lambda x, y: fst.target_log_prob(x, y)))(x, y)
    torch.testing.assert_close(by_row, torch.autograd.grad(fst.target_log_prob(x, y).sum(), x)[0])
    q = torch.softmax(logits((4, 7), seed=1).detach(), 1)
    by_row = torch.func.vmap(torch.func.grad(fst.kl_divergence_with_logits, 1))(q, x)
    torch.testing.assert_close(by_row, torch.softmax(x, 1) - q)
    torch.testing.assert_close(torch.func.vmap(lambda x, y: fst.score(x, y).ranks)(x, y), fst.score(x, y).ranks)
    hessian = torch.func.jacrev(torch.func.jacrev(lambda x: fst.entropy_with_logits(x)))(x[0])
    right = torch.func.hessian(lambda x: -(x.softmax(0) * x.log_softmax(0)).sum())(x[0])
    torch.testing.assert_close(hessian, right)


# what is refused


@pytest.mark.parametrize(("error", "match", "call"), [
    (TypeError, "^input must be a torch.Tensor, not list", lambda x, y: fst.topk([1.0], 1)),
    (ValueError, "^input is on meta", lambda x, y: fst.sample(x.to("meta"))),
    (TypeError, "^input has dtype torch.int64", lambda x, y: fst.topk(x.long(), 1)),
    (ValueError, "^input must have a class axis", lambda x, y: fst.sample(x[0, 0])),
    (ValueError, r"^dim is 2, outside \[-2, 2\) for input of shape \(5, 7\)", lambda x, y: fst.topk(x, 1, dim=2)),
    (TypeError, "^dim must be an integer, not float", lambda x, y: fst.topk(x, 1, dim=1.0)),
    (ValueError, "^k is 8, outside", lambda x, y: fst.topk(x, 8)),
    (ValueError, "^top_k is -1, outside", lambda x, y: fst.score(x, y, top_k=-1)),
    (fs.LabelError, r"^target\[0\] is 9, outside \[0, 7\)", lambda x, y: fst.score(x, y + 9 - y[0])),
    (ValueError, r"^target has shape \(5,\), but must have \(7,\)", lambda x, y: fst.score(x, y, dim=0)),
    (TypeError, "^target has dtype float32; class indices", lambda x, y: fst.score(x, y.float())),
    (ValueError, r"^top_p is 0.0, outside \(0, 1\]", lambda x, y: fst.sample(x, top_p=0.0)),
    (ValueError, "^temperature is 0", lambda x, y: fst.sample(x, temperature=0.0)),
    (ValueError, r"^ids has shape \(4,\), but must have \(5, k\) for input", lambda x, y: fst.target_log_prob(x, y[:4])),
    (fs.LabelError, r"^ids\[1\] is 7, outside", lambda x, y: fst.target_log_prob(x, torch.tensor([0, 7, 0, 0, 0]))),
    (fs.LabelError, r"^ids\[1, 2, 3\] is -1, outside", lambda x, y: fst.target_log_prob(
        x.expand(2, 5, 7), torch.zeros(2, 3, 7, dtype=torch.int64).index_put_(
            (torch.tensor(1), torch.tensor(2), torch.tensor(3)), torch.tensor(-1)), dim=1)),
    (fs.LabelError, "^ids is 7, outside", lambda x, y: fst.target_log_prob(x[0], torch.tensor(7))),
    (ValueError, r"^indices has shape \(5,\), but must have \(5, k\)",
     lambda x, y: fst.sparse_cross_entropy(x, y, y.float())),
    (ValueError, r"^probs has shape \(5, 2\), but must have that of indices, \(5, 1\)",
     lambda x, y: fst.sparse_cross_entropy(x, y[:, None], torch.ones(5, 2))),
    (TypeError, "^probs has dtype torch.int64", lambda x, y: fst.sparse_cross_entropy(x, y[:, None], y[:, None])),
    (fs.LabelError, r"^indices\[0, 0\] is 9, outside \[0, 7\) and not ignore_index=-100",
     lambda x, y: fst.sparse_cross_entropy(x, (y + 9 - y[0])[:, None], torch.ones(5, 1))),
    (fs.LabelError, r"^indices\[1, 2, 3\] is 5, outside \[0, 5\)", lambda x, y: fst.sparse_cross_entropy(
        x.expand(2, 5, 7), torch.tensor([0, 0, 5])[:, None].expand(2, 3, 7).clone().index_fill_(0, torch.tensor(0), 0)
        .index_fill_(2, torch.tensor([0, 1, 2]), 0), torch.ones(2, 3, 7))),
    (ValueError, "^weight requires grad", lambda x, y: fst.sparse_cross_entropy(
        x, y[:, None], torch.ones(5, 1), torch.ones(7, requires_grad=True))),
    (ValueError, r"^weight has shape \(6,\)", lambda x, y: fst.sparse_cross_entropy(
        x, y[:, None], torch.ones(5, 1), torch.ones(6))),
    (ValueError, r"^target has shape \(5, 6\), but must have that of logits, \(5, 7\)",
     lambda x, y: fst.kl_divergence_with_logits(x[:, :6], x)),
    (ValueError, "^log_target and target_logits are both True", lambda x, y: fst.kl_divergence_with_logits(
        x, x, log_target=True, target_logits=True)),
    (ValueError, "^reduction is 'batchmean'; allowed are", lambda x, y: fst.kl_divergence_with_logits(
        x, x, reduction="batchmean")),
    (ValueError, r"^dim must be given for logits of shape \(1, 5, 7\)", lambda x, y: fst.entropy_with_logits(x[None])),
    (TypeError, "^logits has layout torch.sparse_coo", lambda x, y: fst.entropy_with_logits(x.to_sparse())),
    (TypeError, "unexpected keyword argument 'log_targets'", lambda x, y: fst.KLDivergenceLoss(log_targets=True)),
], ids=lambda value: value.strip("^")[:40] if isinstance(value, str) else "")
def test_refused(error, match, call):
    x = logits(dtype=torch.float32).detach()
    with pytest.raises(error, match=match):
        call(x, labels(x, 1))


def test_modules():
    x, w = logits(dtype=torch.float32), torch.rand(7)
    indices, probs = sparse_target(x)
    ours = fst.SparseCrossEntropyLoss(w, reduction="sum", temperature=2.0)
    same(ours(x, indices, probs), fst.sparse_cross_entropy(x, indices, probs, w, reduction="sum", temperature=2.0), [x])
    assert list(ours.state_dict()) == ["weight"] and repr(ours) == (
        "SparseCrossEntropyLoss(reduction='sum', temperature=2.0)")
    q = torch.rand(5, 7)
    same(fst.KLDivergenceLoss(reverse=True)(q, x), fst.kl_divergence_with_logits(q, x, reverse=True), [x])
